/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a benchmark's result: to JSON and CSV, and compared with others. */
#ifndef DCMI_BENCH_ROW_H
#define DCMI_BENCH_ROW_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "bench/json.h"
#include "bench/machine.h"
#include "bench/stats.h"

typedef struct dcmi_row {
    char op[24]; /* "all_reduce" */
    size_t bytes;
    size_t count;
    char dtype[12];  /* "none" where nothing is typed */
    char redop[12];  /* "none" where nothing is reduced */
    char memory[12]; /* "private", "arena" */
    bool is_in_place;
    int nranks;
    char backend[32];
    char algorithm[64];
    dcmi_stats us;
    double algbw_gbps; /* 10^9 bytes a second, at the p50 */
    double busbw_gbps;
    uint64_t wrong;       /* elements, of all ranks */
    double ping_ns;       /* placement probe before; negative: not known */
    double ping_after_ns; /* and after */
    unsigned samples;
    unsigned ops_per_sample;
    dcmi_hist hist; /* of the samples, in us */
    int status;     /* not DCM_OK: the call was refused, nothing measured */
    char message[256];
} dcmi_row;

/* What stands at the head of a result. */
typedef struct dcmi_result {
    const dcmi_machine *machine;
    const char *version;
    const char *commit;
    const char *date;     /* UTC, ISO 8601 */
    const char *command;  /* as it could be typed again */
    const char *ranks_as; /* "processes", "threads" */
    const dcmi_row *rows;
    size_t nrows;
} dcmi_result;

/* Write it all; the caller checks `file` for errors when it closes it. */
void dcmi_result_json(const dcmi_result *result, FILE *file);
void dcmi_result_csv(const dcmi_result *result, FILE *file);

/* ---- comparing ----------------------------------------------------------- */

typedef enum dcmi_verdict {
    DCMI_SAME,
    DCMI_FASTER,  /* by more than the tolerance: passes */
    DCMI_NEW,     /* the older file has no such row: passes */
    DCMI_SLOWER,  /* by more than the tolerance: fails */
    DCMI_MISSING, /* the older file has a row that this run lacks: fails */
} dcmi_verdict;

bool dcmi_verdict_fails(dcmi_verdict v);

/* One finding.  `row` is this run's, NULL when missing. */
typedef struct dcmi_finding {
    dcmi_verdict verdict;
    const dcmi_row *row;
    char what[128]; /* "all_reduce 8 B f32 sum, 2 ranks, private" */
    double old_us;
    double new_us;
    double old_ping_ns; /* negative: not known */
} dcmi_finding;

typedef void (*dcmi_finding_fn)(void *arg, const dcmi_finding *finding);

/*
 * Compare p50 of each row of `old` (a parsed result) with the row of the same
 * operation, size, type, operator, ranks, place and memory; `tolerance` 0.1 is
 * ten per cent of the older time.  Counts failures into *failed_p.  E_INVAL:
 * `old` is no result of this command.
 */
dcm_status dcmi_result_compare(size_t *failed_p, const dcmi_json *old,
                               const dcmi_row *rows, size_t nrows,
                               double tolerance, dcmi_finding_fn fn, void *arg);

#endif /* DCMI_BENCH_ROW_H */

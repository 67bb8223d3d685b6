/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring engine: every rank of a group calls dcmi_bench_run() with the
 * same options; rank 0 is told the results.
 *
 * A row is measured so:
 *   1. placement probe (probe.h)
 *   2. fresh data, one operation, every rank compares every element; a guard
 *      before and behind the output, and the input, must be as they were
 *   3. other data, output poisoned, warm-up; from its speed follows how many
 *      operations make a sample (one, or so many that a sample is 20 us long)
 *      and how many samples are taken
 *   4. samples: barrier, clock, operations, clock; of each sample the slowest
 *      rank counts
 *   5. the output of the last operation is compared; in place, where it is no
 *      more known, one more operation on fresh data is
 *   6. placement probe again
 */
#ifndef DCMI_BENCH_ENGINE_H
#define DCMI_BENCH_ENGINE_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "bench/row.h"

/* X(id, name) */
#define DCMI_BENCH_MAP(X)                                                      \
    X(ALL_REDUCE, "all_reduce")                                                \
    X(BARRIER, "barrier")                                                      \
    X(ALL_GATHER, "all_gather")                                                \
    X(ALL_TO_ALL, "all_to_all")                                                \
    X(BROADCAST, "broadcast")                                                  \
    X(GATHER, "gather")                                                        \
    X(REDUCE, "reduce")                                                        \
    X(REDUCE_SCATTER, "reduce_scatter")                                        \
    X(SCATTER, "scatter")                                                      \
    X(SENDRECV, "sendrecv")                                                    \
    X(EXCHANGE, "exchange")

typedef enum dcmi_bench_op {
#define DCMI_X(id, name) DCMI_BENCH_##id,
    DCMI_BENCH_MAP(DCMI_X)
#undef DCMI_X
    DCMI_BENCH_COUNT
} dcmi_bench_op;

const char *dcmi_bench_op_str(dcmi_bench_op op); /* NULL past the last */

typedef struct dcmi_bench_opts {
    dcmi_bench_op op;
    size_t min_bytes; /* rounded down to whole elements */
    size_t max_bytes;
    unsigned factor; /* from size to size, at least 2 */
    dcm_dtype dtypes[DCM_NDTYPES];
    int ndtypes;
    dcm_op redops[DCM_NOPS];
    int nredops;
    const char *backend; /* NULL: the communicator's choice */
    const char *algo;
    bool use_arena;
    bool is_in_place;
    bool is_random; /* arbitrary data, see data.h */
    bool no_pin;
    unsigned iters;      /* samples of a row; 0: as many as the time allows */
    uint32_t row_ms;     /* that time; 0: 100 */
    uint32_t timeout_ms; /* of every wait; 0: the group's */
} dcmi_bench_opts;

typedef struct dcmi_bench_setup {
    int nranks;
    int nhosts;
    int core_of[DCM_MAX_RANKS]; /* -1: not pinned */
    const char *backend;
    size_t shared_bytes;
    size_t nrows;
} dcmi_bench_setup;

/* Called on rank 0, in its thread. */
typedef struct dcmi_bench_sink {
    void (*start)(void *arg, const dcmi_bench_setup *setup);
    /* Row number `done` of `total` begins; its key is filled in. */
    void (*progress)(void *arg, size_t done, size_t total, const dcmi_row *row);
    bool (*row)(void *arg, const dcmi_row *row); /* false: stop, all ranks */
    void *arg;
} dcmi_bench_sink;

/*
 * Collective.  `sink` is used on rank 0 only.  A call that the backend refuses
 * makes a row with that status; any other failure ends the run on all ranks.
 */
dcm_status dcmi_bench_run(dcm_group *group, const dcmi_bench_opts *opts,
                          const dcmi_bench_sink *sink);

/* Sizes of the sweep in elements: the next after `count`, 0 at the end. */
size_t dcmi_bench_next_count(const dcmi_bench_opts *opts, size_t elem_bytes,
                             size_t count);

/* What busbw is to algbw: 2(n-1)/n for an all-reduce. */
double dcmi_bench_bus_factor(dcmi_bench_op op, int nranks);

#endif /* DCMI_BENCH_ENGINE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What engine.c and measure.c share. */
#ifndef DCMI_BENCH_MEASURE_H
#define DCMI_BENCH_MEASURE_H

#include <devcomm/devcomm.h>

#include "bench/data.h"
#include "bench/engine.h"
#include "bench/probe.h"

enum {
    DCMI_BENCH_GUARD = 128,     /* bytes before and behind an output */
    DCMI_BENCH_VOTE_TEXT = 164, /* no padding in a vote */
};

/* What one rank tells the others between the steps. */
typedef struct dcmi_vote {
    uint64_t value;
    int32_t status;
    char message[DCMI_BENCH_VOTE_TEXT];
} dcmi_vote;

typedef struct dcmi_bench {
    const dcmi_bench_opts *opts;
    dcm_group *group;
    dcm_comm *comm;
    dcm_arena *arena;
    dcmi_probe *probe;
    int rank;
    int nranks;
    void *src_block; /* allocations, guards included */
    void *dst_block;
    void *src; /* == dst in place */
    void *dst;
    uint64_t seed; /* of the next data */
    dcmi_vote *votes;
    uint64_t *ns;    /* samples of this rank, then the slowest of all */
    uint64_t *chunk; /* one exchange of samples of all ranks */
} dcmi_bench;

enum {
    DCMI_BENCH_SAMPLES = 4096, /* at most, of a row */
    DCMI_BENCH_CHUNK = DCM_EXCHANGE_MAX / 8,
};

/*
 * Exchange this rank's status and value.  If a rank failed, all ranks get its
 * status, and the message names it.
 */
dcm_status dcmi_bench_agree(dcmi_bench *b, dcm_status st, uint64_t value,
                            uint64_t *max_p, uint64_t *sum_p);

/* Measure the row whose key is filled in. */
dcm_status dcmi_bench_measure(dcmi_bench *b, dcmi_row *row, dcm_dtype dtype,
                              dcm_op redop);

#endif /* DCMI_BENCH_MEASURE_H */

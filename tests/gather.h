/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An all-gather between threads, as a caller of dcm_group_new_fn() brings it; it
 * fails, lies or is slow when told to.
 */
#ifndef DCM_TEST_GATHER_H
#define DCM_TEST_GATHER_H

#include "support.h"

#include <pthread.h>
#include <time.h>

enum {
    GATHER_RANKS = 8,
    GATHER_BYTES = GATHER_RANKS * DCM_EXCHANGE_MAX,
    GATHER_PATIENCE_S = 30
};

typedef enum gather_deed {
    GATHER_WELL,
    GATHER_FAIL,    /* returns 7, having taken part */
    GATHER_GARBAGE, /* hands back noise */
    GATHER_ZEROS,
    GATHER_SHIFTED, /* every entry in its neighbour's place */
    GATHER_NAP      /* for 100 ms */
} gather_deed;

typedef struct gather {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int nranks;
    int arrived;
    unsigned round; /* complete ones */
    bool is_broken; /* somebody failed: nobody waits any longer */
    size_t bytes[2][GATHER_RANKS];
    unsigned char entry[2][GATHER_RANKS][GATHER_BYTES];
} gather;

typedef struct gather_rank {
    gather *g;
    int rank;
    int calls;
    int at_call; /* from 1: then it does the deed */
    gather_deed deed;
} gather_rank;

void gather_init(gather *g, int nranks);
void gather_break(gather *g);

/* The dcm_all_gather_fn; arg is a gather_rank. */
int gather_call(void *arg, const void *mine, void *all, size_t bytes);

#endif /* DCM_TEST_GATHER_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks that are threads, with what the GPU kernels find in memory on each. */
#ifndef DCM_TEST_PEER_WORLD_H
#define DCM_TEST_PEER_WORLD_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "backend/peer/plan.h"

enum {
    MOST = 5,        /* ranks */
    THREADS = 40960, /* that a rank's pretended device runs at once */
    BLOCK = 64,      /* most threads of a block: many blocks even so */
    RED = 64
};

typedef struct rank_state {
    unsigned char *staging;
    uint64_t epochs[DCMK_GRID];
    uint64_t counters[2 * DCMK_RANKS * DCMK_MESSAGE_GRID];
    dcmk_watch watch;
    dcmk_record record;
    unsigned char *src;
    unsigned char *dst;
} rank_state;

/* What the ranks share. */
typedef struct world {
    dcmi_peer_layout lay;
    int n;
    uint64_t fail;
    uint32_t life[MOST];
    uint32_t stage[MOST];
    rank_state rank[MOST];
    unsigned char *want;
    pthread_barrier_t barrier;
    bool is_parallel; /* a thread a block */
    uint64_t timeout_ns;
} world;

static inline uint64_t address(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

/* Staging as devices have it, or as host memory has. */
void world_new(world *w, int n, uint64_t epoch, bool is_staged);
void world_free(world *w);

/* fn on every rank, in a thread of its own. */
void run(world *w, void (*fn)(world *w, int rank, void *arg), void *arg);

/* What the host side fills in for every call. */
void common_args(world *w, int rank, dcmk_args *a);

/* A call, as the host side of the backend makes it; `args` are a kernel's own. */
void run_grid(const world *w, const char *name, const dcmk_args *args,
              uint32_t grid, uint32_t threads);

#endif /* DCM_TEST_PEER_WORLD_H */

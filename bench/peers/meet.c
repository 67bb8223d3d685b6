/* SPDX-License-Identifier: Apache-2.0 */
/* How ranks meet at the board, and the placement probe. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "board.h"

enum {
    PROBE_RUNS = 9,
    PROBE_TRIPS = 400,
    NAP_NS = 100000,
};

static void meet(bp_loop *l, bool naps)
{
    const uint32_t n = ++l->meetings;

    atomic_store_explicit(&l->board->arrived[l->rank].v, n,
                          memory_order_release);
    for (int r = 0; r < l->plan.nranks; r++) {
        while ((int32_t)(atomic_load_explicit(&l->board->arrived[r].v,
                                              memory_order_acquire) -
                         n) < 0) {
            const struct timespec nap = {0, NAP_NS};

            if (naps)
                (void)nanosleep(&nap, NULL);
            else if (l->is_crowded)
                (void)sched_yield();
        }
    }
}

void bp_barrier(bp_loop *l)
{
    meet(l, false);
}

int bp_agree(bp_loop *l, int mine)
{
    int said;

    if (l->rank == 0)
        l->board->said = mine;
    meet(l, false);
    said = l->board->said;
    meet(l, false);
    return said;
}

int bp_all_gather(void *arg, const void *mine, void *all, size_t bytes)
{
    bp_loop *l = arg;

    for (size_t at = 0; at < bytes; at += BP_PAGE) {
        const size_t n = bytes - at < BP_PAGE ? bytes - at : BP_PAGE;

        memcpy(l->board->gather[l->rank], (const char *)mine + at, n);
        meet(l, false);
        for (int r = 0; r < l->plan.nranks; r++)
            memcpy((char *)all + (size_t)r * bytes + at, l->board->gather[r],
                   n);
        meet(l, false);
    }
    return 0;
}

static double trips(bp_loop *l)
{
    _Atomic uint32_t *ping = &l->board->ping.v;
    _Atomic uint32_t *pong = &l->board->pong.v;
    double us[PROBE_RUNS];

    for (int k = 0; k < PROBE_RUNS; k++) {
        const double start = bp_now_us();

        for (int i = 0; i < PROBE_TRIPS; i++) {
            const uint32_t n = ++l->trips;

            if (l->rank == 0) {
                atomic_store_explicit(ping, n, memory_order_release);
                while (atomic_load_explicit(pong, memory_order_acquire) != n)
                    continue;
            } else {
                while (atomic_load_explicit(ping, memory_order_acquire) != n)
                    continue;
                atomic_store_explicit(pong, n, memory_order_release);
            }
        }
        us[k] = (bp_now_us() - start) / PROBE_TRIPS;
    }
    return bp_median(us, PROBE_RUNS) * 1e3;
}

double bp_probe(bp_loop *l)
{
    cpu_set_t before;
    double ns = -1;

    if (l->cores < 2)
        return -1;
    /* Ranks that float meet on two cores for the probe; the others sleep. */
    (void)sched_getaffinity(0, sizeof(before), &before);
    bp_pin(l, l->rank % 2);
    meet(l, false);
    if (l->rank < 2)
        ns = trips(l);
    meet(l, l->rank >= 2);
    if (l->plan.is_floating)
        (void)sched_setaffinity(0, sizeof(before), &before);
    return ns;
}

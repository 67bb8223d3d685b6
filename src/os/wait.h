/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one waiter of the library: spin, yield, park; every wait of host code on
 * shared memory goes through it.
 *
 *     dcmi_wait w = dcmi_wait_begin(watch);
 *     while (atomic_load_explicit(flag, memory_order_acquire) != want) {
 *         st = dcmi_wait_poll(&w);
 *         if (st != DCM_OK)
 *             break;
 *     }
 *     dcmi_wait_end(&w);
 *
 * Layout          a bell (one sector of shared memory) a waiting rank, and one
 *                 count of the parked for all, which publishers read.
 * Writers and     The sleeper writes bell.parked and the count; publishers write
 * readers         bell.word.
 * Ordering        A sleeper says that it parks, then makes a heavy fence, then
 *                 looks at its condition once more, then sleeps.  A publisher
 *                 publishes, then reads the count, with no fence of its own: the
 *                 heavy fence puts one into it.  So either the sleeper sees the
 *                 condition or the publisher sees the count.  Where the system
 *                 has no heavy fence a wake-up can be missed, and the sleeper's
 *                 clock bounds that: it looks again after an eighth of what it
 *                 has waited, 0.5 to 20 ms.  It does so in any case, because a
 *                 peer that dies rings no bell.
 * Wrap            bell.word may wrap: it is compared for equality with a value
 *                 read a moment before.
 * Reset           dcmi_wait_end() takes the mark away; nothing else to reset.
 * When a peer     A sleeper that dies leaves the count raised: publishers then
 * dies            ring for nothing, which is slow and harmless, and the
 *                 communicator is failed anyway.
 *
 * Model: tests/model/test_wait.c.
 */
#ifndef DCMI_WAIT_H
#define DCMI_WAIT_H

#include <devcomm/devcomm.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "os/clock.h"

typedef struct dcmi_bell {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t word;
    _Atomic uint32_t parked;
} dcmi_bell;

/* The bells of all ranks of one object, in shared memory. */
typedef struct dcmi_bells {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t n_parked;
    dcmi_bell bell[DCM_MAX_RANKS];
} dcmi_bells;

/* What a wait looks at besides its condition.  Outlives the wait. */
typedef struct dcmi_watch {
    /*
     * Called every few microseconds of waiting; a status other than OK ends the
     * wait with it.  `expired`: the deadline has passed; the callee writes the
     * error record and returns E_TIMEOUT.
     */
    dcm_status (*check)(void *arg, bool expired);
    void *arg;
    dcmi_bells *bells; /* NULL: nobody rings; nap instead of parking */
    int rank;          /* whose bell */
    uint64_t timeout_ns;
    uint64_t spin_ns; /* 0: yield at once */
    bool parks_soon;  /* a long wait is expected: park without yielding */
} dcmi_watch;

typedef struct dcmi_wait {
    const dcmi_watch *watch;
    uint32_t polls;
    uint32_t seen; /* bell.word before the last look at the condition */
    uint64_t start_ns;
    bool is_parked;
} dcmi_wait;

/* Polls between two looks at the clock: some microseconds of pauses. */
#define DCMI_WAIT_BATCH 128u

DCMI_INLINE dcmi_wait dcmi_wait_begin(const dcmi_watch *watch)
{
    return (dcmi_wait){.watch = watch};
}

dcm_status dcmi_wait_slow(dcmi_wait *w);
void dcmi_wait_unpark(dcmi_wait *w);

/* The condition does not hold yet. */
DCMI_INLINE dcm_status dcmi_wait_poll(dcmi_wait *w)
{
    if (DCMI_LIKELY(++w->polls % DCMI_WAIT_BATCH != 0 &&
                    w->watch->spin_ns != 0)) {
        dcmi_relax();
        return DCM_OK;
    }
    return dcmi_wait_slow(w);
}

DCMI_INLINE void dcmi_wait_end(dcmi_wait *w)
{
    if (DCMI_UNLIKELY(w->polls != 0))
        dcmi_wait_unpark(w);
}

/* How long it has waited; 0 while it was too short to look at the clock. */
uint64_t dcmi_wait_ns(const dcmi_wait *w);

void dcmi_bells_ring_slow(dcmi_bells *bells, int nranks);

/* Wake whoever is parked.  Call after publishing what they may wait for. */
DCMI_INLINE void dcmi_bells_ring(dcmi_bells *bells, int nranks)
{
    if (DCMI_UNLIKELY(
            atomic_load_explicit(&bells->n_parked, memory_order_relaxed) != 0))
        dcmi_bells_ring_slow(bells, nranks);
}

/*
 * Wait until `fd` is ready for `events` (POLLIN, POLLOUT) or the watch ends it.
 * The time waited counts from *start_ns_p, set when it is 0, so that several
 * waits share one deadline.
 */
dcm_status dcmi_wait_fd(int fd, short events, const dcmi_watch *watch,
                        uint64_t *start_ns_p);

#endif /* DCMI_WAIT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* The slow half of the waiter; wait.h tells the protocol. */
#define _GNU_SOURCE
#include "os/wait.h"

#include <poll.h>
#include <sched.h>

#include "os/fiber.h"
#include "os/futex.h"

enum {
    /* Yields before parking: a wake-up costs 20 to 50 us, so be sure. */
    YIELD_NS = 200000,
    /* A nap is an eighth of what has been waited, between these. */
    NAP_LEAST_NS = 500000,
    NAP_MOST_NS = 20000000,
    NAP_PART = 8,
    FD_SLICE_MS = 20,
};

static void park_mark(dcmi_wait *w)
{
    dcmi_bells *bells = w->watch->bells;
    dcmi_bell *bell = &bells->bell[w->watch->rank];

    w->seen = atomic_load_explicit(&bell->word, memory_order_acquire);
    atomic_store_explicit(&bell->parked, 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&bells->n_parked, 1, memory_order_seq_cst);
    /* Pairs with the publisher's store and its read of n_parked. */
    (void)dcmi_heavy_fence();
    w->is_parked = true;
}

static void park_unmark(dcmi_wait *w)
{
    dcmi_bells *bells = w->watch->bells;

    atomic_store_explicit(&bells->bell[w->watch->rank].parked, 0,
                          memory_order_relaxed);
    (void)atomic_fetch_sub_explicit(&bells->n_parked, 1, memory_order_relaxed);
    w->is_parked = false;
}

/* The condition was looked at since the mark was set: sleep. */
static void park_sleep(dcmi_wait *w, uint64_t waited)
{
    const uint64_t left = w->watch->timeout_ns - waited;
    uint64_t ns = waited / NAP_PART;
    dcmi_bell *bell;

    if (ns < NAP_LEAST_NS)
        ns = NAP_LEAST_NS;
    if (ns > NAP_MOST_NS)
        ns = NAP_MOST_NS;
    if (ns > left)
        ns = left;

    if (w->watch->bells == NULL) {
        dcmi_nap_ns(ns);
        return;
    }
    bell = &w->watch->bells->bell[w->watch->rank];
    dcmi_futex_wait(&bell->word, w->seen, ns);
    w->seen = atomic_load_explicit(&bell->word, memory_order_acquire);
}

dcm_status dcmi_wait_slow(dcmi_wait *w)
{
    const dcmi_watch *watch = w->watch;
    const uint64_t now = dcmi_now_ns();
    uint64_t waited;
    dcm_status st;

    if (w->start_ns == 0)
        w->start_ns = now;
    waited = now - w->start_ns;
    st = watch->check(watch->arg, waited >= watch->timeout_ns);
    if (st != DCM_OK)
        return st;

    if (dcmi_fiber_active()) {
        dcmi_fiber_yield();
        return DCM_OK;
    }
    if (waited < watch->spin_ns) {
        dcmi_relax();
        return DCM_OK;
    }
    w->polls |= DCMI_WAIT_BATCH - 1; /* from now on every poll comes here */
    if (waited < watch->spin_ns + (watch->parks_soon ? 0 : YIELD_NS)) {
        (void)sched_yield();
        return DCM_OK;
    }
    if (!w->is_parked && watch->bells != NULL)
        park_mark(w);
    else
        park_sleep(w, waited);
    return DCM_OK;
}

void dcmi_wait_unpark(dcmi_wait *w)
{
    if (w->is_parked)
        park_unmark(w);
    dcmi_fiber_progress();
}

uint64_t dcmi_wait_ns(const dcmi_wait *w)
{
    return w->start_ns == 0 ? 0 : dcmi_now_ns() - w->start_ns;
}

void dcmi_bells_ring_slow(dcmi_bells *bells, int nranks)
{
    for (int r = 0; r < nranks; r++) {
        dcmi_bell *bell = &bells->bell[r];

        if (atomic_load_explicit(&bell->parked, memory_order_relaxed) == 0)
            continue;
        (void)atomic_fetch_add_explicit(&bell->word, 1, memory_order_release);
        dcmi_futex_wake(&bell->word);
    }
}

dcm_status dcmi_wait_fd(int fd, short events, const dcmi_watch *watch,
                        uint64_t *start_ns_p)
{
    struct pollfd p = {.fd = fd, .events = events};
    uint64_t waited;
    uint64_t left_ms;
    dcm_status st;
    int slice;

    if (*start_ns_p == 0)
        *start_ns_p = dcmi_now_ns();
    for (;;) {
        if (poll(&p, 1, 0) > 0) {
            dcmi_fiber_progress();
            return DCM_OK;
        }
        waited = dcmi_now_ns() - *start_ns_p;
        st = watch->check(watch->arg, waited >= watch->timeout_ns);
        if (st != DCM_OK)
            return st;
        if (dcmi_fiber_active()) {
            dcmi_fiber_yield();
            continue;
        }
        left_ms = (watch->timeout_ns - waited) / DCMI_NS_PER_MS + 1;
        slice = left_ms < FD_SLICE_MS ? (int)left_ms : FD_SLICE_MS;
        (void)poll(&p, 1, slice);
    }
}

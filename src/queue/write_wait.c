/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's waits: for room, for remote readers' windows, for readers that are
 * to come; and what it does meanwhile.
 */
#include "queue/write.h"

enum {
    LOOK_NS = 1000000, /* between looks at the door and at processes */
};

typedef struct room_wait {
    dcm_queue *q;
    dcmi_queue_need need;
} room_wait;

/* What the writer does now and then, whether it waits or not. */
static dcm_status tend(dcm_queue *q, const dcmi_queue_need *need)
{
    const uint64_t now = dcmi_now_ns();

    dcmi_queue_wait_tick(q, now);
    if (now - q->looked_ns < LOOK_NS)
        return DCM_OK;
    q->looked_ns = now;
    atomic_store_explicit(&q->frame->head.seen_ns, now, memory_order_relaxed);
    dcmi_queue_door_serve(q, now);
    if (q->remote != NULL)
        dcmi_remote_tend(q);
    return dcmi_queue_bury(q, need);
}

dcm_status dcmi_queue_tend(dcm_queue *q)
{
    const dcmi_queue_need all = {.records = q->n, .bytes = q->end};

    return tend(q, &all);
}

static dcm_status check_room(void *arg, bool expired)
{
    room_wait *w = arg;
    dcm_queue *q = w->q;
    dcm_status st = dcmi_queue_cancelled(q);

    if (st == DCM_OK)
        st = tend(q, &w->need);
    if (st == DCM_OK && expired) {
        dcmi_queue_scan(q);
        if (!dcmi_queue_has_room(q, &w->need))
            st = dcmi_queue_late(q, &w->need);
    }
    return st;
}

dcm_status dcmi_queue_await_room(dcm_queue *q, const dcmi_queue_need *need,
                                 dcmi_queue_deadline *d)
{
    room_wait arg = {.q = q, .need = *need};
    dcmi_watch watch;
    dcm_status st;
    uint64_t now;
    dcmi_wait w;

    dcmi_queue_scan(q);
    if (dcmi_queue_has_room(q, need))
        return DCM_OK;
    now = dcmi_now_ns();
    if (d->timeout_ns == 0 ||
        ((q->flags & DCM_QUEUE_FAIL_ON_LATE) != 0 && !d->has_begun)) {
        if (d->timeout_ns != 0)
            q->looked_ns = 0; /* it may be dead: look now */
        st = tend(q, need);
        dcmi_queue_scan(q);
        if (st != DCM_OK || dcmi_queue_has_room(q, need))
            return st;
        return d->timeout_ns == 0 ? DCM_AGAIN : dcmi_queue_late(q, need);
    }
    if (d->until_ns == 0)
        d->until_ns =
            now + d->timeout_ns < now ? UINT64_MAX : now + d->timeout_ns;
    watch = dcmi_queue_watch(q, check_room, &arg,
                             d->until_ns > now ? d->until_ns - now : 0);
    w = dcmi_wait_begin(&watch);
    do {
        st = dcmi_wait_poll(&w);
        dcmi_queue_scan(q);
    } while (st == DCM_OK && !dcmi_queue_has_room(q, need));
    dcmi_queue_wait_end(q, &w);
    return st;
}

dcm_status dcmi_queue_await_remote(dcm_queue *q, uint64_t bytes,
                                   dcmi_queue_deadline *d)
{
    const uint64_t now = dcmi_now_ns();
    uint64_t ns = d->timeout_ns;

    if (ns != 0) {
        d->until_ns = now + ns < now ? UINT64_MAX : now + ns;
        if ((q->flags & DCM_QUEUE_FAIL_ON_LATE) != 0)
            ns = 1;
    }
    return dcmi_remote_await(q, bytes, ns);
}

/* ---- chunks ----------------------------------------------------------------- */

dcm_status dcmi_queue_await_free(dcm_queue *q, uint32_t timeout_ms)
{
    const uint64_t n = q->g.nslots;
    const dcmi_queue_need need = {.records = q->n < n ? 0 : q->n - n + 1};
    dcmi_queue_deadline d = dcmi_queue_deadline_of(q, timeout_ms);
    dcm_status st = dcmi_queue_tend(q);

    if (st != DCM_OK || dcmi_queue_has_room(q, &need))
        return st;
    return dcmi_queue_await_room(q, &need, &d);
}

/* ---- behind the last record ----------------------------------------------- */

dcm_status dcmi_queue_await_read(dcm_queue *q, uint64_t timeout_ns)
{
    const dcmi_queue_need need = {.records = q->n};
    dcmi_queue_deadline d = {.timeout_ns = timeout_ns, .has_begun = true};

    return dcmi_queue_has_room(q, &need) ? DCM_OK
                                         : dcmi_queue_await_room(q, &need, &d);
}

/* ---- before the first record ---------------------------------------------- */

typedef struct ready_wait {
    dcm_queue *q;
    int missing; /* the first that has not attached; -1: a remote one */
} ready_wait;

static bool all_have_come(ready_wait *w)
{
    w->missing = -1;
    for (int r = 0; r < (int)w->q->g.nreaders; r++) {
        const uint64_t who = atomic_load_explicit(&w->q->frame->entry[r].who,
                                                  memory_order_acquire);

        if (DCMI_WHO_STATE(who) == DCMI_ENTRY_EXPECTED ||
            DCMI_WHO_STATE(who) == DCMI_ENTRY_CLAIMED) {
            w->missing = r;
            return false;
        }
    }
    return w->q->remote == NULL || dcmi_remote_is_complete(w->q);
}

static dcm_status check_ready(void *arg, bool expired)
{
    ready_wait *w = arg;
    dcm_status st = dcmi_queue_cancelled(w->q);

    if (st == DCM_OK)
        st = dcmi_queue_tend(w->q);
    if (st == DCM_OK && expired)
        st = w->missing >= 0
                 ? dcmi_err(DCM_E_TIMEOUT, "queue: reader %d has not attached",
                            w->missing)
                 : dcmi_err(DCM_E_TIMEOUT,
                            "queue: not all remote readers have attached");
    return st;
}

dcm_status dcmi_queue_writer_ready(dcm_queue *q, uint64_t timeout_ns)
{
    ready_wait arg = {.q = q};
    const dcmi_watch watch = dcmi_queue_watch(q, check_ready, &arg, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    while (st == DCM_OK && !all_have_come(&arg))
        st = dcmi_wait_poll(&w);
    dcmi_queue_wait_end(q, &w);
    if (st != DCM_OK)
        return st;
    atomic_store_explicit(&q->frame->head.ready, 1, memory_order_release);
    dcmi_queue_ring_readers(q);
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A reader's waits: for a record, more of it, a chunk, or all the others. */
#include "queue/read.h"

bool dcmi_read_has_come(const dcmi_read_wait *w)
{
    if (w->is_for_bytes)
        return atomic_load_explicit(&w->slot->u.arena.filled,
                                    memory_order_acquire) != w->filled;
    /* Each of the two says that the bytes are there: the writer's order. */
    if (w->chunk != NULL)
        return atomic_load_explicit(&w->chunk->written, memory_order_acquire) ==
                   1 &&
               atomic_load_explicit(&w->chunk->read[w->q->me],
                                    memory_order_acquire) == 0;
    return atomic_load_explicit(&w->slot->seq, memory_order_acquire) ==
           w->q->n + 1;
}

/*
 * While it waits for a record, everything before is over: bytes that it skipped
 * (those of a record published before it joined) must not hold the writer up.
 */
static void give_back(dcm_queue *q, dcmi_queue_entry *e)
{
    const dcmi_queue_head *h = &q->frame->head;
    const uint64_t end = atomic_load_explicit(&h->end, memory_order_acquire);

    if (end > q->end &&
        atomic_load_explicit(&h->published, memory_order_acquire) == q->n) {
        q->end = end;
        atomic_store_explicit(&e->bytes, end, memory_order_release);
        dcmi_bells_ring(&q->frame->writer_bells, 1);
    }
}

/* What ends a wait besides what it waits for; dcmi_read_has_come() is looked at last. */
static dcm_status find_end(dcmi_read_wait *w, uint64_t now)
{
    dcm_queue *q = w->q;
    const dcmi_queue_head *h = &q->frame->head;

    if (atomic_load_explicit(&q->frame->entry[q->me].who,
                             memory_order_acquire) != q->who)
        return dcmi_err(DCM_E_PEER, "queue: the writer has dropped reader %d",
                        q->me);
    if (!w->is_for_bytes &&
        atomic_load_explicit(&h->published, memory_order_acquire) > q->n)
        return dcmi_read_has_come(w)
                   ? DCM_OK
                   : dcmi_queue_corrupt(q, "not there of",
                                        q->frame->head.published);
    if (w->is_for_bytes &&
        atomic_load_explicit(&h->writing, memory_order_acquire) != q->n + 1)
        return dcmi_read_has_come(w)
                   ? DCM_OK
                   : dcmi_queue_corrupt(q, "nothing follows byte", w->filled);
    if (atomic_load_explicit(&h->closed, memory_order_acquire) != 0)
        return dcmi_read_has_come(w) ? DCM_OK
                                     : dcmi_err(DCM_E_PEER,
                                                "queue: the writer (pid %d) "
                                                "has closed it",
                                                q->writer.pid);
    if (dcmi_queue_writer_is_gone(q, now) && !dcmi_read_has_come(w))
        return dcmi_err(DCM_E_PEER, "queue: the writer (pid %d) died",
                        q->writer.pid);
    return DCM_OK;
}

static dcm_status check_record(void *arg, bool expired)
{
    dcmi_read_wait *w = arg;
    dcm_queue *q = w->q;
    dcmi_queue_entry *e = &q->frame->entry[q->me];
    const uint64_t now = dcmi_now_ns();
    dcm_status st = dcmi_queue_cancelled(q);

    if (st != DCM_OK)
        return st;
    dcmi_queue_wait_tick(q, now);
    atomic_store_explicit(&e->seen_ns, now, memory_order_relaxed);
    atomic_store_explicit(&e->is_waiting, 1, memory_order_relaxed);
    if (!w->is_for_bytes)
        give_back(q, e);
    st = find_end(w, now);
    if (st == DCM_OK && expired && !dcmi_read_has_come(w))
        st = dcmi_err(DCM_E_TIMEOUT,
                      "queue: record %llu has not come; the writer (pid %d) "
                      "is alive",
                      (unsigned long long)q->n, q->writer.pid);
    return st;
}

dcm_status dcmi_read_await(dcmi_read_wait *arg, uint64_t timeout_ns)
{
    dcm_queue *q = arg->q;
    const dcmi_watch watch = dcmi_queue_watch(q, check_record, arg, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st;

    do {
        /* Both lines of a small record come together. */
        __builtin_prefetch((const char *)arg->slot + DCMI_LINE);
        st = dcmi_wait_poll(&w);
    } while (st == DCM_OK && !dcmi_read_has_come(arg));
    dcmi_queue_wait_end(q, &w);
    if (q->last_ns != 0)
        atomic_store_explicit(&q->frame->entry[q->me].is_waiting, 0,
                              memory_order_relaxed);
    return st;
}

dcm_status dcmi_read_look(dcmi_read_wait *w)
{
    dcm_status st = check_record(w, false);

    atomic_store_explicit(&w->q->frame->entry[w->q->me].is_waiting, 0,
                          memory_order_relaxed);
    return st != DCM_OK || dcmi_read_has_come(w) ? st : DCM_AGAIN;
}

dcm_status dcmi_queue_await_chunk(dcm_queue *q, uint32_t timeout_ms)
{
    dcmi_read_wait w = {.q = q,
                        .slot = dcmi_queue_slot_of(q),
                        .chunk = dcmi_queue_flags_of(q, q->n)};

    return dcmi_read_has_come(&w)
               ? DCM_OK
               : dcmi_read_await(&w, dcmi_read_timeout(timeout_ms));
}

/* ---- before the first record ---------------------------------------------- */

static dcm_status check_ready(void *arg, bool expired)
{
    dcmi_read_wait *w = arg;
    const uint64_t now = dcmi_now_ns();
    dcm_status st = dcmi_queue_cancelled(w->q);

    dcmi_queue_wait_tick(w->q, now);
    if (st == DCM_OK)
        st = find_end(w, now);
    if (st == DCM_OK && expired)
        st = dcmi_err(DCM_E_TIMEOUT,
                      "queue: the writer (pid %d) has not seen all its "
                      "readers yet",
                      w->q->writer.pid);
    return st;
}

static dcm_status await_ready(dcm_queue *q, uint64_t timeout_ns)
{
    dcmi_read_wait arg = {
        .q = q,
        .slot = dcmi_queue_slot_of(q),
        .chunk = q->g.kind == DCMI_QUEUE_CHUNKS ? dcmi_queue_flags_of(q, q->n)
                                                : NULL,
    };
    const dcmi_watch watch = dcmi_queue_watch(q, check_ready, &arg, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    while (st == DCM_OK && !dcmi_read_has_come(&arg) &&
           atomic_load_explicit(&q->frame->head.ready, memory_order_acquire) ==
               0)
        st = dcmi_wait_poll(&w);
    dcmi_queue_wait_end(q, &w);
    return st;
}

dcm_status dcmi_queue_reader_ready(dcm_queue *q, uint64_t timeout_ns)
{
    if (q->link_far != NULL)
        return DCM_OK; /* it was welcomed */
    return await_ready(q, timeout_ns);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A reader that copies records out; what opens and hands back all of them. */
#include "queue/read.h"

#include <string.h>

enum {
    STREAM_PART = 8, /* of the ring: what is copied before it is handed back */
};

/* Record q->n has begun; q->view says what it is. */
static dcm_status open_view(dcm_queue *q, const dcmi_queue_slot *slot)
{
    const uint64_t info =
        atomic_load_explicit(&slot->info, memory_order_relaxed);
    dcmi_queue_view *v = &q->view;

    v->bytes = info & ~DCMI_QUEUE_IN_ARENA;
    v->is_inline = (info & DCMI_QUEUE_IN_ARENA) == 0;
    v->done = 0;
    v->held = 0;
    v->is_lost = false;
    v->data = slot->u.data;
    if (DCMI_UNLIKELY(v->bytes > q->g.max_record ||
                      (v->is_inline && v->bytes > DCMI_QUEUE_INLINE)))
        return dcmi_queue_corrupt(q, "its length is", v->bytes);
    if (!v->is_inline) {
        v->at = atomic_load_explicit(&slot->u.arena.at, memory_order_relaxed);
        if (v->at - q->end > q->g.arena_bytes)
            return dcmi_queue_corrupt(q, "it begins at byte", v->at);
    }
    v->is_open = true;
    return DCM_OK;
}

static DCMI_COLD dcm_status lost(const dcm_queue *q)
{
    return dcmi_err(DCM_E_PEER,
                    "queue: record %llu, of %llu bytes, ended after %llu",
                    (unsigned long long)q->n, (unsigned long long)q->view.bytes,
                    (unsigned long long)q->view.done);
}

static bool is_given_up(const dcm_queue *q, const dcmi_queue_slot *slot)
{
    return !q->view.is_inline &&
           (atomic_load_explicit(&slot->u.arena.filled, memory_order_acquire) &
            DCMI_QUEUE_GIVEN_UP) != 0;
}

static DCMI_COLD dcm_status begin_far(dcm_queue *q, bool is_try,
                                      uint32_t timeout_ms)
{
    dcmi_queue_view v = {.is_open = true, .is_inline = true};
    dcm_status st = dcmi_remote_begin(q, &v.data, &v.bytes, is_try,
                                      dcmi_read_timeout(timeout_ms));

    if (st == DCM_OK)
        q->view = v;
    return st;
}

dcm_status dcmi_read_begin(dcm_queue *q, bool is_try, uint32_t timeout_ms)
{
    dcmi_read_wait w = {.q = q, .slot = dcmi_queue_slot_of(q)};
    dcm_status st = DCM_OK;

    if (q->view.is_open)
        return q->view.is_lost ? lost(q) : DCM_OK;
    if (DCMI_UNLIKELY(q->link_far != NULL))
        return begin_far(q, is_try, timeout_ms);
    for (;;) {
        if (DCMI_UNLIKELY(!dcmi_read_has_come(&w)))
            st = is_try ? dcmi_read_look(&w)
                        : dcmi_read_await(&w, dcmi_read_timeout(timeout_ms));
        if (st == DCM_OK)
            st = open_view(q, w.slot);
        if (st != DCM_OK || DCMI_LIKELY(!is_given_up(q, w.slot)))
            return st;
        st = dcmi_read_finish(q);
        if (st != DCM_OK)
            return st;
        w.slot = dcmi_queue_slot_of(q);
    }
}

dcm_status dcmi_read_more(dcm_queue *q, uint64_t *there_p)
{
    dcmi_queue_view *v = &q->view;
    dcmi_read_wait w = {.q = q,
                        .slot = dcmi_queue_slot_of(q),
                        .is_for_bytes = true,
                        .filled = v->done};
    uint64_t filled;
    dcm_status st;

    if (!dcmi_read_has_come(&w)) {
        st = dcmi_read_await(
            &w, UINT64_MAX); /* the writer is at it: bounded by its life */
        v->is_lost = st == DCM_E_PEER;
        if (st != DCM_OK)
            return st;
    }
    filled =
        atomic_load_explicit(&w.slot->u.arena.filled, memory_order_acquire);
    if ((filled & DCMI_QUEUE_GIVEN_UP) != 0) {
        st = dcmi_read_finish(q);
        return st == DCM_OK ? DCM_AGAIN : st;
    }
    if (filled < v->done || filled > v->bytes ||
        filled - v->done > q->g.arena_bytes)
        return dcmi_queue_corrupt(q, "filled to", filled);
    *there_p = filled - v->done;
    return DCM_OK;
}

void dcmi_read_pass(dcm_queue *q)
{
    if (!dcmi_read_is_stream(q))
        return;
    q->end = q->view.at + q->view.done;
    atomic_store_explicit(&q->frame->entry[q->me].bytes, q->end,
                          memory_order_release);
    dcmi_bells_ring(&q->frame->writer_bells, 1);
}

static dcm_status copy_arena(dcm_queue *q, unsigned char *dst)
{
    dcmi_queue_view *v = &q->view;
    const uint64_t most = dcmi_read_is_stream(q)
                              ? q->g.arena_bytes / STREAM_PART
                              : q->g.arena_bytes;
    uint64_t offset;
    uint64_t n;
    dcm_status st;

    while (v->done < v->bytes) {
        st = dcmi_read_more(q, &n);
        if (st != DCM_OK)
            return st;
        offset = (v->at + v->done) & q->arena_mask;
        n = dcmi_queue_least(dcmi_queue_least(n, most),
                             q->g.arena_bytes - offset);
        memcpy(dst + v->done, q->arena + offset, n);
        v->done += n;
        dcmi_read_pass(q);
    }
    return DCM_OK;
}

static dcm_status take(dcm_queue *q, size_t *bytes_p, void *dst,
                       size_t capacity)
{
    dcmi_queue_view *v = &q->view;
    const uint64_t bytes = v->bytes;
    dcm_status st = DCM_OK;

    if (DCMI_UNLIKELY(v->done != 0 || v->held != 0))
        return dcmi_err(DCM_E_INVAL,
                        "queue: record %llu is being peeked at; advance first",
                        (unsigned long long)q->n);
    if (DCMI_UNLIKELY(bytes > capacity))
        return dcmi_err(DCM_E_INVAL,
                        "queue: record of %llu bytes, room for %zu",
                        (unsigned long long)bytes, capacity);
    if (v->is_inline && bytes > 0)
        memcpy(dst, v->data, bytes);
    else if (!v->is_inline)
        st = copy_arena(q, dst);
    if (st == DCM_OK)
        st = dcmi_read_finish(q);
    if (st == DCM_OK)
        *bytes_p = bytes;
    return st;
}

static dcm_status dequeue(dcm_queue *q, size_t *bytes_p, void *dst,
                          size_t capacity, bool is_try, uint32_t timeout_ms)
{
    dcm_status st;

    if (DCMI_UNLIKELY(bytes_p == NULL || (dst == NULL && capacity > 0)))
        return dcmi_err(DCM_E_INVAL, "dcm_queue_dequeue: NULL argument");
    do {
        st = dcmi_read_begin(q, is_try, timeout_ms);
        if (st != DCM_OK)
            return st;
        st = take(q, bytes_p, dst, capacity);
    } while (st == DCM_AGAIN); /* it was given up: the next one */
    return st;
}

dcm_status dcm_queue_dequeue(dcm_queue *queue, size_t *bytes_p, void *dst,
                             size_t capacity, uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_dequeue");

    return st != DCM_OK
               ? st
               : dequeue(queue, bytes_p, dst, capacity, false, timeout_ms);
}

dcm_status dcm_queue_try_dequeue(dcm_queue *queue, size_t *bytes_p, void *dst,
                                 size_t capacity)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_try_dequeue");

    return st != DCM_OK ? st : dequeue(queue, bytes_p, dst, capacity, true, 0);
}

dcm_status dcm_queue_next(dcm_queue *queue, size_t *bytes_p,
                          uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_next");

    if (st != DCM_OK)
        return st;
    if (bytes_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_next: NULL argument");
    st = dcmi_read_begin(queue, false, timeout_ms);
    if (st == DCM_OK)
        *bytes_p = queue->view.bytes;
    return st;
}

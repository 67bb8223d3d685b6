/* SPDX-License-Identifier: Apache-2.0 */
/* A reader: waiting for records, copying them out, looking at them in place. */
#include "queue/queue.h"

#include <string.h>

#include "base/err.h"
#include "os/clock.h"

enum {
    STREAM_PART = 8, /* of the ring: what is copied before it is handed back */
};

typedef struct record_wait {
    dcm_queue *q;
    const dcmi_queue_slot *slot;
    const dcmi_queue_flags *chunk; /* instead of a slot; else NULL */
    bool is_for_bytes; /* of a record that has begun; else for its begin */
    uint64_t filled;   /* what of it is known */
} record_wait;

static bool has_come(const record_wait *w)
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

/* What ends a wait besides what it waits for; has_come() is looked at last. */
static dcm_status find_end(record_wait *w, uint64_t now)
{
    dcm_queue *q = w->q;
    const dcmi_queue_head *h = &q->frame->head;

    if (atomic_load_explicit(&q->frame->entry[q->me].who,
                             memory_order_acquire) != q->who)
        return dcmi_err(DCM_E_PEER, "queue: the writer has dropped reader %d",
                        q->me);
    if (!w->is_for_bytes &&
        atomic_load_explicit(&h->published, memory_order_acquire) > q->n)
        return has_come(w) ? DCM_OK
                           : dcmi_queue_corrupt(q, "not there of",
                                                q->frame->head.published);
    if (w->is_for_bytes &&
        atomic_load_explicit(&h->writing, memory_order_acquire) != q->n + 1)
        return has_come(w)
                   ? DCM_OK
                   : dcmi_queue_corrupt(q, "nothing follows byte", w->filled);
    if (atomic_load_explicit(&h->closed, memory_order_acquire) != 0)
        return has_come(w) ? DCM_OK
                           : dcmi_err(DCM_E_PEER,
                                      "queue: the writer (pid %d) "
                                      "has closed it",
                                      q->writer.pid);
    if (dcmi_queue_writer_is_gone(q, now) && !has_come(w))
        return dcmi_err(DCM_E_PEER, "queue: the writer (pid %d) died",
                        q->writer.pid);
    return DCM_OK;
}

static dcm_status check_record(void *arg, bool expired)
{
    record_wait *w = arg;
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
    if (st == DCM_OK && expired && !has_come(w))
        st = dcmi_err(DCM_E_TIMEOUT,
                      "queue: record %llu has not come; the writer (pid %d) "
                      "is alive",
                      (unsigned long long)q->n, q->writer.pid);
    return st;
}

static DCMI_COLD dcm_status await(record_wait *arg, uint64_t timeout_ns)
{
    dcm_queue *q = arg->q;
    const dcmi_watch watch = dcmi_queue_watch(q, check_record, arg, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st;

    do {
        /* Both lines of a small record come together. */
        __builtin_prefetch((const char *)arg->slot + DCMI_LINE);
        st = dcmi_wait_poll(&w);
    } while (st == DCM_OK && !has_come(arg));
    dcmi_queue_wait_end(q, &w);
    if (q->last_ns != 0)
        atomic_store_explicit(&q->frame->entry[q->me].is_waiting, 0,
                              memory_order_relaxed);
    return st;
}

static uint64_t timeout_of(uint32_t timeout_ms)
{
    return timeout_ms == 0 ? UINT64_MAX : timeout_ms * DCMI_NS_PER_MS;
}

static dcmi_queue_slot *slot_of(dcm_queue *q)
{
    return &q->slots[q->n & q->slot_mask];
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Without waiting: AGAIN, or what a wait would end with. */
static dcm_status look(record_wait *w)
{
    dcm_status st = check_record(w, false);

    atomic_store_explicit(&w->q->frame->entry[w->q->me].is_waiting, 0,
                          memory_order_relaxed);
    return st != DCM_OK || has_come(w) ? st : DCM_AGAIN;
}

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

/* Hand the record back; E_PEER when the writer did not count us meanwhile. */
DCMI_INLINE dcm_status finish(dcm_queue *q)
{
    dcmi_queue_entry *e;

    if (DCMI_UNLIKELY(q->link_far != NULL)) {
        q->view.is_open = false;
        dcmi_remote_finish(q, q->view.bytes);
        return DCM_OK;
    }
    e = &q->frame->entry[q->me];
    dcmi_queue_fence();
    if (DCMI_UNLIKELY(atomic_load_explicit(&e->who, memory_order_relaxed) !=
                      q->who))
        return dcmi_err(DCM_E_PEER, "queue: the writer has dropped reader %d",
                        q->me);
    if (!q->view.is_inline) {
        q->end = q->view.at + q->view.bytes;
        atomic_store_explicit(&e->bytes, q->end, memory_order_release);
    }
    q->view.is_open = false;
    q->n++;
    atomic_store_explicit(&e->records, q->n, memory_order_release);
    dcmi_bells_ring(&q->frame->writer_bells, 1);
    return DCM_OK;
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
    dcm_status st =
        dcmi_remote_begin(q, &v.data, &v.bytes, is_try, timeout_of(timeout_ms));

    if (st == DCM_OK)
        q->view = v;
    return st;
}

/* Wait for the next record that was not given up to begin, and open it. */
static dcm_status begin(dcm_queue *q, bool is_try, uint32_t timeout_ms)
{
    record_wait w = {.q = q, .slot = slot_of(q)};
    dcm_status st = DCM_OK;

    if (q->view.is_open)
        return q->view.is_lost ? lost(q) : DCM_OK;
    if (DCMI_UNLIKELY(q->link_far != NULL))
        return begin_far(q, is_try, timeout_ms);
    for (;;) {
        if (!has_come(&w))
            st = is_try ? look(&w) : await(&w, timeout_of(timeout_ms));
        if (st == DCM_OK)
            st = open_view(q, w.slot);
        if (st != DCM_OK || DCMI_LIKELY(!is_given_up(q, w.slot)))
            return st;
        st = finish(q);
        if (st != DCM_OK)
            return st;
        w.slot = slot_of(q);
    }
}

static bool is_stream(const dcm_queue *q)
{
    return !q->view.is_inline && q->view.bytes > q->g.arena_bytes / 2;
}

/*
 * How many bytes behind view.done are there, at least one; waits.  AGAIN: the
 * writer gave the record up, and it has been finished.
 */
static dcm_status more(dcm_queue *q, uint64_t *there_p)
{
    dcmi_queue_view *v = &q->view;
    record_wait w = {
        .q = q, .slot = slot_of(q), .is_for_bytes = true, .filled = v->done};
    uint64_t filled;
    dcm_status st;

    if (!has_come(&w)) {
        st = await(&w,
                   UINT64_MAX); /* the writer is at it: bounded by its life */
        v->is_lost = st == DCM_E_PEER;
        if (st != DCM_OK)
            return st;
    }
    filled =
        atomic_load_explicit(&w.slot->u.arena.filled, memory_order_acquire);
    if ((filled & DCMI_QUEUE_GIVEN_UP) != 0) {
        st = finish(q);
        return st == DCM_OK ? DCM_AGAIN : st;
    }
    if (filled < v->done || filled > v->bytes ||
        filled - v->done > q->g.arena_bytes)
        return dcmi_queue_corrupt(q, "filled to", filled);
    *there_p = filled - v->done;
    return DCM_OK;
}

/* The bytes before `done` are not needed any more, where it matters. */
static void pass(dcm_queue *q)
{
    if (!is_stream(q))
        return;
    q->end = q->view.at + q->view.done;
    atomic_store_explicit(&q->frame->entry[q->me].bytes, q->end,
                          memory_order_release);
    dcmi_bells_ring(&q->frame->writer_bells, 1);
}

static dcm_status copy_arena(dcm_queue *q, unsigned char *dst)
{
    dcmi_queue_view *v = &q->view;
    const uint64_t most =
        is_stream(q) ? q->g.arena_bytes / STREAM_PART : q->g.arena_bytes;
    uint64_t offset;
    uint64_t n;
    dcm_status st;

    while (v->done < v->bytes) {
        st = more(q, &n);
        if (st != DCM_OK)
            return st;
        offset = (v->at + v->done) & q->arena_mask;
        n = least(least(n, most), q->g.arena_bytes - offset);
        memcpy(dst + v->done, q->arena + offset, n);
        v->done += n;
        pass(q);
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
        st = finish(q);
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
        st = begin(q, is_try, timeout_ms);
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
    st = begin(queue, false, timeout_ms);
    if (st == DCM_OK)
        *bytes_p = queue->view.bytes;
    return st;
}

/* ---- in place ------------------------------------------------------------- */

/* Bytes of the record from view.done on that are there and contiguous. */
static dcm_status show(dcm_queue *q, uint64_t *n_p)
{
    dcmi_queue_view *v = &q->view;
    const uint64_t left = v->bytes - v->done;
    record_wait w = {.q = q, .slot = slot_of(q), .is_for_bytes = true};
    uint64_t offset;
    uint64_t n = 0;
    dcm_status st;

    if (v->is_inline || left == 0) {
        *n_p = left;
        return DCM_OK;
    }
    st = more(q, &n);
    /* A contiguous record is shown whole: wait for the rest of it. */
    while (st == DCM_OK && !is_stream(q) && n < left) {
        w.filled = v->done + n;
        st = has_come(&w) ? DCM_OK : await(&w, UINT64_MAX);
        if (st == DCM_OK)
            st = more(q, &n);
    }
    if (st == DCM_AGAIN)
        return dcmi_err(DCM_E_ABORTED,
                        "queue: the writer gave record %llu up half-way",
                        (unsigned long long)q->n - 1);
    offset = (v->at + v->done) & q->arena_mask;
    if (st == DCM_OK)
        *n_p = least(least(n, left), q->g.arena_bytes - offset);
    return st;
}

static dcm_status peek(dcm_queue *q, const void **ptr_p, size_t *bytes_p,
                       size_t *left_p, bool is_try, uint32_t timeout_ms)
{
    dcmi_queue_view *v = &q->view;
    uint64_t n = 0;
    dcm_status st;

    if (ptr_p == NULL || bytes_p == NULL || left_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_peek: NULL argument");
    st = begin(q, is_try, timeout_ms);
    if (st == DCM_OK)
        st = show(q, &n);
    if (st != DCM_OK)
        return st;
    v->held = n;
    *ptr_p = v->is_inline ? v->data + v->done
                          : q->arena + ((v->at + v->done) & q->arena_mask);
    *bytes_p = n;
    *left_p = v->bytes - v->done - n;
    return DCM_OK;
}

dcm_status dcm_queue_peek(dcm_queue *queue, const void **ptr_p, size_t *bytes_p,
                          size_t *left_p, uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_peek");

    return st != DCM_OK
               ? st
               : peek(queue, ptr_p, bytes_p, left_p, false, timeout_ms);
}

dcm_status dcm_queue_try_peek(dcm_queue *queue, const void **ptr_p,
                              size_t *bytes_p, size_t *left_p)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_try_peek");

    return st != DCM_OK ? st : peek(queue, ptr_p, bytes_p, left_p, true, 0);
}

dcm_status dcm_queue_advance(dcm_queue *queue, size_t bytes)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_READER, "dcm_queue_advance");
    dcmi_queue_view *v;

    if (st != DCM_OK)
        return st;
    v = &queue->view;
    if (!v->is_open || bytes > v->held)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_advance: %zu bytes where %llu are shown",
                        bytes, v->is_open ? (unsigned long long)v->held : 0);
    v->done += bytes;
    v->held -= bytes;
    if (v->done == v->bytes)
        return finish(queue);
    pass(queue);
    return DCM_OK;
}

/* ---- chunks ----------------------------------------------------------------- */

dcm_status dcmi_queue_await_chunk(dcm_queue *q, uint32_t timeout_ms)
{
    record_wait w = {
        .q = q, .slot = slot_of(q), .chunk = dcmi_queue_flags_of(q, q->n)};

    return has_come(&w) ? DCM_OK : await(&w, timeout_of(timeout_ms));
}

/* ---- before the first record ---------------------------------------------- */

static dcm_status check_ready(void *arg, bool expired)
{
    record_wait *w = arg;
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
    record_wait arg = {
        .q = q,
        .slot = slot_of(q),
        .chunk = q->g.kind == DCMI_QUEUE_CHUNKS ? dcmi_queue_flags_of(q, q->n)
                                                : NULL,
    };
    const dcmi_watch watch = dcmi_queue_watch(q, check_ready, &arg, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    while (st == DCM_OK && !has_come(&arg) &&
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

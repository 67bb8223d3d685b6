/* SPDX-License-Identifier: Apache-2.0 */
/* The writer: publication, records that stream; layout.h, "Ordering". */
#include "queue/write.h"

#include <string.h>

enum {
    TEND_EVERY = 256,    /* records, between looks at the clock */
    PIECE_BYTES = 16384, /* what readers get at once of a longer record */
    STREAM_PART = 4,     /* of the ring: the piece of a record that streams */
};

/* Bytes of a record, out of several buffers. */
typedef struct source {
    const dcm_queue_part *parts;
    size_t used; /* of the first part */
} source;

/* Where a record's bytes go. */
typedef struct extent {
    uint64_t at;
    uint64_t bytes;
    uint64_t piece;
    bool is_stream; /* longer than half the ring: room comes piece by piece */
} extent;

void dcmi_queue_publish_arena(dcm_queue *q, dcmi_queue_slot *slot, uint64_t at,
                              uint64_t bytes, uint64_t filled)
{
    atomic_store_explicit(&slot->info, bytes | DCMI_QUEUE_IN_ARENA,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->u.arena.at, at, memory_order_relaxed);
    atomic_store_explicit(&slot->u.arena.filled, filled, memory_order_relaxed);
    q->end = at + bytes;
    dcmi_queue_publish(q, slot);
    atomic_store_explicit(&q->frame->head.end, q->end, memory_order_release);
    dcmi_queue_ring_readers(q);
}

uint64_t dcmi_queue_place(const dcm_queue *q, uint64_t bytes)
{
    const uint64_t all = q->g.arena_bytes;
    uint64_t at = (q->end + DCMI_QUEUE_ALIGN - 1) & ~(DCMI_QUEUE_ALIGN - 1ull);

    if (bytes <= all / 2 && (at & q->arena_mask) + bytes > all)
        at += all - (at & q->arena_mask);
    return at;
}

/* Copy the next `bytes` of the source to position `at`, which may wrap. */
static void fill(dcm_queue *q, uint64_t at, source *s, uint64_t bytes)
{
    while (bytes > 0) {
        const uint64_t offset = at & q->arena_mask;
        uint64_t n = s->parts->bytes - s->used;

        if (n == 0) {
            s->parts++;
            s->used = 0;
            continue;
        }
        if (n > bytes)
            n = bytes;
        if (n > q->g.arena_bytes - offset)
            n = q->g.arena_bytes - offset;
        memcpy(q->arena + offset, (const char *)s->parts->src + s->used, n);
        s->used += n;
        at += n;
        bytes -= n;
    }
}

/* More pieces of record q->n are to come, or (false) none of any record. */
static void set_writing(dcm_queue *q, bool is_on)
{
    atomic_store_explicit(&q->frame->head.writing, is_on ? q->n + 1 : 0,
                          memory_order_release);
}

/* All pieces of a record behind the first one. */
static dcm_status write_rest(dcm_queue *q, dcmi_queue_slot *slot, source *s,
                             const extent *e, dcmi_queue_deadline *d)
{
    dcm_status st = DCM_OK;
    uint64_t done = e->piece;
    uint64_t n;

    for (; done < e->bytes; done += n) {
        n = dcmi_queue_least(e->piece, e->bytes - done);
        if (e->is_stream)
            st = dcmi_queue_need_room(q, e->at + done + n, d);
        if (st != DCM_OK) {
            atomic_store_explicit(&slot->u.arena.filled,
                                  done | DCMI_QUEUE_GIVEN_UP,
                                  memory_order_release);
            break;
        }
        fill(q, e->at + done, s, n);
        atomic_store_explicit(&slot->u.arena.filled, done + n,
                              memory_order_release);
        dcmi_queue_ring_readers(q);
    }
    set_writing(q, false);
    dcmi_queue_ring_readers(q);
    return st;
}

/* A record in the arena, of which readers get one piece after the other. */
static dcm_status write_pieces(dcm_queue *q, source *s, uint64_t bytes,
                               dcmi_queue_deadline *d)
{
    const uint64_t all = q->g.arena_bytes;
    dcmi_queue_slot *slot = dcmi_queue_slot_of(q);
    const extent e = {
        .at = dcmi_queue_place(q, bytes),
        .bytes = bytes,
        .piece = dcmi_queue_least(PIECE_BYTES, all / STREAM_PART),
        .is_stream = bytes > all / 2,
    };
    const uint64_t first = dcmi_queue_least(e.piece, bytes);
    dcm_status st;

    st = dcmi_queue_need_room(q, e.at + (e.is_stream ? first : bytes), d);
    if (st != DCM_OK)
        return st;
    d->has_begun = true;
    fill(q, e.at, s, first);
    if (first < bytes)
        set_writing(q, true);
    dcmi_queue_publish_arena(q, slot, e.at, bytes, first);
    return first < bytes ? write_rest(q, slot, s, &e, d) : DCM_OK;
}

static dcm_status write_inline(dcm_queue *q, source *s, uint64_t bytes,
                               dcmi_queue_deadline *d)
{
    dcmi_queue_slot *slot = dcmi_queue_slot_of(q);
    unsigned char *to = slot->u.data;
    dcm_status st = dcmi_queue_need_room(q, 0, d);

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    for (uint64_t left = bytes; left > 0; s->parts++) {
        if (s->parts->bytes == 0)
            continue;
        memcpy(to, s->parts->src, s->parts->bytes);
        to += s->parts->bytes;
        left -= s->parts->bytes;
    }
    atomic_store_explicit(&slot->info, bytes, memory_order_relaxed);
    dcmi_queue_publish(q, slot);
    dcmi_queue_ring_readers(q);
    return DCM_OK;
}

static dcm_status too_long(const dcm_queue *q, uint64_t bytes)
{
    return dcmi_err(
        DCM_E_INVAL, "queue: record of %llu bytes; the longest is %llu",
        (unsigned long long)bytes, (unsigned long long)q->g.max_record);
}

static void gather(unsigned char *to, const source *s, uint64_t bytes)
{
    for (const dcm_queue_part *p = s->parts; bytes > 0; p++) {
        if (p->bytes == 0)
            continue;
        memcpy(to, p->src, p->bytes);
        to += p->bytes;
        bytes -= p->bytes;
    }
}

/*
 * To both kinds of readers or to none: what can fail for the remote ones comes
 * before the record is published here, and what cannot comes behind.
 */
static DCMI_COLD dcm_status write_both(dcm_queue *q, source *s, uint64_t bytes,
                                       dcmi_queue_deadline *d)
{
    dcmi_zmq_msg msg;
    dcm_status st;
    void *to;

    if (bytes > q->g.max_record)
        return too_long(q, bytes);
    st = dcmi_queue_await_remote(q, bytes, d);
    if (st == DCM_OK)
        st = dcmi_remote_prepare(q, &msg, &to, bytes);
    if (st != DCM_OK)
        return st;
    gather(to, s, bytes);
    st = bytes <= DCMI_QUEUE_INLINE ? write_inline(q, s, bytes, d)
                                    : write_pieces(q, s, bytes, d);
    if (st == DCM_OK)
        dcmi_remote_send(q, &msg, bytes);
    else
        dcmi_remote_discard(q, &msg);
    return st;
}

static dcm_status write_record(dcm_queue *q, source *s, uint64_t bytes,
                               dcmi_queue_deadline *d)
{
    dcm_status st;

    if (DCMI_UNLIKELY(q->n % TEND_EVERY == 0)) {
        st = dcmi_queue_tend(q);
        if (st != DCM_OK)
            return st;
    }
    if (DCMI_UNLIKELY(q->remote != NULL))
        return write_both(q, s, bytes, d);
    if (bytes <= DCMI_QUEUE_INLINE)
        return write_inline(q, s, bytes, d);
    if (DCMI_UNLIKELY(bytes > q->g.max_record))
        return too_long(q, bytes);
    return write_pieces(q, s, bytes, d);
}

dcm_status dcm_queue_enqueue(dcm_queue *queue, const void *src, size_t bytes,
                             uint32_t timeout_ms)
{
    const dcm_queue_part part = {.src = src, .bytes = bytes};
    source s = {.parts = &part};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_enqueue");
    dcmi_queue_deadline d;

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    if (DCMI_UNLIKELY(src == NULL && bytes > 0))
        return dcmi_err(DCM_E_INVAL, "dcm_queue_enqueue: NULL source");
    d = dcmi_queue_deadline_of(queue, timeout_ms);
    return write_record(queue, &s, bytes, &d);
}

dcm_status dcm_queue_enqueue_v(dcm_queue *queue, const dcm_queue_part *parts,
                               size_t nparts, uint32_t timeout_ms)
{
    source s = {.parts = parts};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_enqueue_v");
    uint64_t bytes = 0;
    dcmi_queue_deadline d;

    if (st != DCM_OK)
        return st;
    if (parts == NULL && nparts > 0)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_enqueue_v: NULL parts");
    for (size_t i = 0; i < nparts; i++) {
        if (parts[i].src == NULL && parts[i].bytes > 0)
            return dcmi_err(DCM_E_INVAL,
                            "dcm_queue_enqueue_v: part %zu is NULL", i);
        if (parts[i].bytes >
            queue->g.max_record - dcmi_queue_least(bytes, queue->g.max_record))
            return dcmi_err(DCM_E_INVAL,
                            "dcm_queue_enqueue_v: %zu parts are longer than "
                            "the longest record, %llu bytes",
                            nparts, (unsigned long long)queue->g.max_record);
        bytes += parts[i].bytes;
    }
    d = dcmi_queue_deadline_of(queue, timeout_ms);
    return write_record(queue, &s, bytes, &d);
}

dcm_status dcm_queue_try_enqueue(dcm_queue *queue, const void *src,
                                 size_t bytes)
{
    const dcm_queue_part part = {.src = src, .bytes = bytes};
    source s = {.parts = &part};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_try_enqueue");
    dcmi_queue_deadline d = {.timeout_ns = 0};

    if (st != DCM_OK)
        return st;
    if (src == NULL && bytes > 0)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_try_enqueue: NULL source");
    if (bytes > queue->g.arena_bytes / 2)
        return dcmi_err(DCM_E_UNSUP,
                        "dcm_queue_try_enqueue: %zu bytes are more than half "
                        "the ring (%llu): readers must read meanwhile",
                        bytes, (unsigned long long)queue->g.arena_bytes / 2);
    return write_record(queue, &s, bytes, &d);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The writer: room, publication, records that stream; layout.h, "Ordering". */
#include "queue/queue.h"

#include <string.h>

#include "base/err.h"
#include "os/clock.h"

enum {
    TEND_EVERY = 256,    /* records, between looks at the clock */
    LOOK_NS = 1000000,   /* between looks at the door and at processes */
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

typedef struct room_wait {
    dcm_queue *q;
    dcmi_queue_need need;
} room_wait;

/* From now on the record has a deadline. */
typedef struct deadline {
    uint64_t timeout_ns;
    uint64_t until_ns; /* 0: has not waited yet */
    bool has_begun; /* the record is half-way: DCM_QUEUE_FAIL_ON_LATE waits */
} deadline;

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

static bool has_room(const dcm_queue *q, const dcmi_queue_need *need)
{
    return q->floor >= need->records && q->floor_bytes >= need->bytes;
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
        if (!has_room(q, &w->need))
            st = dcmi_queue_late(q, &w->need);
    }
    return st;
}

/* The slow half: every cursor that is in the way must pass. */
static DCMI_COLD dcm_status await_room(dcm_queue *q,
                                       const dcmi_queue_need *need, deadline *d)
{
    room_wait arg = {.q = q, .need = *need};
    dcmi_watch watch;
    dcm_status st;
    uint64_t now;
    dcmi_wait w;

    dcmi_queue_scan(q);
    if (has_room(q, need))
        return DCM_OK;
    now = dcmi_now_ns();
    if (d->timeout_ns == 0 ||
        ((q->flags & DCM_QUEUE_FAIL_ON_LATE) != 0 && !d->has_begun)) {
        if (d->timeout_ns != 0)
            q->looked_ns = 0; /* it may be dead: look now */
        st = tend(q, need);
        dcmi_queue_scan(q);
        if (st != DCM_OK || has_room(q, need))
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
    } while (st == DCM_OK && !has_room(q, need));
    dcmi_queue_wait_end(q, &w);
    return st;
}

/* Room for record q->n and for the bytes before `until`. */
DCMI_INLINE dcm_status need_room(dcm_queue *q, uint64_t until, deadline *d)
{
    const dcmi_queue_need need = {
        .records = q->n < q->slot_mask ? 0 : q->n - q->slot_mask,
        .bytes = until <= q->g.arena_bytes ? 0 : until - q->g.arena_bytes,
    };

    if (DCMI_LIKELY(has_room(q, &need)))
        return DCM_OK;
    return await_room(q, &need, d);
}

static dcmi_queue_slot *slot_of(dcm_queue *q)
{
    return &q->slots[q->n & q->slot_mask];
}

/* Record q->n is written: let the readers have it. */
DCMI_INLINE void publish(dcm_queue *q, dcmi_queue_slot *slot)
{
    q->n++;
    q->is_reserved = false;
    atomic_store_explicit(&slot->seq, q->n, memory_order_release);
    atomic_store_explicit(&q->frame->head.published, q->n,
                          memory_order_release);
}

static void publish_arena(dcm_queue *q, dcmi_queue_slot *slot, uint64_t at,
                          uint64_t bytes, uint64_t filled)
{
    atomic_store_explicit(&slot->info, bytes | DCMI_QUEUE_IN_ARENA,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->u.arena.at, at, memory_order_relaxed);
    atomic_store_explicit(&slot->u.arena.filled, filled, memory_order_relaxed);
    q->end = at + bytes;
    publish(q, slot);
    atomic_store_explicit(&q->frame->head.end, q->end, memory_order_release);
    dcmi_queue_ring_readers(q);
}

/* Where a record of `bytes` bytes begins: contiguous if it can be. */
static uint64_t place(const dcm_queue *q, uint64_t bytes)
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

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* More pieces of record q->n are to come, or (false) none of any record. */
static void set_writing(dcm_queue *q, bool is_on)
{
    atomic_store_explicit(&q->frame->head.writing, is_on ? q->n + 1 : 0,
                          memory_order_release);
}

/* All pieces of a record behind the first one. */
static dcm_status write_rest(dcm_queue *q, dcmi_queue_slot *slot, source *s,
                             const extent *e, deadline *d)
{
    dcm_status st = DCM_OK;
    uint64_t done = e->piece;
    uint64_t n;

    for (; done < e->bytes; done += n) {
        n = least(e->piece, e->bytes - done);
        if (e->is_stream)
            st = need_room(q, e->at + done + n, d);
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
                               deadline *d)
{
    const uint64_t all = q->g.arena_bytes;
    dcmi_queue_slot *slot = slot_of(q);
    const extent e = {
        .at = place(q, bytes),
        .bytes = bytes,
        .piece = least(PIECE_BYTES, all / STREAM_PART),
        .is_stream = bytes > all / 2,
    };
    const uint64_t first = least(e.piece, bytes);
    dcm_status st;

    st = need_room(q, e.at + (e.is_stream ? first : bytes), d);
    if (st != DCM_OK)
        return st;
    d->has_begun = true;
    fill(q, e.at, s, first);
    if (first < bytes)
        set_writing(q, true);
    publish_arena(q, slot, e.at, bytes, first);
    return first < bytes ? write_rest(q, slot, s, &e, d) : DCM_OK;
}

static dcm_status write_inline(dcm_queue *q, source *s, uint64_t bytes,
                               deadline *d)
{
    dcmi_queue_slot *slot = slot_of(q);
    unsigned char *to = slot->u.data;
    dcm_status st = need_room(q, 0, d);

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
    publish(q, slot);
    dcmi_queue_ring_readers(q);
    return DCM_OK;
}

static dcm_status tend_all(dcm_queue *q)
{
    const dcmi_queue_need all = {.records = q->n, .bytes = q->end};

    return tend(q, &all);
}

static dcm_status too_long(const dcm_queue *q, uint64_t bytes)
{
    return dcmi_err(
        DCM_E_INVAL, "queue: record of %llu bytes; the longest is %llu",
        (unsigned long long)bytes, (unsigned long long)q->g.max_record);
}

/* The remote readers' windows are wide enough, within the record's deadline. */
static dcm_status await_remote(dcm_queue *q, uint64_t bytes, deadline *d)
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
                                       deadline *d)
{
    dcmi_zmq_msg msg;
    dcm_status st;
    void *to;

    if (bytes > q->g.max_record)
        return too_long(q, bytes);
    st = await_remote(q, bytes, d);
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
                               deadline *d)
{
    dcm_status st;

    if (DCMI_UNLIKELY(q->n % TEND_EVERY == 0)) {
        st = tend_all(q);
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

static deadline deadline_of(const dcm_queue *q, uint32_t timeout_ms)
{
    return (deadline){.timeout_ns = timeout_ms == 0
                                        ? q->timeout_ns
                                        : timeout_ms * DCMI_NS_PER_MS};
}

dcm_status dcm_queue_enqueue(dcm_queue *queue, const void *src, size_t bytes,
                             uint32_t timeout_ms)
{
    const dcm_queue_part part = {.src = src, .bytes = bytes};
    source s = {.parts = &part};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_enqueue");
    deadline d;

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    if (DCMI_UNLIKELY(src == NULL && bytes > 0))
        return dcmi_err(DCM_E_INVAL, "dcm_queue_enqueue: NULL source");
    d = deadline_of(queue, timeout_ms);
    return write_record(queue, &s, bytes, &d);
}

dcm_status dcm_queue_enqueue_v(dcm_queue *queue, const dcm_queue_part *parts,
                               size_t nparts, uint32_t timeout_ms)
{
    source s = {.parts = parts};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_enqueue_v");
    uint64_t bytes = 0;
    deadline d;

    if (st != DCM_OK)
        return st;
    if (parts == NULL && nparts > 0)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_enqueue_v: NULL parts");
    for (size_t i = 0; i < nparts; i++) {
        if (parts[i].src == NULL && parts[i].bytes > 0)
            return dcmi_err(DCM_E_INVAL,
                            "dcm_queue_enqueue_v: part %zu is NULL", i);
        if (parts[i].bytes >
            queue->g.max_record - least(bytes, queue->g.max_record))
            return dcmi_err(DCM_E_INVAL,
                            "dcm_queue_enqueue_v: %zu parts are longer than "
                            "the longest record, %llu bytes",
                            nparts, (unsigned long long)queue->g.max_record);
        bytes += parts[i].bytes;
    }
    d = deadline_of(queue, timeout_ms);
    return write_record(queue, &s, bytes, &d);
}

dcm_status dcm_queue_try_enqueue(dcm_queue *queue, const void *src,
                                 size_t bytes)
{
    const dcm_queue_part part = {.src = src, .bytes = bytes};
    source s = {.parts = &part};
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_try_enqueue");
    deadline d = {.timeout_ns = 0};

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

dcm_status dcm_queue_reserve(dcm_queue *queue, void **ptr_p, size_t bytes,
                             uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_reserve");
    uint64_t at = 0;
    deadline d;

    if (st != DCM_OK)
        return st;
    if (ptr_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_reserve: NULL argument");
    if (bytes > queue->g.arena_bytes / 2 || bytes > queue->g.max_record)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_reserve: %zu bytes; half the ring, %llu, is "
                        "possible",
                        bytes, (unsigned long long)queue->g.arena_bytes / 2);
    st = tend_all(queue);
    if (st != DCM_OK)
        return st;
    if (bytes > DCMI_QUEUE_INLINE)
        at = place(queue, bytes);
    d = deadline_of(queue, timeout_ms);
    if (queue->remote != NULL)
        st = await_remote(queue, bytes, &d);
    if (st == DCM_OK)
        st = need_room(queue, bytes > DCMI_QUEUE_INLINE ? at + bytes : 0, &d);
    if (st != DCM_OK)
        return st;
    queue->is_reserved = true;
    queue->reserved = bytes;
    queue->reserved_at = at;
    *ptr_p = bytes > DCMI_QUEUE_INLINE ? queue->arena + (at & queue->arena_mask)
                                       : slot_of(queue)->u.data;
    return DCM_OK;
}

/* What was written in place is published. */
static void commit(dcm_queue *q, uint64_t bytes)
{
    dcmi_queue_slot *slot = slot_of(q);

    if (q->reserved > DCMI_QUEUE_INLINE) {
        publish_arena(q, slot, q->reserved_at, bytes, bytes);
        return;
    }
    atomic_store_explicit(&slot->info, bytes, memory_order_relaxed);
    publish(q, slot);
    dcmi_queue_ring_readers(q);
}

static DCMI_COLD dcm_status commit_both(dcm_queue *q, uint64_t bytes)
{
    const unsigned char *from =
        q->reserved > DCMI_QUEUE_INLINE
            ? q->arena + (q->reserved_at & q->arena_mask)
            : slot_of(q)->u.data;
    dcmi_zmq_msg msg;
    dcm_status st;
    void *to;

    st = dcmi_remote_prepare(q, &msg, &to, bytes);
    if (st != DCM_OK)
        return st;
    memcpy(to, from, bytes);
    commit(q, bytes);
    dcmi_remote_send(q, &msg, bytes);
    return DCM_OK;
}

dcm_status dcm_queue_commit(dcm_queue *queue, size_t bytes)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_commit");

    if (st != DCM_OK)
        return st;
    if (!queue->is_reserved || bytes > queue->reserved)
        return dcmi_err(
            DCM_E_INVAL, "dcm_queue_commit: %zu bytes where %llu are reserved",
            bytes,
            queue->is_reserved ? (unsigned long long)queue->reserved : 0);
    if (queue->remote != NULL)
        return commit_both(queue, bytes);
    commit(queue, bytes);
    return DCM_OK;
}

/* ---- chunks ----------------------------------------------------------------- */

dcm_status dcmi_queue_await_free(dcm_queue *q, uint32_t timeout_ms)
{
    const uint64_t n = q->g.nslots;
    const dcmi_queue_need need = {.records = q->n < n ? 0 : q->n - n + 1};
    deadline d = deadline_of(q, timeout_ms);
    dcm_status st = tend_all(q);

    if (st != DCM_OK || has_room(q, &need))
        return st;
    return await_room(q, &need, &d);
}

/* ---- behind the last record ----------------------------------------------- */

dcm_status dcmi_queue_await_read(dcm_queue *q, uint64_t timeout_ns)
{
    const dcmi_queue_need need = {.records = q->n};
    deadline d = {.timeout_ns = timeout_ns, .has_begun = true};

    return has_room(q, &need) ? DCM_OK : await_room(q, &need, &d);
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
        st = tend_all(w->q);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writer's files share: write.c copies records in, reserve.c has them
 * written in place, write_wait.c waits for room.  What is inline is on the way of
 * each record.
 */
#ifndef DCMI_QUEUE_WRITE_H
#define DCMI_QUEUE_WRITE_H

#include "queue/queue.h"

#include "base/err.h"
#include "os/clock.h"

/* From now on the record has a deadline. */
typedef struct dcmi_queue_deadline {
    uint64_t timeout_ns;
    uint64_t until_ns; /* 0: has not waited yet */
    bool has_begun; /* the record is half-way: DCM_QUEUE_FAIL_ON_LATE waits */
} dcmi_queue_deadline;

static inline dcmi_queue_deadline dcmi_queue_deadline_of(const dcm_queue *q,
                                                         uint32_t timeout_ms)
{
    return (dcmi_queue_deadline){
        .timeout_ns =
            timeout_ms == 0 ? q->timeout_ns : timeout_ms * DCMI_NS_PER_MS};
}

/* ---- write_wait.c --------------------------------------------------------- */

/* What the writer does now and then though it need not wait. */
dcm_status dcmi_queue_tend(dcm_queue *q);
/* The slow half: every cursor that is in the way must pass. */
DCMI_COLD dcm_status dcmi_queue_await_room(dcm_queue *q,
                                           const dcmi_queue_need *need,
                                           dcmi_queue_deadline *d);
/* The remote readers' windows are wide enough, within the record's deadline. */
dcm_status dcmi_queue_await_remote(dcm_queue *q, uint64_t bytes,
                                   dcmi_queue_deadline *d);

static inline bool dcmi_queue_has_room(const dcm_queue *q,
                                       const dcmi_queue_need *need)
{
    return q->floor >= need->records && q->floor_bytes >= need->bytes;
}

/* Room for record q->n and for the bytes before `until`. */
DCMI_INLINE dcm_status dcmi_queue_need_room(dcm_queue *q, uint64_t until,
                                            dcmi_queue_deadline *d)
{
    const dcmi_queue_need need = {
        .records = q->n < q->slot_mask ? 0 : q->n - q->slot_mask,
        .bytes = until <= q->g.arena_bytes ? 0 : until - q->g.arena_bytes,
    };

    if (DCMI_LIKELY(dcmi_queue_has_room(q, &need)))
        return DCM_OK;
    return dcmi_queue_await_room(q, &need, d);
}

/* ---- write.c -------------------------------------------------------------- */

/* Record q->n is written: let the readers have it. */
DCMI_INLINE void dcmi_queue_publish(dcm_queue *q, dcmi_queue_slot *slot)
{
    q->n++;
    q->is_reserved = false;
    atomic_store_explicit(&slot->seq, q->n, memory_order_release);
    atomic_store_explicit(&q->frame->head.published, q->n,
                          memory_order_release);
}

/* The same of one in the arena, of which `filled` bytes are there. */
void dcmi_queue_publish_arena(dcm_queue *q, dcmi_queue_slot *slot, uint64_t at,
                              uint64_t bytes, uint64_t filled);
/* Where a record of `bytes` bytes begins: contiguous if it can be. */
uint64_t dcmi_queue_place(const dcm_queue *q, uint64_t bytes);

#endif /* DCMI_QUEUE_WRITE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* A writer that has records written in place. */
#include "queue/write.h"

#include <string.h>

dcm_status dcm_queue_reserve(dcm_queue *queue, void **ptr_p, size_t bytes,
                             uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_reserve");
    uint64_t at = 0;
    dcmi_queue_deadline d;

    if (st != DCM_OK)
        return st;
    if (ptr_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_reserve: NULL argument");
    if (bytes > queue->g.arena_bytes / 2 || bytes > queue->g.max_record)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_reserve: %zu bytes; half the ring, %llu, is "
                        "possible",
                        bytes, (unsigned long long)queue->g.arena_bytes / 2);
    st = dcmi_queue_tend(queue);
    if (st != DCM_OK)
        return st;
    if (bytes > DCMI_QUEUE_INLINE)
        at = dcmi_queue_place(queue, bytes);
    d = dcmi_queue_deadline_of(queue, timeout_ms);
    if (queue->remote != NULL)
        st = dcmi_queue_await_remote(queue, bytes, &d);
    if (st == DCM_OK)
        st = dcmi_queue_need_room(
            queue, bytes > DCMI_QUEUE_INLINE ? at + bytes : 0, &d);
    if (st != DCM_OK)
        return st;
    queue->is_reserved = true;
    queue->reserved = bytes;
    queue->reserved_at = at;
    *ptr_p = bytes > DCMI_QUEUE_INLINE ? queue->arena + (at & queue->arena_mask)
                                       : dcmi_queue_slot_of(queue)->u.data;
    return DCM_OK;
}

/* What was written in place is published. */
static void commit(dcm_queue *q, uint64_t bytes)
{
    dcmi_queue_slot *slot = dcmi_queue_slot_of(q);

    if (q->reserved > DCMI_QUEUE_INLINE) {
        dcmi_queue_publish_arena(q, slot, q->reserved_at, bytes, bytes);
        return;
    }
    atomic_store_explicit(&slot->info, bytes, memory_order_relaxed);
    dcmi_queue_publish(q, slot);
    dcmi_queue_ring_readers(q);
}

static DCMI_COLD dcm_status commit_both(dcm_queue *q, uint64_t bytes)
{
    const unsigned char *from =
        q->reserved > DCMI_QUEUE_INLINE
            ? q->arena + (q->reserved_at & q->arena_mask)
            : dcmi_queue_slot_of(q)->u.data;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues of chunks: written and read in place, one flag a reader.
 *
 * The writer clears the readers' flags (release) before it sets `written`
 * (release), and a reader reads both (acquire), so either of them says that the
 * bytes are there.  Room is known from the cursors, as in a queue of records.
 */
#include "queue/queue.h"

#include "base/err.h"

static unsigned char *chunk_at(const dcm_queue *q, uint64_t n)
{
    return q->arena + n % q->g.nslots * q->g.max_record;
}

dcm_status dcm_queue_acquire_write(dcm_queue *queue, void **chunk_p,
                                   uint32_t timeout_ms)
{
    dcm_status st = dcmi_queue_enter(queue, DCMI_QUEUE_CHUNK_WRITER,
                                     "dcm_queue_acquire_write");

    if (st != DCM_OK)
        return st;
    if (chunk_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_acquire_write: NULL argument");
    st = dcmi_queue_await_free(queue, timeout_ms);
    if (st != DCM_OK)
        return st;
    atomic_store_explicit(&dcmi_queue_flags_of(queue, queue->n)->written, 0,
                          memory_order_relaxed);
    queue->is_reserved = true;
    *chunk_p = chunk_at(queue, queue->n);
    return DCM_OK;
}

dcm_status dcm_queue_release_write(dcm_queue *queue)
{
    dcm_status st = dcmi_queue_enter(queue, DCMI_QUEUE_CHUNK_WRITER,
                                     "dcm_queue_release_write");
    dcmi_queue_flags *f;

    if (st != DCM_OK)
        return st;
    if (!queue->is_reserved)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_release_write: no chunk is acquired");
    f = dcmi_queue_flags_of(queue, queue->n);
    for (uint32_t r = 0; r < queue->g.nreaders; r++)
        atomic_store_explicit(&f->read[r], 0, memory_order_release);
    atomic_store_explicit(&f->written, 1, memory_order_release);
    queue->n++;
    queue->is_reserved = false;
    atomic_store_explicit(&queue->frame->head.published, queue->n,
                          memory_order_release);
    dcmi_queue_ring_readers(queue);
    return DCM_OK;
}

dcm_status dcm_queue_acquire_read(dcm_queue *queue, const void **chunk_p,
                                  uint32_t timeout_ms)
{
    dcm_status st = dcmi_queue_enter(queue, DCMI_QUEUE_CHUNK_READER,
                                     "dcm_queue_acquire_read");

    if (st != DCM_OK)
        return st;
    if (chunk_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_acquire_read: NULL argument");
    st = dcmi_queue_await_chunk(queue, timeout_ms);
    if (st != DCM_OK)
        return st;
    queue->view.is_open = true;
    *chunk_p = chunk_at(queue, queue->n);
    return DCM_OK;
}

dcm_status dcm_queue_release_read(dcm_queue *queue)
{
    dcm_status st = dcmi_queue_enter(queue, DCMI_QUEUE_CHUNK_READER,
                                     "dcm_queue_release_read");

    if (st != DCM_OK)
        return st;
    if (!queue->view.is_open)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_release_read: no chunk is acquired");
    queue->view.is_open = false;
    atomic_store_explicit(
        &dcmi_queue_flags_of(queue, queue->n)->read[queue->me], 1,
        memory_order_release);
    queue->n++;
    atomic_store_explicit(&queue->frame->entry[queue->me].records, queue->n,
                          memory_order_release);
    dcmi_bells_ring(&queue->frame->writer_bells, 1);
    return DCM_OK;
}

static bool is_chunk(const dcm_queue *q, int i)
{
    return q != NULL && q->g.kind == DCMI_QUEUE_CHUNKS && i >= 0 &&
           (uint64_t)i < q->g.nslots;
}

void *dcm_queue_chunk(dcm_queue *queue, int i)
{
    return is_chunk(queue, i) ? chunk_at(queue, (uint64_t)i) : NULL;
}

const unsigned char *dcm_queue_chunk_flags(dcm_queue *queue, int i)
{
    return is_chunk(queue, i)
               ? (const unsigned char *)dcmi_queue_flags_of(queue, (uint64_t)i)
               : NULL;
}

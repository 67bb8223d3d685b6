/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the reader's files share: read.c copies records out, peek.c shows them in
 * place, read_wait.c waits for them.  What is inline is on the way of each record.
 */
#ifndef DCMI_QUEUE_READ_H
#define DCMI_QUEUE_READ_H

#include "queue/queue.h"

#include "base/err.h"
#include "os/clock.h"

/* ---- read_wait.c ---------------------------------------------------------- */

/* What a reader waits for. */
typedef struct dcmi_read_wait {
    dcm_queue *q;
    const dcmi_queue_slot *slot;
    const dcmi_queue_flags *chunk; /* instead of a slot; else NULL */
    bool is_for_bytes; /* of a record that has begun; else for its begin */
    uint64_t filled;   /* what of it is known */
} dcmi_read_wait;

bool dcmi_read_has_come(const dcmi_read_wait *w);
/* Wait for it, at most so long; UINT64_MAX: as long as the writer lives. */
DCMI_COLD dcm_status dcmi_read_await(dcmi_read_wait *arg, uint64_t timeout_ns);
/* Without waiting: AGAIN, or what a wait would end with. */
dcm_status dcmi_read_look(dcmi_read_wait *w);

/* A reader waits as long as the writer lives unless it says how long. */
static inline uint64_t dcmi_read_timeout(uint32_t timeout_ms)
{
    return timeout_ms == 0 ? UINT64_MAX : timeout_ms * DCMI_NS_PER_MS;
}

/* ---- read.c --------------------------------------------------------------- */

/* Wait for the next record that was not given up to begin, and open q->view. */
dcm_status dcmi_read_begin(dcm_queue *q, bool is_try, uint32_t timeout_ms);
/*
 * How many bytes behind view.done are there, at least one; waits.  AGAIN: the
 * writer gave the record up, and it has been finished.
 */
dcm_status dcmi_read_more(dcm_queue *q, uint64_t *there_p);

/* Hand the record back; E_PEER when the writer did not count us meanwhile. */
DCMI_INLINE dcm_status dcmi_read_finish(dcm_queue *q)
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

/* Longer than half the ring: its bytes are handed back piece by piece. */
static inline bool dcmi_read_is_stream(const dcm_queue *q)
{
    return !q->view.is_inline && q->view.bytes > q->g.arena_bytes / 2;
}

/* The bytes before `done` are not needed any more, where it matters. */
void dcmi_read_pass(dcm_queue *q);

#endif /* DCMI_QUEUE_READ_H */

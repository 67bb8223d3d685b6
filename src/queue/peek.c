/* SPDX-License-Identifier: Apache-2.0 */
/* A reader that looks at records in place. */
#include "queue/read.h"

/* Bytes of the record from view.done on that are there and contiguous. */
static dcm_status show(dcm_queue *q, uint64_t *n_p)
{
    dcmi_queue_view *v = &q->view;
    const uint64_t left = v->bytes - v->done;
    dcmi_read_wait w = {
        .q = q, .slot = dcmi_queue_slot_of(q), .is_for_bytes = true};
    uint64_t offset;
    uint64_t n = 0;
    dcm_status st;

    if (v->is_inline || left == 0) {
        *n_p = left;
        return DCM_OK;
    }
    st = dcmi_read_more(q, &n);
    /* A contiguous record is shown whole: wait for the rest of it. */
    while (st == DCM_OK && !dcmi_read_is_stream(q) && n < left) {
        w.filled = v->done + n;
        st = dcmi_read_has_come(&w) ? DCM_OK : dcmi_read_await(&w, UINT64_MAX);
        if (st == DCM_OK)
            st = dcmi_read_more(q, &n);
    }
    if (st == DCM_AGAIN)
        return dcmi_err(DCM_E_ABORTED,
                        "queue: the writer gave record %llu up half-way",
                        (unsigned long long)q->n - 1);
    offset = (v->at + v->done) & q->arena_mask;
    if (st == DCM_OK)
        *n_p = dcmi_queue_least(dcmi_queue_least(n, left),
                                q->g.arena_bytes - offset);
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
    st = dcmi_read_begin(q, is_try, timeout_ms);
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
        return dcmi_read_finish(queue);
    dcmi_read_pass(queue);
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Copies and fills. */
#include "standin/standin.h"

#include <string.h>

static void run_copy(standin_op *op)
{
    memcpy((void *)(uintptr_t)op->u.move.dst,
           (const void *)(uintptr_t)op->u.move.src, op->u.move.n);
}

static void run_fill(standin_op *op)
{
    uint32_t *at = (uint32_t *)(uintptr_t)op->u.move.dst;
    const uint32_t word = (uint32_t)op->u.move.src;

    if (word == (word & 0xff) * 0x01010101u) {
        memset(at, (int)(word & 0xff), op->u.move.n * 4);
        return;
    }
    for (size_t i = 0; i < op->u.move.n; i++)
        at[i] = word;
}

/* `device` is the side that must be the device's. */
static dcmi_cu_result move(const standin_op *op, uint64_t device, size_t bytes,
                           dcmi_cu_stream stream)
{
    dcmi_cu_result r = STANDIN_INVALID;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL)
        r = STANDIN_BAD_HANDLE;
    else if (standin_reaches(device, bytes))
        r = standin_submit(s, op);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static dcmi_cu_result move_now(uint64_t dst, uint64_t src, uint64_t device,
                               size_t bytes)
{
    dcmi_cu_result r = STANDIN_INVALID;

    (void)pthread_mutex_lock(&standin_lock);
    if (!standin_may())
        r = STANDIN_CAPTURING;
    else if (standin_reaches(device, bytes))
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        memcpy((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, bytes);
    return r;
}

dcmi_cu_result standin_copy_to(dcmi_cu_ptr dst, const void *src, size_t bytes)
{
    return move_now(dst, (uint64_t)(uintptr_t)src, dst, bytes);
}

dcmi_cu_result standin_copy_from(void *dst, dcmi_cu_ptr src, size_t bytes)
{
    return move_now((uint64_t)(uintptr_t)dst, src, src, bytes);
}

/* From memory that is not pinned: the stream's work first, then now. */
static dcmi_cu_result copy_pageable(const standin_op *op, dcmi_cu_stream stream)
{
    dcmi_cu_result r = STANDIN_INVALID;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL) {
        r = STANDIN_BAD_HANDLE;
    } else if (s->graph != NULL) {
        r = STANDIN_CAPTURING;
    } else if (standin_reaches(op->u.move.dst, op->u.move.n)) {
        standin_finish(s);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        memcpy((void *)(uintptr_t)op->u.move.dst,
               (const void *)(uintptr_t)op->u.move.src, op->u.move.n);
    return r;
}

dcmi_cu_result standin_copy_to_async(dcmi_cu_ptr dst, const void *src,
                                     size_t bytes, dcmi_cu_stream stream)
{
    const standin_op op = {
        .run = run_copy,
        .u.move = {dst, (uint64_t)(uintptr_t)src, bytes},
    };
    bool is_pinned;

    (void)pthread_mutex_lock(&standin_lock);
    is_pinned = standin_reaches((uint64_t)(uintptr_t)src, bytes);
    (void)pthread_mutex_unlock(&standin_lock);
    return is_pinned ? move(&op, dst, bytes, stream)
                     : copy_pageable(&op, stream);
}

dcmi_cu_result standin_set_words_async(dcmi_cu_ptr dst, unsigned value,
                                       size_t n, dcmi_cu_stream stream)
{
    const standin_op op = {.run = run_fill, .u.move = {dst, value, n}};

    return dst % 4 != 0 ? STANDIN_INVALID : move(&op, dst, 4 * n, stream);
}

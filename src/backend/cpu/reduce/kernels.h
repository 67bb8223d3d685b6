/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of every type and operator, written once and compiled with each
 * vector width: base.c, avx2.c and avx512.c set VEC_BYTES, bring their own
 * instructions and include this file, which gives them KERNEL_TABLE.
 * scalar.c says what must come out, bit for bit.
 *
 * One function takes `type` and `op` as constants, so that every choice below
 * folds.  A vector of elements becomes 1, 2 or 4 vectors of accumulators (16-
 * and 8-bit floats are summed in fp32), sources are taken in order, and the end
 * result is written to every destination.  A block is as many elements as four
 * accumulators hold.
 */
#ifndef DCMI_REDUCE_KERNELS_H
#define DCMI_REDUCE_KERNELS_H

#include "backend/cpu/reduce/convert.h"
#include "backend/cpu/reduce/divide.h"
#include "backend/cpu/reduce/order.h"
#include "backend/cpu/reduce/reduce.h"

enum {
    ACCUMULATORS = 4
};

/* Accumulators of one vector of elements. */
DCMI_INLINE int spread_of(int type, int op)
{
    if (op == DCM_MIN || op == DCM_MAX)
        return 1;
    switch (type) {
    case DCM_F16:
    case DCM_BF16:
        return 2;
    case DCM_F8E4M3:
    case DCM_F8E5M2:
        return 4;
    default:
        return 1;
    }
}

DCMI_INLINE void widen(int type, int op, vec *acc, vec x)
{
    if (op == DCM_MIN || op == DCM_MAX)
        acc[0] = to_key(type, op, x);
    else if (type == DCM_F16)
        widen_f16(acc, x);
    else if (type == DCM_BF16)
        widen_bf16(acc, x);
    else if (type == DCM_F8E4M3 || type == DCM_F8E5M2)
        widen_f8(type, acc, x);
    else
        acc[0] = x;
}

DCMI_INLINE void load(int type, int op, vec *acc, const unsigned char *p)
{
    if (type == DCM_F16 && spread_of(type, op) == 2)
        load_f16(acc, p);
    else
        widen(type, op, acc, load_vec(p));
}

DCMI_INLINE vec add(int type, vec a, vec b)
{
    switch (type) {
    case DCM_F64:
        return (vec)((f64v)a + (f64v)b);
    case DCM_I8:
    case DCM_U8:
        return (vec)((u8v)a + (u8v)b);
    case DCM_I32:
    case DCM_U32:
        return a + b;
    case DCM_I64:
    case DCM_U64:
        return (vec)((u64v)a + (u64v)b);
    default:
        return (vec)((f32v)a + (f32v)b);
    }
}

DCMI_INLINE vec multiply(int type, vec a, vec b)
{
    switch (type) {
    case DCM_F64:
        return (vec)((f64v)a * (f64v)b);
    case DCM_I8:
    case DCM_U8:
        return (vec)((u8v)a * (u8v)b);
    case DCM_I32:
    case DCM_U32:
        return a * b;
    case DCM_I64:
    case DCM_U64:
        return (vec)((u64v)a * (u64v)b);
    default:
        return (vec)((f32v)a * (f32v)b);
    }
}

DCMI_INLINE vec combine(int type, int op, vec a, vec b)
{
    switch (op) {
    case DCM_MIN:
    case DCM_MAX:
        return larger_key(type, a, b);
    case DCM_PROD:
        return multiply(type, a, b);
    default:
        return add(type, a, b);
    }
}

DCMI_INLINE vec finish(int type, int op, vec *acc, const divisor *d)
{
    if (op == DCM_MIN || op == DCM_MAX)
        return from_key(type, op, acc[0]);
    if (op == DCM_AVG) {
        VEC_UNROLL
        for (int i = 0; i < spread_of(type, op); i++)
            acc[i] = divide(type, acc[i], d);
    }
    switch (type) {
    case DCM_F64:
        return canon64(acc[0]);
    case DCM_F32:
        return canon32(acc[0]);
    case DCM_F16:
        return narrow_f16(acc);
    case DCM_BF16:
        return narrow_bf16(acc);
    case DCM_F8E4M3:
    case DCM_F8E5M2:
        return narrow_f8(type, acc);
    default:
        return acc[0];
    }
}

typedef struct job {
    const dcmi_reduce_args *a;
    uint64_t stream; /* destinations that get non-temporal stores from now on */
    divisor d;       /* of DCM_AVG */
} job;

/*
 * `n` whole vectors at byte `at`; n * spread_of() <= ACCUMULATORS.  `stream` as
 * in the job, or 0.
 */
DCMI_INLINE void whole(const job *j, size_t at, uint64_t stream, int n,
                       int type, int op)
{
    const dcmi_reduce_args *a = j->a;
    const int spread = spread_of(type, op);
    vec acc[ACCUMULATORS], x[ACCUMULATORS];

    VEC_UNROLL
    for (int i = 0; i < n; i++)
        load(type, op, &acc[i * spread],
             (const unsigned char *)a->src[0] + at + i * VEC_BYTES);
    for (int s = 1; s < a->nsrc; s++) {
        VEC_UNROLL
        for (int i = 0; i < n; i++)
            load(type, op, &x[i * spread],
                 (const unsigned char *)a->src[s] + at + i * VEC_BYTES);
        VEC_UNROLL
        for (int i = 0; i < n * spread; i++)
            acc[i] = combine(type, op, acc[i], x[i]);
    }
    VEC_UNROLL
    for (int i = 0; i < n; i++)
        x[i] = finish(type, op, &acc[i * spread], &j->d);
    for (int d = 0; d < a->ndst; d++) {
        unsigned char *to = (unsigned char *)a->dst[d] + at;

        if (DCMI_UNLIKELY(stream >> d & 1)) {
            VEC_UNROLL
            for (int i = 0; i < n; i++)
                stream_vec(to + i * VEC_BYTES, x[i]);
            continue;
        }
        VEC_UNROLL
        for (int i = 0; i < n; i++)
            store_vec(to + i * VEC_BYTES, x[i]);
    }
}

/* The last `bytes`, fewer than a vector has. */
DCMI_INLINE void part(const job *j, size_t at, size_t bytes, int type, int op)
{
    const dcmi_reduce_args *a = j->a;
    vec acc[ACCUMULATORS], x[ACCUMULATORS];

    widen(type, op, acc,
          load_part((const unsigned char *)a->src[0] + at, bytes));
    for (int s = 1; s < a->nsrc; s++) {
        widen(type, op, x,
              load_part((const unsigned char *)a->src[s] + at, bytes));
        VEC_UNROLL
        for (int i = 0; i < spread_of(type, op); i++)
            acc[i] = combine(type, op, acc[i], x[i]);
    }
    x[0] = finish(type, op, acc, &j->d);
    for (int d = 0; d < a->ndst; d++)
        store_part((unsigned char *)a->dst[d] + at, x[0], bytes);
}

/* Bytes at..end-1 in single vectors and a part; only whole lines streamed. */
DCMI_INLINE void edge(const job *j, size_t at, size_t end, int type, int op)
{
    const size_t lines = end - (end - at) % DCMI_LINE;

    for (; end - at >= VEC_BYTES; at += VEC_BYTES)
        whole(j, at, at < lines ? j->stream : 0, 1, type, op);
    if (at < end)
        part(j, at, end - at, type, op);
}

typedef void (*edge_fn)(const job *j, size_t at, size_t end);

/*
 * The destinations to be streamed.  *head_p is what lies before the first line
 * of the first of them; those that do not begin a line there too, or begin one
 * inside an element, are left out and get ordinary stores.
 */
static DCMI_COLD uint64_t plan_stream(size_t *head_p, const dcmi_reduce_args *a,
                                      size_t item)
{
    uint64_t stream = 0;

    for (int d = 0; d < a->ndst; d++) {
        const size_t gap = -(uintptr_t)a->dst[d] % DCMI_LINE;

        if ((a->stream >> d & 1) == 0 || gap % item != 0)
            continue;
        if (stream == 0)
            *head_p = gap;
        if (gap == *head_p)
            stream |= (uint64_t)1 << d;
    }
    return stream;
}

/* The sum of two ranks, in the types that inference sums. */
DCMI_INLINE bool is_pair(const dcmi_reduce_args *a, int type, int op)
{
    return op == DCM_SUM && (is_float(type) && width_of(type) > 8) &&
           a->nsrc == 2 && a->ndst <= 2;
}

/* All blocks of such a call; returns where the rest begins. */
DCMI_INLINE size_t pair_blocks(const dcmi_reduce_args *a, size_t at, int ndst,
                               uint64_t stream, int type, int op)
{
    const int n = ACCUMULATORS / spread_of(type, op);
    const size_t block = (size_t)n * VEC_BYTES;
    const size_t end = a->count * (size_t)width_of(type) / 8;
    const void *const src[2] = {a->src[0], a->src[1]};
    void *const dst[2] = {a->dst[0], a->dst[ndst - 1]};
    const dcmi_reduce_args b = {
        .dst = dst, .src = src, .ndst = ndst, .nsrc = 2};
    const job j = {.a = &b};

    for (; end - at >= block; at += block)
        whole(&j, at, stream, n, type, op);
    return at;
}

/*
 * From and to so few places that the pointers are worth their registers, and the
 * kind of store is worth a loop of its own: what is read from far away is waited
 * for, and the fewer the instructions between, the more of it is on its way.
 */
DCMI_INLINE size_t pair(const job *j, size_t at, int type, int op)
{
    const dcmi_reduce_args *a = j->a;

    if (a->ndst == 1)
        return j->stream == 0 ? pair_blocks(a, at, 1, 0, type, op) : at;
    switch (j->stream) {
    case 0:
        return pair_blocks(a, at, 2, 0, type, op);
    case 1:
        return pair_blocks(a, at, 2, 1, type, op);
    case 2:
        return pair_blocks(a, at, 2, 2, type, op);
    default:
        return pair_blocks(a, at, 2, 3, type, op);
    }
}

DCMI_INLINE void kernel(const dcmi_reduce_args *a, int type, int op,
                        edge_fn edges)
{
    const int n = ACCUMULATORS / spread_of(type, op);
    const size_t block = (size_t)n * VEC_BYTES;
    const size_t item = (size_t)width_of(type) / 8;
    const size_t end = a->count * item;
    size_t at = 0;
    job j;

    j.a = a;
    j.stream = 0;
    if (op == DCM_AVG)
        j.d = divisor_of(a->avg_n);
    if (DCMI_UNLIKELY(a->stream != 0) && end >= DCMI_LINE) {
        const uint64_t stream = plan_stream(&at, a, item);

        edges(&j, 0, at);
        j.stream = stream;
    }
    if (is_pair(a, type, op))
        at = pair(&j, at, type, op);
    for (const uint64_t stream = j.stream; end - at >= block; at += block)
        whole(&j, at, stream, n, type, op);
    if (at < end)
        edges(&j, at, end);
}

/* The edge is a function of its own: short messages need only that. */
#define KERNEL(type, op)                                                       \
    static VEC_APART void type##_##op##_edge(const job *j, size_t at,          \
                                             size_t end)                       \
    {                                                                          \
        edge(j, at, end, DCM_##type, DCM_##op);                                \
    }                                                                          \
    static void type##_##op(const dcmi_reduce_args *a)                         \
    {                                                                          \
        kernel(a, DCM_##type, DCM_##op, type##_##op##_edge);                   \
    }

#endif /* DCMI_REDUCE_KERNELS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The division of DCM_AVG: exact for floats (rounded once), truncating toward
 * zero for integers.  Included after convert.h.
 */
#ifndef DCMI_REDUCE_DIVIDE_H
#define DCMI_REDUCE_DIVIDE_H

/* Made once a call. */
typedef struct divisor {
    double n64;
    double inverse64;
    float n32;
    float inverse32;
    bool is_power; /* of two: then x * (1/n) rounds as x / n does */
    int n;
    uint32_t per_byte; /* 2^16 / n rounded up */
} divisor;

DCMI_INLINE divisor divisor_of(int n)
{
    const int held = n < 256 ? n : 256; /* gives 0 for a byte, as more does */

    return (divisor){
        .n64 = n,
        .inverse64 = 1.0 / n,
        .n32 = (float)n,
        .inverse32 = 1.0f / (float)n,
        .is_power = (n & (n - 1)) == 0,
        .n = n,
        .per_byte = (uint32_t)((65536 + held - 1) / held),
    };
}

DCMI_INLINE vec divide_f32(vec x, const divisor *d)
{
    if (d->is_power)
        return (vec)((f32v)x * d->inverse32);
    return (vec)((f32v)x / d->n32);
}

DCMI_INLINE vec divide_f64(vec x, const divisor *d)
{
    if (d->is_power)
        return (vec)((f64v)x * d->inverse64);
    return (vec)((f64v)x / d->n64);
}

/*
 * x * ceil(2^16 / n) / 2^16: the first factor's error is below n / 2^16 in all,
 * so the product's is below x / 2^16 * n / n < 1 / n for x < 256 and n <= 256.
 */
DCMI_INLINE vec divide_u8(vec x, const divisor *d)
{
    vec y = {0};

    VEC_UNROLL
    for (int at = 0; at < 32; at += 8)
        y |= ((((x >> at) & 0xffu) * d->per_byte) >> 16) << at;
    return y;
}

DCMI_INLINE vec divide_i8(vec x, const divisor *d)
{
    const vec minus = signs8(x);
    const vec abs = (vec)((u8v)(x ^ minus) - (u8v)minus);
    const vec y = divide_u8(abs, d);

    return (vec)((u8v)(y ^ minus) - (u8v)minus);
}

/* A vector of 32-bit lanes is taken as two halves of doubles. */
typedef int32_t i32half __attribute__((vector_size(VEC_BYTES / 2)));

typedef union two_halves {
    vec whole;
    i32half half[2];
} two_halves;

/*
 * In fp64 a quotient that is no integer is at least 1/n away from the next one,
 * far more than its rounding error, so truncation is exact.
 */
DCMI_INLINE vec divide_i32(vec x, double plus, const divisor *d)
{
    two_halves t = {.whole = x};

    VEC_UNROLL
    for (int i = 0; i < 2; i++) {
        const f64v wide = __builtin_convertvector(t.half[i], f64v) + plus;

        t.half[i] = __builtin_convertvector(wide / d->n64, i32half);
    }
    return t.whole;
}

DCMI_INLINE vec divide_u32(vec x, const divisor *d)
{
    if (d->n == 1) /* else the quotient fits a signed integer */
        return x;
    return divide_i32(x ^ 0x80000000u, 2147483648.0, d);
}

DCMI_INLINE vec divide(int type, vec x, const divisor *d)
{
    switch (type) {
    case DCM_F64:
        return divide_f64(x, d);
    case DCM_I8:
        return divide_i8(x, d);
    case DCM_U8:
        return divide_u8(x, d);
    case DCM_I32:
        return divide_i32(x, 0.0, d);
    case DCM_U32:
        return divide_u32(x, d);
    case DCM_I64:
        return (vec)((i64v)x / (int64_t)d->n);
    case DCM_U64:
        return (vec)((u64v)x / (uint64_t)d->n);
    default: /* fp32 and what is summed in it */
        return divide_f32(x, d);
    }
}

#endif /* DCMI_REDUCE_DIVIDE_H */

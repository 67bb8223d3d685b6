/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic: 16 bytes of every rank to 16 bytes of result, by the rules of
 * docs/numerics.md.  Sums of bf16, f16 and f32, which is what engines send, have
 * their own code; every other type and operator goes through one that is written
 * to be small, by integer operations that a GPU and a processor do alike.
 *
 * Wants no fused multiply-add, no flushing of subnormal numbers and rounded
 * division: the build sees to it.
 */
#ifndef DCMK_REDUCE_CUH
#define DCMK_REDUCE_CUH

#include "backend/peer/kernels/target.h"

/* As dcm_dtype and dcm_op; the host asserts it. */
enum {
    DCMK_F64,
    DCMK_F32,
    DCMK_F16,
    DCMK_BF16,
    DCMK_F8E4M3,
    DCMK_F8E5M2,
    DCMK_I8,
    DCMK_U8,
    DCMK_I32,
    DCMK_U32,
    DCMK_I64,
    DCMK_U64
};

enum {
    DCMK_SUM,
    DCMK_PROD,
    DCMK_MIN,
    DCMK_MAX,
    DCMK_AVG
};

DCMK_FN float dcmk_f32(uint32_t bits)
{
    float x;

    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
}

DCMK_FN uint32_t dcmk_bits(float x)
{
    uint32_t bits;

    __builtin_memcpy(&bits, &x, sizeof(bits));
    return bits;
}

DCMK_FN double dcmk_f64(uint64_t bits)
{
    double x;

    __builtin_memcpy(&x, &bits, sizeof(x));
    return x;
}

DCMK_FN uint64_t dcmk_bits64(double x)
{
    uint64_t bits;

    __builtin_memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* ---- 16- and 8-bit floats ------------------------------------------------- */

struct dcmk_small {
    int man;          /* bits of mantissa */
    int bias;         /* of the exponent */
    uint32_t sign;    /* its bit */
    uint32_t top;     /* largest code that is no NaN */
    uint32_t canon;   /* the canonical NaN */
    uint32_t ceiling; /* fp32 bits: what is larger becomes as this */
    bool has_inf;     /* then `top` is infinity */
};

DCMK_FN dcmk_small dcmk_small_of(int dtype)
{
    switch (dtype) {
    case DCMK_F16: /* 65536 rounds to infinity */
        return dcmk_small{10, 15, 0x8000, 0x7c00, 0x7e00, 0x47800000, true};
    case DCMK_F8E4M3: /* 448, the largest number */
        return dcmk_small{3, 7, 0x80, 0x7e, 0x7f, 0x43e00000, false};
    case DCMK_F8E5M2: /* as f16 */
        return dcmk_small{2, 15, 0x80, 0x7c, 0x7e, 0x47800000, true};
    default: /* bf16 has an exponent as fp32 and needs no ceiling */
        return dcmk_small{7, 127, 0x8000, 0x7f80, 0x7fc0, 0x7f800000, true};
    }
}

DCMK_FN float dcmk_widen(const dcmk_small &k, uint32_t code)
{
    const uint32_t abs = code & (k.sign - 1);
    const uint32_t minus = (code & k.sign) != 0 ? 0x80000000u : 0;
    const uint32_t wide = (abs << (23 - k.man)) +
                          ((uint32_t)(127 - k.bias) << 23);

    if (abs > k.top)
        return dcmk_f32(0x7fc00000u);
    if (k.has_inf && abs == k.top)
        return dcmk_f32(0x7f800000u | minus);
    if (abs >> k.man != 0)
        return dcmk_f32(wide | minus);
    if (k.bias == 127) /* fp32 has the same subnormal numbers */
        return dcmk_f32((abs << 16) | minus);
    /* Subnormal: a leading one is put in front, and taken off as a number. */
    return dcmk_f32(minus | dcmk_bits(dcmk_f32(wide + (1u << 23)) -
                                      dcmk_f32((uint32_t)(128 - k.bias) << 23)));
}

/* To nearest, ties to even. */
DCMK_FN uint32_t dcmk_narrow(const dcmk_small &k, float x)
{
    const int drop = 23 - k.man;
    const uint32_t least = (uint32_t)(128 - k.bias) << 23; /* normal */
    const uint32_t bits = dcmk_bits(x);
    const uint32_t abs = bits & 0x7fffffffu;
    const uint32_t sign = bits != abs ? k.sign : 0;
    const uint32_t held = abs < k.ceiling ? abs : k.ceiling;
    /* Its last bit is the last bit of a subnormal: the addition rounds. */
    const uint32_t anchor = (uint32_t)(127 - k.bias + drop + 1) << 23;

    if (abs > 0x7f800000u)
        return k.canon;
    if (held < least && k.bias != 127)
        return sign | (dcmk_bits(dcmk_f32(held) + dcmk_f32(anchor)) - anchor);
    return sign | ((held - ((uint32_t)(127 - k.bias) << 23) +
                    ((1u << (drop - 1)) - 1) + ((held >> drop) & 1u)) >>
                   drop);
}

/* ---- one operator on two elements ----------------------------------------- */

/* NaN wins, -0 is less than +0. */
DCMK_FN float dcmk_step(int op, float x, float y)
{
    switch (op) {
    case DCMK_PROD:
        return x * y;
    case DCMK_MIN:
    case DCMK_MAX:
        if (x != x || y != y)
            return x != x ? x : y;
        if (x == y) /* only zeros differ */
            return (dcmk_bits(x) >> 31 != 0) == (op == DCMK_MIN) ? x : y;
        return (x < y) == (op == DCMK_MIN) ? x : y;
    default:
        return x + y;
    }
}

DCMK_FN double dcmk_step(int op, double x, double y)
{
    switch (op) {
    case DCMK_PROD:
        return x * y;
    case DCMK_MIN:
    case DCMK_MAX:
        if (x != x || y != y)
            return x != x ? x : y;
        if (x == y)
            return (dcmk_bits64(x) >> 63 != 0) == (op == DCMK_MIN) ? x : y;
        return (x < y) == (op == DCMK_MIN) ? x : y;
    default:
        return x + y;
    }
}

/* Integers, extended from `width` bits. */
DCMK_FN uint64_t dcmk_extend(uint64_t x, int width, bool is_signed)
{
    const int spare = 64 - width;

    if (is_signed)
        return (uint64_t)((int64_t)(x << spare) >> spare);
    return x << spare >> spare;
}

DCMK_FN uint64_t dcmk_step(int op, uint64_t x, uint64_t y, bool is_signed)
{
    const bool is_less = is_signed ? (int64_t)x < (int64_t)y : x < y;

    if (op == DCMK_PROD)
        return x * y;
    if (op == DCMK_MIN || op == DCMK_MAX)
        return is_less == (op == DCMK_MIN) ? x : y;
    return x + y;
}

/* ---- 8 bytes of every rank, any type -------------------------------------- */

DCMK_FN uint64_t dcmk_word_f64(int op, const uint64_t *w, uint32_t step, int n)
{
    double x = dcmk_f64(w[0]);

    DCMK_LOOP
    for (int p = 1; p < n; p++)
        x = dcmk_step(op, x, dcmk_f64(w[(uint32_t)p * step]));
    if (op == DCMK_AVG)
        x = x / (double)n;
    return x == x ? dcmk_bits64(x) : 0x7ff8000000000000u;
}

DCMK_FN uint64_t dcmk_word_f32(int op, const uint64_t *w, uint32_t step, int n)
{
    uint64_t out = 0;

    DCMK_LOOP
    for (int at = 0; at < 64; at += 32) {
        float x = dcmk_f32((uint32_t)(w[0] >> at));

        DCMK_LOOP
        for (int p = 1; p < n; p++)
            x = dcmk_step(op, x,
                          dcmk_f32((uint32_t)(w[(uint32_t)p * step] >> at)));
        if (op == DCMK_AVG)
            x = x / (float)n;
        out |= (uint64_t)(x == x ? dcmk_bits(x) : 0x7fc00000u) << at;
    }
    return out;
}

DCMK_FN uint64_t dcmk_word_small(int dtype, int op, const uint64_t *w,
                                 uint32_t step, int n)
{
    const dcmk_small k = dcmk_small_of(dtype);
    const int width = k.sign == 0x80 ? 8 : 16;
    const uint32_t mask = 2 * k.sign - 1;
    uint64_t out = 0;

    DCMK_LOOP
    for (int at = 0; at < 64; at += width) {
        float x = dcmk_widen(k, (uint32_t)(w[0] >> at) & mask);

        DCMK_LOOP
        for (int p = 1; p < n; p++)
            x = dcmk_step(
                op, x,
                dcmk_widen(k, (uint32_t)(w[(uint32_t)p * step] >> at) & mask));
        if (op == DCMK_AVG)
            x = x / (float)n;
        out |= (uint64_t)dcmk_narrow(k, x) << at;
    }
    return out;
}

DCMK_FN uint64_t dcmk_word_int(int width, bool is_signed, int op,
                               const uint64_t *w, uint32_t step, int n)
{
    const uint64_t mask = ~(uint64_t)0 >> (64 - width);
    uint64_t out = 0;

    DCMK_LOOP
    for (int at = 0; at < 64; at += width) {
        uint64_t x = dcmk_extend(w[0] >> at, width, is_signed);

        DCMK_LOOP
        for (int p = 1; p < n; p++)
            x = dcmk_step(
                op, x,
                dcmk_extend(w[(uint32_t)p * step] >> at, width, is_signed),
                is_signed);
        x = dcmk_extend(x, width, is_signed); /* it wraps */
        if (op == DCMK_AVG)
            x = is_signed ? (uint64_t)((int64_t)x / n) : x / (uint64_t)n;
        out |= (x & mask) << at;
    }
    return out;
}

/* Word p is at w[p * step]. */
DCMK_SLOW uint64_t dcmk_reduce_word(int dtype, int op, const uint64_t *w,
                                    uint32_t step, int n)
{
    switch (dtype) {
    case DCMK_F64:
        return dcmk_word_f64(op, w, step, n);
    case DCMK_F32:
        return dcmk_word_f32(op, w, step, n);
    case DCMK_I8:
    case DCMK_U8:
        return dcmk_word_int(8, dtype == DCMK_I8, op, w, step, n);
    case DCMK_I32:
    case DCMK_U32:
        return dcmk_word_int(32, dtype == DCMK_I32, op, w, step, n);
    case DCMK_I64:
    case DCMK_U64:
        return dcmk_word_int(64, dtype == DCMK_I64, op, w, step, n);
    default:
        return dcmk_word_small(dtype, op, w, step, n);
    }
}

/* ---- what kernels are made with: set, add in rank order, get -------------- */

/* EVEN: buffers and sizes are multiples of what a thread moves. */
struct dcmk_sum_f32 {
    static const bool EVEN = true;
    float f[4];

    DCMK_METHOD void set(const dcmk_args &, dcmk_u4 v)
    {
        f[0] = dcmk_f32(v.x);
        f[1] = dcmk_f32(v.y);
        f[2] = dcmk_f32(v.z);
        f[3] = dcmk_f32(v.w);
    }
    DCMK_METHOD void add(int, dcmk_u4 v)
    {
        f[0] += dcmk_f32(v.x);
        f[1] += dcmk_f32(v.y);
        f[2] += dcmk_f32(v.z);
        f[3] += dcmk_f32(v.w);
    }
    DCMK_METHOD static uint32_t tidy(float x)
    {
        return x == x ? dcmk_bits(x) : 0x7fc00000u;
    }
    DCMK_METHOD dcmk_u4 get(const dcmk_args &) const
    {
        return dcmk_u4{tidy(f[0]), tidy(f[1]), tidy(f[2]), tidy(f[3])};
    }
};

/* Two of a type in a 32-bit word, to fp32 and back. */
struct dcmk_pair_bf16 {
    DCMK_METHOD static float low(uint32_t w)
    {
        return dcmk_f32(w << 16);
    }
    DCMK_METHOD static float high(uint32_t w)
    {
        return dcmk_f32(w & 0xffff0000u);
    }
    DCMK_METHOD static uint32_t pack(float l, float h)
    {
#if DCMK_HOST
        const dcmk_small k = dcmk_small_of(DCMK_BF16);

        return dcmk_narrow(k, l) | dcmk_narrow(k, h) << 16;
#else
        uint32_t w;

        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(h), "f"(l));
        return w;
#endif
    }
    static const uint32_t CANON = 0x7fc0;
};

struct dcmk_pair_f16 {
    DCMK_METHOD static float low(uint32_t w)
    {
#if DCMK_HOST
        return dcmk_widen(dcmk_small_of(DCMK_F16), w & 0xffffu);
#else
        float x;

        asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }"
            : "=f"(x)
            : "r"(w));
        return x;
#endif
    }
    DCMK_METHOD static float high(uint32_t w)
    {
        return low(w >> 16);
    }
    DCMK_METHOD static uint32_t pack(float l, float h)
    {
#if DCMK_HOST
        const dcmk_small k = dcmk_small_of(DCMK_F16);

        return dcmk_narrow(k, l) | dcmk_narrow(k, h) << 16;
#else
        uint32_t w;

        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(h), "f"(l));
        return w;
#endif
    }
    static const uint32_t CANON = 0x7e00;
};

template <class P> struct dcmk_sum_pairs {
    static const bool EVEN = true;
    float f[8];

    DCMK_METHOD void set(const dcmk_args &, dcmk_u4 v)
    {
        const uint32_t w[4] = {v.x, v.y, v.z, v.w};

        DCMK_UNROLL
        for (int i = 0; i < 4; i++) {
            f[2 * i] = P::low(w[i]);
            f[2 * i + 1] = P::high(w[i]);
        }
    }
    DCMK_METHOD void add(int, dcmk_u4 v)
    {
        const uint32_t w[4] = {v.x, v.y, v.z, v.w};

        DCMK_UNROLL
        for (int i = 0; i < 4; i++) {
            f[2 * i] += P::low(w[i]);
            f[2 * i + 1] += P::high(w[i]);
        }
    }
    /* The instruction's NaN is another one than ours. */
    DCMK_METHOD static uint32_t tidy(uint32_t w, float l, float h)
    {
        w = l == l ? w : (w & 0xffff0000u) | P::CANON;
        return h == h ? w : (w & 0xffffu) | P::CANON << 16;
    }
    DCMK_METHOD dcmk_u4 get(const dcmk_args &) const
    {
        /* A NaN if there is one among them, and seldom otherwise. */
        const float any = ((f[0] + f[1]) + (f[2] + f[3])) +
                          ((f[4] + f[5]) + (f[6] + f[7]));
        dcmk_u4 v = {P::pack(f[0], f[1]), P::pack(f[2], f[3]),
                     P::pack(f[4], f[5]), P::pack(f[6], f[7])};

        if (any != any) {
            v.x = tidy(v.x, f[0], f[1]);
            v.y = tidy(v.y, f[2], f[3]);
            v.z = tidy(v.z, f[4], f[5]);
            v.w = tidy(v.w, f[6], f[7]);
        }
        return v;
    }
};

typedef dcmk_sum_pairs<dcmk_pair_bf16> dcmk_sum_bf16;
typedef dcmk_sum_pairs<dcmk_pair_f16> dcmk_sum_f16;

/* Any type and operator: what `a` says, when all ranks' words are there. */
template <int RANKS> struct dcmk_reduce_any {
    static const bool EVEN = false;
    uint64_t w[RANKS][2];

    DCMK_METHOD void set(const dcmk_args &, dcmk_u4 v)
    {
        add(0, v);
    }
    DCMK_METHOD void add(int p, dcmk_u4 v)
    {
        w[p][0] = v.x | (uint64_t)v.y << 32;
        w[p][1] = v.z | (uint64_t)v.w << 32;
    }
    DCMK_METHOD dcmk_u4 get(const dcmk_args &a) const
    {
        const uint64_t low =
            dcmk_reduce_word(a.dtype, a.op, &w[0][0], 2, a.nranks);
        const uint64_t high =
            dcmk_reduce_word(a.dtype, a.op, &w[0][1], 2, a.nranks);

        return dcmk_u4{(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                       (uint32_t)(high >> 32)};
    }
};

#endif /* DCMK_REDUCE_CUH */

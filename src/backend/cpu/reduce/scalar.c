/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference: one element after the other, in the order of the sources, by
 * the rules of docs/numerics.md.  Every other set of functions equals this one
 * bit for bit.  Written to be read, and slow.
 *
 * Wants the default floating-point environment (dcmi_fpenv_enter()) and
 * -ffp-contract=off: a product and a sum are rounded each.
 */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "backend/cpu/reduce/sets.h"

#if FLT_EVAL_METHOD != 0
#error "float and double must be computed in their own precision"
#endif

/* ---- the 16- and 8-bit floats --------------------------------------------- */

typedef struct small_float {
    int man_bits;
    int bias;
    unsigned top;   /* largest code without sign that is no NaN */
    unsigned canon; /* the canonical NaN */
    unsigned sign;  /* the sign's bit */
    bool has_inf;   /* then it is `top` */
} small_float;

static const small_float kind_f16 = {10, 15, 0x7c00, 0x7e00, 0x8000, true};
static const small_float kind_bf16 = {7, 127, 0x7f80, 0x7fc0, 0x8000, true};
static const small_float kind_f8e4m3 = {3, 7, 0x7e, 0x7f, 0x80, false};
static const small_float kind_f8e5m2 = {2, 15, 0x7c, 0x7e, 0x80, true};

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* 2^e, a normal number. */
static float power(int e)
{
    return float_of((uint32_t)(e + 127) << 23);
}

static float decode(const small_float *k, unsigned code)
{
    const unsigned abs = code & (k->sign - 1);
    const unsigned man = abs & ((1u << k->man_bits) - 1);
    const int exponent = (int)(abs >> k->man_bits);
    float x;

    if (abs > k->top || (k->has_inf && abs == k->top))
        x = float_of(abs == k->top ? 0x7f800000u : 0x7fc00000u);
    else if (exponent == 0) /* in two steps: 2^-133 of bf16 is no normal */
        x = (float)man * power(1 - k->bias) * power(-k->man_bits);
    else
        x = (float)(man + (1u << k->man_bits)) * power(-k->man_bits) *
            power(exponent - k->bias);
    return (code & k->sign) != 0 ? -x : x;
}

/* sig / 2^shift to the nearest integer, ties to even. */
static uint32_t round_shift(uint32_t sig, int shift)
{
    uint32_t down, rest, half;

    if (shift > 25)
        return 0; /* sig < 2^24, so this is less than a half */
    down = sig >> shift;
    rest = sig - (down << shift);
    half = 1u << (shift - 1);
    return down + (rest > half || (rest == half && (down & 1) != 0));
}

static unsigned encode(const small_float *k, float x)
{
    const uint32_t bits = bits_of(x);
    const uint32_t abs = bits & 0x7fffffffu;
    const unsigned sign = bits != abs ? k->sign : 0;
    const int least = 1 - k->bias; /* exponent of the least normal number */
    const int field = (int)(abs >> 23);
    const int exponent = field == 0 ? -126 : field - 127;
    const int above = exponent > least ? exponent - least : 0;
    const int below = exponent < least ? least - exponent : 0;
    uint32_t sig = abs & 0x7fffffu;
    uint64_t code;

    if (abs > 0x7f800000u)
        return k->canon;
    if (field != 0)
        sig |= 0x800000u;
    /* A leading one in the rounded significand adds 1 to the exponent. */
    code = ((uint64_t)above << k->man_bits) +
           round_shift(sig, 23 - k->man_bits + below);
    return sign | (code > k->top ? k->top : (unsigned)code);
}

/* ---- the rule of each type ------------------------------------------------ */

/* An element between load and store: one member is in use, as the rule says. */
typedef union value {
    double f64;
    float f32;  /* f32 and all smaller floats */
    uint64_t u; /* integers, extended from their own width */
} value;

typedef struct rule rule;
struct rule {
    size_t bytes;
    bool is_signed;          /* integers */
    const small_float *kind; /* 16- and 8-bit floats */
    value (*get)(const rule *r, const void *p);
    value (*step)(const rule *r, dcm_op op, value a, value b);
    value (*divide)(const rule *r, value sum, int n);
    void (*put)(const rule *r, void *p, value x);
};

static value get_f64(const rule *r, const void *p)
{
    value x;

    memcpy(&x.f64, p, r->bytes);
    return x;
}

static value step_f64(const rule *r, dcm_op op, value a, value b)
{
    const double x = a.f64, y = b.f64;

    (void)r;
    if (op == DCM_PROD)
        return (value){.f64 = x * y};
    if (op == DCM_SUM || op == DCM_AVG)
        return (value){.f64 = x + y};
    if (isnan(x) || isnan(y))
        return isnan(x) ? a : b;
    if (x == 0 && y == 0) /* the negative zero is less */
        return (signbit(x) != 0) == (op == DCM_MIN) ? a : b;
    return (x < y) == (op == DCM_MIN) ? a : b;
}

static value divide_f64(const rule *r, value sum, int n)
{
    (void)r;
    return (value){.f64 = sum.f64 / n};
}

static void put_f64(const rule *r, void *p, value x)
{
    const uint64_t canon = 0x7ff8000000000000u;

    memcpy(p, isnan(x.f64) ? (const void *)&canon : &x.f64, r->bytes);
}

static value get_f32(const rule *r, const void *p)
{
    value x;

    memcpy(&x.f32, p, r->bytes);
    return x;
}

static value step_f32(const rule *r, dcm_op op, value a, value b)
{
    const float x = a.f32, y = b.f32;

    (void)r;
    if (op == DCM_PROD)
        return (value){.f32 = x * y};
    if (op == DCM_SUM || op == DCM_AVG)
        return (value){.f32 = x + y};
    if (isnan(x) || isnan(y))
        return isnan(x) ? a : b;
    if (x == 0 && y == 0)
        return (signbit(x) != 0) == (op == DCM_MIN) ? a : b;
    return (x < y) == (op == DCM_MIN) ? a : b;
}

static value divide_f32(const rule *r, value sum, int n)
{
    (void)r;
    return (value){.f32 = sum.f32 / (float)n};
}

static void put_f32(const rule *r, void *p, value x)
{
    const uint32_t canon = 0x7fc00000u;

    memcpy(p, isnan(x.f32) ? (const void *)&canon : &x.f32, r->bytes);
}

/* These compute as f32 and differ in how they are stored. */
static value get_small(const rule *r, const void *p)
{
    unsigned code = 0;

    memcpy(&code, p, r->bytes);
    return (value){.f32 = decode(r->kind, code)};
}

static void put_small(const rule *r, void *p, value x)
{
    const unsigned code = encode(r->kind, x.f32);

    memcpy(p, &code, r->bytes);
}

/* Cut to the type's width and extend again: this is what wraps. */
static uint64_t wrap(const rule *r, uint64_t x)
{
    const int spare = 64 - 8 * (int)r->bytes;

    x <<= spare;
    return r->is_signed ? (uint64_t)((int64_t)x >> spare) : x >> spare;
}

static value get_int(const rule *r, const void *p)
{
    uint64_t x = 0;

    memcpy(&x, p, r->bytes);
    return (value){.u = wrap(r, x)};
}

static value step_int(const rule *r, dcm_op op, value a, value b)
{
    const bool is_less = r->is_signed ? (int64_t)a.u < (int64_t)b.u : a.u < b.u;

    if (op == DCM_PROD)
        return (value){.u = wrap(r, a.u * b.u)};
    if (op == DCM_SUM || op == DCM_AVG)
        return (value){.u = wrap(r, a.u + b.u)};
    return is_less == (op == DCM_MIN) ? a : b;
}

static value divide_int(const rule *r, value sum, int n)
{
    if (r->is_signed)
        return (value){.u = (uint64_t)((int64_t)sum.u / n)};
    return (value){.u = sum.u / (uint64_t)n};
}

static void put_int(const rule *r, void *p, value x)
{
    memcpy(p, &x.u, r->bytes);
}

#define SMALL(bytes, kind)                                                     \
    {                                                                          \
        bytes, true, &kind, get_small, step_f32, divide_f32, put_small         \
    }
#define INTEGER(bytes, is_signed)                                              \
    {                                                                          \
        bytes, is_signed, NULL, get_int, step_int, divide_int, put_int         \
    }

static const rule rules[DCM_NDTYPES] = {
    [DCM_F64] = {8, true, NULL, get_f64, step_f64, divide_f64, put_f64},
    [DCM_F32] = {4, true, NULL, get_f32, step_f32, divide_f32, put_f32},
    [DCM_F16] = SMALL(2, kind_f16),
    [DCM_BF16] = SMALL(2, kind_bf16),
    [DCM_F8E4M3] = SMALL(1, kind_f8e4m3),
    [DCM_F8E5M2] = SMALL(1, kind_f8e5m2),
    [DCM_I8] = INTEGER(1, true),
    [DCM_U8] = INTEGER(1, false),
    [DCM_I32] = INTEGER(4, true),
    [DCM_U32] = INTEGER(4, false),
    [DCM_I64] = INTEGER(8, true),
    [DCM_U64] = INTEGER(8, false),
};

/* ---- all of them ---------------------------------------------------------- */

static void reduce(const dcmi_reduce_args *a, dcm_dtype dtype, dcm_op op)
{
    const rule *r = &rules[dtype];

    for (size_t i = 0; i < a->count; i++) {
        const size_t at = i * r->bytes;
        value acc = r->get(r, (const unsigned char *)a->src[0] + at);

        for (int s = 1; s < a->nsrc; s++)
            acc = r->step(r, op, acc,
                          r->get(r, (const unsigned char *)a->src[s] + at));
        if (op == DCM_AVG)
            acc = r->divide(r, acc, a->avg_n);
        for (int d = 0; d < a->ndst; d++)
            r->put(r, (unsigned char *)a->dst[d] + at, acc);
    }
}

#define ENTRY(type, op)                                                        \
    static void type##_##op(const dcmi_reduce_args *a)                         \
    {                                                                          \
        reduce(a, DCM_##type, DCM_##op);                                       \
    }
#define ENTRIES(type, value, bytes, text)                                      \
    ENTRY(type, SUM)                                                           \
    ENTRY(type, PROD)                                                          \
    ENTRY(type, MIN)                                                           \
    ENTRY(type, MAX)                                                           \
    ENTRY(type, AVG)
#define ROW(type, value, bytes, text)                                          \
    [DCM_##type] = {                                                           \
        [DCM_SUM] = type##_SUM, [DCM_PROD] = type##_PROD,                      \
        [DCM_MIN] = type##_MIN, [DCM_MAX] = type##_MAX,                        \
        [DCM_AVG] = type##_AVG,                                                \
    },

DCM_DTYPE_MAP(ENTRIES)

static void copy(void *dst, const void *src, size_t bytes)
{
    memcpy(dst, src, bytes);
}

static void warm(void *at, size_t bytes)
{
    (void)at;
    (void)bytes;
}

const dcmi_reduce_ops dcmi_reduce_scalar = {
    .name = "scalar",
    .fn = {DCM_DTYPE_MAP(ROW)},
    .copy = copy,
    .copy_stream = copy,
    .warm = warm,
};

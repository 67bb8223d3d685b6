/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle of test_reduce.  Every number of a narrow type stands in a table,
 * in the order of its codes, which is that of the numbers; rounding looks up
 * the two neighbours and takes the nearer one.  fp32 arithmetic is done in
 * fp64 and rounded once more: with more than twice the digits that gives the
 * same as rounding once.
 */
#include "reduce_oracle.h"

#include <math.h>
#include <string.h>

#define CODES 0x8000 /* without sign, of the widest narrow type */

typedef struct narrow {
    int exponent_bits;
    int mantissa_bits;
    bool is_ieee;            /* the last exponent is for infinity and NaN */
    unsigned last;           /* code of the largest finite number */
    double value[CODES + 1]; /* and one step above, where infinity begins */
} narrow;

static narrow f16 = {.exponent_bits = 5, .mantissa_bits = 10, .is_ieee = true};
static narrow bf16 = {.exponent_bits = 8, .mantissa_bits = 7, .is_ieee = true};
static narrow e5m2 = {.exponent_bits = 5, .mantissa_bits = 2, .is_ieee = true};
static narrow e4m3 = {.exponent_bits = 4, .mantissa_bits = 3};

static narrow *narrow_of(dcm_dtype dtype)
{
    if (dtype == DCM_F16)
        return &f16;
    if (dtype == DCM_BF16)
        return &bf16;
    return dtype == DCM_F8E5M2 ? &e5m2 : &e4m3;
}

static double two_to(int n)
{
    double x = 1;

    for (; n > 0; n--)
        x *= 2;
    for (; n < 0; n++)
        x /= 2;
    return x;
}

static void fill(narrow *k)
{
    const unsigned per_exponent = 1u << k->mantissa_bits;
    const int bias = (1 << (k->exponent_bits - 1)) - 1;
    const unsigned all = 1u << (k->exponent_bits + k->mantissa_bits);

    k->last = k->is_ieee ? all - per_exponent - 1 : all - 2;
    for (unsigned code = 0; code <= k->last + 1; code++) {
        const unsigned mantissa = code % per_exponent;
        const int e = (int)(code / per_exponent);

        if (e == 0)
            k->value[code] = mantissa * two_to(1 - bias - k->mantissa_bits);
        else
            k->value[code] =
                (mantissa + per_exponent) * two_to(e - bias - k->mantissa_bits);
    }
}

void oracle_init(void)
{
    fill(&f16);
    fill(&bf16);
    fill(&e5m2);
    fill(&e4m3);
}

uint64_t oracle_get(dcm_dtype dtype, const void *p, size_t i)
{
    const size_t bytes = dcm_dtype_bytes(dtype);
    uint64_t code = 0;

    memcpy(&code, (const unsigned char *)p + i * bytes, bytes);
    return code;
}

void oracle_put(dcm_dtype dtype, void *p, size_t i, uint64_t code)
{
    const size_t bytes = dcm_dtype_bytes(dtype);

    memcpy((unsigned char *)p + i * bytes, &code, bytes);
}

static unsigned sign_bit(const narrow *k)
{
    return 1u << (k->exponent_bits + k->mantissa_bits);
}

/* The number that a floating-point code stands for. */
static double value_of(dcm_dtype dtype, uint64_t code)
{
    const narrow *k = narrow_of(dtype);
    double d;
    float f;

    if (dtype == DCM_F64) {
        memcpy(&d, &code, sizeof(d));
    } else if (dtype == DCM_F32) {
        const uint32_t bits = (uint32_t)code;

        memcpy(&f, &bits, sizeof(f));
        d = (double)f;
    } else {
        const unsigned abs = (unsigned)code & (sign_bit(k) - 1);

        d = abs <= k->last ? k->value[abs] : (double)NAN;
        if (k->is_ieee && abs == k->last + 1)
            d = (double)INFINITY;
        if ((code & sign_bit(k)) != 0)
            d = -d;
    }
    return d;
}

bool oracle_is_nan(dcm_dtype dtype, uint64_t code)
{
    return dtype <= DCM_F8E5M2 && isnan(value_of(dtype, code));
}

uint64_t oracle_canonical_nan(dcm_dtype dtype)
{
    static const uint64_t nan_of[] = {
        [DCM_F64] = 0x7ff8000000000000u,
        [DCM_F32] = 0x7fc00000u,
        [DCM_F16] = 0x7e00,
        [DCM_BF16] = 0x7fc0,
        [DCM_F8E4M3] = 0x7f,
        [DCM_F8E5M2] = 0x7e,
    };

    return nan_of[dtype];
}

static uint64_t nearest(const narrow *k, double abs)
{
    unsigned lo = 0, hi = k->last + 1;
    double below, above;

    if (abs >= k->value[hi])
        return k->is_ieee ? hi : k->last;
    while (hi - lo > 1) { /* value[lo] <= abs < value[hi] */
        const unsigned mid = lo + (hi - lo) / 2;

        if (k->value[mid] <= abs)
            lo = mid;
        else
            hi = mid;
    }
    below = abs - k->value[lo];
    above = k->value[hi] - abs;
    if (below > above || (below == above && lo % 2 != 0))
        lo = hi;
    return lo > k->last && !k->is_ieee ? k->last : lo;
}

static uint64_t code_of(dcm_dtype dtype, double d)
{
    const narrow *k = narrow_of(dtype);
    const float f = (float)d;
    uint32_t bits;
    uint64_t code;

    if (isnan(d))
        return oracle_canonical_nan(dtype);
    if (dtype == DCM_F64) {
        memcpy(&code, &d, sizeof(code));
        return code;
    }
    if (dtype == DCM_F32) {
        memcpy(&bits, &f, sizeof(bits));
        return bits;
    }
    return nearest(k, fabs(d)) | (signbit(d) ? sign_bit(k) : 0);
}

/* To the precision that sums of this type are kept in. */
static double kept(dcm_dtype dtype, double d)
{
    return dtype == DCM_F64 ? d : (double)(float)d;
}

static uint64_t reduce_float(dcm_dtype dtype, dcm_op op, const void *const *src,
                             int nsrc, int avg_n, size_t i)
{
    double acc = value_of(dtype, oracle_get(dtype, src[0], i));

    for (int s = 1; s < nsrc; s++) {
        const double x = value_of(dtype, oracle_get(dtype, src[s], i));

        acc = kept(dtype, op == DCM_PROD ? acc * x : acc + x);
    }
    if (op == DCM_AVG)
        acc = kept(dtype, acc / kept(dtype, avg_n));
    return code_of(dtype, acc);
}

/* The winner's own code; -0 is told from +0 by being the other's neighbour. */
static uint64_t pick_float(dcm_dtype dtype, dcm_op op, const void *const *src,
                           int nsrc, size_t i)
{
    uint64_t best = oracle_get(dtype, src[0], i);

    for (int s = 0; s < nsrc; s++) {
        const uint64_t code = oracle_get(dtype, src[s], i);
        const double x = value_of(dtype, code), y = value_of(dtype, best);
        bool is_less = x < y;

        if (isnan(x))
            return oracle_canonical_nan(dtype);
        if (x == 0 && y == 0)
            is_less = signbit(x) && !signbit(y);
        if (op == DCM_MIN ? is_less : !is_less && code != best)
            best = code;
    }
    return best;
}

static bool is_signed(dcm_dtype dtype)
{
    return dtype == DCM_I8 || dtype == DCM_I32 || dtype == DCM_I64;
}

static int bits_of(dcm_dtype dtype)
{
    return 8 * (int)dcm_dtype_bytes(dtype);
}

/* Division of magnitudes, so that it truncates toward zero by itself. */
static uint64_t divide_int(dcm_dtype dtype, uint64_t sum, int n)
{
    const uint64_t minus = (uint64_t)1 << (bits_of(dtype) - 1);
    const uint64_t mask = minus | (minus - 1);

    if (!is_signed(dtype) || (sum & minus) == 0)
        return sum / (unsigned)n;
    return (0 - ((0 - sum) & mask) / (unsigned)n) & mask;
}

/* Modulo 2^64 throughout and cut at the end, which is the same. */
static uint64_t reduce_int(dcm_dtype dtype, dcm_op op, const void *const *src,
                           int nsrc, int avg_n, size_t i)
{
    const uint64_t top = (uint64_t)1 << (bits_of(dtype) - 1);
    const uint64_t mask = top | (top - 1);
    const uint64_t flip = is_signed(dtype) ? top : 0;
    uint64_t acc = oracle_get(dtype, src[0], i);

    for (int s = 1; s < nsrc; s++) {
        const uint64_t x = oracle_get(dtype, src[s], i);

        if (op == DCM_PROD)
            acc *= x;
        else if (op == DCM_SUM || op == DCM_AVG)
            acc += x;
        else if (((x ^ flip) > (acc ^ flip)) == (op == DCM_MAX))
            acc = x;
    }
    acc &= mask;
    return op == DCM_AVG ? divide_int(dtype, acc, avg_n) : acc;
}

uint64_t oracle_reduce(dcm_dtype dtype, dcm_op op, const void *const *src,
                       int nsrc, int avg_n, size_t i)
{
    if (dtype > DCM_F8E5M2)
        return reduce_int(dtype, op, src, nsrc, avg_n, i);
    if (op == DCM_MIN || op == DCM_MAX)
        return pick_float(dtype, op, src, nsrc, i);
    return reduce_float(dtype, op, src, nsrc, avg_n, i);
}

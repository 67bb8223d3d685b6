/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs whose reduction does not round.
 *
 * Floating sums are of multiples of 1/4 so small that the sum of any ranks, in
 * any order, fits the significant bits that it is accumulated in, and so that
 * every sum of the first ranks fits the type itself.  Products are of powers of
 * two and threes, few enough to fit.  Integers wrap, which is exact, and take
 * all values; only averages keep to sums that neither wrap nor leave a
 * remainder.
 */
#include "bench/data.h"

#include <math.h>
#include <string.h>

#include "bench/num.h"

/* Tries to find a value that keeps the running result exact; then 0 or 1. */
enum {
    TRIES = 16
};

static const double unit = 0.25;

/* Largest multiple of `unit` of one rank. */
static int64_t float_limit(const dcmi_data_spec *spec)
{
    /* At most 2^40: room for the products below, enough bits for any test. */
    const int p = dcmi_num_precision(spec->dtype) > 40
                      ? 40
                      : dcmi_num_precision(spec->dtype);
    const int64_t limit = (1ll << p) / spec->nranks;

    return limit > 1 ? limit : 1;
}

static void float_sum(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                      uint64_t *result_p)
{
    const int64_t limit = float_limit(spec);
    double sum = 0.0;
    double v;

    for (int r = 0; r < spec->nranks; r++) {
        int left = TRIES;

        do {
            v = left-- > 0 ? unit * (double)dcmi_rng_range(rng, -limit, limit)
                           : 0.0;
        } while (!dcmi_num_is_exact(spec->dtype, v) ||
                 !dcmi_num_is_exact(spec->dtype, sum + v));
        sum += v;
        in[r] = dcmi_num_encode(spec->dtype, v);
    }
    *result_p = dcmi_num_encode(spec->dtype, sum);
}

static bool is_good_product(dcm_dtype dtype, double v)
{
    return fabs(v) >= 0.0625 && fabs(v) <= 16.0 && dcmi_num_is_exact(dtype, v);
}

static bool has_three(double v)
{
    int exp;

    return fabs(frexp(v, &exp)) > 0.5; /* no power of two */
}

static void float_prod(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                       uint64_t *result_p)
{
    static const double factors[] = {0.5,  1.0,  2.0,  1.5,  0.75,
                                     -0.5, -1.0, -2.0, -1.5, -0.75};
    const int64_t last = (int64_t)(sizeof(factors) / sizeof(factors[0])) - 1;
    /* The product's odd part, 3^k: it must fit the significant bits. */
    const uint64_t odd_end = 1ull << dcmi_num_precision(spec->dtype);
    uint64_t odd = 1;
    double prod = 1.0;
    double v;

    for (int r = 0; r < spec->nranks; r++) {
        int left = TRIES;

        do {
            v = left-- > 0 ? factors[dcmi_rng_range(rng, 0, last)] : 1.0;
        } while ((has_three(v) && 3 * odd >= odd_end) ||
                 !is_good_product(spec->dtype, prod * v));
        prod *= v;
        odd *= has_three(v) ? 3 : 1;
        in[r] = dcmi_num_encode(spec->dtype, v);
    }
    *result_p = dcmi_num_encode(spec->dtype, prod);
}

static uint64_t any_finite(dcm_dtype dtype, dcmi_rng *rng)
{
    uint64_t bits;

    do {
        bits = dcmi_num_trim(dtype, dcmi_rng_next(rng));
        /* No zero: which of +0 and -0 is smaller is for other tests. */
    } while (dcmi_num_is_float(dtype) &&
             (!isfinite(dcmi_num_decode(dtype, bits)) ||
              dcmi_num_decode(dtype, bits) == 0.0));
    return bits;
}

/* a < b as values of the type. */
static bool is_less(dcm_dtype dtype, uint64_t a, uint64_t b)
{
    if (dcmi_num_is_float(dtype))
        return dcmi_num_decode(dtype, a) < dcmi_num_decode(dtype, b);
    if (dcmi_num_is_signed(dtype))
        return dcmi_num_int(dtype, a) < dcmi_num_int(dtype, b);
    return a < b;
}

static void extreme(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                    uint64_t *result_p)
{
    uint64_t best = 0;

    for (int r = 0; r < spec->nranks; r++) {
        in[r] = any_finite(spec->dtype, rng);
        if (r == 0 || (spec->op == DCM_MIN ? is_less(spec->dtype, in[r], best)
                                           : is_less(spec->dtype, best, in[r])))
            best = in[r];
    }
    *result_p = best;
}

static void int_wrap(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                     uint64_t *result_p)
{
    uint64_t acc = spec->op == DCM_SUM ? 0 : 1;

    for (int r = 0; r < spec->nranks; r++) {
        in[r] = dcmi_num_trim(spec->dtype, dcmi_rng_next(rng));
        if (spec->op == DCM_PROD)
            in[r] |= 1; /* odd factors: the product does not die out */
        acc = spec->op == DCM_SUM ? acc + in[r] : acc * in[r];
    }
    *result_p = dcmi_num_trim(spec->dtype, acc);
}

static uint64_t from_multiple(dcm_dtype dtype, int64_t v)
{
    if (dcmi_num_is_float(dtype))
        return dcmi_num_encode(dtype, unit * (double)v);
    return dcmi_num_trim(dtype, (uint64_t)v);
}

/* Largest integer of one rank whose sum over the ranks stays in the type. */
static int64_t int_limit(const dcmi_data_spec *spec)
{
    const unsigned bits = (unsigned)dcm_dtype_bytes(spec->dtype) * 8;
    const unsigned magnitude = bits - 1 - (bits == 64);

    return ((1ll << magnitude) - 1) / spec->nranks;
}

/*
 * The average q first; then values whose deviations from q cancel: the walk d
 * of the deviations stays where the last rank can still end it.
 */
static void average(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                    uint64_t *result_p)
{
    const dcm_dtype dtype = spec->dtype;
    const int64_t hi =
        dcmi_num_is_float(dtype) ? float_limit(spec) : int_limit(spec);
    const int64_t lo = dcmi_num_is_signed(dtype) ? -hi : 0;
    int64_t d = 0;
    int64_t q;
    int64_t v;

    do {
        q = dcmi_rng_range(rng, lo, hi);
    } while (dcmi_num_is_float(dtype) &&
             !dcmi_num_is_exact(dtype, unit * (double)q));

    for (int r = 0; r < spec->nranks; r++) {
        int64_t low = q - d - hi + q > lo ? q - d - hi + q : lo;
        int64_t high = q - d - lo + q < hi ? q - d - lo + q : hi;
        int left = TRIES;

        if (r == spec->nranks - 1)
            low = high = q - d;
        do {
            v = left-- > 0 ? dcmi_rng_range(rng, low, high) : q;
        } while (dcmi_num_is_float(dtype) &&
                 (!dcmi_num_is_exact(dtype, unit * (double)v) ||
                  !dcmi_num_is_exact(dtype, unit * (double)(q - d - v + q))));
        d += v - q;
        in[r] = from_multiple(dtype, v);
    }
    *result_p = from_multiple(dtype, q);
}

void dcmi_data_exact(const dcmi_data_spec *spec, dcmi_rng *rng, uint64_t *in,
                     uint64_t *result_p)
{
    const bool is_float = dcmi_num_is_float(spec->dtype);

    switch (spec->op) {
    case DCM_MIN:
    case DCM_MAX:
        extreme(spec, rng, in, result_p);
        break;
    case DCM_AVG:
        average(spec, rng, in, result_p);
        break;
    case DCM_PROD:
        if (is_float)
            float_prod(spec, rng, in, result_p);
        else
            int_wrap(spec, rng, in, result_p);
        break;
    case DCM_SUM:
    default:
        if (is_float)
            float_sum(spec, rng, in, result_p);
        else
            int_wrap(spec, rng, in, result_p);
        break;
    }
}

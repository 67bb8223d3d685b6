/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary inputs and their reduction by the rules of docs/numerics.md, one
 * element at a time.  Slow, and apart from the backends on purpose.
 */
#include "bench/data.h"

#include <math.h>

#include "bench/num.h"

/* Uniform in 0 .. 1, the same on every machine. */
static double uniform(dcmi_rng *rng)
{
    return (double)(dcmi_rng_next(rng) >> 11) * 0x1p-53;
}

/* Near enough to 1 that a product of all ranks stays in the smallest types. */
static double factor(dcmi_rng *rng, int nranks)
{
    const double reach = fmin(0.5, 2.0 / sqrt((double)nranks));
    double v;

    /* In steps, so that no compiler makes a fused product and sum of it. */
    v = uniform(rng) - 0.5;
    v *= 2.0 * reach;
    return 1.0 + v;
}

uint64_t dcmi_data_random(const dcmi_data_spec *spec, dcmi_rng *rng)
{
    const dcm_dtype dtype = spec->dtype;
    uint64_t bits;
    double v;

    if (dcmi_num_is_float(dtype) &&
        (spec->op == DCM_MIN || spec->op == DCM_MAX)) {
        do {
            bits = dcmi_num_trim(dtype, dcmi_rng_next(rng));
            v = dcmi_num_decode(dtype, bits);
        } while (!isfinite(v) || v == 0.0);
        return bits;
    }
    if (!dcmi_num_is_float(dtype))
        return dcmi_num_trim(dtype, dcmi_rng_next(rng));

    v = spec->op == DCM_PROD
            ? factor(rng, spec->nranks)
            : ldexp(uniform(rng), (int)dcmi_rng_range(rng, -4, 2));
    return dcmi_num_encode(dtype, dcmi_rng_next(rng) % 2 == 0 ? v : -v);
}

static double step_f64(dcm_op op, double acc, double v)
{
    switch (op) {
    case DCM_PROD:
        return acc * v;
    case DCM_MIN:
        return v < acc ? v : acc;
    case DCM_MAX:
        return v > acc ? v : acc;
    case DCM_SUM:
    case DCM_AVG:
    default:
        return acc + v;
    }
}

static float step_f32(dcm_op op, float acc, float v)
{
    switch (op) {
    case DCM_PROD:
        return acc * v;
    case DCM_MIN:
        return v < acc ? v : acc;
    case DCM_MAX:
        return v > acc ? v : acc;
    case DCM_SUM:
    case DCM_AVG:
    default:
        return acc + v;
    }
}

static uint64_t step_int(dcm_dtype dtype, dcm_op op, uint64_t acc, uint64_t v)
{
    const bool is_less = dcmi_num_is_signed(dtype)
                             ? dcmi_num_int(dtype, v) < dcmi_num_int(dtype, acc)
                             : v < acc;

    switch (op) {
    case DCM_PROD:
        return dcmi_num_trim(dtype, acc * v);
    case DCM_MIN:
        return is_less ? v : acc;
    case DCM_MAX:
        return is_less ? acc : v;
    case DCM_SUM:
    case DCM_AVG:
    default:
        return dcmi_num_trim(dtype, acc + v);
    }
}

static uint64_t reduce_f64(dcm_op op, const uint64_t *in, int n)
{
    double acc = dcmi_num_decode(DCM_F64, in[0]);

    for (int r = 1; r < n; r++)
        acc = step_f64(op, acc, dcmi_num_decode(DCM_F64, in[r]));
    return dcmi_num_encode(DCM_F64, op == DCM_AVG ? acc / (double)n : acc);
}

static uint64_t reduce_f32(dcm_dtype dtype, dcm_op op, const uint64_t *in,
                           int n)
{
    float acc = (float)dcmi_num_decode(dtype, in[0]);

    for (int r = 1; r < n; r++)
        acc = step_f32(op, acc, (float)dcmi_num_decode(dtype, in[r]));
    if (op == DCM_AVG)
        acc /= (float)n;
    return dcmi_num_encode(dtype, (double)acc);
}

static uint64_t reduce_int(dcm_dtype dtype, dcm_op op, const uint64_t *in,
                           int n)
{
    uint64_t acc = in[0];

    for (int r = 1; r < n; r++)
        acc = step_int(dtype, op, acc, in[r]);
    if (op != DCM_AVG)
        return acc;
    if (!dcmi_num_is_signed(dtype))
        return acc / (uint64_t)n;
    return dcmi_num_trim(dtype, (uint64_t)(dcmi_num_int(dtype, acc) / n));
}

uint64_t dcmi_data_reduce(dcm_dtype dtype, dcm_op op, const uint64_t *in,
                          int nranks)
{
    if (dtype == DCM_F64)
        return reduce_f64(op, in, nranks);
    if (dcmi_num_is_float(dtype))
        return reduce_f32(dtype, op, in, nranks);
    return reduce_int(dtype, op, in, nranks);
}

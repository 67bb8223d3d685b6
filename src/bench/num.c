/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements to numbers and back.  The small floating types share one rule: sign,
 * exponent, mantissa, where only f8e4m3 has no infinity and one NaN mantissa.
 */
#include "bench/num.h"

#include <math.h>
#include <string.h>

typedef struct format {
    bool is_float;
    bool is_signed;
    int man_bits; /* stored ones */
    int bias;
    uint64_t top; /* largest finite magnitude as bits */
} format;

static const format formats[DCM_NDTYPES] = {
    [DCM_F64] = {true, true, 52, 1023, 0x7fefffffffffffffull},
    [DCM_F32] = {true, true, 23, 127, 0x7f7fffffu},
    [DCM_F16] = {true, true, 10, 15, 0x7bffu},
    [DCM_BF16] = {true, true, 7, 127, 0x7f7fu},
    [DCM_F8E4M3] = {true, true, 3, 7, 0x7eu},
    [DCM_F8E5M2] = {true, true, 2, 15, 0x7bu},
    [DCM_I8] = {.is_signed = true},
    [DCM_U8] = {.is_signed = false},
    [DCM_I32] = {.is_signed = true},
    [DCM_U32] = {.is_signed = false},
    [DCM_I64] = {.is_signed = true},
    [DCM_U64] = {.is_signed = false},
};

bool dcmi_num_is_float(dcm_dtype dtype)
{
    return formats[dtype].is_float;
}

bool dcmi_num_is_signed(dcm_dtype dtype)
{
    return formats[dtype].is_signed;
}

int dcmi_num_precision(dcm_dtype dtype)
{
    return formats[dtype].man_bits + 1;
}

static unsigned bits_of(dcm_dtype dtype)
{
    return (unsigned)dcm_dtype_bytes(dtype) * 8;
}

uint64_t dcmi_num_trim(dcm_dtype dtype, uint64_t bits)
{
    return bits & (UINT64_MAX >> (64 - bits_of(dtype)));
}

/* Bytes are put together by value, so that the host's byte order is used. */
uint64_t dcmi_num_load(dcm_dtype dtype, const void *at)
{
    uint8_t b1;
    uint16_t b2;
    uint32_t b4;
    uint64_t b8;

    switch (dcm_dtype_bytes(dtype)) {
    case 1:
        memcpy(&b1, at, 1);
        return b1;
    case 2:
        memcpy(&b2, at, 2);
        return b2;
    case 4:
        memcpy(&b4, at, 4);
        return b4;
    default:
        memcpy(&b8, at, 8);
        return b8;
    }
}

void dcmi_num_store(dcm_dtype dtype, void *at, uint64_t bits)
{
    const uint8_t b1 = (uint8_t)bits;
    const uint16_t b2 = (uint16_t)bits;
    const uint32_t b4 = (uint32_t)bits;

    switch (dcm_dtype_bytes(dtype)) {
    case 1:
        memcpy(at, &b1, 1);
        break;
    case 2:
        memcpy(at, &b2, 2);
        break;
    case 4:
        memcpy(at, &b4, 4);
        break;
    default:
        memcpy(at, &bits, 8);
        break;
    }
}

double dcmi_num_decode(dcm_dtype dtype, uint64_t bits)
{
    const format *f = &formats[dtype];
    const uint64_t sign = 1ull << (bits_of(dtype) - 1);
    const uint64_t mag = bits & (sign - 1);
    const uint64_t man = mag & ((1ull << f->man_bits) - 1);
    const int exp = (int)(mag >> f->man_bits);
    double v;

    if (mag > f->top)
        v = man == 0 ? HUGE_VAL : nan("");
    else if (exp == 0)
        v = ldexp((double)man, 1 - f->bias - f->man_bits);
    else
        v = ldexp((double)(man | 1ull << f->man_bits),
                  exp - f->bias - f->man_bits);
    return (bits & sign) != 0 ? -v : v;
}

uint64_t dcmi_num_encode(dcm_dtype dtype, double v)
{
    const format *f = &formats[dtype];
    const uint64_t sign = signbit(v) ? 1ull << (bits_of(dtype) - 1) : 0;
    /* Infinity; f8e4m3 has none and stops at its largest. */
    const uint64_t past_top = f->top + (dtype != DCM_F8E4M3);
    uint64_t mag;
    int exp;

    if (isnan(v))
        return dtype == DCM_F8E4M3 ? 0x7f
                                   : past_top | 1ull << (f->man_bits - 1);
    v = fabs(v);
    if (isinf(v))
        return sign | past_top;

    (void)frexp(v, &exp); /* v = m * 2^exp, 0.5 <= m < 1 */
    exp--;
    if (v == 0.0 || exp < 1 - f->bias)
        exp = 1 - f->bias;
    /* Scaling by a power of two is exact; rint() does the only rounding. */
    mag = (uint64_t)rint(ldexp(v, f->man_bits - exp));
    /* A hidden bit that is there, or that rounding carried into, counts up. */
    mag += (uint64_t)(exp + f->bias - 1) << f->man_bits;
    return sign | (mag > f->top ? past_top : mag);
}

bool dcmi_num_is_exact(dcm_dtype dtype, double v)
{
    return isfinite(v) &&
           dcmi_num_decode(dtype, dcmi_num_encode(dtype, v)) == v;
}

int64_t dcmi_num_int(dcm_dtype dtype, uint64_t bits)
{
    const unsigned unused = 64 - bits_of(dtype);

    if (!formats[dtype].is_signed || (bits << unused >> 63) == 0)
        return (int64_t)bits;
    return (int64_t)(bits | ~(UINT64_MAX >> unused));
}

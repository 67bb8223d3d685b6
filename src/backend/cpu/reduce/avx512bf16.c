/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums, products and averages of bf16 with AVX512_BF16.
 *
 * VCVTNE2PS2BF16 rounds to nearest even whatever MXCSR says, but it takes
 * subnormals for zero and keeps a NaN's sign and payload.  Both can be told from
 * the fp32 operand: bf16 has the exponents of fp32, so a normal number never
 * rounds to a subnormal one.  A vector with such an operand is rounded with
 * integers instead.
 */
#define VEC_OWN_BF16

#include "backend/cpu/reduce/avx512.h"
#include "backend/cpu/reduce/sets.h"

/* The lower and the upper four elements of each 16 bytes. */
DCMI_INLINE void widen_bf16(vec wide[2], vec x)
{
    const __m512i zero = _mm512_setzero_si512();

    wide[0] = (vec)_mm512_unpacklo_epi16(zero, (__m512i)x);
    wide[1] = (vec)_mm512_unpackhi_epi16(zero, (__m512i)x);
}

static DCMI_COLD vec narrow_any(vec lower, vec upper)
{
    lower = round_bf16(canon32(lower)) >> 16;
    upper = round_bf16(canon32(upper)) >> 16;
    return (vec)_mm512_packus_epi32((__m512i)lower, (__m512i)upper);
}

DCMI_INLINE vec narrow_bf16(const vec wide[2])
{
    enum {
        QUIET = 0x01,
        SUBNORMAL = 0x20,
        SIGNALLING = 0x80
    };
    const __m512 lower = (__m512)wide[0], upper = (__m512)wide[1];
    /* The conversion leaves one operand after the other. */
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __mmask16 bad =
        _mm512_fpclass_ps_mask(lower, QUIET | SUBNORMAL | SIGNALLING) |
        _mm512_fpclass_ps_mask(upper, QUIET | SUBNORMAL | SIGNALLING);

    if (DCMI_UNLIKELY(bad != 0))
        return narrow_any(wide[0], wide[1]);
    return (vec)_mm512_permutexvar_epi64(
        order, (__m512i)_mm512_cvtne2ps_pbh(upper, lower));
}

#include "backend/cpu/reduce/kernels.h"

KERNEL(BF16, SUM)
KERNEL(BF16, PROD)
KERNEL(BF16, AVG)

void dcmi_reduce_bf16_sum(const dcmi_reduce_args *a)
{
    BF16_SUM(a);
}

void dcmi_reduce_bf16_prod(const dcmi_reduce_args *a)
{
    BF16_PROD(a);
}

void dcmi_reduce_bf16_avg(const dcmi_reduce_args *a)
{
    BF16_AVG(a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine layer of AVX-512 F, BW, VL and DQ: mask registers choose and cut.
 */
#ifndef DCMI_REDUCE_AVX512_H
#define DCMI_REDUCE_AVX512_H

#include <immintrin.h>

#define VEC_BYTES 64
#define VEC_OWN_CHOICE
#define VEC_OWN_PAIR
#define VEC_OWN_MAX
#define VEC_OWN_SIGNS
#define VEC_OWN_PART
#define VEC_OWN_STREAM
#define VEC_OWN_F16
#define VEC_OWN_ROUND_BF16

#include "backend/cpu/reduce/gnu.h"

DCMI_INLINE vec pick8(vec a, vec b, vec x, vec y)
{
    const __mmask64 m = _mm512_cmpgt_epi8_mask((__m512i)a, (__m512i)b);

    return (vec)_mm512_mask_blend_epi8(m, (__m512i)y, (__m512i)x);
}

DCMI_INLINE vec pick16(vec a, vec b, vec x, vec y)
{
    const __mmask32 m = _mm512_cmpgt_epi16_mask((__m512i)a, (__m512i)b);

    return (vec)_mm512_mask_blend_epi16(m, (__m512i)y, (__m512i)x);
}

DCMI_INLINE vec pick32(vec a, vec b, vec x, vec y)
{
    const __mmask16 m = _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b);

    return (vec)_mm512_mask_blend_epi32(m, (__m512i)y, (__m512i)x);
}

DCMI_INLINE vec pick64(vec a, vec b, vec x, vec y)
{
    const __mmask8 m = _mm512_cmpgt_epi64_mask((__m512i)a, (__m512i)b);

    return (vec)_mm512_mask_blend_epi64(m, (__m512i)y, (__m512i)x);
}

DCMI_INLINE vec canon32(vec x)
{
    const __mmask16 m = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);

    return (vec)_mm512_mask_mov_epi32((__m512i)x, m,
                                      _mm512_set1_epi32(0x7fc00000));
}

DCMI_INLINE vec canon64(vec x)
{
    const __mmask8 m = _mm512_cmp_pd_mask((__m512d)x, (__m512d)x, _CMP_UNORD_Q);

    return (vec)_mm512_mask_mov_epi64((__m512i)x, m,
                                      _mm512_set1_epi64(0x7ff8000000000000));
}

DCMI_INLINE void canon_pair(vec *a, vec *b)
{
    const __mmask16 m =
        _mm512_cmp_ps_mask((__m512)*a, (__m512)*b, _CMP_UNORD_Q);

    if (DCMI_UNLIKELY(m != 0)) {
        *a = canon32(*a);
        *b = canon32(*b);
    }
}

DCMI_INLINE vec max8(vec a, vec b)
{
    return (vec)_mm512_max_epi8((__m512i)a, (__m512i)b);
}

DCMI_INLINE vec max16(vec a, vec b)
{
    return (vec)_mm512_max_epi16((__m512i)a, (__m512i)b);
}

DCMI_INLINE vec max32(vec a, vec b)
{
    return (vec)_mm512_max_epi32((__m512i)a, (__m512i)b);
}

DCMI_INLINE vec max64(vec a, vec b)
{
    return (vec)_mm512_max_epi64((__m512i)a, (__m512i)b);
}

DCMI_INLINE vec signs8(vec x)
{
    return (vec)_mm512_movm_epi8(_mm512_movepi8_mask((__m512i)x));
}

DCMI_INLINE vec signs16(vec x)
{
    return (vec)_mm512_srai_epi16((__m512i)x, 15);
}

DCMI_INLINE vec signs32(vec x)
{
    return (vec)_mm512_srai_epi32((__m512i)x, 31);
}

DCMI_INLINE vec signs64(vec x)
{
    return (vec)_mm512_srai_epi64((__m512i)x, 63);
}

/* The first `bytes` of a vector, 0 < bytes < 64; what is masked is not read. */
DCMI_INLINE vec load_part(const void *p, size_t bytes)
{
    return (vec)_mm512_maskz_loadu_epi8(((__mmask64)1 << bytes) - 1, p);
}

DCMI_INLINE void store_part(void *p, vec x, size_t bytes)
{
    _mm512_mask_storeu_epi8(p, ((__mmask64)1 << bytes) - 1, (__m512i)x);
}

DCMI_INLINE void stream_vec(void *p, vec x)
{
    _mm512_stream_si512(p, (__m512i)x);
}

DCMI_INLINE void widen_f16(vec wide[2], vec x)
{
    const __m256i upper = _mm512_extracti64x4_epi64((__m512i)x, 1);

    wide[0] = (vec)_mm512_cvtph_ps(_mm512_castsi512_si256((__m512i)x));
    wide[1] = (vec)_mm512_cvtph_ps(upper);
}

/* From memory the conversion reads each half by itself. */
DCMI_INLINE void load_f16(vec wide[2], const void *p)
{
    const unsigned char *upper = (const unsigned char *)p + VEC_BYTES / 2;

    wide[0] = (vec)_mm512_cvtph_ps(_mm256_loadu_si256(p));
    wide[1] = (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)upper));
}

/* With a mask of ones, since GCC's unmasked macro has an implicit conversion. */
DCMI_INLINE __m256i half_f16(vec x)
{
    return _mm512_maskz_cvtps_ph((__mmask16)0xffff, (__m512)x,
                                 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

DCMI_INLINE vec narrow_f16(const vec wide[2])
{
    vec a = wide[0], b = wide[1];

    canon_pair(&a, &b);
    return (vec)_mm512_inserti64x4(_mm512_castsi256_si512(half_f16(a)),
                                   half_f16(b), 1);
}

/* As the common one, with the odd bit in a mask. */
DCMI_INLINE vec round_bf16(vec x)
{
    const __mmask16 odd =
        _mm512_test_epi32_mask((__m512i)x, _mm512_set1_epi32(0x10000));
    const __m512i less = _mm512_set1_epi32(0x7fff);
    const __m512i half = _mm512_set1_epi32(0x8000);

    return x + (vec)_mm512_mask_mov_epi32(less, odd, half);
}

#endif /* DCMI_REDUCE_AVX512_H */

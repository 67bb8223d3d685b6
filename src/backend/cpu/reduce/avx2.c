/* SPDX-License-Identifier: Apache-2.0 */
/* Reduction with AVX2 and F16C. */
#include <immintrin.h>

#define VEC_BYTES 32
#define VEC_OWN_BLEND
#define VEC_OWN_PAIR
#define VEC_OWN_MAX
#define VEC_OWN_STREAM
#define VEC_OWN_F16

#include "backend/cpu/reduce/gnu.h"
#include "backend/cpu/reduce/sets.h"

/* The mask has whole lanes, so choosing by bytes serves all widths. */
DCMI_INLINE vec blend(vec mask, vec x, vec y)
{
    return (vec)_mm256_blendv_epi8((__m256i)y, (__m256i)x, (__m256i)mask);
}

DCMI_INLINE void canon_pair(vec *a, vec *b)
{
    const __m256 m = _mm256_cmp_ps((__m256)*a, (__m256)*b, _CMP_UNORD_Q);

    if (DCMI_UNLIKELY(_mm256_movemask_ps(m) != 0)) {
        *a = canon32(*a);
        *b = canon32(*b);
    }
}

DCMI_INLINE vec max8(vec a, vec b)
{
    return (vec)_mm256_max_epi8((__m256i)a, (__m256i)b);
}

DCMI_INLINE vec max16(vec a, vec b)
{
    return (vec)_mm256_max_epi16((__m256i)a, (__m256i)b);
}

DCMI_INLINE vec max32(vec a, vec b)
{
    return (vec)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

DCMI_INLINE vec max64(vec a, vec b)
{
    return blend((vec)((i64v)a > (i64v)b), a, b);
}

DCMI_INLINE void stream_vec(void *p, vec x)
{
    _mm256_stream_si256(p, (__m256i)x);
}

DCMI_INLINE void widen_f16(vec wide[2], vec x)
{
    const __m128i upper = _mm256_extracti128_si256((__m256i)x, 1);

    wide[0] = (vec)_mm256_cvtph_ps(_mm256_castsi256_si128((__m256i)x));
    wide[1] = (vec)_mm256_cvtph_ps(upper);
}

/* From memory the conversion reads each half by itself. */
DCMI_INLINE void load_f16(vec wide[2], const void *p)
{
    const unsigned char *upper = (const unsigned char *)p + VEC_BYTES / 2;

    wide[0] = (vec)_mm256_cvtph_ps(_mm_loadu_si128(p));
    wide[1] = (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)upper));
}

DCMI_INLINE __m128i half_f16(vec x)
{
    return _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
}

DCMI_INLINE vec narrow_f16(const vec wide[2])
{
    vec a = wide[0], b = wide[1];

    canon_pair(&a, &b);
    return (vec)_mm256_inserti128_si256(_mm256_castsi128_si256(half_f16(a)),
                                        half_f16(b), 1);
}

#include "backend/cpu/reduce/table.h"

const dcmi_reduce_ops dcmi_reduce_avx2 = {
    .name = "avx2",
    .fn = {ROWS, ROW(BF16, BF16)},
    .copy = copy,
    .copy_stream = copy_stream,
    .warm = warm,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reduction with the vectors that every machine of the target has: SSE2 on
 * x86-64, NEON on aarch64, whatever the compiler makes of 16 bytes elsewhere.
 */
#define VEC_BYTES 16
#if defined(__x86_64__)
#define VEC_OWN_STREAM
#elif defined(__aarch64__)
#define VEC_OWN_F16
#endif

#include "backend/cpu/reduce/gnu.h"
#include "backend/cpu/reduce/sets.h"

#if defined(__x86_64__)
#include <emmintrin.h>

DCMI_INLINE void stream_vec(void *p, vec x)
{
    _mm_stream_si128(p, (__m128i)x);
}
#elif defined(__aarch64__)
#include <arm_neon.h>

DCMI_INLINE void widen_f16(vec wide[2], vec x)
{
    const float16x8_t all = (float16x8_t)x;

    wide[0] = (vec)vcvt_f32_f16(vget_low_f16(all));
    wide[1] = (vec)vcvt_high_f32_f16(all);
}

DCMI_INLINE void load_f16(vec wide[2], const void *p)
{
    widen_f16(wide, load_vec(p));
}

DCMI_INLINE vec narrow_f16(const vec wide[2])
{
    vec a = wide[0], b = wide[1];

    canon_pair(&a, &b);
    return (vec)vcvt_high_f16_f32(vcvt_f16_f32((float32x4_t)a), (float32x4_t)b);
}
#endif

#include "backend/cpu/reduce/table.h"

const dcmi_reduce_ops dcmi_reduce_base = {
    .name = "base",
    .fn = {ROWS, ROW(BF16, BF16)},
    .copy = copy,
    .copy_stream = copy_stream,
    .warm = warm,
};

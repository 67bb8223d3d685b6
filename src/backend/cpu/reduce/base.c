/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reduction with the vectors that every machine of the target has: SSE2 on
 * x86-64, NEON on aarch64, whatever the compiler makes of 16 bytes elsewhere.
 */
#define VEC_BYTES 16
#ifdef __x86_64__
#define VEC_OWN_STREAM
#endif

#include "backend/cpu/reduce/gnu.h"
#include "backend/cpu/reduce/sets.h"

#ifdef __x86_64__
#include <emmintrin.h>

DCMI_INLINE void stream_vec(void *p, vec x)
{
    _mm_stream_si128(p, (__m128i)x);
}
#endif

#include "backend/cpu/reduce/table.h"

const dcmi_reduce_ops dcmi_reduce_base = {
    .name = "base",
    .fn = { ROWS, ROW(BF16, BF16) },
    .copy = copy,
    .copy_stream = copy_stream,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Data, its check, and the bf16 sum by run-time dispatch. */
#include "data.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

size_t bp_dtype_bytes(bp_dtype dtype)
{
    return dtype == BP_F32 ? 4 : 2;
}

const char *bp_dtype_name(bp_dtype dtype)
{
    return dtype == BP_F32 ? "f32" : "bf16";
}

const char *bp_op_name(bp_op op)
{
    static const char *const names[BP_OPS] = {"all_reduce", "all_gather",
                                              "broadcast", "reduce_scatter"};

    return names[op];
}

size_t bp_src_count(const bp_call *call, int nranks)
{
    return call->op == BP_REDUCE_SCATTER ? call->count * (size_t)nranks
                                         : call->count;
}

size_t bp_dst_count(const bp_call *call, int nranks)
{
    return call->op == BP_ALL_GATHER ? call->count * (size_t)nranks
                                     : call->count;
}

static float widen(uint16_t v)
{
    const uint32_t bits = (uint32_t)v << 16;
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint16_t narrow(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    bits += 0x7fffu + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

static float mine(size_t i, int rank)
{
    /* Blocks differ; eight ranks' sum is exact in bf16. */
    return (float)(1 + rank + (int)(i % 23));
}

void bp_fill(void *src, size_t count, bp_dtype dtype, int rank)
{
    for (size_t i = 0; i < count; i++) {
        if (dtype == BP_F32)
            ((float *)src)[i] = mine(i, rank);
        else
            ((uint16_t *)src)[i] = narrow(mine(i, rank));
    }
}

static float wanted(const bp_call *call, size_t i, int rank, int nranks)
{
    const size_t first =
        call->op == BP_REDUCE_SCATTER ? (size_t)rank * call->count : 0;
    float sum = 0;

    if (call->op == BP_ALL_GATHER)
        return mine(i % call->count, (int)(i / call->count));
    if (call->op == BP_BROADCAST)
        return mine(i, call->root);
    for (int r = 0; r < nranks; r++)
        sum += mine(first + i, r);
    return sum;
}

uint64_t bp_wrong(const bp_call *call, int rank, int nranks)
{
    const size_t n = bp_dst_count(call, nranks);
    uint64_t wrong = 0;

    for (size_t i = 0; i < n; i++) {
        const float got = call->dtype == BP_F32
                              ? ((const float *)call->dst)[i]
                              : widen(((const uint16_t *)call->dst)[i]);

        wrong += !(got == wanted(call, i, rank, nranks));
    }
    return wrong;
}

typedef void (*add_fn)(uint16_t *out, const uint16_t *a, const uint16_t *b,
                       size_t count);

static void add_scalar(uint16_t *out, const uint16_t *a, const uint16_t *b,
                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = narrow(widen(a[i]) + widen(b[i]));
}

#if defined(__x86_64__)

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define AVX2   __attribute__((target("avx2")))

AVX512 static __m512 widen512(const uint16_t *p, __mmask16 m)
{
    const __m512i w = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));

    return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}

AVX512 static void add_avx512(uint16_t *out, const uint16_t *a,
                              const uint16_t *b, size_t count)
{
    for (size_t i = 0; i < count; i += 16) {
        const size_t left = count - i;
        const __mmask16 m = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
        const __m512 sum =
            _mm512_add_ps(widen512(a + i, m), widen512(b + i, m));
        __m256bh half = _mm512_cvtneps_pbh(sum);
        __m256i bits;

        memcpy(&bits, &half, sizeof(bits));
        _mm256_mask_storeu_epi16(out + i, m, bits);
    }
}

AVX2 static __m256 widen256(const uint16_t *p)
{
    __m128i half;

    memcpy(&half, p, sizeof(half));
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

AVX2 static void add_avx2(uint16_t *out, const uint16_t *a, const uint16_t *b,
                          size_t count)
{
    size_t i = 0;

    for (; i + 8 <= count; i += 8) {
        const __m256i v = _mm256_castps_si256(
            _mm256_add_ps(widen256(a + i), widen256(b + i)));
        const __m256i odd =
            _mm256_and_si256(_mm256_srli_epi32(v, 16), _mm256_set1_epi32(1));
        const __m256i up = _mm256_add_epi32(
            v, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        const __m256i high = _mm256_srli_epi32(up, 16);
        const __m128i packed = _mm_packus_epi32(
            _mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));

        memcpy(out + i, &packed, sizeof(packed));
    }
    add_scalar(out + i, a + i, b + i, count - i);
}

static add_fn pick(void)
{
    if (__builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return add_avx512;
    if (__builtin_cpu_supports("avx2"))
        return add_avx2;
    return add_scalar;
}

#else

static add_fn pick(void)
{
    return add_scalar;
}

#endif

void bp_bf16_add(uint16_t *out, const uint16_t *a, const uint16_t *b,
                 size_t count)
{
    static add_fn best;

    if (best == NULL)
        best = pick();
    best(out, a, b, count);
}

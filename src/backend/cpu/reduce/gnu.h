/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vectors of VEC_BYTES bytes by the compiler's vector extension: the machine
 * layer under kernels.h.  Any target has all of it.  A file that has a better
 * instruction defines VEC_OWN_<part> before the include and gives that part
 * itself, after it.
 *
 * One type, `vec`, is passed around; the lane width stands in the name of each
 * function.  Comparison and choice are one function, since AVX-512 keeps the
 * outcome of a comparison in a mask register and the others in a vector.
 */
#ifndef DCMI_REDUCE_GNU_H
#define DCMI_REDUCE_GNU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the even and odd lanes of kernels.h want a little-endian machine"
#endif
#ifdef __FAST_MATH__
#error "NaN, signed zeros and the order of sums matter here: no -ffast-math"
#endif

#define VEC_TYPE  __attribute__((vector_size(VEC_BYTES)))
#define VEC_APART __attribute__((noinline))

typedef uint8_t u8v VEC_TYPE;
typedef uint16_t u16v VEC_TYPE;
typedef uint32_t u32v VEC_TYPE;
typedef uint64_t u64v VEC_TYPE;
typedef int8_t i8v VEC_TYPE;
typedef int16_t i16v VEC_TYPE;
typedef int32_t i32v VEC_TYPE;
typedef int64_t i64v VEC_TYPE;
typedef float f32v VEC_TYPE;
typedef double f64v VEC_TYPE;
typedef u32v vec;

/* A vector anywhere in memory, of any type. */
typedef u32v vec_loose __attribute__((aligned(1), may_alias));

/* Loops over a handful of vectors vanish, so that these stay in registers. */
#ifdef __clang__
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 8")
#endif

DCMI_INLINE vec splat8(uint8_t x)
{
    return (vec)((u8v){0} + x);
}

DCMI_INLINE vec splat16(uint16_t x)
{
    return (vec)((u16v){0} + x);
}

DCMI_INLINE vec splat32(uint32_t x)
{
    return (u32v){0} + x;
}

DCMI_INLINE vec splat64(uint64_t x)
{
    return (vec)((u64v){0} + x);
}

DCMI_INLINE vec load_vec(const void *p)
{
    return *(const vec_loose *)p;
}

DCMI_INLINE void store_vec(void *p, vec x)
{
    *(vec_loose *)p = x;
}

/* ---- choice --------------------------------------------------------------- */

#ifndef VEC_OWN_CHOICE
/* x where the mask has ones, y where it has zeros. */
DCMI_INLINE vec blend(vec mask, vec x, vec y);

#ifndef VEC_OWN_BLEND
DCMI_INLINE vec blend(vec mask, vec x, vec y)
{
    return (x & mask) | (y & ~mask);
}
#endif

/* a > b ? x : y, a and b signed. */
#define VEC_PICK(bits)                                                         \
    DCMI_INLINE vec pick##bits(vec a, vec b, vec x, vec y)                     \
    {                                                                          \
        return blend((vec)((i##bits##v)a > (i##bits##v)b), x, y);              \
    }
VEC_PICK(8)
VEC_PICK(16)
VEC_PICK(32)
VEC_PICK(64)

/* Every NaN becomes the canonical one. */
DCMI_INLINE vec canon32(vec x)
{
    return blend((vec)((f32v)x != (f32v)x), splat32(0x7fc00000u), x);
}

DCMI_INLINE vec canon64(vec x)
{
    return blend((vec)((f64v)x != (f64v)x), splat64(0x7ff8000000000000u), x);
}
#endif

#ifndef VEC_OWN_PAIR
/* canon32() of both; where a look is cheap, only if there is a NaN. */
DCMI_INLINE void canon_pair(vec *a, vec *b)
{
    *a = canon32(*a);
    *b = canon32(*b);
}
#endif

#ifndef VEC_OWN_MAX
DCMI_INLINE vec max8(vec a, vec b)
{
    return pick8(a, b, a, b);
}

DCMI_INLINE vec max16(vec a, vec b)
{
    return pick16(a, b, a, b);
}

DCMI_INLINE vec max32(vec a, vec b)
{
    return pick32(a, b, a, b);
}

DCMI_INLINE vec max64(vec a, vec b)
{
    return pick64(a, b, a, b);
}
#endif

#ifndef VEC_OWN_SIGNS
/* All ones where the lane is negative. */
#define VEC_SIGNS(bits)                                                        \
    DCMI_INLINE vec signs##bits(vec x)                                         \
    {                                                                          \
        return (vec)((i##bits##v)x < (i##bits##v){0});                         \
    }
VEC_SIGNS(8)
VEC_SIGNS(16)
VEC_SIGNS(32)
VEC_SIGNS(64)
#endif

/* ---- less than a vector --------------------------------------------------- */

#ifndef VEC_OWN_PART
/* Bytes of word `i` among the first `bytes` of a vector. */
DCMI_INLINE size_t bytes_in(size_t bytes, size_t i)
{
    return bytes <= 8 * i ? 0 : bytes - 8 * i < 8 ? bytes - 8 * i : 8;
}

/* Bytes 0..n-1 of p as a little-endian number, n <= 8. */
DCMI_INLINE uint64_t load_word(const unsigned char *p, size_t n)
{
    uint32_t lo, hi;

    if (n >= 4) { /* the two halves overlap in equal bytes */
        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        return lo | (uint64_t)hi << (8 * (n - 4));
    }
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) |
           (uint64_t)p[n - 1] << (8 * (n - 1));
}

DCMI_INLINE void store_word(unsigned char *p, uint64_t x, size_t n)
{
    uint32_t lo, hi;

    if (n >= 4) {
        lo = (uint32_t)x;
        hi = (uint32_t)(x >> (8 * (n - 4)));
        memcpy(p, &lo, 4);
        memcpy(p + n - 4, &hi, 4);
        return;
    }
    if (n == 0)
        return;
    p[0] = (unsigned char)x;
    p[n / 2] = (unsigned char)(x >> (8 * (n / 2)));
    p[n - 1] = (unsigned char)(x >> (8 * (n - 1)));
}

/*
 * The first `bytes` of a vector, 0 < bytes < VEC_BYTES; the rest is zero.  By
 * words in registers: a vector load would wait for smaller stores to land.
 */
static VEC_APART vec load_part(const void *p, size_t bytes)
{
    const unsigned char *at = p;
    u64v x = {0};

    VEC_UNROLL
    for (size_t i = 0; i < VEC_BYTES / 8; i++)
        x[i] = load_word(at + 8 * i, bytes_in(bytes, i));
    return (vec)x;
}

static VEC_APART void store_part(void *p, vec v, size_t bytes)
{
    unsigned char *at = p;
    const u64v x = (u64v)v;

    VEC_UNROLL
    for (size_t i = 0; i < VEC_BYTES / 8; i++)
        store_word(at + 8 * i, x[i], bytes_in(bytes, i));
}
#endif

#ifndef VEC_OWN_STREAM
/* p is aligned to VEC_BYTES.  No such store here: an ordinary one. */
DCMI_INLINE void stream_vec(void *p, vec x)
{
    store_vec(p, x);
}
#endif

#endif /* DCMI_REDUCE_GNU_H */

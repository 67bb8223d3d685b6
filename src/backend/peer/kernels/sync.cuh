/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every load, store and fence on memory that ranks share, and how this rank reads and
 * writes its own.
 *
 * Lines    A line is 128 bytes: 120 of data, then a flag of 64 bits: the epoch
 *          above, the call's signature below.  Eight threads store 16 bytes each.
 *          That the line arrives as one, so that whoever sees its flag sees its
 *          data, is an axiom on a GPU: the architecture does not promise it,
 *          NVLink does it.  On the host the flag is stored with release and
 *          loaded with acquire, which gives just that.
 * Words    16 bytes that are valid when none of their 32-bit words is all ones.
 * Order    Relaxed accesses at system scope: a flag or a word validates itself
 *          and nothing else.  What this rank wrote before the kernel is ordered by
 *          the kernel's start, what it reads after by its end.
 */
#ifndef DCMK_SYNC_CUH
#define DCMK_SYNC_CUH

#include "backend/peer/kernels/target.h"

/* ---- memory that ranks share ---------------------------------------------- */

#if DCMK_HOST

DCMK_FN uint64_t dcmk_load64(uint64_t at)
{
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

DCMK_FN void dcmk_store64(uint64_t at, uint64_t v)
{
    __atomic_store_n((uint64_t *)at, v, __ATOMIC_RELAXED);
}

DCMK_FN uint32_t dcmk_load32(uint64_t at)
{
    return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
}

DCMK_FN void dcmk_store32(uint64_t at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELAXED);
}

DCMK_FN uint64_t dcmk_load64_acquire(uint64_t at)
{
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

DCMK_FN void dcmk_store64_release(uint64_t at, uint64_t v)
{
    __atomic_store_n((uint64_t *)at, v, __ATOMIC_RELEASE);
}

DCMK_FN void dcmk_store32_release(uint64_t at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELEASE);
}

/* Set a word of this rank's device to 1; whether it was 0. */
DCMK_FN bool dcmk_claim(uint64_t at)
{
    return __atomic_exchange_n((uint32_t *)at, 1u, __ATOMIC_ACQ_REL) == 0;
}

/* Add 1 to a word of any rank's device. */
DCMK_FN void dcmk_add32(uint64_t at)
{
    (void)__atomic_fetch_add((uint32_t *)at, 1u, __ATOMIC_RELAXED);
}

/* Add to a word of this rank's device. */
DCMK_FN void dcmk_add64(uint64_t at, uint64_t more)
{
    (void)__atomic_fetch_add((uint64_t *)at, more, __ATOMIC_RELAXED);
}

/* Four words, each by itself: nothing more is asked of them. */
DCMK_FN dcmk_u4 dcmk_load_words(uint64_t at)
{
    return dcmk_u4{dcmk_load32(at), dcmk_load32(at + 4), dcmk_load32(at + 8),
                   dcmk_load32(at + 12)};
}

DCMK_FN void dcmk_store_words(uint64_t at, dcmk_u4 v)
{
    dcmk_store32(at, v.x);
    dcmk_store32(at + 4, v.y);
    dcmk_store32(at + 8, v.z);
    dcmk_store32(at + 12, v.w);
}

/* This rank's own memory. */
DCMK_FN uint64_t dcmk_get8(uint64_t at)
{
    return *(const uint64_t *)at;
}

DCMK_FN dcmk_u4 dcmk_get16(uint64_t at)
{
    return *(const dcmk_u4 *)at;
}

DCMK_FN void dcmk_put8(uint64_t at, uint64_t v)
{
    *(uint64_t *)at = v;
}

DCMK_FN void dcmk_put16(uint64_t at, dcmk_u4 v)
{
    *(dcmk_u4 *)at = v;
}

/* Staging of this rank, ordered before the next push by the kernel's end. */
DCMK_FN void dcmk_put_words(uint64_t at, dcmk_u4 v)
{
    dcmk_store_words(at, v);
}

/* A thread's 16 bytes of a line, and the line's flag before they were read. */
struct dcmk_part {
    dcmk_u4 v;
    uint64_t flag;
};

DCMK_FN dcmk_part dcmk_load_part(uint64_t at, uint32_t lane)
{
    const uint64_t line = at - (lane & 7u) * 16u;
    dcmk_part r;

    r.flag = dcmk_load64_acquire(line + DCMK_LINE_DATA);
    r.v = dcmk_load_words(at);
    return r;
}

/* The eighth thread's last two words are the flag. */
DCMK_FN void dcmk_store_part(uint64_t at, uint32_t lane, dcmk_u4 v)
{
    if ((lane & 7u) != 7u) {
        dcmk_store_words(at, v);
        return;
    }
    dcmk_store32(at, v.x);
    dcmk_store32(at + 4, v.y);
    dcmk_store64_release(at + 8, v.z | (uint64_t)v.w << 32);
}

/* 0 when the flag is the wanted one; for threads that do not ignore it. */
DCMK_FN uint32_t dcmk_part_differs(const dcmk_part &p, uint64_t flag)
{
    return p.flag != flag;
}

DCMK_FN bool dcmk_ignores(uint32_t lane)
{
    (void)lane;
    return false;
}

DCMK_FN uint64_t dcmk_part_flag(const dcmk_part &p)
{
    return p.flag;
}

DCMK_FN void dcmk_together(void)
{
}

#else /* CUDA */

DCMK_FN uint64_t dcmk_load64(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.relaxed.sys.global.u64 %0, [%1];"
                 : "=l"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store64(uint64_t at, uint64_t v)
{
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(at), "l"(v)
                 : "memory");
}

DCMK_FN uint32_t dcmk_load32(uint64_t at)
{
    uint32_t v;

    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];"
                 : "=r"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store32(uint64_t at, uint32_t v)
{
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(at), "r"(v)
                 : "memory");
}

DCMK_FN uint64_t dcmk_load64_acquire(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.acquire.sys.global.u64 %0, [%1];"
                 : "=l"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store64_release(uint64_t at, uint64_t v)
{
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(at), "l"(v)
                 : "memory");
}

DCMK_FN void dcmk_store32_release(uint64_t at, uint32_t v)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(v)
                 : "memory");
}

DCMK_FN bool dcmk_claim(uint64_t at)
{
    uint32_t old;

    asm volatile("atom.acq_rel.gpu.global.exch.b32 %0, [%1], 1;"
                 : "=r"(old)
                 : "l"(at)
                 : "memory");
    return old == 0;
}

DCMK_FN void dcmk_add32(uint64_t at)
{
    asm volatile("red.relaxed.sys.global.add.u32 [%0], 1;" ::"l"(at)
                 : "memory");
}

DCMK_FN void dcmk_add64(uint64_t at, uint64_t more)
{
    asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(at), "l"(more)
                 : "memory");
}

DCMK_FN dcmk_u4 dcmk_load_words(uint64_t at)
{
    dcmk_u4 v;

    asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store_words(uint64_t at, dcmk_u4 v)
{
    asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(
                     at),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

DCMK_FN uint64_t dcmk_get8(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.global.u64 %0, [%1];" : "=l"(v) : "l"(at));
    return v;
}

DCMK_FN dcmk_u4 dcmk_get16(uint64_t at)
{
    dcmk_u4 v;

    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

DCMK_FN void dcmk_put8(uint64_t at, uint64_t v)
{
    asm volatile("st.global.u64 [%0], %1;" ::"l"(at), "l"(v));
}

DCMK_FN void dcmk_put16(uint64_t at, dcmk_u4 v)
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(at),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w));
}

DCMK_FN void dcmk_put_words(uint64_t at, dcmk_u4 v)
{
    dcmk_put16(at, v);
}

struct dcmk_part {
    dcmk_u4 v;
};

/* Before lines are stored: the warp stores each as one, so it must be together. */
DCMK_FN void dcmk_together(void)
{
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

DCMK_FN dcmk_part dcmk_load_part(uint64_t at, uint32_t lane)
{
    (void)lane;
    return dcmk_part{dcmk_load_words(at)};
}

DCMK_FN void dcmk_store_part(uint64_t at, uint32_t lane, dcmk_u4 v)
{
    (void)lane;
    dcmk_store_words(at, v);
}

DCMK_FN uint32_t dcmk_part_differs(const dcmk_part &p, uint64_t flag)
{
    return (p.v.z ^ (uint32_t)flag) | (p.v.w ^ (uint32_t)(flag >> 32));
}

/* The eighth thread looks for its line: ask all threads that move together. */
DCMK_FN bool dcmk_ignores(uint32_t lane)
{
    return (lane & 7u) != 7u;
}

DCMK_FN uint64_t dcmk_part_flag(const dcmk_part &p)
{
    return p.v.z | (uint64_t)p.v.w << 32;
}

#endif

/* ---- this rank's own memory ----------------------------------------------- */

/* Up to 8 bytes as a number, from where `left` bytes are left; any alignment. */
DCMK_SLOW uint64_t dcmk_read_bytes(uint64_t at, uint32_t left)
{
    const uint8_t *p = (const uint8_t *)at;
    uint64_t v = 0;

    if (left >= 8 && at % 8 == 0)
        return *(const uint64_t *)at;
    DCMK_LOOP
    for (uint32_t i = 0; i < 8 && i < left; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

DCMK_SLOW void dcmk_write_bytes(uint64_t at, uint32_t left, uint64_t v)
{
    uint8_t *p = (uint8_t *)at;

    if (left >= 8 && at % 8 == 0) {
        *(uint64_t *)at = v;
        return;
    }
    DCMK_LOOP
    for (uint32_t i = 0; i < 8 && i < left; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

DCMK_FN dcmk_u4 dcmk_u4_of(uint64_t low, uint64_t high)
{
    return dcmk_u4{(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                   (uint32_t)(high >> 32)};
}

DCMK_FN uint64_t dcmk_low(dcmk_u4 v)
{
    return v.x | (uint64_t)v.y << 32;
}

DCMK_FN uint64_t dcmk_high(dcmk_u4 v)
{
    return v.z | (uint64_t)v.w << 32;
}

/*
 * 8 or 16 bytes at `offset` of a buffer of `bytes`: zeros behind its end.  EVEN:
 * the host has made sure that buffers and sizes are multiples of what is moved.
 */
template <bool EVEN>
DCMK_FN uint64_t dcmk_read8(uint64_t base, uint32_t offset, uint32_t bytes)
{
    if (offset >= bytes)
        return 0;
    if (EVEN)
        return dcmk_get8(base + offset);
    return dcmk_read_bytes(base + offset, bytes - offset);
}

template <bool EVEN>
DCMK_FN void dcmk_write8(uint64_t base, uint32_t offset, uint32_t bytes,
                         uint64_t v)
{
    if (offset >= bytes)
        return;
    if (EVEN)
        dcmk_put8(base + offset, v);
    else
        dcmk_write_bytes(base + offset, bytes - offset, v);
}

template <bool EVEN>
DCMK_FN dcmk_u4 dcmk_read16(uint64_t base, uint32_t offset, uint32_t bytes)
{
    if (!EVEN)
        return dcmk_u4_of(dcmk_read8<false>(base, offset, bytes),
                          dcmk_read8<false>(base, offset + 8, bytes));
    return offset < bytes ? dcmk_get16(base + offset) : dcmk_u4{0, 0, 0, 0};
}

template <bool EVEN>
DCMK_FN void dcmk_write16(uint64_t base, uint32_t offset, uint32_t bytes,
                          dcmk_u4 v)
{
    if (EVEN) {
        if (offset < bytes)
            dcmk_put16(base + offset, v);
        return;
    }
    dcmk_write8<false>(base, offset, bytes, dcmk_low(v));
    dcmk_write8<false>(base, offset + 8, bytes, dcmk_high(v));
}

#endif /* DCMK_SYNC_CUH */

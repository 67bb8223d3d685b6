/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a warp moves 480 bytes as four lines, and waits for its lines of every
 * peer: what ll128.cu and ll128_two.cu share.
 */
#ifndef DCMK_LINES_CUH
#define DCMK_LINES_CUH

#include "backend/peer/kernels/reduce.cuh"
#include "backend/peer/kernels/sync.cuh"

/* A thread's place: its warp's number in the call, and its 16 bytes. */
struct dcmk_place {
    uint32_t lane;
    uint32_t warp;
    uint32_t data;   /* bytes from the buffer's start */
    uint32_t staged; /* bytes from the slot's start */
};

DCMK_FN dcmk_place dcmk_place_of(const dcmk_block &b, uint32_t t)
{
    dcmk_place p;

    p.lane = t % DCMK_LANES;
    p.warp = b.index * (b.threads / DCMK_LANES) + t / DCMK_LANES;
    p.data = p.warp * DCMK_WARP_DATA + (p.lane >> 3) * DCMK_LINE_DATA +
             (p.lane & 7u) * 16u;
    p.staged = p.warp * DCMK_WARP_LINES + p.lane * 16u;
    return p;
}

/* It carries 8 bytes and the flag. */
DCMK_FN bool dcmk_is_flag(const dcmk_place &p)
{
    return (p.lane & 7u) == 7u;
}

/* Warps that move `bytes`; at least one, so that every peer is heard of. */
DCMK_FN uint32_t dcmk_warps(uint32_t bytes)
{
    return bytes == 0 ? 1 : (bytes + DCMK_WARP_DATA - 1) / DCMK_WARP_DATA;
}

/* This thread's part of a buffer of `bytes` at `base`; the flag comes later. */
template <bool EVEN>
DCMK_FN dcmk_u4 dcmk_read_part(uint64_t base, uint32_t bytes,
                               const dcmk_place &p)
{
    const uint64_t low = dcmk_read8<EVEN>(base, p.data, bytes);
    const uint64_t high =
        dcmk_read8<EVEN>(base, p.data + 8, dcmk_is_flag(p) ? 0 : bytes);

    return dcmk_u4_of(low, high);
}

DCMK_FN dcmk_u4 dcmk_with_flag(dcmk_u4 v, const dcmk_place &p, uint64_t flag)
{
    if (dcmk_is_flag(p)) {
        v.z = (uint32_t)flag;
        v.w = (uint32_t)(flag >> 32);
    }
    return v;
}

template <bool EVEN>
DCMK_FN void dcmk_write_part(uint64_t base, uint32_t bytes, const dcmk_place &p,
                             dcmk_u4 v)
{
    dcmk_write8<EVEN>(base, p.data, bytes, dcmk_low(v));
    if (!dcmk_is_flag(p))
        dcmk_write8<EVEN>(base, p.data + 8, bytes, dcmk_high(v));
}

/*
 * Wait for this thread's part of every peer's lines: r[p] from `at` + p * slot.
 * All threads of the warp call it.  False: gave up.
 */
template <class N>
DCMK_FN bool dcmk_await_lines(dcmk_part (&r)[N::MOST], const dcmk_args &a,
                              const dcmk_block &b, const dcmk_place &place,
                              uint64_t at, uint64_t slot, uint64_t flag,
                              uint32_t phase)
{
    dcmk_spin spin = {};

    for (;;) {
        bool is_look;
        bool is_over;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            bool is_here = true;

            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if (p < N::count(a) && p != a.rank)
                    r[p] = dcmk_load_part(at + (uint64_t)p * slot, place.lane);
            }
            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if (p < N::count(a) && p != a.rank)
                    is_here = is_here && dcmk_part_has(r[p], place.lane, flag);
            }
            if (dcmk_all(is_here))
                return true;
            dcmk_relax();
        }
        is_over = dcmk_glance(a, spin, &is_look);
        if (is_look && !is_over) {
            dcmk_wanted want = {flag, 0, 0, 0, phase};

            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if (p < N::count(a) && p != a.rank &&
                    !dcmk_part_has(r[p], place.lane, flag))
                    dcmk_miss(want, p, dcmk_part_flag(r[p]));
            }
            want.missing = dcmk_any_bits(want.missing);
            is_over = dcmk_look(a, b.index, spin, want);
        }
        if (!dcmk_all(!is_over))
            return false;
    }
}

/* The ranks' parts in rank order, `own` in this rank's place. */
template <class N, class R>
DCMK_FN dcmk_u4 dcmk_reduce_parts(const dcmk_args &a,
                                  const dcmk_part (&r)[N::MOST], dcmk_u4 own)
{
    R sum;

    sum.set(a, a.rank == 0 ? own : r[0].v);
    DCMK_UNROLL
    for (int p = 1; p < N::MOST; p++) {
        if (p < N::count(a))
            sum.add(p, p == a.rank ? own : r[p].v);
    }
    return sum.get(a);
}

#endif /* DCMK_LINES_CUH */

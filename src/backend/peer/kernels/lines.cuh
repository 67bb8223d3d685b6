/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a warp moves 480 bytes as four lines, and waits for its lines of every
 * peer: what ll128.cu and ll128_two.cu share.
 */
#ifndef DCMK_LINES_CUH
#define DCMK_LINES_CUH

#include "backend/peer/kernels/reduce.cuh"
#include "backend/peer/kernels/turn.cuh"

/* A thread's place: its warp's number in the call, and its 16 bytes. */
struct dcmk_place {
    uint32_t lane;
    uint32_t warp;
    uint32_t data;   /* bytes from the buffer's start */
    uint32_t staged; /* bytes from the slot's start */
};

DCMK_FN dcmk_place dcmk_place_in(uint32_t warp, uint32_t t)
{
    dcmk_place p;

    p.lane = t % DCMK_LANES;
    p.warp = warp;
    p.data = p.warp * DCMK_WARP_DATA + (p.lane >> 3) * DCMK_LINE_DATA +
             (p.lane & 7u) * 16u;
    p.staged = p.warp * DCMK_WARP_LINES + p.lane * 16u;
    return p;
}

DCMK_FN dcmk_place dcmk_place_of(const dcmk_block &b, uint32_t t)
{
    return dcmk_place_in(
        b.index * (b.threads / DCMK_LANES) + t / DCMK_LANES, t);
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

/* One poll; whether all lines of the warp have come. */
template <class N>
DCMK_FN bool dcmk_load_lines(dcmk_u4 (&r)[N::MOST - 1], const dcmk_args &a,
                             const dcmk_place &place,
                             const dcmk_sources<N> &from, uint64_t flag)
{
    dcmk_part part[N::MOST - 1];
    uint32_t differs = 0;

    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        if (q < N::count(a) - 1)
            part[q] = dcmk_load_part(from.at[q], place.lane);
    }
    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        if (q >= N::count(a) - 1)
            continue;
        differs |= dcmk_part_differs(part[q], flag);
        r[q] = part[q].v;
    }
    return dcmk_all(dcmk_ignores(place.lane) || differs == 0);
}

/* Each thread waits for its line's flag of every peer. */
template <class N>
DCMK_FN bool dcmk_await_lines_long(const dcmk_args &a, const dcmk_block &b,
                                   const dcmk_place &place,
                                   const dcmk_sources<N> &from, uint64_t flag,
                                   uint32_t phase)
{
    const uint32_t to_flag = DCMK_LINE_DATA - (place.lane & 7u) * 16u;
    dcmk_long l;

    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++)
        l.at[q] = from.at[q] + to_flag;
    l.flag = flag;
    l.header = 0;
    l.header_peer = 0;
    l.n = N::count(a) - 1;
    l.phase = phase;
    l.is_flags = true;
    return dcmk_all(dcmk_wait_long(a, b.index, l));
}

/*
 * Wait for this thread's part of every peer's lines.  All threads of the warp call
 * it.  False: gave up.
 */
template <class N>
DCMK_FN bool dcmk_await_lines(dcmk_u4 (&r)[N::MOST - 1], const dcmk_args &a,
                              const dcmk_block &b, const dcmk_place &place,
                              const dcmk_sources<N> &from, uint64_t flag,
                              uint32_t phase)
{
    DCMK_KEEP(flag);
    DCMK_LOOP
    for (int i = 0; i < DCMK_SHORT; i++) {
        if (dcmk_load_lines<N>(r, a, place, from, flag))
            return true;
        dcmk_relax();
    }
    return dcmk_await_lines_long<N>(a, b, place, from, flag, phase) &&
           dcmk_load_lines<N>(r, a, place, from, flag);
}

#endif /* DCMK_LINES_CUH */

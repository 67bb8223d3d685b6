/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epochs, and what follows from them and from the arguments: which half of the
 * staging, which peers, which parts.
 *
 * A call has the epoch that its block's word holds, plus nothing: the
 * words are all equal between kernels.  Block b of g reads word b and
 * writes b, b + g, b + 2g ..: every word has one reader and one writer
 * in a kernel, which are the same block.  48 bits outlast any machine
 * (2^48 calls of 2 us are 17 years); the first epoch is 1, so that zeroed
 * memory holds no flag.
 */
#ifndef DCMK_EPOCH_CUH
#define DCMK_EPOCH_CUH

#include "backend/peer/kernels/sync.cuh"

DCMK_FN uint64_t dcmk_epoch(const dcmk_args &a, const dcmk_block &b)
{
    return dcmk_get8(a.epochs + 8u * b.index);
}

DCMK_FN uint64_t dcmk_flag(const dcmk_args &a, uint64_t epoch)
{
    return epoch << DCMK_SIGN_BITS | a.sign;
}

/* How many ranks a kernel is made for: just so many, or any number up to it. */
template <int RANKS> struct dcmk_just {
    static const int MOST = RANKS;

    DCMK_METHOD static int count(const dcmk_args &)
    {
        return RANKS;
    }
};

template <int RANKS> struct dcmk_up_to {
    static const int MOST = RANKS;

    DCMK_METHOD static int count(const dcmk_args &a)
    {
        return a.nranks;
    }
};

/* The d-th peer: every rank begins with another one. */
template <class N> DCMK_FN int dcmk_next(const dcmk_args &a, int d)
{
    const int n = N::count(a);

    return a.rank + d < n ? a.rank + d : a.rank + d - n;
}

/*
 * The peers in rank order, without this rank: the q-th of them.  What came from
 * them is kept so, in registers whose numbers are constants.
 */
DCMK_FN int dcmk_peer(const dcmk_args &a, int q)
{
    return q < a.rank ? q : q + 1;
}

/* Where a thread's 16 bytes of each peer lie in this rank's staging. */
template <class N> struct dcmk_sources {
    uint64_t at[N::MOST - 1];
};

template <class N>
DCMK_FN dcmk_sources<N> dcmk_sources_at(const dcmk_args &a, uint64_t at,
                                        uint32_t slot)
{
    dcmk_sources<N> s = {};

    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        s.at[q] = at + (uint32_t)dcmk_peer(a, q) * slot;
        DCMK_KEEP(s.at[q]);
    }
    return s;
}

/* All ranks' 16 bytes in rank order: the peers' with this rank's put in. */
template <class N, class R>
DCMK_FN dcmk_u4 dcmk_reduce(const dcmk_args &a, const dcmk_u4 (&r)[N::MOST - 1],
                            dcmk_u4 own)
{
    R sum;

    sum.set(a, a.rank == 0 ? own : r[0]);
    DCMK_UNROLL
    for (int p = 1; p < N::MOST; p++) {
        dcmk_u4 v = p == a.rank ? own : r[p - 1];

        if (p < N::MOST - 1)
            v = p < a.rank ? r[p < N::MOST - 1 ? p : 0] : v;
        if (p < N::count(a))
            sum.add(p, v);
    }
    return sum.get(a);
}

/* The half that the calls of this epoch use. */
DCMK_FN uint32_t dcmk_half(uint32_t half, uint64_t epoch)
{
    return ((uint32_t)epoch & 1u) * half;
}

/* Offsets of what this rank pushes: in peers' staging of the first hop, of results. */
DCMK_FN uint32_t dcmk_first_out(const dcmk_args &a, uint64_t epoch)
{
    return a.first + dcmk_half(a.first_half, epoch) +
           (uint32_t)a.rank * a.first_slot;
}

DCMK_FN uint32_t dcmk_second_out(const dcmk_args &a, uint64_t epoch)
{
    return a.second + dcmk_half(a.second_half, epoch) +
           (uint32_t)a.rank * a.second_slot;
}

/* The header line of `source` in the staging of `of`: where its flag stands. */
DCMK_FN uint64_t dcmk_header(const dcmk_args &a, int of, int source,
                             uint64_t epoch)
{
    return a.peer[of] + (a.header + dcmk_half(a.header_half, epoch) +
                         (uint32_t)source * a.header_slot + DCMK_LINE_DATA);
}

/* The bytes of owner `o`'s part: a part may be short or empty. */
DCMK_FN uint32_t dcmk_part_bytes(const dcmk_args &a, int o)
{
    const uint32_t begin = (uint32_t)o * a.shard;

    if (begin >= a.bytes)
        return 0;
    return a.bytes - begin < a.shard ? a.bytes - begin : a.shard;
}

#endif /* DCMK_EPOCH_CUH */

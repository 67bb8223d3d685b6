/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two-shot all-reduce in lines that carry their flags: any type, from where two
 * hops of a part beat one hop of the whole.
 *
 * Rank o owns the part [o * shard, (o + 1) * shard) of the message.  Each rank
 * pushes part o of its src to owner o, the owner sums what came and pushes the
 * sum to every rank.  No barrier between the hops: both are validated line by
 * line.
 *
 * Layout          As in ll128.cu, with a second staging for the results: slot o of
 *                 it holds the lines of owner o's part.
 * Writers and     First hop: rank s writes slot s of the owner's staging.  Second:
 * readers         owner o writes slot o of every peer's result staging.  Both are
 *                 read by the staging's rank alone.
 * Ordering        A line validates itself.
 * Reuse           As in ll128.cu: in the first hop of every epoch each rank hears
 *                 from every peer, since a part has at least one warp of lines,
 *                 also when it has no bytes.  Results of e are read before my
 *                 kernel of e ends, hence before I push anything of e + 1, hence
 *                 before any peer begins e + 2.
 * Wrap, Reset     None.
 * When a peer     As in ll128.cu.
 * dies
 *
 * In place is allowed: a thread has pushed its bytes of every part before it
 * writes any, and no other thread reads them.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/lines.cuh"

template <class N, class R>
DCMK_FN void dcmk_ll128_two(const dcmk_args &a, const dcmk_block &b)
{
    const uint32_t warps = dcmk_warps(a.shard);
    DCMK_PRIVATE(dcmk_place, place);
    DCMK_PRIVATE(dcmk_u4, own);
    DCMK_PRIVATE(bool, is_over);

    DCMK_EACH_THREAD(b, t)
    {
        place[DCMK_OF(t)] = dcmk_place_of(b, t);
    }
    dcmk_begin();
    uint64_t epoch = 0;

    DCMK_EACH_THREAD(b, t)
    {
        const dcmk_place &at = place[DCMK_OF(t)];
        dcmk_u4 v[N::MOST];

        DCMK_UNROLL
        for (int d = 0; d < N::MOST; d++) {
            const int to = dcmk_next<N>(a, d);

            if (d < N::count(a))
                v[d] =
                    dcmk_read_part<R::EVEN>(a.src + (uint32_t)to * a.shard,
                                            dcmk_part_bytes(a, to), at);
        }
        epoch = dcmk_epoch(a, b); /* all loads are under way */
        is_over[DCMK_OF(t)] = at.warp >= warps;
        if (is_over[DCMK_OF(t)])
            continue;
        const uint32_t there = dcmk_first_out(a, epoch) + at.staged;

        dcmk_together();
        DCMK_UNROLL
        for (int d = 1; d < N::MOST; d++) {
            if (d < N::count(a))
                dcmk_store_part(
                    a.peer[dcmk_next<N>(a, d)] + there, at.lane,
                    dcmk_with_flag(v[d], at, dcmk_flag(a, epoch)));
        }
        own[DCMK_OF(t)] = v[0];
    }
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    const uint64_t flag = dcmk_flag(a, epoch);
    const uint32_t first = a.first + dcmk_half(a.first_half, epoch);
    const uint32_t second = a.second + dcmk_half(a.second_half, epoch);
    const uint32_t out = dcmk_second_out(a, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        const dcmk_place &at = place[DCMK_OF(t)];
        dcmk_u4 r[N::MOST - 1];
        dcmk_u4 sum;
        dcmk_u4 line;

        if (is_over[DCMK_OF(t)])
            continue;
        is_over[DCMK_OF(t)] = !dcmk_await_lines<N>(
            r, a, b, at,
            dcmk_sources_at<N>(a, a.peer[a.rank] + (first + at.staged),
                               a.first_slot),
            flag, DCMK_PHASE_GATHER);
        if (is_over[DCMK_OF(t)])
            continue;
        sum = dcmk_reduce<N, R>(a, r, own[DCMK_OF(t)]);
        line = dcmk_with_flag(sum, at, flag);
        dcmk_together();
        DCMK_UNROLL
        for (int d = 1; d < N::MOST; d++) {
            if (d < N::count(a))
                dcmk_store_part(a.peer[dcmk_next<N>(a, d)] + (out + at.staged),
                                at.lane, line);
        }
        dcmk_write_part<R::EVEN>(a.dst + (uint32_t)a.rank * a.shard,
                                 dcmk_part_bytes(a, a.rank), at, sum);
    }
    DCMK_EACH_THREAD(b, t)
    {
        const dcmk_place &at = place[DCMK_OF(t)];
        dcmk_u4 r[N::MOST - 1];

        if (is_over[DCMK_OF(t)] ||
            !dcmk_await_lines<N>(
                r, a, b, at,
                dcmk_sources_at<N>(a, a.peer[a.rank] + (second + at.staged),
                                   a.second_slot),
                flag, DCMK_PHASE_RESULT))
            continue;
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            const int p = dcmk_peer(a, q);

            if (q < N::count(a) - 1)
                dcmk_write_part<R::EVEN>(a.dst + (uint32_t)p * a.shard,
                                         dcmk_part_bytes(a, p), at, r[q]);
        }
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_MAKE(ll128_two, dcmk_ll128_two)

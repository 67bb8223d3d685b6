/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-shot all-reduce in lines that carry their flags: small messages, any type.
 *
 * Layout          Staging of every rank: two halves, in each a slot for every
 *                 source, in each slot the message's lines, 120 bytes of data and
 *                 a flag each.
 * Writers and     Rank s writes slot s of every peer's staging, the half of the
 * readers         epoch's parity.  Only the owner of the staging reads it.
 * Ordering        A line validates itself (sync.cuh): it is read until its flag
 *                 is this epoch's.  No fence, no barrier.
 * Reuse           A peer writes into my half again two epochs later.  It begins
 *                 epoch e + 2 when its kernel of e + 1 has ended, in which every
 *                 one of its blocks heard from my block of the same number, or,
 *                 where that block has no lines, some block of the grid did; and
 *                 my kernel of e + 1 began when my kernel of e had ended, with
 *                 all its reading.  This holds for every mix of algorithms and
 *                 sizes on the same staging, because each hears from every peer
 *                 in every epoch: no message is so small that it sends no line.
 * Wrap            None: 48 bits of epoch.
 * Reset           None: an old line has an old flag.
 * When a peer     no line of its comes.  The wait sees its life word, gives up,
 * dies            and writes nothing to dst; the communicator is failed for good,
 *                 so half a message in the staging harms nobody.
 *
 * One warp moves 480 bytes, once: the grid covers the message.  In place is
 * allowed: a thread reads its own bytes of src before it writes them to dst.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/lines.cuh"

template <class N, class R>
DCMK_FN void dcmk_ll128(const dcmk_args &a, const dcmk_block &b)
{
    const uint32_t warps = dcmk_warps(a.bytes);
    DCMK_PRIVATE(dcmk_place, place);
    DCMK_PRIVATE(dcmk_u4, own);

    DCMK_EACH_THREAD(b, t)
    {
        place[DCMK_OF(t)] = dcmk_place_of(b, t);
    }
    dcmk_begin();
    uint64_t epoch = 0;

    DCMK_EACH_THREAD(b, t)
    {
        const dcmk_place &at = place[DCMK_OF(t)];
        dcmk_u4 v = dcmk_read_part<R::EVEN>(a.src, a.bytes, at);

        epoch = dcmk_epoch(a, b); /* both loads are under way */
        if (at.warp >= warps)
            continue;
        v = dcmk_with_flag(v, at, dcmk_flag(a, epoch));
        const uint32_t there = dcmk_first_out(a, epoch) + at.staged;

        dcmk_together();
        DCMK_UNROLL
        for (int d = 1; d < N::MOST; d++) {
            if (d < N::count(a))
                dcmk_store_part(a.peer[dcmk_next<N>(a, d)] + there, at.lane, v);
        }
        own[DCMK_OF(t)] = v;
    }
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    const uint64_t flag = dcmk_flag(a, epoch);
    const uint64_t here =
        a.peer[a.rank] + a.first + dcmk_half(a.first_half, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        const dcmk_place &at = place[DCMK_OF(t)];
        dcmk_u4 r[N::MOST - 1];

        if (at.warp >= warps ||
            !dcmk_await_lines<N>(
                r, a, b, at,
                dcmk_sources_at<N>(a, here + at.staged, a.first_slot), flag,
                DCMK_PHASE_GATHER))
            continue;
        dcmk_write_part<R::EVEN>(a.dst, a.bytes, at,
                                 dcmk_reduce<N, R>(a, r, own[DCMK_OF(t)]));
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_MAKE(ll128, dcmk_ll128)

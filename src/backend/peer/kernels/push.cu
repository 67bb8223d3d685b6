/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-shot all-reduce of floats in words that validate themselves: two ranks,
 * from where the flags of lines cost more than clearing the words again.
 *
 * Layout          Staging of every rank: two halves, in each a slot for every
 *                 source, in each slot the message's words.  All ones: not here.
 * Writers and     Rank s writes slot s of every peer's staging; the staging's rank
 * readers         reads a word until it is here, and then writes ones again.
 * Ordering        A word validates itself: words.cuh.  The ones that I write are
 *                 written before my kernel of this epoch ends.
 * Reuse           As in ll128.cu: a peer writes into the half again two epochs
 *                 later, after it has heard from my kernel of the next epoch,
 *                 which began after this one had ended, ones and all.  A message
 *                 has at least one word of 16 bytes, and its header makes every
 *                 rank hear from every peer.
 * Wrap            None.
 * Reset           Every word that is read is put back by its reader; what was
 *                 never written is still ones.
 * When a peer     The wait sees its life word and gives up; words may be left
 * dies            behind, and the communicator is failed for good.
 *
 * What a call is, words of floats cannot say: its signature travels in a header
 * of its own, in the place where lines carry theirs.  So two ranks that call
 * different things find it, whichever algorithms these take.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/words.cuh"

template <class N, class R>
DCMK_FN void dcmk_push(const dcmk_args &a, const dcmk_block &b)
{
    DCMK_PRIVATE(dcmk_u4, own);

    dcmk_begin();
    uint64_t epoch = 0;

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);

        const dcmk_u4 v = dcmk_read16<R::EVEN>(a.src, at, a.bytes);

        epoch = dcmk_epoch(a, b); /* both loads are under way */
        if (at < a.bytes) {
            const uint32_t there = dcmk_first_out(a, epoch) + at;

            DCMK_UNROLL
            for (int d = 1; d < N::MOST; d++) {
                if (d < N::count(a))
                    dcmk_store_words(a.peer[dcmk_next<N>(a, d)] + there,
                                     dcmk_clear_of_ones<R>(v));
            }
        }
        own[DCMK_OF(t)] = v;
        dcmk_usher(a, b, t, epoch);
    }
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    const uint32_t first = a.first + dcmk_half(a.first_half, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        const bool has_data = at < a.bytes;
        const dcmk_sources<N> from = dcmk_sources_at<N>(
            a, has_data ? a.peer[a.rank] + (first + at) : dcmk_nothing(a),
            has_data ? a.first_slot : 0);
        dcmk_u4 r[N::MOST - 1];

        if (!has_data && !dcmk_is_usher(a, b, t))
            continue;
        if (!dcmk_await_words<N>(r, a, b, t, from, epoch, DCMK_PHASE_GATHER) ||
            !has_data)
            continue;
        dcmk_write16<R::EVEN>(a.dst, at, a.bytes,
                              dcmk_reduce<N, R>(a, r, own[DCMK_OF(t)]));
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            if (q < N::count(a) - 1)
                dcmk_reset_words(from.at[q]);
        }
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_MAKE_PAIR(push, dcmk_push)

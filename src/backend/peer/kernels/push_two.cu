/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two-shot all-reduce of floats in words that validate themselves: larger messages.
 * Parts, owners and hops are those of ll128_two.cu, words and headers those of
 * push.cu; their proofs hold together, hop by hop:
 *
 * Layout          Two stagings, of parts and of results, each of two halves.
 * Writers and     As in ll128_two.cu; the reader of a word puts the ones back.
 * readers
 * Ordering        A word validates itself.
 * Reuse           Both stagings of e are read and reset before my kernel of e ends,
 *                 hence before I push anything of e + 1, hence before any peer
 *                 begins e + 2.  Empty parts send no words, the headers do.
 * Wrap            None.
 * Reset           As in push.cu.
 * When a peer     As in push.cu.
 * dies
 *
 * The part is a multiple of 16 bytes.  In place is allowed: a thread has pushed
 * its bytes of every part before it writes any.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/words.cuh"

template <class N, class R>
DCMK_FN void dcmk_push_two(const dcmk_args &a, const dcmk_block &b)
{
    const uint32_t mine = (uint32_t)a.rank * a.shard;
    DCMK_PRIVATE(dcmk_u4, own);
    DCMK_PRIVATE(bool, is_over);

    dcmk_begin();
    uint64_t epoch = 0;

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        dcmk_u4 v[N::MOST];

        if (at < a.shard) {
            DCMK_UNROLL
            for (int d = 0; d < N::MOST; d++) {
                if (d < N::count(a))
                    v[d] = dcmk_read16<R::EVEN>(
                        a.src, (uint32_t)dcmk_next<N>(a, d) * a.shard + at,
                        a.bytes);
            }
        }
        epoch = dcmk_epoch(a, b); /* all loads are under way */
        if (at < a.shard) {
            const uint32_t there = dcmk_first_out(a, epoch) + at;

            DCMK_UNROLL
            for (int d = 1; d < N::MOST; d++) {
                const int to = dcmk_next<N>(a, d);

                if (d < N::count(a) && (uint32_t)to * a.shard + at < a.bytes)
                    dcmk_store_words(a.peer[to] + there,
                                     dcmk_clear_of_ones<R>(v[d]));
            }
            own[DCMK_OF(t)] = v[0];
        }
        dcmk_usher(a, b, t, epoch);
    }
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    const uint32_t first = a.first + dcmk_half(a.first_half, epoch);
    const uint32_t second = a.second + dcmk_half(a.second_half, epoch);
    const uint32_t out = dcmk_second_out(a, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        const bool has_data = at < a.shard && mine + at < a.bytes;
        const dcmk_sources<N> from = dcmk_sources_at<N>(
            a, has_data ? a.peer[a.rank] + (first + at) : dcmk_nothing(a),
            has_data ? a.first_slot : 0);
        dcmk_u4 r[N::MOST - 1];
        dcmk_u4 sum;

        is_over[DCMK_OF(t)] = at >= a.shard;
        if (!has_data && !dcmk_is_usher(a, b, t))
            continue;
        if (!dcmk_await_words_here<N>(r, a, b, t, from, epoch, DCMK_PHASE_GATHER))
            is_over[DCMK_OF(t)] = true;
        if (is_over[DCMK_OF(t)] || !has_data)
            continue;
        sum = dcmk_reduce<N, R>(a, r, own[DCMK_OF(t)]);
        DCMK_UNROLL
        for (int d = 1; d < N::MOST; d++) {
            if (d < N::count(a))
                dcmk_store_words(a.peer[dcmk_next<N>(a, d)] + (out + at), sum);
        }
        dcmk_write16<R::EVEN>(a.dst, mine + at, a.bytes, sum);
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            if (q < N::count(a) - 1)
                dcmk_reset_words(from.at[q]);
        }
    }
    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        dcmk_sources<N> from = dcmk_sources_at<N>(
            a, a.peer[a.rank] + (second + at), a.second_slot);
        dcmk_u4 r[N::MOST - 1];

        if (is_over[DCMK_OF(t)])
            continue;
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            /* A part that is empty here was not sent. */
            if ((uint32_t)dcmk_peer(a, q) * a.shard + at >= a.bytes)
                from.at[q] = dcmk_nothing(a);
        }
        if (!dcmk_await_words_here<N>(r, a, b, t, from, epoch, DCMK_PHASE_RESULT))
            continue;
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            const uint32_t to = (uint32_t)dcmk_peer(a, q) * a.shard + at;

            if (q >= N::count(a) - 1 || to >= a.bytes)
                continue;
            dcmk_write16<R::EVEN>(a.dst, to, a.bytes, r[q]);
            dcmk_reset_words(from.at[q]);
        }
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_MAKE(push_two, dcmk_push_two)

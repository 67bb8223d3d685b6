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
            DCMK_UNROLL
            for (int d = 1; d < N::MOST; d++) {
                const int to = dcmk_next<N>(a, d);

                if (d < N::count(a) && (uint32_t)to * a.shard + at < a.bytes)
                    dcmk_store_words(a.peer[to] + a.first +
                                         dcmk_half(a.first_half, epoch) +
                                         (uint64_t)a.rank * a.first_slot + at,
                                     dcmk_clear_of_ones(v[d]));
            }
            own[DCMK_OF(t)] = v[0];
        }
        dcmk_usher(a, b, t, epoch);
    }
    dcmk_pushed(a, b, epoch);
    const uint64_t first = a.first + dcmk_half(a.first_half, epoch);
    const uint64_t second = a.second + dcmk_half(a.second_half, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        const uint64_t here = a.peer[a.rank] + first + at;
        const bool has_data = at < a.shard && mine + at < a.bytes;
        dcmk_u4 r[N::MOST];
        dcmk_u4 sum;

        is_over[DCMK_OF(t)] = at >= a.shard;
        if (!has_data && !dcmk_is_usher(a, b, t))
            continue;
        if (!dcmk_await_words<N>(r, a, b, t, has_data ? dcmk_peers(a) : 0, here,
                              a.first_slot, epoch, DCMK_PHASE_GATHER))
            is_over[DCMK_OF(t)] = true;
        if (is_over[DCMK_OF(t)] || !has_data)
            continue;
        sum = dcmk_reduce_words<N, R>(a, r, own[DCMK_OF(t)]);
        DCMK_UNROLL
        for (int d = 1; d < N::MOST; d++) {
            if (d < N::count(a))
                dcmk_store_words(a.peer[dcmk_next<N>(a, d)] + second +
                                     (uint64_t)a.rank * a.second_slot + at,
                                 sum);
        }
        dcmk_write16<R::EVEN>(a.dst, mine + at, a.bytes, sum);
        DCMK_UNROLL
        for (int p = 0; p < N::MOST; p++) {
            if (p < N::count(a) && p != a.rank)
                dcmk_reset_words(here + (uint64_t)p * a.first_slot);
        }
    }
    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        const uint64_t here = a.peer[a.rank] + second + at;
        dcmk_u4 r[N::MOST];
        uint32_t from = 0;

        if (is_over[DCMK_OF(t)])
            continue;
        DCMK_UNROLL
        for (int p = 0; p < N::MOST; p++) {
            if (p < N::count(a) && p != a.rank &&
                (uint32_t)p * a.shard + at < a.bytes)
                from |= 1u << p;
        }
        if (!dcmk_await_words<N>(r, a, b, t, from, here, a.second_slot, epoch,
                              DCMK_PHASE_RESULT))
            continue;
        DCMK_UNROLL
        for (int p = 0; p < N::MOST; p++) {
            if ((from >> p & 1u) == 0)
                continue;
            dcmk_write16<R::EVEN>(a.dst, (uint32_t)p * a.shard + at, a.bytes,
                                  r[p]);
            dcmk_reset_words(here + (uint64_t)p * a.second_slot);
        }
    }
}

DCMK_MAKE(push_two, dcmk_push_two)

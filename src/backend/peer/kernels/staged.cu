/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce through host memory, for devices that cannot reach each other's: any
 * type.  Nothing is known of how bytes travel there, neither that lines nor that 16
 * bytes arrive together, so flags stand apart from the data and are ordered by
 * fences.
 *
 * Layout          An area of every rank in one shared segment: two halves of data,
 *                 two of flags, a flag a block, 128 bytes apart.  In front of them
 *                 the headers that barrier.cu uses: here they tell which call it
 *                 is, since another one's flags may lie elsewhere.
 * Writers and     A rank writes its own area, all others read it.
 * readers
 * Ordering        A block's threads store their data, meet, and one stores the flag
 *                 with release; a thread a peer loads its flag with acquire, the
 *                 block meets, and all load the data.
 * Reuse           I write a half again two epochs later.  That kernel begins when
 *                 mine of the epoch between has ended, in which each of my blocks
 *                 heard from every peer's block of the same number, whose kernel
 *                 began when that peer's kernel of the first epoch had ended, with
 *                 all its reading of data and flags.  All ranks have the same grid,
 *                 and the smallest has a block.
 * Wrap            None: 48 bits of epoch.
 * Reset           None: an old flag has an old epoch.
 * When a peer     no flag of its comes: as in ll128.cu.  A block in which one thread
 * dies            gave up writes nothing to dst.
 *
 * In place is allowed: a block has stored its bytes of src before it writes dst.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/words.cuh"

enum {
    DCMK_FLAG_GAP = 128
};

DCMK_FN uint64_t dcmk_staged_flag(const dcmk_args &a, const dcmk_block &b,
                                  int of, uint64_t epoch)
{
    return a.peer[of] + a.second + dcmk_half(a.second_half, epoch) +
           b.index * DCMK_FLAG_GAP;
}

template <class N, class R>
DCMK_FN void dcmk_staged(const dcmk_args &a, const dcmk_block &b)
{
    const dcmk_watch *watch = (const dcmk_watch *)a.watch;
    DCMK_PRIVATE(dcmk_u4, own);

    dcmk_begin();
    uint64_t epoch = 0;

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);

        epoch = dcmk_epoch(a, b);
        own[DCMK_OF(t)] = dcmk_read16<R::EVEN>(a.src, at, a.bytes);
        if (at < a.bytes)
            dcmk_store_words(a.peer[a.rank] + a.first +
                                 dcmk_half(a.first_half, epoch) + at,
                             own[DCMK_OF(t)]);
        dcmk_usher(a, b, t, epoch);
    }
    /* The block meets in it. */
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    const uint64_t flag = dcmk_flag(a, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        if (t == 0)
            dcmk_store64_release(dcmk_staged_flag(a, b, a.rank, epoch), flag);
    }
    DCMK_EACH_THREAD(b, t)
    {
        if (dcmk_is_usher(a, b, t) &&
            !dcmk_await_flag(a, b.index, (int)t,
                             dcmk_header(a, a.rank, (int)t, epoch), flag,
                             DCMK_PHASE_GATHER))
            continue;
        if (t < (uint32_t)N::count(a) && t != (uint32_t)a.rank)
            (void)dcmk_await_flag(a, b.index, (int)t,
                                  dcmk_staged_flag(a, b, (int)t, epoch), flag,
                                  DCMK_PHASE_GATHER);
    }
    dcmk_sync(); /* who gave up has said so */
    const bool is_over = dcmk_load32((uint64_t)&watch->has_failed) != 0;

    DCMK_EACH_THREAD(b, t)
    {
        const uint32_t at = 16u * (b.index * b.threads + t);
        dcmk_u4 r[N::MOST - 1];

        if (at >= a.bytes || is_over)
            continue;
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            if (q < N::count(a) - 1)
                r[q] = dcmk_load_words(a.peer[dcmk_peer(a, q)] + a.first +
                                       dcmk_half(a.first_half, epoch) + at);
        }
        dcmk_write16<R::EVEN>(a.dst, at, a.bytes,
                              dcmk_reduce<N, R>(a, r, own[DCMK_OF(t)]));
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_MAKE_ANY(staged, dcmk_staged)

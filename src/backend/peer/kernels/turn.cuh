/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One kernel of a rank at a time.
 *
 * Everything here is right because a rank's kernel of an epoch begins when that of
 * the epoch before has ended.  Calls see to it, and a graph under capture does for
 * its own calls.  Two graphs replayed at once on two streams do not: both would take
 * one epoch, or one would write over staging that is yet to be read.  So block 0 of
 * every kernel asks when it has pushed, and looks at the answers at its end:
 *
 * - whether as many kernels have begun as the epoch says: each adds 1 to `begun`
 *   before it asks, so of two that meet one sees the other;
 * - whether every block of the epoch before has ended: each adds 1 to `left`, and
 *   block 0 had added their number to `owed`.  Kernels of even and of odd epochs
 *   count apart, so the blocks of this kernel that end early count for nothing here.
 *
 * If not, the communicator fails for good, with a record.  A kernel that waits for
 * long also looks whether another has begun (wait.cuh), so that neither waits for
 * peers that wait themselves.
 */
#ifndef DCMK_TURN_CUH
#define DCMK_TURN_CUH

#include "backend/peer/kernels/wait.cuh"

/* What one thread of block 0 saw, the low halves; in all others, nothing wrong. */
struct dcmk_seen {
    uint32_t begun;
    uint32_t owed;
    uint32_t left;
};

/* Only asks: the answers come while the call waits for its peers. */
DCMK_FN dcmk_seen dcmk_take_turn(const dcmk_args &a, const dcmk_block &b,
                                 uint64_t epoch)
{
    const uint64_t turn = a.watch + offsetof(dcmk_watch, turn);
    const uint64_t owed = turn + offsetof(dcmk_turn, owed);
    const uint64_t left = turn + offsetof(dcmk_turn, left);
    const uint64_t now = 8u * ((uint32_t)epoch & 1u);

    dcmk_add64(turn + offsetof(dcmk_turn, begun), 1);
    dcmk_add64(owed + now, b.count);
    return dcmk_seen{
        dcmk_load32(turn + offsetof(dcmk_turn, begun)),
        dcmk_load32(owed + (8u - now)),
        dcmk_load32(left + (8u - now)),
    };
}

/*
 * When all have pushed: the epoch words for the next call, which may be started
 * now, and waits for this one's end before it reads anything.
 */
DCMK_FN dcmk_seen dcmk_pushed(const dcmk_args &a, const dcmk_block &b,
                              uint64_t epoch)
{
    dcmk_seen seen = {(uint32_t)epoch, 0, 0};

    dcmk_sync(); /* every thread has its epoch */
    dcmk_let_next_start();
    DCMK_EACH_THREAD(b, t)
    {
        for (uint32_t w = b.index + t * b.count; w < DCMK_GRID;
             w += b.threads * b.count)
            dcmk_put8(a.epochs + 8u * w, epoch + 1);
        if (b.index == 0 && t == b.threads - 1)
            seen = dcmk_take_turn(a, b, epoch);
    }
    return seen;
}

/* The last thing that a kernel does. */
DCMK_FN void dcmk_leave(const dcmk_args &a, const dcmk_block &b, uint64_t epoch,
                        const dcmk_seen &seen)
{
    const uint64_t left =
        a.watch + offsetof(dcmk_watch, turn) + offsetof(dcmk_turn, left);

    if (seen.begun != (uint32_t)epoch || seen.owed != seen.left) {
        const dcmk_wanted want = {dcmk_flag(a, epoch), 0, 0, 0,
                                  DCMK_PHASE_BEGIN};

        dcmk_give_up(a, b.index, want, DCMK_CAUSE_OVERLAP, a.rank, 0);
    }
    dcmk_sync();
    DCMK_EACH_THREAD(b, t)
    {
        if (t == 0)
            dcmk_add64(left + 8u * ((uint32_t)epoch & 1u), 1);
    }
}

#endif /* DCMK_TURN_CUH */

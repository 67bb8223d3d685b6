/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A barrier: what any rank wrote before it, all ranks see behind it.
 *
 * Layout          The header flags of ll128.cu's staging: the first line's flag of
 *                 every slot.
 * Writers and     Rank s writes the flag in its slot of every peer's staging.
 * readers
 * Ordering        The flag is stored with release and loaded with acquire, at
 *                 system scope: unlike an all-reduce a barrier stands for other
 *                 memory, which does not validate itself.
 * Reuse           As in ll128.cu; each rank hears from every peer.
 * Wrap, Reset     None.
 * When a peer     As in ll128.cu.
 * dies
 *
 * One block of one warp; thread p speaks with rank p.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/turn.cuh"

DCMK_FN void dcmk_barrier_body(const dcmk_args &a, const dcmk_block &b)
{
    dcmk_begin();
    const uint64_t epoch = dcmk_epoch(a, b);
    const uint64_t flag = dcmk_flag(a, epoch);

    DCMK_EACH_THREAD(b, t)
    {
        if (t < (uint32_t)a.nranks && t != (uint32_t)a.rank)
            dcmk_store64_release(dcmk_header(a, (int)t, a.rank, epoch), flag);
    }
    const dcmk_seen seen = dcmk_pushed(a, b, epoch);
    DCMK_EACH_THREAD(b, t)
    {
        if (t < (uint32_t)a.nranks && t != (uint32_t)a.rank)
            (void)dcmk_await_flag(a, b.index, (int)t,
                                  dcmk_header(a, a.rank, (int)t, epoch), flag,
                                  DCMK_PHASE_BARRIER);
    }
    dcmk_leave(a, b, epoch, seen);
}

DCMK_KERNEL(dcmk_k_barrier, 32, dcmk_barrier_body)

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reductions whose result is not everyone's, in lines that carry their flags:
 * reduce_scatter, where every rank has a part, and reduce, where one has all.
 *
 * The first hop of ll128_two.cu by itself: each rank pushes what it has of part o to
 * its owner o, which reduces what came, and its own, in rank order.
 *
 * Layout, Writers and readers, Ordering, Reuse, Wrap, Reset, When a peer dies: as in
 * exchange.cu.  A part that has no bytes has a line of every rank.
 *
 * In place is allowed: a thread has pushed its bytes of the others' parts, and reads
 * its own ones, before it writes those.
 *
 * Model: tests/model/test_peer_exchange.c.
 */
#include "backend/peer/kernels/exchange.cuh"

template <class N, class R>
DCMK_FN void dcmk_part_lines(const dcmk_exchange &x, const dcmk_block &b)
{
    const dcmk_args &a = x.a;
    const uint32_t bytes = x.in_bytes[a.rank];
    dcmk_by_epoch ch = {};

    dcmk_begin();
    ch.begin(x, b);
    dcmk_push_units<dcmk_by_epoch, R::EVEN>(x, b, ch);
    ch.pushed(x, b);
    DCMK_EACH_THREAD(b, t)
    {
        DCMK_LOOP
        for (uint32_t i = t / DCMK_LANES; i < a.shard;
             i += b.threads / DCMK_LANES) {
            const dcmk_place at = dcmk_place_in(b.index * a.shard + i, t);
            const uint64_t here = a.peer[a.rank] +
                                  (a.first +
                                   dcmk_half(a.first_half, ch.epoch)) +
                                  at.staged;
            dcmk_u4 r[N::MOST - 1];

            if (at.warp >= dcmk_warps(bytes) ||
                !dcmk_await_lines<N>(
                    r, a, b, at, dcmk_sources_at<N>(a, here, a.first_slot),
                    dcmk_flag(a, ch.epoch), DCMK_PHASE_GATHER))
                break;
            const dcmk_u4 own =
                dcmk_read_part<R::EVEN>(x.out[a.rank], bytes, at);

            dcmk_write_part<R::EVEN>(x.in[a.rank], bytes, at,
                                     dcmk_reduce<N, R>(a, r, own));
        }
    }
    ch.end(x, b);
}

#define DCMK_PART(most, size, threads, what, arithmetic)                       \
    DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_part_##most##_##what, threads,        \
                   (dcmk_part_lines<dcmk_up_to<size>, arithmetic>))

DCMK_PART(most4, 4, 512, bf16, dcmk_sum_bf16)
DCMK_PART(most4, 4, 512, f16, dcmk_sum_f16)
DCMK_PART(most4, 4, 512, f32, dcmk_sum_f32)
DCMK_PART(most8, 8, 512, bf16, dcmk_sum_bf16)
DCMK_PART(most8, 8, 512, f16, dcmk_sum_f16)
DCMK_PART(most8, 8, 512, f32, dcmk_sum_f32)
DCMK_PART(most4, 4, 512, any, dcmk_reduce_any<4>)
DCMK_PART(most8, 8, 512, any, dcmk_reduce_any<8>)
DCMK_PART(most16, 16, 256, any, dcmk_reduce_any<16>)

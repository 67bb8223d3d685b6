/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What exchange.cu, message.cu and part.cu do, through host memory, for devices that
 * cannot reach each other's: flags apart from the data, ordered by fences, as in
 * staged.cu.
 *
 * Layout          Slots as in those files, in the areas of one shared segment, and
 *                 flags, one for each 4 KiB of a slot, 128 bytes apart.  By epochs
 *                 the first flag of a slot is the header of barrier.cu, so that
 *                 ranks that call different things find it.
 * Writers and     As in those files.
 * readers
 * Ordering        A block's threads store their data, meet, and a thread a peer
 *                 stores the flag with release; a thread a peer loads its flag
 *                 with acquire, the block meets, and all load the data.
 * Reuse           As in those files: each pair has a flag, also when it has no bytes;
 *                 the slots lie where staged.cu has its data, whose readers have
 *                 ended an epoch later as well.
 * Wrap, Reset     None.
 * When a peer     No flag of its comes: as in ll128.cu.  A block in which one thread
 * dies            gave up writes nothing to dst.
 *
 * Model: tests/model/test_peer_exchange.c.
 */
#include "backend/peer/kernels/exchange.cuh"

/* The flag of block `b`'s bytes, from `source` in the area of `of`. */
DCMK_FN uint64_t dcmk_span_flag(const dcmk_exchange &x, const dcmk_block &b,
                                int of, int source, uint64_t number)
{
    if (b.index == 0 && x.a.header_half != 0)
        return dcmk_header(x.a, of, source, number);
    return x.a.peer[of] + (x.a.second + dcmk_half(x.a.second_half, number) +
                           (uint32_t)source * x.a.second_slot +
                           b.index * DCMK_LINE);
}

/* Whether block `b` moves something of the pair; the first one does always. */
DCMK_FN bool dcmk_has_span(uint32_t ranks, const uint32_t *bytes,
                           const dcmk_block &b, uint32_t p)
{
    return p < DCMK_RANKS && (ranks >> p & 1u) != 0 &&
           (b.index == 0 || b.index * DCMK_STAGED_SPAN < bytes[p]);
}

DCMK_FN bool dcmk_has_failed(const dcmk_exchange &x)
{
    const dcmk_watch *watch = (const dcmk_watch *)x.a.watch;

    return dcmk_load32((uint64_t)&watch->has_failed) != 0;
}

/* This thread's words of the block's bytes. */
#define DCMK_EACH_WORD(at, b, t, bytes)                                        \
    for (uint32_t at = (b).index * DCMK_STAGED_SPAN + 16u * (t);               \
         at < ((b).index + 1) * DCMK_STAGED_SPAN && at < (bytes);              \
         at += 16u * (b).threads)

/* False: gave up; the block does nothing more. */
template <class CH>
DCMK_FN bool dcmk_push_spans(const dcmk_exchange &x, const dcmk_block &b,
                             CH &ch)
{
    DCMK_EACH_THREAD(b, t)
    {
        if (dcmk_has_span(x.outs, x.out_bytes, b, t))
            (void)ch.has_room(x, b, (int)t, ch.out_number(x, b, (int)t));
    }
    dcmk_sync(); /* who gave up has said so */
    const bool is_over = dcmk_has_failed(x);

    DCMK_EACH_THREAD(b, t)
    {
        DCMK_LOOP
        for (int p = 0; p < x.a.nranks && !is_over; p++) {
            if (!dcmk_has_span(x.outs, x.out_bytes, b, (uint32_t)p))
                continue;
            const uint64_t slot =
                dcmk_slot(x, p, x.a.rank, ch.out_number(x, b, p));

            DCMK_EACH_WORD(at, b, t, x.out_bytes[p])
            {
                dcmk_store_words(slot + at, dcmk_read16<false>(
                                                x.out[p], at, x.out_bytes[p]));
            }
        }
    }
    ch.pushed(x, b); /* the block meets in it */
    DCMK_EACH_THREAD(b, t)
    {
        if (is_over || !dcmk_has_span(x.outs, x.out_bytes, b, t))
            continue;
        const uint64_t number = ch.out_number(x, b, (int)t);

        dcmk_store64_release(dcmk_span_flag(x, b, (int)t, x.a.rank, number),
                             dcmk_flag_of(number, x.out_sign[t]));
    }
    return !is_over;
}

template <class CH>
DCMK_FN bool dcmk_await_spans(const dcmk_exchange &x, const dcmk_block &b,
                              const CH &ch)
{
    DCMK_EACH_THREAD(b, t)
    {
        if (!dcmk_has_span(x.ins, x.in_bytes, b, t))
            continue;
        const uint64_t number = ch.in_number(x, b, (int)t);

        (void)dcmk_await_flag(
            x.a, b.index, (int)t,
            dcmk_span_flag(x, b, x.a.rank, (int)t, number),
            dcmk_flag_of(number, x.in_sign[t]), DCMK_PHASE_GATHER);
    }
    dcmk_sync(); /* who gave up has said so */
    return !dcmk_has_failed(x);
}

template <class CH>
DCMK_FN void dcmk_exchange_spans(const dcmk_exchange &x, const dcmk_block &b)
{
    CH ch = {};

    dcmk_begin();
    ch.begin(x, b);
    const bool is_on =
        dcmk_push_spans<CH>(x, b, ch) && dcmk_await_spans<CH>(x, b, ch);

    DCMK_EACH_THREAD(b, t)
    {
        DCMK_LOOP
        for (int p = 0; p < x.a.nranks && is_on; p++) {
            const bool is_own = p == x.a.rank;

            if (!is_own && !dcmk_has_span(x.ins, x.in_bytes, b, (uint32_t)p))
                continue;
            const uint64_t slot =
                is_own ? 0 : dcmk_slot(x, x.a.rank, p, ch.in_number(x, b, p));

            DCMK_EACH_WORD(at, b, t, x.in_bytes[p])
            {
                const dcmk_u4 v =
                    is_own
                        ? dcmk_read16<false>(x.out[p], at, x.out_bytes[p])
                        : dcmk_load_words(slot + at);

                dcmk_put_in8<false>(x, p, at, dcmk_low(v));
                dcmk_put_in8<false>(x, p, at + 8, dcmk_high(v));
            }
        }
    }
    ch.end(x, b);
}

template <class N, class R>
DCMK_FN void dcmk_part_spans(const dcmk_exchange &x, const dcmk_block &b)
{
    const dcmk_args &a = x.a;
    const uint32_t bytes = x.in_bytes[a.rank];
    dcmk_by_epoch ch = {};

    dcmk_begin();
    ch.begin(x, b);
    const bool is_on = dcmk_push_spans<dcmk_by_epoch>(x, b, ch) &&
                       dcmk_await_spans<dcmk_by_epoch>(x, b, ch);

    DCMK_EACH_THREAD(b, t)
    {
        DCMK_EACH_WORD(at, b, t, is_on ? bytes : 0)
        {
            dcmk_u4 r[N::MOST - 1];

            DCMK_UNROLL
            for (int q = 0; q < N::MOST - 1; q++) {
                if (q < N::count(a) - 1)
                    r[q] = dcmk_load_words(
                        dcmk_slot(x, a.rank, dcmk_peer(a, q), ch.epoch) + at);
            }
            const dcmk_u4 own = dcmk_read16<false>(x.out[a.rank], at, bytes);

            dcmk_write16<false>(x.in[a.rank], at, bytes,
                                dcmk_reduce<N, R>(a, r, own));
        }
    }
    ch.end(x, b);
}

#define DCMK_SPANS(most, size)                                                 \
    DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_staged_part_##most##_any, 256,        \
                   (dcmk_part_spans<dcmk_up_to<size>, dcmk_reduce_any<size>>))

DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_staged_exchange_any, 256,
               (dcmk_exchange_spans<dcmk_by_epoch>))
DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_staged_message_any, 256,
               (dcmk_exchange_spans<dcmk_by_pair>))
DCMK_SPANS(most4, 4)
DCMK_SPANS(most8, 8)
DCMK_SPANS(most16, 16)

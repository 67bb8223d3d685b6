/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels that move bytes between pairs of ranks share: how a warp pushes
 * and takes units of 480 bytes as lines, where what comes in is put, and how a pair
 * counts: with all ranks, by epochs, or by itself, by its messages.
 *
 * A block moves the units [index * shard, (index + 1) * shard) of every pair.  The
 * same unit is a matter of the same block on both ranks, and a block pushes all it
 * has to push before it waits: so blocks of a grid may also run in turn.
 */
#ifndef DCMK_EXCHANGE_CUH
#define DCMK_EXCHANGE_CUH

#include "backend/peer/kernels/lines.cuh"

/* ---- how a pair counts ---------------------------------------------------- */

/* All ranks together: what epoch.cuh tells. */
struct dcmk_by_epoch {
    uint64_t epoch;
    dcmk_seen seen;

    DCMK_METHOD void begin(const dcmk_exchange &x, const dcmk_block &b)
    {
        epoch = dcmk_epoch(x.a, b);
    }
    DCMK_METHOD uint64_t out_number(const dcmk_exchange &, const dcmk_block &,
                                    int) const
    {
        return epoch;
    }
    DCMK_METHOD uint64_t in_number(const dcmk_exchange &, const dcmk_block &,
                                   int) const
    {
        return epoch;
    }
    DCMK_METHOD bool has_room(const dcmk_exchange &, const dcmk_block &, int,
                              uint64_t) const
    {
        return true;
    }
    DCMK_METHOD void pushed(const dcmk_exchange &x, const dcmk_block &b)
    {
        seen = dcmk_pushed(x.a, b, epoch);
    }
    DCMK_METHOD void end(const dcmk_exchange &x, const dcmk_block &b) const
    {
        dcmk_leave(x.a, b, epoch, seen);
    }
};

enum {
    DCMK_OUT,
    DCMK_IN
};

/* The number of the pair's next message, as block `block` of messages reads it. */
DCMK_FN uint64_t dcmk_counter(const dcmk_exchange &x, uint32_t way, int p,
                              uint32_t block)
{
    return x.counters +
           8u * ((way * DCMK_RANKS + (uint32_t)p) * DCMK_MESSAGE_GRID + block);
}

/* In the staging of `of`: how many of its messages `reader` has taken. */
DCMK_FN uint64_t dcmk_taken(const dcmk_exchange &x, int of, int reader)
{
    return x.a.peer[of] + (x.a.header + (uint32_t)reader * x.a.header_slot);
}

/* Wait until rank `p` has taken all before message `number` but one. */
DCMK_FN bool dcmk_await_room(const dcmk_exchange &x, uint32_t block, int p,
                             uint64_t number)
{
    const uint64_t at = dcmk_taken(x, x.a.rank, p);
    dcmk_spin spin = {};

    for (;;) {
        const dcmk_wanted want = {number << DCMK_SIGN_BITS, 0, 0,
                                  1u << (uint32_t)p, DCMK_PHASE_ROOM};
        bool is_look;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            if ((int64_t)(dcmk_load64(at) + 2 - number) >= 0)
                return true;
            dcmk_relax();
        }
        if (dcmk_glance(x.a, spin, &is_look))
            return false;
        if (is_look && dcmk_look(x.a, block, spin, want))
            return false;
    }
}

/* Each pair and way by itself: message.cu has the proof. */
struct dcmk_by_pair {
    DCMK_METHOD void begin(const dcmk_exchange &x, const dcmk_block &b) const
    {
        DCMK_EACH_THREAD(b, t)
        {
            if (b.index == 0 && t < DCMK_RANKS && (x.ins >> t & 1u) != 0)
                dcmk_store64(dcmk_taken(x, (int)t, x.a.rank),
                             in_number(x, b, (int)t) - 1);
        }
    }
    DCMK_METHOD uint64_t out_number(const dcmk_exchange &x,
                                    const dcmk_block &b, int p) const
    {
        return dcmk_get8(dcmk_counter(x, DCMK_OUT, p, b.index));
    }
    DCMK_METHOD uint64_t in_number(const dcmk_exchange &x, const dcmk_block &b,
                                   int p) const
    {
        return dcmk_get8(dcmk_counter(x, DCMK_IN, p, b.index));
    }
    DCMK_METHOD bool has_room(const dcmk_exchange &x, const dcmk_block &b,
                              int p, uint64_t number) const
    {
        return dcmk_await_room(x, b.index, p, number);
    }
    DCMK_METHOD void pushed(const dcmk_exchange &, const dcmk_block &) const
    {
        dcmk_sync();
        dcmk_let_next_start();
    }
    /* Way by way and rank by rank, the words of one by all threads. */
    DCMK_METHOD void end(const dcmk_exchange &x, const dcmk_block &b) const
    {
        DCMK_LOOP
        for (uint32_t i = 0; i < 2 * DCMK_RANKS; i++) {
            const uint32_t way = i / DCMK_RANKS;
            const uint32_t p = i % DCMK_RANKS;

            if (((way == DCMK_OUT ? x.outs : x.ins) >> p & 1u) != 0)
                count(x, b, way, (int)p);
        }
    }
    DCMK_METHOD void count(const dcmk_exchange &x, const dcmk_block &b,
                           uint32_t way, int p) const
    {
        const uint64_t number = dcmk_get8(dcmk_counter(x, way, p, b.index));

        dcmk_sync(); /* all threads have it */
        DCMK_EACH_THREAD(b, t)
        {
            for (uint32_t w = b.index + t * b.count; w < DCMK_MESSAGE_GRID;
                 w += b.threads * b.count)
                dcmk_put8(dcmk_counter(x, way, p, w), number + 1);
        }
    }
};

DCMK_FN uint64_t dcmk_flag_of(uint64_t number, uint32_t sign)
{
    return number << DCMK_SIGN_BITS | sign;
}

/* Where what `source` pushes lies in the staging of `of`. */
DCMK_FN uint64_t dcmk_slot(const dcmk_exchange &x, int of, int source,
                           uint64_t number)
{
    return x.a.peer[of] + (x.a.first + dcmk_half(x.a.first_half, number) +
                           (uint32_t)source * x.a.first_slot);
}

/* ---- where what comes in is put ------------------------------------------- */

DCMK_FN uint64_t dcmk_in_row(const dcmk_exchange &x, int p, uint32_t offset)
{
    const uint32_t at = x.phase + offset;

    return x.in[p] + at / x.row * x.pitch + at % x.row;
}

DCMK_SLOW void dcmk_put_in_rows(const dcmk_exchange &x, int p, uint32_t offset,
                                uint64_t v)
{
    DCMK_LOOP
    for (uint32_t i = 0; i < 8 && offset + i < x.in_bytes[p]; i++)
        *(uint8_t *)dcmk_in_row(x, p, offset + i) = (uint8_t)(v >> (8 * i));
}

/* 8 bytes at `offset` of what comes from rank `p`; EVEN: rows are multiples too. */
template <bool EVEN>
DCMK_FN void dcmk_put_in8(const dcmk_exchange &x, int p, uint32_t offset,
                          uint64_t v)
{
    if (x.row == 0)
        dcmk_write8<EVEN>(x.in[p], offset, x.in_bytes[p], v);
    else if (offset >= x.in_bytes[p])
        return;
    else if (EVEN)
        dcmk_put8(dcmk_in_row(x, p, offset), v);
    else
        dcmk_put_in_rows(x, p, offset, v);
}

/* ---- units as lines ------------------------------------------------------- */

/* What a warp does in one turn: a unit of a pair. */
struct dcmk_item {
    int peer;
    dcmk_place place;
};

DCMK_FN uint32_t dcmk_items(const dcmk_exchange &x)
{
    return x.a.shard * (uint32_t)x.a.nranks;
}

/* Item `i` of the block: unit by unit, in each all ranks, this one first. */
DCMK_FN dcmk_item dcmk_item_of(const dcmk_exchange &x, const dcmk_block &b,
                               uint32_t t, uint32_t i)
{
    const uint32_t n = (uint32_t)x.a.nranks;
    const uint32_t p = (uint32_t)x.a.rank + i % n;

    return dcmk_item{(int)(p < n ? p : p - n),
                     dcmk_place_in(b.index * x.a.shard + i / n, t)};
}

/* True: this pair has this unit; the first has one though there are no bytes. */
DCMK_FN bool dcmk_has_unit(uint32_t ranks, const uint32_t *bytes,
                           const dcmk_item &item)
{
    return (ranks >> (uint32_t)item.peer & 1u) != 0 &&
           item.place.warp < dcmk_warps(bytes[item.peer]);
}

template <class CH, bool EVEN>
DCMK_FN bool dcmk_push_unit(const dcmk_exchange &x, const dcmk_block &b,
                            const CH &ch, const dcmk_item &item)
{
    const int p = item.peer;

    if (!dcmk_has_unit(x.outs, x.out_bytes, item))
        return true;
    const uint64_t number = ch.out_number(x, b, p);
    const dcmk_u4 v =
        dcmk_read_part<EVEN>(x.out[p], x.out_bytes[p], item.place);

    if (!dcmk_all(ch.has_room(x, b, p, number)))
        return false;
    dcmk_together();
    dcmk_store_part(dcmk_slot(x, p, x.a.rank, number) + item.place.staged,
                    item.place.lane,
                    dcmk_with_flag(v, item.place,
                                   dcmk_flag_of(number, x.out_sign[p])));
    return true;
}

/* The block's units, to every rank that something goes to. */
template <class CH, bool EVEN>
DCMK_FN void dcmk_push_units(const dcmk_exchange &x, const dcmk_block &b,
                             const CH &ch)
{
    DCMK_EACH_THREAD(b, t)
    {
        DCMK_LOOP
        for (uint32_t i = t / DCMK_LANES; i < dcmk_items(x);
             i += b.threads / DCMK_LANES) {
            if (!dcmk_push_unit<CH, EVEN>(x, b, ch, dcmk_item_of(x, b, t, i)))
                break;
        }
    }
}

/* Wait for this thread's part of a line of one rank; as dcmk_await_lines(). */
DCMK_FN bool dcmk_await_line(dcmk_u4 *v_p, const dcmk_args &a,
                             uint32_t block, int peer, uint64_t at,
                             uint32_t lane, uint64_t flag)
{
    dcmk_spin spin = {};

    DCMK_KEEP(flag);
    for (;;) {
        dcmk_part part;
        bool is_look;
        bool is_over;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            part = dcmk_load_part(at, lane);
            if (dcmk_all(dcmk_ignores(lane) ||
                         dcmk_part_differs(part, flag) == 0)) {
                *v_p = part.v;
                return true;
            }
            dcmk_relax();
        }
        is_over = dcmk_glance(a, spin, &is_look);
        if (is_look && !is_over) {
            dcmk_wanted want = {flag, 0, 0, 0, DCMK_PHASE_GATHER};

            if (!dcmk_ignores(lane) && dcmk_part_differs(part, flag) != 0)
                dcmk_miss(want, peer, dcmk_part_flag(part));
            want.missing = dcmk_any_bits(want.missing);
            is_over = dcmk_look(a, block, spin, want);
        }
        if (!dcmk_all(!is_over))
            return false;
    }
}

template <class CH, bool EVEN>
DCMK_FN void dcmk_take_unit(const dcmk_exchange &x, const dcmk_block &b,
                            const CH &ch, const dcmk_item &item)
{
    const int p = item.peer;
    dcmk_u4 v;

    if (p == x.a.rank) {
        v = dcmk_read_part<EVEN>(x.out[p], x.out_bytes[p], item.place);
    } else {
        if (!dcmk_has_unit(x.ins, x.in_bytes, item))
            return;
        const uint64_t number = ch.in_number(x, b, p);

        if (!dcmk_await_line(
                &v, x.a, b.index, p,
                dcmk_slot(x, x.a.rank, p, number) + item.place.staged,
                item.place.lane, dcmk_flag_of(number, x.in_sign[p])))
            return;
    }
    dcmk_put_in8<EVEN>(x, p, item.place.data, dcmk_low(v));
    if (!dcmk_is_flag(item.place))
        dcmk_put_in8<EVEN>(x, p, item.place.data + 8, dcmk_high(v));
}

/* Push all, then take all. */
template <class CH, bool EVEN>
DCMK_FN void dcmk_exchange_lines(const dcmk_exchange &x, const dcmk_block &b)
{
    CH ch = {};

    dcmk_begin();
    ch.begin(x, b);
    dcmk_push_units<CH, EVEN>(x, b, ch);
    ch.pushed(x, b);
    /* Turn by turn: what tells that a peer calls something else comes first. */
    DCMK_LOOP
    for (uint32_t turn = 0; turn < dcmk_items(x);
         turn += b.threads / DCMK_LANES) {
        DCMK_EACH_THREAD(b, t)
        {
            const uint32_t i = turn + t / DCMK_LANES;

            if (i < dcmk_items(x))
                dcmk_take_unit<CH, EVEN>(x, b, ch, dcmk_item_of(x, b, t, i));
        }
    }
    ch.end(x, b);
}

#define DCMK_EXCHANGE(name, threads, channel)                                  \
    DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_##name##_even, threads,               \
                   (dcmk_exchange_lines<channel, true>))                       \
    DCMK_KERNEL_OF(dcmk_exchange, dcmk_k_##name##_any, threads,                \
                   (dcmk_exchange_lines<channel, false>))

#endif /* DCMK_EXCHANGE_CUH */

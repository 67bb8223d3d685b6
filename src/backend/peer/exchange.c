/* SPDX-License-Identifier: Apache-2.0 */
/* Launches of what moves between pairs: staging, pieces, grids, signatures. */
#include "backend/peer/exchange.h"

#include <stdio.h>
#include <string.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

enum {
    ALIGN = 4096, /* of regions */
    MOST_WARPS = 16,
    LEAST_MESSAGE_UNITS = 8,
    LEAST_PRIVATE_UNITS = 16
};

static const char *const mover_names[] = {
    [DCMI_PEER_EXCHANGE_EVEN] = "exchange",
    [DCMI_PEER_EXCHANGE_ANY] = "exchange",
    [DCMI_PEER_MESSAGE_EVEN] = "message",
    [DCMI_PEER_MESSAGE_ANY] = "message",
    [DCMI_PEER_PART_BF16] = "part",
    [DCMI_PEER_PART_F16] = "part",
    [DCMI_PEER_PART_F32] = "part",
    [DCMI_PEER_PART_ANY] = "part",
};

const char *dcmi_peer_mover_str(dcmi_peer_mover mover)
{
    return mover_names[mover];
}

static const char *variant_of(dcmi_peer_mover mover)
{
    switch (mover) {
    case DCMI_PEER_EXCHANGE_EVEN:
    case DCMI_PEER_MESSAGE_EVEN:
        return "even";
    case DCMI_PEER_PART_BF16:
        return "bf16";
    case DCMI_PEER_PART_F16:
        return "f16";
    case DCMI_PEER_PART_F32:
        return "f32";
    case DCMI_PEER_EXCHANGE_ANY:
    case DCMI_PEER_MESSAGE_ANY:
    case DCMI_PEER_PART_ANY:
    case DCMI_PEER_MOVERS:
    default:
        return "any";
    }
}

bool dcmi_peer_mover_name(char *name, size_t bytes, int nranks, bool is_staged,
                          dcmi_peer_mover mover)
{
    const char *variant = variant_of(mover);
    const bool is_any = strcmp(variant, "any") == 0;
    const bool is_part = mover >= DCMI_PEER_PART_BF16;
    const char *most = !is_part      ? ""
                       : nranks <= 4 ? "most4_"
                       : nranks <= 8 ? "most8_"
                                     : "most16_";

    if (!is_any && (is_staged || (is_part && nranks > 8)))
        return false;
    (void)snprintf(name, bytes, "dcmk_k_%s%s_%s%s", is_staged ? "staged_" : "",
                   mover_names[mover], most, variant);
    return true;
}

/* ---- staging -------------------------------------------------------------- */

static uint64_t up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static dcmi_peer_region put(uint64_t *at, uint64_t slot, int nranks)
{
    dcmi_peer_region r;

    r.at = *at;
    r.slot = slot;
    r.half = up(slot * (uint64_t)nranks, ALIGN);
    *at += 2 * r.half;
    return r;
}

/* Slots of whole spans in the data of staged.cu, flags in its flags. */
static void lay_out_staged(dcmi_peer_layout *lay, uint64_t *at)
{
    const uint64_t n = (uint64_t)lay->nranks;
    const uint64_t span = DCMK_STAGED_SPAN;
    const uint64_t message = 128 * KIB / n / span * span;

    lay->most_exchange = lay->words[0].half / n / span * span;
    lay->most_message = least(message, lay->blocks * span);
    lay->flags = lay->words[1];
    lay->flags.slot = lay->most_exchange / span * DCMK_LINE;
    lay->messages = put(at, lay->most_message, lay->nranks);
    lay->message_flags =
        put(at, lay->most_message / span * DCMK_LINE, lay->nranks);
}

static uint64_t as_units(uint64_t bytes)
{
    return bytes == 0 ? 1 : up(bytes, DCMK_WARP_DATA) / DCMK_WARP_DATA;
}

void dcmi_peer_lay_out_exchange(dcmi_peer_layout *lay, uint64_t *at,
                                uint64_t threads)
{
    lay->blocks = (uint32_t)least(threads / lay->block, DCMK_GRID);
    lay->blocks = lay->blocks == 0 ? 1 : lay->blocks;
    if (lay->is_staged) {
        lay_out_staged(lay, at);
    } else {
        lay->most_message =
            MIB / (uint64_t)lay->nranks / DCMK_WARP_DATA * DCMK_WARP_DATA;
        lay->messages =
            put(at, up(as_units(lay->most_message) * DCMK_WARP_LINES, ALIGN),
                lay->nranks);
    }
    lay->taken = put(at, DCMK_LINE, lay->nranks);
}

static void fill(dcmk_args *a, const dcmi_peer_layout *lay,
                 const dcmi_peer_region *slots, const dcmi_peer_region *flags)
{
    a->first = (uint32_t)slots->at;
    a->first_slot = (uint32_t)slots->slot;
    a->first_half = (uint32_t)slots->half;
    a->second = (uint32_t)flags->at;
    a->second_slot = (uint32_t)flags->slot;
    a->second_half = (uint32_t)flags->half;
    a->nranks = lay->nranks;
}

void dcmi_peer_fill_exchange(dcmk_exchange *x, const dcmi_peer_layout *lay)
{
    dcmi_peer_region slots = lay->lines[0];

    if (lay->is_staged) {
        slots = lay->words[0];
        slots.slot = lay->most_exchange;
    }
    fill(&x->a, lay, &slots, &lay->flags);
    x->a.header = (uint32_t)lay->lines[0].at;
    x->a.header_slot = (uint32_t)lay->lines[0].slot;
    x->a.header_half = (uint32_t)lay->lines[0].half;
}

/* The headers are the counts of what readers have taken: one half. */
void dcmi_peer_fill_messages(dcmk_exchange *x, const dcmi_peer_layout *lay)
{
    fill(&x->a, lay, &lay->messages, &lay->message_flags);
    x->a.header = (uint32_t)lay->taken.at;
    x->a.header_slot = (uint32_t)lay->taken.slot;
    x->a.header_half = 0;
    x->a.epochs = 0;
}

/* ---- pieces --------------------------------------------------------------- */

/*
 * Units that a block moves of a pair of `bytes`: the same on both ranks, so from what
 * both know.  Few for small messages, so that many blocks share the work.
 */
static uint32_t units_a_block(uint64_t bytes, uint32_t blocks)
{
    const uint64_t units = as_units(bytes);
    const uint64_t few = bytes <= 8 * KIB ? 2 : bytes <= 128 * KIB ? 4 : 16;
    const uint64_t least_units = (units + blocks - 1) / blocks;

    return (uint32_t)(few > least_units ? few : least_units);
}

static uint32_t units_alike(uint64_t most, uint32_t blocks,
                            uint32_t least_units)
{
    const uint32_t units = (uint32_t)((as_units(most) + blocks - 1) / blocks);

    return units > least_units ? units : least_units;
}

/* The largest of this rank's pairs, its own included. */
static uint32_t largest_here(const dcmk_exchange *x)
{
    uint32_t most = 0;

    for (int p = 0; p < x->a.nranks; p++) {
        most = x->out_bytes[p] > most ? x->out_bytes[p] : most;
        most = x->in_bytes[p] > most ? x->in_bytes[p] : most;
    }
    return most;
}

/* Grid and block for pairs of at most `bytes`. */
static void cut(dcmi_peer_move *s, const dcmk_exchange *x,
                const dcmi_peer_layout *lay, uint64_t bytes)
{
    const uint64_t units = as_units(bytes);
    uint64_t warps;

    if (lay->is_staged) {
        s->grid = (uint32_t)(up(bytes == 0 ? 1 : bytes, DCMK_STAGED_SPAN) /
                             DCMK_STAGED_SPAN);
        s->threads = lay->block;
        return;
    }
    s->grid = (uint32_t)((units + x->a.shard - 1) / x->a.shard);
    warps = least(units, x->a.shard) * (uint64_t)lay->nranks;
    s->threads = (uint32_t)least(warps, MOST_WARPS) * DCMK_LANES;
    s->threads = s->threads > lay->block ? lay->block : s->threads;
}

/* Whether all that this rank reads and writes are multiples of 8 bytes. */
static bool is_even(const dcmk_exchange *x)
{
    uint64_t all = x->row | x->phase | x->pitch;

    for (int p = 0; p < x->a.nranks; p++)
        all |= x->out[p] | x->in[p] | x->out_bytes[p] | x->in_bytes[p];
    return all % 8 == 0;
}

static dcmi_peer_mover part_mover(const dcmk_exchange *x, dcm_dtype dtype,
                                  dcm_op op)
{
    if (op != DCM_SUM || x->a.nranks > 8 || !is_even(x))
        return DCMI_PEER_PART_ANY;
    if (dtype == DCM_BF16)
        return DCMI_PEER_PART_BF16;
    if (dtype == DCM_F16)
        return DCMI_PEER_PART_F16;
    return dtype == DCM_F32 ? DCMI_PEER_PART_F32 : DCMI_PEER_PART_ANY;
}

/* Bytes [at, at + most) of a block of `bytes`. */
static uint32_t part_of(uint64_t bytes, uint64_t at, uint64_t most)
{
    return at >= bytes ? 0 : (uint32_t)least(bytes - at, most);
}

static void set_rows(dcmk_exchange *x, const dcmi_peer_moves *m, uint64_t at,
                     uint64_t most)
{
    /* A piece that lies within one row is whole. */
    const bool is_whole = m->row == 0 || m->row > most;

    x->row = is_whole ? 0 : (uint32_t)m->row;
    x->pitch = is_whole ? 0 : m->pitch;
    x->phase = is_whole ? 0 : (uint32_t)(at % m->row);
    for (int p = 0; p < x->a.nranks; p++) {
        if (x->in_bytes[p] == 0)
            x->in[p] = 0;
        else if (m->row == 0)
            x->in[p] = m->in[p] + at;
        else
            x->in[p] = m->in[p] + at / m->row * m->pitch +
                       (is_whole ? at % m->row : 0);
    }
}

/* The signature of a pair's bytes in this call; both ranks know them. */
static uint16_t pair_sign(const dcm_coll *coll, const dcmi_peer_moves *m,
                          uint64_t bytes, uint64_t at)
{
    const uint64_t count = m->is_private          ? bytes
                           : coll->counts != NULL ? 0
                                                  : coll->count;

    return (uint16_t)dcmi_peer_sign((int)coll->kind, coll->dtype, coll->op,
                                    count ^ m->shape, at);
}

dcmi_peer_move dcmi_peer_piece(dcmk_exchange *x, uint64_t *next_p,
                               const dcmi_peer_layout *lay,
                               const dcmi_peer_moves *m, const dcm_coll *coll,
                               uint64_t at)
{
    const uint64_t largest = m->is_private ? lay->most_exchange : m->largest;
    uint64_t most = lay->most_exchange;
    dcmi_peer_move s = {.threads = 0};

    if (m->row > most) /* pieces end where rows do */
        most = least(most, m->row - at % m->row);
    for (int p = 0; p < lay->nranks; p++) {
        x->out_bytes[p] = part_of(m->out_bytes[p], at, most);
        x->in_bytes[p] = part_of(m->in_bytes[p], at, most);
        x->out[p] = x->out_bytes[p] == 0 ? 0 : m->out[p] + at;
        x->out_sign[p] = pair_sign(coll, m, m->out_bytes[p], at);
        x->in_sign[p] = pair_sign(coll, m, m->in_bytes[p], at);
    }
    set_rows(x, m, at, most);
    x->outs = (1u << lay->nranks) - 1;
    x->outs &= ~(1u << x->a.rank);
    x->ins = x->outs;
    x->a.sign = x->in_sign[x->a.rank];
    x->a.dtype = (int32_t)coll->dtype;
    x->a.op = (int32_t)coll->op;
    x->a.shard = m->is_private
                     ? units_alike(most, lay->blocks, LEAST_PRIVATE_UNITS)
                     : units_a_block(part_of(largest, at, most), lay->blocks);
    cut(&s, x, lay,
        m->is_private ? largest_here(x) : part_of(largest, at, most));
    s.mover = lay->is_staged ? DCMI_PEER_EXCHANGE_ANY
              : is_even(x)   ? DCMI_PEER_EXCHANGE_EVEN
                             : DCMI_PEER_EXCHANGE_ANY;
    if (m->is_reduction)
        s.mover = lay->is_staged ? DCMI_PEER_PART_ANY
                                 : part_mover(x, coll->dtype, coll->op);
    *next_p = at + most;
    return s;
}

/* ---- messages ------------------------------------------------------------- */

void dcmi_peer_message_out(dcmk_exchange *x, int p, const dcmi_peer_message *m)
{
    x->out[p] = m->bytes == 0 ? 0 : m->at;
    x->out_bytes[p] = (uint32_t)m->bytes;
    x->out_sign[p] = (uint16_t)m->sign;
    if (p != x->a.rank)
        x->outs |= 1u << p;
}

void dcmi_peer_message_in(dcmk_exchange *x, int p, const dcmi_peer_message *m)
{
    x->in[p] = m->bytes == 0 ? 0 : m->at;
    x->in_bytes[p] = (uint32_t)m->bytes;
    x->in_sign[p] = (uint16_t)m->sign;
    if (p != x->a.rank)
        x->ins |= 1u << p;
}

void dcmi_peer_rest(dcmk_exchange *x, const dcmi_peer_layout *lay,
                    const dcmi_peer_moves *m, const dcm_coll *coll, uint64_t at)
{
    for (int p = 0; p < lay->nranks; p++) {
        const dcmi_peer_message out = {
            m->out[p] + at, part_of(m->out_bytes[p], at, lay->most_message),
            pair_sign(coll, m, m->out_bytes[p], at)};
        const dcmi_peer_message in = {
            m->in[p] + at, part_of(m->in_bytes[p], at, lay->most_message),
            pair_sign(coll, m, m->in_bytes[p], at)};

        if (out.bytes != 0)
            dcmi_peer_message_out(x, p, &out);
        if (in.bytes != 0)
            dcmi_peer_message_in(x, p, &in);
    }
}

dcmi_peer_move dcmi_peer_message_shape(dcmk_exchange *x,
                                       const dcmi_peer_layout *lay)
{
    const uint32_t blocks = (uint32_t)least(lay->blocks, DCMK_MESSAGE_GRID);
    dcmi_peer_move s = {.threads = 0};

    x->a.shard = units_alike(lay->most_message, blocks, LEAST_MESSAGE_UNITS);
    cut(&s, x, lay, largest_here(x));
    s.mover = !lay->is_staged && is_even(x) ? DCMI_PEER_MESSAGE_EVEN
                                            : DCMI_PEER_MESSAGE_ANY;
    return s;
}

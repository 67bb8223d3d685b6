/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two-shot all-reduce through staging, for large messages.
 *
 * The message is cut into pieces, each piece into one part a rank, its owner.
 * Iteration i:
 *     1. copy the parts of piece i that others own into my ring; count it
 *     2. piece i - 1: wait until all have staged it; reduce my part, in rank
 *        order, into my output and my result ring; count it in `reduced`
 *     3. piece i - 2: for each owner wait for its count, copy its part out
 *
 * Why a slot of the staging ring is free again, WINDOW >= 3 pieces later: to stage
 * piece i, I have finished step 3 for piece i - 3, so all owners had reduced it,
 * which was the last read of what I staged for it.
 * Why a slot of the result ring is free again, V >= 3 pieces later: to reduce piece
 * k + V I waited until every peer had staged it, and a peer stages piece k + V only
 * after it has gathered piece k + V - 3.  The ring holds over 3 slots.
 * Between operations: when I leave, all owners have reduced everything, so my
 * staging has been read.  My last results may still be being read, but I write
 * results only after having seen all peers' line 0 of a later two-shot, and by (b)
 * of ctx.h they have then ended this one.  A one-shot before this operation may
 * still be being read until I have seen the peers' lines.  It ends at ring_at and
 * takes at most a quarter of the ring; until then I stage two pieces, an eighth of
 * the ring, at ring_at, or at 0 when ring_at is beyond three quarters.
 */
#include "backend/cpu/ctx.h"

enum {
    PIECES_A_RING = 16, /* a piece's slot is this part of the ring */
    WINDOW = 4,         /* slots that one message goes round in */
    /* Outputs beyond what caches keep are written past them. */
    STREAM_MIN = 8 * 1024 * 1024,
};

typedef struct two_shot {
    dcmi_cpu *c;
    const dcm_coll *coll;
    const dcmi_header *mine;
    size_t item;         /* bytes of an element */
    size_t piece;        /* elements */
    size_t slot;         /* bytes of a piece in the staging ring */
    size_t window_at;    /* of this message's slots in the ring */
    uint32_t window;     /* slots */
    bool is_stream;      /* the output is written past the caches */
    size_t result_at[4]; /* of piece k in the result rings: k & 3 */
} two_shot;

typedef struct range {
    size_t first; /* element of the message */
    size_t count;
} range;

static range piece_of(const two_shot *t, uint32_t k)
{
    const size_t first = (size_t)k * t->piece;
    const size_t left = t->coll->count - first;

    return (range){first, left < t->piece ? left : t->piece};
}

/* The part of a piece that `owner` reduces: whole pairs of lines. */
static range part_of(const two_shot *t, range piece, int owner)
{
    const size_t n = (size_t)t->c->nranks;
    const size_t grain = DCMI_SECTOR / t->item;
    const size_t each = ((piece.count + n - 1) / n + grain - 1) / grain * grain;
    const size_t skip = each * (size_t)owner;
    size_t count = 0;

    if (skip < piece.count)
        count = piece.count - skip < each ? piece.count - skip : each;
    return (range){piece.first + skip, count};
}

static size_t advance(size_t *at, size_t need, size_t ring)
{
    size_t here;

    if (*at + need > ring)
        *at = 0;
    here = *at;
    *at += need;
    return here;
}

static size_t stage_at(const two_shot *t, uint32_t k)
{
    return t->window_at + k % t->window * t->slot;
}

static void copy_to_ring(const two_shot *t, uint32_t k, range piece, range r)
{
    dcmi_cpu *c = t->c;
    unsigned char *to = dcmi_cpu_ring(c, c->rank) + stage_at(t, k) +
                        (r.first - piece.first) * t->item;
    const unsigned char *from =
        (const unsigned char *)t->coll->src + r.first * t->item;

    if (r.count == 0)
        return;
    dcmi_cpu_copy_in(c, to, from, r.count * t->item);
}

static void stage(two_shot *t, uint32_t k)
{
    dcmi_cpu *c = t->c;
    const range piece = piece_of(t, k);
    const range own = part_of(t, piece, c->rank);
    const size_t before = own.count > 0 ? own.first - piece.first : piece.count;
    const size_t after =
        own.count > 0 ? own.first + own.count : piece.first + piece.count;

    copy_to_ring(t, k, piece, (range){piece.first, before});
    copy_to_ring(t, k, piece,
                 (range){after, piece.first + piece.count - after});
    if (c->is_far)
        dcmi_stream_fence();
    c->work += piece.count * t->item;
    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, dcmi_cpu_word(c, k + 1));
}

static void reduce_part(two_shot *t, uint32_t k, range piece, range own)
{
    dcmi_cpu *c = t->c;
    const size_t in_slot = (own.first - piece.first) * t->item;
    const void *src[DCM_MAX_RANKS];
    void *dst[2];

    dst[0] = (unsigned char *)t->coll->dst + own.first * t->item;
    dst[1] = dcmi_cpu_results(c, c->rank) + t->result_at[k & 3];
    for (int r = 0; r < c->nranks; r++)
        src[r] = r == c->rank
                     ? (const unsigned char *)t->coll->src + own.first * t->item
                     : dcmi_cpu_ring(c, r) + stage_at(t, k) + in_slot;
    c->simd->fn[t->coll->dtype][t->coll->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 2,
        .nsrc = c->nranks,
        .avg_n = c->nranks,
        .stream = (c->is_far ? 2u : 0u) | (t->is_stream ? 1u : 0u),
        .count = own.count,
    });
    if (c->is_far || t->is_stream)
        dcmi_stream_fence();
}

static dcm_status reduce(two_shot *t, uint32_t k)
{
    dcmi_cpu *c = t->c;
    const range piece = piece_of(t, k);
    const range own = part_of(t, piece, c->rank);
    const size_t slot = t->slot / (size_t)c->nranks + DCMI_SECTOR;
    dcm_status st;

    for (int r = 0; r < c->nranks; r++) {
        if (r == c->rank)
            continue;
        st = dcmi_cpu_await_staged(c, r, k + 1, t->mine);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    t->result_at[k & 3] = advance(
        &c->result_at, slot & ~(size_t)(DCMI_SECTOR - 1), c->ring_bytes / 4);
    if (own.count > 0)
        reduce_part(t, k, piece, own);
    dcmi_cpu_post(c, &c->region[c->rank]->reduced.v, dcmi_cpu_word(c, k + 1));
    return DCM_OK;
}

static dcm_status gather(const two_shot *t, uint32_t k)
{
    dcmi_cpu *c = t->c;
    const range piece = piece_of(t, k);
    void (*copy)(void *, const void *, size_t) =
        t->is_stream ? c->simd->copy_stream : c->simd->copy;
    dcm_status st;

    /* Everyone begins at its right neighbour, not all at rank 0. */
    for (int i = 1; i < c->nranks; i++) {
        const int r = (c->rank + i) % c->nranks;
        const range part = part_of(t, piece, r);

        st = dcmi_cpu_await(c, r, &c->region[r]->reduced.v,
                            dcmi_cpu_word(c, k + 1));
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
        if (part.count > 0)
            copy((unsigned char *)t->coll->dst + part.first * t->item,
                 dcmi_cpu_results(c, r) + t->result_at[k & 3],
                 part.count * t->item);
    }
    if (t->is_stream)
        dcmi_stream_fence(); /* the caller may hand dst to another thread */
    return DCM_OK;
}
dcm_status dcmi_cpu_two_shot(dcmi_cpu *c, const dcm_coll *coll,
                             const dcmi_header *mine)
{
    two_shot t = {
        .c = c,
        .coll = coll,
        .mine = mine,
        .item = dcm_dtype_bytes(coll->dtype),
    };
    dcm_status st = DCM_OK;
    uint32_t pieces;

    t.is_stream = coll->count * t.item >= STREAM_MIN;
    t.slot = c->ring_bytes / PIECES_A_RING;
    t.piece = t.slot / t.item;
    pieces = (uint32_t)((coll->count + t.piece - 1) / t.piece);
    t.window = pieces < WINDOW ? pieces : WINDOW;
    t.window_at = advance(&c->ring_at, t.window * t.slot, c->ring_bytes);
    for (uint32_t k = 0; k < pieces + 2 && st == DCM_OK; k++) {
        if (k < pieces)
            stage(&t, k);
        if (k >= 1 && k - 1 < pieces)
            st = reduce(&t, k - 1);
        if (k >= 2 && st == DCM_OK)
            st = gather(&t, k - 2);
    }
    return st;
}

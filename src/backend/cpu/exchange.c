/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every collective but all_reduce and barrier, through staging.
 *
 * A rank stages one lane for all its readers, or one a reader; exchange_plan.c
 * says which.  A lane is cut into pieces; piece k of all lanes lies in slot
 * k % W of this message's part of the ring.  Step k of a rank:
 *     1. stage its piece k, after every reader of piece k - W, which lay in the
 *        same slot, has counted it in `done`; count piece k in line 0
 *     2. take piece k - 1 of every rank that has one for this one, after it was
 *        counted; count it in `done`
 *
 * Nobody waits for ever: consider the rank that is least far.  In step k it waits
 * for `done` of k - W, which a rank counts in its step k - W + 1 < k, and for
 * pieces k - 1, which were staged in their owners' steps k - 1.  Both lie behind
 * everyone else.
 *
 * A rank whose src lies in an arena stages nothing: its header says where src is,
 * and its line 0 counts every piece at once.  Readers take the pieces from src
 * itself; at their end they set `done` to DCMI_ALL_READ, and the owner waits for that
 * before it leaves, as the caller may write src then.  Nobody waits for its end, so
 * the above holds.  Each reader sees from each header which way that rank's pieces
 * come, so ranks need not agree.  An all_to_all in place would write into src what
 * others have yet to read there, so it is staged.
 *
 * Between operations: a rank leaves while others may still read what it staged, as
 * in a one-shot, and for the same reason that is right: the part of the ring is a
 * quarter of it at most, so the next operation's does not overlap it, and by (a) of
 * ctx.h it has been read when the one after that begins.  For (a) every rank posts
 * line 0, with count 0 when it stages nothing, and waits for everyone's: so the
 * root of a broadcast waits until all have come, but not until they have read.
 *
 * A message that goes round its window meets everyone before it stages.  By (b) all
 * that was staged earlier has then been read, so it lies at the ring's beginning,
 * always: the rest of the ring leaves the caches to src and dst.  It takes half of
 * the ring at most, so what comes next, a quarter at most, finds room behind it.
 *
 * In place: a rank writes a part of dst in step k only where it staged or kept that
 * very part in step k - 1 or before, so all_to_all may have src == dst.  Where src is
 * read in place, dst may share with it only the part that this rank keeps, which
 * nobody else reads (reduce_scatter), or that nobody writes (all_gather).
 */
#include <string.h>

#include "backend/cpu/exchange.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/parse.h"

enum {
    PIECES_A_RING = 16,
    WINDOW = 4,
    /* Of one rank that stages for all, so that as much lies in the caches. */
    WINDOW_OF_ONE = 8,
};

static size_t pieces(const dcmi_exchange_run *u, size_t bytes)
{
    return (bytes + u->piece - 1) / u->piece;
}

static void count_pieces(dcmi_exchange_run *u)
{
    const dcmi_exchange *x = u->x;
    const int rank = u->c->rank;

    for (int r = 0; r < u->c->nranks; r++) {
        const dcmi_part *out = &x->out[x->is_shared ? 0 : r];

        if (r == rank)
            continue;
        if (x->is_staging && !u->is_direct && pieces(u, out->bytes) > u->n_out)
            u->n_out = pieces(u, out->bytes);
        if (pieces(u, x->in[r].bytes) > u->n_in)
            u->n_in = pieces(u, x->in[r].bytes);
    }
}

/* Cut the message; all ranks take the same part of the ring. */
static void cut(dcmi_exchange_run *u)
{
    const size_t slot = u->c->ring_bytes / PIECES_A_RING;
    const size_t whole = slot / u->lanes & ~(size_t)(DCMI_SECTOR - 1);
    const size_t most = u->x->most;
    size_t take = WINDOW * slot;

    u->piece = whole;
    u->window = WINDOW;
    u->goes_round = !u->x->is_private && most > WINDOW * whole;
    if (u->goes_round) {
        u->c->ring_at = 0;
        if (u->x->is_from_one && !u->c->is_far)
            u->window = WINDOW_OF_ONE;
        take = u->window * slot;
    }
    if (!u->x->is_private && most <= whole) {
        u->piece = (most + DCMI_SECTOR - 1) & ~(size_t)(DCMI_SECTOR - 1);
        if (u->piece == 0)
            u->piece = DCMI_SECTOR;
        take = u->piece * u->lanes;
    }
    u->ring = dcmi_cpu_ring_take(u->c, take);
    /* What all know of it, alike: between pairs, that there is something. */
    u->c->work += u->x->is_private ? u->lanes * DCMI_SECTOR : most * u->lanes;
    count_pieces(u);
}

static unsigned char *slot_of(const dcmi_exchange_run *u, int rank, size_t lane,
                              size_t k)
{
    return dcmi_cpu_ring(u->c, rank) + u->ring +
           (k % u->window * u->lanes + lane) * u->piece;
}

/* Piece k of what comes from `rank`. */
static const unsigned char *source(const dcmi_exchange_run *u, int rank,
                                   size_t lane, size_t k)
{
    if ((u->direct >> rank & 1) != 0)
        return u->direct_at[rank] + k * u->piece;
    return slot_of(u, rank, lane, k);
}

/* Piece k of `bytes`: where it begins, and its size. */
static size_t piece_bytes(const dcmi_exchange_run *u, size_t bytes, size_t k)
{
    const size_t first = k * u->piece;

    if (first >= bytes)
        return 0;
    return bytes - first < u->piece ? bytes - first : u->piece;
}

static dcm_status stage_lane(const dcmi_exchange_run *u, int lane, size_t k)
{
    dcmi_cpu *c = u->c;
    const dcmi_part *out = &u->x->out[lane];
    const size_t bytes = piece_bytes(u, out->bytes, k);
    unsigned char *to = slot_of(u, c->rank, (size_t)lane, k);
    const unsigned char *from;

    for (int r = 0; r < c->nranks && k >= u->window && bytes > 0; r++) {
        const bool reads =
            u->x->is_shared ? (u->x->readers >> r & 1) != 0 : r == lane;
        dcm_status st;

        if (!reads)
            continue;
        st = dcmi_cpu_await(c, r, &c->region[r]->done.v,
                            dcmi_cpu_word(c, (uint32_t)(k - u->window + 1)));
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    if (bytes == 0)
        return DCM_OK;
    from = out->at + k * u->piece;
    dcmi_cpu_copy_in(c, to, from, bytes);
    if (u->keeps)
        dcmi_cpu_exchange_put(c, u->x, c->rank, from, k * u->piece, bytes);
    return DCM_OK;
}

static dcm_status stage(const dcmi_exchange_run *u, size_t k)
{
    dcmi_cpu *c = u->c;
    dcm_status st = DCM_OK;

    for (size_t i = 1; i <= u->lanes && st == DCM_OK; i++) {
        const int lane = (int)(((size_t)c->rank + i) % u->lanes);

        if (u->x->is_shared || lane != c->rank)
            st = stage_lane(u, lane, k);
    }
    if (st != DCM_OK)
        return st;
    if (c->is_far)
        dcmi_stream_fence();
    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag,
                  dcmi_cpu_word(c, (uint32_t)k + 1));
    return DCM_OK;
}

/* Piece k of everyone's; all that have one have counted it. */
static void take(const dcmi_exchange_run *u, size_t k)
{
    const dcmi_cpu *c = u->c;
    const size_t lane = u->x->is_shared ? 0 : (size_t)c->rank;
    const void *src[DCM_MAX_RANKS];

    for (int i = 0; i < c->nranks; i++) {
        const int r = (c->rank + i) % c->nranks;
        const size_t bytes = piece_bytes(u, u->x->in[r].bytes, k);

        src[r] = source(u, r, lane, k);
        if (u->x->is_reduction && r == c->rank && bytes > 0)
            src[r] = u->x->own + k * u->piece;
        if (!u->x->is_reduction && r != c->rank && bytes > 0)
            dcmi_cpu_exchange_put(c, u->x, r, src[r], k * u->piece, bytes);
    }
    if (u->x->is_reduction)
        dcmi_cpu_exchange_reduce(c, u->coll, u->x, src, k * u->piece,
                                 piece_bytes(u, u->x->in[c->rank].bytes, k));
}

static dcm_status finish(const dcmi_exchange_run *u, size_t k)
{
    dcmi_cpu *c = u->c;
    dcm_status st;

    for (int i = 1; i < c->nranks; i++) {
        const int r = (c->rank + i) % c->nranks;

        if (piece_bytes(u, u->x->in[r].bytes, k) == 0)
            continue;
        st = dcmi_cpu_await_staged(c, r, (uint32_t)k + 1, &u->x->header);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    take(u, k);
    if (u->n_in > u->window || u->direct != 0)
        dcmi_cpu_post(c, &c->region[c->rank]->done.v,
                      dcmi_cpu_word(c, k + 1 == u->n_in ? DCMI_ALL_READ
                                                        : (uint32_t)k + 1));
    return DCM_OK;
}

static dcm_status steps(dcmi_exchange_run *u)
{
    const size_t n = u->n_out > u->n_in ? u->n_out : u->n_in;
    dcm_status st = DCM_OK;

    for (size_t k = 0; k <= n && st == DCM_OK; k++) {
        if (k < u->n_out)
            st = stage(u, k);
        if (k == 0 && st == DCM_OK && !u->goes_round)
            st = dcmi_cpu_exchange_meet(u);
        if (k > 0 && k - 1 < u->n_in && st == DCM_OK)
            st = finish(u, k - 1);
    }
    return st;
}

/* Takes x->own away when it has been put where it belongs. */
static dcm_status staged(dcmi_cpu *c, const dcm_coll *coll, dcmi_exchange *x)
{
    const unsigned char *direct_at[DCM_MAX_RANKS];
    dcmi_exchange_run u = {
        .c = c,
        .coll = coll,
        .x = x,
        .lanes = x->is_shared ? 1 : (size_t)c->nranks,
        .is_direct = x->header.arena != 0,
        .direct_at = direct_at,
    };
    dcm_status st;

    u.keeps = x->is_shared && x->is_staging && !u.is_direct &&
              !x->is_reduction && dcmi_cpu_exchange_keeps(c, x);
    dcmi_cpu_exchange_begin(&u);
    if (u.is_direct)
        DCMI_CPU_PATH(c, "direct");
    else
        DCMI_CPU_PATH(c, "staged");
    st = dcmi_cpu_grow(c);
    if (st != DCM_OK)
        return st;
    cut(&u);
    if (x->is_staging && !u.is_direct && (u.n_out == 0 || u.goes_round))
        dcmi_cpu_exchange_count(c, 0);
    if (u.goes_round)
        st = dcmi_cpu_exchange_meet(&u);
    if (st == DCM_OK)
        st = steps(&u);
    if (u.keeps)
        x->own = NULL;
    if (x->is_staging && !u.is_direct)
        dcmi_cpu_ring_warm(c, x->most * u.lanes);
    return u.is_direct && st == DCM_OK ? dcmi_cpu_exchange_await_readers(&u)
                                       : st;
}

dcm_status dcmi_cpu_collective(void *ctx, const dcm_coll *coll)
{
    dcmi_cpu *c = ctx;
    dcm_status st =
        dcmi_cpu_begin(c, coll, dcmi_coll_str(coll->kind), "exchange");
    dcmi_exchange x;
    uint32_t fpenv;

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    dcmi_cpu_exchange_plan(c, coll, &x);
    fpenv = dcmi_fpenv_enter();
    if (c->nranks > 1)
        st = dcmi_cpu_mail_carries(c, &x) ? dcmi_cpu_mail_exchange(c, coll, &x)
                                          : staged(c, coll, &x);
    if (st == DCM_OK)
        dcmi_cpu_exchange_keep(c, coll, &x);
    if (x.is_large)
        dcmi_stream_fence();
    dcmi_fpenv_leave(fpenv);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce of buffers that lie in the library's arena: no copies at all.
 *
 *   1. post a header with my offsets; wait for all headers: every source is ready
 *      and every output may be written
 *   2. reduce my shard, in rank order, from all sources into all outputs
 *   3. count `done`; wait for all: every shard is there, and nobody reads my
 *      source any longer
 *
 * In place works: a shard is read and written by its owner alone, element by
 * element.  A small message is not cut: each rank reduces all of it into its own
 * output, which wants sources that nobody writes, so not when any rank is in
 * place.
 *
 * All ranks decide alike: each sees all headers, and one that is not in the arena
 * knows without waiting that the answer is no.
 */
#include <string.h>

#include "backend/cpu/ctx.h"

enum {
    /* Bytes up to which a message is not cut: near and far, 2 ranks and more. */
    WHOLE_NEAR_2 = 256 * 1024,
    WHOLE_NEAR_N = 16 * 1024,
    WHOLE_FAR = 2 * 1024,
    /*
     * Outputs are written past the caches when none would keep them, and when
     * the ranks share none: rewriting lines that the other has read costs more.
     */
    STREAM_NEAR = 16 * 1024 * 1024,
};

typedef struct direct {
    dcmi_cpu *c;
    const dcm_coll *coll;
    dcmi_header all[DCM_MAX_RANKS];
    size_t item;
} direct;

/* Collect the headers; *in_place_p whether any rank is in place. */
static dcm_status collect(direct *d, const dcmi_header *mine, bool *served_p,
                          bool *in_place_p)
{
    dcmi_cpu *c = d->c;
    dcm_status st;

    *served_p = mine->arena != 0;
    *in_place_p = false;
    for (int r = 0; r < c->nranks && *served_p; r++) {
        if (r != c->rank) {
            st = dcmi_cpu_await_staged(c, r, 0, mine);
            if (st != DCM_OK)
                return st;
        }
        memcpy(&d->all[r], dcmi_cpu_mail(c, r)->data, sizeof(d->all[r]));
        if (d->all[r].arena != mine->arena)
            *served_p = false;
        if (d->all[r].src_offset == d->all[r].dst_offset)
            *in_place_p = true;
    }
    return DCM_OK;
}

static size_t whole_max(const dcmi_cpu *c)
{
    if (c->is_far)
        return WHOLE_FAR;
    return c->nranks == 2 ? WHOLE_NEAR_2 : WHOLE_NEAR_N;
}

static void reduce(const direct *d, size_t first, size_t count, bool everywhere)
{
    dcmi_cpu *c = d->c;
    const size_t offset = first * d->item;
    const bool is_stream =
        d->coll->count * d->item >= STREAM_NEAR || (c->is_far && everywhere);
    const void *src[DCM_MAX_RANKS];
    void *dst[DCM_MAX_RANKS];
    int ndst = 0;

    for (int r = 0; r < c->nranks; r++) {
        src[r] = dcmi_cpu_arena_at(c, d->all[r].arena, r,
                                   d->all[r].src_offset + offset);
        if (everywhere || r == c->rank)
            dst[ndst++] = dcmi_cpu_arena_at(c, d->all[r].arena, r,
                                            d->all[r].dst_offset + offset);
    }
    c->simd->fn[d->coll->dtype][d->coll->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = ndst,
        .nsrc = c->nranks,
        .avg_n = c->nranks,
        .stream = is_stream ? UINT64_MAX : 0,
        .count = count,
    });
    if (is_stream)
        dcmi_stream_fence();
}

dcm_status dcmi_cpu_direct(dcmi_cpu *c, const dcm_coll *coll,
                           const dcmi_header *mine, bool *served_p)
{
    direct
        d; /* not initialised: clearing `all` would take longer than waiting */
    const size_t n = (size_t)c->nranks;
    const size_t item = dcm_dtype_bytes(coll->dtype);
    const size_t grain = DCMI_SECTOR / item;
    const size_t each = ((coll->count + n - 1) / n + grain - 1) / grain * grain;
    const size_t first = each * (size_t)c->rank;
    bool in_place;
    dcm_status st;

    d.c = c;
    d.coll = coll;
    d.item = item;
    st = collect(&d, mine, served_p, &in_place);
    if (st != DCM_OK || !*served_p)
        return st;
    c->work += coll->count * d.item;
    if (!in_place && coll->count * d.item <= whole_max(c))
        reduce(&d, 0, coll->count, false);
    else if (first < coll->count)
        reduce(&d, first,
               coll->count - first < each ? coll->count - first : each, true);

    dcmi_cpu_post(c, &c->region[c->rank]->done.v, dcmi_cpu_word(c, 0));
    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        if (r != c->rank)
            st = dcmi_cpu_await(c, r, &c->region[r]->done.v,
                                dcmi_cpu_word(c, 0));
    }
    return st;
}

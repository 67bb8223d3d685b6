/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Staging, and the one-shot all-reduce through it, for middle sizes.
 *
 *   for each chunk c of the message:
 *     1. copy my chunk c into my ring; count it in line 0
 *     2. wait until every peer has counted chunk c - 1; reduce it, in rank order,
 *        from their rings and my own source
 *
 * The ring.  Every rank's ring position is the same, since all run the same
 * operations.  A message takes fresh bytes, at most a quarter of the ring, and
 * begins again at 0 when it would run over the end.  So consecutive messages g and
 * g + 1 never overlap: if g + 1 begins again at 0, then g began beyond half of the
 * ring.  What g - 1 and earlier staged, peers have read by (a) of ctx.h.  So no
 * exit barrier is needed, and rewriting lines that a peer still has in its cache,
 * the costliest thing of all here, comes only after the ring's whole length.
 */
#include <string.h>

#include "backend/cpu/ctx.h"
#include "base/err.h"

enum {
    CHUNK = 32 * 1024, /* one rank's L1 holds a chunk's source and sum */
    CROWDED_CHUNK = 1024 * 1024, /* each wait may cost a context switch */
    WARM_MAX = 8 * 1024,         /* larger ones are bound by bandwidth */
};

void dcmi_cpu_write_header(dcmi_cpu *c, const dcmi_header *mine)
{
    dcmi_header header = *mine;

    header.has_drifted = c->drift.is_seen;
    memcpy(dcmi_cpu_mail(c, c->rank)[0].data, &header, sizeof(header));
    dcmi_cpu_heed(c, &header);
}

static DCMI_COLD dcm_status grow_now(dcmi_cpu *c)
{
    const size_t bytes = c->ring_bytes + c->ring_bytes / 4;
    dcm_status st;

    c->team->phase = "grow";
    st = dcmi_segment_reserve(
        c->segment, (size_t)c->rank * c->region_bytes + c->ring_offset, bytes);
    if (st != DCM_OK)
        return dcmi_team_fail(c->team, st, c->rank);
    dcmi_cpu_post(c, &c->region[c->rank]->ready.v, 1);
    for (int r = 0; r < c->nranks; r++) {
        st = dcmi_cpu_await(c, r, &c->region[r]->ready.v, 1);
        if (st != DCM_OK)
            return st;
        dcmi_segment_touch(c->segment,
                           (size_t)r * c->region_bytes + c->ring_offset, bytes);
    }
    c->has_rings = true;
    return DCM_OK;
}

dcm_status dcmi_cpu_grow(dcmi_cpu *c)
{
    return DCMI_LIKELY(c->has_rings) ? DCM_OK : grow_now(c);
}

size_t dcmi_cpu_one_shot_max(const dcmi_cpu *c)
{
    return c->ring_bytes / 4;
}

size_t dcmi_cpu_ring_take(dcmi_cpu *c, size_t bytes)
{
    const size_t need = (bytes + DCMI_SECTOR - 1) & ~(size_t)(DCMI_SECTOR - 1);
    size_t at;

    if (c->ring_at + need > c->ring_bytes)
        c->ring_at = 0;
    at = c->ring_at;
    c->ring_at += need;
    return at;
}

typedef struct one_shot {
    dcmi_cpu *c;
    const dcm_coll *coll;
    size_t at;    /* of the message in the rings */
    size_t chunk; /* elements */
    size_t item;  /* bytes of an element */
} one_shot;

static void reduce_chunk(const one_shot *o, size_t first, size_t count)
{
    const dcmi_cpu *c = o->c;
    const size_t offset = first * o->item;
    const void *src[DCM_MAX_RANKS];
    void *dst[1] = {(unsigned char *)o->coll->dst + offset};

    for (int r = 0; r < c->nranks; r++)
        src[r] = r == c->rank ? (const unsigned char *)o->coll->src + offset
                              : dcmi_cpu_ring(c, r) + o->at + offset;
    c->simd->fn[o->coll->dtype][o->coll->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = c->nranks,
        .avg_n = c->nranks,
        .count = count,
    });
}

static dcm_status finish_chunk(const one_shot *o, uint32_t k, size_t total,
                               const dcmi_header *mine)
{
    const size_t first = (size_t)k * o->chunk;
    const size_t count = total - first < o->chunk ? total - first : o->chunk;
    dcm_status st;

    for (int r = 0; r < o->c->nranks; r++) {
        if (r == o->c->rank)
            continue;
        st = dcmi_cpu_await_staged(o->c, r, k + 1, mine);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    reduce_chunk(o, first, count);
    return DCM_OK;
}

static void stage_chunk(const one_shot *o, uint32_t k, size_t total)
{
    dcmi_cpu *c = o->c;
    const size_t first = (size_t)k * o->chunk;
    const size_t count = total - first < o->chunk ? total - first : o->chunk;
    unsigned char *to = dcmi_cpu_ring(c, c->rank) + o->at + first * o->item;
    const unsigned char *from =
        (const unsigned char *)o->coll->src + first * o->item;

    dcmi_cpu_copy_in(c, to, from, count * o->item);
    if (c->is_far)
        dcmi_stream_fence();
    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, dcmi_cpu_word(c, k + 1));
}

void dcmi_cpu_ring_warm(const dcmi_cpu *c, size_t bytes)
{
    if (bytes <= WARM_MAX && !c->is_far && !c->is_crowded &&
        c->ring_at + bytes <= c->ring_bytes)
        c->simd->warm(dcmi_cpu_ring(c, c->rank) + c->ring_at, bytes);
}

dcm_status dcmi_cpu_one_shot(dcmi_cpu *c, const dcm_coll *coll,
                             const dcmi_header *mine)
{
    one_shot o = {
        .c = c,
        .coll = coll,
        .item = dcm_dtype_bytes(coll->dtype),
    };
    dcm_status st = DCM_OK;
    uint32_t chunks;

    o.chunk = (c->is_crowded ? CROWDED_CHUNK : CHUNK) / o.item;
    o.at = dcmi_cpu_ring_take(c, coll->count * o.item);
    c->work += coll->count * o.item;
    chunks = (uint32_t)((coll->count + o.chunk - 1) / o.chunk);
    for (uint32_t k = 0; k <= chunks && st == DCM_OK; k++) {
        if (k < chunks)
            stage_chunk(&o, k, coll->count);
        if (k > 0)
            st = finish_chunk(&o, k - 1, coll->count, mine);
    }
    dcmi_cpu_ring_warm(c, coll->count * o.item);
    return st;
}

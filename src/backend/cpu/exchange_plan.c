/* SPDX-License-Identifier: Apache-2.0 */
/* What each collective stages and reads, seen from one rank. */
#include <string.h>

#include "backend/cpu/exchange.h"

enum {
    STREAM_MIN = 8 * 1024 * 1024
};

static unsigned char *at(const void *base, size_t bytes)
{
    return base == NULL ? NULL : (unsigned char *)(uintptr_t)base + bytes;
}

/* A number that differs when roots, rows or block sizes do. */
static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint64_t shape_of(const dcmi_cpu *c, const dcm_coll *coll)
{
    uint64_t h = (uint64_t)coll->root;

    if (coll->inner != 0)
        h = mix(h, coll->inner);
    if (coll->counts != NULL && coll->kind != DCM_COLL_ALL_TO_ALL) {
        for (int r = 0; r < c->nranks; r++)
            h = mix(h, coll->counts[r] + 1);
    }
    return h;
}

/* Elements before block r: by counts and displs, or packed and equal. */
static size_t before(const dcm_coll *coll, int r, const size_t *counts,
                     const size_t *displs)
{
    size_t skip = 0;

    if (counts == NULL)
        return (size_t)r * coll->count;
    if (displs != NULL)
        return displs[r];
    for (int i = 0; i < r; i++)
        skip += counts[i];
    return skip;
}

static dcmi_part block(const dcm_coll *coll, const void *base, int r,
                       const size_t *counts, const size_t *displs)
{
    const size_t item = dcm_dtype_bytes(coll->dtype);

    return (dcmi_part){at(base, before(coll, r, counts, displs) * item),
                       (counts == NULL ? coll->count : counts[r]) * item};
}

static size_t largest(const dcm_coll *coll, int nranks)
{
    const size_t item = dcm_dtype_bytes(coll->dtype);
    size_t most = 0;

    if (coll->counts == NULL)
        return coll->count * item;
    for (int r = 0; r < nranks; r++)
        most = coll->counts[r] > most ? coll->counts[r] : most;
    return most * item;
}

/* Everyone's message to its readers, of whom this rank may be one. */
static void plan_gather(const dcmi_cpu *c, const dcm_coll *coll,
                        dcmi_exchange *x, bool is_reader)
{
    const size_t item = dcm_dtype_bytes(coll->dtype);
    const dcmi_part mine =
        block(coll, NULL, c->rank, coll->counts, coll->displs);

    x->is_shared = true;
    x->out[0] = (dcmi_part){at(coll->src, 0), mine.bytes};
    x->own = is_reader ? coll->src : NULL;
    for (int r = 0; r < c->nranks && is_reader; r++) {
        x->in[r] = block(coll, coll->dst, r, coll->counts, coll->displs);
        if (coll->inner != 0)
            x->in[r].at = at(coll->dst, (size_t)r * coll->inner * item);
    }
    if (coll->inner != 0) {
        x->row = coll->inner * item;
        x->pitch = x->row * (size_t)c->nranks;
        x->is_ragged = true;
    }
}

/* A lane a rank: each reads its own of everyone's. */
static void plan_lanes(const dcmi_cpu *c, const dcm_coll *coll,
                       dcmi_exchange *x)
{
    for (int r = 0; r < c->nranks; r++)
        x->out[r] = block(coll, coll->src, r, coll->counts, coll->displs);
    x->own = x->out[c->rank].at;
}

/* Outputs beyond what caches keep are written past them. */
static bool is_large(const dcmi_cpu *c, const dcmi_exchange *x)
{
    size_t total = 0;

    for (int r = 0; r < c->nranks; r++)
        total += x->in[r].bytes;
    return !x->is_reduction && total >= STREAM_MIN;
}

/*
 * Whether all of src can be read where it is; its place goes into the header.  Not
 * of a broadcast: what is src with one root is dst with the next, and to write what
 * the others have read costs up to three times what a copy does.
 */
static void find_arena(const dcmi_cpu *c, const dcm_coll *coll,
                       dcmi_exchange *x)
{
    const bool is_staged =
        coll->kind == DCM_COLL_BROADCAST ||
        (coll->kind == DCM_COLL_ALL_TO_ALL && coll->src == coll->dst);
    size_t bytes = x->out[0].bytes;

    if (!x->is_staging || x->is_private || is_staged)
        return;
    if (!x->is_shared)
        bytes = (size_t)(x->out[c->nranks - 1].at - x->out[0].at) +
                x->out[c->nranks - 1].bytes;
    if (bytes > 0)
        x->header.arena =
            dcmi_cpu_arena_of(c, coll->src, bytes, &x->header.src_offset);
}

static void plan_reduce(const dcmi_cpu *c, const dcm_coll *coll,
                        dcmi_exchange *x, bool is_reader, size_t bytes)
{
    x->is_reduction = true;
    for (int r = 0; r < c->nranks && is_reader; r++)
        x->in[r] = (dcmi_part){at(coll->dst, 0), bytes};
}

static size_t all_bytes(const dcm_coll *coll)
{
    return coll->count * dcm_dtype_bytes(coll->dtype);
}

static void reduce(const dcmi_cpu *c, const dcm_coll *coll, dcmi_exchange *x)
{
    const bool is_root = c->rank == coll->root;

    plan_gather(c, coll, x, false);
    plan_reduce(c, coll, x, is_root, all_bytes(coll));
    x->own = coll->src;
    x->readers = 1ull << coll->root;
    x->is_staging = !is_root;
}

static void gather(const dcmi_cpu *c, const dcm_coll *coll, dcmi_exchange *x)
{
    const bool is_root = c->rank == coll->root;

    plan_gather(c, coll, x, is_root);
    x->readers = 1ull << coll->root;
    x->is_staging = !is_root;
}

static void scatter(const dcmi_cpu *c, const dcm_coll *coll, dcmi_exchange *x)
{
    x->is_from_one = true;
    x->is_staging = c->rank == coll->root;
    if (x->is_staging)
        plan_lanes(c, coll, x);
    x->in[coll->root] = (dcmi_part){at(coll->dst, 0), all_bytes(coll)};
}

static void broadcast(const dcmi_cpu *c, const dcm_coll *coll, dcmi_exchange *x)
{
    x->is_from_one = true;
    x->is_staging = c->rank == coll->root;
    x->is_shared = true;
    if (x->is_staging) {
        x->out[0] = (dcmi_part){at(coll->src, 0), all_bytes(coll)};
        x->own = coll->src;
    }
    x->in[coll->root] = (dcmi_part){at(coll->dst, 0), all_bytes(coll)};
}

static void all_gather(const dcmi_cpu *c, const dcm_coll *coll,
                       dcmi_exchange *x)
{
    x->is_staging = true;
    plan_gather(c, coll, x, true);
}

static void reduce_scatter(const dcmi_cpu *c, const dcm_coll *coll,
                           dcmi_exchange *x)
{
    x->is_staging = true;
    plan_lanes(c, coll, x);
    plan_reduce(c, coll, x, true, x->out[c->rank].bytes);
}

static void all_to_all(const dcmi_cpu *c, const dcm_coll *coll,
                       dcmi_exchange *x)
{
    x->is_staging = true;
    plan_lanes(c, coll, x);
    for (int r = 0; r < c->nranks; r++)
        x->in[r] =
            block(coll, coll->dst, r, coll->recv_counts, coll->recv_displs);
    x->is_private = coll->counts != NULL;
}

static void (*const plans[])(const dcmi_cpu *c, const dcm_coll *coll,
                             dcmi_exchange *x) = {
    [DCM_COLL_REDUCE] = reduce,
    [DCM_COLL_REDUCE_SCATTER] = reduce_scatter,
    [DCM_COLL_ALL_GATHER] = all_gather,
    [DCM_COLL_BROADCAST] = broadcast,
    [DCM_COLL_GATHER] = gather,
    [DCM_COLL_SCATTER] = scatter,
    [DCM_COLL_ALL_TO_ALL] = all_to_all,
};

void dcmi_cpu_exchange_plan(const dcmi_cpu *c, const dcm_coll *coll,
                            dcmi_exchange *x)
{
    size_t count = coll->count;

    memset(x, 0, offsetof(dcmi_exchange, out));
    memset(x->out, 0, sizeof(x->out[0]) * (size_t)c->nranks);
    memset(x->in, 0, sizeof(x->in[0]) * (size_t)c->nranks);
    x->readers = ~0ull;
    x->most = largest(coll, c->nranks);
    x->is_ragged = coll->counts != NULL;
    plans[coll->kind](c, coll, x);
    x->is_large = is_large(c, x);
    x->skip = before(coll, c->rank, coll->counts, coll->displs) *
              dcm_dtype_bytes(coll->dtype);
    x->readers &= ~(1ull << c->rank);
    if (c->nranks < 64)
        x->readers &= (1ull << c->nranks) - 1;
    if (coll->counts != NULL)
        count = 0;
    x->header = (dcmi_header){
        .kind = (uint32_t)coll->kind << 16 | (uint32_t)coll->dtype << 8 |
                (uint32_t)coll->op,
        .count = count,
        .shape = shape_of(c, coll),
    };
    if (c->arenas != NULL)
        find_arena(c, coll, x);
}

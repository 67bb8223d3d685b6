/* SPDX-License-Identifier: Apache-2.0 */
/* What each collective moves, seen from one rank. */
#include <string.h>

#include "backend/peer/exchange.h"

/* A number that differs when roots, rows or block sizes do. */
static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

static uint64_t shape_of(const dcm_coll *coll, int nranks)
{
    uint64_t h = mix(1, (uint64_t)coll->root);

    h = mix(h, coll->inner);
    if (coll->counts != NULL && coll->kind != DCM_COLL_ALL_TO_ALL) {
        for (int r = 0; r < nranks; r++)
            h = mix(h, coll->counts[r] + 1);
    }
    return h;
}

/* A buffer of the caller's, in elements of `item` bytes. */
typedef struct side {
    uint64_t base;
    size_t item;
    size_t count; /* of every block, where counts is NULL */
    const size_t *counts;
    const size_t *displs; /* NULL: packed */
} side;

static uint64_t block_bytes(const side *s, int r)
{
    return (uint64_t)(s->counts != NULL ? s->counts[r] : s->count) * s->item;
}

static uint64_t block_at(const side *s, int r)
{
    size_t before = 0;

    if (s->counts == NULL)
        before = (size_t)r * s->count;
    else if (s->displs != NULL)
        before = s->displs[r];
    else
        for (int i = 0; i < r; i++)
            before += s->counts[i];
    return s->base + (uint64_t)before * s->item;
}

static void give(dcmi_peer_moves *m, int to, uint64_t at, uint64_t bytes)
{
    m->out[to] = at;
    m->out_bytes[to] = bytes;
}

static void get(dcmi_peer_moves *m, int from, uint64_t at, uint64_t bytes)
{
    m->in[from] = at;
    m->in_bytes[from] = bytes;
}

/* One block of this rank to each of `ranks`, theirs in order into dst. */
static void gather(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                   int nranks)
{
    const bool is_all = coll->kind == DCM_COLL_ALL_GATHER;
    const side dst = {(uint64_t)(uintptr_t)coll->dst,
                      dcm_dtype_bytes(coll->dtype), coll->count, coll->counts,
                      coll->displs};

    for (int p = 0; p < nranks; p++) {
        if (is_all || p == coll->root)
            give(m, p, (uint64_t)(uintptr_t)coll->src, block_bytes(&dst, rank));
        if (is_all || rank == coll->root)
            get(m, p, block_at(&dst, p), block_bytes(&dst, p));
    }
    m->row = coll->inner * dst.item;
    m->pitch = m->row * (uint64_t)nranks;
    for (int p = 0; p < nranks && m->row != 0; p++)
        m->in[p] = dst.base + (uint64_t)p * m->row;
}

static void broadcast(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                      int nranks)
{
    const uint64_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);

    for (int p = 0; p < nranks && rank == coll->root; p++)
        give(m, p, (uint64_t)(uintptr_t)coll->src, bytes);
    get(m, coll->root, (uint64_t)(uintptr_t)coll->dst, bytes);
}

/* Block p of src to rank p; from where, `scatter` and `all_to_all` say. */
static void give_blocks(dcmi_peer_moves *m, const dcm_coll *coll, int nranks)
{
    const side src = {(uint64_t)(uintptr_t)coll->src,
                      dcm_dtype_bytes(coll->dtype), coll->count, coll->counts,
                      coll->kind == DCM_COLL_ALL_TO_ALL ? coll->displs : NULL};

    for (int p = 0; p < nranks; p++)
        give(m, p, block_at(&src, p), block_bytes(&src, p));
}

static void scatter(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                    int nranks)
{
    if (rank == coll->root)
        give_blocks(m, coll, nranks);
    get(m, coll->root, (uint64_t)(uintptr_t)coll->dst,
        coll->count * dcm_dtype_bytes(coll->dtype));
}

static void all_to_all(dcmi_peer_moves *m, const dcm_coll *coll, int nranks)
{
    const side dst = {(uint64_t)(uintptr_t)coll->dst,
                      dcm_dtype_bytes(coll->dtype), coll->count,
                      coll->recv_counts, coll->recv_displs};

    give_blocks(m, coll, nranks);
    for (int p = 0; p < nranks; p++)
        get(m, p, block_at(&dst, p), block_bytes(&dst, p));
    m->is_private = coll->counts != NULL;
}

/* Every rank sends as much to this one; it goes to one place. */
static void reduce(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                   int nranks)
{
    const uint64_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);

    if (coll->kind == DCM_COLL_REDUCE)
        give(m, coll->root, (uint64_t)(uintptr_t)coll->src, bytes);
    else
        give_blocks(m, coll, nranks);
    for (int p = 0; p < nranks; p++)
        get(m, p, (uint64_t)(uintptr_t)coll->dst, m->out_bytes[rank]);
    m->is_reduction = true;
}

static uint64_t largest(const dcm_coll *coll, int nranks)
{
    const uint64_t item = dcm_dtype_bytes(coll->dtype);
    uint64_t most = 0;

    if (coll->counts == NULL)
        return coll->count * item;
    for (int r = 0; r < nranks; r++)
        most = coll->counts[r] > most ? coll->counts[r] : most;
    return most * item;
}

void dcmi_peer_plan_moves(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                          int nranks)
{
    memset(m, 0, sizeof(*m));
    m->shape = shape_of(coll, nranks);
    m->largest = largest(coll, nranks);
    switch (coll->kind) {
    case DCM_COLL_ALL_GATHER:
    case DCM_COLL_GATHER:
        gather(m, coll, rank, nranks);
        break;
    case DCM_COLL_BROADCAST:
        broadcast(m, coll, rank, nranks);
        break;
    case DCM_COLL_SCATTER:
        scatter(m, coll, rank, nranks);
        break;
    case DCM_COLL_ALL_TO_ALL:
        all_to_all(m, coll, nranks);
        break;
    case DCM_COLL_REDUCE:
    case DCM_COLL_REDUCE_SCATTER:
        reduce(m, coll, rank, nranks);
        break;
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        break;
    }
    /* What lies there already needs no copy. */
    if (!m->is_reduction && m->row == 0 && m->out[rank] == m->in[rank]) {
        m->out_bytes[rank] = 0;
        m->in_bytes[rank] = 0;
    }
}

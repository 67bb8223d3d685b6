/* SPDX-License-Identifier: Apache-2.0 */
#include "coll_case.h"

#include <stdio.h>
#include <string.h>

#include "backend/cpu/reduce/reduce.h"
#include "base/parse.h"

enum {
    GAP = 3, /* elements between blocks of dst that have displacements */
    INNER = 7
};

static bool is_reduction(const coll_case *t)
{
    return t->kind == DCM_COLL_REDUCE || t->kind == DCM_COLL_REDUCE_SCATTER;
}

static bool is_private(const coll_case *t)
{
    return t->kind == DCM_COLL_ALL_TO_ALL && t->shape == COLL_UNEVEN;
}

bool coll_is_call(const coll_case *t)
{
    switch (t->kind) {
    case DCM_COLL_ALL_GATHER:
        return t->shape != COLL_INNER || t->count % INNER == 0;
    case DCM_COLL_REDUCE_SCATTER:
    case DCM_COLL_ALL_TO_ALL:
        return t->shape != COLL_INNER;
    case DCM_COLL_REDUCE:
    case DCM_COLL_BROADCAST:
    case DCM_COLL_GATHER:
    case DCM_COLL_SCATTER:
        return t->shape == COLL_EVEN;
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        return false;
    }
}

bool coll_may_alias(const coll_case *t, int rank)
{
    const bool is_rooted =
        t->kind == DCM_COLL_REDUCE || t->kind == DCM_COLL_BROADCAST ||
        t->kind == DCM_COLL_GATHER || t->kind == DCM_COLL_SCATTER;

    return t->shape != COLL_INNER && !is_private(t) &&
           (!is_rooted || rank == t->root);
}

/* Elements that `from` has for `to`: zero, small and full ones. */
static size_t pair_count(const coll_case *t, int from, int to)
{
    static const unsigned parts[] = {4, 0, 1, 3, 2};

    if (t->shape != COLL_UNEVEN)
        return t->count;
    if (!is_private(t))
        from = 0;
    return t->count * parts[(from * 3 + to) % 5] / 4;
}

/* Where block `to` of `from` begins, packed. */
static size_t packed_at(const coll_case *t, int from, int to)
{
    size_t at = 0;

    for (int i = 0; i < to; i++)
        at += pair_count(t, from, i);
    return at;
}

/* Where in dst of `rank` the block of `from` begins. */
static size_t dst_at(const coll_case *t, int rank, int from)
{
    size_t at = 0;

    if (t->shape != COLL_UNEVEN)
        return t->count * (size_t)from;
    if (t->kind == DCM_COLL_ALL_GATHER)
        return packed_at(t, 0, from) + (size_t)from * GAP;
    for (int i = 0; i < from; i++)
        at += pair_count(t, i, rank) + GAP;
    return at;
}

static size_t elements(const coll_case *t, int rank, bool is_dst)
{
    const size_t n = (size_t)t->nranks;
    const bool is_root = rank == t->root;

    switch (t->kind) {
    case DCM_COLL_REDUCE:
        return !is_dst || is_root ? t->count : 0;
    case DCM_COLL_BROADCAST:
        return is_dst || is_root ? t->count : 0;
    case DCM_COLL_GATHER:
        return !is_dst ? t->count : is_root ? n * t->count : 0;
    case DCM_COLL_SCATTER:
        return is_dst ? t->count : is_root ? n * t->count : 0;
    case DCM_COLL_ALL_GATHER:
        return is_dst ? dst_at(t, rank, t->nranks) : pair_count(t, 0, rank);
    case DCM_COLL_REDUCE_SCATTER:
        return is_dst ? pair_count(t, 0, rank) : packed_at(t, 0, t->nranks);
    case DCM_COLL_ALL_TO_ALL:
        return is_dst ? dst_at(t, rank, t->nranks)
                      : packed_at(t, rank, t->nranks);
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        return 0;
    }
}

size_t coll_src_bytes(const coll_case *t, int rank)
{
    return elements(t, rank, false) * dcm_dtype_bytes(t->dtype);
}

size_t coll_dst_bytes(const coll_case *t, int rank)
{
    return elements(t, rank, true) * dcm_dtype_bytes(t->dtype);
}

ptrdiff_t coll_place(const coll_case *t, int rank)
{
    const ptrdiff_t item = (ptrdiff_t)dcm_dtype_bytes(t->dtype);

    switch (t->kind) {
    case DCM_COLL_ALL_GATHER:
    case DCM_COLL_GATHER:
        return (ptrdiff_t)dst_at(t, rank, rank) * item;
    case DCM_COLL_SCATTER:
    case DCM_COLL_REDUCE_SCATTER:
        return -(ptrdiff_t)packed_at(t, 0, rank) * item;
    case DCM_COLL_REDUCE:
    case DCM_COLL_BROADCAST:
    case DCM_COLL_ALL_TO_ALL:
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        return 0;
    }
}

static void want_reduction(const coll_case *t, int rank,
                           unsigned char *const *inputs, unsigned char *want)
{
    const bool is_all = t->kind == DCM_COLL_REDUCE;
    const size_t item = dcm_dtype_bytes(t->dtype);
    const size_t count = is_all ? t->count : pair_count(t, 0, rank);
    const size_t skip = is_all ? 0 : packed_at(t, 0, rank);
    const void *src[COLL_RANKS];
    void *dst[1] = {want};

    if ((is_all && rank != t->root) || count == 0)
        return;
    for (int p = 0; p < t->nranks; p++)
        src[p] = inputs[p] + skip * item;
    dcmi_reduce_select("scalar")->fn[t->dtype][t->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = t->nranks,
        .avg_n = t->nranks,
        .count = count,
    });
}

static void want_rows(const coll_case *t, unsigned char *const *inputs,
                      unsigned char *want)
{
    const size_t row = INNER * dcm_dtype_bytes(t->dtype);
    const size_t n = (size_t)t->nranks;

    for (size_t i = 0; i < t->count / INNER; i++) {
        for (size_t p = 0; p < n; p++)
            memcpy(want + (i * n + p) * row, inputs[p] + i * row, row);
    }
}

/* Elements that come from `from` to `rank`, and where they are in its src. */
static size_t comes(const coll_case *t, int rank, int from, size_t *skip_p)
{
    *skip_p = 0;
    switch (t->kind) {
    case DCM_COLL_BROADCAST:
        return from == t->root ? t->count : 0;
    case DCM_COLL_SCATTER:
        *skip_p = (size_t)rank * t->count;
        return from == t->root ? t->count : 0;
    case DCM_COLL_GATHER:
        return rank == t->root ? t->count : 0;
    case DCM_COLL_ALL_GATHER:
        return pair_count(t, 0, from);
    case DCM_COLL_ALL_TO_ALL:
        *skip_p = packed_at(t, from, rank);
        return pair_count(t, from, rank);
    case DCM_COLL_REDUCE:
    case DCM_COLL_REDUCE_SCATTER:
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        return 0;
    }
}

void coll_want(const coll_case *t, int rank, unsigned char *const *inputs,
               unsigned char *want)
{
    const bool is_from_one =
        t->kind == DCM_COLL_BROADCAST || t->kind == DCM_COLL_SCATTER;
    const size_t item = dcm_dtype_bytes(t->dtype);

    if (is_reduction(t)) {
        want_reduction(t, rank, inputs, want);
        return;
    }
    if (t->shape == COLL_INNER) {
        want_rows(t, inputs, want);
        return;
    }
    for (int from = 0; from < t->nranks; from++) {
        size_t skip;
        const size_t count = comes(t, rank, from, &skip);
        const size_t at = is_from_one ? 0 : dst_at(t, rank, from);

        if (count != 0)
            memcpy(want + at * item, inputs[from] + skip * item, count * item);
    }
}

dcm_coll coll_call(const coll_case *t, int rank, coll_lists *l, const void *src,
                   void *dst, dcm_stream stream)
{
    dcm_coll c = {
        .size = sizeof(c),
        .src = src,
        .dst = dst,
        .count = t->count,
        .dtype = t->dtype,
        .op = is_reduction(t) ? t->op : DCM_SUM,
        .stream = stream,
        .kind = t->kind,
        .root = t->root,
        .inner = t->shape == COLL_INNER ? INNER : 0,
    };

    if (t->shape != COLL_UNEVEN)
        return c;
    for (int p = 0; p < t->nranks; p++) {
        l->counts[p] = pair_count(t, rank, p);
        l->displs[p] = t->kind == DCM_COLL_ALL_GATHER ? dst_at(t, rank, p)
                                                      : packed_at(t, rank, p);
        l->recv_counts[p] = pair_count(t, p, rank);
        l->recv_displs[p] = dst_at(t, rank, p);
    }
    c.count = 0;
    c.counts = l->counts;
    c.displs = t->kind != DCM_COLL_REDUCE_SCATTER ? l->displs : NULL;
    c.recv_counts = is_private(t) ? l->recv_counts : NULL;
    c.recv_displs = is_private(t) ? l->recv_displs : NULL;
    return c;
}

static dcm_status run_uneven(dcm_comm *comm, const coll_case *t,
                             const dcm_coll *c)
{
    if (t->kind == DCM_COLL_ALL_GATHER)
        return dcm_all_gather_v(comm, c->src, c->dst, c->counts, c->displs,
                                c->dtype, c->stream);
    if (t->kind == DCM_COLL_REDUCE_SCATTER)
        return dcm_reduce_scatter_v(comm, c->src, c->dst, c->counts, c->dtype,
                                    c->op, c->stream);
    return dcm_all_to_all_v(comm, c->src, c->counts, c->displs, c->dst,
                            c->recv_counts, c->recv_displs, c->dtype,
                            c->stream);
}

dcm_status coll_run(dcm_comm *comm, const coll_case *t, const void *src,
                    void *dst, dcm_stream stream)
{
    coll_lists lists;
    const dcm_coll c =
        coll_call(t, dcm_comm_rank(comm), &lists, src, dst, stream);

    if (t->shape == COLL_UNEVEN)
        return run_uneven(comm, t, &c);
    if (t->shape == COLL_INNER)
        return dcm_all_gather_inner(comm, src, dst, t->count / INNER, INNER,
                                    t->dtype, stream);
    switch (t->kind) {
    case DCM_COLL_REDUCE:
        return dcm_reduce(comm, src, dst, t->count, t->dtype, t->op, t->root,
                          stream);
    case DCM_COLL_BROADCAST:
        return dcm_broadcast(comm, src, dst, t->count, t->dtype, t->root,
                             stream);
    case DCM_COLL_GATHER:
        return dcm_gather(comm, src, dst, t->count, t->dtype, t->root, stream);
    case DCM_COLL_SCATTER:
        return dcm_scatter(comm, src, dst, t->count, t->dtype, t->root, stream);
    case DCM_COLL_ALL_GATHER:
        return dcm_all_gather(comm, src, dst, t->count, t->dtype, stream);
    case DCM_COLL_REDUCE_SCATTER:
        return dcm_reduce_scatter(comm, src, dst, t->count, t->dtype, t->op,
                                  stream);
    case DCM_COLL_ALL_TO_ALL:
        return dcm_all_to_all(comm, src, dst, t->count, t->dtype, stream);
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    default:
        return DCM_E_UNSUP;
    }
}

void coll_name(const coll_case *t, char *text, size_t bytes)
{
    static const char *const shapes[] = {
        [COLL_EVEN] = "", [COLL_INNER] = " inner", [COLL_UNEVEN] = " uneven"};

    (void)snprintf(text, bytes, "%s%s %s %s count %zu root %d of %d%s",
                   dcmi_coll_str(t->kind), shapes[t->shape],
                   dcm_dtype_str(t->dtype), dcm_op_str(t->op), t->count,
                   t->root, t->nranks, t->in_place ? " in place" : "");
}

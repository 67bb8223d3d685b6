/* SPDX-License-Identifier: Apache-2.0 */
/* The collectives beside all_reduce and barrier: their arguments, checked once. */
#include <string.h>

#include "base/err.h"
#include "base/parse.h"
#include "comm/comm.h"

/* What a call touches on this rank, in elements. */
typedef struct extent {
    size_t src;
    size_t dst;
    bool may_alias;   /* src may lie at element `place` of dst */
    ptrdiff_t place;  /* negative: dst lies at element -place of src */
    bool is_too_many; /* the counts overflow */
} extent;

static size_t times(size_t a, size_t b, extent *e)
{
    size_t product = 0;

    if (__builtin_mul_overflow(a, b, &product))
        e->is_too_many = true;
    return product;
}

/* The end of the last of a list of blocks. */
static size_t end_of(const size_t *counts, const size_t *displs, int n,
                     extent *e)
{
    size_t most = 0;
    size_t at = 0;
    size_t end;

    for (int r = 0; r < n; r++) {
        if (displs != NULL)
            at = displs[r];
        if (__builtin_add_overflow(at, counts[r], &end))
            e->is_too_many = true;
        else if (counts[r] > 0 && end > most)
            most = end;
        at = end;
    }
    return most;
}

static dcm_status check_buffers(const dcm_coll *coll, const extent *e)
{
    const char *what = dcmi_coll_str(coll->kind);
    const size_t item = dcm_dtype_bytes(coll->dtype);
    const size_t most = e->src > e->dst ? e->src : e->dst;
    const uintptr_t src = (uintptr_t)coll->src;
    const uintptr_t dst = (uintptr_t)coll->dst;

    if (e->is_too_many || most > PTRDIFF_MAX / item)
        return dcmi_err(DCM_E_INVAL,
                        "%s: the counts of %zu-byte elements overflow", what,
                        item);
    if ((e->src > 0 && coll->src == NULL) || (e->dst > 0 && coll->dst == NULL))
        return dcmi_err(DCM_E_INVAL, "%s: %s is NULL with %zu elements", what,
                        e->src > 0 && coll->src == NULL ? "src" : "dst",
                        e->src > 0 && coll->src == NULL ? e->src : e->dst);
    if (e->src == 0 || e->dst == 0 || src + e->src * item <= dst ||
        dst + e->dst * item <= src)
        return DCM_OK;
    if (e->may_alias && src - dst == (uintptr_t)(e->place * (ptrdiff_t)item))
        return DCM_OK;
    return dcmi_err(DCM_E_INVAL,
                    "%s: src %p (%zu bytes) and dst %p (%zu bytes) overlap "
                    "where they may not",
                    what, coll->src, e->src * item, coll->dst, e->dst * item);
}

static dcm_status submit(dcm_comm *comm, const dcm_coll *coll, const extent *e)
{
    const char *what = dcmi_coll_str(coll->kind);
    dcm_status st;

    if ((unsigned)coll->dtype >= DCM_NDTYPES)
        return dcmi_err(DCM_E_INVAL, "%s: there is no type %d", what,
                        (int)coll->dtype);
    if ((unsigned)coll->op >= DCM_NOPS)
        return dcmi_err(DCM_E_INVAL, "%s: there is no operator %d", what,
                        (int)coll->op);
    if (coll->root < 0 || coll->root >= dcm_comm_nranks(comm))
        return dcmi_err(DCM_E_INVAL, "%s: root %d of %d ranks", what,
                        coll->root, dcm_comm_nranks(comm));
    st = check_buffers(coll, e);
    if (st != DCM_OK)
        return st;
    return dcmi_scope_is_open() ? dcmi_scope_add(comm, coll)
                                : dcmi_coll_run(comm, coll);
}

static dcm_status no_comm(dcm_coll_kind kind)
{
    return dcmi_err(DCM_E_INVAL, "%s: no communicator", dcmi_coll_str(kind));
}

dcm_status dcm_reduce(dcm_comm *comm, const void *src, void *dst, size_t count,
                      dcm_dtype dtype, dcm_op op, int root, dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .op = op,
        .stream = stream,
        .kind = DCM_COLL_REDUCE,
        .root = root,
    };
    extent e = {.src = count, .may_alias = true};

    if (comm == NULL)
        return no_comm(coll.kind);
    e.dst = dcm_comm_rank(comm) == root ? count : 0;
    return submit(comm, &coll, &e);
}

dcm_status dcm_broadcast(dcm_comm *comm, const void *src, void *dst,
                         size_t count, dcm_dtype dtype, int root,
                         dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .stream = stream,
        .kind = DCM_COLL_BROADCAST,
        .root = root,
    };
    extent e = {.dst = count, .may_alias = true};

    if (comm == NULL)
        return no_comm(coll.kind);
    e.src = dcm_comm_rank(comm) == root ? count : 0;
    return submit(comm, &coll, &e);
}

dcm_status dcm_gather(dcm_comm *comm, const void *src, void *dst, size_t count,
                      dcm_dtype dtype, int root, dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .stream = stream,
        .kind = DCM_COLL_GATHER,
        .root = root,
    };
    extent e = {.src = count, .may_alias = true};

    if (comm == NULL)
        return no_comm(coll.kind);
    e.dst = times(count, (size_t)dcm_comm_nranks(comm), &e);
    e.place = (ptrdiff_t)(count * (size_t)dcm_comm_rank(comm));
    if (dcm_comm_rank(comm) != root)
        e.dst = 0;
    return submit(comm, &coll, &e);
}

dcm_status dcm_scatter(dcm_comm *comm, const void *src, void *dst, size_t count,
                       dcm_dtype dtype, int root, dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .stream = stream,
        .kind = DCM_COLL_SCATTER,
        .root = root,
    };
    extent e = {.dst = count, .may_alias = true};

    if (comm == NULL)
        return no_comm(coll.kind);
    e.src = times(count, (size_t)dcm_comm_nranks(comm), &e);
    e.place = -(ptrdiff_t)(count * (size_t)dcm_comm_rank(comm));
    if (dcm_comm_rank(comm) != root)
        e.src = 0;
    return submit(comm, &coll, &e);
}

static dcm_status gather_all(dcm_comm *comm, dcm_coll *coll, extent *e)
{
    const int rank = dcm_comm_rank(comm);
    const int n = dcm_comm_nranks(comm);
    size_t place = 0;

    coll->size = sizeof(*coll);
    coll->kind = DCM_COLL_ALL_GATHER;
    if (coll->counts == NULL) {
        e->src = coll->count;
        e->dst = times(coll->count, (size_t)n, e);
        place = coll->count * (size_t)rank;
    } else {
        e->src = coll->counts[rank];
        e->dst = end_of(coll->counts, coll->displs, n, e);
        place = coll->displs != NULL ? coll->displs[rank]
                                     : end_of(coll->counts, NULL, rank, e);
    }
    e->place = (ptrdiff_t)place;
    return submit(comm, coll, e);
}

dcm_status dcm_all_gather(dcm_comm *comm, const void *src, void *dst,
                          size_t count, dcm_dtype dtype, dcm_stream stream)
{
    dcm_coll coll = {
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .stream = stream,
    };
    extent e = {.may_alias = true};

    if (comm == NULL)
        return no_comm(DCM_COLL_ALL_GATHER);
    return gather_all(comm, &coll, &e);
}

dcm_status dcm_all_gather_inner(dcm_comm *comm, const void *src, void *dst,
                                size_t outer, size_t inner, dcm_dtype dtype,
                                dcm_stream stream)
{
    dcm_coll coll = {
        .src = src,
        .dst = dst,
        .dtype = dtype,
        .stream = stream,
        .inner = inner,
    };
    extent e = {.may_alias = false};

    if (comm == NULL)
        return no_comm(DCM_COLL_ALL_GATHER);
    coll.count = times(outer, inner, &e);
    return gather_all(comm, &coll, &e);
}

dcm_status dcm_all_gather_v(dcm_comm *comm, const void *src, void *dst,
                            const size_t *counts, const size_t *displs,
                            dcm_dtype dtype, dcm_stream stream)
{
    dcm_coll coll = {
        .src = src,
        .dst = dst,
        .dtype = dtype,
        .stream = stream,
        .counts = counts,
        .displs = displs,
    };
    extent e = {.may_alias = true};

    if (comm == NULL)
        return no_comm(DCM_COLL_ALL_GATHER);
    if (counts == NULL)
        return dcmi_err(DCM_E_INVAL, "all_gather: counts is NULL");
    return gather_all(comm, &coll, &e);
}

static dcm_status reduce_scatter(dcm_comm *comm, dcm_coll *coll, extent *e)
{
    const int rank = dcm_comm_rank(comm);
    const int n = dcm_comm_nranks(comm);
    size_t place;

    coll->size = sizeof(*coll);
    coll->kind = DCM_COLL_REDUCE_SCATTER;
    if (coll->counts == NULL) {
        e->dst = coll->count;
        e->src = times(coll->count, (size_t)n, e);
        place = coll->count * (size_t)rank;
    } else {
        e->dst = coll->counts[rank];
        e->src = end_of(coll->counts, NULL, n, e);
        place = end_of(coll->counts, NULL, rank, e);
    }
    e->place = -(ptrdiff_t)place;
    return submit(comm, coll, e);
}

dcm_status dcm_reduce_scatter(dcm_comm *comm, const void *src, void *dst,
                              size_t count, dcm_dtype dtype, dcm_op op,
                              dcm_stream stream)
{
    dcm_coll coll = {
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .op = op,
        .stream = stream,
    };
    extent e = {.may_alias = true};

    if (comm == NULL)
        return no_comm(DCM_COLL_REDUCE_SCATTER);
    return reduce_scatter(comm, &coll, &e);
}

dcm_status dcm_reduce_scatter_v(dcm_comm *comm, const void *src, void *dst,
                                const size_t *counts, dcm_dtype dtype,
                                dcm_op op, dcm_stream stream)
{
    dcm_coll coll = {
        .src = src,
        .dst = dst,
        .dtype = dtype,
        .op = op,
        .stream = stream,
        .counts = counts,
    };
    extent e = {.may_alias = true};

    if (comm == NULL)
        return no_comm(DCM_COLL_REDUCE_SCATTER);
    if (counts == NULL)
        return dcmi_err(DCM_E_INVAL, "reduce_scatter: counts is NULL");
    return reduce_scatter(comm, &coll, &e);
}

dcm_status dcm_all_to_all(dcm_comm *comm, const void *src, void *dst,
                          size_t count, dcm_dtype dtype, dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .stream = stream,
        .kind = DCM_COLL_ALL_TO_ALL,
    };
    extent e = {.may_alias = true};

    if (comm == NULL)
        return no_comm(coll.kind);
    e.src = times(count, (size_t)dcm_comm_nranks(comm), &e);
    e.dst = e.src;
    return submit(comm, &coll, &e);
}

dcm_status dcm_all_to_all_v(dcm_comm *comm, const void *src,
                            const size_t *send_counts,
                            const size_t *send_displs, void *dst,
                            const size_t *recv_counts,
                            const size_t *recv_displs, dcm_dtype dtype,
                            dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .dtype = dtype,
        .stream = stream,
        .kind = DCM_COLL_ALL_TO_ALL,
        .counts = send_counts,
        .displs = send_displs,
        .recv_counts = recv_counts,
        .recv_displs = recv_displs,
    };
    extent e = {.may_alias = false};
    int rank;
    int n;

    if (comm == NULL)
        return no_comm(coll.kind);
    if (send_counts == NULL || recv_counts == NULL)
        return dcmi_err(DCM_E_INVAL, "all_to_all: counts is NULL");
    rank = dcm_comm_rank(comm);
    n = dcm_comm_nranks(comm);
    if (send_counts[rank] != recv_counts[rank])
        return dcmi_err(DCM_E_INVAL,
                        "all_to_all: rank %d sends itself %zu elements and "
                        "awaits %zu",
                        rank, send_counts[rank], recv_counts[rank]);
    e.src = end_of(send_counts, send_displs, n, &e);
    e.dst = end_of(recv_counts, recv_displs, n, &e);
    return submit(comm, &coll, &e);
}

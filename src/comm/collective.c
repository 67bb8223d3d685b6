/* SPDX-License-Identifier: Apache-2.0 */
/* Collective calls: arguments are checked here, once, for every backend. */
#include "comm/comm.h"

#include "base/err.h"

static DCMI_COLD dcm_status complain(const char *what, const dcm_coll *c)
{
    if ((unsigned)c->dtype >= DCM_NDTYPES)
        return dcmi_err(DCM_E_INVAL, "%s: there is no type %d", what,
                        (int)c->dtype);
    if ((unsigned)c->op >= DCM_NOPS)
        return dcmi_err(DCM_E_INVAL, "%s: there is no operator %d", what,
                        (int)c->op);
    if (c->count > PTRDIFF_MAX / dcm_dtype_bytes(c->dtype))
        return dcmi_err(DCM_E_INVAL, "%s: %zu elements of %zu bytes overflow",
                        what, c->count, dcm_dtype_bytes(c->dtype));
    if (c->src == NULL || c->dst == NULL)
        return dcmi_err(DCM_E_INVAL, "%s: %s is NULL with %zu elements", what,
                        c->src == NULL ? "src" : "dst", c->count);
    return dcmi_err(DCM_E_INVAL,
                    "%s: src %p and dst %p overlap in part (%zu bytes)", what,
                    c->src, c->dst, c->count * dcm_dtype_bytes(c->dtype));
}

static bool is_valid(const dcm_coll *c)
{
    const uintptr_t src = (uintptr_t)c->src;
    const uintptr_t dst = (uintptr_t)c->dst;
    size_t bytes;

    if ((unsigned)c->dtype >= DCM_NDTYPES || (unsigned)c->op >= DCM_NOPS)
        return false;
    if (c->count == 0)
        return true;
    bytes = dcm_dtype_bytes(c->dtype);
    if (c->count > PTRDIFF_MAX / bytes || c->src == NULL || c->dst == NULL)
        return false;
    bytes *= c->count;
    return src == dst || (src < dst ? dst - src : src - dst) >= bytes;
}

static dcm_status call(dcm_comm *comm, const dcm_coll *coll)
{
    if (DCMI_LIKELY(coll->kind == DCM_COLL_ALL_REDUCE))
        return comm->ops->all_reduce(comm->ctx, coll);
    if (coll->kind == DCM_COLL_BARRIER)
        return comm->ops->barrier(comm->ctx, coll);
    return comm->ops->collective(comm->ctx, coll);
}

dcm_status dcmi_coll_run(dcm_comm *comm, const dcm_coll *coll)
{
    dcm_status st = dcmi_comm_enter(comm);

    if (DCMI_UNLIKELY(st != DCM_OK)) {
        /* E_INVAL: a forked child, and the record is its parent's. */
        if (st != DCM_E_INVAL)
            dcmi_record_refused(&comm->team.recorder, coll,
                                comm->operations + 1, comm->team.nranks, st);
        return st;
    }
    comm->operations++;
    comm->team.epoch = comm->operations;
    dcmi_record_begin(&comm->team.recorder, coll, comm->operations,
                      comm->team.nranks);
    st = call(comm, coll);
    dcmi_record_end(&comm->team.recorder, st);
    if (DCMI_UNLIKELY(st == DCM_E_INVAL))
        comm->operations--; /* it has not begun */
    if (DCMI_UNLIKELY(comm->check != NULL) && st == DCM_OK)
        st = dcmi_check_after(comm);
    return st;
}

dcm_status dcm_all_reduce(dcm_comm *comm, const void *src, void *dst,
                          size_t count, dcm_dtype dtype, dcm_op op,
                          dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = src,
        .dst = dst,
        .count = count,
        .dtype = dtype,
        .op = op,
        .stream = stream,
        .kind = DCM_COLL_ALL_REDUCE,
    };

    if (DCMI_UNLIKELY(comm == NULL))
        return dcmi_err(DCM_E_INVAL, "all_reduce: no communicator");
    if (DCMI_UNLIKELY(!is_valid(&coll)))
        return complain("all_reduce", &coll);
    if (DCMI_UNLIKELY(dcmi_scope_is_open()))
        return dcmi_scope_add(comm, &coll);
    return dcmi_coll_run(comm, &coll);
}

dcm_status dcm_barrier(dcm_comm *comm, dcm_stream stream)
{
    const dcm_coll coll = {
        .size = sizeof(coll),
        .stream = stream,
        .kind = DCM_COLL_BARRIER,
    };

    if (DCMI_UNLIKELY(comm == NULL))
        return dcmi_err(DCM_E_INVAL, "barrier: no communicator");
    if (DCMI_UNLIKELY(dcmi_scope_is_open()))
        return dcmi_scope_add(comm, &coll);
    return dcmi_coll_run(comm, &coll);
}

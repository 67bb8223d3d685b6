/* SPDX-License-Identifier: Apache-2.0 */
/* send and recv: their arguments, checked once, and their run. */
#include "base/err.h"
#include "base/parse.h"
#include "comm/comm.h"

dcm_status dcmi_messages_run(dcm_comm *comm, const dcm_coll *const *calls,
                             size_t n_calls)
{
    const uint64_t before = comm->messages;
    dcm_status st = dcmi_comm_enter(comm);

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    for (size_t i = 0; i < n_calls; i++)
        dcmi_record_begin(&comm->team.recorder, calls[i], ++comm->messages,
                          comm->team.nranks);
    comm->team.epoch = comm->messages;
    st = comm->ops->messages(comm->ctx, calls, n_calls);
    dcmi_record_end_all(&comm->team.recorder, n_calls, st);
    if (DCMI_UNLIKELY(st == DCM_E_INVAL))
        comm->messages = before; /* none has begun */
    return st;
}

static dcm_status check(const dcm_comm *comm, const dcm_coll *coll)
{
    const char *what = dcmi_coll_str(coll->kind);
    const bool is_send = coll->kind == DCM_COLL_SEND;
    const void *buffer = is_send ? coll->src : coll->dst;

    if ((unsigned)coll->dtype >= DCM_NDTYPES)
        return dcmi_err(DCM_E_INVAL, "%s: there is no type %d", what,
                        (int)coll->dtype);
    if (coll->root < 0 || coll->root >= dcm_comm_nranks(comm))
        return dcmi_err(DCM_E_INVAL, "%s: peer %d of %d ranks", what,
                        coll->root, dcm_comm_nranks(comm));
    if (coll->count > PTRDIFF_MAX / dcm_dtype_bytes(coll->dtype))
        return dcmi_err(DCM_E_INVAL, "%s: %zu elements of %zu bytes overflow",
                        what, coll->count, dcm_dtype_bytes(coll->dtype));
    if (coll->count > 0 && buffer == NULL)
        return dcmi_err(DCM_E_INVAL, "%s: %s is NULL with %zu elements", what,
                        is_send ? "src" : "dst", coll->count);
    if (coll->root == dcm_comm_rank(comm) && !dcmi_scope_is_open())
        return dcmi_err(DCM_E_INVAL,
                        "%s: rank %d calls itself, which needs both calls "
                        "between dcm_begin and dcm_end",
                        what, coll->root);
    return DCM_OK;
}

static dcm_status submit(dcm_comm *comm, const dcm_coll *coll)
{
    dcm_status st;

    if (DCMI_UNLIKELY(comm == NULL))
        return dcmi_err(DCM_E_INVAL, "%s: no communicator",
                        dcmi_coll_str(coll->kind));
    st = check(comm, coll);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    return dcmi_scope_is_open() ? dcmi_scope_add(comm, coll)
                                : dcmi_messages_run(comm, &coll, 1);
}

dcm_status dcm_send(dcm_comm *comm, const void *src, size_t count,
                    dcm_dtype dtype, int peer, dcm_stream stream)
{
    return submit(comm, &(dcm_coll){
                            .size = sizeof(dcm_coll),
                            .src = src,
                            .count = count,
                            .dtype = dtype,
                            .stream = stream,
                            .kind = DCM_COLL_SEND,
                            .root = peer,
                        });
}

dcm_status dcm_recv(dcm_comm *comm, void *dst, size_t count, dcm_dtype dtype,
                    int peer, dcm_stream stream)
{
    return submit(comm, &(dcm_coll){
                            .size = sizeof(dcm_coll),
                            .dst = dst,
                            .count = count,
                            .dtype = dtype,
                            .stream = stream,
                            .kind = DCM_COLL_RECV,
                            .root = peer,
                        });
}

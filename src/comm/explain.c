/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the backend which path a call would take. */
#include <string.h>

#include "base/err.h"
#include "base/opts.h"
#include "base/parse.h"
#include "comm/comm.h"

static dcm_status explain(dcm_comm *comm, char *text, size_t bytes,
                          const dcm_coll *coll)
{
    if (comm == NULL || text == NULL || bytes == 0)
        return dcmi_err(DCM_E_INVAL, "explain: NULL argument");
    if ((unsigned)coll->dtype >= DCM_NDTYPES ||
        (unsigned)coll->op >= DCM_NOPS ||
        coll->count > PTRDIFF_MAX / dcm_dtype_bytes(coll->dtype) ||
        coll->root < 0 || coll->root >= dcm_comm_nranks(comm))
        return dcmi_err(DCM_E_INVAL, "explain: no such call");
    return comm->ops->explain(comm->ctx, text, bytes, coll);
}

dcm_status dcm_comm_explain(dcm_comm *comm, char *text, size_t bytes,
                            const void *src, void *dst, size_t count,
                            dcm_dtype dtype, dcm_op op)
{
    return explain(comm, text, bytes,
                   &(dcm_coll){
                       .size = sizeof(dcm_coll),
                       .src = src,
                       .dst = dst,
                       .count = count,
                       .dtype = dtype,
                       .op = op,
                       .kind = DCM_COLL_ALL_REDUCE,
                   });
}

static bool find_kind(dcm_coll_kind *kind_p, const char *name)
{
    static const struct {
        const char *name;
        dcm_coll_kind kind;
    } kinds[] = {
#define DCM_X(id, value, text) {text, DCM_COLL_##id},
        DCM_COLL_MAP(DCM_X)
#undef DCM_X
    };

    for (size_t i = 0; i < DCMI_ARRAY_LEN(kinds); i++) {
        if (strcmp(kinds[i].name, name) != 0)
            continue;
        *kind_p = kinds[i].kind;
        return true;
    }
    return false;
}

dcm_status dcm_comm_explain_call(dcm_comm *comm, char *text, size_t bytes,
                                 const dcm_call *call)
{
    dcm_coll coll = {.size = sizeof(coll)};
    dcm_call c;
    dcm_status st;

    if (call == NULL)
        return dcmi_err(DCM_E_INVAL, "explain: NULL argument");
    st = dcmi_opts_copy(&c, sizeof(c), call, "dcm_call");
    if (st != DCM_OK)
        return st;
    if (c.name == NULL || !find_kind(&coll.kind, c.name))
        return dcmi_err(DCM_E_INVAL, "explain: there is no operation %s",
                        c.name != NULL ? c.name : "without a name");
    if (coll.kind == DCM_COLL_ALL_TO_ALL &&
        (c.counts == NULL) != (c.recv_counts == NULL))
        return dcmi_err(DCM_E_INVAL, "explain: all_to_all with one of two "
                                     "lists of counts");
    coll.src = c.src;
    coll.dst = c.dst;
    coll.count = c.counts != NULL ? 0 : c.count;
    coll.dtype = c.dtype;
    coll.op = c.op;
    coll.root = c.root;
    coll.inner = c.inner;
    coll.counts = c.counts;
    coll.recv_counts = c.recv_counts;
    return explain(comm, text, bytes, &coll);
}

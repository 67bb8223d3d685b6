/* SPDX-License-Identifier: Apache-2.0 */
#include "ops.h"

#include <dlfcn.h>

#include "coll_case.h"

enum {
    NCCL_BF16 = 9,
    NCCL_SUM = 0
};

static const struct {
    const char *name;
    dcm_coll_kind kind; /* of messages: SEND */
    bool is_total;      /* bytes are those of all ranks together */
} ops[OPS] = {
    [OP_ALL_REDUCE] = {"all_reduce", DCM_COLL_ALL_REDUCE, false},
    [OP_ALL_GATHER] = {"all_gather", DCM_COLL_ALL_GATHER, true},
    [OP_REDUCE_SCATTER] = {"reduce_scatter", DCM_COLL_REDUCE_SCATTER, true},
    [OP_BROADCAST] = {"broadcast", DCM_COLL_BROADCAST, false},
    [OP_REDUCE] = {"reduce", DCM_COLL_REDUCE, false},
    [OP_ALL_TO_ALL] = {"all_to_all", DCM_COLL_ALL_TO_ALL, true},
    [OP_RING] = {"ring", DCM_COLL_SEND, false},
    [OP_PING_PONG] = {"ping_pong", DCM_COLL_SEND, false},
};

op_kind op_by_name(const char *name)
{
    for (int i = 0; i < OPS; i++) {
        if (strcmp(ops[i].name, name) == 0)
            return (op_kind)i;
    }
    return OPS;
}

const char *op_name(op_kind op)
{
    return ops[op].name;
}

/* Elements of a block. */
static size_t count_of(const op_call *c)
{
    const size_t count = c->bytes / 2;

    return ops[c->op].is_total ? count / (size_t)c->nranks : count;
}

static coll_case case_of(const op_call *c)
{
    return (coll_case){.kind = ops[c->op].kind,
                       .dtype = DCM_BF16,
                       .op = DCM_SUM,
                       .count = count_of(c),
                       .nranks = c->nranks};
}

dcm_call op_explained(const op_call *c)
{
    dcm_call one = DCM_CALL_INIT;

    one.name = ops[c->op].kind == DCM_COLL_SEND ? "send" : ops[c->op].name;
    one.count = count_of(c);
    one.dtype = DCM_BF16;
    return one;
}

/* The rank that this one talks with in turns; itself: none. */
static int partner(const op_call *c)
{
    const int p = c->rank ^ 1;

    return p < c->nranks ? p : c->rank;
}

/* ---- ours ----------------------------------------------------------------- */

static dcm_status ring(dcm_comm *comm, const op_call *c)
{
    const int n = c->nranks;
    dcm_status st = dcm_begin();

    if (st == DCM_OK)
        st = dcm_send(comm, c->src, count_of(c), DCM_BF16, (c->rank + 1) % n,
                      c->stream);
    if (st == DCM_OK)
        st = dcm_recv(comm, c->dst, count_of(c), DCM_BF16,
                      (c->rank + n - 1) % n, c->stream);
    return st == DCM_OK ? dcm_end() : st;
}

static dcm_status ping_pong(dcm_comm *comm, const op_call *c)
{
    const bool is_first = c->rank % 2 == 0;
    const int p = partner(c);
    dcm_status st = DCM_OK;

    if (p == c->rank)
        return DCM_OK;
    if (is_first)
        st = dcm_send(comm, c->src, count_of(c), DCM_BF16, p, c->stream);
    if (st == DCM_OK)
        st = dcm_recv(comm, c->dst, count_of(c), DCM_BF16, p, c->stream);
    if (st == DCM_OK && !is_first)
        st = dcm_send(comm, c->src, count_of(c), DCM_BF16, p, c->stream);
    return st;
}

dcm_status op_run(dcm_comm *comm, const op_call *c)
{
    const coll_case t = case_of(c);

    if (c->op == OP_RING)
        return ring(comm, c);
    if (c->op == OP_PING_PONG)
        return ping_pong(comm, c);
    if (c->op == OP_ALL_REDUCE)
        return dcm_all_reduce(comm, c->src, c->dst, count_of(c), DCM_BF16,
                              DCM_SUM, c->stream);
    return coll_run(comm, &t, c->src, c->dst, c->stream);
}

/* ---- NCCL's --------------------------------------------------------------- */

static bool find(void *dl, void *fn_p, const char *name)
{
    void *symbol = dlsym(dl, name);

    memcpy(fn_p, &symbol, sizeof(symbol));
    return symbol != NULL;
}

bool op_nccl_find(op_nccl *n, void *dl)
{
    return find(dl, &n->all_gather, "ncclAllGather") &&
           find(dl, &n->reduce_scatter, "ncclReduceScatter") &&
           find(dl, &n->broadcast, "ncclBroadcast") &&
           find(dl, &n->reduce, "ncclReduce") &&
           find(dl, &n->send, "ncclSend") && find(dl, &n->recv, "ncclRecv") &&
           find(dl, &n->begin, "ncclGroupStart") &&
           find(dl, &n->end, "ncclGroupEnd");
}

/* Side by side: what goes to `to` and comes from `from`; all ranks: all_to_all. */
static int side_by_side(const op_nccl *n, void *comm, const op_call *c)
{
    const size_t block = count_of(c) * 2;
    int rc = n->begin();

    for (int p = 0; p < c->nranks && rc == 0; p++) {
        const bool is_all = c->op == OP_ALL_TO_ALL;
        const size_t at = is_all ? block * (size_t)p : 0;

        if (is_all || p == (c->rank + 1) % c->nranks)
            rc = n->send((const char *)c->src + at, count_of(c), NCCL_BF16, p,
                         comm, c->stream);
        if (rc == 0 && (is_all || p == (c->rank + c->nranks - 1) % c->nranks))
            rc = n->recv((char *)c->dst + at, count_of(c), NCCL_BF16, p, comm,
                         c->stream);
    }
    return rc == 0 ? n->end() : rc;
}

static int ping_pong_nccl(const op_nccl *n, void *comm, const op_call *c)
{
    const bool is_first = c->rank % 2 == 0;
    const int p = partner(c);
    int rc = 0;

    if (p == c->rank)
        return 0;
    if (is_first)
        rc = n->send(c->src, count_of(c), NCCL_BF16, p, comm, c->stream);
    if (rc == 0)
        rc = n->recv(c->dst, count_of(c), NCCL_BF16, p, comm, c->stream);
    if (rc == 0 && !is_first)
        rc = n->send(c->src, count_of(c), NCCL_BF16, p, comm, c->stream);
    return rc;
}

int op_run_nccl(const op_nccl *n, void *comm, const op_call *c)
{
    const size_t count = count_of(c);

    switch (c->op) {
    case OP_ALL_GATHER:
        return n->all_gather(c->src, c->dst, count, NCCL_BF16, comm, c->stream);
    case OP_REDUCE_SCATTER:
        return n->reduce_scatter(c->src, c->dst, count, NCCL_BF16, NCCL_SUM,
                                 comm, c->stream);
    case OP_BROADCAST:
        return n->broadcast(c->src, c->dst, count, NCCL_BF16, 0, comm,
                            c->stream);
    case OP_REDUCE:
        return n->reduce(c->src, c->dst, count, NCCL_BF16, NCCL_SUM, 0, comm,
                         c->stream);
    case OP_ALL_TO_ALL:
    case OP_RING:
        return side_by_side(n, comm, c);
    case OP_PING_PONG:
        return ping_pong_nccl(n, comm, c);
    case OP_ALL_REDUCE:
    case OPS:
    default:
        return 1;
    }
}

/* ---- results -------------------------------------------------------------- */

size_t op_wrong(const op_call *c, unsigned char *const *inputs,
                const unsigned char *got)
{
    const coll_case t = case_of(c);
    const bool is_message = ops[c->op].kind == DCM_COLL_SEND;
    const size_t bytes =
        is_message ? count_of(c) * 2 : coll_dst_bytes(&t, c->rank);
    const int from =
        c->op == OP_RING ? (c->rank + c->nranks - 1) % c->nranks : partner(c);
    unsigned char *want = malloc(bytes + 1);
    size_t bad = 0;

    gpu_die_unless(want != NULL);
    if (!is_message)
        coll_want(&t, c->rank, inputs, want);
    else if (from != c->rank)
        memcpy(want, inputs[from], bytes);
    for (size_t i = 0; i < bytes && !(is_message && from == c->rank); i++)
        bad += got[i] != want[i];
    free(want);
    return bad;
}

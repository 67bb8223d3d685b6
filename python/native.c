/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Python package adds to the library: a call that is made once and run
 * often.  One argument is converted instead of nine, and the checks that Python
 * needs and C does not are made here: a communicator that was closed, or that
 * another thread is using, is refused.
 */
#include <devcomm/devcomm.h>
#include <devcomm/queue.h>

#include <string.h>

/* cffi */
/* Beside those of dcm_status; see devcomm/errors.py. */
enum {
    DCMPY_CLOSED = -100,
    DCMPY_IN_USE = -101,
    DCMPY_VERSION = DCM_VERSION,
};

/* A communicator as the calls prepared for it see it. */
typedef struct dcmpy_comm {
    dcm_comm *comm; /* NULL: closed */
    int in_use;     /* by a thread, now */
} dcmpy_comm;

typedef enum dcmpy_kind {
    DCMPY_ALL_REDUCE,
    DCMPY_REDUCE,
    DCMPY_BROADCAST,
    DCMPY_GATHER,
    DCMPY_SCATTER,
    DCMPY_ALL_GATHER,
    DCMPY_ALL_GATHER_INNER,
    DCMPY_ALL_GATHER_V,
    DCMPY_REDUCE_SCATTER,
    DCMPY_REDUCE_SCATTER_V,
    DCMPY_ALL_TO_ALL,
    DCMPY_ALL_TO_ALL_V,
    DCMPY_SEND,
    DCMPY_RECV,
    DCMPY_BARRIER,
} dcmpy_kind;

/* The arguments of any collective; what one does not have is zero. */
typedef struct dcmpy_call {
    dcmpy_comm *owner;
    int kind;
    int dtype;
    int op;
    int root; /* or the peer of a message */
    const void *src;
    void *dst;
    size_t count; /* or the rows of an inner gather */
    size_t inner;
    size_t *counts; /* of an all_to_all_v what is sent */
    size_t *displs;
    size_t *recv_counts;
    size_t *recv_displs;
    void *stream;
} dcmpy_call;

int dcmpy_run(dcmpy_call *call);

/* Marks the communicator as in use by this thread; 0, or one of DCMPY_*. */
int dcmpy_enter(dcmpy_comm *owner);
void dcmpy_leave(dcmpy_comm *owner);

/* A record of a zero byte and `n` more; dcm_status. */
int dcmpy_send(dcm_queue *queue, const char *data, size_t n, uint32_t ms);

/* The next record; its length, or what of dcm_status is below zero. */
int64_t dcmpy_take(dcm_queue *queue, char *dst, size_t capacity, uint32_t ms);

/* DLPack, version 0: https://dmlc.github.io/dlpack/ */
typedef struct dcmpy_dltensor {
    void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} dcmpy_dltensor;
/* end */

int dcmpy_enter(dcmpy_comm *owner)
{
    if (__atomic_exchange_n(&owner->in_use, 1, __ATOMIC_ACQUIRE) != 0)
        return DCMPY_IN_USE;
    if (owner->comm != NULL)
        return DCM_OK;
    dcmpy_leave(owner);
    return DCMPY_CLOSED;
}

void dcmpy_leave(dcmpy_comm *owner)
{
    __atomic_store_n(&owner->in_use, 0, __ATOMIC_RELEASE);
}

static int move(const dcmpy_call *c, dcm_comm *comm)
{
    dcm_dtype dtype = (dcm_dtype)c->dtype;

    switch ((dcmpy_kind)c->kind) {
    case DCMPY_BROADCAST:
        return dcm_broadcast(comm, c->src, c->dst, c->count, dtype, c->root,
                             c->stream);
    case DCMPY_GATHER:
        return dcm_gather(comm, c->src, c->dst, c->count, dtype, c->root,
                          c->stream);
    case DCMPY_SCATTER:
        return dcm_scatter(comm, c->src, c->dst, c->count, dtype, c->root,
                           c->stream);
    case DCMPY_ALL_GATHER:
        return dcm_all_gather(comm, c->src, c->dst, c->count, dtype, c->stream);
    case DCMPY_ALL_GATHER_INNER:
        return dcm_all_gather_inner(comm, c->src, c->dst, c->count, c->inner,
                                    dtype, c->stream);
    case DCMPY_ALL_GATHER_V:
        return dcm_all_gather_v(comm, c->src, c->dst, c->counts, c->displs,
                                dtype, c->stream);
    case DCMPY_ALL_TO_ALL:
        return dcm_all_to_all(comm, c->src, c->dst, c->count, dtype, c->stream);
    case DCMPY_ALL_TO_ALL_V:
        return dcm_all_to_all_v(comm, c->src, c->counts, c->displs, c->dst,
                                c->recv_counts, c->recv_displs, dtype,
                                c->stream);
    case DCMPY_SEND:
        return dcm_send(comm, c->src, c->count, dtype, c->root, c->stream);
    case DCMPY_RECV:
        return dcm_recv(comm, c->dst, c->count, dtype, c->root, c->stream);
    case DCMPY_BARRIER:
        return dcm_barrier(comm, c->stream);
    case DCMPY_ALL_REDUCE:
    case DCMPY_REDUCE:
    case DCMPY_REDUCE_SCATTER:
    case DCMPY_REDUCE_SCATTER_V:
        break;
    }
    return DCM_E_INVAL;
}

static int run(const dcmpy_call *c, dcm_comm *comm)
{
    dcm_dtype dtype = (dcm_dtype)c->dtype;
    dcm_op op = (dcm_op)c->op;

    switch (c->kind) {
    case DCMPY_ALL_REDUCE:
        return dcm_all_reduce(comm, c->src, c->dst, c->count, dtype, op,
                              c->stream);
    case DCMPY_REDUCE:
        return dcm_reduce(comm, c->src, c->dst, c->count, dtype, op, c->root,
                          c->stream);
    case DCMPY_REDUCE_SCATTER:
        return dcm_reduce_scatter(comm, c->src, c->dst, c->count, dtype, op,
                                  c->stream);
    case DCMPY_REDUCE_SCATTER_V:
        return dcm_reduce_scatter_v(comm, c->src, c->dst, c->counts, dtype, op,
                                    c->stream);
    default:
        return move(c, comm);
    }
}

int dcmpy_run(dcmpy_call *call)
{
    int st = dcmpy_enter(call->owner);

    if (st != DCM_OK)
        return st;
    st = run(call, call->owner->comm);
    dcmpy_leave(call->owner);
    return st;
}

int dcmpy_send(dcm_queue *queue, const char *data, size_t n, uint32_t ms)
{
    const dcm_queue_part parts[] = {{"", 1}, {data, n}};

    return dcm_queue_enqueue_v(queue, parts, 2, ms);
}

int64_t dcmpy_take(dcm_queue *queue, char *dst, size_t capacity, uint32_t ms)
{
    size_t n;
    int st = dcm_queue_dequeue(queue, &n, dst, capacity, ms);

    return st == DCM_OK ? (int64_t)n : st;
}

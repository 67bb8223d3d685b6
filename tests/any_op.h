/* SPDX-License-Identifier: Apache-2.0 */
/* Any collective of a communicator by its kind, for tests of what goes wrong. */
#ifndef DCM_TEST_ANY_OP_H
#define DCM_TEST_ANY_OP_H

#include <devcomm/backend.h>

/* To the next rank and from the one before, side by side. */
static inline dcm_status test_messages(dcm_comm *comm, const void *src,
                                       void *dst, size_t count, dcm_dtype dtype)
{
    const int rank = dcm_comm_rank(comm);
    const int n = dcm_comm_nranks(comm);
    dcm_status st = dcm_begin();

    if (st == DCM_OK)
        st = dcm_send(comm, src, count, dtype, (rank + 1) % n, NULL);
    if (st == DCM_OK)
        st = dcm_recv(comm, dst, count, dtype, (rank + n - 1) % n, NULL);
    return st == DCM_OK ? dcm_end() : st;
}

/*
 * One call of `count` elements a block; src and dst have a block a rank.  Sums,
 * where something is reduced.
 */
static inline dcm_status test_any_op(dcm_comm *comm, dcm_coll_kind kind,
                                     const void *src, void *dst, size_t count,
                                     dcm_dtype dtype, int root)
{
    switch (kind) {
    case DCM_COLL_REDUCE:
        return dcm_reduce(comm, src, dst, count, dtype, DCM_SUM, root, NULL);
    case DCM_COLL_BROADCAST:
        return dcm_broadcast(comm, src, dst, count, dtype, root, NULL);
    case DCM_COLL_GATHER:
        return dcm_gather(comm, src, dst, count, dtype, root, NULL);
    case DCM_COLL_SCATTER:
        return dcm_scatter(comm, src, dst, count, dtype, root, NULL);
    case DCM_COLL_ALL_GATHER:
        return dcm_all_gather(comm, src, dst, count, dtype, NULL);
    case DCM_COLL_REDUCE_SCATTER:
        return dcm_reduce_scatter(comm, src, dst, count, dtype, DCM_SUM, NULL);
    case DCM_COLL_ALL_TO_ALL:
        return dcm_all_to_all(comm, src, dst, count, dtype, NULL);
    case DCM_COLL_BARRIER:
        return dcm_barrier(comm, NULL);
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
        return test_messages(comm, src, dst, count, dtype);
    case DCM_COLL_ALL_REDUCE:
    default:
        return dcm_all_reduce(comm, src, dst, count, dtype, DCM_SUM, NULL);
    }
}

#endif /* DCM_TEST_ANY_OP_H */

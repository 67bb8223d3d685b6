/* SPDX-License-Identifier: Apache-2.0 */
/* Any collective of a communicator by its kind, for tests of what goes wrong. */
#ifndef DCM_TEST_ANY_OP_H
#define DCM_TEST_ANY_OP_H

#include <devcomm/backend.h>

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
    case DCM_COLL_ALL_REDUCE:
    default:
        return dcm_all_reduce(comm, src, dst, count, dtype, DCM_SUM, NULL);
    }
}

#endif /* DCM_TEST_ANY_OP_H */

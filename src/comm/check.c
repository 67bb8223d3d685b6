/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DEVCOMM_CHECK_EVERY=N: behind every N-th operation of a communicator comes an
 * all-reduce of this library's own, whose sum every rank knows beforehand.  Its
 * size goes round, so that each algorithm has its turn, and its values change
 * each time, so that what an earlier one left behind does not pass.
 */
#include <stdlib.h>

#include "base/err.h"
#include "comm/comm.h"

enum {
    SIZES = 3,
    MOST = 40000, /* elements */
};

struct dcmi_check {
    uint32_t every;
    uint32_t left;
    uint32_t serial;
    uint32_t src[MOST];
    uint32_t dst[MOST];
};

dcm_status dcmi_check_new(dcmi_check **check_p, uint32_t every)
{
    dcmi_check *k = calloc(1, sizeof(*k));

    if (k == NULL)
        return dcmi_err(DCM_E_NOMEM, "the known sums of DEVCOMM_CHECK_EVERY");
    k->every = every;
    k->left = every;
    *check_p = k;
    return DCM_OK;
}

void dcmi_check_free(dcmi_check *check)
{
    free(check);
}

/* Small enough that 64 of them do not overflow. */
static uint32_t value(const dcmi_check *k, size_t i)
{
    return (k->serial * 40503u + (uint32_t)i * 2654435761u) >> 12;
}

static dcm_status compare(dcm_comm *comm, const dcmi_check *k, size_t count)
{
    const uint32_t n = (uint32_t)comm->team.nranks;

    for (size_t i = 0; i < count; i++) {
        const uint32_t want = n * value(k, i) + n * (n - 1) / 2;

        if (DCMI_UNLIKELY(k->dst[i] != want))
            return dcmi_team_fail(
                &comm->team,
                dcmi_err(DCM_E_DEVICE,
                         "known sum %u after operation %llu: rank %d has %u, "
                         "not %u, in element %zu of %zu: the results of this "
                         "communicator cannot be trusted",
                         k->serial, (unsigned long long)comm->operations,
                         comm->team.rank, k->dst[i], want, i, count),
                comm->team.rank);
    }
    return DCM_OK;
}

dcm_status dcmi_check_after(dcm_comm *comm)
{
    static const size_t counts[SIZES] = {14, 2000, MOST};
    dcmi_check *k = comm->check;
    const size_t count = counts[k->serial % SIZES];
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = k->src,
        .dst = k->dst,
        .count = count,
        .dtype = DCM_U32,
        .op = DCM_SUM,
        .kind = DCM_COLL_ALL_REDUCE,
    };
    dcm_status st;

    if (--k->left > 0)
        return DCM_OK;
    k->left = k->every;
    for (size_t i = 0; i < count; i++) {
        k->src[i] = value(k, i) + (uint32_t)comm->team.rank;
        k->dst[i] = ~0u;
    }
    dcmi_record_begin(&comm->team.recorder, &coll, 0, comm->team.nranks);
    st = comm->ops->all_reduce(comm->ctx, &coll);
    dcmi_record_end(&comm->team.recorder, st);
    if (st == DCM_OK)
        st = compare(comm, k, count);
    k->serial++;
    return st;
}

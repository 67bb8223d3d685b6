/* SPDX-License-Identifier: Apache-2.0 */
/* Every algorithm, three times, on numbers that are known, before it is used. */
#include "backend/peer/ctx.h"
#include "base/err.h"

static uint32_t test_value(int rank, int round, uint32_t i)
{
    return (i * 2654435761u >> 8) + (uint32_t)(rank * 77 + round);
}

/* One all-reduce of known numbers; f32 holds them exactly. */
static dcm_status test_once(dcmi_peer *c, dcmi_peer_algo algo, int round)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr at = c->local + DCMI_PEER_TEST_AT;
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = (const void *)(uintptr_t)at,
        .dst = (void *)(uintptr_t)at,
        .count = DCMI_PEER_TEST_COUNT,
        .dtype = DCM_F32,
        .op = DCM_MAX,
        .stream = c->stream,
        .kind = DCM_COLL_ALL_REDUCE,
    };
    float v[DCMI_PEER_TEST_COUNT];
    dcmi_cu_result r;
    dcm_status st;

    for (uint32_t i = 0; i < DCMI_PEER_TEST_COUNT; i++)
        v[i] = (float)test_value(c->rank, round, i);
    r = cuda->copy_to_async(at, v, sizeof(v), c->stream);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    c->forced = algo;
    st = dcmi_peer_all_reduce(c, &coll);
    if (st != DCM_OK)
        return st;
    r = cuda->stream_sync(c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_from(v, at, sizeof(v));
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    st = dcmi_peer_find_failure(c);
    for (uint32_t i = 0; i < DCMI_PEER_TEST_COUNT && st == DCM_OK; i++) {
        if (v[i] != (float)test_value(c->nranks - 1, round, i))
            st = dcmi_err(DCM_E_DEVICE,
                          "the first test of %s: element %u is %g, not %g",
                          dcmi_peer_algo_name(algo), i, (double)v[i],
                          (double)test_value(c->nranks - 1, round, i));
    }
    return st;
}

dcm_status dcmi_peer_first_test(dcmi_peer *c)
{
    const bool was_forced = c->is_forced;
    const dcmi_peer_algo was = c->forced;
    dcm_status st = DCM_OK;

    c->is_forced = true;
    for (int i = 0; i < 3 * DCMI_PEER_ALGOS && st == DCM_OK; i++) {
        const dcmi_peer_algo algo = (dcmi_peer_algo)(i % DCMI_PEER_ALGOS);

        if (dcmi_peer_serves(&c->lay, algo, DCM_F32))
            st = test_once(c, algo, i);
    }
    c->is_forced = was_forced;
    c->forced = was;
    c->has_last = false;
    if (st == DCM_OK)
        return DCM_OK;
    /* The others' kernels wait for this rank. */
    c->team->op = "first test";
    return dcmi_team_fail(c->team, st, c->rank);
}

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

/* Bring `v` there, run what is set up, and bring back what lies there then. */
static dcm_status run_on(dcmi_peer *c, float *v, size_t bytes,
                         const dcm_coll *const *calls, size_t n_calls)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr at = c->local + DCMI_PEER_TEST_AT;
    dcmi_cu_result r = cuda->copy_to_async(at, v, bytes, c->stream);
    dcm_status st;

    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    st = n_calls == 1 ? dcmi_peer_collective(c, calls[0])
                      : dcmi_peer_messages(c, calls, n_calls);
    if (st != DCM_OK)
        return st;
    r = cuda->stream_sync(c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_from(v, at, bytes);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    return dcmi_peer_find_failure(c);
}

static dcm_coll test_call(const dcmi_peer *c, dcm_coll_kind kind, size_t src,
                          size_t dst, size_t count)
{
    const dcmi_cu_ptr at = c->local + DCMI_PEER_TEST_AT;

    return (dcm_coll){
        .size = sizeof(dcm_coll),
        .src = (const void *)(uintptr_t)(at + src * sizeof(float)),
        .dst = (void *)(uintptr_t)(at + dst * sizeof(float)),
        .count = count,
        .dtype = DCM_F32,
        .op = DCM_MAX,
        .stream = c->stream,
        .kind = kind,
    };
}

/* `count` numbers of `rank` from its number `first` on. */
static dcm_status test_numbers(const char *what, const float *v, size_t count,
                               int rank, int round, size_t first)
{
    for (size_t i = 0; i < count; i++) {
        const float want =
            (float)test_value(rank, round, (uint32_t)(first + i));

        if (v[i] != want)
            return dcmi_err(DCM_E_DEVICE,
                            "the first test of %s: element %zu is %g, not %g",
                            what, i, (double)v[i], (double)want);
    }
    return DCM_OK;
}

/* Exchange, part and messages: a gather to all, a part each, a ring. */
static dcm_status test_moves(dcmi_peer *c, int round)
{
    const size_t n = (size_t)c->nranks;
    const size_t rank = (size_t)c->rank;
    const size_t count = DCMI_PEER_TEST_COUNT / 2 / n;
    const dcm_coll gather =
        test_call(c, DCM_COLL_ALL_GATHER, rank * count, 0, count);
    const dcm_coll part =
        test_call(c, DCM_COLL_REDUCE_SCATTER, 0, rank * count, count);
    dcm_coll send = test_call(c, DCM_COLL_SEND, 0, 0, count);
    dcm_coll recv = test_call(c, DCM_COLL_RECV, 0, count, count);
    float v[DCMI_PEER_TEST_COUNT] = {0};
    dcm_status st;

    for (size_t i = 0; i < n * count; i++)
        v[i] = (float)test_value(c->rank, round, (uint32_t)i);
    st = run_on(c, v, sizeof(v), &(const dcm_coll *){&part}, 1);
    if (st == DCM_OK)
        st = test_numbers("part", v + rank * count, count, c->nranks - 1, round,
                          rank * count);
    for (size_t i = 0; i < count; i++)
        v[rank * count + i] = (float)test_value(c->rank, round, (uint32_t)i);
    if (st == DCM_OK)
        st = run_on(c, v, sizeof(v), &(const dcm_coll *){&gather}, 1);
    for (int p = 0; p < c->nranks && st == DCM_OK; p++)
        st =
            test_numbers("exchange", v + (size_t)p * count, count, p, round, 0);
    send.root = (c->rank + 1) % c->nranks;
    recv.root = (c->rank + c->nranks - 1) % c->nranks;
    for (size_t i = 0; i < count; i++)
        v[i] = (float)test_value(c->rank, round, (uint32_t)i);
    if (st == DCM_OK)
        st = run_on(c, v, sizeof(v), (const dcm_coll *[]){&send, &recv}, 2);
    if (st == DCM_OK)
        st = test_numbers("message", v + count, count, recv.root, round, 0);
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
    for (int i = 0; i < 3 && st == DCM_OK; i++)
        st = test_moves(c, i);
    c->is_forced = was_forced;
    c->forced = was;
    c->has_last = false;
    if (st == DCM_OK)
        return DCM_OK;
    /* The others' kernels wait for this rank. */
    c->team->op = "first test";
    return dcmi_team_fail(c->team, st, c->rank);
}

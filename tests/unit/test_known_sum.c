/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DEVCOMM_CHECK_EVERY: silent while the sums are right, an error of its own when a
 * backend delivers a wrong one, although the caller's own result looked right.
 */
#include "support.h"

#include <devcomm/backend.h>

static int lies_at; /* the all-reduce of this number is wrong; 0: none */
static int calls;

static dcm_status probe(int *score_p, dcm_group *group, char *why,
                        size_t why_bytes)
{
    (void)group;
    (void)why;
    (void)why_bytes;
    *score_p = 1;
    return DCM_OK;
}

static dcm_status open_ctx(void **ctx_p, const dcm_backend_env *env)
{
    (void)env;
    *ctx_p = &calls;
    return DCM_OK;
}

static void close_ctx(void *ctx)
{
    (void)ctx;
}

/* Of one rank: a copy. */
static dcm_status all_reduce(void *ctx, const dcm_coll *coll)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);

    (void)ctx;
    if (coll->dst != coll->src)
        memcpy(coll->dst, coll->src, bytes);
    if (++calls == lies_at)
        ((unsigned char *)coll->dst)[bytes / 2] ^= 4;
    return DCM_OK;
}

static dcm_status barrier(void *ctx, const dcm_coll *coll)
{
    (void)ctx;
    (void)coll;
    return DCM_OK;
}

static const dcm_backend_ops liar = {
    .abi = DCM_BACKEND_ABI,
    .size = sizeof(dcm_backend_ops),
    .name = "liar",
    .probe = probe,
    .open = open_ctx,
    .close = close_ctx,
    .all_reduce = all_reduce,
    .barrier = barrier,
};

static void right(int rank, dcm_group *group, void *arg)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    int32_t v[100];
    dcm_comm *comm;

    (void)arg;
    opts.backend = "cpu";
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    for (int i = 0; i < 50; i++) {
        v[0] = rank + i;
        die_unless(dcm_all_reduce(comm, v, v, 1 + (size_t)i, DCM_I32, DCM_MAX,
                                  NULL) == DCM_OK);
        die_unless(v[0] == 2 + i);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_right(void **state)
{
    (void)state;
    assert_int_equal(setenv("DEVCOMM_CHECK_EVERY", "3", 1), 0);
    test_run_threads(3, right, NULL);
}

/* Calls 1, 2, 4, 5 and 6 are the caller's, 3 and 7 the known sums. */
static void test_wrong(void **state)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_failure f = {.size = sizeof(f)};
    dcm_group *group;
    dcm_comm *comm;
    int32_t v = 5;

    (void)state;
    assert_int_equal(setenv("DEVCOMM_CHECK_EVERY", "3", 1), 0);
    assert_ok(dcm_backend_register(&liar));
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    opts.backend = "liar";
    assert_ok(dcm_comm_new(&comm, group, &opts));
    lies_at = 7;
    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    assert_ok(dcm_barrier(comm, NULL));
    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    assert_int_equal(calls, 3); /* with the first sum */
    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    assert_status(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_DEVICE, "known sum 1 after operation 6: rank 0");
    assert_int_equal(v, 5);
    dcm_comm_failure(comm, &f);
    assert_int_equal(f.status, DCM_E_DEVICE);
    assert_int_equal(f.rank, 0);
    assert_int_equal(dcm_comm_check(comm), DCM_E_DEVICE);
    dcm_comm_free(comm);
    dcm_group_free(group);
}

static void test_garbage(void **state)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_group *group;
    dcm_comm *comm;

    (void)state;
    assert_int_equal(setenv("DEVCOMM_CHECK_EVERY", "often", 1), 0);
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    assert_status(dcm_comm_new(&comm, group, NULL), DCM_E_INVAL,
                  "DEVCOMM_CHECK_EVERY");
    assert_int_equal(setenv("DEVCOMM_CHECK_EVERY", "1", 1), 0);
    opts.algo = "mail"; /* which would not serve the largest of the sums */
    assert_status(dcm_comm_new(&comm, group, &opts), DCM_E_INVAL,
                  "forced algorithm mail");
    dcm_group_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

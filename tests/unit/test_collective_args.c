/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwelcome arguments to the collectives beside all_reduce: E_INVAL that names
 * the call and the thing, and communicators as good as before.
 */
#include "support.h"

enum {
    N = 3,
    COUNT = 10
};

static dcm_group *groups[N];
static dcm_comm *comms[N];
static int32_t a[N * COUNT];
static int32_t b[N * COUNT];

static int make(void **state)
{
    (void)state;
    return dcm_group_new_local(groups, N, NULL) == DCM_OK &&
                   dcm_comm_new_multi(comms, groups, N, NULL) == DCM_OK
               ? 0
               : -1;
}

static int release(void **state)
{
    (void)state;
    for (int r = 0; r < N; r++)
        dcm_comm_free(comms[r]);
    for (int r = 0; r < N; r++)
        dcm_group_free(groups[r]);
    return 0;
}

/* The failed calls were none: everyone's next operation is the first. */
static void assert_works(void)
{
    assert_ok(dcm_begin());
    for (int r = 0; r < N; r++) {
        a[r] = 5 + r;
        assert_ok(dcm_broadcast(comms[r], &a[r], &b[r], 1, DCM_I32, 1, NULL));
    }
    assert_ok(dcm_end());
    for (int r = 0; r < N; r++) {
        assert_int_equal(b[r], 6);
        assert_ok(dcm_comm_check(comms[r]));
    }
}

static void test_no_comm(void **state)
{
    const size_t counts[N] = {1, 1, 1};

    (void)state;
    assert_status(dcm_reduce(NULL, a, b, 1, DCM_I32, DCM_SUM, 0, NULL),
                  DCM_E_INVAL, "reduce: no communicator");
    assert_status(dcm_broadcast(NULL, a, b, 1, DCM_I32, 0, NULL), DCM_E_INVAL,
                  "broadcast: no communicator");
    assert_status(dcm_gather(NULL, a, b, 1, DCM_I32, 0, NULL), DCM_E_INVAL,
                  "gather: no communicator");
    assert_status(dcm_scatter(NULL, a, b, 1, DCM_I32, 0, NULL), DCM_E_INVAL,
                  "scatter: no communicator");
    assert_status(dcm_all_gather(NULL, a, b, 1, DCM_I32, NULL), DCM_E_INVAL,
                  "all_gather: no communicator");
    assert_status(dcm_all_gather_inner(NULL, a, b, 1, 1, DCM_I32, NULL),
                  DCM_E_INVAL, "all_gather: no communicator");
    assert_status(dcm_all_gather_v(NULL, a, b, counts, NULL, DCM_I32, NULL),
                  DCM_E_INVAL, "all_gather: no communicator");
    assert_status(dcm_reduce_scatter(NULL, a, b, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "reduce_scatter: no communicator");
    assert_status(
        dcm_reduce_scatter_v(NULL, a, b, counts, DCM_I32, DCM_SUM, NULL),
        DCM_E_INVAL, "reduce_scatter: no communicator");
    assert_status(dcm_all_to_all(NULL, a, b, 1, DCM_I32, NULL), DCM_E_INVAL,
                  "all_to_all: no communicator");
    assert_status(
        dcm_all_to_all_v(NULL, a, counts, NULL, b, counts, NULL, DCM_I32, NULL),
        DCM_E_INVAL, "all_to_all: no communicator");
}

static void test_enumerators(void **state)
{
    (void)state;
    assert_status(dcm_all_gather(comms[0], a, b, 1, (dcm_dtype)99, NULL),
                  DCM_E_INVAL, "no type 99");
    assert_status(dcm_reduce(comms[0], a, b, 1, DCM_I32, (dcm_op)77, 0, NULL),
                  DCM_E_INVAL, "no operator 77");
    assert_status(dcm_broadcast(comms[0], a, b, 1, DCM_I32, N, NULL),
                  DCM_E_INVAL, "root 3 of 3 ranks");
    assert_status(dcm_scatter(comms[0], a, b, 1, DCM_I32, -1, NULL),
                  DCM_E_INVAL, "root -1");
    assert_works();
}

static void test_buffers(void **state)
{
    (void)state;
    assert_status(dcm_gather(comms[0], NULL, b, COUNT, DCM_I32, 1, NULL),
                  DCM_E_INVAL, "src is NULL with 10 elements");
    assert_status(dcm_gather(comms[1], a, NULL, COUNT, DCM_I32, 1, NULL),
                  DCM_E_INVAL, "dst is NULL with 30 elements");
    assert_status(dcm_broadcast(comms[0], a, a + 1, 2, DCM_I32, 0, NULL),
                  DCM_E_INVAL, "overlap");
    assert_status(dcm_all_gather(comms[1], a, a, COUNT, DCM_I32, NULL),
                  DCM_E_INVAL, "overlap");
    assert_status(
        dcm_reduce_scatter(comms[1], a, a, COUNT, DCM_I32, DCM_SUM, NULL),
        DCM_E_INVAL, "overlap");
    assert_status(dcm_all_gather_inner(comms[0], a, a, 2, 3, DCM_I32, NULL),
                  DCM_E_INVAL, "overlap");
    assert_status(dcm_all_gather(comms[0], a, b, COUNT, DCM_I32, (dcm_stream)a),
                  DCM_E_INVAL, "no streams");
    assert_works();
}

static void test_counts(void **state)
{
    const size_t huge[N] = {SIZE_MAX / 2, SIZE_MAX / 2, 9};
    const size_t one[N] = {1, 1, 1};
    const size_t two[N] = {2, 1, 1};
    const size_t far[N] = {0, SIZE_MAX, 0};

    (void)state;
    assert_status(dcm_all_gather(comms[0], a, b, SIZE_MAX / 2, DCM_I32, NULL),
                  DCM_E_INVAL, "overflow");
    assert_status(
        dcm_all_gather_inner(comms[0], a, b, SIZE_MAX, 3, DCM_I32, NULL),
        DCM_E_INVAL, "overflow");
    assert_status(
        dcm_reduce_scatter_v(comms[0], a, b, huge, DCM_I32, DCM_SUM, NULL),
        DCM_E_INVAL, "overflow");
    assert_status(dcm_all_gather_v(comms[0], a, b, one, far, DCM_I32, NULL),
                  DCM_E_INVAL, "overflow");
    assert_status(dcm_all_gather_v(comms[0], a, b, NULL, NULL, DCM_I32, NULL),
                  DCM_E_INVAL, "counts is NULL");
    assert_status(
        dcm_reduce_scatter_v(comms[0], a, b, NULL, DCM_I32, DCM_SUM, NULL),
        DCM_E_INVAL, "counts is NULL");
    assert_status(
        dcm_all_to_all_v(comms[0], a, one, NULL, b, NULL, NULL, DCM_I32, NULL),
        DCM_E_INVAL, "counts is NULL");
    assert_status(
        dcm_all_to_all_v(comms[0], a, one, NULL, b, two, NULL, DCM_I32, NULL),
        DCM_E_INVAL, "sends itself 1 elements and awaits 2");
    assert_works();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_comm),
        cmocka_unit_test(test_enumerators),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_counts),
    };

    return cmocka_run_group_tests(tests, make, release);
}

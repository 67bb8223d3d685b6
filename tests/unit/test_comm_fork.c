/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After fork(): the child's handles are refused, letting go of them does not hurt
 * the parent, and the child may make groups of its own.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/compiler.h"
#include "leaks.h"

static dcm_group *groups[2];
static dcm_comm *comms[2];
static dcm_group *single;
static dcm_comm *alone;
static dcm_arena *arena;
static void *block;

static int make_all(void **state)
{
    (void)state;
    return dcm_group_new_local(groups, 2, NULL) == DCM_OK &&
                   dcm_comm_new_multi(comms, groups, 2, NULL) == DCM_OK &&
                   dcm_group_new_local(&single, 1, NULL) == DCM_OK &&
                   dcm_comm_new(&alone, single, NULL) == DCM_OK &&
                   dcm_arena_new(&arena, alone, 8192) == DCM_OK &&
                   dcm_arena_alloc(arena, &block, 4096) == DCM_OK
               ? 0
               : -1;
}

static void let_go(void)
{
    dcm_arena_free(arena);
    dcm_comm_free(alone);
    dcm_group_free(single);
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(comms[r]);
        dcm_group_free(groups[r]);
    }
}

static int free_all(void **state)
{
    (void)state;
    let_go();
    return 0;
}

/* Both ranks of `comms` reduce, in this thread. */
static dcm_status reduce_both(dcm_comm **c)
{
    int32_t v[2] = {1, 2};
    dcm_status st;

    die_unless(dcm_begin() == DCM_OK);
    for (int r = 0; r < 2; r++)
        die_unless(dcm_all_reduce(c[r], &v[r], &v[r], 1, DCM_I32, DCM_SUM,
                                  NULL) == DCM_OK);
    st = dcm_end();
    die_unless(st != DCM_OK || (v[0] == 3 && v[1] == 3));
    return st;
}

static void assert_unhurt(void)
{
    int32_t *v = block;

    for (int i = 0; i < 100; i++)
        assert_ok(reduce_both(comms));
    *v = 5;
    assert_ok(dcm_all_reduce(alone, v, v, 1, DCM_I32, DCM_SUM, NULL));
    assert_int_equal(*v, 5);
}

#define refused(call)                                                          \
    die_unless((call) == DCM_E_INVAL && strstr(dcm_errmsg(), "fork") != NULL)

static int use_all(void *arg)
{
    dcm_comm_info info = {.size = sizeof(info)};
    dcm_arena *a = NULL;
    dcm_comm *c = NULL;
    int32_t v[2] = {1, 1};

    (void)arg;
    refused(dcm_all_reduce(alone, v, v, 1, DCM_I32, DCM_SUM, NULL));
    refused(dcm_all_reduce(comms[0], v, v, 1, DCM_I32, DCM_SUM, NULL));
    refused(dcm_barrier(comms[1], NULL));
    refused(dcm_group_exchange(groups[0], v, v, 4, 0));
    refused(dcm_comm_new(&c, groups[0], NULL));
    refused(dcm_comm_new_multi(&c, groups, 2, NULL));
    refused(dcm_comm_split(&c, comms[0], 0, 0, NULL));
    refused(dcm_comm_regroup(&c, comms[0], NULL));
    refused(dcm_comm_finalize(comms[0], 0));
    refused(dcm_arena_new(&a, alone, 4096));
    refused(reduce_both(comms));
    die_unless(a == NULL && c == NULL);
    /* What asks nobody still answers. */
    dcm_comm_info_get(comms[1], &info);
    die_unless(info.rank == 1 && info.nranks == 2);
    die_unless(dcm_group_rank(groups[1]) == 1);
    return 0;
}

static void test_refused(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(use_all, NULL, 60), 0);
    assert_unhurt();
}

static int free_in_child(void *arg)
{
    (void)arg;
    let_go();
    die_unless(test_count_maps("memfd:devcomm") == 0);
    return 0;
}

static void test_freed(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(test_in_child(free_in_child, NULL, 60), 0);
    assert_unhurt();
}

static int abort_in_child(void *arg)
{
    (void)arg;
    dcm_comm_abort(comms[0]);
    dcm_comm_abort(alone);
    return 0;
}

static void test_aborted(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(abort_in_child, NULL, 60), 0);
    assert_unhurt();
}

/* Groups of its own, beside those that it inherited. */
static int make_own(void *arg)
{
    dcm_group *g[2];
    dcm_comm *c[2];

    die_unless(dcm_group_new_local(g, 2, NULL) == DCM_OK);
    die_unless(dcm_comm_new_multi(c, g, 2, NULL) == DCM_OK);
    die_unless(reduce_both(c) == DCM_OK);
    if (arg != NULL)
        let_go();
    die_unless(reduce_both(c) == DCM_OK);
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(c[r]);
        dcm_group_free(g[r]);
    }
    return 0;
}

static void test_own_groups(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(make_own, NULL, 60), 0);
    assert_int_equal(test_in_child(make_own, groups, 60), 0);
    assert_unhurt();
}

static int fork_again(void *arg)
{
    (void)arg;
    die_unless(test_in_child(use_all, NULL, 60) == 0);
    die_unless(test_in_child(free_in_child, NULL, 60) == 0);
    return free_in_child(NULL);
}

static void test_grandchild(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(fork_again, NULL, 120), 0);
    assert_unhurt();
}

/* ---- while other threads are inside ------------------------------------------ */

static atomic_bool stop;
static atomic_int rounds;

static void *make_and_free(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        dcm_group *g;
        dcm_comm *c;

        die_unless(dcm_group_new_local(&g, 1, NULL) == DCM_OK);
        die_unless(dcm_comm_new(&c, g, NULL) == DCM_OK);
        dcm_comm_free(c);
        dcm_group_free(g);
        (void)atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

/* The child finds every lock free that another thread held in its parent. */
static int make_and_let_go(void *arg)
{
    (void)arg;
    let_go();
    return make_own(NULL);
}

static void test_fork_meanwhile(void **state)
{
    const int forks = test_is_thin() ? 10 : 100;
    pthread_t thread;

    (void)state;
    if (DCMI_ASAN || DCMI_TSAN)
        skip(); /* their allocators are not made for that */
    atomic_store(&stop, false);
    atomic_store(&rounds, 0);
    assert_int_equal(pthread_create(&thread, NULL, make_and_free, NULL), 0);
    while (atomic_load(&rounds) == 0)
        ;
    for (int i = 0; i < forks; i++)
        assert_int_equal(test_in_child(make_and_let_go, NULL, 60), 0);
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_unhurt();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, make_all, free_all),
        cmocka_unit_test_setup_teardown(test_freed, make_all, free_all),
        cmocka_unit_test_setup_teardown(test_aborted, make_all, free_all),
        cmocka_unit_test_setup_teardown(test_own_groups, make_all, free_all),
        cmocka_unit_test_setup_teardown(test_grandchild, make_all, free_all),
        cmocka_unit_test_setup_teardown(test_fork_meanwhile, make_all,
                                        free_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

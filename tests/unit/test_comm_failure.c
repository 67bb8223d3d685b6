/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Communicators that fail (aborted, late, left), what all ranks then say, and the
 * ones made from others: split and regroup.  Threads; tests/mp/test_kill.c has
 * the deaths.
 */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "comm/comm.h"
#include "leaks.h"

static dcm_group *groups[2];
static dcm_comm *comms[2];

static int make_two(void **state)
{
    (void)state;
    return dcm_group_new_local(groups, 2, NULL) == DCM_OK &&
                   dcm_comm_new_multi(comms, groups, 2, NULL) == DCM_OK
               ? 0
               : -1;
}

static int free_two(void **state)
{
    (void)state;
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(comms[r]);
        dcm_group_free(groups[r]);
    }
    return 0;
}

static dcm_status reduce(dcm_comm *comm)
{
    int32_t v = 1;

    return dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL);
}

/* Every call that ranks make together is refused; what one alone asks is not. */
static void assert_failed(dcm_comm *comm, dcm_status want)
{
    dcm_comm_info info = {.size = sizeof(info)};
    dcm_arena *arena = NULL;
    dcm_comm *other = NULL;
    char text[64];

    assert_status(dcm_comm_check(comm), want, "");
    assert_status(reduce(comm), want, "");
    assert_status(dcm_barrier(comm, NULL), want, "");
    assert_status(dcm_comm_finalize(comm, 0), want, "");
    assert_status(dcm_arena_new(&arena, comm, 4096), want, "");
    assert_status(dcm_comm_split(&other, comm, 0, 0, NULL), want, "");
    assert_null(arena);
    assert_null(other);
    assert_ok(dcm_begin());
    assert_ok(dcm_barrier(comm, NULL));
    assert_status(dcm_end(), want, "");
    assert_ok(dcm_comm_explain(comm, text, sizeof(text), NULL, NULL, 1, DCM_F32,
                               DCM_SUM));
    dcm_comm_info_get(comm, &info);
    assert_int_equal(info.nranks, 2);
}

/* ---- abort ------------------------------------------------------------------- */

static void *wait_for_peer(void *arg)
{
    dcm_status *st = arg;

    *st = reduce(comms[1]);
    die_unless(strstr(dcm_errmsg(), "aborted by rank 0 (pid ") != NULL);
    return NULL;
}

static void assert_aborts(void (*aborts)(void))
{
    dcm_failure f = {.size = sizeof(f)};
    dcm_status st = DCM_OK;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wait_for_peer, &st), 0);
    while (atomic_load(&comms[0]->team.shared->bells.n_parked) == 0)
        ; /* it waits by then */
    aborts();
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(st, DCM_E_ABORTED);
    assert_failed(comms[0], DCM_E_ABORTED);
    dcm_comm_failure(comms[0], &f);
    assert_non_null(
        strstr(f.message, "before the first operation: aborted by rank 0"));
    assert_failed(comms[1], DCM_E_ABORTED);
}

static void abort_0(void)
{
    dcm_comm_abort(comms[0]);
    dcm_comm_abort(comms[0]); /* again: no matter */
    dcm_comm_abort(comms[1]); /* not the first */
}

static void test_abort(void **state)
{
    (void)state;
    assert_aborts(abort_0);
}

static void on_signal(int number)
{
    (void)number;
    dcm_comm_abort(comms[0]);
}

static void abort_by_signal(void)
{
    struct sigaction action;
    struct sigaction old;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void test_abort_in_handler(void **state)
{
    (void)state;
    assert_aborts(abort_by_signal);
}

/* ---- late and gone ----------------------------------------------------------- */

static void test_late(void **state)
{
    dcm_failure f = {.size = sizeof(f)};

    (void)state;
    dcm_comm_set_timeout(comms[0], 30);
    assert_status(reduce(comms[0]), DCM_E_TIMEOUT, "rank 1 (pid ");
    assert_non_null(strstr(dcm_errmsg(), "all_reduce 1"));
    assert_non_null(strstr(dcm_errmsg(), "is late"));
    dcm_comm_failure(comms[0], &f);
    assert_int_equal(f.status, DCM_E_TIMEOUT);
    assert_int_equal(f.rank, 1);
    assert_int_equal(f.pid, getpid());
    assert_int_equal(f.reporter, 0);
    assert_int_equal(f.epoch, 1);
    assert_true(f.waited_ns >= 30 * 1000000ull);
    assert_string_equal(f.op, "all_reduce");
    assert_true(f.phase[0] != '\0');
    assert_non_null(strstr(f.message, "is late"));

    /* The late one comes: it is told the same, and by whom. */
    assert_status(reduce(comms[1]), DCM_E_TIMEOUT, "rank 1 (pid ");
    assert_non_null(strstr(dcm_errmsg(), "found by rank 0"));
    dcm_comm_failure(comms[1], &f);
    assert_int_equal(f.status, DCM_E_TIMEOUT);
    assert_int_equal(f.rank, 1);
    assert_int_equal(f.reporter, 0);
    assert_int_equal(f.epoch, 1);
    assert_failed(comms[0], DCM_E_TIMEOUT);
    assert_failed(comms[1], DCM_E_TIMEOUT);
    dcm_comm_abort(comms[0]); /* the first failure stands */
    assert_failed(comms[0], DCM_E_TIMEOUT);
}

static void test_set_timeout(void **state)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm *c[2];

    (void)state;
    opts.timeout_ms = 40; /* that of every call, unless set */
    assert_ok(dcm_comm_new_multi(c, groups, 2, &opts));
    dcm_comm_set_timeout(c[0], 1000000);
    dcm_comm_set_timeout(c[0], 0);
    assert_status(reduce(c[0]), DCM_E_TIMEOUT, "late");
    dcm_comm_free(c[0]);
    dcm_comm_free(c[1]);
}

static void test_freed(void **state)
{
    (void)state;
    dcm_comm_free(comms[1]);
    comms[1] = NULL;
    assert_status(reduce(comms[0]), DCM_E_PEER, "rank 1 (pid ");
    assert_non_null(strstr(dcm_errmsg(), "has freed its communicator"));
    assert_failed(comms[0], DCM_E_PEER);
    /* The group is not hurt: another communicator can be made of it. */
    dcm_comm_free(comms[0]);
    assert_ok(dcm_comm_new_multi(comms, groups, 2, NULL));
}

static void test_left(void **state)
{
    (void)state;
    dcm_comm_free(comms[1]);
    dcm_group_free(groups[1]);
    comms[1] = NULL;
    groups[1] = NULL;
    assert_status(dcm_barrier(comms[0], NULL), DCM_E_PEER, "rank 1 (pid ");
    assert_failed(comms[0], DCM_E_PEER);
}

static void test_finalize(void **state)
{
    (void)state;
    assert_status(dcm_comm_finalize(comms[0], 30), DCM_E_TIMEOUT,
                  "rank 1 (pid ");
    assert_non_null(strstr(dcm_errmsg(), "finalize"));
    assert_status(dcm_comm_finalize(comms[1], 0), DCM_E_TIMEOUT, "");
}

/* What was freed has left, and is not waited for. */
static void test_finalize_freed(void **state)
{
    (void)state;
    dcm_comm_free(comms[1]);
    comms[1] = NULL;
    assert_ok(dcm_comm_finalize(comms[0], 0));
}

/* ---- regroup and split ------------------------------------------------------- */

static void regroup_all(int rank, dcm_group *group, void *arg)
{
    const int n = dcm_group_nranks(group);
    dcm_comm *comm;
    dcm_comm *next;
    int32_t v = 1;

    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    for (int i = 0; i < 3; i++) {
        die_unless(dcm_barrier(comm, NULL) == DCM_OK);
        if (rank == i)
            dcm_comm_abort(comm);
        die_unless(reduce(comm) == DCM_E_ABORTED);
        die_unless(dcm_comm_regroup(&next, comm, NULL) == DCM_OK);
        dcm_comm_free(comm); /* the new one needs it no longer */
        comm = next;
        die_unless(dcm_comm_rank(comm) == rank);
        die_unless(dcm_comm_nranks(comm) == n);
        v = 1;
        die_unless(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(v == n);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_regroup(void **state)
{
    (void)state;
    test_run_threads(3, regroup_all, NULL);
    test_run_threads(4, regroup_all, NULL);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

enum {
    SPLITTERS = 6
};

static void split_all(int rank, dcm_group *group, void *arg)
{
    /* Colour and key of each rank, its place, and how many share the colour. */
    static const struct {
        int colour[SPLITTERS];
        int key[SPLITTERS];
        int place[SPLITTERS];
        int size[SPLITTERS];
    } cases[] = {
        {{0, 1, 0, 1, 0, 1},
         {0, 0, 0, 0, 0, 0},
         {0, 0, 1, 1, 2, 2},
         {3, 3, 3, 3, 3, 3}},
        {{7, 7, 7, 7, 7, 7},
         {5, 4, 3, 2, 1, 0},
         {5, 4, 3, 2, 1, 0},
         {6, 6, 6, 6, 6, 6}},
        {{3, -1, 3, -1, 2147483647, -1},
         {INT32_MAX, 0, INT32_MIN, 0, 0, 0},
         {1, -1, 0, -1, 0, -1},
         {2, 0, 2, 0, 1, 0}},
        {{1, 1, 1, 2, 2, 2},
         {1, 0, 1, -1, -1, -2},
         {1, 0, 2, 1, 2, 0},
         {3, 3, 3, 3, 3, 3}},
    };
    dcm_comm *comm;
    dcm_comm *part;

    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    for (int i = 0; i < 8; i++) {
        const int c = i % 4;
        int32_t v = 1;

        part = comm; /* to be overwritten */
        die_unless(dcm_comm_split(&part, comm, cases[c].colour[rank],
                                  cases[c].key[rank], NULL) == DCM_OK);
        if (cases[c].colour[rank] == DCM_SPLIT_NONE) {
            die_unless(part == NULL);
            continue;
        }
        die_unless(dcm_comm_rank(part) == cases[c].place[rank]);
        die_unless(dcm_comm_nranks(part) == cases[c].size[rank]);
        die_unless(dcm_all_reduce(part, &v, &v, 1, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(v == cases[c].size[rank]);
        die_unless(dcm_comm_finalize(part, 0) == DCM_OK);
        dcm_comm_free(part);
    }
    /* It outlives the one that it was split from. */
    die_unless(dcm_comm_split(&part, comm, rank / 3, 0, NULL) == DCM_OK);
    die_unless(dcm_barrier(comm, NULL) == DCM_OK);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    die_unless(reduce(part) == DCM_OK);
    die_unless(dcm_comm_split(&comm, part, 0, -rank, NULL) == DCM_OK);
    die_unless(dcm_comm_rank(comm) == 2 - rank % 3);
    die_unless(reduce(comm) == DCM_OK);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    die_unless(dcm_comm_finalize(part, 0) == DCM_OK);
    dcm_comm_free(part);
}

static void test_split(void **state)
{
    const int fds = test_count_fds();

    (void)state;
    test_run_threads(SPLITTERS, split_all, NULL);
    assert_int_equal(test_count_fds(), fds);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

/* An option that only one colour's ranks give wrong fails that colour alone. */
static void split_wrong(int rank, dcm_group *group, void *arg)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm *part = NULL;
    dcm_comm *comm;
    dcm_status st;

    (void)arg;
    opts.algo = rank % 2 == 0 ? NULL : "nonsense";
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    st = dcm_comm_split(&part, comm, rank % 2, 0, &opts);
    if (rank % 2 == 0) {
        die_unless(st == DCM_OK && reduce(part) == DCM_OK);
        die_unless(dcm_comm_finalize(part, 0) == DCM_OK);
        dcm_comm_free(part);
    } else {
        die_unless(st == DCM_E_INVAL && part == NULL);
        die_unless(strstr(dcm_errmsg(), "split, colour 1: ") != NULL);
        die_unless(strstr(dcm_errmsg(), "nonsense") != NULL);
    }
    die_unless(reduce(comm) == DCM_OK);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_split_wrong(void **state)
{
    (void)state;
    test_run_threads(4, split_wrong, NULL);
}

#define with_two(f) cmocka_unit_test_setup_teardown(f, make_two, free_two)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_two(test_abort),
        with_two(test_abort_in_handler),
        with_two(test_late),
        with_two(test_set_timeout),
        with_two(test_freed),
        with_two(test_left),
        with_two(test_finalize),
        with_two(test_finalize_freed),
        cmocka_unit_test(test_regroup),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

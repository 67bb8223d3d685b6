/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on purpose: whatever one rank does to a communicator, all ranks end, with
 * the outcome that docs/faults.md promises, and what should notice notices.
 */
#define _GNU_SOURCE
#include "support.h"

#include <signal.h>
#include <unistd.h>

#include "any_op.h"
#include "leaks.h"
#include "mp.h"

enum {
    RANKS = 3,
    LARGE = 60000,
    TIMEOUT_MS = 20000 /* far above what any of these takes */
};

typedef struct trial {
    dcm_comm_opts opts;
    dcm_coll_kind kind;
    size_t count;
    int calls;
    dcm_status st[RANKS];
    int done[RANKS]; /* calls that went well */
    char message[RANKS][512];
    dcm_failure failure[RANKS];
} trial;

static void call_on_all(int rank, dcm_group *group, void *arg)
{
    trial *t = arg;
    float *src = calloc(RANKS * LARGE, sizeof(float));
    float *dst = calloc(RANKS * LARGE, sizeof(float));
    dcm_comm *comm = NULL;
    dcm_status st;

    die_unless(src != NULL && dst != NULL);
    st = dcm_comm_new(&comm, group, &t->opts);
    while (st == DCM_OK && t->done[rank] < t->calls) {
        st = test_any_op(comm, t->kind, src, dst, t->count, DCM_F32, 0);
        t->done[rank] += st == DCM_OK;
    }
    t->st[rank] = st;
    (void)snprintf(t->message[rank], sizeof(t->message[rank]), "%s",
                   dcm_errmsg());
    t->failure[rank].size = sizeof(t->failure[rank]);
    dcm_comm_failure(comm, &t->failure[rank]);
    if (st == DCM_OK)
        die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    free(dst);
    free(src);
}

static trial *try_on_all(const char *backend, dcm_coll_kind kind, size_t count,
                         int calls)
{
    static trial t;
    const int fds = test_count_fds();

    memset(&t, 0, sizeof(t));
    t.opts = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
    t.opts.backend = backend;
    t.opts.timeout_ms = TIMEOUT_MS;
    t.kind = kind;
    t.count = count;
    t.calls = calls;
    test_run_threads(RANKS, call_on_all, &t);
    assert_int_equal(test_count_fds(), fds);
    return &t;
}

/* ---- a call that fails ------------------------------------------------------- */

/* Each operation, small and large: all ranks say the same, and who it was. */
static void test_fail(void **state)
{
    static const size_t counts[] = {3, LARGE};
    char backend[96];

    (void)state;
    for (int kind = DCM_COLL_ALL_REDUCE; kind <= DCM_COLL_SEND; kind++) {
        for (int i = 0; i < 2; i++) {
            const trial *t;

            (void)snprintf(backend, sizeof(backend),
                           "fault:rank=1,from=3,fail=device:cpu");
            t = try_on_all(backend, (dcm_coll_kind)kind, counts[i], 50);
            for (int r = 0; r < RANKS; r++) {
                if (t->st[r] != DCM_E_DEVICE || t->failure[r].rank != 1 ||
                    t->failure[r].reporter != 1 ||
                    t->failure[r].status != DCM_E_DEVICE ||
                    strstr(t->message[r], "rank 1") == NULL)
                    fail_msg("kind %d, %zu elements, rank %d: %d: %s", kind,
                             counts[i], r, (int)t->st[r], t->message[r]);
            }
            assert_in_range(t->done[1], 1, 2);
            assert_non_null(strstr(t->message[1], "a fault on purpose"));
            assert_string_equal(t->failure[1].phase, "fault");
        }
    }
}

static void test_every_status(void **state)
{
    static const struct {
        const char *word;
        dcm_status st;
    } cases[] = {
        {"inval", DCM_E_INVAL},       {"nomem", DCM_E_NOMEM},
        {"unsup", DCM_E_UNSUP},       {"sys", DCM_E_SYS},
        {"peer", DCM_E_PEER},         {"timeout", DCM_E_TIMEOUT},
        {"abi", DCM_E_ABI},           {"busy", DCM_E_BUSY},
        {"mismatch", DCM_E_MISMATCH}, {"aborted", DCM_E_ABORTED},
    };
    char backend[64];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const trial *t;

        (void)snprintf(backend, sizeof(backend),
                       "fault:rank=2,at=2,fail=%s:cpu", cases[i].word);
        t = try_on_all(backend, DCM_COLL_ALL_REDUCE, 10, 5);
        for (int r = 0; r < RANKS; r++)
            assert_int_equal(t->st[r], cases[i].st);
        assert_int_equal(t->done[2], 1);
    }
}

/* Creation fails on all alike, and says which rank. */
static void test_open(void **state)
{
    const trial *t;

    (void)state;
    t = try_on_all("fault:rank=1,call=open,fail=nomem:cpu", DCM_COLL_BARRIER, 0,
                   1);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(t->st[r], DCM_E_NOMEM);
        assert_non_null(strstr(t->message[r], "rank 1: a fault on purpose"));
    }
    t = try_on_all("fault:call=open,rank=0,stall=50:cpu", DCM_COLL_BARRIER, 0,
                   3);
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(t->done[r], 3);
    t = try_on_all("fault:dye:cpu", DCM_COLL_BARRIER, 0, 1);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(t->st[r], DCM_E_INVAL);
        assert_non_null(strstr(t->message[r], "character 7, \"dye\""));
    }
    t = try_on_all("fault:die:gpu", DCM_COLL_BARRIER, 0, 1);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(t->st[r], DCM_E_INVAL);
        assert_non_null(strstr(t->message[r], "no backend called gpu"));
    }
}

typedef struct two_arenas {
    dcm_status st[RANKS][2];
    char message[RANKS][512];
} two_arenas;

static void make_arenas(int rank, dcm_group *group, void *arg)
{
    two_arenas *a = arg;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_arena *arena;
    dcm_comm *comm;

    opts.backend = "fault:rank=1,call=arena,at=1,fail=sys:cpu";
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    a->st[rank][0] = dcm_arena_new(&arena, comm, 4096);
    (void)snprintf(a->message[rank], sizeof(a->message[rank]), "%s",
                   dcm_errmsg());
    a->st[rank][1] = dcm_arena_new(&arena, comm, 4096);
    die_unless(a->st[rank][1] == DCM_OK);
    dcm_arena_free(arena);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

/* No arena this time; the communicator is none the worse. */
static void test_arena(void **state)
{
    static two_arenas a;

    (void)state;
    test_run_threads(RANKS, make_arenas, &a);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(a.st[r][0], DCM_E_SYS);
        assert_non_null(strstr(a.message[r], "rank 1: a fault on purpose"));
    }
}

/* ---- one that is late -------------------------------------------------------- */

/* Within the deadline it is only slow. */
static void test_slow(void **state)
{
    const trial *t;

    (void)state;
    for (int kind = DCM_COLL_ALL_REDUCE; kind <= DCM_COLL_SEND; kind++) {
        t = try_on_all("fault:rank=1,at=2,stall=20:cpu", (dcm_coll_kind)kind,
                       100, 4);
        for (int r = 0; r < RANKS; r++)
            assert_int_equal(t->st[r], DCM_OK);
    }
}

static void be_late(int rank, dcm_group *group, void *arg)
{
    trial *t = arg;
    dcm_comm *comm;
    float v = 1;

    die_unless(dcm_comm_new(&comm, group, &t->opts) == DCM_OK);
    dcm_comm_set_timeout(comm, rank == 1 ? (uint32_t)t->count : 1000);
    t->st[rank] = dcm_all_reduce(comm, &v, &v, 1, DCM_F32, DCM_SUM, NULL);
    t->failure[rank].size = sizeof(t->failure[rank]);
    dcm_comm_failure(comm, &t->failure[rank]);
    dcm_comm_free(comm);
}

/*
 * Past it all ranks end with E_TIMEOUT and name the late one: where the others'
 * deadline comes first the sleeper is woken by it; where its own does, by that.
 */
static void test_late(void **state)
{
    static const size_t its_timeout_ms[] = {TIMEOUT_MS, 10};
    trial t;

    (void)state;
    for (int i = 0; i < 2; i++) {
        memset(&t, 0, sizeof(t));
        t.opts = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
        t.opts.backend = "fault:rank=1,stall=3600000:cpu";
        t.opts.timeout_ms = TIMEOUT_MS;
        t.count = its_timeout_ms[i];
        test_run_threads(RANKS, be_late, &t);
        for (int r = 0; r < RANKS; r++) {
            assert_int_equal(t.st[r], DCM_E_TIMEOUT);
            assert_int_equal(t.failure[r].rank, 1);
        }
    }
}

static void abort_sleeper(int rank, dcm_group *group, void *arg)
{
    trial *t = arg;
    dcm_comm *comm;

    die_unless(dcm_comm_new(&comm, group, &t->opts) == DCM_OK);
    if (rank == 0)
        dcm_comm_abort(comm);
    t->st[rank] = dcm_barrier(comm, NULL);
    dcm_comm_free(comm);
}

static void test_abort(void **state)
{
    trial t;

    (void)state;
    memset(&t, 0, sizeof(t));
    t.opts = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
    t.opts.backend = "fault:rank=1,stall=3600000:cpu";
    test_run_threads(RANKS, abort_sleeper, &t);
    for (int r = 0; r < RANKS; r++)
        assert_int_equal(t.st[r], DCM_E_ABORTED);
}

/* ---- one that dies ----------------------------------------------------------- */

static char address[64];

static int until_death(int rank, void *arg)
{
    dcm_group_opts gopts = DCM_GROUP_OPTS_INIT;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_failure f = {.size = sizeof(f)};
    dcm_group *group;
    dcm_comm *comm;
    dcm_comm *rest;
    dcm_status st = DCM_OK;
    float v = 1;

    gopts.timeout_ms = TIMEOUT_MS;
    opts.backend = arg;
    die_unless(dcm_group_new(&group, address, rank, RANKS, &gopts) == DCM_OK);
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    for (int i = 0; i < 1000 && st == DCM_OK; i++)
        st = dcm_all_reduce(comm, &v, &v, 1, DCM_F32, DCM_MAX, NULL);
    dcm_comm_failure(comm, &f);
    die_unless(st == DCM_E_PEER && f.rank == 2 && f.epoch == 7);
    opts.backend = "cpu";
    die_unless(dcm_comm_regroup(&rest, comm, &opts) == DCM_OK);
    die_unless(dcm_barrier(rest, NULL) == DCM_OK);
    die_unless(dcm_comm_finalize(rest, 0) == DCM_OK);
    dcm_comm_free(rest);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

static void test_die(void **state)
{
    static char backend[] = "fault:rank=2,at=7,die:cpu";
    mp_world mp;

    (void)state;
    (void)snprintf(address, sizeof(address), "unix:faults-%d", (int)getpid());
    mp_spawn(&mp, RANKS, until_death, backend);
    mp_wait(&mp, 60000, 1ull << 2);
}

/* ---- one that lies ----------------------------------------------------------- */

/* The known sums find it: the flip is in theirs, the caller's own are right. */
static void test_known_sum(void **state)
{
    const trial *t;

    (void)state;
    assert_int_equal(setenv("DEVCOMM_CHECK_EVERY", "2", 1), 0);
    t = try_on_all("fault:rank=1,call=all_reduce,at=9,flip:cpu",
                   DCM_COLL_ALL_REDUCE, 10, 20);
    assert_int_equal(unsetenv("DEVCOMM_CHECK_EVERY"), 0);
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(t->st[r], DCM_E_DEVICE);
        assert_int_equal(t->failure[r].rank, 1);
    }
    assert_int_equal(t->done[1], 5);
    assert_non_null(strstr(t->message[1], "known sum 2 after operation 6"));
}

typedef struct bits {
    dcm_coll_kind kind;
    size_t bytes; /* of a result buffer */
    size_t count;
    int wrong[RANKS]; /* bits */
} bits;

static void count_bits(int rank, dcm_group *group, void *arg)
{
    bits *b = arg;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    unsigned char *src = calloc(1, b->bytes);
    unsigned char *dst = calloc(1, b->bytes);
    dcm_comm *comm;

    die_unless(src != NULL && dst != NULL);
    opts.backend = "fault:rank=1,flip:cpu";
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    die_unless(test_any_op(comm, b->kind, src, dst, b->count, DCM_F32, 1) ==
               DCM_OK);
    for (size_t i = 0; i < b->bytes; i++)
        b->wrong[rank] += __builtin_popcount(dst[i]);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    free(dst);
    free(src);
}

/* Of zeros comes one bit, on that rank where it has a result, on no other. */
static void test_flip(void **state)
{
    (void)state;
    for (int kind = DCM_COLL_ALL_REDUCE; kind <= DCM_COLL_ALL_TO_ALL; kind++) {
        bits b = {
            .kind = (dcm_coll_kind)kind,
            .count = 5,
            .bytes = RANKS * 5 * sizeof(float),
        };
        const bool has_result = kind != DCM_COLL_BARRIER;

        test_run_threads(RANKS, count_bits, &b);
        for (int r = 0; r < RANKS; r++) {
            if (b.wrong[r] != (r == 1 && has_result ? 1 : 0))
                fail_msg("kind %d, rank %d: %d bits", kind, r, b.wrong[r]);
        }
    }
}

/* ---- and what is said -------------------------------------------------------- */

static void test_said(void **state)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm_info info = {.size = sizeof(info)};
    dcm_group *group;
    dcm_comm *comm;
    char text[512];
    char tiny[8];

    (void)state;
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    assert_int_equal(setenv("DEVCOMM_BACKEND", "fault:at=2,fail=busy", 1), 0);
    assert_ok(dcm_comm_new(&comm, group, &opts));
    assert_int_equal(unsetenv("DEVCOMM_BACKEND"), 0);
    dcm_comm_info_get(comm, &info);
    assert_string_equal(info.backend, "fault:cpu");
    assert_true(info.shared_bytes > 0);
    assert_ok(dcm_comm_explain(comm, text, sizeof(text), NULL, NULL, 10,
                               DCM_F32, DCM_SUM));
    assert_non_null(strstr(text, "; with faults on purpose, at=2,fail=busy"));
    assert_ok(dcm_comm_explain(comm, tiny, sizeof(tiny), NULL, NULL, 10,
                               DCM_F32, DCM_SUM));
    assert_true(strlen(tiny) < sizeof(tiny));
    dcm_comm_free(comm);
    dcm_group_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),      cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_open),      cmocka_unit_test(test_arena),
        cmocka_unit_test(test_slow),      cmocka_unit_test(test_late),
        cmocka_unit_test(test_abort),     cmocka_unit_test(test_die),
        cmocka_unit_test(test_known_sum), cmocka_unit_test(test_flip),
        cmocka_unit_test(test_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

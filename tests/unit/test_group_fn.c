/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups made by the caller's own all-gather, between threads: one that fails,
 * lies or is late, and ranks that are forced onto several hosts.
 */
#include "support.h"

#include <pthread.h>

#include "gather.h"
#include "leaks.h"

/* ---- ranks as threads -------------------------------------------------------- */

typedef struct rank rank;
typedef void (*rank_fn)(rank *r);

struct rank {
    gather_rank gather;
    rank_fn fn;
    dcm_group_opts opts;
    dcm_group *group;
    dcm_status st;
    char message[1024];
};

static gather meeting;
static rank ranks[GATHER_RANKS];

static void make_group(rank *r)
{
    dcm_group *const unset = (dcm_group *)&meeting;

    r->group = unset;
    r->st = dcm_group_new_fn(&r->group, r->gather.rank, meeting.nranks,
                             gather_call, &r->gather, &r->opts);
    (void)snprintf(r->message, sizeof(r->message), "%s", dcm_errmsg());
    if (r->st != DCM_OK) {
        die_unless(r->group == unset); /* outputs only on success */
        r->group = NULL;
        /* What an MPI job does when one of its ranks gives up. */
        gather_break(&meeting);
    }
}

static void *thread_main(void *arg)
{
    rank *r = arg;

    make_group(r);
    if (r->st == DCM_OK && r->fn != NULL)
        r->fn(r);
    return NULL;
}

static void set_up(int nranks)
{
    gather_init(&meeting, nranks);
    memset(ranks, 0, sizeof(ranks));
    for (int i = 0; i < nranks; i++) {
        ranks[i].gather = (gather_rank){.g = &meeting, .rank = i};
        ranks[i].opts = (dcm_group_opts)DCM_GROUP_OPTS_INIT;
        ranks[i].opts.timeout_ms = 60000;
    }
}

static void run(rank_fn fn)
{
    pthread_t threads[GATHER_RANKS];

    for (int i = 0; i < meeting.nranks; i++) {
        ranks[i].fn = fn;
        assert_int_equal(
            pthread_create(&threads[i], NULL, thread_main, &ranks[i]), 0);
    }
    for (int i = 0; i < meeting.nranks; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void free_groups(void)
{
    for (int i = 0; i < meeting.nranks; i++)
        dcm_group_free(ranks[i].group);
}

static void assert_rank(int i, dcm_status want, const char *text)
{
    if (ranks[i].st != want || strstr(ranks[i].message, text) == NULL)
        fail_msg("rank %d: %d (%s), not %d with \"%s\"", i, (int)ranks[i].st,
                 ranks[i].message, (int)want, text);
}

/* ---- one host ---------------------------------------------------------------- */

static void exchange_numbers(rank *r)
{
    const int n = meeting.nranks;
    int all[GATHER_RANKS];
    const int mine = 100 + r->gather.rank;

    die_unless(dcm_group_rank(r->group) == r->gather.rank);
    die_unless(dcm_group_nranks(r->group) == n);
    die_unless(dcm_group_exchange(r->group, &mine, all, sizeof(mine), 0) ==
               DCM_OK);
    for (int i = 0; i < n; i++)
        die_unless(all[i] == 100 + i);
}

static void test_one_host(void **state)
{
    (void)state;
    for (int n = 1; n <= GATHER_RANKS; n++) {
        set_up(n);
        run(exchange_numbers);
        for (int i = 0; i < n; i++) {
            assert_rank(i, DCM_OK, "");
            assert_int_equal(dcm_group_nhosts(ranks[i].group), 1);
            assert_int_equal(dcm_group_host_of(ranks[i].group, n - 1), 0);
            assert_int_equal(dcm_group_host_of(ranks[i].group, n), -1);
            assert_int_equal(dcm_group_host_of(ranks[i].group, -1), -1);
            /* On one host the caller's function is not needed any more. */
            assert_int_equal(ranks[i].gather.calls, 3);
        }
        free_groups();
    }
}

/* Rank 1's function returns 7: it says so, and the others end too. */
static void test_fn_fails(void **state)
{
    const int fds = test_count_fds();

    (void)state;
    for (int call = 1; call <= 3; call++) {
        set_up(3);
        ranks[1].gather.at_call = call;
        ranks[1].gather.deed = GATHER_FAIL;
        run(NULL);
        assert_rank(1, DCM_E_SYS, "all-gather returned 7");
        for (int i = 0; i < 3; i += 2) {
            if (call < 3)
                assert_rank(i, DCM_E_SYS, "all-gather returned 8");
            else /* too late to matter: they find that it has left */
                assert_rank(i, DCM_OK, "");
        }
        free_groups();
        assert_int_equal(test_count_fds(), fds);
    }
}

static void meet_the_rest(rank *r)
{
    int all[GATHER_RANKS];
    const int mine = 1;

    r->st = dcm_group_exchange(r->group, &mine, all, sizeof(mine), 0);
    (void)snprintf(r->message, sizeof(r->message), "%s", dcm_errmsg());
}

static void test_fn_fails_last(void **state)
{
    (void)state;
    set_up(3);
    ranks[1].gather.at_call = 3;
    ranks[1].gather.deed = GATHER_FAIL;
    run(meet_the_rest);
    assert_rank(0, DCM_E_PEER, "rank 1 (pid ");
    assert_rank(0, DCM_E_PEER, "has left");
    assert_rank(2, DCM_E_PEER, "rank 1 (pid ");
    free_groups();
}

static bool is_known(dcm_status st)
{
    return strcmp(dcm_status_str(st), "unknown status") != 0;
}

/* What comes back is noise on all ranks: each sees it by its own entry. */
static void test_noise(void **state)
{
    static const gather_deed deeds[] = {GATHER_GARBAGE, GATHER_ZEROS,
                                        GATHER_SHIFTED};

    (void)state;
    for (size_t d = 0; d < sizeof(deeds) / sizeof(deeds[0]); d++) {
        set_up(2);
        for (int i = 0; i < 2; i++) {
            ranks[i].opts.timeout_ms = 2000;
            ranks[i].gather.at_call = 1;
            ranks[i].gather.deed = deeds[d];
        }
        run(NULL);
        for (int i = 0; i < 2; i++)
            assert_rank(i, DCM_E_INVAL, "the caller's all-gather of ");
        free_groups();
    }
}

/* The same on one rank of two, in each round. */
static void test_noise_on_one(void **state)
{
    static const gather_deed deeds[] = {GATHER_GARBAGE, GATHER_SHIFTED};

    (void)state;
    for (size_t d = 0; d < sizeof(deeds) / sizeof(deeds[0]); d++) {
        for (int call = 1; call <= 3; call++) {
            set_up(2);
            ranks[0].opts.timeout_ms = 2000;
            ranks[1].opts.timeout_ms = 2000;
            ranks[1].gather.at_call = call;
            ranks[1].gather.deed = deeds[d];
            run(NULL);
            if (deeds[d] == GATHER_GARBAGE)
                assert_int_not_equal(ranks[1].st, DCM_OK);
            assert_true(is_known(ranks[0].st) && is_known(ranks[1].st));
            free_groups();
        }
    }
}

static void test_slow(void **state)
{
    (void)state;
    set_up(3);
    for (int i = 0; i < 3; i++)
        ranks[i].opts.timeout_ms = 50;
    ranks[2].gather.at_call = 2;
    ranks[2].gather.deed = GATHER_NAP;
    run(NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ranks[i].st, DCM_E_TIMEOUT);
    free_groups();
}

/* ---- several hosts ----------------------------------------------------------- */

static void on_hosts(const char *const *hosts, int n)
{
    set_up(n);
    for (int i = 0; i < n; i++)
        ranks[i].opts.host = hosts[i];
}

static void test_hosts(void **state)
{
    static const struct {
        const char *names[5];
        int numbers[5];
        int nhosts;
    } cases[] = {
        {{"a", "a", "b", "b", "b"}, {0, 0, 1, 1, 1}, 2},
        {{"a", "b", "a", "b", "a"}, {0, 1, 0, 1, 0}, 2},
        {{"x", "y", "z", "y", "x"}, {0, 1, 2, 1, 0}, 3},
        {{"1", "2", "3", "4", "5"}, {0, 1, 2, 3, 4}, 5},
        {{"s", "s", "s", "s", "s"}, {0, 0, 0, 0, 0}, 1},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        on_hosts(cases[c].names, 5);
        run(exchange_numbers);
        for (int i = 0; i < 5; i++) {
            assert_rank(i, DCM_OK, "");
            assert_int_equal(dcm_group_nhosts(ranks[i].group), cases[c].nhosts);
            for (int q = 0; q < 5; q++)
                assert_int_equal(dcm_group_host_of(ranks[i].group, q),
                                 cases[c].numbers[q]);
        }
        free_groups();
    }
}

static unsigned char byte_of(size_t round, int who, size_t i)
{
    return (unsigned char)(round * 31 + (size_t)who * 57 + i * 3);
}

static void exchange_sizes(rank *r)
{
    static const size_t sizes[] = {0, 1, 7, 4095, 4096};
    const int n = meeting.nranks;
    const size_t rounds = test_is_thin() ? 100 : 1000;
    unsigned char mine[DCM_EXCHANGE_MAX];
    unsigned char *all = malloc(GATHER_BYTES);

    die_unless(all != NULL);
    for (size_t k = 0; k < rounds; k++) {
        const size_t bytes = sizes[k % 5];

        for (size_t i = 0; i < bytes; i++)
            mine[i] = byte_of(k, r->gather.rank, i);
        die_unless(dcm_group_exchange(r->group, bytes != 0 ? mine : NULL,
                                      bytes != 0 ? all : NULL, bytes,
                                      0) == DCM_OK);
        for (int q = 0; q < n; q++)
            for (size_t i = 0; i < bytes; i++)
                die_unless(all[(size_t)q * bytes + i] == byte_of(k, q, i));
        /* One byte too many costs nothing but this call. */
        if (k % 100 == 0)
            die_unless(dcm_group_exchange(r->group, mine, all,
                                          DCM_EXCHANGE_MAX + 1,
                                          0) == DCM_E_INVAL);
    }
    free(all);
}

static void test_exchange_between_hosts(void **state)
{
    static const char *const two[] = {"a", "b", "a", "b"};
    static const char *const three[] = {"a", "b", "c"};

    (void)state;
    on_hosts(two, 4);
    run(exchange_sizes);
    for (int i = 0; i < 4; i++)
        assert_rank(i, DCM_OK, "");
    free_groups();
    on_hosts(three, 3);
    run(exchange_sizes);
    free_groups();
}

/* Rank 3 gives another size than the others. */
static void exchange_wrongly(rank *r)
{
    const size_t bytes = r->gather.rank == 3 ? 8 : 4;
    const uint64_t mine = 1;
    uint64_t all[GATHER_RANKS];

    r->st = dcm_group_exchange(r->group, &mine, all, bytes, 0);
    (void)snprintf(r->message, sizeof(r->message), "%s", dcm_errmsg());
}

/* It is told between hosts too, whether a host sees it itself or not. */
static void test_mismatch_between_hosts(void **state)
{
    static const char *const two[] = {"a", "a", "b", "b"};
    static const char *const apart[] = {"a", "a", "b", "c"};
    const char *const *const cases[] = {two, apart};

    (void)state;
    for (size_t c = 0; c < 2; c++) {
        on_hosts(cases[c], 4);
        run(exchange_wrongly);
        for (int i = 0; i < 4; i++) {
            assert_rank(i, DCM_E_MISMATCH, "rank 3");
            assert_rank(i, DCM_E_MISMATCH, "8");
        }
        free_groups();
    }
}

static void try_comm(rank *r)
{
    dcm_comm *comm = NULL;

    r->st = dcm_comm_new(&comm, r->group, NULL);
    (void)snprintf(r->message, sizeof(r->message), "%s", dcm_errmsg());
    die_unless(comm == NULL);
    exchange_numbers(r); /* the group is as good as before */
}

static void test_no_backend(void **state)
{
    static const char *const hosts[] = {"a", "a", "b", "b"};

    (void)state;
    on_hosts(hosts, 4);
    run(try_comm);
    for (int i = 0; i < 4; i++) {
        assert_rank(i, DCM_E_UNSUP, "no backend serves these 4 ranks");
        assert_rank(i, DCM_E_UNSUP, "cpu: ");
        assert_rank(i, DCM_E_UNSUP, "2 hosts");
        assert_string_equal(ranks[i].message, ranks[0].message);
    }
    free_groups();
}

/* Rank 3 leaves: its host sees it, and the others' function is told. */
static void leave_or_meet(rank *r)
{
    if (r->gather.rank == 3) {
        dcm_group_free(r->group);
        r->group = NULL;
        return;
    }
    meet_the_rest(r);
    gather_break(&meeting);
}

static void test_leave_between_hosts(void **state)
{
    static const char *const hosts[] = {"a", "a", "b", "b"};

    (void)state;
    on_hosts(hosts, 4);
    run(leave_or_meet);
    assert_rank(2, DCM_E_PEER, "rank 3 (pid ");
    assert_rank(2, DCM_E_PEER, "on host 1) has left");
    for (int i = 0; i < 2; i++)
        assert_int_not_equal(ranks[i].st, DCM_OK);
    free_groups();
}

static void test_nothing_left(void **state)
{
    (void)state;
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_host),
        cmocka_unit_test(test_fn_fails),
        cmocka_unit_test(test_fn_fails_last),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_noise_on_one),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_exchange_between_hosts),
        cmocka_unit_test(test_mismatch_between_hosts),
        cmocka_unit_test(test_no_backend),
        cmocka_unit_test(test_leave_between_hosts),
        cmocka_unit_test(test_nothing_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

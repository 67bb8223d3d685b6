/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups whose ranks are threads: exchanges that do not fit, ranks that do not
 * come, threads that end before their rank, and nothing left behind.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "comm/comm.h"
#include "group/group.h"
#include "leaks.h"

/* ---- exchanges --------------------------------------------------------------- */

typedef struct outcome {
    dcm_status st;
    char message[512];
} outcome;

static void note(outcome *o, dcm_status st)
{
    o->st = st;
    (void)snprintf(o->message, sizeof(o->message), "%s", dcm_errmsg());
}

typedef struct sizes {
    size_t bytes[4];
    outcome outcome[4];
} sizes;

static void exchange_size(int rank, dcm_group *group, void *arg)
{
    sizes *s = arg;
    unsigned char *mine = malloc(DCM_EXCHANGE_MAX + 1);
    unsigned char *all = malloc(4 * (size_t)(DCM_EXCHANGE_MAX + 1));

    die_unless(mine != NULL && all != NULL);
    memset(mine, 'a' + rank, DCM_EXCHANGE_MAX + 1);
    note(&s->outcome[rank],
         dcm_group_exchange(group, mine, all, s->bytes[rank], 0));
    if (s->outcome[rank].st == DCM_OK) {
        for (int r = 0; r < dcm_group_nranks(group); r++)
            for (size_t i = 0; i < s->bytes[rank]; i++)
                die_unless(all[(size_t)r * s->bytes[rank] + i] == 'a' + r);
    } else if (s->outcome[rank].st == DCM_E_MISMATCH) {
        /* The halves are out of step now: it stays failed. */
        die_unless(dcm_group_exchange(group, mine, all, 1, 0) ==
                   DCM_E_MISMATCH);
        die_unless(strstr(dcm_errmsg(), "earlier") != NULL);
    }
    free(mine);
    free(all);
}

static void test_exchange_sizes(void **state)
{
    static const size_t good[] = {0, 1, 4095, 4096};

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        sizes s = {.bytes = {good[k], good[k], good[k], good[k]}};

        test_run_threads(4, exchange_size, &s);
        for (int r = 0; r < 4; r++)
            assert_int_equal(s.outcome[r].st, DCM_OK);
    }
}

static void test_exchange_mismatch(void **state)
{
    static const struct {
        int nranks;
        size_t bytes[4];
    } cases[] = {
        {2, {8, 16, 0, 0}},
        {2, {0, 1, 0, 0}},
        {3, {4, 4, 5, 0}},
        {4, {4096, 4096, 4096, 4095}},
    };

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        sizes s = {.bytes = {0}};

        memcpy(s.bytes, cases[c].bytes, sizeof(s.bytes));
        test_run_threads(cases[c].nranks, exchange_size, &s);
        for (int r = 0; r < cases[c].nranks; r++) {
            assert_int_equal(s.outcome[r].st, DCM_E_MISMATCH);
            assert_non_null(strstr(s.outcome[r].message, "exchange: rank "));
        }
    }
}

static void test_exchange_arguments(void **state)
{
    unsigned char all[2 * 8];
    dcm_group *group;

    (void)state;
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    assert_status(dcm_group_exchange(NULL, all, all, 8, 0), DCM_E_INVAL,
                  "no group");
    assert_status(dcm_group_exchange(group, NULL, all, 8, 0), DCM_E_INVAL,
                  "no memory");
    assert_status(dcm_group_exchange(group, all, NULL, 8, 0), DCM_E_INVAL,
                  "no memory");
    assert_status(dcm_group_exchange(group, all, all, 4097, 0), DCM_E_INVAL,
                  "4097");
    assert_status(dcm_group_exchange(group, all, all, SIZE_MAX, 0), DCM_E_INVAL,
                  "4096");
    assert_ok(dcm_group_exchange(group, NULL, NULL, 0, 0));
    assert_ok(dcm_group_exchange(group, all, all, 8, 0)); /* in place */
    dcm_group_free(group);
}

static void *late_exchange(void *arg)
{
    die_unless(dcm_group_exchange(arg, "1", (char[3]){0}, 1, 0) == DCM_OK);
    return NULL;
}

/* Two of three do not come in time; who comes then finds the post. */
static void test_exchange_late(void **state)
{
    dcm_group *groups[3];
    char all[3];
    pthread_t threads[2];

    (void)state;
    assert_ok(dcm_group_new_local(groups, 3, NULL));
    assert_status(dcm_group_exchange(groups[1], "1", all, 1, 20), DCM_E_TIMEOUT,
                  "exchange: rank 0 (pid ");
    assert_non_null(strstr(dcm_errmsg(), ", rank 2 (pid "));
    assert_non_null(strstr(dcm_errmsg(), "are late"));
    assert_status(dcm_group_exchange(groups[1], "1", all, 1, 0), DCM_E_TIMEOUT,
                  "earlier");
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, late_exchange, groups[2 * i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int r = 0; r < 3; r++)
        dcm_group_free(groups[r]);
}

/* The group's own deadline counts where the call gives none. */
static void test_exchange_deadline(void **state)
{
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *groups[2];
    char all[2];

    (void)state;
    opts.timeout_ms = 200;
    assert_ok(dcm_group_new_local(groups, 2, &opts));
    assert_status(dcm_group_exchange(groups[0], "0", all, 1, 0), DCM_E_TIMEOUT,
                  "rank 1 (pid ");
    assert_non_null(strstr(dcm_errmsg(), "is late"));
    dcm_group_free(groups[0]);
    assert_status(dcm_group_exchange(groups[1], "0", all, 1, 0), DCM_OK, "");
    assert_status(dcm_group_exchange(groups[1], "0", all, 1, 0), DCM_E_PEER,
                  "rank 0 (pid ");
    dcm_group_free(groups[1]);
}

typedef struct host_rank {
    int rank;
    dcm_status st;
    char message[256];
} host_rank;

/* Rank 2, the second of host "b", leaves; the others exchange. */
static void *exchange_without_2(void *arg)
{
    static const char *const hosts[] = {"a", "b", "b"};
    host_rank *r = arg;
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *group;
    char address[64];
    char all[3];

    (void)snprintf(address, sizeof(address), "unix:threads-%d", (int)getpid());
    opts.host = hosts[r->rank];
    opts.timeout_ms = 60000;
    die_unless(dcm_group_new(&group, address, r->rank, 3, &opts) == DCM_OK);
    die_unless(dcm_group_nhosts(group) == 2);
    if (r->rank != 2) {
        r->st = dcm_group_exchange(group, "x", all, 1, 0);
        (void)snprintf(r->message, sizeof(r->message), "%s", dcm_errmsg());
    }
    dcm_group_free(group);
    return NULL;
}

/* A host that misses a rank tells the other hosts at once which. */
static void test_exchange_told_between_hosts(void **state)
{
    const uint64_t start_ns = dcmi_now_ns();
    host_rank ranks[3];
    pthread_t threads[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        ranks[i] = (host_rank){.rank = i};
        assert_int_equal(
            pthread_create(&threads[i], NULL, exchange_without_2, &ranks[i]),
            0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        if (ranks[i].st != DCM_E_PEER ||
            strstr(ranks[i].message, "rank 2 (pid ") == NULL)
            fail_msg("rank %d: %d: %s", i, (int)ranks[i].st, ranks[i].message);
    }
    assert_true(dcmi_now_ns() - start_ns < 60 * 1000000000ull);
}

/* ---- creation ---------------------------------------------------------------- */

static void test_all_ranks(void **state)
{
    dcm_group *groups[DCM_MAX_RANKS];

    (void)state;
    assert_ok(dcm_group_new_local(groups, DCM_MAX_RANKS, NULL));
    for (int r = 0; r < DCM_MAX_RANKS; r++) {
        assert_int_equal(dcm_group_rank(groups[r]), r);
        assert_int_equal(dcm_group_nranks(groups[r]), DCM_MAX_RANKS);
        assert_int_equal(dcm_group_nhosts(groups[r]), 1);
    }
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        dcm_group_free(groups[r]);
}

/* A deadline that passes in the midst of creation. */
static void test_hasty(void **state)
{
    const int times = test_is_thin() ? 20 : 100;
    const int fds = test_count_fds();
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *groups[DCM_MAX_RANKS];

    (void)state;
    opts.timeout_ms = 1;
    for (int i = 0; i < times; i++) {
        const dcm_status st = dcm_group_new_local(groups, DCM_MAX_RANKS, &opts);

        if (st == DCM_OK) {
            for (int r = 0; r < DCM_MAX_RANKS; r++)
                dcm_group_free(groups[r]);
            continue;
        }
        if (st != DCM_E_TIMEOUT)
            fail_msg("%d: %s", (int)st, dcm_errmsg());
    }
    assert_int_equal(test_count_fds(), fds);
}

/* ---- threads that end before their rank -------------------------------------- */

static dcmi_life_state life_of(const dcm_group *group, int rank)
{
    return dcmi_life_look(&group->hall->life[group->slot_of[rank]]);
}

typedef struct pair {
    dcm_group *groups[2];
    dcm_comm *comms[2];
    float sum[2];
    atomic_int steps;
} pair;

static void *make_pair(void *arg)
{
    pair *p = arg;

    die_unless(dcm_group_new_local(p->groups, 2, NULL) == DCM_OK);
    die_unless(dcm_comm_new_multi(p->comms, p->groups, 2, NULL) == DCM_OK);
    return NULL;
}

static void reduce(pair *p, int rank)
{
    const float mine = (float)(rank + 1);

    die_unless(dcm_all_reduce(p->comms[rank], &mine, &p->sum[rank], 1, DCM_F32,
                              DCM_SUM, NULL) == DCM_OK);
    die_unless(p->sum[rank] == 3.0f);
}

static void *reduce_as_1(void *arg)
{
    reduce(arg, 1);
    return NULL;
}

/*
 * The thread that made everything has ended: rank 1 waits for rank 0, for a
 * while, and does not hold it for dead; then rank 0 goes on in another thread.
 */
static void test_maker_ends(void **state)
{
    const dcmi_bells *bells;
    pthread_t maker;
    pthread_t other;
    pair p;

    (void)state;
    memset(&p, 0, sizeof(p));
    assert_int_equal(pthread_create(&maker, NULL, make_pair, &p), 0);
    assert_int_equal(pthread_join(maker, NULL), 0);
    for (int r = 0; r < 2; r++)
        assert_int_equal(life_of(p.groups[0], r), DCMI_LIFE_ORPHAN);

    assert_int_equal(pthread_create(&other, NULL, reduce_as_1, &p), 0);
    bells = &p.comms[0]->team.shared->bells;
    while (atomic_load(&bells->n_parked) == 0)
        ; /* it has looked at rank 0's life word many times by then */
    assert_int_equal(life_of(p.groups[0], 0), DCMI_LIFE_ORPHAN);
    assert_int_equal(life_of(p.groups[0], 1), DCMI_LIFE_ALIVE);
    reduce(&p, 0);
    assert_int_equal(life_of(p.groups[0], 0), DCMI_LIFE_ALIVE);
    assert_int_equal(pthread_join(other, NULL), 0);

    /* Rank 1's second thread has ended too. */
    assert_int_equal(life_of(p.groups[0], 1), DCMI_LIFE_ORPHAN);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(dcm_comm_check(p.comms[r]), DCM_OK);
        dcm_comm_free(p.comms[r]);
        dcm_group_free(p.groups[r]);
    }
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

typedef struct turn {
    pair *p;
    int rank;
} turn;

static void *reduce_once(void *arg)
{
    const turn *t = arg;

    reduce(t->p, t->rank);
    return NULL;
}

/* A new thread for every call: each takes the rank over from the last. */
static void test_thread_a_call(void **state)
{
    const int calls = test_is_thin() ? 20 : 200;
    pair p;

    (void)state;
    memset(&p, 0, sizeof(p));
    (void)make_pair(&p);
    for (int i = 0; i < calls; i++) {
        turn turns[2] = {{&p, 0}, {&p, 1}};
        pthread_t threads[2];

        for (int r = 0; r < 2; r++)
            assert_int_equal(
                pthread_create(&threads[r], NULL, reduce_once, &turns[r]), 0);
        for (int r = 0; r < 2; r++)
            assert_int_equal(pthread_join(threads[r], NULL), 0);
    }
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(p.comms[r]);
        dcm_group_free(p.groups[r]);
    }
}

static void *free_pair(void *arg)
{
    pair *p = arg;

    for (int r = 0; r < 2; r++) {
        dcm_comm_free(p->comms[r]);
        dcm_group_free(p->groups[r]);
    }
    return NULL;
}

static void run_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* Freed by another thread than its maker, who lives on. */
static void test_freed_by_another(void **state)
{
    dcm_group *group;
    pair p;

    (void)state;
    for (int i = 0; i < 10; i++) {
        memset(&p, 0, sizeof(p));
        (void)make_pair(&p);
        run_thread(free_pair, &p);
        /* The maker still holds the life words of this round, no more. */
        assert_in_range(test_count_maps("memfd:devcomm-hall"), 0, 1);
        assert_int_equal(test_count_maps("memfd:devcomm-team"), 0);
    }
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    dcm_group_free(group);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

static void *make_and_stay(void *arg)
{
    pair *p = arg;

    (void)make_pair(p);
    (void)atomic_fetch_add(&p->steps, 1);
    while (atomic_load(&p->steps) < 2)
        ;
    return NULL;
}

static void test_freed_before_maker_ends(void **state)
{
    pthread_t maker;
    pair p;

    (void)state;
    memset(&p, 0, sizeof(p));
    assert_int_equal(pthread_create(&maker, NULL, make_and_stay, &p), 0);
    while (atomic_load(&p.steps) == 0)
        ;
    (void)free_pair(&p);
    (void)atomic_fetch_add(&p.steps, 1);
    assert_int_equal(pthread_join(maker, NULL), 0);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

/* Nobody has taken the orphans over when they are freed. */
static void test_orphans_freed(void **state)
{
    pair p;

    (void)state;
    memset(&p, 0, sizeof(p));
    run_thread(make_pair, &p);
    (void)free_pair(&p);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

/* ---- many -------------------------------------------------------------------- */

static void one_of_many(int rank, dcm_group *group, void *arg)
{
    dcm_arena *arena;
    dcm_comm *comms[3];
    int32_t value[3];

    (void)arg;
    for (int i = 0; i < 3; i++)
        die_unless(dcm_comm_new(&comms[i], group, NULL) == DCM_OK);
    die_unless(dcm_arena_new(&arena, comms[1], 10000) == DCM_OK);
    for (int i = 2; i >= 0; i--) {
        value[i] = rank + i;
        die_unless(dcm_all_reduce(comms[i], &value[i], &value[i], 1, DCM_I32,
                                  DCM_MAX, NULL) == DCM_OK);
        die_unless(value[i] == dcm_group_nranks(group) - 1 + i);
    }
    if (rank != 1) /* an arena goes with its communicator, freed or not */
        dcm_arena_free(arena);
    for (int i = 0; i < 3; i++) {
        die_unless(dcm_comm_finalize(comms[i], 0) == DCM_OK);
        if (i == 1 && rank == 1)
            dcm_arena_free(arena);
        dcm_comm_free(comms[i]);
    }
}

static void test_many(void **state)
{
    const int rounds = test_is_thin() ? 4 : 40;
    int maps = 0;
    int fds = 0;

    (void)state;
    for (int i = 0; i < rounds; i++) {
        test_run_threads(1 + i % 4, one_of_many, NULL);
        if (i == 3) { /* the allocators have what they want by now */
            maps = test_count_maps("");
            fds = test_count_fds();
        }
    }
    assert_int_equal(test_count_fds(), fds);
    assert_in_range(test_count_maps(""), 0, maps + 20);
    assert_int_equal(test_count_maps("memfd:devcomm"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_sizes),
        cmocka_unit_test(test_exchange_mismatch),
        cmocka_unit_test(test_exchange_arguments),
        cmocka_unit_test(test_exchange_late),
        cmocka_unit_test(test_exchange_deadline),
        cmocka_unit_test(test_exchange_told_between_hosts),
        cmocka_unit_test(test_all_ranks),
        cmocka_unit_test(test_hasty),
        cmocka_unit_test(test_maker_ends),
        cmocka_unit_test(test_thread_a_call),
        cmocka_unit_test(test_freed_by_another),
        cmocka_unit_test(test_freed_before_maker_ends),
        cmocka_unit_test(test_orphans_freed),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

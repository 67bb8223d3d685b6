/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bootstrap over sockets, ranks as processes: meeting, exchanging, and what
 * each rank is told when another is late, dead, double or mistaken.
 */
#define _GNU_SOURCE
#include "boot_support.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum {
    WAIT_MS = 90000
};

static mp_world mp;
static int nranks;

/* ---- meeting ---------------------------------------------------------------- */

static int meet_and_exchange(int rank, void *arg)
{
    static const size_t sizes[] = {0, 1, 200, DCM_EXCHANGE_MAX};
    int owner[DCM_MAX_RANKS];
    dcmi_boot *boot;

    die_unless(meet(&boot, arg, rank, nranks, 60000, NULL) == DCM_OK);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        die_unless(exchange(boot, sizes[i], 1, 60000) == DCM_OK);

    /* Every third rank leads two others; only leaders go on. */
    for (int r = 0; r < nranks; r++)
        owner[r] = r - r % 3;
    boot->ops->keep(boot, owner);
    if (rank % 3 == 0) {
        die_unless(exchange(boot, 64, 3, 60000) == DCM_OK);
        die_unless(exchange(boot, 65, 3, 60000) == DCM_OK);
    } else {
        die_unless(exchange(boot, 64, 3, 60000) == DCM_E_INVAL);
    }
    boot->ops->close(boot);
    return 0;
}

static void test_sizes(void **state)
{
    static const int sizes[] = {1, 2, 3, 8, 64};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        nranks = sizes[i];
        fresh();
        mp_spawn(&mp, nranks, meet_and_exchange, unix_address);
        mp_wait(&mp, WAIT_MS, 0);
        mp_spawn(&mp, nranks, meet_and_exchange, tcp_address);
        mp_wait(&mp, WAIT_MS, 0);
    }
}

static int meet_late(int rank, void *arg)
{
    if (rank == 0) {
        await_stage(1);
        dcmi_nap_ns(50 * DCMI_NS_PER_MS); /* let the others try in vain */
    } else {
        atomic_store(&shared->stage, 1);
    }
    meet_well(arg, rank, 3, NULL);
    return 0;
}

static void test_late_leader(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, meet_late, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    fresh();
    mp_spawn(&mp, 3, meet_late, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
}

static int meet_often(int rank, void *arg)
{
    for (int i = 0; i < 20; i++)
        meet_well(arg, rank, 3, NULL);
    return 0;
}

static void test_groups_in_a_row(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, meet_often, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    mp_spawn(&mp, 3, meet_often, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
}

static int meet_in_two_jobs(int rank, void *arg)
{
    const char *const *addresses = arg;

    for (int i = 0; i < 10; i++)
        meet_well(addresses[rank % 2], rank / 2, 3, NULL);
    return 0;
}

static void test_two_jobs(void **state)
{
    char other[80];
    const char *addresses[2] = {unix_address, other};

    (void)state;
    fresh();
    (void)snprintf(other, sizeof(other), "%s-b", unix_address);
    mp_spawn(&mp, 6, meet_in_two_jobs, addresses);
    mp_wait(&mp, WAIT_MS, 0);
    (void)snprintf(other, sizeof(other), "tcp:127.0.0.1:%d", free_port());
    addresses[0] = tcp_address;
    mp_spawn(&mp, 6, meet_in_two_jobs, addresses);
    mp_wait(&mp, WAIT_MS, 0);
}

static void *thread_rank(void *arg)
{
    const int rank = *(const int *)arg;

    for (int i = 0; i < 5; i++)
        meet_well(unix_address, rank, 3, NULL);
    return NULL;
}

/* Ranks that are threads count their groups each for itself. */
static void test_threads(void **state)
{
    int ranks[3] = {0, 1, 2};
    pthread_t threads[3];

    (void)state;
    fresh();
    for (int r = 0; r < 3; r++)
        assert_int_equal(
            pthread_create(&threads[r], NULL, thread_rank, &ranks[r]), 0);
    for (int r = 0; r < 3; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

/* ---- who does not come ------------------------------------------------------ */

/* Ranks 0 and 1 of 5; how long each would wait. */
static int miss_others(int rank, void *arg)
{
    const uint32_t *timeout_ms = arg;
    dcmi_boot *boot;
    dcm_status st;

    st = meet(&boot, unix_address, rank, 5, timeout_ms[rank], NULL);
    if (st == DCM_OK) {
        die_unless(rank != 0);
        st = exchange(boot, 8, 1, timeout_ms[rank]);
        note(rank, st);
        die_unless(exchange(boot, 8, 1, 1) == st);
        boot->ops->close(boot);
        return 0;
    }
    note(rank, st);
    return 0;
}

static void test_missing(void **state)
{
    static uint32_t timeouts[][2] = {{300, 300}, {300, 60000}, {60000, 300}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fresh();
        mp_spawn(&mp, 2, miss_others, timeouts[i]);
        mp_wait(&mp, 30000, 0);
        assert_noted(0, DCM_E_TIMEOUT, "ranks 2 to 4 did not come to unix:");
        assert_noted(1, DCM_E_TIMEOUT, "ranks 2 to 4 did not come to unix:");
        assert_string_equal(shared->text[0], shared->text[1]);
    }
}

static int be_alone(int rank, void *arg)
{
    dcmi_boot *boot;

    note(rank, meet(&boot, arg, 1, 2, 200, NULL));
    return 0;
}

static void test_no_leader(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 1, be_alone, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(0, DCM_E_TIMEOUT,
                 "rank 1 did not reach rank 0: nobody "
                 "listens on socket @devcomm-");
    mp_spawn(&mp, 1, be_alone, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(0, DCM_E_TIMEOUT, "Connection refused");
}

/*
 * Rank 2 meets the others, but exchanges when they have given up: all with rank
 * 1, who waits least.
 */
static int exchange_late(int rank, void *arg)
{
    dcmi_boot *boot;

    die_unless(meet(&boot, arg, rank, 4, 60000, NULL) == DCM_OK);
    if (rank == 2)
        await_stage(3);
    note(rank, exchange(boot, 8, 1, rank == 1 ? 300 : 60000));
    if (rank != 2)
        (void)atomic_fetch_add(&shared->stage, 1);
    boot->ops->close(boot);
    return 0;
}

static void test_late_exchange(void **state)
{
    const char *const addresses[] = {unix_address, tcp_address};

    (void)state;
    for (int i = 0; i < 2; i++) {
        fresh();
        mp_spawn(&mp, 4, exchange_late, (void *)(uintptr_t)addresses[i]);
        mp_wait(&mp, 30000, 0);
        for (int r = 0; r < 4; r++) {
            assert_noted(r, DCM_E_TIMEOUT, "rank 2 (pid ");
            assert_string_equal(shared->text[r], shared->text[0]);
        }
    }
}

/* ---- who dies --------------------------------------------------------------- */

/* Rank *arg dies between meeting and exchanging. */
static int die_before_exchange(int rank, void *arg)
{
    dcmi_boot *boot;

    die_unless(meet(&boot, unix_address, rank, 4, 60000, NULL) == DCM_OK);
    (void)atomic_fetch_add(&shared->stage, 1);
    if (rank == *(const int *)arg) {
        await_stage(4); /* a death before all have met is test_dead_early's */
        (void)raise(SIGKILL);
    }
    note(rank, exchange(boot, 8, 1, 60000));
    boot->ops->close(boot);
    return 0;
}

static void test_dead(void **state)
{
    int victim = 3;

    (void)state;
    fresh();
    mp_spawn(&mp, 4, die_before_exchange, &victim);
    mp_wait(&mp, 30000, 1u << 3);
    for (int r = 0; r < 3; r++) {
        assert_noted(r, DCM_E_PEER, "rank 3 (pid ");
        assert_noted(r, DCM_E_PEER, "died or left");
        assert_string_equal(shared->text[r], shared->text[0]);
    }
    fresh();
    victim = 0;
    mp_spawn(&mp, 4, die_before_exchange, &victim);
    mp_wait(&mp, 30000, 1u << 0);
    for (int r = 1; r < 4; r++)
        assert_noted(r, DCM_E_PEER, "rank 0");
}

/* Ranks 1 and 2 of 4 meet rank 0, rank 1 dies, rank 3 never comes. */
static int die_before_all(int rank, void *arg)
{
    dcmi_boot *boot;
    dcm_status st;

    (void)arg;
    st = meet(&boot, unix_address, rank, 4, 60000, NULL);
    if (rank != 0) {
        die_unless(st == DCM_OK);
        (void)atomic_fetch_add(&shared->stage, 1);
        await_stage(2);
        if (rank == 1)
            (void)raise(SIGKILL);
        st = exchange(boot, 8, 1, 60000);
        boot->ops->close(boot);
    }
    note(rank, st);
    return 0;
}

static void test_dead_early(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, die_before_all, NULL);
    mp_wait(&mp, 30000, 1u << 1);
    assert_noted(0, DCM_E_PEER, "rank 1 (pid ");
    assert_noted(2, DCM_E_PEER, "rank 1 (pid ");
    assert_string_equal(shared->text[0], shared->text[2]);
}

/* ---- who is mistaken -------------------------------------------------------- */

static const struct mistake {
    int rank;
    int nranks;
    dcm_status status;
    const char *text;
} mistakes[] = {
    {1, 3, DCM_E_BUSY, "a second rank 1: rank 1 (pid "},
    {2, 5, DCM_E_INVAL, "rank 2 counts 5 ranks, rank 0 3"},
    {7, 3, DCM_E_INVAL, "rank 7 is not one of 1 to 2"},
};

/* Processes 0, 1, 2 are the ranks, process 3 makes a mistake in between. */
static int mistake_rank(int process, void *arg)
{
    const struct mistake *m = arg;
    dcmi_boot *boot;

    if (process == 3) {
        await_stage(1);
        note(3, meet(&boot, tcp_address, m->rank, m->nranks, 60000, NULL));
        atomic_store(&shared->stage, 2);
        return 0;
    }
    if (process == 2)
        await_stage(2);
    die_unless(meet(&boot, tcp_address, process, 3, 60000, NULL) == DCM_OK);
    if (process == 1)
        atomic_store(&shared->stage, 1);
    die_unless(exchange(boot, 8, 1, 60000) == DCM_OK);
    boot->ops->close(boot);
    return 0;
}

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fresh();
        mp_spawn(&mp, 4, mistake_rank, (void *)(uintptr_t)&mistakes[i]);
        mp_wait(&mp, WAIT_MS, 0);
        assert_noted(3, mistakes[i].status, mistakes[i].text);
    }
}

/* Rank 0, which nobody joins but who is refused, says so in the end. */
static int refuse_and_give_up(int rank, void *arg)
{
    dcmi_boot *boot;

    (void)arg;
    if (rank == 0)
        note(0, meet(&boot, unix_address, 0, 3, 1500, NULL));
    else
        note(1, meet(&boot, unix_address, 2, 4, 30000, NULL));
    return 0;
}

static void test_refused_are_told(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 2, refuse_and_give_up, NULL);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(1, DCM_E_INVAL, "rank 2 cannot join: rank 2 counts 4 ranks");
    assert_noted(0, DCM_E_TIMEOUT, "ranks 1, 2 did not come to unix:");
    assert_noted(0, DCM_E_TIMEOUT, "refused: 1, the last: pid ");
    assert_noted(0, DCM_E_TIMEOUT, "rank 2 counts 4 ranks, rank 0 3");
}

/* A process that has missed a group at this address is told so. */
static int miss_a_group(int rank, void *arg)
{
    dcmi_boot *boot;

    (void)arg;
    if (rank == 0) {
        meet_well(tcp_address, 0, 1, NULL);
        note(0, meet(&boot, tcp_address, 0, 2, 1500, NULL));
    } else {
        note(1, meet(&boot, tcp_address, 1, 2, 30000, NULL));
    }
    return 0;
}

static void test_generations(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 2, miss_a_group, NULL);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(1, DCM_E_INVAL,
                 "rank 1 makes its group number 1 at this "
                 "address, rank 0 number 2");
    assert_noted(0, DCM_E_TIMEOUT, "rank 1 did not come");
}

static int exchange_different_sizes(int rank, void *arg)
{
    dcmi_boot *boot;

    (void)arg;
    die_unless(meet(&boot, unix_address, rank, 3, 60000, NULL) == DCM_OK);
    note(rank, exchange(boot, rank == 1 ? 16 : 8, 1, 60000));
    boot->ops->close(boot);
    return 0;
}

static void test_different_sizes(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, exchange_different_sizes, NULL);
    mp_wait(&mp, WAIT_MS, 0);
    for (int r = 0; r < 3; r++)
        assert_noted(r, DCM_E_MISMATCH, "with 16 bytes for each of 1 ranks");
}

/* The name is held by a socket of another job. */
static void test_busy(void **state)
{
    char name[DCMI_SOCK_NAME_BYTES];
    dcmi_tcp_place place;
    dcmi_boot *boot;
    int fd;

    (void)state;
    fresh();
    (void)snprintf(name, sizeof(name), "devcomm-%u-%s-test-0",
                   (unsigned)geteuid(), unix_address + strlen("unix:"));
    assert_ok(dcmi_unix_listen(&fd, name, 1));
    assert_status(meet(&boot, unix_address, 0, 2, 1000, NULL), DCM_E_BUSY,
                  name);
    dcmi_close(fd);

    assert_ok(dcmi_tcp_resolve(
        &place, "127.0.0.1",
        (uint16_t)atoi(tcp_address + strlen("tcp:127.0.0.1:"))));
    assert_ok(dcmi_tcp_listen(&fd, &place, false, 1));
    assert_status(meet(&boot, tcp_address, 0, 2, 1000, NULL), DCM_E_BUSY,
                  tcp_address + strlen("tcp:"));
    dcmi_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_late_leader),
        cmocka_unit_test(test_groups_in_a_row),
        cmocka_unit_test(test_two_jobs),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_no_leader),
        cmocka_unit_test(test_late_exchange),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_dead_early),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_refused_are_told),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_different_sizes),
        cmocka_unit_test(test_busy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

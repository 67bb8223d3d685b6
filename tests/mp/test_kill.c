/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that die, stop, sleep, abort or call something else, as processes: the
 * others report it by name, regroup and go on, and nothing is left behind.
 *
 * Times are printed, not judged, but for one bound far above what is promised: a
 * shared machine may stall any process for long.
 */
#define _GNU_SOURCE
#include "support.h"

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "any_op.h"
#include "base/parse.h"
#include "mp.h"

enum {
    FLOATS_MOST = 400000,
    DEAD_BOUND_MS = 5000
};

/* Memory that the test and its ranks share. */
typedef struct world {
    _Atomic int running; /* ranks whose loop runs */
    _Atomic int64_t killed_ns;
    int nranks;
    int victim;
    size_t count;
    dcm_coll_kind kind;
    bool use_arena;
    char address[64];
    int64_t latency_ns[DCM_MAX_RANKS];
    _Atomic int stage;
} world;

static world *w;

static int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void fresh_world(int nranks)
{
    static int serial;

    if (w == NULL) {
        w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(w, MAP_FAILED);
    }
    memset(w, 0, sizeof(*w));
    w->nranks = nranks;
    (void)snprintf(w->address, sizeof(w->address), "unix:kill-%d-%d",
                   (int)getpid(), serial++);
}

static void join(dcm_group **group, dcm_comm **comm, int rank,
                 uint32_t timeout_ms)
{
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;

    opts.timeout_ms = timeout_ms;
    die_unless(dcm_group_new(group, w->address, rank, w->nranks, &opts) ==
               DCM_OK);
    die_unless(dcm_comm_new(comm, *group, NULL) == DCM_OK);
}

static double sum_of_ranks(int n)
{
    return n * (n + 1) / 2.0;
}

/* ---- killed at a random moment ---------------------------------------------- */

static void survive(dcm_comm *comm, int rank)
{
    dcm_failure f = {.size = sizeof(f)};
    dcm_comm *rest;
    float mine = (float)(rank + 1);
    float sum;

    dcm_comm_failure(comm, &f);
    if (f.status != DCM_E_PEER || f.rank != w->victim) {
        fprintf(stderr, "rank %d: culprit %d, victim %d: %s\n", rank, f.rank,
                w->victim, f.message);
        abort();
    }
    die_unless(dcm_comm_regroup(&rest, comm, NULL) == DCM_OK);
    die_unless(dcm_comm_nranks(rest) == w->nranks - 1);
    for (int i = 0; i < 10; i++) {
        die_unless(dcm_all_reduce(rest, &mine, &sum, 1, DCM_F32, DCM_SUM,
                                  NULL) == DCM_OK);
        die_unless(sum == (float)(sum_of_ranks(w->nranks) - (w->victim + 1)));
    }
    die_unless(dcm_comm_finalize(rest, 0) == DCM_OK);
    dcm_comm_free(rest);
}

static int loop_until_death(int rank, void *arg)
{
    const size_t all = w->count * (size_t)w->nranks;
    const size_t bytes = all * sizeof(float);
    dcm_arena *arena = NULL;
    dcm_group *group;
    dcm_comm *comm;
    void *src;
    void *dst;

    (void)arg;
    join(&group, &comm, rank, 0);
    if (w->use_arena) {
        die_unless(dcm_arena_new(&arena, comm, 2 * bytes + 4096) == DCM_OK);
        die_unless(dcm_arena_alloc(arena, &src, bytes) == DCM_OK);
        die_unless(dcm_arena_alloc(arena, &dst, bytes) == DCM_OK);
    } else {
        src = malloc(bytes);
        dst = malloc(bytes);
        die_unless(src != NULL && dst != NULL);
    }
    for (size_t i = 0; i < all; i++)
        ((float *)src)[i] = (float)(rank + 1);
    atomic_fetch_add(&w->running, 1);
    while (test_any_op(comm, w->kind, src, dst, w->count, DCM_F32, 0) == DCM_OK)
        die_unless(w->kind != DCM_COLL_ALL_REDUCE ||
                   ((float *)dst)[w->count - 1] ==
                       (float)sum_of_ranks(w->nranks));
    w->latency_ns[rank] = now_ns() - atomic_load(&w->killed_ns);
    survive(comm, rank);
    if (!w->use_arena) {
        free(src);
        free(dst);
    }
    dcm_arena_free(arena);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

/* Rendezvous sockets of this test that are still bound, by /proc/net/unix. */
static int count_sockets(void)
{
    char line[512];
    char name[32];
    FILE *f = fopen("/proc/net/unix", "re");
    int n = 0;

    (void)snprintf(name, sizeof(name), "-kill-%d-", (int)getpid());
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL)
        n += strstr(line, name) != NULL;
    (void)fclose(f);
    return n;
}

static int count_shm_files(void)
{
    DIR *d = opendir("/dev/shm");
    const struct dirent *e;
    int n = 0;

    if (d == NULL)
        return 0;
    while ((e = readdir(d)) != NULL)
        n += strstr(e->d_name, "devcomm") != NULL;
    (void)closedir(d);
    return n;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *what, int64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), by_value);
    printf("%s: %zu survivors knew after median %.3f ms, p99 %.3f, most %.3f\n",
           what, n, (double)ns[n / 2] / 1e6, (double)ns[n * 99 / 100] / 1e6,
           (double)ns[n - 1] / 1e6);
    assert_true(ns[n - 1] < DEAD_BOUND_MS * 1000000ll);
}

/* All that survivors of killed ranks needed, beside each case's own. */
static int64_t every_ns[4096];
static size_t n_every;

typedef struct kill_case {
    dcm_coll_kind kind;
    int nranks;
    size_t count;
    bool use_arena;
    int rounds; /* of 10 */
} kill_case;

static void kill_rounds(const kill_case *k, uint64_t *seed)
{
    const int rounds = test_is_thin() ? 1 : k->rounds;
    const int nranks = k->nranks;
    int64_t *ns = calloc((size_t)(rounds * nranks), sizeof(*ns));
    char what[96];
    size_t n = 0;

    assert_non_null(ns);
    for (int i = 0; i < rounds; i++) {
        const struct timespec poll = {.tv_nsec = 50000};
        struct timespec moment = {0};
        mp_world mp;

        fresh_world(nranks);
        w->count = k->count;
        w->kind = k->kind;
        w->use_arena = k->use_arena;
        w->victim = (int)(test_random(seed) % (uint64_t)nranks);
        mp_spawn(&mp, nranks, loop_until_death, NULL);
        while (atomic_load(&w->running) < nranks && mp_alive(&mp))
            (void)nanosleep(&poll, NULL);
        moment.tv_nsec = (long)(test_random(seed) % 3000000);
        (void)nanosleep(&moment, NULL);
        atomic_store(&w->killed_ns, now_ns());
        mp_kill(&mp, w->victim, SIGKILL);
        mp_wait(&mp, 60000, 1ull << w->victim);
        for (int r = 0; r < nranks; r++) {
            if (r != w->victim)
                ns[n++] = w->latency_ns[r];
        }
    }
    (void)snprintf(what, sizeof(what), "killed, %s, %d ranks, %zu floats%s",
                   dcmi_coll_str(k->kind), nranks, k->count,
                   k->use_arena ? " in an arena" : "");
    report(what, ns, n);
    assert_true(n_every + n <= sizeof(every_ns) / sizeof(every_ns[0]));
    memcpy(every_ns + n_every, ns, n * sizeof(*ns));
    n_every += n;
    free(ns);
}

static void test_kill(void **state)
{
    static const kill_case cases[] = {
        {DCM_COLL_ALL_REDUCE, 2, 1, false, 50},
        {DCM_COLL_ALL_REDUCE, 3, 1, false, 30},
        {DCM_COLL_ALL_REDUCE, 2, 3000, false, 30},
        {DCM_COLL_ALL_REDUCE, 2, FLOATS_MOST, false, 30},
        {DCM_COLL_ALL_REDUCE, 4, 20000, false, 20},
        {DCM_COLL_ALL_REDUCE, 3, FLOATS_MOST, true, 20},
        {DCM_COLL_ALL_REDUCE, 2, 5000, true, 20},
    };
    uint64_t seed = test_seed();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        kill_rounds(&cases[i], &seed);
    report("killed, all of all_reduce", every_ns, n_every);
    assert_int_equal(count_sockets(), 0);
    assert_int_equal(count_shm_files(), 0);
}

/* Every other operation, by mail, in one piece and in many. */
static void test_kill_others(void **state)
{
    static const size_t counts[] = {10, 3000, FLOATS_MOST};
    uint64_t seed = test_seed();

    (void)state;
    n_every = 0;
    for (int kind = DCM_COLL_BARRIER; kind <= DCM_COLL_SEND; kind++) {
        for (int i = 0; i < 3; i++) {
            const kill_case k = {
                .kind = (dcm_coll_kind)kind,
                .nranks = 2 + i % 2,
                .count = counts[i],
                .rounds = 4,
            };

            kill_rounds(&k, &seed);
        }
    }
    report("killed, all of the others", every_ns, n_every);
    assert_int_equal(count_sockets(), 0);
    assert_int_equal(count_shm_files(), 0);
}

/* ---- slow is not dead ------------------------------------------------------- */

static int wait_for_sleeper(int rank, void *arg)
{
    const unsigned seconds = *(const unsigned *)arg;
    dcm_group *group;
    dcm_comm *comm;
    int32_t mine = rank;
    int32_t most;

    join(&group, &comm, rank, 0);
    if (rank == w->victim) {
        const struct timespec t = {.tv_sec = (time_t)seconds};

        atomic_fetch_add(&w->running, 1);
        (void)nanosleep(&t, NULL);
    }
    die_unless(dcm_all_reduce(comm, &mine, &most, 1, DCM_I32, DCM_MAX, NULL) ==
               DCM_OK);
    die_unless(most == w->nranks - 1);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

/* Asleep before its call, and for a part of that time stopped. */
static void test_slow(void **state)
{
    unsigned seconds = test_is_thin() ? 2 : 20;
    const struct timespec poll = {.tv_nsec = 1000000};
    const struct timespec half = {.tv_sec = (time_t)(seconds / 2)};
    struct rusage before;
    struct rusage after;
    mp_world mp;

    (void)state;
    fresh_world(3);
    w->victim = 1;
    (void)getrusage(RUSAGE_CHILDREN, &before);
    mp_spawn(&mp, 3, wait_for_sleeper, &seconds);
    while (atomic_load(&w->running) < 1 && mp_alive(&mp))
        (void)nanosleep(&poll, NULL);
    mp_kill(&mp, w->victim, SIGSTOP);
    (void)nanosleep(&half, NULL);
    mp_kill(&mp, w->victim, SIGCONT);
    mp_wait(&mp, 120000, 0);
    (void)getrusage(RUSAGE_CHILDREN, &after);
    printf(
        "three ranks, one asleep for %u s: %.3f s of processor time\n", seconds,
        (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
            (double)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
            (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1e6 +
            (double)(after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6);
}

/* Every operation, by mail, in one piece and in many. */
enum {
    SIZES = 3,
    EVERY = (DCM_COLL_SEND - DCM_COLL_ALL_REDUCE + 1) * SIZES
};

static dcm_status every_op(dcm_comm *comm, int i, float *src, float *dst)
{
    static const size_t counts[SIZES] = {10, 3000, FLOATS_MOST / 4};

    return test_any_op(comm, (dcm_coll_kind)(DCM_COLL_ALL_REDUCE + i / SIZES),
                       src, dst, counts[i % SIZES], DCM_F32, 0);
}

static int stop_before_each(int rank, void *arg)
{
    float *src = calloc(FLOATS_MOST, sizeof(*src));
    float *dst = calloc(FLOATS_MOST, sizeof(*dst));
    dcm_group *group;
    dcm_comm *comm;

    (void)arg;
    die_unless(src != NULL && dst != NULL);
    join(&group, &comm, rank, 0);
    for (int i = 0; i < EVERY; i++) {
        if (rank == w->victim) {
            atomic_store(&w->stage, i + 1);
            (void)raise(SIGSTOP);
        }
        die_unless(every_op(comm, i, src, dst) == DCM_OK);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    dcm_group_free(group);
    free(src);
    free(dst);
    return 0;
}

/* A rank that is stopped before an operation is waited for, whichever it is. */
static void test_stop_others(void **state)
{
    const struct timespec stopped = {.tv_nsec = 60000000};
    mp_world mp;

    (void)state;
    fresh_world(3);
    w->victim = 1;
    mp_spawn(&mp, 3, stop_before_each, NULL);
    while (atomic_load(&w->stage) < EVERY && mp_alive(&mp)) {
        (void)nanosleep(&stopped, NULL);
        mp_kill(&mp, w->victim, SIGCONT);
    }
    (void)nanosleep(&stopped, NULL);
    mp_kill(&mp, w->victim, SIGCONT);
    mp_wait(&mp, 60000, 0);
}

static void check_late(dcm_comm *comm, int rank, uint64_t timeout_ns)
{
    dcm_failure f = {.size = sizeof(f)};

    dcm_comm_failure(comm, &f);
    die_unless(f.status == DCM_E_TIMEOUT && f.rank == w->victim);
    die_unless(rank == w->victim || f.reporter != rank ||
               f.waited_ns >= timeout_ns);
    die_unless(dcm_comm_check(comm) == DCM_E_TIMEOUT);
}

static int report_late(int rank, void *arg)
{
    const struct timespec poll = {.tv_nsec = 1000000};
    float *src = calloc(FLOATS_MOST, sizeof(*src));
    float *dst = calloc(FLOATS_MOST, sizeof(*dst));
    dcm_group *group;
    dcm_comm *comm;
    dcm_status st;

    (void)arg;
    die_unless(src != NULL && dst != NULL);
    join(&group, &comm, rank, 2000);
    for (int i = 0; i < EVERY; i++) {
        /* Alive, and in no call, until both others have given up. */
        while (rank == w->victim &&
               atomic_load(&w->stage) < (i + 1) * (w->nranks - 1))
            (void)nanosleep(&poll, NULL);
        /* A rank may have sent and received all it had to, once. */
        do {
            st = every_op(comm, i, src, dst);
        } while (st == DCM_OK);
        die_unless(st == DCM_E_TIMEOUT);
        if (rank != w->victim) {
            die_unless(strstr(dcm_errmsg(), "rank 2 (pid ") != NULL);
            atomic_fetch_add(&w->stage, 1);
        }
        check_late(comm, rank, i == 0 ? 2000000000ull : 100000000ull);
        dcm_comm_free(comm);
        die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
        dcm_comm_set_timeout(comm, 100);
    }
    dcm_comm_free(comm);
    dcm_group_free(group);
    free(src);
    free(dst);
    return 0;
}

static void test_late(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(3);
    w->victim = 2;
    mp_spawn(&mp, 3, report_late, NULL);
    mp_wait(&mp, 60000, 0);
}

/* Rank 0 waits for rank 2 with all the time in the world, rank 1 for rank 0. */
static int wait_in_line(int rank, void *arg)
{
    const bool in_circle = *(const bool *)arg;
    const struct timespec poll = {.tv_nsec = 1000000};
    const int from = rank == 0 ? 2 : rank - 1;
    dcm_failure f = {.size = sizeof(f)};
    dcm_group *group;
    dcm_comm *comm;
    float x = 0;

    join(&group, &comm, rank, 60000);
    if (rank == 1)
        dcm_comm_set_timeout(comm, 500);
    if (rank == 2 && !in_circle) {
        while (dcm_comm_check(comm) == DCM_OK)
            (void)nanosleep(&poll, NULL);
    } else {
        die_unless(dcm_recv(comm, &x, 1, DCM_F32, from, NULL) == DCM_E_TIMEOUT);
        dcm_comm_failure(comm, &f);
        die_unless(f.reporter == 1 && f.rank == (in_circle ? 0 : 2));
        die_unless(rank != 1 ||
                   strstr(f.message, in_circle ? "nobody is absent"
                                               : "waits too: rank 2 (pid "));
    }
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

/* Who waits for one that waits too blames the end of the line. */
static void test_blame(void **state)
{
    static const bool in_circle[] = {false, true};
    mp_world mp;

    (void)state;
    for (int i = 0; i < 2; i++) {
        fresh_world(3);
        mp_spawn(&mp, 3, wait_in_line, (void *)(uintptr_t)&in_circle[i]);
        mp_wait(&mp, 60000, 0);
    }
}

/* Rank 0 is stopped in its wait for rank 1, which then waits for it. */
static int stop_in_wait(int rank, void *arg)
{
    const struct timespec poll = {.tv_nsec = 1000000};
    dcm_failure f = {.size = sizeof(f)};
    dcm_group *group;
    dcm_comm *comm;
    float x = 0;

    (void)arg;
    join(&group, &comm, rank, 60000);
    if (rank == 0) {
        atomic_store(&w->stage, 1);
        die_unless(dcm_recv(comm, &x, 1, DCM_F32, 1, NULL) != DCM_E_INVAL);
    } else {
        while (atomic_load(&w->stage) < 2)
            (void)nanosleep(&poll, NULL);
        dcm_comm_set_timeout(comm, 2000);
        die_unless(dcm_send(comm, &x, 1, DCM_F32, 0, NULL) == DCM_OK);
        die_unless(dcm_recv(comm, &x, 1, DCM_F32, 0, NULL) == DCM_E_TIMEOUT);
        dcm_comm_failure(comm, &f);
        die_unless(f.rank == 0 && strstr(f.message, "is late") != NULL);
        atomic_store(&w->stage, 3);
    }
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

static void test_stopped_in_wait(void **state)
{
    const struct timespec poll = {.tv_nsec = 1000000};
    const struct timespec wait = {.tv_nsec = 100000000};
    mp_world mp;

    (void)state;
    fresh_world(2);
    mp_spawn(&mp, 2, stop_in_wait, NULL);
    while (atomic_load(&w->stage) < 1 && mp_alive(&mp))
        (void)nanosleep(&poll, NULL);
    (void)nanosleep(&wait, NULL); /* else it is stopped before, and named too */
    mp_kill(&mp, 0, SIGSTOP);
    atomic_store(&w->stage, 2);
    while (atomic_load(&w->stage) < 3 && mp_alive(&mp))
        (void)nanosleep(&poll, NULL);
    mp_kill(&mp, 0, SIGCONT);
    mp_wait(&mp, 60000, 0);
}

/* ---- abort, other calls, short memory --------------------------------------- */

static dcm_comm *to_abort;

static void on_signal(int sig)
{
    (void)sig;
    dcm_comm_abort(to_abort);
}

static int be_aborted(int rank, void *arg)
{
    dcm_group *group;
    dcm_comm *comm;

    (void)arg;
    join(&group, &comm, rank, 0);
    to_abort = comm;
    die_unless(signal(SIGUSR1, on_signal) != SIG_ERR);
    atomic_fetch_add(&w->running, 1);
    if (rank != 0) /* rank 0 never comes: it handles the signal */
        die_unless(dcm_barrier(comm, NULL) == DCM_E_ABORTED);
    else
        while (dcm_comm_check(comm) == DCM_OK)
            (void)usleep(1000);
    die_unless(dcm_comm_check(comm) == DCM_E_ABORTED);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

static void test_abort(void **state)
{
    const struct timespec poll = {.tv_nsec = 1000000};
    mp_world mp;

    (void)state;
    fresh_world(3);
    mp_spawn(&mp, 3, be_aborted, NULL);
    while (atomic_load(&w->running) < 3 && mp_alive(&mp))
        (void)nanosleep(&poll, NULL);
    mp_kill(&mp, 0, SIGUSR1);
    mp_wait(&mp, 60000, 0);
}

static int lack_memory(int rank, void *arg)
{
    dcm_group *group;
    dcm_comm *comm;
    const size_t count = 1000000;
    float *buf = calloc(count, sizeof(*buf));
    struct rlimit limit = {.rlim_cur = 8192, .rlim_max = 8192};
    dcm_status st;

    (void)arg;
    die_unless(buf != NULL);
    join(&group, &comm, rank, 0);
    /* Rank 1 may make no segment any more: its arena fails, on all ranks. */
    if (rank == 0)
        die_unless(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    {
        dcm_arena *arena;

        st = dcm_arena_new(&arena, comm, 1 << 20);
        die_unless(st == DCM_E_NOMEM);
        die_unless(strstr(dcm_errmsg(), "ulimit -f") != NULL);
    }
    /* The communicator itself is as good as before. */
    die_unless(dcm_all_reduce(comm, buf, buf, 100, DCM_F32, DCM_SUM, NULL) ==
               DCM_OK);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    dcm_group_free(group);
    free(buf);
    return 0;
}

static void test_memory(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(2);
    mp_spawn(&mp, 2, lack_memory, NULL);
    mp_wait(&mp, 60000, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_kill_others),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_stopped_in_wait),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_stop_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

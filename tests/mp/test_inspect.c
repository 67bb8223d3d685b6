/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs looked at from outside: the verdict names the rank that sleeps, has called
 * something else, was killed, is stopped, or has not come yet.
 *
 * The test looks again until the verdict says what it must, or a minute is over:
 * no time is judged.
 */
#define _GNU_SOURCE
#include "support.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "inspect/job.h"
#include "inspect/verdict.h"
#include "mp.h"

enum {
    NRANKS = 4,
    ODD = 2, /* the rank that does something else */
    OPS = 5,
    COUNT = 1000,
    PATIENCE_MS = 60000,
    APART_MS = 20,
};

typedef enum scene {
    SLEEPS,
    CALLS_OTHER,
    NEVER_MAKES,
    NEVER_JOINS,
    WAITS_FOR_MESSAGE,
    GOES_ON,
    IS_IDLE,
    HAS_SPLIT,
} scene;

typedef struct job {
    scene scene;
    char address[64];
} job;

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static _Noreturn void stay(void)
{
    for (;;)
        (void)pause();
}

/* Who fails stays, so that the order in which ranks are killed does not matter. */
static void must(dcm_status st)
{
    if (st == DCM_OK)
        return;
    fprintf(stderr, "%s\n", dcm_errmsg());
    stay();
}

static dcm_status reduce(dcm_comm *comm)
{
    float v[COUNT] = {0};

    return dcm_all_reduce(comm, v, v, COUNT, DCM_F32, DCM_SUM, NULL);
}

static dcm_status odd_rank(const job *j, dcm_comm *comm)
{
    float v[COUNT] = {0};

    if (j->scene == SLEEPS || j->scene == IS_IDLE)
        stay();
    if (j->scene == CALLS_OTHER)
        return dcm_broadcast(comm, v, v, COUNT, DCM_F32, 0, NULL);
    if (j->scene == WAITS_FOR_MESSAGE)
        return dcm_recv(comm, v, 7, DCM_F32, 0, NULL);
    return DCM_OK;
}

static int be_rank(int rank, void *arg)
{
    const job *j = arg;
    dcm_group *group;
    dcm_comm *comm;
    dcm_comm *half;

    if (j->scene == NEVER_JOINS && rank == ODD)
        stay();
    must(dcm_group_new(&group, j->address, rank, NRANKS, NULL));
    if (j->scene == NEVER_MAKES && rank == ODD)
        stay();
    must(dcm_comm_new(&comm, group, NULL));
    if (j->scene == HAS_SPLIT) {
        must(dcm_comm_split(&half, comm, rank % 2, 0, NULL));
        must(dcm_barrier(half, NULL));
    }
    for (int i = 0; i < OPS; i++)
        must(reduce(comm));
    if (rank == ODD && odd_rank(j, comm) != DCM_OK)
        stay();
    if (j->scene == IS_IDLE || j->scene == HAS_SPLIT)
        stay();
    while (reduce(comm) == DCM_OK)
        ;
    stay(); /* to be looked at */
}

static void start(mp_world *mp, job *j, scene which)
{
    static int serial;

    j->scene = which;
    (void)snprintf(j->address, sizeof(j->address), "unix:inspect-%d-%d",
                   (int)getpid(), serial++);
    mp_spawn(mp, NRANKS, be_rank, j);
}

static void stop(mp_world *mp)
{
    for (int r = 0; r < NRANKS; r++)
        mp_kill(mp, r, SIGKILL);
    mp_wait(mp, PATIENCE_MS, (1ull << NRANKS) - 1);
}

/* One look: the verdict on what process `pid` takes part in. */
static bool look(dcmi_verdict *v, dcmi_sight *s, int pid)
{
    bool is_any;

    memset(v, 0, sizeof(*v));
    assert_ok(dcmi_sight_new(s, APART_MS));
    is_any = dcmi_sight_choose_pid(s, pid);
    dcmi_judge_groups(v, s);
    for (size_t i = 0; i < s->n_comms; i++) {
        if (s->is_chosen[i])
            dcmi_judge_comm(v, s->comms[i]);
    }
    return is_any;
}

static bool says(const dcmi_verdict *v, const char *text)
{
    for (size_t i = 0; i < v->n; i++) {
        if (strstr(v->line[i], text) != NULL)
            return true;
    }
    return false;
}

/* Look until one line says all of the texts; the sight is the caller's to free. */
static void await(dcmi_sight *s, dcmi_verdict *v, int pid, const char *text)
{
    const int64_t until = now_ms() + PATIENCE_MS;

    for (;;) {
        (void)look(v, s, pid);
        if (says(v, text))
            return;
        if (now_ms() >= until)
            break;
        dcmi_sight_free(s);
    }
    for (size_t i = 0; i < v->n; i++)
        fprintf(stderr, "%s\n", v->line[i]);
    fail_msg("no verdict says: %s", text);
}

static const dcmi_seen_comm *chosen(const dcmi_sight *s)
{
    const dcmi_seen_comm *c = NULL;

    for (size_t i = 0; i < s->n_comms; i++) {
        if (s->is_chosen[i]) {
            assert_null(c);
            c = s->comms[i];
        }
    }
    assert_non_null(c);
    return c;
}

static void test_sleeps(void **state)
{
    const dcmi_seen_comm *c;
    dcmi_sight s;
    dcmi_verdict v;
    char text[256];
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, SLEEPS);
    (void)snprintf(text, sizeof(text),
                   "rank 2 (pid %d) has not entered operation 6 (all_reduce of "
                   "1000 f32, sum): it has finished operation 5 (all_reduce of "
                   "1000 f32, sum), begun",
                   (int)mp.pid[ODD]);
    await(&s, &v, mp.pid[0], text);
    assert_true(says(&v, "sleeps in a system call"));
    c = chosen(&s);
    assert_string_equal(c->job, j.address);
    assert_int_equal(c->nranks, NRANKS);
    assert_int_equal(c->rank[ODD].pid, mp.pid[ODD]);
    assert_int_equal(c->rank[ODD].life, DCMI_SEEN_SLEEPS);
    dcmi_sight_free(&s);
    await(&s, &v, mp.pid[0], "ranks 0, 1 and 3 have waited for it for");
    c = chosen(&s);
    for (int r = 0; r < NRANKS; r++) {
        if (r == ODD)
            continue;
        assert_int_equal(c->rank[r].wait.ranks, 1ull << ODD);
        assert_int_equal(c->rank[r].wait.number, OPS + 1);
        assert_true(c->rank[r].wait.phase[0] != '\0');
    }
    dcmi_sight_free(&s);
    stop(&mp);
}

static void test_calls_other(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, CALLS_OTHER);
    await(&s, &v, mp.pid[ODD],
          "operation 6: rank 2 called broadcast of 1000 f32, root 0 where "
          "ranks 0, 1 and 3 called all_reduce of 1000 f32, sum");
    assert_true(v.is_bad);
    dcmi_sight_free(&s);
    await(&s, &v, mp.pid[ODD],
          "the communicator has failed: the ranks called different "
          "operations");
    dcmi_sight_free(&s);
    await(&s, &v, mp.pid[ODD], " said, ");
    dcmi_sight_free(&s);
    stop(&mp);
}

/* The dead rank's own number still leads to the others. */
static void test_killed(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    char text[256];
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, SLEEPS);
    await(&s, &v, mp.pid[0], "has not entered operation 6");
    dcmi_sight_free(&s);
    mp_kill(&mp, ODD, SIGKILL);
    mp_await(&mp, ODD, PATIENCE_MS);
    (void)snprintf(text, sizeof(text),
                   "rank 2 (pid %d) is dead: when it died it had finished "
                   "operation 5 (all_reduce of 1000 f32, sum)",
                   (int)mp.pid[ODD]);
    await(&s, &v, mp.pid[ODD], text);
    assert_true(v.is_bad);
    assert_int_equal(chosen(&s)->rank[ODD].life, DCMI_SEEN_DEAD);
    dcmi_sight_free(&s);
    await(&s, &v, mp.pid[ODD], "in operation 6 and names rank 2");
    dcmi_sight_free(&s);
    stop(&mp);
}

static void test_stopped(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    char text[128];
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, GOES_ON);
    await(&s, &v, mp.pid[0], "calls go on: ");
    assert_false(v.is_bad);
    dcmi_sight_free(&s);
    mp_kill(&mp, ODD, SIGSTOP);
    (void)snprintf(text, sizeof(text), "rank 2 (pid %d) is stopped by a signal",
                   (int)mp.pid[ODD]);
    await(&s, &v, mp.pid[ODD], text);
    assert_true(v.is_bad);
    dcmi_sight_free(&s);
    mp_kill(&mp, ODD, SIGCONT);
    await(&s, &v, mp.pid[ODD], "calls go on: ");
    assert_false(v.is_bad);
    dcmi_sight_free(&s);
    stop(&mp);
}

static void test_forms(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, NEVER_JOINS);
    await(&s, &v, mp.pid[3],
          "forms: ranks 0, 1 and 3 have come, rank 2 has not");
    assert_true(says(&v, j.address));
    for (size_t i = 0; i < s.n_halls; i++)
        assert_false(s.halls[i].is_chosen);
    dcmi_sight_free(&s);
    /* Rank 2 has nothing to show. */
    assert_false(look(&v, &s, mp.pid[ODD]));
    dcmi_sight_free(&s);
    stop(&mp);

    start(&mp, &j, NEVER_MAKES);
    await(&s, &v, mp.pid[0], ") has not come to exchange 1 of its group");
    assert_true(says(&v, "where ranks 0, 1 and 3 are waiting"));
    assert_true(says(&v, "rank 2 (pid "));
    dcmi_sight_free(&s);
    stop(&mp);
}

/* A deadlock of two kinds of call. */
static void test_message(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, WAITS_FOR_MESSAGE);
    await(&s, &v, mp.pid[0],
          "has not entered operation 6 (all_reduce of 1000 f32, sum): it is "
          "inside message 1 (recv of 7 f32 from rank 0), begun");
    assert_true(says(&v, ", where it waits for rank 0"));
    dcmi_sight_free(&s);
    stop(&mp);
}

static void test_idle(void **state)
{
    dcmi_sight s;
    dcmi_verdict v;
    mp_world mp;
    job j;

    (void)state;
    start(&mp, &j, IS_IDLE);
    await(&s, &v, mp.pid[1],
          "no rank is inside an operation: the last was operation 5");
    assert_false(v.is_bad);
    dcmi_sight_free(&s);
    stop(&mp);
}

/* Several communicators of a process, the job's name, and what is left over. */
static void test_choice(void **state)
{
    const char *jobs[8];
    size_t n_chosen = 0;
    dcmi_sight s;
    dcmi_verdict v;
    mp_world mp;
    mp_world other;
    job j;
    job k;

    (void)state;
    start(&mp, &j, HAS_SPLIT);
    start(&other, &k, HAS_SPLIT);
    await(&s, &v, other.pid[0], "the last was operation 5");
    dcmi_sight_free(&s);
    await(&s, &v, mp.pid[0], "the last was operation 5");
    for (size_t i = 0; i < s.n_comms; i++)
        n_chosen += s.is_chosen[i];
    assert_int_equal(n_chosen, 2); /* of this process, not of ranks 1 and 3 */
    dcmi_sight_free(&s);

    assert_ok(dcmi_sight_new(&s, 0));
    assert_int_equal(dcmi_sight_match(&s, j.address, jobs, 8), 1);
    assert_string_equal(jobs[0], j.address);
    assert_int_equal(dcmi_sight_match(&s, j.address + 5, jobs, 8), 1);
    assert_int_equal(dcmi_sight_match(&s, "no such job", jobs, 8), 0);
    assert_true(dcmi_sight_match(&s, "unix:inspect-", jobs, 8) >= 2);
    assert_true(dcmi_sight_jobs(&s, jobs, 8) >= 2);
    assert_int_equal(dcmi_sight_match(&s, j.address, jobs, 8), 1);
    dcmi_sight_choose_job(&s, jobs[0]);
    n_chosen = 0;
    for (size_t i = 0; i < s.n_comms; i++) {
        n_chosen += s.is_chosen[i];
        if (s.is_chosen[i])
            assert_string_equal(s.comms[i]->job, j.address);
    }
    assert_int_equal(n_chosen, 3);
    dcmi_sight_free(&s);

    /* The launcher, which is this process, has started both. */
    assert_ok(dcmi_sight_new(&s, 0));
    assert_true(dcmi_sight_choose_pid(&s, getpid()));
    n_chosen = 0;
    for (size_t i = 0; i < s.n_comms; i++)
        n_chosen += s.is_chosen[i];
    assert_int_equal(n_chosen, 6);
    dcmi_sight_free(&s);

    stop(&other);
    stop(&mp);
    assert_false(look(&v, &s, mp.pid[0]));
    dcmi_sight_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sleeps), cmocka_unit_test(test_calls_other),
        cmocka_unit_test(test_killed), cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_message),
        cmocka_unit_test(test_idle),   cmocka_unit_test(test_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

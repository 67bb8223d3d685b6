/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torture: all that a communicator does is done again and again, and each time
 * another call of libc fails; then with each kind of call failing for good, with
 * signals that end half of the calls, and with sockets that move a byte at a time.
 *
 * Each trial is a process of its own, whose ranks are threads, so that what is done
 * once in a process is tortured too.  Whatever fails: no crash, no hang, a status
 * and a message of every rank that did not succeed; nothing is left behind; and
 * without the failure the same process does it all.
 */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <devcomm/queue.h>

#include "any_op.h"
#include "leaks.h"
#include "torture/calls.h"

enum {
    MOST_RANKS = 3,
    MEDIUM = 20000, /* elements */
    LARGE = 300000, /* more than a communicator starts with */
    PATIENCE_MS = 60000,
    FAULT_MS = 700, /* the others' patience with a rank that failed */
    TRIAL_S = 100,
    MOST_OF_ONE = 40, /* calls of one name: waits make any number */
    RECOVERIES = 4,   /* one trial in so many: does all work again afterwards */
    NO_FAULT = 2,     /* exit status of a trial: nothing was left to fail */
};

typedef struct plan {
    const char *address; /* without its number */
    int nranks;
    int victims; /* a mask of ranks */
    torture_mode mode;
    int n;
    const char *name;
    long leftover; /* blocks that a process keeps */
} plan;

/* One rank's part and its outcome. */
typedef struct part {
    const plan *p;
    char address[64];
    int rank;
    bool is_tortured;
    uint32_t timeout_ms;
    dcm_status st;
    const char *failed;
    char reason[64];
    const char *step;
    char message[1100];
} part;

#define STEP(part, call)                                                       \
    do {                                                                       \
        (part)->step = #call;                                                  \
        st = (call);                                                           \
        if (st != DCM_OK)                                                      \
            goto out;                                                          \
    } while (0)

/* ---- what is tortured -------------------------------------------------------- */

static dcm_status use(part *me, dcm_comm *comm)
{
    static float buffers[MOST_RANKS][2][LARGE];
    float *from = buffers[me->rank][0];
    float *to = buffers[me->rank][1];
    dcm_status st = DCM_OK;

    from[0] = 1;
    STEP(me, dcm_all_reduce(comm, from, to, LARGE, DCM_F32, DCM_SUM, NULL));
    die_unless(to[0] == (float)me->p->nranks);
    for (int kind = DCM_COLL_ALL_REDUCE; kind <= DCM_COLL_SEND; kind++) {
        STEP(me,
             test_any_op(comm, (dcm_coll_kind)kind, from, to, 5, DCM_F32, 0));
        STEP(me, test_any_op(comm, (dcm_coll_kind)kind, from, to, MEDIUM,
                             DCM_F32, 0));
    }
out:
    return st;
}

static dcm_status use_arena(part *me, dcm_comm *comm)
{
    dcm_arena *arena = NULL;
    void *block[2];
    dcm_status st;

    STEP(me, dcm_arena_new(&arena, comm, 1 << 16));
    for (int i = 0; i < 2; i++)
        STEP(me, dcm_arena_alloc(arena, &block[i], 4000));
    STEP(me, dcm_all_reduce(comm, block[0], block[1], 1000, DCM_F32, DCM_SUM,
                            NULL));
    /* Who leaves the memory waits for those who still read it. */
    STEP(me, dcm_barrier(comm, NULL));
out:
    dcm_arena_free(arena);
    return st;
}

/* Rank 0 writes, one record longer than the ring. */
static dcm_status use_queue(part *me, dcm_group *group)
{
    enum {
        RING = 64 * 1024,
        LONG = 3 * RING
    };
    static unsigned char records[MOST_RANKS][LONG];
    const dcm_queue_opts opts = {.size = sizeof(opts), .bytes = RING};
    unsigned char *record = records[me->rank];
    dcm_queue *queue = NULL;
    size_t bytes = 0;
    dcm_status st;

    STEP(me, dcm_queue_create_group(&queue, group, 0, &opts));
    STEP(me, dcm_queue_wait_ready(queue, me->timeout_ms));
    for (int i = 0; i < 2; i++) {
        const size_t want = i == 0 ? 10 : LONG;

        if (me->rank == 0)
            STEP(me, dcm_queue_enqueue(queue, record, want, me->timeout_ms));
        else
            STEP(me, dcm_queue_dequeue(queue, &bytes, record, LONG,
                                       me->timeout_ms));
        die_unless(me->rank == 0 || bytes == want);
    }
out:
    dcm_queue_close(queue);
    return st;
}

static dcm_status everything(part *me)
{
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *group = NULL;
    dcm_comm *comm = NULL;
    dcm_comm *half = NULL;
    dcm_comm *rest = NULL;
    dcm_status st;

    opts.timeout_ms = me->timeout_ms;
    opts.token = "torture";
    STEP(me,
         dcm_group_new(&group, me->address, me->rank, me->p->nranks, &opts));
    STEP(me, dcm_comm_new(&comm, group, NULL));
    STEP(me, use(me, comm));
    STEP(me, use_arena(me, comm));
    STEP(me, use_queue(me, group));
    STEP(me, dcm_comm_split(&half, comm, me->rank % 2, me->rank, NULL));
    STEP(me, dcm_barrier(half, NULL));
    STEP(me, dcm_comm_finalize(half, 0));
    STEP(me, dcm_comm_regroup(&rest, comm, NULL));
    STEP(me, dcm_barrier(rest, NULL));
    STEP(me, dcm_comm_finalize(rest, 0));
out:
    if (st != DCM_OK)
        (void)snprintf(me->message, sizeof(me->message), "%s", dcm_errmsg());
    dcm_comm_free(rest);
    dcm_comm_free(half);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return st;
}

/* ---- one trial --------------------------------------------------------------- */

static void *rank_main(void *arg)
{
    part *me = arg;
    const plan *p = me->p;

    me->failed = NULL;
    if (me->is_tortured && (p->victims >> me->rank & 1) != 0)
        torture_arm(p->mode, p->n, p->name);
    me->st = everything(me);
    me->failed = torture_disarm();
    (void)snprintf(me->reason, sizeof(me->reason), "%s", torture_reason());
    return NULL;
}

/* Each meeting has a place of its own. */
static int next_number(const plan *p)
{
    static unsigned serial;

    serial++;
    return strncmp(p->address, "tcp:", 4) == 0
               ? 20000 + (int)(((unsigned)getpid() * 7 + serial) % 12000)
               : (int)serial;
}

/* All ranks, once; returns whether a call failed. */
static bool run_all(part *parts, const plan *p, bool is_tortured,
                    uint32_t timeout_ms)
{
    const int serial = next_number(p);
    pthread_t threads[MOST_RANKS];
    bool has_failed = false;

    for (int r = 0; r < p->nranks; r++) {
        parts[r] = (part){
            .p = p,
            .rank = r,
            .is_tortured = is_tortured,
            .timeout_ms = timeout_ms,
        };
        (void)snprintf(parts[r].address, sizeof(parts[r].address), "%s%d",
                       p->address, serial);
        die_unless(pthread_create(&threads[r], NULL, rank_main, &parts[r]) ==
                   0);
    }
    for (int r = 0; r < p->nranks; r++) {
        die_unless(pthread_join(threads[r], NULL) == 0);
        has_failed = has_failed || parts[r].failed != NULL;
    }
    return has_failed;
}

static void complain(const plan *p, const part *me, const char *what)
{
    fprintf(stderr,
            "%s, %d ranks, victims %#x, mode %d, n %d, name %s: rank %d, %s "
            "failed (%s), step %s: %d: %s: %s\n",
            p->address, p->nranks, (unsigned)p->victims, (int)p->mode, p->n,
            p->name != NULL ? p->name : "-", me->rank,
            me->failed != NULL ? me->failed : "nothing", me->reason, me->step,
            (int)me->st, me->message, what);
}

static bool has_to_pass(const plan *p)
{
    return p->mode == TORTURE_INTERRUPT || p->mode == TORTURE_SHORT;
}

/*
 * Whether a failure says what was tried, and why it failed: the system's words, or
 * a shortage; or a lost peer where a connection was, and other hosts where this one
 * could not be told.
 */
static bool says_why(const part *me)
{
    return strstr(me->message, me->reason) != NULL || me->st == DCM_E_NOMEM ||
           (me->st == DCM_E_PEER &&
            strncmp(me->reason, "Connection", 10) == 0) ||
           (me->st == DCM_E_UNSUP && strstr(me->message, "hosts") != NULL);
}

/*
 * Whether these outcomes are as they may be: a message of every rank that did not
 * succeed, and of one whose call failed, why.
 */
static bool judge(const plan *p, const part *parts, bool has_failed)
{
    const bool must_pass = !has_failed || has_to_pass(p);
    bool is_good = true;
    bool is_said = false;
    bool is_victim = false;

    for (int r = 0; r < p->nranks; r++) {
        const part *me = &parts[r];

        if (getenv("DEVCOMM_TORTURE_SAY") != NULL && has_failed)
            complain(p, me, "so it is");
        if (me->st == DCM_OK)
            continue;
        if (must_pass || me->message[0] == '\0') {
            complain(p, me, must_pass ? "must pass" : "no message");
            is_good = false;
        }
        /* Where no call of a kind works, the deadline may be all there is. */
        is_victim = is_victim || (me->failed != NULL && p->mode == TORTURE_NTH);
        is_said = is_said || (is_victim && me->failed != NULL && says_why(me));
    }
    for (int r = 0; r < p->nranks && is_victim && !is_said; r++)
        complain(p, &parts[r], "nobody says what failed");
    return is_good && is_said == is_victim;
}

/* Whether a rank ran out of patience although no call failed: a busy machine. */
static bool was_hasty(const plan *p, const part *parts, bool has_failed)
{
    bool is_late = false;

    for (int r = 0; r < p->nranks; r++)
        is_late = is_late || parts[r].st == DCM_E_TIMEOUT;
    return is_late && !has_failed;
}

static int trial(void *arg)
{
    static part parts[MOST_RANKS];
    const plan *p = arg;
    const int fds = test_count_fds();
    const long blocks = torture_blocks();
    const int maps = test_count_maps("memfd:devcomm");
    bool has_failed;

    has_failed =
        run_all(parts, p, true, has_to_pass(p) ? PATIENCE_MS : FAULT_MS);
    if (was_hasty(p, parts, has_failed))
        has_failed = run_all(parts, p, true, PATIENCE_MS);
    if (!judge(p, parts, has_failed))
        return 1;
    if (test_count_fds() != fds || test_count_maps("memfd:devcomm") != maps ||
        torture_blocks() > blocks + p->leftover) {
        for (int r = 0; r < p->nranks; r++)
            complain(p, &parts[r], "leaves something");
        fprintf(stderr, "left: %d descriptors, %d mappings, %ld blocks\n",
                test_count_fds() - fds, test_count_maps("memfd:devcomm") - maps,
                torture_blocks() - blocks);
        return 1;
    }
    if (has_failed && p->n % RECOVERIES == 0) {
        (void)run_all(parts, p, false, PATIENCE_MS);
        for (int r = 0; r < p->nranks; r++) {
            if (parts[r].st != DCM_OK) {
                complain(p, &parts[r], "does not work afterwards");
                return 1;
            }
        }
    }
    return has_failed ? 0 : NO_FAULT;
}

/* ---- all trials -------------------------------------------------------------- */

static char unix_address[64];
static long leftover;

static plan plan_for(const char *address, int nranks)
{
    return (plan){
        .address = address,
        .nranks = nranks,
        .leftover = leftover,
    };
}

/* What a process keeps for good when nothing fails: the exit status is it. */
static int count_leftover(void *arg)
{
    static part parts[MOST_RANKS];
    const long blocks = torture_blocks();

    (void)run_all(parts, arg, false, PATIENCE_MS);
    return (int)(torture_blocks() - blocks);
}

static int set_up(void **state)
{
    plan p;

    (void)state;
    (void)snprintf(unix_address, sizeof(unix_address), "unix:torture-%d-",
                   (int)getpid());
    p = plan_for(unix_address, 2);
    leftover = test_in_child(count_leftover, &p, TRIAL_S);
    return leftover < 5 ? 0 : -1;
}

/* The names that can fail, one a call; NULL past the last. */
static const char *next_name(FILE *list, char *line, size_t bytes)
{
    while (fgets(line, (int)bytes, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "fails ", strlen("fails ")) == 0)
            return line + strlen("fails ");
    }
    return NULL;
}

/*
 * Each call of `p.name` in turn, until there is none left: the first three, then
 * some, or all with DEVCOMM_TORTURE_FULL.  The n-th call is not the same each time:
 * polls depend on chance.
 */
static int torture_each(plan p)
{
    const bool is_full = getenv("DEVCOMM_TORTURE_FULL") != NULL;
    const int step = is_full ? 1 : test_is_thin() ? 15 : 5;
    int rc;

    p.mode = TORTURE_NTH;
    for (p.n = 1; p.n <= MOST_OF_ONE; p.n += p.n > 2 ? step : 1) {
        rc = test_in_child(trial, &p, TRIAL_S);
        if (rc == NO_FAULT)
            break;
        if (rc != 0)
            fail_msg("%s %d of victims %#x: exit status %d", p.name, p.n,
                     (unsigned)p.victims, rc);
    }
    return p.n - 1;
}

static void torture_all(plan p)
{
    FILE *list = fopen(TORTURE_LIST, "r");
    char line[64];
    int total = 0;

    assert_non_null(list);
    while ((p.name = next_name(list, line, sizeof(line))) != NULL) {
        const int n = torture_each(p);

        if (n > 0)
            printf(" %s %d", p.name, n);
        total += n;
    }
    (void)fclose(list);
    printf("\n%s: victims %#x: %d calls\n", p.address, (unsigned)p.victims,
           total);
    assert_in_range(total, 50, 100000);
}

static void test_leader(void **state)
{
    plan p = plan_for(unix_address, 2);

    (void)state;
    p.victims = 1;
    torture_all(p);
}

static void test_member(void **state)
{
    plan p = plan_for(unix_address, 2);

    (void)state;
    p.victims = 2;
    torture_all(p);
}

static void test_all(void **state)
{
    plan p = plan_for(unix_address, 3);

    (void)state;
    p.victims = 7;
    torture_all(p);
}

static void test_tcp(void **state)
{
    plan p = plan_for("tcp:127.0.0.1:", 2);

    (void)state;
    for (p.victims = 1; p.victims <= 2; p.victims++)
        torture_all(p);
}

/* ---- one kind of call that never works, as where it is forbidden ------------- */

static void test_never(void **state)
{
    FILE *list = fopen(TORTURE_LIST, "r");
    plan p = plan_for(unix_address, 2);
    char line[64];
    int rc;

    (void)state;
    assert_non_null(list);
    p.victims = 3;
    p.mode = TORTURE_NEVER;
    while ((p.name = next_name(list, line, sizeof(line))) != NULL) {
        rc = test_in_child(trial, &p, TRIAL_S);
        if (rc != 0 && rc != NO_FAULT)
            fail_msg("never %s: exit status %d", p.name, rc);
    }
    (void)fclose(list);
}

/* ---- signals, and little by little -------------------------------------------- */

static void pass_all_the_same(torture_mode mode, int n)
{
    static const char *const addresses[] = {unix_address, "tcp:127.0.0.1:"};

    for (size_t i = 0; i < 2; i++) {
        plan p = plan_for(addresses[i], 3);
        int rc;

        p.victims = 7;
        p.mode = mode;
        p.n = n; /* bytes; of signals, the chance's seed */
        rc = test_in_child(trial, &p, TRIAL_S);
        if (rc != 0 && rc != NO_FAULT)
            fail_msg("%s: mode %d, n %d: exit status %d", p.address, (int)mode,
                     n, rc);
    }
}

static void test_interrupted(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++)
        pass_all_the_same(TORTURE_INTERRUPT, n);
}

static void test_little(void **state)
{
    (void)state;
    for (int n = 1; n <= 100; n = 3 * n + 1)
        pass_all_the_same(TORTURE_SHORT, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leader), cmocka_unit_test(test_member),
        cmocka_unit_test(test_all),    cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_never),  cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_little),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}

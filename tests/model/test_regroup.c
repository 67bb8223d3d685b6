/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model of the survivors' agreement (src/group/team.h): threads play the ranks of
 * a team, and leave at all moments of it.  Whoever stays takes the same decision
 * as all others, attempt by attempt, and in the end meets with them.
 */
#include "support.h"

#include <pthread.h>
#include <sched.h>

#include "group/team.h"
#include "life_wrap.h"

enum {
    MOST = 6,
    ROUNDS = 3 /* of a meeting, as in build.c */
};

/* When a rank leaves. */
typedef enum moment {
    STAYS,
    BEFORE,  /* it never arrives */
    ARRIVED, /* it has said so, and does not take the decision */
    DECIDED, /* it knows the decision, and does not come to the meeting */
    MEETING, /* in the midst of it */
    AFTER,   /* the meeting was complete */
    MOMENTS
} moment;

typedef struct member {
    dcmi_team team;
    dcm_group *group;
    int rank;
    moment leaves;
    uint32_t in_attempt; /* the moment's */
    int after_round;
    uint64_t seed;
    uint64_t decided[DCMI_TEAM_ATTEMPTS];
    uint64_t last; /* who met; 0: left before */
} member;

typedef struct world {
    int nranks;
    dcmi_team_shared *shared;
    member member[MOST];
} world;

static void make_world(world *w, int nranks)
{
    dcm_group *groups[MOST];

    memset(w, 0, sizeof(*w));
    w->nranks = nranks;
    w->shared = aligned_alloc(4096, (dcmi_team_bytes(nranks) + 4095) & ~4095ul);
    assert_non_null(w->shared);
    memset(w->shared, 0, dcmi_team_bytes(nranks));
    assert_ok(dcm_group_new_local(groups, nranks, NULL));
    for (int r = 0; r < nranks; r++) {
        member *m = &w->member[r];

        m->group = groups[r];
        m->rank = r;
        dcmi_team_init(&m->team, groups[r], w->shared, 0);
    }
}

static void leave(member *m)
{
    dcm_group_free(m->group);
    m->group = NULL;
}

static void free_world(world *w)
{
    for (int r = 0; r < w->nranks; r++)
        leave(&w->member[r]);
    free(w->shared);
}

static void drift(uint64_t *state)
{
    for (uint64_t i = test_random(state) % 4; i > 0; i--)
        (void)sched_yield();
    for (uint64_t i = test_random(state) % 512; i > 0; i--)
        dcmi_relax();
}

/* One round: everyone's number and attempt, checked. */
static dcm_status meet(member *m, dcmi_boot *boot, const int *order, int n,
                       uint32_t what)
{
    int owner[MOST];
    uint32_t all[MOST][40];
    dcm_status st;

    memset(all, 0, sizeof(all));
    for (int i = 0; i < n; i++)
        owner[i] = i;
    for (int k = 0; k < 40; k++)
        all[boot->rank][k] = what + (uint32_t)m->rank;
    st = boot->ops->merge(boot, all, sizeof(all[0]), owner,
                          dcmi_now_ns() + 60000 * DCMI_NS_PER_MS);
    for (int i = 0; st == DCM_OK && i < n; i++) {
        for (int k = 0; k < 40; k++)
            die_unless(all[i][k] == what + (uint32_t)order[i]);
    }
    return st;
}

/* True: met, or left in the midst of it. */
static bool hold_meeting(member *m, uint64_t members, uint32_t attempt)
{
    const bool goes = m->leaves == MEETING && m->in_attempt == attempt;
    int order[MOST];
    dcmi_boot *boot;
    dcm_status st = DCM_OK;
    int n = 0;

    for (uint64_t bits = members; bits != 0; bits &= bits - 1)
        order[n++] = __builtin_ctzll(bits);
    die_unless(dcmi_boot_board(&boot, &m->team) == DCM_OK);
    dcmi_boot_board_call(boot, order, n, DCMI_MEETING_REGROUP(&m->team));
    die_unless(boot->nranks == n && order[boot->rank] == m->rank);
    for (int round = 0; round < ROUNDS && st == DCM_OK; round++) {
        if (goes && m->after_round == round) {
            boot->ops->close(boot);
            return true;
        }
        drift(&m->seed);
        st = meet(m, boot, order, n, attempt * 1000 + (uint32_t)round * 100);
    }
    boot->ops->close(boot);
    if (st == DCM_OK && !goes)
        m->last = members;
    die_unless(st == DCM_OK || st == DCM_E_PEER);
    return st == DCM_OK;
}

/* The first half of dcmi_team_survivors(), as if killed then. */
static void arrive(member *m, uint32_t attempt)
{
    atomic_store_explicit(&m->team.shared->slot[m->rank].arrived, attempt,
                          memory_order_release);
    dcmi_bells_ring(&m->team.shared->bells, m->team.nranks);
    for (uint64_t i = test_random(&m->seed) % 4096; i > 0; i--)
        dcmi_relax();
}

static void *live(void *arg)
{
    member *m = arg;
    uint64_t members;

    drift(&m->seed);
    for (uint32_t attempt = 1;; attempt++) {
        const bool now = m->in_attempt == attempt;

        if (now && m->leaves == BEFORE)
            break;
        if (now && m->leaves == ARRIVED) {
            arrive(m, attempt);
            break;
        }
        die_unless(dcmi_team_survivors(&m->team, &members,
                                       60000 * DCMI_NS_PER_MS) == DCM_OK);
        die_unless(m->team.attempts == attempt);
        die_unless((members >> m->rank & 1) == 1);
        m->decided[attempt - 1] = members;
        drift(&m->seed);
        if (now && m->leaves == DECIDED)
            break;
        if (hold_meeting(m, members, attempt))
            break;
    }
    if (m->leaves != STAYS)
        leave(m);
    return NULL;
}

static void check_world(const world *w)
{
    uint64_t last = 0;

    for (int a = 0; a < DCMI_TEAM_ATTEMPTS; a++) {
        uint64_t decision = 0;

        for (int r = 0; r < w->nranks; r++) {
            const member *m = &w->member[r];

            if (m->decided[a] == 0)
                continue;
            if (decision == 0)
                decision = m->decided[a];
            if (m->decided[a] != decision)
                fail_msg("attempt %d: rank %d decided %#llx, another %#llx",
                         a + 1, r, (unsigned long long)m->decided[a],
                         (unsigned long long)decision);
        }
        for (int r = 0; r < w->nranks; r++) {
            if (w->member[r].leaves == BEFORE &&
                w->member[r].in_attempt == (uint32_t)a + 1)
                assert_true((decision >> r & 1) == 0);
        }
    }
    for (int r = 0; r < w->nranks; r++) {
        const member *m = &w->member[r];

        if (m->leaves != STAYS)
            continue;
        assert_true(m->last != 0);
        last = last == 0 ? m->last : last;
        assert_true(m->last == last);
        assert_true((last >> r & 1) == 1);
    }
}

static void one_life(int nranks, uint64_t *state)
{
    pthread_t threads[MOST];
    static world w;

    make_world(&w, nranks);
    for (int r = 0; r < nranks; r++) {
        member *m = &w.member[r];

        m->seed = test_random(state);
        m->leaves = test_random(state) % 2 == 0
                        ? STAYS
                        : (moment)(test_random(state) % MOMENTS);
        m->in_attempt = 1 + (uint32_t)(test_random(state) % 2);
        m->after_round = (int)(test_random(state) % ROUNDS);
    }
    for (int r = 0; r < nranks; r++)
        assert_int_equal(pthread_create(&threads[r], NULL, live, &w.member[r]),
                         0);
    for (int r = 0; r < nranks; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
    check_world(&w);
    assert_int_equal(w.shared->bells.n_parked, 0);
    free_world(&w);
}

static void test_lives(void **state)
{
    const int lives = test_is_thin() ? 40 : 600;
    uint64_t random = test_seed();

    (void)state;
    for (int i = 0; i < lives; i++) {
        atomic_store(&life_delay, i % 2 == 0 ? 0 : 200);
        one_life(2 + i % (MOST - 1), &random);
    }
    atomic_store(&life_delay, 0);
}

/* ---- without chance ---------------------------------------------------------- */

typedef struct call {
    member *m;
    uint64_t timeout_ns;
    dcm_status st;
    uint64_t members;
    char message[256];
} call;

static void *ask(void *arg)
{
    call *c = arg;

    c->st = dcmi_team_survivors(&c->m->team, &c->members, c->timeout_ns);
    (void)snprintf(c->message, sizeof(c->message), "%s", dcm_errmsg());
    return NULL;
}

/* Ranks `ranks` call at once; the outcomes are in `calls`. */
static void ask_all(world *w, call *calls, uint64_t ranks, uint32_t timeout_ms)
{
    pthread_t threads[MOST];

    for (int r = 0; r < w->nranks; r++) {
        if ((ranks >> r & 1) == 0)
            continue;
        calls[r] = (call){
            .m = &w->member[r],
            .timeout_ns = timeout_ms * DCMI_NS_PER_MS,
        };
        assert_int_equal(pthread_create(&threads[r], NULL, ask, &calls[r]), 0);
    }
    for (int r = 0; r < w->nranks; r++) {
        if ((ranks >> r & 1) != 0)
            assert_int_equal(pthread_join(threads[r], NULL), 0);
    }
}

/* Alive, but it does not come: named.  When it comes, all may try again. */
static void test_late(void **state)
{
    static world w;
    call calls[MOST];

    (void)state;
    make_world(&w, 4);
    ask_all(&w, calls, 0x5, 20);
    for (int r = 0; r < 4; r += 2) {
        assert_int_equal(calls[r].st, DCM_E_TIMEOUT);
        assert_non_null(strstr(calls[r].message, "regroup: rank 1 (pid "));
        assert_non_null(strstr(calls[r].message, ", rank 3 (pid "));
        assert_null(strstr(calls[r].message, "rank 0"));
        assert_null(strstr(calls[r].message, "rank 2"));
    }
    ask_all(&w, calls, 0xf, 60000);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(calls[r].st, DCM_OK);
        assert_true(calls[r].members == 0xf);
    }
    free_world(&w);
}

/* A decision stands: who comes late takes it, whoever has left since. */
static void test_decision_stands(void **state)
{
    static world w;
    call calls[MOST];

    (void)state;
    make_world(&w, 3);
    leave(&w.member[1]);
    ask_all(&w, calls, 0x5, 60000);
    assert_true(calls[0].members == 0x5 && calls[2].members == 0x5);
    leave(&w.member[2]);
    w.member[0].team.attempts = 0; /* as if it had slept all the time */
    ask_all(&w, calls, 0x1, 60000);
    assert_int_equal(calls[0].st, DCM_OK);
    assert_true(calls[0].members == 0x5);
    ask_all(&w, calls, 0x1, 60000);
    assert_true(calls[0].members == 0x1);
    free_world(&w);
}

static void test_attempts_end(void **state)
{
    static world w;
    call calls[MOST];

    (void)state;
    make_world(&w, 2);
    for (int i = 0; i < DCMI_TEAM_ATTEMPTS; i++) {
        ask_all(&w, calls, 0x3, 60000);
        assert_true(calls[0].st == DCM_OK && calls[0].members == 0x3);
        assert_true(calls[1].st == DCM_OK && calls[1].members == 0x3);
    }
    ask_all(&w, calls, 0x3, 60000);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(calls[r].st, DCM_E_UNSUP);
        assert_non_null(strstr(calls[r].message, "16 attempts"));
    }
    free_world(&w);
}

/* A rank that has freed its communicator cannot come: it is not waited for. */
static void test_freed(void **state)
{
    static world w;
    call calls[MOST];

    (void)state;
    make_world(&w, 3);
    dcmi_team_leave(&w.member[0].team);
    ask_all(&w, calls, 0x6, 5000);
    for (int r = 1; r < 3; r++) {
        assert_int_equal(calls[r].st, DCM_OK);
        assert_true(calls[r].members == 0x6);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lives),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_decision_stands),
        cmocka_unit_test(test_attempts_end),
        cmocka_unit_test(test_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model of the hall's exchange (src/group/hall.h): threads play the ranks of a
 * host.  Under TSan, payloads that are read before they are posted, or written
 * again too early, are races.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <sched.h>

#include "futex_wrap.h"
#include "group/group.h"
#include "life_wrap.h"
#include "os/futex.h"

/* ---- what is sent arrives ---------------------------------------------------- */

typedef struct plan {
    int nranks;
    size_t rounds;
    uint64_t seed;
    bool is_slow; /* rank 0 comes late: the others park */
} plan;

/* The size of an exchange: mostly small, sometimes none, sometimes the most. */
static size_t size_of(uint64_t *shape)
{
    const uint64_t kind = test_random(shape) % 64;

    if (kind == 0)
        return DCM_EXCHANGE_MAX;
    if (kind == 1)
        return 0;
    return test_random(shape) % (kind < 8 ? DCM_EXCHANGE_MAX : 48);
}

static unsigned char byte_of(size_t round, int rank, size_t i)
{
    return (unsigned char)(round * 13 + (size_t)rank * 101 + i * 7);
}

/* Let the ranks drift apart: some are a whole exchange ahead of others. */
static void drift(uint64_t *state)
{
    const uint64_t kind = test_random(state) % 16;

    if (kind == 0)
        (void)sched_yield();
    else if (kind < 8)
        for (uint64_t i = test_random(state) % 256; i > 0; i--)
            dcmi_relax();
}

static void one_round(const plan *p, int rank, dcm_group *group, size_t round,
                      size_t bytes)
{
    static _Thread_local unsigned char mine[DCM_EXCHANGE_MAX];
    static _Thread_local unsigned char all[8 * DCM_EXCHANGE_MAX];

    for (size_t i = 0; i < bytes; i++)
        mine[i] = byte_of(round, rank, i);
    die_unless(dcm_group_exchange(group, mine, all, bytes, 0) == DCM_OK);
    for (int r = 0; r < p->nranks; r++) {
        for (size_t i = 0; i < bytes; i++)
            die_unless(all[(size_t)r * bytes + i] == byte_of(round, r, i));
    }
}

static void exchange_often(int rank, dcm_group *group, void *arg)
{
    const plan *p = arg;
    uint64_t own = p->seed + 77 * (uint64_t)(rank + 1);
    uint64_t shape = p->seed;

    for (size_t round = 0; round < p->rounds; round++) {
        drift(&own);
        if (p->is_slow && rank == 0)
            dcmi_nap_ns(2 * DCMI_NS_PER_MS);
        one_round(p, rank, group, round, size_of(&shape));
    }
}

static void run_plan(int nranks, size_t rounds, bool is_slow)
{
    plan p = {nranks, test_is_thin() ? rounds / 20 : rounds, test_seed(),
              is_slow};

    memset(&test_naps, 0, sizeof(test_naps));
    if (dcmi_heavy_fence())
        test_naps.kind = NAP_A_MINUTE; /* whoever naps must be woken */
    test_run_threads(nranks, exchange_often, &p);
    assert_int_equal(test_naps.ran_out, 0);
}

static void test_two(void **state)
{
    (void)state;
    run_plan(2, 100000, false);
}

static void test_three(void **state)
{
    (void)state;
    run_plan(3, 10000, false);
}

static void test_eight(void **state)
{
    (void)state;
    run_plan(8, 500, false);
}

static void test_sleepers(void **state)
{
    (void)state;
    run_plan(3, 200, true);
}

/* ---- one fate for all -------------------------------------------------------- */

enum {
    MOST = 5
};

typedef struct member {
    dcm_group *group;
    int rank;
    int nranks;
    size_t leave_after; /* exchanges; SIZE_MAX: stays */
    uint64_t seed;
    size_t succeeded;
    dcm_status st;
    char message[256];
} member;

static void *live_and_leave(void *arg)
{
    member *m = arg;
    const plan p = {.nranks = m->nranks};

    for (m->succeeded = 0; m->succeeded < m->leave_after; m->succeeded++) {
        unsigned char mine[5];
        unsigned char all[5 * MOST];

        drift(&m->seed);
        /* Late to its last one, so that the others look for it just then. */
        for (int i = 0; m->succeeded + 1 == m->leave_after && i < 2000; i++)
            dcmi_relax();
        for (size_t i = 0; i < sizeof(mine); i++)
            mine[i] = byte_of(m->succeeded, m->rank, i);
        m->st = dcm_group_exchange(m->group, mine, all, sizeof(mine), 0);
        if (m->st != DCM_OK)
            break;
        for (int r = 0; r < p.nranks; r++)
            for (size_t i = 0; i < sizeof(mine); i++)
                die_unless(all[(size_t)r * sizeof(mine) + i] ==
                           byte_of(m->succeeded, r, i));
    }
    (void)snprintf(m->message, sizeof(m->message), "%s", dcm_errmsg());
    if (m->leave_after != SIZE_MAX)
        dcm_group_free(m->group);
    return NULL;
}

/*
 * A rank leaves after exchange g: all others succeed in g and fail in g + 1, also
 * those who were still reading when it left.
 */
static void one_life(int nranks, uint64_t *state)
{
    const int leaver = (int)(test_random(state) % (uint64_t)nranks);
    const size_t g = test_random(state) % 24;
    dcm_group *groups[MOST];
    pthread_t threads[MOST];
    member members[MOST];
    char text[32];

    assert_ok(dcm_group_new_local(groups, nranks, NULL));
    for (int r = 0; r < nranks; r++) {
        members[r] = (member){
            .group = groups[r],
            .rank = r,
            .nranks = nranks,
            .leave_after = r == leaver ? g : SIZE_MAX,
            .seed = test_random(state),
        };
        assert_int_equal(
            pthread_create(&threads[r], NULL, live_and_leave, &members[r]), 0);
    }
    for (int r = 0; r < nranks; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
    (void)snprintf(text, sizeof(text), "rank %d (", leaver);
    for (int r = 0; r < nranks; r++) {
        if (members[r].succeeded != g)
            fail_msg("rank %d of %d: %zu exchanges, rank %d left after %zu: %s",
                     r, nranks, members[r].succeeded, leaver, g,
                     members[r].message);
        if (r == leaver)
            continue;
        assert_int_equal(members[r].st, DCM_E_PEER);
        assert_non_null(strstr(members[r].message, text));
        assert_non_null(strstr(members[r].message, "has left"));
        assert_status(dcm_group_exchange(groups[r], NULL, NULL, 0, 0),
                      DCM_E_PEER, "earlier exchange");
        dcm_group_free(groups[r]);
    }
}

static void test_leaving(void **state)
{
    const int lives = test_is_thin() ? 40 : 400;
    uint64_t random = test_seed();

    (void)state;
    memset(&test_naps, 0, sizeof(test_naps));
    atomic_store(&life_delay, 200);
    for (int i = 0; i < lives; i++)
        one_life(2 + i % (MOST - 1), &random);
    atomic_store(&life_delay, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two),     cmocka_unit_test(test_three),
        cmocka_unit_test(test_eight),   cmocka_unit_test(test_sleepers),
        cmocka_unit_test(test_leaving),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

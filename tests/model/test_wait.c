/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model of parking (src/os/wait.h): a publisher and its readers hand a value over
 * and back, every one of them asleep more often than not.
 *
 * A nap lasts a minute here, so a wake-up that is lost is a nap that runs out,
 * and not a matter of speed.  The value is an ordinary variable: under TSan a
 * hand-over without its release and acquire is a race.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <sched.h>

#include "base/err.h"
#include "futex_wrap.h"
#include "os/futex.h"
#include "os/wait.h"

enum {
    READERS = 3,
    PUBLISHER = READERS, /* its bell */
    SPIN_NS = 20000,
};

typedef struct model {
    dcmi_bells bells;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t round;
    uint64_t value; /* of this round */
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t seen[READERS];
    uint32_t rounds;
    int readers;
    uint64_t seed;
    bool may_end;    /* some waits are told to end, and begin again */
    unsigned parked; /* of 8 waits, how many park at once */
} model;

static model m;

static dcm_status check(void *arg, bool expired)
{
    int *looks = arg;

    if (expired)
        return dcmi_err(DCM_E_TIMEOUT, "the model is stuck");
    return *looks > 0 && --*looks == 0 ? DCM_E_ABORTED : DCM_OK;
}

static void linger(uint64_t *state)
{
    for (uint64_t i = test_random(state) % 64; i > 0; i--)
        dcmi_relax();
}

/* Wait for a word to reach `want`; park at once in `m.parked` of 8 waits. */
static void await(const _Atomic uint32_t *word, uint32_t want, int rank,
                  uint64_t *state)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check,
        .arg = &looks,
        .bells = &m.bells,
        .rank = rank,
        .timeout_ns = 300000 * DCMI_NS_PER_MS,
        .spin_ns = test_random(state) % 2 * SPIN_NS,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);

    if (test_random(state) % 8 < m.parked)
        w.start_ns = dcmi_now_ns() - 1000000;
    if (m.may_end && test_random(state) % 4 == 0)
        looks = 1 + (int)(test_random(state) % 4);
    while (atomic_load_explicit(word, memory_order_acquire) != want) {
        const dcm_status st = dcmi_wait_poll(&w);

        if (st == DCM_OK)
            continue;
        die_unless(st == DCM_E_ABORTED);
        dcmi_wait_end(&w);
        w = dcmi_wait_begin(&watch);
        looks = 0;
    }
    dcmi_wait_end(&w);
}

static void *reader(void *arg)
{
    const int rank = *(const int *)arg;
    uint64_t state = m.seed + (uint64_t)rank;

    for (uint32_t k = 1; k <= m.rounds; k++) {
        await(&m.round, k, rank, &state);
        die_unless(m.value == k * 3ull);
        linger(&state);
        atomic_store_explicit(&m.seen[rank], k, memory_order_release);
        dcmi_bells_ring(&m.bells, READERS + 1);
        linger(&state);
    }
    return NULL;
}

static void publish(void)
{
    uint64_t state = m.seed ^ 0x5555;

    for (uint32_t k = 1; k <= m.rounds; k++) {
        m.value = k * 3ull;
        atomic_store_explicit(&m.round, k, memory_order_release);
        dcmi_bells_ring(&m.bells, READERS + 1);
        linger(&state);
        for (int r = 0; r < m.readers; r++)
            await(&m.seen[r], k, PUBLISHER, &state);
    }
}

static void run_model(const model *with)
{
    pthread_t threads[READERS];
    int ranks[READERS];

    if (!dcmi_heavy_fence())
        skip(); /* a wake-up may be missed then: the naps are short for that */
    m = *with;
    memset(&test_naps, 0, sizeof(test_naps));
    test_naps.kind = NAP_A_MINUTE;
    if (test_is_thin())
        m.rounds /= 20;
    m.seed = test_seed();
    for (int r = 0; r < m.readers; r++) {
        ranks[r] = r;
        assert_int_equal(pthread_create(&threads[r], NULL, reader, &ranks[r]),
                         0);
    }
    publish();
    for (int r = 0; r < m.readers; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);

    assert_int_equal(test_naps.ran_out, 0);
    assert_int_equal(m.bells.n_parked, 0);
    for (int r = 0; r <= READERS; r++)
        assert_int_equal(m.bells.bell[r].parked, 0);
    if (m.parked == 8)
        assert_true(test_naps.n > 0);
}

static void test_pair(void **state)
{
    static const model with = {.readers = 1, .rounds = 20000, .parked = 8};

    (void)state;
    run_model(&with);
}

static void test_three_readers(void **state)
{
    static const model with = {.readers = 3, .rounds = 4000, .parked = 8};

    (void)state;
    run_model(&with);
}

static void test_mixed(void **state)
{
    static const model with = {.readers = 1, .rounds = 20000, .parked = 4};

    (void)state;
    run_model(&with);
}

static void test_told_to_end(void **state)
{
    static const model with = {
        .readers = 2, .rounds = 5000, .parked = 7, .may_end = true};

    (void)state;
    run_model(&with);
}

/* ---- the moment of going to sleep -------------------------------------------- */

/*
 * One publication and one sleeper at the same moment, without the sleep: either
 * the sleeper sees the publication or the publisher rings.  That is what the
 * heavy fence is for; the two meet within some 100 ns in some of the rounds.
 */
typedef struct moment {
    dcmi_bells bells;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t go;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t published;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t done;
    bool has_seen;
    uint32_t rounds;
} moment;

static moment mo;

static void await_step(const _Atomic uint32_t *word, uint32_t step)
{
    for (unsigned i = 1;
         atomic_load_explicit(word, memory_order_acquire) != step; i++) {
        if (i % 4096 == 0)
            (void)sched_yield();
    }
}

static void *go_to_sleep(void *arg)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check,
        .arg = &looks,
        .bells = &mo.bells,
        .timeout_ns = 300000 * DCMI_NS_PER_MS,
    };

    (void)arg;
    for (uint32_t k = 1; k <= mo.rounds; k++) {
        dcmi_wait w = dcmi_wait_begin(&watch);

        w.start_ns = dcmi_now_ns() - 1000000;
        await_step(&mo.go, 2 * k - 1);
        die_unless(dcmi_wait_poll(&w) == DCM_OK && w.is_parked);
        mo.has_seen =
            atomic_load_explicit(&mo.published, memory_order_acquire) == k;
        atomic_store_explicit(&mo.done, 2 * k - 1, memory_order_release);
        await_step(&mo.go, 2 * k);
        dcmi_wait_end(&w);
        atomic_store_explicit(&mo.done, 2 * k, memory_order_release);
    }
    return NULL;
}

static void test_moment(void **state)
{
    unsigned seen = 0;
    unsigned rung = 0;
    uint64_t delay = 0;
    pthread_t thread;
    uint64_t random;

    (void)state;
    if (!dcmi_heavy_fence())
        skip();
    memset(&mo, 0, sizeof(mo));
    mo.rounds = test_is_thin() ? 2000 : 50000;
    random = test_seed();
    assert_int_equal(pthread_create(&thread, NULL, go_to_sleep, NULL), 0);
    for (uint32_t k = 1; k <= mo.rounds; k++) {
        uint32_t before;
        bool has_rung;

        before =
            atomic_load_explicit(&mo.bells.bell[0].word, memory_order_relaxed);
        atomic_store_explicit(&mo.go, 2 * k - 1, memory_order_release);
        for (uint64_t i = delay + test_random(&random) % 8; i > 0; i--)
            dcmi_relax();
        atomic_store_explicit(&mo.published, k, memory_order_release);
        dcmi_bells_ring(&mo.bells, 1);
        await_step(&mo.done, 2 * k - 1);
        has_rung = atomic_load_explicit(&mo.bells.bell[0].word,
                                        memory_order_relaxed) != before;
        assert_true(mo.has_seen || has_rung);
        /* Aim at the moment between "too early" and "too late". */
        if (mo.has_seen != has_rung)
            delay = mo.has_seen ? delay + 1 : delay / 2;
        seen += mo.has_seen;
        rung += has_rung;
        atomic_store_explicit(&mo.go, 2 * k, memory_order_release);
        await_step(&mo.done, 2 * k);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    printf("of %u publications %u were seen, %u rung for\n", mo.rounds, seen,
           rung);
    assert_int_equal(mo.bells.n_parked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair),   cmocka_unit_test(test_three_readers),
        cmocka_unit_test(test_mixed),  cmocka_unit_test(test_told_to_end),
        cmocka_unit_test(test_moment),
    };

    dcmi_heavy_fence_join();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

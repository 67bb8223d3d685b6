/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broadcast queue between threads that sleep more often than not, on a ring
 * of 16 slots: a nap lasts a minute here, so a wake-up that is lost is a nap that
 * runs out.  Under TSan a record handed over without its release and acquire is
 * a race.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <pthread.h>
#include <sched.h>

#include "futex_wrap.h"
#include "os/clock.h"
#include "os/futex.h"
#include "queue/queue.h"

enum {
    READERS = 3,
    RING = 4096,
    MOST_BYTES = 3 * RING,
    SLEEPY_NS = 10000000, /* waits were that long: park at once */
};

void __real_dcmi_futex_wake(_Atomic uint32_t *word);
void __wrap_dcmi_futex_wake(_Atomic uint32_t *word);

/* A waker lets the woken look, and sleep again, before it goes on. */
static bool lingers;

void __wrap_dcmi_futex_wake(_Atomic uint32_t *word)
{
    __real_dcmi_futex_wake(word);
    if (lingers)
        dcmi_nap_ns(1000000);
}

typedef struct side {
    dcm_queue *q;
    uint64_t seed;
    uint64_t records;
} side;

static size_t length_of(uint64_t i)
{
    const uint64_t h = i * 0x9e3779b97f4a7c15ull >> 20;

    return h % 16 == 0 ? h / 16 % MOST_BYTES : h / 16 % 300;
}

static void linger(uint64_t *random)
{
    if (test_random(random) % 8 == 0)
        dcmi_nap_ns(test_random(random) % 100000);
}

static void *read_all(void *arg)
{
    unsigned char buf[MOST_BYTES];
    side *s = arg;
    size_t n;

    for (uint64_t i = 0; i < s->records; i++) {
        linger(&s->seed);
        s->q->typical_ns = SLEEPY_NS;
        die_unless(dcm_queue_dequeue(s->q, &n, buf, sizeof(buf), 0) == DCM_OK);
        die_unless(n == length_of(i));
        for (size_t k = 0; k < n; k++)
            die_unless(buf[k] == (unsigned char)i);
    }
    die_unless(dcm_queue_dequeue(s->q, &n, buf, sizeof(buf), 0) == DCM_E_PEER);
    dcm_queue_close(s->q);
    return NULL;
}

static void write_all(side *s)
{
    unsigned char buf[MOST_BYTES];

    for (uint64_t i = 0; i < s->records; i++) {
        linger(&s->seed);
        s->q->typical_ns = SLEEPY_NS;
        memset(buf, (int)(i & 0xff), length_of(i));
        die_unless(dcm_queue_enqueue(s->q, buf, length_of(i), 0) == DCM_OK);
    }
    dcm_queue_close(s->q);
}

static void run(int nreaders, uint64_t records)
{
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    const uint64_t seed = test_seed();
    pthread_t thread[READERS];
    side s[READERS + 1];

    if (!dcmi_heavy_fence())
        skip(); /* a wake-up may be missed then: the naps are short for that */
    memset(&test_naps, 0, sizeof(test_naps));
    test_naps.kind = NAP_A_MINUTE;
    opts.bytes = RING;
    if (test_is_thin())
        records /= 10;
    for (int i = 0; i <= READERS; i++)
        s[i] = (side){.seed = seed + (uint64_t)i, .records = records};
    assert_ok(dcm_queue_create(&s[READERS].q, nreaders, &opts));
    assert_ok(dcm_queue_handle(s[READERS].q, handle, sizeof(handle)));
    for (int r = 0; r < nreaders; r++) {
        assert_ok(dcm_queue_attach(&s[r].q, handle, sizeof(handle), r, 0));
        assert_int_equal(pthread_create(&thread[r], NULL, read_all, &s[r]), 0);
    }
    write_all(&s[READERS]);
    for (int r = 0; r < nreaders; r++)
        assert_int_equal(pthread_join(thread[r], NULL), 0);
    printf("%d naps\n", test_naps.n);
    assert_int_equal(test_naps.ran_out, 0);
    assert_true(test_naps.n > 0);
}

static void test_one_reader(void **state)
{
    (void)state;
    run(1, 20000);
}

static void test_three_readers(void **state)
{
    (void)state;
    run(READERS, 6000);
}

/* ---- what is rung for is there ----------------------------------------------- */

static _Atomic int seen;

static void await_sleeper(dcmi_bells *bells)
{
    while (atomic_load(&bells->n_parked) == 0)
        (void)sched_yield();
}

static void *read_one(void *arg)
{
    dcm_queue *q = arg;
    char byte;
    size_t n;

    q->typical_ns = SLEEPY_NS;
    die_unless(dcm_queue_next(q, &n, 0) == DCM_OK);
    atomic_store(&seen, 1);
    await_sleeper(&q->frame->writer_bells);
    die_unless(dcm_queue_dequeue(q, &n, &byte, 1, 0) == DCM_OK);
    die_unless(dcm_queue_dequeue(q, &n, &byte, 1, 0) == DCM_E_PEER);
    return NULL;
}

/*
 * One record to a reader that sleeps, and its cursor to a writer that does: no
 * later ring makes up for one that comes before what it tells of.
 */
static void test_order(void **state)
{
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    pthread_t thread;
    dcm_queue *q;
    dcm_queue *r;

    (void)state;
    if (!dcmi_heavy_fence())
        skip();
    memset(&test_naps, 0, sizeof(test_naps));
    test_naps.kind = NAP_A_MINUTE;
    lingers = true;
    for (int i = 0; i < 20; i++) {
        atomic_store(&seen, 0);
        assert_ok(dcm_queue_create(&q, 1, NULL));
        assert_ok(dcm_queue_handle(q, handle, sizeof(handle)));
        assert_ok(dcm_queue_attach(&r, handle, sizeof(handle), 0, 0));
        assert_int_equal(pthread_create(&thread, NULL, read_one, r), 0);
        await_sleeper(&q->frame->reader_bells);
        assert_ok(dcm_queue_enqueue(q, "x", 1, 0));
        while (atomic_load(&seen) == 0)
            (void)sched_yield();
        q->typical_ns = SLEEPY_NS;
        assert_ok(dcm_queue_finish(q, 0));
        assert_int_equal(pthread_join(thread, NULL), 0);
        dcm_queue_close(r); /* now: it rings, too */
        dcm_queue_close(q);
    }
    lingers = false;
    assert_int_equal(test_naps.ran_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_reader),
        cmocka_unit_test(test_three_readers),
        cmocka_unit_test(test_order),
    };

    dcmi_heavy_fence_join();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

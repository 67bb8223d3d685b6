/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The waiter and the fibers: how long each way of waiting lasts, what ends it,
 * and who runs meanwhile.  tests/model/test_wait.c has the races.
 */
#define _GNU_SOURCE
#include "support.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "futex_wrap.h"
#include "leaks.h"
#include "os/fiber.h"
#include "os/futex.h"
#include "os/wait.h"

#define NS_PER_S 1000000000ull

/* ---- fibers ------------------------------------------------------------------ */

static dcm_status check_time(void *arg, bool expired)
{
    int *looks = arg;

    if (looks != NULL)
        (*looks)++;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "the test's time is over")
                   : DCM_OK;
}

static const dcmi_watch patient = {
    .check = check_time,
    .timeout_ns = 60 * NS_PER_S,
};

typedef struct runner {
    int number;
    int of;
    int rounds;
    _Atomic int *token;
} runner;

static void await_turn(const runner *r, int turn)
{
    dcmi_wait w = dcmi_wait_begin(&patient);

    while (atomic_load(r->token) != turn)
        die_unless(dcmi_wait_poll(&w) == DCM_OK);
    dcmi_wait_end(&w);
}

static void pass_on(void *arg)
{
    const runner *r = arg;

    die_unless(dcmi_fiber_active());
    for (int i = 0; i < r->rounds; i++) {
        await_turn(r, i * r->of + r->number);
        (void)atomic_fetch_add(r->token, 1);
    }
}

static void run_relay(int n, int rounds)
{
    runner runners[100];
    _Atomic int token = 0;
    void *args[100];

    for (int i = 0; i < n; i++) {
        runners[i] = (runner){i, n, rounds, &token};
        args[n - 1 - i] = &runners[i]; /* against the order of the turns */
    }
    die_unless(dcmi_fiber_run(pass_on, args, n) == DCM_OK);
    die_unless(token == n * rounds && !dcmi_fiber_active());
}

static void test_relay(void **state)
{
    int maps;

    (void)state;
    run_relay(100, test_is_thin() ? 5 : 100);
    run_relay(2, 1000);
    maps = test_count_maps("");
    run_relay(100, 2);
    /* The stacks are gone; what allocators keep they kept before. */
    if (!DCMI_TSAN) /* it keeps traces of every fiber */
        assert_in_range(test_count_maps(""), 0, maps + 20);
}

static void *relay_thread(void *arg)
{
    (void)arg;
    run_relay(10, test_is_thin() ? 20 : 200);
    return NULL;
}

/* Each thread has its own round. */
static void test_relays_of_threads(void **state)
{
    pthread_t threads[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, relay_thread, NULL),
                         0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static int order[8];
static int n_order;

static void note_number(void *arg)
{
    order[n_order++] = *(int *)arg;
}

static void run_nested(void *arg)
{
    int numbers[3];
    void *args[3];

    for (int i = 0; i < 3; i++) {
        numbers[i] = *(int *)arg + i;
        args[i] = &numbers[i];
    }
    die_unless(dcmi_fiber_run(note_number, args, 3) == DCM_OK);
    die_unless(dcmi_fiber_active());
    dcmi_fiber_yield();
}

/* Inside a fiber they run one after the other, without a pause. */
static void test_nested(void **state)
{
    int first[2] = {10, 20};
    void *args[2] = {&first[0], &first[1]};
    static const int want[6] = {10, 11, 12, 20, 21, 22};

    (void)state;
    n_order = 0;
    assert_ok(dcmi_fiber_run(run_nested, args, 2));
    assert_int_equal(n_order, 6);
    assert_memory_equal(order, want, sizeof(want));
}

static void note_stack(void *arg)
{
    char here;

    die_unless(!dcmi_fiber_active());
    *(uintptr_t *)arg = (uintptr_t)&here;
}

/* One alone needs no stack of its own, none at all nothing. */
static void test_alone(void **state)
{
    uintptr_t there = 0;
    void *args[1] = {&there};
    const uintptr_t here = (uintptr_t)&args;

    (void)state;
    assert_ok(dcmi_fiber_run(note_stack, args, 1));
    assert_true(there != 0);
#if !DCMI_ASAN /* which moves locals off the stack */
    assert_true((there > here ? there - here : here - there) < 65536);
#else
    (void)here;
#endif
    assert_ok(dcmi_fiber_run(note_stack, NULL, 0));
}

/* Fill `depth` times 4 KiB of stack, let others run, see that it is intact. */
static int dig(int depth, int mark)
{
    volatile int space[1024];
    int sum = 0;

    for (int i = 0; i < 1024; i++)
        space[i] = mark + depth + i;
    if (depth > 0)
        sum = dig(depth - 1, mark);
    else
        dcmi_fiber_yield();
    for (int i = 0; i < 1024; i++)
        sum += space[i] != mark + depth + i;
    return sum;
}

static void dig_deep(void *arg)
{
    die_unless(dig(32, *(int *)arg) == 0); /* 132 KiB */
}

static void test_deep(void **state)
{
    int marks[5] = {1000, 2000, 3000, 4000, 5000};
    void *args[5];

    (void)state;
    for (int i = 0; i < 5; i++)
        args[i] = &marks[i];
    assert_ok(dcmi_fiber_run(dig_deep, args, 5));
}

/* Whether a page that nobody may touch lies below the mapping of `at`. */
static bool is_guarded(uintptr_t at)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long last_end = 0;
    unsigned long begin;
    unsigned long end;
    char last[8] = "";
    char rights[8];
    char line[4096];
    bool guarded = false;

    die_unless(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        die_unless(sscanf(line, "%lx-%lx %7s", &begin, &end, rights) == 3);
        if (begin <= at && at < end)
            guarded = last_end == begin && strcmp(last, "---p") == 0;
        last_end = end;
        (void)snprintf(last, sizeof(last), "%s", rights);
    }
    (void)fclose(f);
    return guarded;
}

static void look_below(void *arg)
{
    volatile char here = 1;

    *(bool *)arg = is_guarded((uintptr_t)&here);
}

/* Too deep ends the process; it never writes over a neighbour. */
static void test_guard_page(void **state)
{
    bool guarded[3] = {false, false, false};
    void *args[3] = {&guarded[0], &guarded[1], &guarded[2]};

    (void)state;
    assert_ok(dcmi_fiber_run(look_below, args, 3));
    assert_true(guarded[0] && guarded[1] && guarded[2]);
}

static void must_not_run(void *arg)
{
    (void)arg;
    abort();
}

static int without_memory(void *arg)
{
    FILE *f = fopen("/proc/self/statm", "r");
    struct rlimit limit;
    unsigned long pages;
    void *args[64] = {NULL};

    (void)arg;
    die_unless(f != NULL && fscanf(f, "%lu", &pages) == 1 && fclose(f) == 0);
    limit = (struct rlimit){pages * 4096 + (8 << 20), RLIM_INFINITY};
    die_unless(setrlimit(RLIMIT_AS, &limit) == 0);
    die_unless(dcmi_fiber_run(must_not_run, args, 64) == DCM_E_NOMEM);
    die_unless(strstr(dcm_errmsg(), "stack") != NULL);
    die_unless(!dcmi_fiber_active());
    return 0;
}

static void test_no_stacks(void **state)
{
    (void)state;
#if !DCMI_TSAN /* which cannot make its own part of a fiber */
    assert_int_equal(test_in_child(without_memory, NULL, 60), 0);
#else
    (void)without_memory;
    skip();
#endif
}

/* A fiber's wait has a deadline too, and the others go on meanwhile. */
static void wait_in_vain(void *arg)
{
    const dcmi_watch watch = {
        .check = check_time,
        .timeout_ns = 5 * DCMI_NS_PER_MS,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    while (st == DCM_OK)
        st = dcmi_wait_poll(&w);
    dcmi_wait_end(&w);
    *(dcm_status *)arg = st;
}

static void test_fiber_deadline(void **state)
{
    dcm_status st[3] = {DCM_OK, DCM_OK, DCM_OK};
    void *args[3] = {&st[0], &st[1], &st[2]};

    (void)state;
    assert_ok(dcmi_fiber_run(wait_in_vain, args, 3));
    for (int i = 0; i < 3; i++)
        assert_int_equal(st[i], DCM_E_TIMEOUT);
}

/* ---- the waiter -------------------------------------------------------------- */

static dcmi_bells bells;

static int fresh_bells(void **state)
{
    (void)state;
    memset(&bells, 0, sizeof(bells));
    memset(&test_naps, 0, sizeof(test_naps));
    test_naps.kind = NAP_NOT;
    return 0;
}

/* A wait whose time of spinning and yielding is over. */
static dcmi_wait begin_late(const dcmi_watch *watch)
{
    dcmi_wait w = dcmi_wait_begin(watch);

    w.start_ns = dcmi_now_ns() - 10 * DCMI_NS_PER_MS;
    return w;
}

static void test_spins(void **state)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check_time,
        .arg = &looks,
        .bells = &bells,
        .timeout_ns = 600 * NS_PER_S,
        .spin_ns = 600 * NS_PER_S,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);

    (void)state;
    for (unsigned i = 0; i < 100 * DCMI_WAIT_BATCH; i++)
        assert_ok(dcmi_wait_poll(&w));
    assert_int_equal(looks, 100);
    assert_int_equal(bells.n_parked, 0);
    dcmi_wait_end(&w);
    assert_int_equal(test_naps.n, 0);
}

static void test_parks(void **state)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check_time,
        .arg = &looks,
        .bells = &bells,
        .rank = 5,
        .timeout_ns = 600 * NS_PER_S,
    };
    dcmi_wait w = begin_late(&watch);

    (void)state;
    assert_ok(dcmi_wait_poll(&w)); /* says so, and looks again */
    assert_int_equal(test_naps.n, 0);
    assert_int_equal(bells.n_parked, 1);
    assert_int_equal(bells.bell[5].parked, 1);
    for (int i = 0; i < 8; i++) {
        assert_ok(dcmi_wait_poll(&w));
        assert_int_equal(test_naps.n, i + 1);
        assert_in_range(test_naps.ns, 500000, 20000000);
    }
    assert_int_equal(looks, 9);
    /* However long it waits, it looks every 20 ms. */
    w.start_ns = dcmi_now_ns() - 100 * NS_PER_S;
    assert_ok(dcmi_wait_poll(&w));
    assert_int_equal(test_naps.ns, 20000000);
    dcmi_wait_end(&w);
    assert_int_equal(bells.n_parked, 0);
    assert_int_equal(bells.bell[5].parked, 0);
}

/* Spins, then yields, then parks: by the clock, however slow the machine is. */
static void test_whole_way(void **state)
{
    const dcmi_watch watch = {
        .check = check_time,
        .bells = &bells,
        .timeout_ns = 600 * NS_PER_S,
        .spin_ns = 1000,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);

    (void)state;
    while (test_naps.n == 0)
        assert_ok(dcmi_wait_poll(&w));
    assert_int_equal(bells.n_parked, 1);
    assert_ok(dcmi_wait_poll(&w)); /* no more spinning in between */
    assert_int_equal(test_naps.n, 2);
    dcmi_wait_end(&w);
    assert_int_equal(bells.n_parked, 0);
}

/* The last nap ends with the deadline. */
static void test_deadline(void **state)
{
    const dcmi_watch watch = {
        .check = check_time,
        .bells = &bells,
        .timeout_ns = 10 * NS_PER_S,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);

    (void)state;
    w.start_ns = dcmi_now_ns() - 10 * NS_PER_S + 3 * DCMI_NS_PER_MS;
    while (test_naps.n == 0) {
        const dcm_status st = dcmi_wait_poll(&w);

        if (st == DCM_E_TIMEOUT)
            break; /* a slow machine: nothing to see */
        assert_ok(st);
    }
    assert_in_range(test_naps.ns, 0, 3 * DCMI_NS_PER_MS);
    w.start_ns = dcmi_now_ns() - 10 * NS_PER_S;
    assert_status(dcmi_wait_poll(&w), DCM_E_TIMEOUT, "time is over");
    dcmi_wait_end(&w);
    assert_int_equal(bells.n_parked, 0);
    assert_int_equal(bells.bell[0].parked, 0);
}

static dcm_status check_third(void *arg, bool expired)
{
    int *looks = arg;

    assert_false(expired);
    return ++*looks == 3 ? dcmi_err(DCM_E_ABORTED, "third") : DCM_OK;
}

static void test_told_to_end(void **state)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check_third,
        .arg = &looks,
        .bells = &bells,
        .rank = 1,
        .timeout_ns = 600 * NS_PER_S,
    };
    dcmi_wait w = begin_late(&watch);

    (void)state;
    assert_ok(dcmi_wait_poll(&w));
    assert_ok(dcmi_wait_poll(&w));
    assert_status(dcmi_wait_poll(&w), DCM_E_ABORTED, "third");
    assert_int_equal(test_naps.n, 1);
    dcmi_wait_end(&w);
    assert_int_equal(bells.n_parked, 0);
}

/* Rung between the mark and the nap: it does not sleep. */
static void test_rung_before_sleep(void **state)
{
    const dcmi_watch watch = {
        .check = check_time,
        .bells = &bells,
        .rank = 2,
        .timeout_ns = 600 * NS_PER_S,
    };
    dcmi_wait w = begin_late(&watch);

    (void)state;
    test_naps.kind = NAP_A_MINUTE;
    assert_ok(dcmi_wait_poll(&w));
    dcmi_bells_ring(&bells, 3);
    assert_ok(dcmi_wait_poll(&w));
    assert_int_equal(test_naps.n, 1);
    assert_int_equal(test_naps.ran_out, 0);
    dcmi_wait_end(&w);
}

static void test_ring_only_parked(void **state)
{
    (void)state;
    bells.bell[1].parked = 1; /* not counted: nobody is looked for */
    dcmi_bells_ring(&bells, 4);
    assert_int_equal(bells.bell[1].word, 0);
    bells.n_parked = 1;
    bells.bell[3].parked = 1;
    bells.bell[3].word = UINT32_MAX; /* wraps */
    bells.bell[4].parked = 1;
    dcmi_bells_ring(&bells, 4);
    assert_int_equal(bells.bell[0].word, 0);
    assert_int_equal(bells.bell[1].word, 1);
    assert_int_equal(bells.bell[2].word, 0);
    assert_int_equal(bells.bell[3].word, 0);
    assert_int_equal(bells.bell[4].word, 0); /* beyond the ranks */
}

static _Atomic int flag;

static void *wait_for_flag(void *arg)
{
    const dcmi_watch *watch = arg;
    dcmi_wait w = begin_late(watch);

    while (atomic_load_explicit(&flag, memory_order_acquire) == 0)
        die_unless(dcmi_wait_poll(&w) == DCM_OK);
    dcmi_wait_end(&w);
    return NULL;
}

/* A parked waiter is woken, and not by its own clock, which is a minute away. */
static void test_woken(void **state)
{
    const int rounds = test_is_thin() ? 20 : 300;
    dcmi_watch watch = {
        .check = check_time,
        .bells = &bells,
        .rank = 63,
        .timeout_ns = 600 * NS_PER_S,
    };
    pthread_t thread;

    (void)state;
    if (!dcmi_heavy_fence())
        skip(); /* then a wake-up may be missed: wait.h */
    test_naps.kind = NAP_A_MINUTE;
    for (int i = 0; i < rounds; i++) {
        atomic_store(&flag, 0);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_flag, &watch),
                         0);
        while (atomic_load(&bells.n_parked) == 0)
            ;
        atomic_store_explicit(&flag, 1, memory_order_release);
        dcmi_bells_ring(&bells, DCM_MAX_RANKS);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(bells.n_parked, 0);
    }
    assert_int_equal(test_naps.ran_out, 0);
}

/* Without bells it naps on its own clock. */
static void test_no_bells(void **state)
{
    int looks = 0;
    const dcmi_watch watch = {
        .check = check_time,
        .arg = &looks,
        .timeout_ns = 30 * DCMI_NS_PER_MS,
    };
    dcmi_wait w = begin_late(&watch);
    dcm_status st = DCM_OK;

    (void)state;
    while (st == DCM_OK)
        st = dcmi_wait_poll(&w);
    dcmi_wait_end(&w);
    assert_int_equal(st, DCM_E_TIMEOUT);
    assert_int_equal(test_naps.n, 0);
    assert_in_range(looks, 1, 100); /* spinning would look by the thousand */
}

static void wait_fiber(void *arg)
{
    const dcmi_watch *watch = arg;
    dcmi_wait w = begin_late(watch);
    const int mine = atomic_fetch_add(&flag, 1);

    while (atomic_load(&flag) < 3 || mine == 99)
        die_unless(dcmi_wait_poll(&w) == DCM_OK);
    dcmi_wait_end(&w);
}

/* In a fiber nobody parks: it would stop the others. */
static void test_fibers_never_park(void **state)
{
    dcmi_watch watch = {
        .check = check_time,
        .bells = &bells,
        .timeout_ns = 600 * NS_PER_S,
    };
    void *args[3] = {&watch, &watch, &watch};

    (void)state;
    atomic_store(&flag, 0);
    assert_ok(dcmi_fiber_run(wait_fiber, args, 3));
    assert_int_equal(test_naps.n, 0);
    assert_int_equal(bells.n_parked, 0);
}

static void test_wait_fd(void **state)
{
    const dcmi_watch hasty = {
        .check = check_time,
        .timeout_ns = 3 * DCMI_NS_PER_MS,
    };
    uint64_t start = 0;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_ok(dcmi_wait_fd(ends[1], POLLOUT, &patient, &start));
    start = 0;
    assert_status(dcmi_wait_fd(ends[0], POLLIN, &hasty, &start), DCM_E_TIMEOUT,
                  "time is over");
    assert_true(start != 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    /* What is there counts, however late it is. */
    assert_ok(dcmi_wait_fd(ends[0], POLLIN, &hasty, &start));
    assert_int_equal(close(ends[1]), 0);
    start = 0;
    assert_ok(dcmi_wait_fd(ends[0], POLLIN, &patient, &start));
    assert_int_equal(close(ends[0]), 0);
}

static void test_clock(void **state)
{
    uint64_t before = dcmi_now_ns();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = dcmi_now_ns();

        assert_true(now >= before);
        before = now;
    }
    dcmi_nap_ns(2 * DCMI_NS_PER_MS);
    assert_true(dcmi_now_ns() >= before + 2 * DCMI_NS_PER_MS);
    dcmi_nap_ns(0);
}

#define rung(f) cmocka_unit_test_setup(f, fresh_bells)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay),
        cmocka_unit_test(test_relays_of_threads),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_guard_page),
        cmocka_unit_test(test_no_stacks),
        cmocka_unit_test(test_fiber_deadline),
        rung(test_spins),
        rung(test_parks),
        rung(test_whole_way),
        rung(test_deadline),
        rung(test_told_to_end),
        rung(test_rung_before_sleep),
        rung(test_ring_only_parked),
        rung(test_woken),
        rung(test_no_bells),
        rung(test_fibers_never_park),
        rung(test_wait_fd),
        cmocka_unit_test(test_clock),
    };

    dcmi_heavy_fence_join();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

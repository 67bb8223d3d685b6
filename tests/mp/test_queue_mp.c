/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broadcast queue between processes: records of all sizes, readers and
 * writers that are killed, stopped, slow, or come late.
 *
 * Record i has a length and a place in a pool of random bytes that follow from i,
 * so a reader checks every byte and notices what is lost or comes twice.  Times
 * are printed, not judged, but for one bound far above what is promised.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mp.h"
#include "os/clock.h"

enum {
    POOL_BYTES = 9 << 20,
    RECORD_MOST = 8 << 20,
    READERS_MOST = 15,
    DEAD_BOUND_MS = 5000,
    WAIT_MS = 120000,
};

/* Memory that the test and its processes share. */
typedef struct world {
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    _Atomic int has_handle;
    _Atomic int stop;
    _Atomic int attached;
    _Atomic uint64_t received[READERS_MOST];
    _Atomic uint64_t killed_ns;
    uint64_t noticed_ns[READERS_MOST + 1];
    uint64_t worst_ns; /* the longest enqueue */
    uint64_t seed;
    uint64_t records;
    int nreaders;
    unsigned log_most; /* lengths up to 2^log_most */
    size_t ring;
    uint32_t flags;
    unsigned slow_writer; /* of 64 records, after how many it lingers */
    unsigned slow_reader;
    bool in_place;
} world;

static world *w;
static unsigned char *pool;

static void fresh_world(const world *with)
{
    if (w == NULL) {
        uint64_t random = test_seed();

        w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(w, MAP_FAILED);
        pool = malloc(POOL_BYTES);
        assert_non_null(pool);
        for (size_t i = 0; i < POOL_BYTES; i += 8) {
            const uint64_t v = test_random(&random);

            memcpy(pool + i, &v, 8);
        }
    }
    *w = *with;
    w->seed = 20261127;
}

static uint64_t hash_of(uint64_t i)
{
    uint64_t state = w->seed + i * 0x9e3779b97f4a7c15ull;

    (void)test_random(&state);
    return test_random(&state);
}

/* Log-uniform, 0 included. */
static size_t length_of(uint64_t i)
{
    const uint64_t h = hash_of(i);
    const unsigned log = (unsigned)(h % (w->log_most + 1));

    return log == 0 ? h >> 60
                    : (1ull << (log - 1)) + (h >> 20) % (1ull << (log - 1));
}

static const unsigned char *bytes_of(uint64_t i)
{
    return pool + hash_of(i) % (POOL_BYTES - RECORD_MOST);
}

static void linger(unsigned of_64, uint64_t i)
{
    const uint64_t h = hash_of(i ^ 0xabcd);

    if (h % 64 < of_64)
        dcmi_nap_ns((h >> 8) % 200000);
}

/* ---- the two sides ----------------------------------------------------------- */

static dcm_queue *make_queue(void)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    dcm_queue *q;

    opts.bytes = w->ring;
    opts.flags = w->flags;
    opts.timeout_ms = WAIT_MS;
    die_unless(dcm_queue_create(&q, w->nreaders, &opts) == DCM_OK);
    die_unless(dcm_queue_handle(q, w->handle, sizeof(w->handle)) == DCM_OK);
    atomic_store(&w->has_handle, 1);
    return q;
}

static void await_count(_Atomic int *count, int want)
{
    while (atomic_load(count) < want)
        (void)sched_yield();
}

static dcm_queue *attach(int reader)
{
    dcm_queue *q;

    await_count(&w->has_handle, 1);
    die_unless(dcm_queue_attach(&q, w->handle, sizeof(w->handle), reader,
                                WAIT_MS) == DCM_OK);
    (void)atomic_fetch_add(&w->attached, 1);
    return q;
}

static void send_record(dcm_queue *q, uint64_t i)
{
    const size_t bytes = length_of(i);
    void *to;

    if (w->in_place && i % 2 == 0 && bytes <= w->ring / 2) {
        die_unless(dcm_queue_reserve(q, &to, bytes, 0) == DCM_OK);
        memcpy(to, bytes_of(i), bytes);
        die_unless(dcm_queue_commit(q, bytes) == DCM_OK);
    } else {
        die_unless(dcm_queue_enqueue(q, bytes_of(i), bytes, 0) == DCM_OK);
    }
}

static void check_record(uint64_t i, const unsigned char *got, size_t bytes)
{
    if (bytes != length_of(i) || memcmp(got, bytes_of(i), bytes) != 0) {
        fprintf(stderr, "record %llu: %zu bytes, not %zu, or other ones\n",
                (unsigned long long)i, bytes, length_of(i));
        abort();
    }
}

static void look_at_record(dcm_queue *q, uint64_t i, unsigned char *buf)
{
    const void *at;
    size_t done = 0;
    size_t left;
    size_t n;

    do {
        die_unless(dcm_queue_peek(q, &at, &n, &left, 0) == DCM_OK);
        memcpy(buf + done, at, n);
        done += n;
        die_unless(dcm_queue_advance(q, n) == DCM_OK);
    } while (left > 0);
    check_record(i, buf, done);
}

static int write_all(void)
{
    dcm_queue *q = make_queue();

    for (uint64_t i = 0; i < w->records; i++) {
        linger(w->slow_writer, i);
        send_record(q, i);
    }
    await_count(&w->attached, w->nreaders); /* nobody finds it once it ended */
    dcm_queue_close(q);
    return 0;
}

static int read_all(int reader)
{
    unsigned char *buf = malloc(RECORD_MOST);
    dcm_queue *q = attach(reader);
    size_t n;

    for (uint64_t i = 0; i < w->records; i++) {
        linger(w->slow_reader, i + (uint64_t)reader);
        if (w->in_place && i % 3 == 0) {
            look_at_record(q, i, buf);
            continue;
        }
        die_unless(dcm_queue_dequeue(q, &n, buf, RECORD_MOST, 0) == DCM_OK);
        check_record(i, buf, n);
    }
    die_unless(dcm_queue_dequeue(q, &n, buf, RECORD_MOST, 0) == DCM_E_PEER);
    dcm_queue_close(q);
    free(buf);
    return 0;
}

static int one_side(int rank, void *arg)
{
    (void)arg;
    return rank == 0 ? write_all() : read_all(rank - 1);
}

/* How many times as many records `make soak` sends. */
static unsigned soak(void)
{
    const char *text = getenv("DEVCOMM_TEST_SOAK");

    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 1;
}

static void run_records(const world *with)
{
    mp_world mp;

    fresh_world(with);
    w->records *= soak();
    if (test_is_thin())
        w->records = w->records / 10 + 1;
    mp_spawn(&mp, 1 + w->nreaders, one_side, NULL);
    mp_wait(&mp, WAIT_MS * soak(), 0);
}

static void test_small(void **state)
{
    static const int readers[] = {1, 2, 7, 15};

    (void)state;
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        for (size_t ring = 4096; ring <= 4 << 20; ring *= 32)
            run_records(&(world){.nreaders = readers[i],
                                 .records = 200000 / (uint64_t)readers[i],
                                 .log_most = 9,
                                 .ring = ring,
                                 .in_place = i % 2 == 1});
    }
}

static void test_large(void **state)
{
    static const int readers[] = {1, 2, 7, 15};

    (void)state;
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        run_records(&(world){.nreaders = readers[i],
                             .records = 1500 / (uint64_t)readers[i],
                             .log_most = 23,
                             .ring = 1 << 20,
                             .in_place = i % 2 == 0});
        run_records(&(world){.nreaders = readers[i],
                             .records = 5000 / (uint64_t)readers[i],
                             .log_most = 16,
                             .ring = 4096});
    }
}

static void test_slow_sides(void **state)
{
    (void)state;
    run_records(&(world){.nreaders = 2,
                         .records = 4000,
                         .log_most = 14,
                         .ring = 65536,
                         .slow_writer = 40});
    run_records(&(world){.nreaders = 2,
                         .records = 4000,
                         .log_most = 14,
                         .ring = 65536,
                         .slow_reader = 20});
    run_records(&(world){.nreaders = 3,
                         .records = 4000,
                         .log_most = 10,
                         .ring = 4096,
                         .slow_reader = 8,
                         .slow_writer = 8});
}

/* ---- one that is far longer than the ring ------------------------------------ */

enum {
    HUGE_WORDS = 32 << 20,
    HUGE_THIN = 2 << 20
};

static int huge_side(int rank, void *arg)
{
    const size_t words = test_is_thin() ? HUGE_THIN : HUGE_WORDS;
    uint64_t *buf = malloc(words * 8);
    dcm_queue *q;
    size_t n;

    (void)arg;
    die_unless(buf != NULL);
    if (rank == 0) {
        for (size_t i = 0; i < words; i++)
            buf[i] = i * 3;
        q = make_queue();
        die_unless(dcm_queue_enqueue(q, buf, words * 8, 0) == DCM_OK);
    } else {
        q = attach(rank - 1);
        die_unless(dcm_queue_dequeue(q, &n, buf, words * 8, 0) == DCM_OK);
        die_unless(n == words * 8);
        for (size_t i = 0; i < words; i++)
            die_unless(buf[i] == i * 3);
    }
    dcm_queue_close(q);
    free(buf);
    return 0;
}

/*
 * With `make soak` ten million, small enough that they are 50 GB at most, and a
 * hundred thousand of up to 8 MiB for each of many readers.
 */
static void test_many(void **state)
{
    const uint64_t large = soak() > 1 ? 5000 : 10;

    (void)state;
    run_records(&(world){
        .nreaders = 1, .records = 500000, .log_most = 14, .ring = 4 << 20});
    for (int readers = 7; readers <= 15; readers += 8)
        run_records(&(world){.nreaders = readers,
                             .records = large,
                             .log_most = 23,
                             .ring = 4 << 20});
}

static void test_huge(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(&(world){.nreaders = 2, .ring = 4 << 20});
    mp_spawn(&mp, 3, huge_side, NULL);
    mp_wait(&mp, WAIT_MS, 0);
}

/* ---- killed ------------------------------------------------------------------ */

/* Numbered records until told to stop; the last one is ~0. */
static int write_until(void)
{
    dcm_queue *q = make_queue();
    unsigned char filler[3000] = {0};
    uint64_t last = UINT64_MAX;
    uint64_t start;

    for (uint64_t i = 0; atomic_load(&w->stop) == 0; i++) {
        const size_t bytes = 8 + hash_of(i) % (sizeof(filler) - 8);

        memcpy(filler, &i, 8);
        start = dcmi_now_ns();
        die_unless(dcm_queue_enqueue(q, filler, bytes, 0) == DCM_OK);
        start = dcmi_now_ns() - start;
        if (start > w->worst_ns)
            w->worst_ns = start;
    }
    die_unless(dcm_queue_enqueue(q, &last, 8, 0) == DCM_OK);
    dcm_queue_close(q);
    return 0;
}

/* Each record is the next one; a reader that came late begins anywhere. */
static int read_until(int reader, bool is_late)
{
    unsigned char buf[4096];
    dcm_queue *q = attach(reader);
    uint64_t want = is_late ? UINT64_MAX : 0;
    uint64_t i;
    size_t n;

    for (;;) {
        die_unless(dcm_queue_dequeue(q, &n, buf, sizeof(buf), 0) == DCM_OK);
        memcpy(&i, buf, 8);
        if (i == UINT64_MAX)
            break;
        die_unless(want == UINT64_MAX || i == want);
        want = i + 1;
        (void)atomic_fetch_add(&w->received[reader], 1);
    }
    dcm_queue_close(q);
    return 0;
}

static int kill_side(int rank, void *arg)
{
    (void)arg;
    return rank == 0 ? write_until() : read_until(rank - 1, false);
}

static pid_t spawn_late(int reader)
{
    const pid_t pid = fork();

    die_unless(pid >= 0);
    if (pid == 0)
        _exit(read_until(reader, true));
    return pid;
}

static void await_progress(int reader)
{
    const uint64_t before = atomic_load(&w->received[reader]);
    const uint64_t start = dcmi_now_ns();

    while (atomic_load(&w->received[reader]) == before) {
        assert_true(dcmi_now_ns() - start < DEAD_BOUND_MS * DCMI_NS_PER_MS);
        (void)sched_yield();
    }
}

/* Kill the reader in place 2 over and over; the others lose nothing. */
static void test_kill_readers(void **state)
{
    const int rounds = test_is_thin() ? 20 : 200;
    uint64_t random = test_seed();
    mp_world mp;
    pid_t victim;
    int status;

    (void)state;
    fresh_world(&(world){.nreaders = 2, .ring = 65536});
    mp_spawn(&mp, 3, kill_side, NULL);
    await_count(&w->attached, 2);
    for (int i = 0; i < rounds; i++) {
        victim = spawn_late(2);
        await_progress(2);
        dcmi_nap_ns(test_random(&random) % 3000000);
        (void)kill(victim, SIGKILL);
        assert_int_equal(waitpid(victim, &status, 0), victim);
        assert_true(WIFSIGNALED(status));
        await_progress(0);
        await_progress(1);
    }
    atomic_store(&w->stop, 1);
    mp_wait(&mp, WAIT_MS, 0);
    printf("the longest enqueue took %.1f ms\n", (double)w->worst_ns / 1e6);
    assert_true(w->worst_ns < DEAD_BOUND_MS * DCMI_NS_PER_MS);
}

static int policy_side(int rank, void *arg)
{
    unsigned char buf[4096] = {0};
    dcm_status st = DCM_OK;
    dcm_queue *q;

    (void)arg;
    if (rank == 1) {
        q = attach(0);
        for (;;)
            (void)pause();
    }
    q = make_queue();
    await_count(&w->attached, 1);
    while (st == DCM_OK)
        st = dcm_queue_enqueue(q, buf, sizeof(buf), 0);
    w->noticed_ns[0] = dcmi_now_ns();
    die_unless(st == DCM_E_PEER &&
               strstr(dcm_errmsg(), "reader 0 (pid") != NULL);
    dcm_queue_close(q);
    return 0;
}

static void test_fail_on_dead(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(&(world){.nreaders = 1, .flags = DCM_QUEUE_FAIL_ON_DEAD});
    mp_spawn(&mp, 2, policy_side, NULL);
    await_count(&w->attached, 1);
    dcmi_nap_ns(30000000);
    atomic_store(&w->killed_ns, dcmi_now_ns());
    mp_kill(&mp, 1, SIGKILL);
    mp_wait(&mp, WAIT_MS, 1ull << 1);
    printf("reported after %.1f ms\n",
           (double)(w->noticed_ns[0] - w->killed_ns) / 1e6);
}

static int orphan_side(int rank, void *arg)
{
    static unsigned char buf[1 << 20];
    dcm_status st = DCM_OK;
    dcm_queue *q;
    size_t n;

    (void)arg;
    if (rank == 0) {
        q = make_queue();
        for (uint64_t i = 0;; i++) {
            const size_t bytes =
                hash_of(i) % 8 == 0 ? sizeof(buf) : hash_of(i) % 2000;

            die_unless(dcm_queue_enqueue(q, buf, bytes, 0) == DCM_OK);
            if (hash_of(i) % 64 == 0)
                dcmi_nap_ns(2000000);
        }
    }
    q = attach(rank - 1);
    while (st == DCM_OK)
        st = dcm_queue_dequeue(q, &n, buf, sizeof(buf), 0);
    w->noticed_ns[rank] = dcmi_now_ns();
    die_unless(st == DCM_E_PEER);
    die_unless(strstr(dcm_errmsg(), "died") != NULL);
    st = dcm_queue_dequeue(q, &n, buf, sizeof(buf), 0);
    die_unless(st == DCM_E_PEER);
    dcm_queue_close(q);
    return 0;
}

static void test_kill_writer(void **state)
{
    const int rounds = test_is_thin() ? 5 : 40;
    uint64_t random = test_seed();
    uint64_t worst = 0;
    mp_world mp;

    (void)state;
    for (int i = 0; i < rounds; i++) {
        fresh_world(&(world){.nreaders = 3, .ring = 256 << 10});
        w->seed += (uint64_t)i;
        mp_spawn(&mp, 4, orphan_side, NULL);
        await_count(&w->attached, 3);
        dcmi_nap_ns(test_random(&random) % 20000000);
        atomic_store(&w->killed_ns, dcmi_now_ns());
        mp_kill(&mp, 0, SIGKILL);
        mp_wait(&mp, WAIT_MS, 1);
        for (int r = 1; r <= 3; r++) {
            if (w->noticed_ns[r] - w->killed_ns > worst)
                worst = w->noticed_ns[r] - w->killed_ns;
        }
    }
    printf("noticed after %.1f ms at most\n", (double)worst / 1e6);
    assert_true(worst < DEAD_BOUND_MS * DCMI_NS_PER_MS);
}

/* ---- stopped ----------------------------------------------------------------- */

/* Time-outs of the writer, for so long; returns how many there were. */
static uint64_t await_late(uint64_t ns)
{
    const uint64_t before = atomic_load(&w->received[1]);
    const uint64_t start = dcmi_now_ns();

    do {
        await_progress(1);
    } while (dcmi_now_ns() - start < ns);
    return atomic_load(&w->received[1]) - before;
}

static int stop_side(int rank, void *arg)
{
    unsigned char buf[4096] = {0};
    dcm_status st = DCM_OK;
    uint64_t i = 0;
    dcm_queue *q;

    (void)arg;
    if (rank == 1)
        return read_until(0, false);
    q = make_queue();
    while (atomic_load(&w->stop) == 0) {
        memcpy(buf, &i, 8);
        st = dcm_queue_enqueue(q, buf, sizeof(buf), 50);
        die_unless(st == DCM_OK || st == DCM_E_TIMEOUT);
        if (st == DCM_E_TIMEOUT) {
            die_unless(strstr(dcm_errmsg(), "alive") != NULL);
            (void)atomic_fetch_add(&w->received[1], 1);
        } else {
            i++;
        }
    }
    i = UINT64_MAX;
    die_unless(dcm_queue_enqueue(q, &i, 8, 0) == DCM_OK);
    dcm_queue_close(q);
    return 0;
}

/* Late, not dead; for 20 s with `make soak`. */
static void test_stopped(void **state)
{
    const uint64_t ns = getenv("DEVCOMM_TEST_SOAK") != NULL ? 20000000000u : 1;
    uint64_t late;
    mp_world mp;

    (void)state;
    fresh_world(&(world){.nreaders = 1, .ring = 65536});
    mp_spawn(&mp, 2, stop_side, NULL);
    for (int i = 0; i < 3; i++) {
        await_progress(0);
        mp_kill(&mp, 1, SIGSTOP);
        await_progress(1); /* may have begun before the stop */
        late = await_late(i == 0 ? ns : 1);
        mp_kill(&mp, 1, SIGCONT);
        await_progress(0);
        printf("a stopped reader was late %llu times, and read on\n",
               (unsigned long long)late);
    }
    atomic_store(&w->stop, 1);
    mp_wait(&mp, WAIT_MS, 0);
}

/* ---- another PID namespace --------------------------------------------------- */

enum {
    NO_NAMESPACE = 77
};

static int foreign_side(int rank, void *arg)
{
    unsigned char byte = 0;
    dcm_queue *q;
    int status;
    size_t n;
    pid_t pid;

    (void)arg;
    if (rank == 0) {
        q = make_queue();
        die_unless(dcm_queue_wait_ready(q, 0) == DCM_OK);
        for (;;) { /* until its reader is killed and dropped */
            dcm_queue_info info = {.size = sizeof(info)};
            dcm_queue_reader r;

            die_unless(dcm_queue_enqueue(q, &byte, 1, 0) == DCM_OK);
            die_unless(dcm_queue_stat(q, &info, &r, 1) == DCM_OK);
            if (r.state == DCM_QUEUE_DROPPED)
                break;
        }
        dcm_queue_close(q);
        return 0;
    }
    if (unshare(CLONE_NEWPID) != 0) {
        q = attach(0);
        atomic_store(&w->stop, NO_NAMESPACE);
        _exit(0);
    }
    pid = fork();
    die_unless(pid >= 0);
    if (pid == 0) {
        q = attach(0);
        for (int i = 0; i < 100; i++)
            die_unless(dcm_queue_dequeue(q, &n, &byte, 1, 0) == DCM_OK);
        (void)kill(getpid(), SIGKILL); /* of process 1: has no effect */
        _exit(0);
    }
    die_unless(waitpid(pid, &status, 0) == pid && status == 0);
    _exit(0); /* sanitizers cannot clone any more: process 1 is gone */
}

static void test_other_namespace(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(&(world){.nreaders = 1, .ring = 4096});
    mp_spawn(&mp, 2, foreign_side, NULL);
    mp_wait(&mp, WAIT_MS, 0);
    if (atomic_load(&w->stop) == NO_NAMESPACE)
        skip();
}

/* ---- nothing is left --------------------------------------------------------- */

static int open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

static void test_leaves_nothing(void **state)
{
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    const int before = open_files();
    dcm_queue *q[3];

    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_ok(dcm_queue_create(&q[0], 2, NULL));
        assert_ok(dcm_queue_handle(q[0], handle, sizeof(handle)));
        assert_ok(dcm_queue_attach(&q[1], handle, sizeof(handle), 0, 0));
        assert_ok(dcm_queue_attach(&q[2], handle, sizeof(handle), 1, 0));
        for (int k = 0; k < 3; k++)
            dcm_queue_close(q[(k + i) % 3]);
    }
    assert_int_equal(open_files(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_slow_sides),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_kill_readers),
        cmocka_unit_test(test_fail_on_dead),
        cmocka_unit_test(test_kill_writer),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_other_namespace),
        cmocka_unit_test(test_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

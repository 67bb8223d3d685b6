/* SPDX-License-Identifier: Apache-2.0 */
/* The broadcast queue's calls and limits, writer and readers in one thread. */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "queue/queue.h"

enum {
    TINY = 4096, /* the least ring: 16 slots */
    SOON_MS = 20,
};

typedef struct pair {
    dcm_queue *w;
    dcm_queue *r;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
} pair;

static pair make(size_t bytes, uint32_t flags)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    pair p;

    opts.name = "test";
    opts.bytes = bytes;
    opts.flags = flags;
    opts.timeout_ms = SOON_MS;
    assert_ok(dcm_queue_create(&p.w, 1, &opts));
    assert_ok(dcm_queue_handle(p.w, p.handle, sizeof(p.handle)));
    assert_ok(dcm_queue_attach(&p.r, p.handle, sizeof(p.handle), 0, 0));
    return p;
}

static void unmake(pair *p)
{
    dcm_queue_close(p->r);
    dcm_queue_close(p->w);
}

static void fill(unsigned char *buf, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        buf[i] = (unsigned char)(seed + i * 7);
}

static void send(dcm_queue *w, size_t bytes, unsigned seed)
{
    static unsigned char buf[TINY * 4];

    fill(buf, bytes, seed);
    assert_ok(dcm_queue_enqueue(w, buf, bytes, 0));
}

static void receive(dcm_queue *r, size_t bytes, unsigned seed)
{
    static unsigned char want[TINY * 4];
    static unsigned char got[TINY * 4];
    size_t n = 0;

    fill(want, bytes, seed);
    assert_ok(dcm_queue_dequeue(r, &n, got, sizeof(got), 0));
    assert_int_equal(n, bytes);
    assert_memory_equal(got, want, bytes);
}

static void test_sizes_and_wrap(void **state)
{
    pair p = make(TINY, 0);

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t bytes = 0; bytes <= TINY / 2; bytes += 1 + bytes / 9) {
            send(p.w, bytes, round);
            receive(p.r, bytes, round);
        }
    }
    unmake(&p);
}

static void test_several_under_way(void **state)
{
    uint64_t random = test_seed();
    pair p = make(TINY * 16, 0);
    unsigned sent = 0;
    unsigned received = 0;
    size_t bytes[8];

    (void)state;
    while (received < 20000) {
        if (sent - received < 8 && test_random(&random) % 2 == 0) {
            bytes[sent % 8] = test_random(&random) % 5000;
            send(p.w, bytes[sent % 8], sent);
            sent++;
        } else if (received < sent) {
            receive(p.r, bytes[received % 8], received);
            received++;
        }
    }
    unmake(&p);
}

static void test_gather(void **state)
{
    static const unsigned char a[300] = {1, 2, 3};
    unsigned char got[1000];
    const dcm_queue_part parts[] = {
        {a, 3}, {NULL, 0}, {a + 1, 2}, {a, 300}, {a, 0}};
    pair p = make(0, 0);
    size_t n;

    (void)state;
    assert_ok(dcm_queue_enqueue_v(p.w, parts, 3, 0)); /* inline */
    assert_ok(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0));
    assert_int_equal(n, 5);
    assert_memory_equal(got, "\1\2\3\2\3", 5);
    assert_ok(dcm_queue_enqueue_v(p.w, parts, 5, 0));
    assert_ok(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0));
    assert_int_equal(n, 305);
    assert_memory_equal(got + 5, a, 300);
    assert_ok(dcm_queue_enqueue_v(p.w, NULL, 0, 0));
    assert_ok(dcm_queue_dequeue(p.r, &n, NULL, 0, 0));
    assert_int_equal(n, 0);
    assert_status(dcm_queue_enqueue_v(p.w, NULL, 1, 0), DCM_E_INVAL, "NULL");
    unmake(&p);
}

static void test_in_place(void **state)
{
    pair p = make(TINY, 0);
    const void *at;
    size_t left;
    void *to;
    size_t n;

    (void)state;
    for (size_t bytes = 1; bytes <= TINY / 2; bytes += 97) {
        assert_ok(dcm_queue_reserve(p.w, &to, TINY / 2, 0));
        fill(to, bytes, 3);
        assert_ok(dcm_queue_commit(p.w, bytes)); /* less than reserved */
        assert_ok(dcm_queue_peek(p.r, &at, &n, &left, 0));
        assert_int_equal(n, bytes);
        assert_int_equal(left, 0);
        assert_int_equal(*(const unsigned char *)at, 3);
        assert_ok(dcm_queue_advance(p.r, bytes / 2));
        assert_ok(dcm_queue_peek(p.r, &at, &n, &left, 0));
        assert_int_equal(n, bytes - bytes / 2);
        assert_status(dcm_queue_advance(p.r, n + 1), DCM_E_INVAL, "shown");
        assert_status(dcm_queue_dequeue(p.r, &n, &n, sizeof(n), 0), DCM_E_INVAL,
                      "peeked");
        assert_ok(dcm_queue_advance(p.r, bytes - bytes / 2));
    }
    assert_int_equal(dcm_queue_try_peek(p.r, &at, &n, &left), DCM_AGAIN);
    assert_status(dcm_queue_commit(p.w, 1), DCM_E_INVAL, "0 are reserved");
    assert_ok(dcm_queue_reserve(p.w, &to, 10, 0));
    assert_status(dcm_queue_commit(p.w, 11), DCM_E_INVAL, "10 are reserved");
    send(p.w, 5, 1); /* gives the room back */
    assert_status(dcm_queue_commit(p.w, 1), DCM_E_INVAL, "0 are reserved");
    assert_status(dcm_queue_reserve(p.w, &to, TINY, 0), DCM_E_INVAL, "half");
    receive(p.r, 5, 1);
    unmake(&p);
}

static void test_next_and_capacity(void **state)
{
    unsigned char got[64];
    pair p = make(0, 0);
    size_t n = 7;

    (void)state;
    send(p.w, 50, 9);
    assert_ok(dcm_queue_next(p.r, &n, 0));
    assert_int_equal(n, 50);
    assert_status(dcm_queue_dequeue(p.r, &n, got, 49, 0), DCM_E_INVAL,
                  "record of 50 bytes, room for 49");
    receive(p.r, 50, 9);
    unmake(&p);
}

static void test_full_and_empty(void **state)
{
    unsigned char got[8];
    pair p = make(TINY, 0);
    size_t n;
    int sent = 0;

    (void)state;
    assert_int_equal(dcm_queue_try_dequeue(p.r, &n, got, sizeof(got)),
                     DCM_AGAIN);
    assert_status(dcm_queue_dequeue(p.r, &n, got, sizeof(got), SOON_MS),
                  DCM_E_TIMEOUT, "record 0 has not come");
    while (dcm_queue_try_enqueue(p.w, "x", 1) == DCM_OK)
        sent++;
    assert_int_equal(sent, 16);
    assert_status(dcm_queue_enqueue(p.w, "x", 1, 0), DCM_E_TIMEOUT,
                  "reader 0 (pid");
    assert_non_null(strstr(dcm_errmsg(), "16 records behind"));
    for (int i = 0; i < 16; i++)
        assert_ok(dcm_queue_try_dequeue(p.r, &n, got, sizeof(got)));
    assert_ok(dcm_queue_try_enqueue(p.w, "y", 1));
    receive(p.r, 1, 'y');
    /* The same with bytes instead of slots. */
    send(p.w, TINY / 2, 1);
    send(p.w, TINY / 2 - 64, 2);
    assert_int_equal(dcm_queue_try_enqueue(p.w, p.handle, 200), DCM_AGAIN);
    receive(p.r, TINY / 2, 1);
    assert_ok(dcm_queue_try_enqueue(p.w, p.handle, 200));
    assert_status(dcm_queue_try_enqueue(p.w, p.handle, TINY), DCM_E_UNSUP,
                  "half the ring");
    unmake(&p);
}

static void test_late_policy(void **state)
{
    pair p = make(TINY, DCM_QUEUE_FAIL_ON_LATE);
    const uint64_t start = dcmi_now_ns();

    (void)state;
    for (unsigned i = 0; i < 16; i++)
        send(p.w, 1, i);
    assert_status(dcm_queue_enqueue(p.w, "x", 1, 600000), DCM_E_TIMEOUT,
                  "is late");
    assert_true(dcmi_now_ns() - start < 300000 * DCMI_NS_PER_MS);
    receive(p.r, 1, 0);
    send(p.w, 1, 16);
    unmake(&p);
}

static void test_expected_reader(void **state)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue *r[2];
    dcm_queue *w;

    (void)state;
    opts.bytes = TINY;
    opts.timeout_ms = SOON_MS;
    assert_ok(dcm_queue_create(&w, 2, &opts));
    assert_ok(dcm_queue_handle(w, handle, sizeof(handle)));
    assert_ok(dcm_queue_attach(&r[0], handle, sizeof(handle), 0, 0));
    assert_status(dcm_queue_wait_ready(w, SOON_MS), DCM_E_TIMEOUT,
                  "reader 1 has not attached");
    assert_status(dcm_queue_wait_ready(r[0], SOON_MS), DCM_E_TIMEOUT,
                  "has not seen all");
    for (unsigned i = 0; i < 16; i++)
        send(w, 3, i);
    assert_status(dcm_queue_enqueue(w, "x", 1, 0), DCM_E_TIMEOUT,
                  "reader 1 (has not attached)");
    assert_ok(
        dcm_queue_attach(&r[1], handle, sizeof(handle), DCM_QUEUE_ANY, 0));
    assert_ok(dcm_queue_wait_ready(w, 0));
    assert_ok(dcm_queue_wait_ready(r[0], 0));
    for (unsigned i = 0; i < 16; i++) {
        receive(r[1], 3, i); /* from the first record on */
        receive(r[0], 3, i);
    }
    dcm_queue_close(r[0]);
    dcm_queue_close(r[1]);
    for (unsigned i = 0; i < 50; i++)
        send(w, 3, i); /* nobody is waited for */
    dcm_queue_close(w);
}

static void test_late_join(void **state)
{
    pair p = make(TINY, 0);
    dcm_queue *late;
    dcm_queue *again;

    (void)state;
    assert_status(dcm_queue_attach(&late, p.handle, sizeof(p.handle), 0, 0),
                  DCM_E_BUSY, "reader 0 is there already");
    for (unsigned i = 0; i < 40; i++) {
        send(p.w, 150, i);
        receive(p.r, 150, i);
    }
    assert_ok(dcm_queue_attach(&late, p.handle, sizeof(p.handle), 5, 0));
    for (unsigned i = 0; i < 40; i++) {
        send(p.w, 100 + i, i);
        receive(p.r, 100 + i, i);
        receive(late, 100 + i, i);
    }
    dcm_queue_close(p.r);
    assert_ok(dcm_queue_attach(&again, p.handle, sizeof(p.handle), 0, 0));
    send(p.w, 7, 1);
    receive(again, 7, 1);
    receive(late, 7, 1);
    dcm_queue_close(late);
    dcm_queue_close(again);
    dcm_queue_close(p.w);
}

static void test_ends(void **state)
{
    unsigned char got[8];
    pair p = make(0, 0);
    size_t n;

    (void)state;
    send(p.w, 5, 1);
    dcm_queue_close(p.w);
    receive(p.r, 5, 1);
    assert_status(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0), DCM_E_PEER,
                  "has closed it");
    assert_status(dcm_queue_try_dequeue(p.r, &n, got, sizeof(got)), DCM_E_PEER,
                  "has closed it");
    dcm_queue_close(p.r);
}

static void *cancel_soon(void *arg)
{
    dcmi_nap_ns(SOON_MS * DCMI_NS_PER_MS);
    dcm_queue_cancel(arg);
    return NULL;
}

static void test_cancel(void **state)
{
    unsigned char got[8];
    pair p = make(TINY, 0);
    pthread_t thread;
    size_t n;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, p.r), 0);
    assert_status(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0),
                  DCM_E_ABORTED, "cancelled");
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < 16; i++)
        send(p.w, 1, i);
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, p.w), 0);
    assert_status(dcm_queue_enqueue(p.w, "x", 1, 600000), DCM_E_ABORTED,
                  "cancelled");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_status(dcm_queue_enqueue(p.w, "x", 1, 0), DCM_E_ABORTED,
                  "cancelled");
    dcm_queue_cancel(NULL);
    unmake(&p);
}

/* ---- longer than the ring --------------------------------------------------- */

enum {
    LONG = TINY * 50 + 77,
};

static unsigned char long_src[LONG];

static void *send_long(void *arg)
{
    die_unless(dcm_queue_enqueue(arg, long_src, LONG, 60000) == DCM_OK);
    die_unless(dcm_queue_enqueue(arg, long_src, 11, 60000) == DCM_OK);
    return NULL;
}

static void test_stream(void **state)
{
    static unsigned char got[LONG];
    pair p = make(TINY, 0);
    pthread_t thread;
    const void *at;
    size_t left;
    size_t n;

    (void)state;
    fill(long_src, LONG, 5);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pthread_create(&thread, NULL, send_long, p.w), 0);
        memset(got, 0, sizeof(got));
        assert_ok(dcm_queue_next(p.r, &n, 0));
        assert_int_equal(n, LONG);
        if (i % 2 == 0) {
            assert_ok(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0));
        } else {
            size_t done = 0;

            do {
                assert_ok(dcm_queue_peek(p.r, &at, &n, &left, 0));
                assert_int_equal(done + n + left, LONG);
                memcpy(got + done, at, n);
                done += n;
                assert_ok(dcm_queue_advance(p.r, n));
            } while (left > 0);
        }
        assert_memory_equal(got, long_src, LONG);
        receive(p.r, 11, 5);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    unmake(&p);
}

static void *fail_long(void *arg)
{
    die_unless(dcm_queue_enqueue(arg, long_src, LONG, 0) == DCM_E_TIMEOUT);
    return NULL;
}

static void test_given_up(void **state)
{
    static unsigned char got[LONG];
    pair p = make(TINY, 0);
    pthread_t thread;
    const void *at;
    size_t left;
    size_t n;

    (void)state;
    fill(long_src, LONG, 5);
    for (int i = 0; i < 3; i++) {
        send(p.w, 33, 1);
        assert_status(dcm_queue_enqueue(p.w, long_src, LONG, 0), DCM_E_TIMEOUT,
                      "is late");
        receive(p.r, 33, 1);
        send(p.w, 3, 2); /* inline: needs none of the bytes */
        receive(p.r, 3, 2);
        send(p.w, 200, 2);
        receive(p.r, 200, 2);
    }
    /* While it is looked at: that is told, once. */
    assert_int_equal(pthread_create(&thread, NULL, fail_long, p.w), 0);
    assert_ok(dcm_queue_peek(p.r, &at, &n, &left, 0));
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (dcm_queue_peek(p.r, &at, &n, &left, 0) == DCM_OK)
        assert_ok(dcm_queue_advance(p.r, n));
    assert_non_null(strstr(dcm_errmsg(), "gave record 12 up half-way"));
    assert_int_equal(dcm_queue_try_dequeue(p.r, &n, got, sizeof(got)),
                     DCM_AGAIN);
    send(p.w, 200, 3);
    receive(p.r, 200, 3);
    unmake(&p);
}

/* One who joins while a long record streams must not hold it up. */
static void test_join_within_stream(void **state)
{
    static unsigned char got[LONG];
    pair p = make(TINY, 0);
    dcm_queue *late;
    pthread_t thread;
    size_t n;

    (void)state;
    fill(long_src, LONG, 5);
    assert_int_equal(pthread_create(&thread, NULL, send_long, p.w), 0);
    assert_ok(dcm_queue_next(p.r, &n, 0));
    assert_ok(dcm_queue_attach(&late, p.handle, sizeof(p.handle), 1, 0));
    assert_int_equal(dcm_queue_try_dequeue(late, &n, got, sizeof(got)),
                     DCM_AGAIN);
    assert_ok(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0));
    assert_memory_equal(got, long_src, LONG);
    receive(p.r, 11, 5);
    receive(late, 11, 5);
    assert_int_equal(pthread_join(thread, NULL), 0);
    dcm_queue_close(late);
    unmake(&p);
}

static void *receive_last(void *arg)
{
    unsigned char got[16];
    size_t n;

    die_unless(dcm_queue_dequeue(arg, &n, got, sizeof(got), 0) == DCM_OK);
    die_unless(n == 11);
    return NULL;
}

/*
 * One who joined between the two words by which a long record is published: it
 * holds bytes that it will never read, and gives them back while it waits.
 */
static void test_join_between(void **state)
{
    static unsigned char got[LONG];
    pair p = make(TINY, 0);
    pthread_t threads[2];
    dcm_queue *late;
    size_t n;

    (void)state;
    fill(long_src, LONG, 5);
    assert_int_equal(pthread_create(&threads[0], NULL, send_long, p.w), 0);
    assert_ok(dcm_queue_next(p.r, &n, 0));
    assert_ok(dcm_queue_attach(&late, p.handle, sizeof(p.handle), 1, 0));
    late->end = 0;
    atomic_store(&late->frame->entry[1].bytes, 0);
    assert_int_equal(pthread_create(&threads[1], NULL, receive_last, late), 0);
    assert_ok(dcm_queue_dequeue(p.r, &n, got, sizeof(got), 0));
    assert_memory_equal(got, long_src, LONG);
    receive(p.r, 11, 5);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    dcm_queue_close(late);
    unmake(&p);
}

/* ---- what is refused -------------------------------------------------------- */

static void test_refused(void **state)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    pair p = make(TINY, 0);
    dcm_queue *q;
    char name[64];
    size_t n;

    (void)state;
    assert_status(dcm_queue_create(NULL, 1, NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_queue_create(&q, -1, NULL), DCM_E_INVAL, "-1 readers");
    assert_status(dcm_queue_create(&q, 64, NULL), DCM_E_INVAL, "64 readers");
    opts.flags = 1u << 20;
    assert_status(dcm_queue_create(&q, 1, &opts), DCM_E_INVAL, "flags");
    opts.flags = 0;
    opts.bytes = SIZE_MAX;
    assert_status(dcm_queue_create(&q, 1, &opts), DCM_E_INVAL, "2^40");
    opts.bytes = 1ull << 40;
    assert_status(dcm_queue_create(&q, 1, &opts), DCM_E_NOMEM, "left");
    opts.bytes = 0;
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    opts.name = name;
    assert_status(dcm_queue_create(&q, 1, &opts), DCM_E_INVAL, "name of 63");

    assert_status(dcm_queue_enqueue(NULL, "", 0, 0), DCM_E_INVAL, "NULL");
    assert_status(dcm_queue_enqueue(p.r, "", 0, 0), DCM_E_INVAL, "a reader");
    assert_status(dcm_queue_enqueue(p.w, NULL, 1, 0), DCM_E_INVAL, "NULL");
    assert_status(dcm_queue_enqueue(p.w, "", (1u << 30) + 1, 0), DCM_E_INVAL,
                  "the longest is 1073741824");
    assert_status(dcm_queue_dequeue(p.w, &n, &n, sizeof(n), 0), DCM_E_INVAL,
                  "the writer");
    assert_status(dcm_queue_dequeue(p.r, NULL, &n, sizeof(n), 0), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_queue_handle(p.w, name, 3), DCM_E_INVAL, "not 3");
    assert_status(dcm_queue_handle(p.r, name, 3), DCM_E_INVAL, "a reader");
    dcm_queue_close(NULL);
    unmake(&p);
}

static void test_handles(void **state)
{
    unsigned char bad[DCM_QUEUE_HANDLE_BYTES];
    uint64_t random = test_seed();
    pair p = make(TINY, 0);
    dcm_queue *q;

    (void)state;
    assert_status(dcm_queue_attach(&q, p.handle, 10, 0, 0), DCM_E_INVAL,
                  "not 10");
    assert_status(dcm_queue_attach(&q, NULL, 10, 0, 0), DCM_E_INVAL, "not 10");
    assert_status(dcm_queue_attach(&q, p.handle, sizeof(bad), 63, 0),
                  DCM_E_INVAL, "reader 63");
    for (size_t i = 0; i < sizeof(bad); i++) {
        memcpy(bad, p.handle, sizeof(bad));
        bad[i] ^= (unsigned char)(1 + test_random(&random) % 255);
        assert_status(dcm_queue_attach(&q, bad, sizeof(bad), 1, 0), DCM_E_INVAL,
                      "no handle");
    }
    dcm_queue_close(p.w);
    dcm_queue_close(p.r);
    assert_status(dcm_queue_attach(&q, p.handle, sizeof(bad), 0, SOON_MS),
                  DCM_E_PEER, "does not listen");
}

static void test_after_fork(void **state)
{
    pair p = make(TINY, 0);
    int status;
    pid_t pid;

    (void)state;
    send(p.w, 5, 1);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const bool is_refused =
            dcm_queue_enqueue(p.w, "x", 1, 0) == DCM_E_INVAL;

        unmake(&p);
        _exit(is_refused ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    receive(p.r, 5, 1); /* the child's close was not ours */
    send(p.w, 6, 2);
    receive(p.r, 6, 2);
    unmake(&p);
}

static void test_stat(void **state)
{
    dcm_queue_info info = {.size = sizeof(info)};
    dcm_queue_reader r[4];
    pair p = make(TINY, 0);

    (void)state;
    send(p.w, 5, 1);
    send(p.w, 5, 1);
    receive(p.r, 5, 1);
    assert_ok(dcm_queue_stat(p.w, &info, r, 4));
    assert_string_equal(info.name, "test");
    assert_int_equal(info.records, 2);
    assert_int_equal(info.places, 1);
    assert_int_equal(info.bytes, TINY);
    assert_int_equal(info.max_piece, TINY / 2);
    assert_int_equal(info.is_alive, 1);
    assert_int_equal(r[0].pid, getpid());
    assert_int_equal(r[0].lag, 1);
    assert_int_equal(r[0].state, DCM_QUEUE_BUSY);
    assert_ok(dcm_queue_stat(p.r, &info, NULL, 0));
    info.size = 1;
    assert_status(dcm_queue_stat(p.w, &info, r, 4), DCM_E_ABI, "1 bytes");
    unmake(&p);
}

static void read_in_group(int rank, dcm_group *group, void *arg)
{
    const int writer = *(const int *)arg;
    dcm_queue *q;
    int got;
    size_t n;

    die_unless(dcm_queue_create_group(&q, group, writer, NULL) == DCM_OK);
    if (rank == writer) {
        for (int i = 0; i < 1000; i++)
            die_unless(dcm_queue_enqueue(q, &i, sizeof(i), 0) == DCM_OK);
    } else {
        for (int i = 0; i < 1000; i++) {
            die_unless(dcm_queue_dequeue(q, &n, &got, sizeof(got), 0) ==
                       DCM_OK);
            die_unless(n == sizeof(got) && got == i);
        }
        die_unless(dcm_queue_dequeue(q, &n, &got, sizeof(got), 0) ==
                   DCM_E_PEER);
    }
    dcm_queue_close(q);
    /* One rank's mistake is every rank's failure, and soon. */
    die_unless(dcm_queue_create_group(&q, group, rank == 0 ? 99 : writer % 2,
                                      NULL) == DCM_E_INVAL);
    die_unless(strstr(dcm_errmsg(), "writer 99 of") != NULL);
    if (dcm_group_nranks(group) == 1)
        return;
    die_unless(dcm_queue_create_group(&q, group, rank == 2 ? 1 : 0, NULL) ==
               DCM_E_MISMATCH);
    die_unless(strstr(dcm_errmsg(), "rank 2 says that rank 1") != NULL);
}

static void claim(bool is_bytes)
{
    dcm_queue_info info = {.size = sizeof(info)};
    dcm_queue_reader r[4];
    pair p = make(TINY, 0);

    atomic_store(is_bytes ? &p.w->frame->entry[0].bytes
                          : &p.w->frame->entry[0].records,
                 1000);
    for (int i = 0; i < 200; i++) /* until the cursors are looked at */
        assert_ok(dcm_queue_enqueue(p.w, &i, sizeof(i), 0));
    assert_ok(dcm_queue_stat(p.w, &info, r, 4));
    assert_int_equal(r[0].state, DCM_QUEUE_DROPPED);
    unmake(&p);
}

/* A reader that claims what it was not given is dropped, and nobody else. */
static void test_false_cursor(void **state)
{
    (void)state;
    claim(false);
    claim(true);
}

/* The writer's end waits for its readers, and is the end. */
static void test_finish(void **state)
{
    unsigned char buf[64];
    pair p = make(TINY, 0);
    size_t n;

    (void)state;
    assert_ok(dcm_queue_enqueue(p.w, "last", 4, 0));
    assert_status(dcm_queue_finish(p.w, 20), DCM_E_TIMEOUT, "reader 0 (pid ");
    assert_status(dcm_queue_enqueue(p.w, "more", 4, 0), DCM_E_INVAL,
                  "has finished");
    assert_ok(dcm_queue_dequeue(p.r, &n, buf, sizeof(buf), 0));
    assert_memory_equal(buf, "last", 4);
    assert_ok(dcm_queue_finish(p.w, 0));
    assert_status(dcm_queue_dequeue(p.r, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                  "has closed it");
    assert_status(dcm_queue_finish(p.r, 0), DCM_E_INVAL, "a reader");
    assert_status(dcm_queue_finish(NULL, 0), DCM_E_INVAL, "NULL");
    unmake(&p);
}

static void test_group(void **state)
{
    (void)state;
    for (int writer = 0; writer < 3; writer++)
        test_run_threads(3, read_in_group, &writer);
    test_run_threads(1, read_in_group, &(int){0});
}

/* ---- chunks ----------------------------------------------------------------- */

enum {
    CHUNK = 1000,
    CHUNKS = 3,
    CHUNK_READERS = 2
};

static void test_chunks(void **state)
{
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    dcm_queue *r[CHUNK_READERS];
    const unsigned char *flags;
    const void *at;
    dcm_queue *w;
    void *to;

    (void)state;
    opts.timeout_ms = SOON_MS;
    assert_ok(dcm_queue_create_chunks(&w, CHUNK_READERS, CHUNK, CHUNKS, &opts));
    assert_ok(dcm_queue_handle(w, handle, sizeof(handle)));
    for (int i = 0; i < CHUNK_READERS; i++)
        assert_ok(dcm_queue_attach(&r[i], handle, sizeof(handle), i, 0));
    assert_ok(dcm_queue_wait_ready(w, 0));
    assert_ok(dcm_queue_wait_ready(r[0], 0));
    flags = dcm_queue_chunk_flags(w, 0);
    for (unsigned k = 0; k < 20; k++) {
        if (k == CHUNKS) /* what it read a lap ago does not come again */
            assert_status(dcm_queue_acquire_read(r[0], &at, SOON_MS),
                          DCM_E_TIMEOUT, "has not come");
        assert_ok(dcm_queue_acquire_write(w, &to, 0));
        assert_ptr_equal(to, dcm_queue_chunk(w, (int)(k % CHUNKS)));
        fill(to, CHUNK, k);
        assert_status(dcm_queue_acquire_read(r[0], &at, SOON_MS), DCM_E_TIMEOUT,
                      "has not come");
        assert_ok(dcm_queue_release_write(w));
        for (int i = 0; i < CHUNK_READERS; i++) {
            assert_ok(dcm_queue_acquire_read(r[i], &at, 0));
            assert_int_equal(*(const unsigned char *)at, k);
            assert_ok(dcm_queue_release_read(r[i]));
        }
    }
    assert_memory_equal(flags, "\1\1\1", 3);
    for (unsigned k = 0; k < CHUNKS; k++) {
        assert_ok(dcm_queue_acquire_write(w, &to, 0));
        assert_ok(dcm_queue_release_write(w));
    }
    assert_memory_equal(flags, "\1\0\0", 3);
    assert_ok(dcm_queue_acquire_read(r[0], &at, 0));
    assert_ok(dcm_queue_release_read(r[0]));
    assert_status(dcm_queue_acquire_write(w, &to, 0), DCM_E_TIMEOUT,
                  "reader 1 (pid");
    dcm_queue_close(r[1]); /* who has left is not waited for */
    assert_ok(dcm_queue_acquire_write(w, &to, 0));
    assert_status(dcm_queue_release_read(r[0]), DCM_E_INVAL, "no chunk");
    assert_status(dcm_queue_enqueue(w, "", 0, 0), DCM_E_INVAL,
                  "the writer of chunks");
    assert_status(dcm_queue_attach(&r[1], handle, sizeof(handle), 1, 0),
                  DCM_E_BUSY, "reader 1");
    assert_null(dcm_queue_chunk(w, CHUNKS));
    assert_null(dcm_queue_chunk_flags(w, -1));
    dcm_queue_close(r[0]);
    dcm_queue_close(w);
    assert_status(dcm_queue_create_chunks(&w, 1, 0, 1, NULL), DCM_E_INVAL,
                  "chunks of 0");
    assert_status(dcm_queue_create_chunks(&w, 1, SIZE_MAX / 2, 3, NULL),
                  DCM_E_INVAL, "3 chunks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_wrap),
        cmocka_unit_test(test_several_under_way),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_next_and_capacity),
        cmocka_unit_test(test_full_and_empty),
        cmocka_unit_test(test_late_policy),
        cmocka_unit_test(test_expected_reader),
        cmocka_unit_test(test_late_join),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_join_within_stream),
        cmocka_unit_test(test_join_between),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_handles),
        cmocka_unit_test(test_after_fork),
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_false_cursor),
        cmocka_unit_test(test_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_queue_idle SECONDS: what an idle reader of the broadcast queue costs, and
 * what it takes to wake it, beside a bare futex of the same machine and moment.
 *
 * Prints a line of JSON: the reader's share of a core over that time, in percent;
 * the median and the 99th percentile of the time from just before a record is
 * written, or a futex word is set and woken, until the reader has it.  The two
 * kinds take turns, each after a pause in which the reader has gone to sleep.
 */
#define _GNU_SOURCE
#include <devcomm/queue.h>

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WAKES = 101,
    PAUSE_NS = 20000000,
    RECORD = 64,
};

typedef struct board {
    _Alignas(256) _Atomic uint32_t word; /* the bare futex */
    _Alignas(256) _Atomic uint32_t done; /* what the reader has finished */
    uint64_t sent_ns;
    uint64_t queue_ns[WAKES];
    uint64_t futex_ns[WAKES];
    uint64_t busy_ns; /* the reader's processor time while idle */
} board;

static void give_up(const char *what)
{
    (void)fprintf(stderr, "bench_queue_idle: %s: %s\n", what,
                  strcmp(what, "queue") == 0 ? dcm_errmsg() : strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void nap(uint64_t ns)
{
    const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u),
                               .tv_nsec = (long)(ns % 1000000000u)};

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static void receive(dcm_queue *q)
{
    unsigned char record[RECORD];
    size_t n;

    if (dcm_queue_dequeue(q, &n, record, sizeof(record), 0) != DCM_OK)
        give_up("queue");
}

static void finish(board *b)
{
    (void)atomic_fetch_add(&b->done, 1);
}

static int read_all(board *b, const unsigned char *handle)
{
    dcm_queue *q;
    uint64_t before;

    pin(1);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dcm_queue_attach(&q, handle, DCM_QUEUE_HANDLE_BYTES, 0, 0) != DCM_OK)
        give_up("queue");
    receive(q); /* the first, after which it is idle */
    before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    finish(b);
    receive(q);
    b->busy_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    finish(b);
    for (int i = 0; i < WAKES; i++) {
        receive(q);
        b->queue_ns[i] = clock_ns(CLOCK_MONOTONIC) - b->sent_ns;
        finish(b);
        while (atomic_load(&b->word) != (uint32_t)i + 1)
            (void)syscall(SYS_futex, &b->word, FUTEX_WAIT, i, NULL, NULL, 0);
        b->futex_ns[i] = clock_ns(CLOCK_MONOTONIC) - b->sent_ns;
        finish(b);
    }
    dcm_queue_close(q);
    return 0;
}

static void await(board *b, uint32_t n)
{
    while (atomic_load(&b->done) != n) {
        if (waitpid(-1, NULL, WNOHANG) != 0)
            give_up("the reader has died");
        (void)sched_yield();
    }
}

static void send(dcm_queue *q)
{
    const unsigned char record[RECORD] = {0};

    if (dcm_queue_enqueue(q, record, sizeof(record), 0) != DCM_OK)
        give_up("queue");
}

static void write_all(board *b, dcm_queue *q, uint64_t idle_ns)
{
    uint32_t done = 0;

    send(q);
    await(b, ++done);
    nap(idle_ns);
    send(q);
    await(b, ++done);
    for (int i = 0; i < WAKES; i++) {
        nap(PAUSE_NS);
        b->sent_ns = clock_ns(CLOCK_MONOTONIC);
        send(q);
        await(b, ++done);
        nap(PAUSE_NS);
        b->sent_ns = clock_ns(CLOCK_MONOTONIC);
        atomic_store(&b->word, (uint32_t)i + 1);
        (void)syscall(SYS_futex, &b->word, FUTEX_WAKE, 1, NULL, NULL, 0);
        await(b, ++done);
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static double quantile_us(uint64_t ns[WAKES], int percent)
{
    qsort(ns, WAKES, sizeof(*ns), by_value);
    return (double)ns[WAKES * percent / 100] / 1e3;
}

int main(int argc, char **argv)
{
    const double seconds = argc == 2 ? atof(argv[1]) : 0;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue *q;
    board *b;
    pid_t pid;

    if (seconds <= 0) {
        (void)fprintf(stderr, "usage: bench_queue_idle SECONDS\n");
        return 2;
    }
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        give_up("mmap");
    pin(0);
    if (dcm_queue_create(&q, 1, NULL) != DCM_OK ||
        dcm_queue_handle(q, handle, sizeof(handle)) != DCM_OK)
        give_up("queue");
    pid = fork();
    if (pid < 0)
        give_up("fork");
    if (pid == 0)
        _exit(read_all(b, handle));
    if (dcm_queue_wait_ready(q, 0) != DCM_OK)
        give_up("queue");
    write_all(b, q, (uint64_t)(seconds * 1e9));
    (void)waitpid(pid, NULL, 0);
    dcm_queue_close(q);
    (void)printf("{\"idle_s\": %.1f, \"idle_percent\": %.3f, "
                 "\"wake_us\": [%.1f, %.1f], \"futex_us\": [%.1f, %.1f]}\n",
                 seconds, (double)b->busy_ns / seconds / 1e7,
                 quantile_us(b->queue_ns, 50), quantile_us(b->queue_ns, 99),
                 quantile_us(b->futex_ns, 50), quantile_us(b->futex_ns, 99));
    return 0;
}

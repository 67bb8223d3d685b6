/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_queue CHANNEL BYTES READERS: one channel, one size, in one loop for all.
 *
 * Prints a line of JSON: the round trip of a cache line before and after (which
 * tells where the two cores are), latency of paced records until the last reader
 * has them, and the rate of records that are sent as fast as they go.
 */
#define _GNU_SOURCE
#include "channel.h"

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TRIPS = 400,
    RUNS = 9,
    SAMPLES_MOST = 20000,
    NICE = -20,
};

typedef struct board {
    _Alignas(256) _Atomic uint32_t ping;
    _Alignas(256) _Atomic uint32_t pong;
    _Alignas(256) _Atomic int arrived;
    _Atomic int step;
    uint64_t done_ns[BQ_READERS_MOST];
    uint64_t sample[SAMPLES_MOST][BQ_READERS_MOST];
} board;

static const bq_channel *const channels[] = {
    &bq_devcomm,
#ifdef BQ_ZMQ
    &bq_zmq,
#endif
    &bq_unix,     &bq_pipe,       &bq_posix_mq,
#ifdef BQ_BOOST
    &bq_boost_mq, &bq_boost_spsc,
#endif
};

static const bq_channel *channel;
static board *b;
static unsigned char *record;
static size_t size;
static int nreaders;
static double trip_us[2];

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *c)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)c;

    return (x > y) - (x < y);
}

static void pin(int core)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)(core % (n > 0 ? n : 1)), &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

/* All meet, without a busy core. */
static void meet(void)
{
    const int step = atomic_load(&b->step);
    const struct timespec nap = {.tv_nsec = 200000};

    if (atomic_fetch_add(&b->arrived, 1) == nreaders) {
        atomic_store(&b->arrived, 0);
        atomic_store(&b->step, step + 1);
    }
    while (atomic_load(&b->step) == step)
        (void)nanosleep(&nap, NULL);
}

/* Microseconds of a round trip between the writer and reader 0. */
static double trips(bool is_writer)
{
    uint64_t v[RUNS];

    for (uint32_t run = 0; run < RUNS; run++) {
        const uint64_t start = now_ns();

        for (uint32_t i = run * TRIPS + 1; i <= (run + 1) * TRIPS; i++) {
            if (is_writer)
                atomic_store_explicit(&b->ping, i, memory_order_release);
            while (atomic_load_explicit(is_writer ? &b->pong : &b->ping,
                                        memory_order_acquire) != i)
                ;
            if (!is_writer)
                atomic_store_explicit(&b->pong, i, memory_order_release);
        }
        v[run] = now_ns() - start;
    }
    qsort(v, RUNS, sizeof(v[0]), by_value);
    return (double)v[RUNS / 2] / TRIPS / 1e3;
}

static unsigned samples(void)
{
    const size_t n = ((size_t)256 << 20) / (size + 20000);

    return n > SAMPLES_MOST ? SAMPLES_MOST : (unsigned)n + 100;
}

static unsigned records(void)
{
    return (unsigned)(((size_t)256 << 20) / (size + 400)) + 100;
}

static bool write_all(void)
{
    uint64_t next = now_ns();

    trip_us[0] = trips(true);
    meet();
    for (unsigned i = 0; i < samples(); i++) {
        next += 20000 + size;
        while (now_ns() < next)
            ;
        next = now_ns();
        memcpy(record, &next, sizeof(next));
        if (!channel->send(record))
            return false;
    }
    meet();
    next = now_ns();
    for (unsigned i = 0; i < records(); i++) {
        if (!channel->send(record))
            return false;
    }
    meet();
    for (int r = 0; r < nreaders; r++) {
        if (b->done_ns[r] > b->done_ns[0])
            b->done_ns[0] = b->done_ns[r];
    }
    b->done_ns[0] -= next;
    atomic_store(&b->ping, 0);
    atomic_store(&b->pong, 0);
    meet();
    trip_us[1] = trips(true);
    return true;
}

static bool read_all(int reader)
{
    uint64_t sent;

    if (reader == 0)
        (void)trips(false);
    meet();
    for (unsigned i = 0; i < samples(); i++) {
        if (!channel->receive(reader, record))
            return false;
        memcpy(&sent, record, sizeof(sent));
        b->sample[i][reader] = now_ns() - sent;
    }
    meet();
    for (unsigned i = 0; i < records(); i++) {
        if (!channel->receive(reader, record))
            return false;
    }
    b->done_ns[reader] = now_ns();
    meet();
    meet();
    if (reader == 0)
        (void)trips(false);
    return true;
}

static double share(const uint64_t *v, unsigned n, double of)
{
    return (double)v[(unsigned)(of * (n - 1))] / 1e3;
}

static void print(void)
{
    static uint64_t v[SAMPLES_MOST];
    const unsigned cold = samples() / 20;
    const unsigned n = samples() - cold;

    for (unsigned i = 0; i < n; i++) {
        for (int r = 0; r < nreaders; r++) {
            if (b->sample[i + cold][r] > v[i])
                v[i] = b->sample[i + cold][r];
        }
    }
    qsort(v, n, sizeof(v[0]), by_value);
    (void)printf("{\"channel\": \"%s\", \"bytes\": %zu, \"readers\": %d, "
                 "\"trip_us\": [%.3f, %.3f], \"p50_us\": %.3f, \"p99_us\": "
                 "%.3f, \"p999_us\": %.3f, \"rate_per_s\": %.0f}\n",
                 channel->name, size, nreaders, trip_us[0], trip_us[1],
                 share(v, n, 0.5), share(v, n, 0.99), share(v, n, 0.999),
                 records() * 1e9 / (double)b->done_ns[0]);
}

static bool read_arguments(int argc, char **argv)
{
    if (argc != 4)
        return false;
    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
        if (strcmp(channels[i]->name, argv[1]) == 0)
            channel = channels[i];
    }
    size = strtoull(argv[2], NULL, 10);
    nreaders = atoi(argv[3]);
    return channel != NULL && size >= 8 && nreaders >= 1 &&
           nreaders <= BQ_READERS_MOST;
}

static void usage(void)
{
    (void)fprintf(stderr, "usage: bench_queue CHANNEL BYTES READERS\n");
    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        (void)printf("%s\n", channels[i]->name);
}

int main(int argc, char **argv)
{
    int failed = 0;
    int status;

    if (!read_arguments(argc, argv)) {
        usage();
        return 2;
    }
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    record = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (b == MAP_FAILED || record == NULL || !channel->make(size, nreaders))
        return 1;
    memset(record, 1, size);
    for (int r = 0; r < nreaders; r++) {
        if (fork() == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            pin(r + 1);
            _exit(channel->open_reader(r) && read_all(r) ? 0 : 1);
        }
    }
    pin(0);
    if (!channel->open_writer() || !write_all())
        failed = 1;
    if (channel->end != NULL)
        channel->end();
    if (failed != 0)
        return 1; /* readers die with this process */
    while (wait(&status) > 0)
        failed |= status != 0;
    if (failed == 0)
        print();
    return failed;
}

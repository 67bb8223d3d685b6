/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring loop.
 *
 * A block is a number of operations between two readings of the clock on every
 * rank; its time is that of the slowest rank, divided by the number.  The
 * figure of a size is the median over its blocks.  The placement probe runs
 * just before the first and just after the last block.
 */
#define _GNU_SOURCE
#include "loop.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "board.h"
#include "data.h"

enum {
    KIB = 1024,
    MIB = 1024 * 1024,
    PROBE_RUNS = 9,
    PROBE_TRIPS = 400,
    MIN_BLOCKS = 7,
    CROWDED_OPS = 20,   /* a block and the warm-up, when ranks share cores */
    REWRITTEN_OPS = 16, /* a block, when each operation is timed alone */
    NAP_NS = 100000,
};

static const size_t sizes[] = {
    8,         64,      256,     1 * KIB,  4 * KIB,          16 * KIB, 64 * KIB,
    256 * KIB, 1 * MIB, 4 * MIB, 16 * MIB, (size_t)64 * MIB, (size_t)0};

size_t bp_size(int i)
{
    return sizes[i];
}

/* Operations a block, blocks and warm-up operations of a size. */
typedef struct shape {
    int ops;
    int blocks;
    int warm;
} shape;

static shape shape_of(const bp_loop *l, size_t bytes)
{
    shape s;

    s.ops = bytes <= 4 * KIB    ? 200
            : bytes <= 64 * KIB ? 40
            : bytes <= MIB      ? 8
                                : 1;
    s.blocks = bytes <= MIB ? 101 : bytes <= 16 * MIB ? 31 : 15;
    s.warm = bytes <= 64 * KIB ? 2000 : bytes <= MIB ? 100 : 4;
    if (l->is_crowded && s.ops > CROWDED_OPS)
        s.ops = CROWDED_OPS;
    if (l->is_crowded && s.warm > CROWDED_OPS)
        s.warm = CROWDED_OPS;
    if (l->plan.is_rewritten && s.ops > REWRITTEN_OPS)
        s.ops = REWRITTEN_OPS;
    return s;
}

double bp_now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

double bp_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), by_value);
    return values[n / 2];
}

/* ---- meeting ------------------------------------------------------------- */

static void meet(bp_loop *l, bool naps)
{
    const uint32_t n = ++l->meetings;

    atomic_store_explicit(&l->board->arrived[l->rank].v, n,
                          memory_order_release);
    for (int r = 0; r < l->plan.nranks; r++) {
        while ((int32_t)(atomic_load_explicit(&l->board->arrived[r].v,
                                              memory_order_acquire) -
                         n) < 0) {
            const struct timespec nap = {0, NAP_NS};

            if (naps)
                (void)nanosleep(&nap, NULL);
            else if (l->is_crowded)
                (void)sched_yield();
        }
    }
}

void bp_barrier(bp_loop *l)
{
    meet(l, false);
}

int bp_agree(bp_loop *l, int mine)
{
    int said;

    if (l->rank == 0)
        l->board->said = mine;
    meet(l, false);
    said = l->board->said;
    meet(l, false);
    return said;
}

int bp_all_gather(void *arg, const void *mine, void *all, size_t bytes)
{
    bp_loop *l = arg;

    for (size_t at = 0; at < bytes; at += BP_PAGE) {
        const size_t n = bytes - at < BP_PAGE ? bytes - at : BP_PAGE;

        memcpy(l->board->gather[l->rank], (const char *)mine + at, n);
        meet(l, false);
        for (int r = 0; r < l->plan.nranks; r++)
            memcpy((char *)all + (size_t)r * bytes + at, l->board->gather[r],
                   n);
        meet(l, false);
    }
    return 0;
}

/* ---- placement ----------------------------------------------------------- */

static double trips(bp_loop *l)
{
    _Atomic uint32_t *ping = &l->board->ping.v;
    _Atomic uint32_t *pong = &l->board->pong.v;
    double us[PROBE_RUNS];

    for (int k = 0; k < PROBE_RUNS; k++) {
        const double start = bp_now_us();

        for (int i = 0; i < PROBE_TRIPS; i++) {
            const uint32_t n = ++l->trips;

            if (l->rank == 0) {
                atomic_store_explicit(ping, n, memory_order_release);
                while (atomic_load_explicit(pong, memory_order_acquire) != n)
                    continue;
            } else {
                while (atomic_load_explicit(ping, memory_order_acquire) != n)
                    continue;
                atomic_store_explicit(pong, n, memory_order_release);
            }
        }
        us[k] = (bp_now_us() - start) / PROBE_TRIPS;
    }
    return bp_median(us, PROBE_RUNS) * 1e3;
}

double bp_probe(bp_loop *l)
{
    cpu_set_t before;
    double ns = -1;

    if (l->cores < 2)
        return -1;
    /* Ranks that float meet on two cores for the probe; the others sleep. */
    (void)sched_getaffinity(0, sizeof(before), &before);
    bp_pin(l, l->rank % 2);
    meet(l, false);
    if (l->rank < 2)
        ns = trips(l);
    meet(l, l->rank >= 2);
    if (l->plan.is_floating)
        (void)sched_setaffinity(0, sizeof(before), &before);
    return ns;
}

/* ---- blocks -------------------------------------------------------------- */

typedef struct job {
    const bp_driver *driver;
    void *src;
    void *dst;
    size_t count;
    size_t bytes;
    shape shape;
} job;

static void operate(const bp_loop *l, const job *j)
{
    j->driver->all_reduce(j->driver->arg, j->src, j->dst, j->count,
                          l->plan.dtype);
}

static double time_block(const bp_loop *l, const job *j)
{
    const double start = bp_now_us();

    for (int i = 0; i < j->shape.ops; i++)
        operate(l, j);
    return (bp_now_us() - start) / j->shape.ops;
}

/* One access a cache line. */
static void touch(void *buffer, size_t bytes, bool writes)
{
    volatile unsigned char *p = buffer;

    for (size_t at = 0; at < bytes; at += 64) {
        const unsigned char v = p[at];

        if (writes)
            p[at] = v;
    }
}

/*
 * Buffers that all ranks see would stay in every rank's cache if nobody wrote
 * them, which no program does.  So each operation is timed alone; before it the
 * owner rewrites its input, after it the owner reads its output.
 */
static double time_rewritten(bp_loop *l, const job *j)
{
    double sum = 0;

    for (int i = 0; i < j->shape.ops; i++) {
        double start;

        touch(j->src, j->bytes, true);
        meet(l, false);
        start = bp_now_us();
        operate(l, j);
        sum += bp_now_us() - start;
        meet(l, false);
        touch(j->dst, j->bytes, false);
    }
    return sum / j->shape.ops;
}

static int run_blocks(bp_loop *l, const job *j)
{
    const double start = bp_now_us();
    int n = 0;

    while (bp_agree(l, n < j->shape.blocks &&
                           (n < MIN_BLOCKS ||
                            bp_now_us() - start < l->plan.budget_ms * 1e3))) {
        l->board->us[l->rank][n] =
            l->plan.is_rewritten ? time_rewritten(l, j) : time_block(l, j);
        n++;
    }
    return n;
}

/*
 * Slow libraries warm up for a quarter of the budget only, and get blocks of
 * fewer operations, so that MIN_BLOCKS of them do not take many budgets.
 */
static void warm_up(bp_loop *l, job *j)
{
    const double budget_us = l->plan.budget_ms * 1e3;
    const double start = bp_now_us();
    double op_us = 0;
    int n = 0;
    int ops;

    while (
        bp_agree(l, n < j->shape.warm && bp_now_us() - start < budget_us / 4)) {
        op_us = time_block(l, j);
        n += j->shape.ops;
    }
    ops = (int)(budget_us / (2 * MIN_BLOCKS) / op_us);
    ops = bp_agree(l, ops < 1 ? 1 : ops);
    if (ops < j->shape.ops)
        j->shape.ops = ops;
}

static void report(bp_loop *l, const job *j, int blocks, double before,
                   double after)
{
    double us[BP_MAX_BLOCKS];
    uint64_t wrong = 0;

    for (int b = 0; b < blocks; b++) {
        us[b] = 0;
        for (int r = 0; r < l->plan.nranks; r++) {
            if (l->board->us[r][b] > us[b])
                us[b] = l->board->us[r][b];
        }
    }
    for (int r = 0; r < l->plan.nranks; r++)
        wrong += l->board->wrong[r];
    const double p50 = bp_median(us, blocks);

    (void)printf("{\"peer\": \"%s\", \"variant\": \"%s\", \"dtype\": \"%s\", "
                 "\"bytes\": %zu, \"ranks\": %d, \"p50_us\": %.4f, "
                 "\"min_us\": %.4f, \"trip_before_ns\": %.0f, "
                 "\"trip_after_ns\": %.0f, \"blocks\": %d, \"wrong\": %llu}\n",
                 l->plan.peer, l->plan.variant, bp_dtype_name(l->plan.dtype),
                 j->bytes, l->plan.nranks, p50, us[0], before, after, blocks,
                 (unsigned long long)wrong);
    (void)fflush(stdout);
}

static void run_size(bp_loop *l, const bp_driver *driver, size_t bytes)
{
    const bool is_private = driver->src == NULL;
    job j = {driver,      driver->src,
             driver->dst, bytes / bp_dtype_bytes(l->plan.dtype),
             bytes,       shape_of(l, bytes)};
    double before;
    double after;
    int blocks;

    if (is_private) {
        j.dst = bp_pages(bytes, 0);
        j.src = l->plan.is_in_place ? j.dst : bp_pages(bytes, 0);
    }
    memset(j.dst, 0xff, bytes);
    bp_fill(j.src, j.count, l->plan.dtype, l->rank);
    if (driver->prepare != NULL)
        driver->prepare(driver->arg, j.src, j.dst, j.count, l->plan.dtype);
    meet(l, false);
    operate(l, &j);
    l->board->wrong[l->rank] =
        bp_wrong(j.dst, j.count, l->plan.dtype, l->plan.nranks);
    if (l->plan.is_in_place) /* the sum of sums would overflow */
        memset(j.dst, 0, bytes);
    warm_up(l, &j);
    before = bp_probe(l);
    blocks = run_blocks(l, &j);
    after = bp_probe(l);
    if (l->rank == 0)
        report(l, &j, blocks, before, after);
    meet(l, false);
    if (is_private) {
        (void)munmap(j.dst, bp_page_bytes(bytes));
        if (j.src != j.dst)
            (void)munmap(j.src, bp_page_bytes(bytes));
    }
}

void bp_run(bp_loop *l, const bp_driver *driver)
{
    for (int i = 0; sizes[i] != 0; i++) {
        if (sizes[i] >= l->plan.min_bytes && sizes[i] <= l->plan.max_bytes)
            run_size(l, driver, sizes[i]);
    }
}

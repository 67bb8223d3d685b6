/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring loop.
 *
 * A block is a number of operations between two readings of the clock on every
 * rank; its time is that of the slowest rank, divided by the number.  The
 * figure of a size is the median over its blocks.  The placement probe runs
 * just before the first and just after the last block.
 */
#include "loop.h"

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
    MIN_BLOCKS = 7,
    CROWDED_OPS = 20,   /* a block and the warm-up, when ranks share cores */
    REWRITTEN_OPS = 16, /* a block, when each operation is timed alone */
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

/* ---- blocks -------------------------------------------------------------- */

typedef struct job {
    const bp_driver *driver;
    bp_call call;
    void *src;        /* call.src */
    size_t bytes;     /* of the size that is measured: the larger buffer's */
    size_t src_bytes; /* of this rank's buffers */
    size_t dst_bytes;
    shape shape;
} job;

static void operate(const bp_loop *l, job *j)
{
    j->driver->run(j->driver->arg, &j->call);
    j->call.root = (j->call.root + 1) % l->plan.nranks;
}

static double time_block(const bp_loop *l, job *j)
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
static double time_rewritten(bp_loop *l, job *j)
{
    double sum = 0;

    for (int i = 0; i < j->shape.ops; i++) {
        double start;

        if (j->call.op != BP_BROADCAST || j->call.root == l->rank)
            touch(j->src, j->src_bytes, true);
        bp_barrier(l);
        start = bp_now_us();
        operate(l, j);
        sum += bp_now_us() - start;
        bp_barrier(l);
        touch(j->call.dst, j->dst_bytes, false);
    }
    return sum / j->shape.ops;
}

static int run_blocks(bp_loop *l, job *j)
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

    (void)printf("{\"peer\": \"%s\", \"variant\": \"%s\", \"op\": \"%s\", "
                 "\"dtype\": \"%s\", "
                 "\"bytes\": %zu, \"ranks\": %d, \"p50_us\": %.4f, "
                 "\"min_us\": %.4f, \"trip_before_ns\": %.0f, "
                 "\"trip_after_ns\": %.0f, \"blocks\": %d, \"wrong\": %llu}\n",
                 l->plan.peer, l->plan.variant, bp_op_name(l->plan.op),
                 bp_dtype_name(l->plan.dtype), j->bytes, l->plan.nranks, p50,
                 us[0], before, after, blocks, (unsigned long long)wrong);
    (void)fflush(stdout);
}

/* Run the operation once, from each root, on known data. */
static void verify(bp_loop *l, job *j)
{
    const int roots = j->call.op == BP_BROADCAST ? l->plan.nranks : 1;
    const size_t n = bp_src_count(&j->call, l->plan.nranks);

    for (int root = 0; root < roots; root++) {
        j->call.root = root;
        memset(j->call.dst, 0xff, j->dst_bytes);
        if (j->call.op != BP_BROADCAST || root == l->rank)
            bp_fill(j->src, n, j->call.dtype, l->rank);
        bp_barrier(l);
        j->driver->run(j->driver->arg, &j->call);
        l->board->wrong[l->rank] += bp_wrong(&j->call, l->rank, l->plan.nranks);
    }
    j->call.root = 0;
    if (l->plan.is_in_place) /* the sum of sums would overflow */
        memset(j->call.dst, 0, j->bytes);
    bp_barrier(l);
}

static job job_of(const bp_loop *l, const bp_driver *driver, size_t bytes)
{
    const size_t item = bp_dtype_bytes(l->plan.dtype);
    const size_t parts =
        l->plan.op == BP_ALL_GATHER || l->plan.op == BP_REDUCE_SCATTER
            ? (size_t)l->plan.nranks
            : 1;
    job j = {.driver = driver, .bytes = bytes, .shape = shape_of(l, bytes)};

    j.call.op = l->plan.op;
    j.call.dtype = l->plan.dtype;
    j.call.count = bytes / parts / item;
    j.src_bytes = item * bp_src_count(&j.call, l->plan.nranks);
    j.dst_bytes = item * bp_dst_count(&j.call, l->plan.nranks);
    return j;
}

static void run_size(bp_loop *l, const bp_driver *driver, size_t bytes)
{
    const bool is_private = driver->src == NULL;
    job j = job_of(l, driver, bytes);
    double before;
    double after;
    int blocks;

    j.call.dst = is_private ? bp_pages(bytes, 0) : driver->dst;
    if (l->plan.is_in_place || l->plan.op == BP_BROADCAST)
        j.src = j.call.dst;
    else
        j.src = is_private ? bp_pages(bytes, 0) : driver->src;
    j.call.src = j.src;
    if (driver->prepare != NULL)
        driver->prepare(driver->arg, &j.call);
    l->board->wrong[l->rank] = 0;
    verify(l, &j);
    warm_up(l, &j);
    before = bp_probe(l);
    blocks = run_blocks(l, &j);
    after = bp_probe(l);
    verify(l, &j);
    if (l->rank == 0)
        report(l, &j, blocks, before, after);
    bp_barrier(l);
    if (is_private) {
        (void)munmap(j.call.dst, bp_page_bytes(bytes));
        if (j.src != j.call.dst)
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

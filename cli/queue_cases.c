/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cases of `devcomm queue bench`.  The writer and the readers go through the
 * same list of them:
 *
 *   round trip   of a cache line between the writer and reader 0: what the rest is
 *                to be read with
 *   in place     bytes written by the writer's core, then read by reader 0's, with
 *                no queue: the least that a hand-over takes
 *   latency      paced records that carry the time; the last reader's arrival
 *   rate         records as fast as they go
 */
#define _GNU_SOURCE
#include "queue_bench.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench/stats.h"
#include "cli.h"
#include "os/clock.h"

enum {
    TRIPS = 400,
    RUNS = 15,
    IN_PLACE_RUNS = 41,
    BUDGET_BYTES = 512 << 20, /* of one case */
};

static unsigned samples_of(size_t bytes)
{
    const size_t n = (size_t)BUDGET_BYTES / 4 / (bytes + 1000);

    return n > QUEUE_SAMPLES_MOST ? QUEUE_SAMPLES_MOST : (unsigned)n + 50;
}

static unsigned records_of(size_t bytes)
{
    return (unsigned)((size_t)BUDGET_BYTES / (bytes + 150)) + 100;
}

/* Whether nobody need wait any more: the writer ended, or a reader has died. */
static bool is_over(queue_run *x)
{
    if (!atomic_load(&x->b->is_over) && x->reader < 0 &&
        waitpid(-1, NULL, WNOHANG) != 0) {
        cli_error("a reader has died");
        atomic_store(&x->b->is_over, true);
    }
    return atomic_load(&x->b->is_over);
}

bool queue_meet(queue_run *x)
{
    const uint32_t step =
        atomic_load_explicit(&x->b->step, memory_order_acquire);

    if (atomic_fetch_add(&x->b->arrived, 1) == x->c.readers) {
        atomic_store(&x->b->arrived, 0);
        atomic_store_explicit(&x->b->step, step + 1, memory_order_release);
    }
    for (unsigned i = 1;
         atomic_load_explicit(&x->b->step, memory_order_acquire) == step; i++) {
        if (i % 1024 == 0)
            (void)sched_yield();
        if (i % 65536 == 0 && is_over(x))
            return false;
        dcmi_relax();
    }
    return true;
}

/* Returns too when the bench is over, which the next meeting tells. */
static void await_word(queue_run *x, const _Atomic uint32_t *word,
                       uint32_t want)
{
    for (unsigned i = 1;
         atomic_load_explicit(word, memory_order_acquire) != want; i++) {
        if (i % 100000 == 0) {
            (void)sched_yield();
            if (is_over(x))
                return;
        }
        dcmi_relax();
    }
}

/* Nanoseconds of a round trip, the median of several runs. */
static double trips(queue_run *x)
{
    double v[RUNS];
    uint64_t start;

    for (uint32_t run = 0; run < RUNS; run++) {
        start = dcmi_now_ns();
        for (uint32_t i = run * TRIPS + 1; i <= (run + 1) * TRIPS; i++) {
            if (x->reader == 0) {
                await_word(x, &x->b->ping, i);
                atomic_store_explicit(&x->b->pong, i, memory_order_release);
            } else {
                atomic_store_explicit(&x->b->ping, i, memory_order_release);
                await_word(x, &x->b->pong, i);
            }
        }
        v[run] = (double)(dcmi_now_ns() - start) / TRIPS;
    }
    if (x->reader < 0) {
        atomic_store(&x->b->ping, 0);
        atomic_store(&x->b->pong, 0);
    }
    return dcmi_stats_of(v, RUNS).p50;
}

/* Read all of it, a word at a time, so that no store is measured. */
static uint64_t sum_of(const unsigned char *at, size_t bytes)
{
    uint64_t sum = 0;
    uint64_t v;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        memcpy(&v, at + i, 8);
        sum += v;
    }
    return sum;
}

/* Nanoseconds from the first store to the last load. */
static double in_place(queue_run *x, size_t bytes)
{
    double v[IN_PLACE_RUNS];
    uint64_t sum = 0;

    for (uint32_t i = 1; i <= IN_PLACE_RUNS; i++) {
        if (x->reader == 0) {
            await_word(x, &x->b->ping, i);
            sum += sum_of(x->b->place, bytes);
            x->b->done_ns[0] = dcmi_now_ns() + (sum == 1);
            atomic_store_explicit(&x->b->pong, i, memory_order_release);
        } else {
            const uint64_t start = dcmi_now_ns();

            memcpy(x->b->place, x->buf, bytes);
            atomic_store_explicit(&x->b->ping, i, memory_order_release);
            await_word(x, &x->b->pong, i);
            v[i - 1] = (double)(x->b->done_ns[0] - start);
        }
    }
    if (x->reader >= 0)
        return 0;
    atomic_store(&x->b->ping, 0);
    atomic_store(&x->b->pong, 0);
    return dcmi_stats_of(v, IN_PLACE_RUNS).p50;
}

static bool receive(queue_run *x)
{
    size_t n;

    if (dcm_queue_dequeue(x->q, &n, x->buf, x->c.max + 8, 0) == DCM_OK)
        return true;
    cli_error_dcm("reading");
    return false;
}

static bool send(queue_run *x, size_t bytes)
{
    if (dcm_queue_enqueue(x->q, x->buf, bytes, 0) == DCM_OK)
        return true;
    cli_error_dcm("writing");
    return false;
}

/* At a distance that a record of this size does not fill. */
static bool send_paced(queue_run *x, size_t bytes, unsigned n)
{
    const uint64_t gap = 5000 + bytes;
    uint64_t next = dcmi_now_ns();

    for (unsigned i = 0; i < n; i++) {
        next += gap;
        while (dcmi_now_ns() < next)
            dcmi_relax();
        next = dcmi_now_ns();
        memcpy(x->buf, &next, sizeof(next));
        if (!send(x, bytes))
            return false;
    }
    return true;
}

static bool receive_stamped(queue_run *x, unsigned n)
{
    uint64_t sent;

    for (unsigned i = 0; i < n; i++) {
        if (!receive(x))
            return false;
        memcpy(&sent, x->buf, sizeof(sent));
        x->b->sample[i][x->reader] = dcmi_now_ns() - sent;
    }
    return true;
}

static void keep_latency(queue_run *x, queue_row *r, unsigned n)
{
    double *v = malloc(n * sizeof(*v));

    if (v == NULL)
        return;
    for (unsigned i = 0; i < n; i++) {
        v[i] = 0;
        for (unsigned k = 0; k < x->c.readers; k++) {
            if ((double)x->b->sample[i][k] > v[i])
                v[i] = (double)x->b->sample[i][k];
        }
    }
    (void)dcmi_stats_of(v + n / 20, n - n / 20); /* sorts; the first are cold */
    r->p50 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.5) / 1e3;
    r->p99 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.99) / 1e3;
    r->p999 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.999) / 1e3;
    free(v);
}

bool queue_write_case(queue_run *x, size_t bytes, queue_row *r)
{
    const unsigned n = records_of(bytes);
    uint64_t start;
    uint64_t end = 0;

    r->bytes = bytes;
    r->trip = trips(x) / 1e3;
    r->in_place = in_place(x, bytes) / 1e3;
    if (!queue_meet(x) || !send_paced(x, bytes, samples_of(bytes)) ||
        !queue_meet(x))
        return false;
    keep_latency(x, r, samples_of(bytes));
    start = dcmi_now_ns();
    for (unsigned i = 0; i < n; i++) {
        if (!send(x, bytes))
            return false;
    }
    if (!queue_meet(x))
        return false;
    for (unsigned k = 0; k < x->c.readers; k++) {
        if (x->b->done_ns[k] > end)
            end = x->b->done_ns[k];
    }
    r->rate = n * 1e9 / (double)(end - start);
    return true;
}

bool queue_read_case(queue_run *x, size_t bytes)
{
    const unsigned n = records_of(bytes);

    if (x->reader == 0) {
        (void)trips(x);
        (void)in_place(x, bytes);
    }
    if (!queue_meet(x) || !receive_stamped(x, samples_of(bytes)) ||
        !queue_meet(x))
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (!receive(x))
            return false;
    }
    x->b->done_ns[x->reader] = dcmi_now_ns();
    return queue_meet(x);
}

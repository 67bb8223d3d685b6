/* SPDX-License-Identifier: Apache-2.0 */
/* The measuring engine: statistics, sweep, placement, runs between threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <devcomm/devcomm.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/engine.h"
#include "bench/pin.h"
#include "bench/stats.h"

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void test_stats(void **state)
{
    double v[200];
    dcmi_stats s;

    (void)state;
    for (size_t i = 0; i < 200; i++)
        v[i] = (double)((i * 37) % 200 + 1); /* 1 .. 200, shuffled */
    s = dcmi_stats_of(v, 200);
    assert_true(is_near(s.min, 1.0));
    assert_true(is_near(s.p50, 100.0));
    assert_true(is_near(s.p99, 198.0));
    assert_true(is_near(s.max, 200.0));

    /* Between two samples the later one counts. */
    s = dcmi_stats_of(v, 7);
    assert_true(is_near(s.p50, 4.0) && is_near(s.p99, 7.0));

    v[0] = 7.0;
    s = dcmi_stats_of(v, 1);
    assert_true(is_near(s.min, 7.0) && is_near(s.p50, 7.0));
    assert_true(is_near(s.p99, 7.0) && is_near(s.max, 7.0));

    s = dcmi_stats_of(v, 0);
    assert_true(s.max == 0.0);
}

static void test_hist(void **state)
{
    dcmi_hist hist;

    (void)state;
    memset(&hist, 0, sizeof(hist));
    for (int b = 0; b < DCMI_HIST_BUCKETS; b++) {
        const double low = dcmi_hist_low(b);
        const double next = dcmi_hist_low(b + 1);

        assert_true(low < next);
        assert_int_equal(dcmi_hist_bucket(low), b);
        assert_int_equal(dcmi_hist_bucket(nextafter(next, 0.0)), b);
    }
    assert_int_equal(dcmi_hist_bucket(0.0), 0);
    assert_int_equal(dcmi_hist_bucket(-1.0), 0);
    assert_int_equal(dcmi_hist_bucket((double)NAN), 0);
    assert_int_equal(dcmi_hist_bucket((double)INFINITY), DCMI_HIST_BUCKETS - 1);

    dcmi_hist_add(&hist, 1.0);
    dcmi_hist_add(&hist, 1.1);
    dcmi_hist_add(&hist, 1.25);
    assert_int_equal(hist.count[dcmi_hist_bucket(1.0)], 2);
    assert_int_equal(hist.count[dcmi_hist_bucket(1.25)], 1);
}

static void test_sizes(void **state)
{
    dcmi_bench_opts o = {.min_bytes = 1, .max_bytes = 100, .factor = 3};
    size_t count = 0;

    (void)state;
    /* Bytes 1, 3, 9, 27, 81: elements of 4 bytes 0, 0, 2, 6, 20. */
    count = dcmi_bench_next_count(&o, 4, count);
    assert_int_equal(count, 2);
    count = dcmi_bench_next_count(&o, 4, count);
    assert_int_equal(count, 6);
    count = dcmi_bench_next_count(&o, 4, count);
    assert_int_equal(count, 20);
    assert_int_equal(dcmi_bench_next_count(&o, 4, count), 0);

    o.max_bytes = SIZE_MAX; /* must end */
    for (count = 1; count != 0;)
        count = dcmi_bench_next_count(&o, 4, count);

    assert_true(is_near(dcmi_bench_bus_factor(DCMI_BENCH_ALL_REDUCE, 4), 1.5));
    assert_true(is_near(dcmi_bench_bus_factor(DCMI_BENCH_ALL_REDUCE, 2), 1.0));
    assert_true(is_near(dcmi_bench_bus_factor(DCMI_BENCH_ALL_GATHER, 4), 0.75));
    assert_true(is_near(dcmi_bench_bus_factor(DCMI_BENCH_BROADCAST, 4), 1.0));
}

static void put_siblings(const char *root, int cpu, const char *list)
{
    char path[512];
    FILE *f;

    (void)snprintf(path, sizeof(path),
                   "mkdir -p %s/sys/devices/system/cpu/cpu%d/topology", root,
                   cpu);
    assert_int_equal(system(path), 0);
    (void)snprintf(path, sizeof(path),
                   "%s/sys/devices/system/cpu/cpu%d/topology/"
                   "thread_siblings_list",
                   root, cpu);
    f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(list, f);
    assert_int_equal(fclose(f), 0);
}

/* Two cores of two threads, and a processor that is not allowed. */
static void test_pin(void **state)
{
    char root[] = "/tmp/devcomm-pin-XXXXXX";
    dcmi_cpuset set = {{0x1b}}; /* 0, 1, 3, 4 */
    char command[64];

    (void)state;
    assert_non_null(mkdtemp(root));
    put_siblings(root, 0, "0-1\n");
    put_siblings(root, 1, "0-1\n");
    put_siblings(root, 3, "3,4\n");
    put_siblings(root, 4, "3,4\n");
    assert_int_equal(dcmi_pin_pick(&set, 0, 4, root), 0);
    assert_int_equal(dcmi_pin_pick(&set, 1, 4, root), 3);
    assert_int_equal(dcmi_pin_pick(&set, 2, 4, root), 1);
    assert_int_equal(dcmi_pin_pick(&set, 3, 4, root), 4);
    assert_int_equal(dcmi_pin_pick(&set, 0, 5, root), -1);
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

typedef struct run {
    dcm_group *group;
    const dcmi_bench_opts *opts;
    dcmi_row rows[64];
    size_t nrows;
    size_t progress;
    size_t stop_after; /* rows; 0: never */
    dcm_status st;
} run;

static void on_progress(void *arg, size_t done, size_t total,
                        const dcmi_row *row)
{
    run *r = arg;

    if (done >= total || row->op[0] == '\0')
        abort(); /* not cmocka's thread */
    r->progress++;
}

static bool on_row(void *arg, const dcmi_row *row)
{
    run *r = arg;

    if (r->nrows == 64)
        abort();
    r->rows[r->nrows++] = *row;
    return r->nrows != r->stop_after;
}

static void *run_main(void *arg)
{
    run *r = arg;
    const dcmi_bench_sink sink = {
        .progress = on_progress, .row = on_row, .arg = r};

    r->st = dcmi_bench_run(r->group, r->opts, &sink);
    return NULL;
}

static run runs[DCM_MAX_RANKS];

static void run_all(const dcmi_bench_opts *opts, int n, size_t stop_after)
{
    dcm_group *groups[DCM_MAX_RANKS];
    pthread_t threads[DCM_MAX_RANKS];

    memset(runs, 0, sizeof(runs));
    assert_int_equal(dcm_group_new_local(groups, n, NULL), DCM_OK);
    for (int i = 0; i < n; i++) {
        runs[i].group = groups[i];
        runs[i].opts = opts;
        runs[i].stop_after = stop_after;
        assert_int_equal(pthread_create(&threads[i], NULL, run_main, &runs[i]),
                         0);
    }
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(runs[i].st, DCM_OK);
        assert_true(i == 0 || runs[i].nrows == 0);
        dcm_group_free(groups[i]);
    }
}

static void test_run(void **state)
{
    dcmi_bench_opts o = {
        .op = DCMI_BENCH_ALL_REDUCE,
        .min_bytes = 8,
        .max_bytes = 8192,
        .factor = 32,
        .dtypes = {DCM_F32, DCM_BF16},
        .ndtypes = 2,
        .redops = {DCM_SUM, DCM_AVG},
        .nredops = 2,
        .iters = 3,
        .timeout_ms = 20000,
    };

    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        o.is_in_place = (mode & 1) != 0;
        o.use_arena = (mode & 2) != 0;
        run_all(&o, 2 + mode % 2, 0);
        assert_int_equal(runs[0].nrows, 12);
        assert_int_equal(runs[0].progress, 12);
        for (size_t i = 0; i < 12; i++) {
            const dcmi_row *row = &runs[0].rows[i];

            assert_int_equal(row->status, DCM_OK);
            assert_true(row->wrong == 0);
            assert_int_equal(row->samples, 3);
            assert_true(row->us.min > 0.0 && row->us.min <= row->us.p50 &&
                        row->us.p50 <= row->us.p99 &&
                        row->us.p99 <= row->us.max);
            assert_true(row->is_in_place == o.is_in_place);
            assert_string_equal(row->memory, o.use_arena ? "arena" : "private");
        }
        assert_true(is_near(runs[0].rows[2].algbw_gbps,
                            8192.0 / (1000.0 * runs[0].rows[2].us.p50)));
    }
}

static void test_run_stops(void **state)
{
    const dcmi_bench_opts o = {
        .op = DCMI_BENCH_ALL_REDUCE,
        .min_bytes = 8,
        .max_bytes = 1024,
        .factor = 2,
        .dtypes = {DCM_I32},
        .ndtypes = 1,
        .redops = {DCM_MAX},
        .nredops = 1,
        .iters = 1,
        .is_random = true,
        .no_pin = true,
    };

    (void)state;
    run_all(&o, 2, 3);
    assert_int_equal(runs[0].nrows, 3);
}

static void test_run_barrier(void **state)
{
    const dcmi_bench_opts o = {
        .op = DCMI_BENCH_BARRIER,
        .min_bytes = 8,
        .max_bytes = 8,
        .factor = 2,
        .iters = 5,
    };

    (void)state;
    run_all(&o, 3, 0);
    assert_int_equal(runs[0].nrows, 1);
    assert_true(runs[0].rows[0].wrong == 0);
    assert_string_equal(runs[0].rows[0].dtype, "none");
}

static void test_run_others(void **state)
{
    dcmi_bench_opts o = {
        .min_bytes = 4,
        .max_bytes = 4096,
        .factor = 4,
        .dtypes = {DCM_F32},
        .ndtypes = 1,
        .redops = {DCM_SUM},
        .nredops = 1,
        .iters = 2,
        .no_pin = true,
    };

    (void)state;
    for (int op = DCMI_BENCH_ALL_GATHER; op < DCMI_BENCH_COUNT; op++) {
        o.op = (dcmi_bench_op)op;
        run_all(&o, 3, 0);
        assert_true(runs[0].nrows >= 5);
        for (size_t i = 0; i < runs[0].nrows; i++) {
            const dcmi_row *row = &runs[0].rows[i];

            assert_int_equal(row->status, DCM_OK);
            assert_true(row->wrong == 0 && row->us.p50 > 0.0);
            assert_string_equal(row->op, dcmi_bench_op_str(o.op));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats),       cmocka_unit_test(test_hist),
        cmocka_unit_test(test_sizes),       cmocka_unit_test(test_pin),
        cmocka_unit_test(test_run),         cmocka_unit_test(test_run_stops),
        cmocka_unit_test(test_run_barrier), cmocka_unit_test(test_run_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

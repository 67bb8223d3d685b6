/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of a duration: order statistics and a histogram. */
#ifndef DCMI_BENCH_STATS_H
#define DCMI_BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

typedef struct dcmi_stats {
    double min;
    double p50;
    double p99;
    double max;
} dcmi_stats;

/* Sort `v` and describe it.  No samples: all zero. */
dcmi_stats dcmi_stats_of(double *v, size_t n);

/*
 * The smallest of the sorted samples that at least `share` (0 .. 1) of all do
 * not exceed: a value that was measured, never one between two.
 */
double dcmi_stats_quantile(const double *sorted, size_t n, double share);

/*
 * Buckets that grow by a quarter of a doubling: bucket b counts values from
 * dcmi_hist_low(b) up to dcmi_hist_low(b + 1).  The first also takes what is
 * smaller, the last what is larger.
 */
enum {
    DCMI_HIST_BUCKETS = 160,
    DCMI_HIST_PER_DOUBLING = 4
};

typedef struct dcmi_hist {
    uint32_t count[DCMI_HIST_BUCKETS];
} dcmi_hist;

int dcmi_hist_bucket(double v);
double dcmi_hist_low(int bucket);
void dcmi_hist_add(dcmi_hist *hist, double v);

#endif /* DCMI_BENCH_STATS_H */

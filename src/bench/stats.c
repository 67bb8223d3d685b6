/* SPDX-License-Identifier: Apache-2.0 */
/* Order statistics and the histogram. */
#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Exponent of the first bucket's lower edge: 2^-14 us is under a clock tick. */
#define FIRST_EXP (-14)

static int by_value(const void *a, const void *b)
{
    double x;
    double y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

double dcmi_stats_quantile(const double *sorted, size_t n, double share)
{
    size_t i;

    if (n == 0)
        return 0.0;
    i = (size_t)ceil(share * (double)n);
    return sorted[i == 0 ? 0 : i > n ? n - 1 : i - 1];
}

dcmi_stats dcmi_stats_of(double *v, size_t n)
{
    if (n == 0)
        return (dcmi_stats){0.0, 0.0, 0.0, 0.0};
    qsort(v, n, sizeof(*v), by_value);
    return (dcmi_stats){
        .min = v[0],
        .p50 = dcmi_stats_quantile(v, n, 0.50),
        .p99 = dcmi_stats_quantile(v, n, 0.99),
        .max = v[n - 1],
    };
}

double dcmi_hist_low(int bucket)
{
    const int part = bucket % DCMI_HIST_PER_DOUBLING;

    /* Linear inside a doubling, so that the edges are exact. */
    return ldexp(1.0 + (double)part / DCMI_HIST_PER_DOUBLING,
                 FIRST_EXP + bucket / DCMI_HIST_PER_DOUBLING);
}

int dcmi_hist_bucket(double v)
{
    int exp;
    int bucket;
    double m;

    if (!(v > dcmi_hist_low(0)))
        return 0;
    if (v >= dcmi_hist_low(DCMI_HIST_BUCKETS - 1))
        return DCMI_HIST_BUCKETS - 1;
    m = 2.0 * frexp(v, &exp); /* 1 <= m < 2, v = m * 2^(exp - 1) */
    bucket = (exp - 1 - FIRST_EXP) * DCMI_HIST_PER_DOUBLING;
    return bucket + (int)((m - 1.0) * DCMI_HIST_PER_DOUBLING);
}

void dcmi_hist_add(dcmi_hist *hist, double v)
{
    hist->count[dcmi_hist_bucket(v)]++;
}

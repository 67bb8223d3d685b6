/* SPDX-License-Identifier: Apache-2.0 */
/* The table of results, in the convention of nccl-tests. */
#include <inttypes.h>
#include <stdio.h>

#include "bench.h"
#include "cli.h"

static void print_cores(const dcmi_bench_setup *setup)
{
    bool is_pinned = true;

    for (int r = 0; r < setup->nranks; r++)
        is_pinned = is_pinned && setup->core_of[r] >= 0;
    if (!is_pinned) {
        (void)printf("not pinned");
        return;
    }
    (void)printf("on core%s", setup->nranks == 1 ? "" : "s");
    for (int r = 0; r < setup->nranks; r++)
        (void)printf(" %d", setup->core_of[r]);
}

static void print_machine(const dcmi_machine *m, const dcmi_bench_setup *setup)
{
    (void)printf("# machine  %s, %d of %d cores, %s; load %.1f\n", m->cpu,
                 m->cores, m->online, m->kernel, m->load);
    if (setup->nhosts == 1 && setup->nranks > m->cores)
        (void)printf("#          more ranks than cores: they take turns\n");
}

void table_head(const bench_report *r, const dcmi_bench_setup *setup)
{
    const dcmi_bench_opts *o = &r->conf->engine;
    char shared[32];

    (void)printf("# devcomm %s (%s), %s\n", cli_version(), cli_commit(),
                 r->date);
    (void)printf("# %s\n", r->conf->command);
    print_machine(&r->machine, setup);
    (void)printf("# ranks    %d %s on %d host%s, ", setup->nranks,
                 r->conf->is_threads ? "threads" : "processes", setup->nhosts,
                 setup->nhosts == 1 ? "" : "s");
    print_cores(setup);
    (void)printf("\n# backend  %s, %s of shared memory", setup->backend,
                 cli_bytes(shared, setup->shared_bytes));
    if (o->op != DCMI_BENCH_BARRIER)
        (void)printf("; buffers %s, %s",
                     o->use_arena ? "in the arena" : "private",
                     o->is_in_place ? "in place" : "out of place");
    (void)printf("\n");
    (void)printf("# times    of the slowest rank: median (time) and 99th "
                 "percentile (p99)\n#\n");
    (void)printf("#%11s %12s %7s %6s %10s %10s %8s %8s %7s  %s\n", "size",
                 "count", "type", "redop", "time", "p99", "algbw", "busbw",
                 "#wrong", "backend algorithm");
    (void)printf("#%11s %12s %7s %6s %10s %10s %8s %8s %7s\n", "(B)",
                 "(elements)", "", "", "(us)", "(us)", "(GB/s)", "(GB/s)", "");
}

void table_row(const dcmi_row *row)
{
    (void)printf("%12zu %12zu %7s %6s ", row->bytes, row->count, row->dtype,
                 row->redop);
    if (row->status != DCM_OK) {
        (void)printf("refused: %s\n", row->message);
        return;
    }
    (void)printf("%10.*f %10.*f %8.2f %8.2f %7" PRIu64 "  %s %s\n",
                 row->us.p50 < 100 ? 3 : 1, row->us.p50,
                 row->us.p99 < 100 ? 3 : 1, row->us.p99, row->algbw_gbps,
                 row->busbw_gbps, row->wrong, row->backend, row->algorithm);
}

static void widen(double ns, double *low, double *high)
{
    if (ns < 0.0)
        return;
    if (*high < 0.0 || ns > *high)
        *high = ns;
    if (*low < 0.0 || ns < *low)
        *low = ns;
}

void table_foot(const dcmi_row *rows, size_t nrows)
{
    uint64_t wrong = 0;
    double busbw = 0.0;
    double low = -1.0;
    double high = -1.0;
    size_t measured = 0;

    for (size_t i = 0; i < nrows; i++) {
        wrong += rows[i].wrong;
        widen(rows[i].ping_ns, &low, &high);
        widen(rows[i].ping_after_ns, &low, &high);
        if (rows[i].status != DCM_OK)
            continue;
        busbw += rows[i].busbw_gbps;
        measured++;
    }
    (void)printf("# Out of bounds values : %" PRIu64 " %s\n", wrong,
                 wrong == 0 ? "OK" : "FAILED");
    (void)printf("# Avg bus bandwidth    : %.4f\n",
                 measured == 0 ? 0.0 : busbw / (double)measured);
    if (high >= 0.0)
        (void)printf("# Cache line rank 0 -> 1 -> 0: %.0f to %.0f ns%s\n", low,
                     high,
                     high > 2.0 * low ? ", so the cores moved: compare only "
                                        "rows that agree"
                                      : "");
}

void table_finding(const dcmi_finding *f)
{
    static const char *const verdicts[] = {
        [DCMI_SAME] = "same",       [DCMI_FASTER] = "faster",
        [DCMI_NEW] = "new",         [DCMI_SLOWER] = "SLOWER",
        [DCMI_MISSING] = "MISSING",
    };

    (void)printf("# %-8s %s", verdicts[f->verdict], f->what);
    if (f->verdict == DCMI_NEW)
        (void)printf(": %.3f us", f->new_us);
    else if (f->verdict == DCMI_MISSING)
        (void)printf(": %.3f us before, not measured now", f->old_us);
    else
        (void)printf(": %.3f us, before %.3f (%+.0f %%)", f->new_us, f->old_us,
                     100.0 * (f->new_us / f->old_us - 1.0));
    /* Another placement of the cores explains a difference. */
    if (f->row != NULL && f->old_ping_ns > 0.0 && f->row->ping_ns > 0.0 &&
        (f->row->ping_ns > 1.5 * f->old_ping_ns ||
         f->old_ping_ns > 1.5 * f->row->ping_ns))
        (void)printf("; cache line there and back %.0f ns, before %.0f",
                     f->row->ping_ns, f->old_ping_ns);
    (void)printf("\n");
}

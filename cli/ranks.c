/* SPDX-License-Identifier: Apache-2.0 */
/* Running the measuring engine as one process or as threads. */
#include "ranks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* One rank's run; rank 0's report is made and closed here. */
static int run_rank(const bench_conf *conf, dcm_group *group)
{
    const bool is_first = dcm_group_rank(group) == 0;
    dcmi_bench_sink sink = {.row = NULL};
    bench_report report;
    int status = CLI_OK;
    dcm_status st;

    if (is_first) {
        if (!report_open(&report, conf))
            return CLI_USAGE;
        if (conf->plot_path != NULL && !plot_is_possible())
            cli_error("gnuplot is not installed: %s will not be drawn",
                      conf->plot_path);
        sink = report_sink(&report);
    }
    st = dcmi_bench_run(group, &conf->engine, &sink);
    if (st != DCM_OK && (is_first || st != DCM_E_PEER))
        cli_error("rank %d: %s", dcm_group_rank(group), dcm_errmsg());
    if (is_first) {
        status = report_close(&report, st == DCM_OK);
        report_free(&report);
    }
    return st != DCM_OK ? CLI_FAIL : status;
}

int ranks_process(const bench_conf *conf)
{
    const dcm_group_opts opts = {
        .size = sizeof(opts),
        .name = "bench",
        .timeout_ms = conf->engine.timeout_ms,
    };
    dcm_group *group;
    int status;

    if (dcm_group_new_env(&group, &opts) != DCM_OK) {
        cli_error_dcm("joining the job");
        return CLI_FAIL;
    }
    status = run_rank(conf, group);
    dcm_group_free(group);
    return status;
}

typedef struct rank_thread {
    const bench_conf *conf;
    dcm_group *group;
    pthread_t thread;
    int status;
} rank_thread;

static void *rank_main(void *arg)
{
    rank_thread *t = arg;

    t->status = run_rank(t->conf, t->group);
    return NULL;
}

int ranks_threads(const bench_conf *conf, int nranks)
{
    const dcm_group_opts opts = {
        .size = sizeof(opts),
        .name = "bench",
        .timeout_ms = conf->engine.timeout_ms,
    };
    dcm_group *groups[DCM_MAX_RANKS];
    rank_thread threads[DCM_MAX_RANKS];
    int started = 0;
    int status = CLI_OK;

    if (dcm_group_new_local(groups, nranks, &opts) != DCM_OK) {
        cli_error_dcm("making the ranks");
        return CLI_FAIL;
    }
    while (started < nranks) {
        rank_thread *t = &threads[started];

        *t = (rank_thread){.conf = conf, .group = groups[started]};
        if (pthread_create(&t->thread, NULL, rank_main, t) != 0)
            break;
        started++;
    }
    if (started < nranks) {
        /* The others wait for it; their deadline would end that. */
        cli_error("cannot start thread %d of %d", started + 1, nranks);
        exit(CLI_FAIL);
    }
    for (int r = 0; r < nranks; r++) {
        (void)pthread_join(threads[r].thread, NULL);
        if (status == CLI_OK)
            status = threads[r].status;
    }
    for (int r = 0; r < nranks; r++)
        dcm_group_free(groups[r]);
    return status;
}

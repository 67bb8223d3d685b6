/* SPDX-License-Identifier: Apache-2.0 */
/* What rank 0 does with the rows of a benchmark. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"

bool report_open(bench_report *r, const bench_conf *conf)
{
    const time_t now = time(NULL);
    struct tm utc;

    memset(r, 0, sizeof(*r));
    r->conf = conf;
    dcmi_machine_get(&r->machine);
    r->shows_progress = isatty(STDERR_FILENO) != 0;
    if (gmtime_r(&now, &utc) == NULL ||
        strftime(r->date, sizeof(r->date), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        r->date[0] = '\0';
    if (conf->compare_path != NULL &&
        dcmi_json_read(&r->old, conf->compare_path) != DCM_OK) {
        cli_error_dcm("--compare");
        return false;
    }
    return true;
}

void report_free(bench_report *r)
{
    dcmi_json_free(r->old);
    free(r->rows);
}

static void clear_progress(bench_report *r)
{
    if (r->has_progress)
        (void)fprintf(stderr, "\r\033[K");
    r->has_progress = false;
}

static void on_start(void *arg, const dcmi_bench_setup *setup)
{
    bench_report *r = arg;

    table_head(r, setup);
    (void)fflush(stdout);
}

static void on_progress(void *arg, size_t done, size_t total,
                        const dcmi_row *row)
{
    bench_report *r = arg;
    char size[32];

    if (!r->shows_progress)
        return;
    clear_progress(r);
    (void)fprintf(stderr, "%zu of %zu: %s %s %s %s", done + 1, total, row->op,
                  cli_bytes(size, row->bytes), row->dtype, row->redop);
    (void)fflush(stderr);
    r->has_progress = true;
}

static bool keep(bench_report *r, const dcmi_row *row)
{
    const size_t size = r->size == 0 ? 64 : 2 * r->size;
    dcmi_row *rows;

    if (r->nrows == r->size) {
        rows = realloc(r->rows, size * sizeof(*rows));
        if (rows == NULL) {
            cli_error("out of memory after %zu rows", r->nrows);
            return false;
        }
        r->rows = rows;
        r->size = size;
    }
    r->rows[r->nrows++] = *row;
    return true;
}

static bool on_row(void *arg, const dcmi_row *row)
{
    bench_report *r = arg;

    clear_progress(r);
    table_row(row);
    (void)fflush(stdout);
    /* Nobody reads the table any more, or there is no room for it: stop. */
    return keep(r, row) && ferror(stdout) == 0;
}

dcmi_bench_sink report_sink(bench_report *r)
{
    return (dcmi_bench_sink){
        .start = on_start,
        .progress = on_progress,
        .row = on_row,
        .arg = r,
    };
}

static bool write_file(const bench_report *r, const char *path,
                       void (*put)(const dcmi_result *, FILE *))
{
    const dcmi_result result = {
        .machine = &r->machine,
        .version = cli_version(),
        .commit = cli_commit(),
        .date = r->date,
        .command = r->conf->command,
        .ranks_as = r->conf->is_threads ? "threads" : "processes",
        .rows = r->rows,
        .nrows = r->nrows,
    };
    FILE *file;

    if (path == NULL)
        return true;
    file = fopen(path, "we");
    if (file == NULL) {
        cli_error("cannot write %s: %s", path, strerror(errno));
        return false;
    }
    put(&result, file);
    return cli_close(file, path);
}

static void on_finding(void *arg, const dcmi_finding *finding)
{
    (void)arg;
    table_finding(finding);
}

static bool compare(const bench_report *r)
{
    size_t failed;

    if (r->old == NULL)
        return true;
    (void)printf("#\n# compared with %s, tolerance %g %%\n",
                 r->conf->compare_path, 100.0 * r->conf->tolerance);
    if (dcmi_result_compare(&failed, r->old, r->rows, r->nrows,
                            r->conf->tolerance, on_finding, NULL) != DCM_OK) {
        cli_error_dcm("--compare");
        return false;
    }
    (void)printf("# %zu row%s slower or missing\n", failed,
                 failed == 1 ? "" : "s");
    return failed == 0;
}

static bool has_measured(const bench_report *r)
{
    bool is_any = false;

    for (size_t i = 0; i < r->nrows; i++)
        is_any = is_any || r->rows[i].status == DCM_OK;
    return is_any;
}

static bool all_right(const bench_report *r)
{
    bool is_right = r->nrows > 0;

    for (size_t i = 0; i < r->nrows; i++)
        is_right =
            is_right && r->rows[i].wrong == 0 && r->rows[i].status == DCM_OK;
    return is_right;
}

int report_close(bench_report *r, bool is_complete)
{
    bool is_good = is_complete;

    clear_progress(r);
    if (r->nrows > 0)
        table_foot(r->rows, r->nrows);
    /* What was measured before a failure is kept as well. */
    is_good = write_file(r, r->conf->json_path, dcmi_result_json) && is_good;
    is_good = write_file(r, r->conf->csv_path, dcmi_result_csv) && is_good;
    if (r->conf->plot_path != NULL && has_measured(r))
        is_good = plot_write(r, r->conf->plot_path) && is_good;
    is_good = compare(r) && is_good;
    return is_good && all_right(r) ? CLI_OK : CLI_FAIL;
}

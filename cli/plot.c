/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plot: time and bus bandwidth over size, drawn by gnuplot, which is found
 * in PATH and given its commands through a pipe.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"

enum {
    MAX_SERIES = DCM_NDTYPES * DCM_NOPS
};

/* Rows of one type and operator are one line of the plot. */
typedef struct series {
    const dcmi_row *first;
} series;

bool plot_is_possible(void)
{
    const char *path = getenv("PATH");
    char file[4096];
    size_t len;

    for (; path != NULL && *path != '\0'; path += len + (path[len] != '\0')) {
        len = strcspn(path, ":");
        if (snprintf(file, sizeof(file), "%.*s/gnuplot", (int)len, path) <
                (int)sizeof(file) &&
            access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static bool is_same_series(const dcmi_row *a, const dcmi_row *b)
{
    return strcmp(a->dtype, b->dtype) == 0 && strcmp(a->redop, b->redop) == 0;
}

static size_t find_series(const bench_report *r, series *s)
{
    size_t n = 0;

    for (size_t i = 0; i < r->nrows; i++) {
        size_t at = 0;

        if (r->rows[i].status != DCM_OK)
            continue;
        while (at < n && !is_same_series(s[at].first, &r->rows[i]))
            at++;
        if (at == n && n < MAX_SERIES)
            s[n++].first = &r->rows[i];
    }
    return n;
}

/* In a double-quoted string of gnuplot. */
static void put_quoted(FILE *f, const char *text)
{
    (void)fputc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', f);
        if ((unsigned char)*text >= 0x20)
            (void)fputc(*text, f);
    }
    (void)fputc('"', f);
}

static void put_data(FILE *f, const bench_report *r, const series *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(f, "$s%zu << END\n", i);
        for (size_t k = 0; k < r->nrows; k++) {
            const dcmi_row *row = &r->rows[k];

            if (row->status == DCM_OK && is_same_series(row, s[i].first))
                (void)fprintf(f, "%zu %.9g %.9g %.9g\n",
                              row->bytes > 0 ? row->bytes : 1, row->us.p50,
                              row->us.p99, row->busbw_gbps);
        }
        (void)fprintf(f, "END\n");
    }
}

static void put_curves(FILE *f, const series *s, size_t n, bool is_time)
{
    (void)fprintf(f, "plot ");
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(f,
                      "%s$s%zu using 1:%d with linespoints lw 2 pt 7 ps 0.4 "
                      "lc %zu title \"%s %s%s\"",
                      i > 0 ? ", " : "", i, is_time ? 2 : 4, i + 1,
                      s[i].first->dtype, s[i].first->redop,
                      is_time ? ", median" : "");
        if (is_time)
            (void)fprintf(f,
                          ", $s%zu using 1:3 with lines dt 3 lc %zu title "
                          "\"%s %s, p99\"",
                          i, i + 1, s[i].first->dtype, s[i].first->redop);
    }
    (void)fprintf(f, "\n");
}

/* The axis of sizes, written as people say them: 1Ki, 64Ki, 1Mi. */
static void put_sizes(FILE *f, const bench_report *r)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti"};
    size_t least = SIZE_MAX;
    size_t most = 1;

    for (size_t i = 0; i < r->nrows; i++) {
        const size_t bytes = r->rows[i].bytes > 0 ? r->rows[i].bytes : 1;

        most = bytes > most ? bytes : most;
        least = bytes < least ? bytes : least;
    }
    (void)fprintf(f, "set xrange [%g:%g]\nset xtics (\"1\" 1",
                  (double)least / 1.5, (double)most * 1.5);
    for (size_t v = 4; v / 4 < most && v <= SIZE_MAX / 8; v *= 4) {
        size_t shown = v;
        size_t unit = 0;

        while (shown >= 1024 && unit < 4) {
            shown /= 1024;
            unit++;
        }
        (void)fprintf(f, ", \"%zu%s\" %zu", shown, units[unit], v);
    }
    (void)fprintf(f, ")\n");
}

/* A logarithmic axis has no place for a bandwidth of 0. */
static bool has_bandwidth(const bench_report *r)
{
    for (size_t i = 0; i < r->nrows; i++) {
        if (r->rows[i].busbw_gbps > 0.0)
            return true;
    }
    return false;
}

static void put_script(FILE *f, const bench_report *r, const char *path)
{
    series s[MAX_SERIES];
    const size_t n = find_series(r, s);
    char where[320];

    (void)snprintf(where, sizeof(where), "%s, %d cores, %s, %s", r->machine.cpu,
                   r->machine.cores, r->machine.kernel, r->date);
    (void)fprintf(f, "set terminal svg size 900,760 font 'sans,12' "
                     "background 'white'\nset output ");
    put_quoted(f, path);
    (void)fputc('\n', f);
    put_data(f, r, s, n);
    (void)fprintf(f, "set multiplot layout 2,1 title ");
    put_quoted(f, r->conf->command);
    (void)fprintf(f, " . \"\\n\" . ");
    put_quoted(f, where);
    (void)fprintf(f, " noenhanced\n"
                     "set grid\nset logscale xy\nset key outside right top\n"
                     "set lmargin 10\nset rmargin 24\n"
                     "set xlabel 'size (bytes)'\nset ylabel 'time (us)'\n"
                     "set format y '%%g'\n");
    put_sizes(f, r);
    put_curves(f, s, n, true);
    if (has_bandwidth(r)) {
        (void)fprintf(f, "set ylabel 'bus bandwidth (GB/s)'\n");
        put_curves(f, s, n, false);
    }
    (void)fprintf(f, "unset multiplot\n");
}

static FILE *start_gnuplot(pid_t *pid_p)
{
    static char name[] = "gnuplot";
    static char quiet[] = "-";
    char *argv[] = {name, quiet, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    FILE *f;
    int err;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return NULL;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    err = posix_spawnp(pid_p, name, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[0]);
    f = err == 0 ? fdopen(ends[1], "w") : NULL;
    if (f == NULL)
        (void)close(ends[1]);
    errno = err;
    return f;
}

bool plot_write(const bench_report *r, const char *path)
{
    pid_t pid = -1;
    int status = -1;
    FILE *f;

    if (!plot_is_possible())
        return true; /* said before the run */
    f = start_gnuplot(&pid);
    if (f == NULL) {
        cli_error("cannot start gnuplot: %s", strerror(errno));
        return false;
    }
    put_script(f, r, path);
    (void)fclose(f); /* gnuplot's status tells whether it got it all */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    cli_error("gnuplot failed to draw %s", path);
    return false;
}

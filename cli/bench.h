/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `devcomm bench` share. */
#ifndef DEVCOMM_CLI_BENCH_H
#define DEVCOMM_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/engine.h"
#include "bench/json.h"
#include "bench/machine.h"

/* Where results go. */
typedef struct bench_conf {
    dcmi_bench_opts engine;
    bool is_threads;
    const char *json_path;
    const char *csv_path;
    const char *plot_path;
    const char *compare_path;
    double tolerance;    /* 0.2 is twenty per cent */
    const char *command; /* as it was typed */
} bench_conf;

/* Rank 0's side of a run: table, progress, and the rows for what follows. */
typedef struct bench_report {
    const bench_conf *conf;
    dcmi_machine machine; /* as it was before ranks were pinned */
    dcmi_json *old;       /* what to compare with, or NULL */
    dcmi_row *rows;
    size_t nrows;
    size_t size;
    char date[32];
    bool shows_progress;
    bool has_progress; /* a line of it stands on the terminal */
} bench_report;

/* Reads the file to compare with; false: said why not. */
bool report_open(bench_report *r, const bench_conf *conf);
dcmi_bench_sink report_sink(bench_report *r);

/* Summary, files, comparison; the exit status. */
int report_close(bench_report *r, bool is_complete);
void report_free(bench_report *r);

/* The table (table.c). */
void table_head(const bench_report *r, const dcmi_bench_setup *setup);
void table_row(const dcmi_row *row);
void table_foot(const dcmi_row *rows, size_t nrows);
void table_finding(const dcmi_finding *finding);

/* Draw time and bus bandwidth into an SVG file; false: said why not. */
bool plot_write(const bench_report *r, const char *path);

/* Whether gnuplot can be found; says so when not. */
bool plot_is_possible(void);

#endif /* DEVCOMM_CLI_BENCH_H */

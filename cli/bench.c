/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devcomm bench: measure a collective operation.
 *
 * Under a launcher this process is one rank of the job.  Otherwise it starts
 * the ranks: processes, each this same command with DEVCOMM_RANK set, or
 * threads of this process.
 */
#include <devcomm/devcomm.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "bench.h"
#include "cli.h"
#include "group/boot.h"
#include "launch.h"
#include "opt.h"
#include "ranks.h"

enum {
    DEFAULT_RANKS = 2,
    COMMAND_BYTES = 2048
};

/* The options as they were typed. */
typedef struct words {
    unsigned nranks; /* 0: not said */
    unsigned timeout_s;
    double tolerance; /* per cent */
    const char *dtypes;
    const char *redops;
} words;

/* The next of a comma-separated list; false at its end. */
static bool next_word(const char **list, char *word, size_t size)
{
    const size_t len = strcspn(*list, ",");

    if (**list == '\0')
        return false;
    (void)snprintf(word, size, "%.*s", (int)len, *list);
    *list += len + ((*list)[len] == ',');
    return true;
}

/* Each type once, so that rows have different keys. */
static bool add_dtype(dcmi_bench_opts *o, dcm_dtype dtype)
{
    for (int i = 0; i < o->ndtypes; i++) {
        if (o->dtypes[i] == dtype)
            return true;
    }
    o->dtypes[o->ndtypes++] = dtype;
    return true;
}

static bool add_redop(dcmi_bench_opts *o, dcm_op redop)
{
    for (int i = 0; i < o->nredops; i++) {
        if (o->redops[i] == redop)
            return true;
    }
    o->redops[o->nredops++] = redop;
    return true;
}

static bool read_dtypes(dcmi_bench_opts *o, const char *list)
{
    char word[32];
    dcm_dtype dtype;

    for (int i = 0; i < DCM_NDTYPES && strcmp(list, "all") == 0; i++)
        (void)add_dtype(o, (dcm_dtype)i);
    if (o->ndtypes > 0)
        return true;
    while (next_word(&list, word, sizeof(word))) {
        if (!dcmi_parse_dtype(word, &dtype)) {
            cli_error("there is no type \"%s\": f64 f32 f16 bf16 f8e4m3 f8e5m2 "
                      "i8 u8 i32 u32 i64 u64, or all",
                      word);
            return false;
        }
        (void)add_dtype(o, dtype);
    }
    return o->ndtypes > 0;
}

static bool read_redops(dcmi_bench_opts *o, const char *list)
{
    char word[32];
    dcm_op redop;

    for (int i = 0; i < DCM_NOPS && strcmp(list, "all") == 0; i++)
        (void)add_redop(o, (dcm_op)i);
    if (o->nredops > 0)
        return true;
    while (next_word(&list, word, sizeof(word))) {
        if (!dcmi_parse_op(word, &redop)) {
            cli_error("there is no operator \"%s\": sum prod min max avg, or "
                      "all",
                      word);
            return false;
        }
        (void)add_redop(o, redop);
    }
    return o->nredops > 0;
}

#define OPERATIONS                                                             \
    "all_reduce, all_gather, all_to_all, barrier, broadcast, gather, reduce, " \
    "reduce_scatter, scatter, sendrecv, exchange"

static bool read_op(dcmi_bench_opts *o, int operands, char **argv)
{
    const char *names[DCMI_BENCH_COUNT];
    const char *hint;

    for (int i = 0; i < DCMI_BENCH_COUNT; i++) {
        names[i] = dcmi_bench_op_str((dcmi_bench_op)i);
        if (operands == 1 && strcmp(argv[1], names[i]) == 0) {
            o->op = (dcmi_bench_op)i;
            return true;
        }
    }
    if (operands > 1) {
        cli_error("one operation at a time, not %s as well", argv[2]);
        return false;
    }
    if (operands == 0) {
        cli_error("which operation? " OPERATIONS);
        return false;
    }
    hint = cli_suggest(argv[1], names, DCMI_BENCH_COUNT);
    cli_error("cannot measure %s%s%s; there are " OPERATIONS, argv[1],
              hint != NULL ? "; did you mean " : "", hint != NULL ? hint : "");
    return false;
}

static bool settle(bench_conf *c, const words *w)
{
    dcmi_bench_opts *o = &c->engine;

    if (!read_dtypes(o, w->dtypes) || !read_redops(o, w->redops)) {
        cli_error("no type or no operator to measure");
        return false;
    }
    if (o->min_bytes > o->max_bytes) {
        cli_error("-b %zu is more than -e %zu", o->min_bytes, o->max_bytes);
        return false;
    }
    if (o->use_arena &&
        (o->op == DCMI_BENCH_BARRIER || o->op == DCMI_BENCH_EXCHANGE)) {
        cli_error("%s has no use for --arena", dcmi_bench_op_str(o->op));
        return false;
    }
    if (o->is_in_place && o->op != DCMI_BENCH_ALL_REDUCE) {
        cli_error("--in-place is for all_reduce");
        return false;
    }
    if (o->op != DCMI_BENCH_BARRIER &&
        dcmi_bench_next_count(o, dcm_dtype_bytes(o->dtypes[0]), 0) == 0) {
        cli_error("-e %zu is not one element of %s", o->max_bytes,
                  dcm_dtype_str(o->dtypes[0]));
        return false;
    }
    o->timeout_ms = w->timeout_s * 1000;
    c->tolerance = w->tolerance / 100.0;
    return true;
}

/* The one command line of this process. */
static words typed = {
    .timeout_s = 60,
    .tolerance = 20.0,
    .dtypes = "f32",
    .redops = "sum",
};
static bench_conf conf = {
    .engine = {.min_bytes = 8, .max_bytes = 64 << 20, .factor = 2},
};

static const cli_opt options[] = {
    {'n', "ranks", "N", CLI_NUMBER, &typed.nranks, 1, DCM_MAX_RANKS,
     "ranks to start (default 2)"},
    {'b', "min", "BYTES", CLI_SIZE, &conf.engine.min_bytes, 1, 1e15,
     "smallest size, k, m or g may follow (default 8)"},
    {'e', "max", "BYTES", CLI_SIZE, &conf.engine.max_bytes, 1, 1e15,
     "largest size (default 64m)"},
    {'f', "factor", "F", CLI_NUMBER, &conf.engine.factor, 2, 1e9,
     "from size to size (default 2)"},
    {'d', "dtype", "TYPE,...", CLI_TEXT, &typed.dtypes, 0, 0,
     "types, or all (default f32)"},
    {'o', "redop", "OP,...", CLI_TEXT, &typed.redops, 0, 0,
     "operators, or all (default sum)"},
    {0, "backend", "NAME", CLI_TEXT, &conf.engine.backend, 0, 0,
     "the backend to use (default: the best that probes)"},
    {0, "algo", "NAME", CLI_TEXT, &conf.engine.algo, 0, 0,
     "force an algorithm"},
    {0, "arena", NULL, CLI_FLAG, &conf.engine.use_arena, 0, 0,
     "buffers in the library's symmetric memory"},
    {0, "in-place", NULL, CLI_FLAG, &conf.engine.is_in_place, 0, 0,
     "input and output are one buffer"},
    {0, "random", NULL, CLI_FLAG, &conf.engine.is_random, 0, 0,
     "verify with arbitrary values, which round, instead of\n"
     "values whose result is exact"},
    {0, "threads", NULL, CLI_FLAG, &conf.is_threads, 0, 0,
     "ranks are threads of one process"},
    {0, "no-pin", NULL, CLI_FLAG, &conf.engine.no_pin, 0, 0,
     "do not bind each rank to a core of its own"},
    {0, "iters", "K", CLI_NUMBER, &conf.engine.iters, 1, 4096,
     "samples of a row (default: what 0.1 s allows, 15 to 1000)"},
    {0, "timeout", "S", CLI_NUMBER, &typed.timeout_s, 1, 86400,
     "give up a wait after S seconds (default 60)"},
    {0, "json", "FILE", CLI_TEXT, &conf.json_path, 0, 0,
     "write the result as JSON"},
    {0, "csv", "FILE", CLI_TEXT, &conf.csv_path, 0, 0, "write the rows as CSV"},
    {0, "plot", "FILE.svg", CLI_TEXT, &conf.plot_path, 0, 0,
     "draw time and bus bandwidth, if gnuplot is installed"},
    {0, "compare", "FILE", CLI_TEXT, &conf.compare_path, 0, 0,
     "fail if a row is slower than in this JSON, or missing"},
    {0, "tolerance", "PERCENT", CLI_SECONDS, &typed.tolerance, 0, 1e6,
     "what still counts as the same (default 20)"},
};
static const cli_spec spec = {
    .usage = "bench OPERATION [options]",
    .about = "Measure an operation over a range of sizes. Every size is "
             "verified on every rank\nbefore and after it is timed; any "
             "wrong element makes the exit status 1. Operations: "
             "all_reduce, all_gather,\nall_to_all, barrier, broadcast, "
             "gather, reduce, reduce_scatter, scatter, sendrecv, exchange.",
    .opts = options,
    .nopts = DCMI_ARRAY_LEN(options),
    .tail = "Under a launcher (devcomm run, torchrun, mpirun, srun) this "
            "is one rank of its job.",
};

static int parse(int argc, char **argv)
{
    int operands;
    const int rc = cli_parse(&spec, argc, argv, &operands);

    if (rc != CLI_GO_ON)
        return rc;
    return read_op(&conf.engine, operands, argv) && settle(&conf, &typed)
               ? CLI_GO_ON
               : CLI_USAGE;
}

/* Start the ranks: this command again, n times. */
static int start_ranks(unsigned nranks, char **argv)
{
    const launch_opts job = {
        .nranks = (int)nranks,
        .path = "/proc/self/exe",
        .argv = argv,
        .grace_s = 2.0,
        .is_quiet = true,
    };

    return launch(&job);
}

static int start(const bench_conf *c, const words *w, char **argv)
{
    const unsigned nranks = w->nranks != 0 ? w->nranks : DEFAULT_RANKS;
    dcmi_launch l;

    if (c->is_threads)
        return ranks_threads(c, (int)nranks);
    if (dcmi_launch_read(&l) != DCM_OK) {
        if (getenv("DEVCOMM_RANK") == NULL)
            return start_ranks(nranks, argv);
        cli_error_dcm("the launcher's variables");
        return CLI_FAIL;
    }
    /* One rank that a batch system started is a shell, not a job. */
    if (l.nranks == 1 && w->nranks > 1)
        return start_ranks(nranks, argv);
    if (w->nranks != 0 && (int)w->nranks != l.nranks) {
        cli_error("-n %u, but %s started %d ranks", w->nranks, l.launcher,
                  l.nranks);
        return CLI_USAGE;
    }
    return ranks_process(c);
}

int cli_bench(int argc, char **argv)
{
    char **copy = calloc((size_t)argc + 2, sizeof(*copy));
    char command[COMMAND_BYTES];
    static char self[] = "devcomm";
    bench_report try;
    int rc;

    if (copy == NULL) {
        cli_error("out of memory");
        return CLI_FAIL;
    }
    copy[0] = self;
    memcpy(copy + 1, argv, (size_t)argc * sizeof(*copy));
    cli_quote(command, sizeof(command), copy, argc + 1);
    conf.command = command;

    rc = parse(argc, argv);
    if (rc == CLI_GO_ON && !report_open(&try, &conf))
        rc = CLI_USAGE;
    else if (rc == CLI_GO_ON)
        report_free(&try); /* it can be read: each rank 0 does so itself */
    if (rc == CLI_GO_ON)
        rc = start(&conf, &typed, copy);
    free(copy);
    return rc;
}

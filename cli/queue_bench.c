/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devcomm queue bench: one writer, this process, and N readers, its children, go
 * through the cases of queue_cases.c; what they took is printed, and as JSON.
 */
#define _GNU_SOURCE
#include "queue_bench.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/json.h"
#include "bench/machine.h"
#include "bench/pin.h"
#include "bench/stats.h"
#include "cli.h"
#include "opt.h"
#include "queue.h"

static int read_all(queue_run *x)
{
    if (x->core >= 0)
        (void)dcmi_pin_thread(x->core);
    if (dcm_queue_attach(&x->q, x->handle, sizeof(x->handle),
                         x->c.is_remote ? DCM_QUEUE_REMOTE : x->reader,
                         0) != DCM_OK) {
        cli_error_dcm("attaching");
        return CLI_FAIL;
    }
    for (size_t bytes = x->c.min; bytes <= x->c.max; bytes *= x->c.factor) {
        if (!queue_meet(x) || !queue_read_case(x, bytes))
            return CLI_FAIL;
    }
    dcm_queue_close(x->q);
    return CLI_OK;
}

static void print_head(const queue_run *x)
{
    dcmi_machine m;

    dcmi_machine_get(&m);
    (void)printf(
        "# devcomm %s (%s)\n# machine  %s, %d of %d cores, %s; load "
        "%.1f\n# readers  %u%s\n# trip     of a cache line to reader 0 "
        "and back\n# in place written by one core, then read by the "
        "other, without a queue\n#\n",
        cli_version(), cli_commit(), m.cpu, m.cores, m.online, m.kernel, m.load,
        x->c.readers, (int)x->c.readers >= m.cores ? ", not pinned" : "");
    (void)printf("#%10s %8s %10s %10s %10s %10s %10s %12s %8s\n", "size",
                 "readers", "trip", "in place", "p50", "p99", "p99.9",
                 "records/s", "GB/s");
    (void)printf("#%10s %8s %10s %10s %10s %10s %10s\n", "(B)", "", "(us)",
                 "(us)", "(us)", "(us)", "(us)");
}

static void print_row(const queue_run *x, const queue_row *r)
{
    (void)printf("%11zu %8u %10.3f %10.3f %10.3f %10.3f %10.3f %12.0f %8.2f\n",
                 r->bytes, x->c.readers, r->trip, r->in_place, r->p50, r->p99,
                 r->p999, r->rate, r->rate * (double)r->bytes / 1e9);
    (void)fflush(stdout);
}

static bool write_json(const queue_run *x)
{
    FILE *f = fopen(x->c.json, "we");
    dcmi_jw w = {.file = f};
    dcmi_machine m;
    double trip[QUEUE_ROWS_MOST];

    if (f == NULL) {
        cli_error("%s cannot be written", x->c.json);
        return false;
    }
    for (int i = 0; i < x->nrows; i++)
        trip[i] = x->rows[i].trip;
    dcmi_machine_get(&m);
    dcmi_jw_object(&w, NULL);
    dcmi_jw_str(&w, "version", cli_version());
    dcmi_jw_str(&w, "commit", cli_commit());
    dcmi_jw_object(&w, "machine");
    dcmi_machine_json(&m, &w);
    dcmi_jw_end_object(&w);
    dcmi_jw_num(&w, "pingpong_us", dcmi_stats_of(trip, (size_t)x->nrows).p50);
    dcmi_jw_array(&w, "rows");
    for (int i = 0; i < x->nrows; i++) {
        const queue_row *r = &x->rows[i];

        dcmi_jw_object(&w, NULL);
        dcmi_jw_u64(&w, "bytes", r->bytes);
        dcmi_jw_u64(&w, "readers", x->c.readers);
        dcmi_jw_num(&w, "p50_us", r->p50);
        dcmi_jw_num(&w, "p99_us", r->p99);
        dcmi_jw_num(&w, "p999_us", r->p999);
        dcmi_jw_num(&w, "rate_per_s", r->rate);
        dcmi_jw_num(&w, "pingpong_us", r->trip);
        dcmi_jw_num(&w, "in_place_us", r->in_place);
        dcmi_jw_end_object(&w);
    }
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
    return cli_close(f, x->c.json);
}

static int write_all(queue_run *x)
{
    if (dcm_queue_wait_ready(x->q, 0) != DCM_OK) {
        cli_error_dcm("waiting for the readers");
        return CLI_FAIL;
    }
    for (size_t bytes = x->c.min;
         bytes <= x->c.max && x->nrows < QUEUE_ROWS_MOST;
         bytes *= x->c.factor) {
        queue_row *r = &x->rows[x->nrows];

        if (!queue_meet(x) || !queue_write_case(x, bytes, r))
            return CLI_FAIL;
        x->nrows++;
        print_row(x, r);
    }
    return x->c.json == NULL || write_json(x) ? CLI_OK : CLI_FAIL;
}

/* Fork the readers; false: it failed, and this was said. */
static bool start_readers(queue_run *x, const dcmi_cpuset *allowed)
{
    const int n = (int)x->c.readers + 1;

    for (int r = 0; r < (int)x->c.readers; r++) {
        x->pid[r] = fork();
        if (x->pid[r] < 0) {
            cli_error("a reader cannot be started");
            return false;
        }
        if (x->pid[r] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            x->reader = r;
            x->core = dcmi_pin_pick(allowed, r + 1, n, "");
            _exit(read_all(x));
        }
    }
    x->core = dcmi_pin_pick(allowed, 0, n, "");
    if (x->core >= 0)
        (void)dcmi_pin_thread(x->core);
    return true;
}

static bool prepare(queue_run *x)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;

    x->reader = -1;
    x->board_bytes = sizeof(queue_board) + x->c.max;
    x->b = mmap(NULL, x->board_bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    x->buf = aligned_alloc(4096, (x->c.max + 8191) / 4096 * 4096);
    if (x->b == MAP_FAILED || x->buf == NULL) {
        cli_error("out of memory");
        return false;
    }
    memset(x->buf, 1, x->c.max + 8);
    opts.name = "bench";
    opts.bytes = x->c.ring;
    opts.nremote = x->c.is_remote ? x->c.readers : 0;
    if (dcm_queue_create(&x->q, x->c.is_remote ? 0 : (int)x->c.readers,
                         &opts) != DCM_OK ||
        dcm_queue_handle(x->q, x->handle, sizeof(x->handle)) != DCM_OK) {
        cli_error_dcm("the queue");
        return false;
    }
    return true;
}

static int run(queue_run *x)
{
    dcmi_cpuset allowed;
    int status = CLI_FAIL;
    int child;

    dcmi_limits_affinity(&allowed);
    print_head(x);
    (void)fflush(stdout);
    if (start_readers(x, &allowed))
        status = write_all(x);
    atomic_store(&x->b->is_over, true);
    dcm_queue_close(x->q);
    for (unsigned r = 0; r < x->c.readers && x->pid[r] > 0; r++) {
        if (status != CLI_OK)
            (void)kill(x->pid[r], SIGKILL);
        if (waitpid(x->pid[r], &child, 0) == x->pid[r] && child != 0)
            status = CLI_FAIL;
    }
    return status;
}

int queue_bench(int argc, char **argv)
{
    queue_run x = {
        .c = {.readers = 1, .min = 64, .max = 1 << 20, .factor = 16}};
    const cli_opt opts[] = {
        {'n', "readers", "N", CLI_NUMBER, &x.c.readers, 1,
         DCM_QUEUE_MAX_READERS, "how many readers (1)"},
        {'b', "min", "BYTES", CLI_SIZE, &x.c.min, 8, 1u << 30,
         "smallest record (64)"},
        {'e', "max", "BYTES", CLI_SIZE, &x.c.max, 8, 1u << 30,
         "largest record (1m)"},
        {'f', "factor", "N", CLI_NUMBER, &x.c.factor, 2, 1 << 20,
         "from one size to the next (16)"},
        {0, "ring", "BYTES", CLI_SIZE, &x.c.ring, 0, 1ull << 40,
         "of the queue (4m)"},
        {0, "remote", NULL, CLI_FLAG, &x.c.is_remote, 0, 0,
         "remote readers, over loopback"},
        {0, "json", "FILE", CLI_TEXT, &x.c.json, 0, 0,
         "write the figures there too"},
    };
    const cli_spec spec = {
        .usage = "queue bench [options]",
        .about = "Measure the broadcast queue between processes of this host.",
        .opts = opts,
        .nopts = DCMI_ARRAY_LEN(opts),
    };
    int n;
    int status = cli_parse(&spec, argc, argv, &n);

    if (status != CLI_GO_ON)
        return status;
    if (n != 0 || x.c.min > x.c.max) {
        cli_error(n != 0 ? "there are no operands"
                         : "--min is larger than --max");
        return CLI_USAGE;
    }
    status = prepare(&x) ? run(&x) : CLI_FAIL;
    free(x.buf);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devcomm queue bench: one writer, this process, and N readers, its children, go
 * through the same list of cases:
 *
 *   round trip   of a cache line between the writer and reader 0: what the rest is
 *                to be read with
 *   in place     bytes written by the writer's core, then read by reader 0's, with
 *                no queue: the least that a hand-over takes
 *   latency      paced records that carry the time; the last reader's arrival
 *   rate         records as fast as they go
 */
#define _GNU_SOURCE
#include <devcomm/queue.h>

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
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
#include "os/clock.h"
#include "queue.h"

enum {
    TRIPS = 400,
    RUNS = 15,
    IN_PLACE_RUNS = 41,
    SAMPLES_MOST = 20000,
    ROWS_MOST = 64,
    BUDGET_BYTES = 512 << 20, /* of one case */
};

/* Memory of the writer and all readers. */
typedef struct board {
    DCMI_ALIGNED(256) _Atomic uint32_t ping;
    DCMI_ALIGNED(256) _Atomic uint32_t pong;
    DCMI_ALIGNED(256) _Atomic uint32_t arrived; /* of this step */
    DCMI_ALIGNED(256) _Atomic uint32_t step;
    _Atomic bool is_over;
    uint64_t done_ns[DCM_QUEUE_MAX_READERS];
    uint64_t sample[SAMPLES_MOST][DCM_QUEUE_MAX_READERS];
    unsigned char place[]; /* of max bytes */
} board;

typedef struct conf {
    unsigned readers;
    size_t min;
    size_t max;
    unsigned factor;
    size_t ring;
    bool is_remote;
    const char *json;
} conf;

typedef struct row {
    size_t bytes;
    double p50;
    double p99;
    double p999;
    double rate;
    double in_place; /* us */
    double trip;     /* us, beside this row */
} row;

typedef struct bench {
    conf c;
    board *b;
    size_t board_bytes;
    unsigned char *buf;
    dcm_queue *q;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    pid_t pid[DCM_QUEUE_MAX_READERS];
    int reader; /* -1: the writer */
    int core;
    row rows[ROWS_MOST];
    int nrows;
} bench;

static unsigned samples_of(size_t bytes)
{
    const size_t n = (size_t)BUDGET_BYTES / 4 / (bytes + 1000);

    return n > SAMPLES_MOST ? SAMPLES_MOST : (unsigned)n + 50;
}

static unsigned records_of(size_t bytes)
{
    return (unsigned)((size_t)BUDGET_BYTES / (bytes + 150)) + 100;
}

/* Whether nobody need wait any more: the writer ended, or a reader has died. */
static bool is_over(bench *x)
{
    if (!atomic_load(&x->b->is_over) && x->reader < 0 &&
        waitpid(-1, NULL, WNOHANG) != 0) {
        cli_error("a reader has died");
        atomic_store(&x->b->is_over, true);
    }
    return atomic_load(&x->b->is_over);
}

/* All meet; false: the bench is over. */
static bool meet(bench *x)
{
    const uint32_t step =
        atomic_load_explicit(&x->b->step, memory_order_acquire);

    if (atomic_fetch_add(&x->b->arrived, 1) == x->c.readers) {
        atomic_store(&x->b->arrived, 0);
        atomic_store_explicit(&x->b->step, step + 1, memory_order_release);
    }
    for (unsigned i = 1;
         atomic_load_explicit(&x->b->step, memory_order_acquire) == step; i++) {
        if (i % 1024 == 0)
            (void)sched_yield();
        if (i % 65536 == 0 && is_over(x))
            return false;
        dcmi_relax();
    }
    return true;
}

/* Returns too when the bench is over, which the next meeting tells. */
static void await_word(bench *x, const _Atomic uint32_t *word, uint32_t want)
{
    for (unsigned i = 1;
         atomic_load_explicit(word, memory_order_acquire) != want; i++) {
        if (i % 100000 == 0) {
            (void)sched_yield();
            if (is_over(x))
                return;
        }
        dcmi_relax();
    }
}

/* Nanoseconds of a round trip, the median of several runs. */
static double trips(bench *x)
{
    double v[RUNS];
    uint64_t start;

    for (uint32_t run = 0; run < RUNS; run++) {
        start = dcmi_now_ns();
        for (uint32_t i = run * TRIPS + 1; i <= (run + 1) * TRIPS; i++) {
            if (x->reader == 0) {
                await_word(x, &x->b->ping, i);
                atomic_store_explicit(&x->b->pong, i, memory_order_release);
            } else {
                atomic_store_explicit(&x->b->ping, i, memory_order_release);
                await_word(x, &x->b->pong, i);
            }
        }
        v[run] = (double)(dcmi_now_ns() - start) / TRIPS;
    }
    if (x->reader < 0) {
        atomic_store(&x->b->ping, 0);
        atomic_store(&x->b->pong, 0);
    }
    return dcmi_stats_of(v, RUNS).p50;
}

/* Read all of it, a word at a time, so that no store is measured. */
static uint64_t sum_of(const unsigned char *at, size_t bytes)
{
    uint64_t sum = 0;
    uint64_t v;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        memcpy(&v, at + i, 8);
        sum += v;
    }
    return sum;
}

/* Nanoseconds from the first store to the last load. */
static double in_place(bench *x, size_t bytes)
{
    double v[IN_PLACE_RUNS];
    uint64_t sum = 0;

    for (uint32_t i = 1; i <= IN_PLACE_RUNS; i++) {
        if (x->reader == 0) {
            await_word(x, &x->b->ping, i);
            sum += sum_of(x->b->place, bytes);
            x->b->done_ns[0] = dcmi_now_ns() + (sum == 1);
            atomic_store_explicit(&x->b->pong, i, memory_order_release);
        } else {
            const uint64_t start = dcmi_now_ns();

            memcpy(x->b->place, x->buf, bytes);
            atomic_store_explicit(&x->b->ping, i, memory_order_release);
            await_word(x, &x->b->pong, i);
            v[i - 1] = (double)(x->b->done_ns[0] - start);
        }
    }
    if (x->reader >= 0)
        return 0;
    atomic_store(&x->b->ping, 0);
    atomic_store(&x->b->pong, 0);
    return dcmi_stats_of(v, IN_PLACE_RUNS).p50;
}

static bool receive(bench *x)
{
    size_t n;

    if (dcm_queue_dequeue(x->q, &n, x->buf, x->c.max + 8, 0) == DCM_OK)
        return true;
    cli_error_dcm("reading");
    return false;
}

static bool send(bench *x, size_t bytes)
{
    if (dcm_queue_enqueue(x->q, x->buf, bytes, 0) == DCM_OK)
        return true;
    cli_error_dcm("writing");
    return false;
}

/* At a distance that a record of this size does not fill. */
static bool send_paced(bench *x, size_t bytes, unsigned n)
{
    const uint64_t gap = 5000 + bytes;
    uint64_t next = dcmi_now_ns();

    for (unsigned i = 0; i < n; i++) {
        next += gap;
        while (dcmi_now_ns() < next)
            dcmi_relax();
        next = dcmi_now_ns();
        memcpy(x->buf, &next, sizeof(next));
        if (!send(x, bytes))
            return false;
    }
    return true;
}

static bool receive_stamped(bench *x, unsigned n)
{
    uint64_t sent;

    for (unsigned i = 0; i < n; i++) {
        if (!receive(x))
            return false;
        memcpy(&sent, x->buf, sizeof(sent));
        x->b->sample[i][x->reader] = dcmi_now_ns() - sent;
    }
    return true;
}

static void keep_latency(bench *x, row *r, unsigned n)
{
    double *v = malloc(n * sizeof(*v));

    if (v == NULL)
        return;
    for (unsigned i = 0; i < n; i++) {
        v[i] = 0;
        for (unsigned k = 0; k < x->c.readers; k++) {
            if ((double)x->b->sample[i][k] > v[i])
                v[i] = (double)x->b->sample[i][k];
        }
    }
    (void)dcmi_stats_of(v + n / 20, n - n / 20); /* sorts; the first are cold */
    r->p50 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.5) / 1e3;
    r->p99 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.99) / 1e3;
    r->p999 = dcmi_stats_quantile(v + n / 20, n - n / 20, 0.999) / 1e3;
    free(v);
}

static bool write_case(bench *x, size_t bytes, row *r)
{
    const unsigned n = records_of(bytes);
    uint64_t start;
    uint64_t end = 0;

    r->bytes = bytes;
    r->trip = trips(x) / 1e3;
    r->in_place = in_place(x, bytes) / 1e3;
    if (!meet(x) || !send_paced(x, bytes, samples_of(bytes)) || !meet(x))
        return false;
    keep_latency(x, r, samples_of(bytes));
    start = dcmi_now_ns();
    for (unsigned i = 0; i < n; i++) {
        if (!send(x, bytes))
            return false;
    }
    if (!meet(x))
        return false;
    for (unsigned k = 0; k < x->c.readers; k++) {
        if (x->b->done_ns[k] > end)
            end = x->b->done_ns[k];
    }
    r->rate = n * 1e9 / (double)(end - start);
    return true;
}

static bool read_case(bench *x, size_t bytes)
{
    const unsigned n = records_of(bytes);

    if (x->reader == 0) {
        (void)trips(x);
        (void)in_place(x, bytes);
    }
    if (!meet(x) || !receive_stamped(x, samples_of(bytes)) || !meet(x))
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (!receive(x))
            return false;
    }
    x->b->done_ns[x->reader] = dcmi_now_ns();
    return meet(x);
}

static int read_all(bench *x)
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
        if (!meet(x) || !read_case(x, bytes))
            return CLI_FAIL;
    }
    dcm_queue_close(x->q);
    return CLI_OK;
}

static void print_head(const bench *x)
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

static void print_row(const bench *x, const row *r)
{
    (void)printf("%11zu %8u %10.3f %10.3f %10.3f %10.3f %10.3f %12.0f %8.2f\n",
                 r->bytes, x->c.readers, r->trip, r->in_place, r->p50, r->p99,
                 r->p999, r->rate, r->rate * (double)r->bytes / 1e9);
    (void)fflush(stdout);
}

static bool write_json(const bench *x)
{
    FILE *f = fopen(x->c.json, "we");
    dcmi_jw w = {.file = f};
    dcmi_machine m;
    double trip[ROWS_MOST];

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
        const row *r = &x->rows[i];

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

static int write_all(bench *x)
{
    if (dcm_queue_wait_ready(x->q, 0) != DCM_OK) {
        cli_error_dcm("waiting for the readers");
        return CLI_FAIL;
    }
    for (size_t bytes = x->c.min; bytes <= x->c.max && x->nrows < ROWS_MOST;
         bytes *= x->c.factor) {
        row *r = &x->rows[x->nrows];

        if (!meet(x) || !write_case(x, bytes, r))
            return CLI_FAIL;
        x->nrows++;
        print_row(x, r);
    }
    return x->c.json == NULL || write_json(x) ? CLI_OK : CLI_FAIL;
}

/* Fork the readers; false: it failed, and this was said. */
static bool start_readers(bench *x, const dcmi_cpuset *allowed)
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

static bool prepare(bench *x)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;

    x->reader = -1;
    x->board_bytes = sizeof(board) + x->c.max;
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

static int run(bench *x)
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
    bench x = {.c = {.readers = 1, .min = 64, .max = 1 << 20, .factor = 16}};
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce of bf16 between GPUs, measured as an engine runs it: a graph of
 * back-to-back calls, replayed; the median of replays of the largest time of the
 * ranks, in microseconds a call.  Beside it, in the same run and by the same code,
 * NCCL when its library is there: plain buffers, and buffers in symmetric windows.
 *
 *     gpu_loop [-n RANKS] [-o FILE.json] [-a ALGO] [-p OPERATION] [-q]
 *
 * -p measures another operation of ops.h (all_gather, reduce_scatter, broadcast,
 * reduce, all_to_all, ring, ping_pong) from 8 bytes on.
 *
 * Each result is checked against the scalar reference before it is timed.
 */
#define _GNU_SOURCE
#include "gpu/ranks.h"

#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

#include "backend/cpu/reduce/reduce.h"
#include "backend/peer/ctx.h"
#include "comm/comm.h"
#include "ops.h"

enum {
    SETS = 4, /* rotating buffers */
    REPLAYS = 21,
    WARM = 40, /* barriers that hold the stream while the graph is launched */
    MOST = 64 * 1024 * 1024,
    ROTATE_MOST = 16 * 1024 * 1024
};

typedef struct options {
    int nranks;
    const char *file;
    const char *algo;
    op_kind op;
    bool is_quick;
} options;

/* ---- NCCL, as far as it is called here ------------------------------------ */

typedef struct nccl_id {
    char bytes[128];
} nccl_id;

typedef struct nccl {
    int (*id)(nccl_id *id);
    int (*init)(void **comm_p, int n, nccl_id id, int rank);
    int (*all_reduce)(const void *src, void *dst, size_t count, int dtype,
                      int op, void *comm, void *stream);
    int (*alloc)(void **p, size_t bytes);
    int (*window)(void *comm, void *at, size_t bytes, void **window_p,
                  int flags);
    int (*version)(int *v);
    int (*destroy)(void *comm);
    op_nccl ops;
    void *comm;
    int number;
} nccl;

enum {
    NCCL_BF16 = 9,
    NCCL_SUM = 0,
    NCCL_SYMMETRIC = 1
};

static bool find(void *dl, void *fn_p, const char *name)
{
    void *symbol = dlsym(dl, name);

    memcpy(fn_p, &symbol, sizeof(symbol));
    return symbol != NULL;
}

/* DEVCOMM_BENCH_NCCL: the library's file. */
static bool nccl_open(nccl *n, gpu_rank *r)
{
    const char *file = getenv("DEVCOMM_BENCH_NCCL");
    nccl_id all[DCM_MAX_RANKS];
    nccl_id mine = {{0}};
    void *dl;

    dl = dlopen(file != NULL ? file : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (dl == NULL) {
        if (r->rank == 0)
            printf("no NCCL: %s\n", dlerror());
        return false;
    }
    if (!find(dl, &n->id, "ncclGetUniqueId") ||
        !find(dl, &n->init, "ncclCommInitRank") ||
        !find(dl, &n->all_reduce, "ncclAllReduce") ||
        !find(dl, &n->alloc, "ncclMemAlloc") ||
        !find(dl, &n->version, "ncclGetVersion") ||
        !op_nccl_find(&n->ops, dl) || !find(dl, &n->destroy, "ncclCommDestroy"))
        return false;
    (void)find(dl, &n->window, "ncclCommWindowRegister");
    (void)n->version(&n->number);
    if (r->rank == 0)
        gpu_die_unless(n->id(&mine) == 0);
    gpu_die_unless(dcm_group_exchange(r->group, &mine, all, sizeof(mine), 0) ==
                   DCM_OK);
    gpu_die_unless(n->init(&n->comm, r->nranks, all[0], r->rank) == 0);
    return true;
}

/* ---- one measured thing --------------------------------------------------- */

typedef enum subject {
    DEVCOMM,
    NCCL,
    NCCL_WINDOW
} subject;

typedef struct bench {
    gpu_rank *r;
    const options *o;
    dcm_comm *comm;
    nccl nccl;
    bool has_nccl;
    bool has_window;
    dcmi_cu_ptr src[2]; /* plain, and in a window */
    dcmi_cu_ptr dst[2];
    dcmi_cu_event from;
    dcmi_cu_event to;
    FILE *json;
    bool is_first;
} bench;

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static size_t stride_of(size_t bytes)
{
    return bytes <= ROTATE_MOST / SETS ? (bytes + 4095) / 4096 * 4096 : 0;
}

static op_call call_of(const bench *b, size_t bytes, const void *src, void *dst)
{
    return (op_call){b->o->op, b->r->rank, b->r->nranks, src,
                     dst,      bytes,      b->r->stream};
}

static void one(bench *b, subject what, size_t bytes, int k)
{
    const size_t at = stride_of(bytes) * (size_t)(k % SETS);
    const int w = what == NCCL_WINDOW;
    const void *src = gpu_at(b->src[w], at);
    void *dst = gpu_at(b->dst[w], at);

    if (b->o->op != OP_ALL_REDUCE) {
        const op_call c = call_of(b, bytes, src, dst);

        gpu_die_unless(what == DEVCOMM
                           ? op_run(b->comm, &c) == DCM_OK
                           : op_run_nccl(&b->nccl.ops, b->nccl.comm, &c) == 0);
    } else if (what == DEVCOMM)
        gpu_die_unless(dcm_all_reduce(b->comm, src, dst, bytes / 2, DCM_BF16,
                                      DCM_SUM, b->r->stream) == DCM_OK);
    else
        gpu_die_unless(b->nccl.all_reduce(src, dst, bytes / 2, NCCL_BF16,
                                          NCCL_SUM, b->nccl.comm,
                                          b->r->stream) == 0);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double measure(bench *b, subject what, size_t bytes)
{
    const dcmi_cuda *cuda = b->r->cuda;
    /* Enough that the graph's own start, some microseconds, does not count. */
    const int ops = bytes <= 1048576 ? 100 : bytes <= 8388608 ? 50 : 20;
    const int replays = b->o->is_quick ? 9 : REPLAYS;
    double us[REPLAYS];
    dcmi_cu_graph_exec exec;
    dcmi_cu_graph graph;
    float ms = 0;

    gpu_do(cuda->capture_begin(b->r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
    for (int k = 0; k < ops; k++)
        one(b, what, bytes, k);
    gpu_do(cuda->capture_end(b->r->stream, &graph));
    gpu_do(cuda->graph_instantiate(&exec, graph, 0));
    gpu_do(cuda->graph_launch(exec, b->r->stream));
    gpu_do(cuda->stream_sync(b->r->stream));
    for (int i = 0; i < replays; i++) {
        gpu_meet(b->r);
        for (int k = 0; k < WARM; k++)
            gpu_die_unless(dcm_barrier(b->comm, b->r->stream) == DCM_OK);
        gpu_do(cuda->event_record(b->from, b->r->stream));
        gpu_do(cuda->graph_launch(exec, b->r->stream));
        gpu_do(cuda->event_record(b->to, b->r->stream));
        gpu_do(cuda->stream_sync(b->r->stream));
        gpu_do(cuda->event_elapsed(&ms, b->from, b->to));
        us[i] = gpu_max(b->r, 1e3 * (double)ms / ops);
    }
    gpu_do(cuda->graph_exec_destroy(exec));
    gpu_do(cuda->graph_destroy(graph));
    gpu_die_unless(dcm_comm_check(b->comm) == DCM_OK);
    qsort(us, (size_t)replays, sizeof(us[0]), by_size);
    return us[replays / 2];
}

static void fill(uint16_t *v, size_t count, int rank)
{
    uint64_t x = 77u + (uint64_t)rank * 1000003u;

    for (size_t i = 0; i < count; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        v[i] = (uint16_t)(0x3f00u | (x >> 40 & 0x80ffu)); /* 0.5 to 2, signed */
    }
}

/* Wrong bytes of a call of another operation, over all ranks. */
static double wrong_op(bench *b, size_t bytes)
{
    const op_call c =
        call_of(b, bytes, gpu_at(b->src[0], 0), gpu_at(b->dst[0], 0));
    unsigned char *inputs[DCM_MAX_RANKS];
    unsigned char *got = malloc(bytes);
    double bad;

    for (int p = 0; p < b->r->nranks; p++) {
        inputs[p] = malloc(bytes);
        fill((uint16_t *)(void *)inputs[p], bytes / 2, p);
    }
    memset(got, 0xee, bytes);
    gpu_do(b->r->cuda->copy_to(b->src[0], inputs[b->r->rank], bytes));
    gpu_do(b->r->cuda->copy_to(b->dst[0], got, bytes));
    gpu_do(b->r->cuda->ctx_sync());
    one(b, DEVCOMM, bytes, 0);
    gpu_do(b->r->cuda->stream_sync(b->r->stream));
    gpu_do(b->r->cuda->copy_from(got, b->dst[0], bytes));
    bad = (double)op_wrong(&c, inputs, got);
    for (int p = 0; p < b->r->nranks; p++)
        free(inputs[p]);
    free(got);
    return gpu_max(b->r, bad);
}

/* Wrong elements of a call of `bytes`, over all ranks. */
static double wrong(bench *b, size_t bytes)
{
    const size_t count = bytes / 2;
    uint16_t *in[16];
    const void *src[16];
    uint16_t *want = malloc(bytes);
    uint16_t *got = malloc(bytes);
    size_t bad = 0;

    for (int p = 0; p < b->r->nranks; p++) {
        in[p] = malloc(bytes);
        fill(in[p], count, p);
        src[p] = in[p];
    }
    dcmi_reduce_select(NULL)->fn[DCM_BF16][DCM_SUM](&(dcmi_reduce_args){
        .dst = (void *[1]){want},
        .src = src,
        .ndst = 1,
        .nsrc = b->r->nranks,
        .avg_n = 1,
        .count = count,
    });
    memset(got, 0xee, bytes);
    gpu_do(b->r->cuda->copy_to(b->src[0], in[b->r->rank], bytes));
    gpu_do(b->r->cuda->copy_to(b->dst[0], got, bytes));
    gpu_do(b->r->cuda->ctx_sync());
    one(b, DEVCOMM, bytes, 0);
    gpu_do(b->r->cuda->stream_sync(b->r->stream));
    gpu_do(b->r->cuda->copy_from(got, b->dst[0], bytes));
    for (size_t i = 0; i < count; i++)
        bad += got[i] != want[i];
    for (int p = 0; p < b->r->nranks; p++)
        free(in[p]);
    free(want);
    free(got);
    return gpu_max(b->r, (double)bad);
}

static void row(bench *b, size_t bytes)
{
    const op_call c = call_of(b, bytes, NULL, NULL);
    const dcm_call call = op_explained(&c);
    const double bad =
        b->o->op == OP_ALL_REDUCE ? wrong(b, bytes) : wrong_op(b, bytes);
    const double ours = measure(b, DEVCOMM, bytes);
    const double plain = b->has_nccl ? measure(b, NCCL, bytes) : 0;
    const double window = b->has_window ? measure(b, NCCL_WINDOW, bytes) : 0;
    char how[512] = "";

    gpu_die_unless(dcm_comm_explain_call(b->comm, how, sizeof(how), &call) ==
                   DCM_OK);
    if (b->r->rank != 0)
        return;
    *strchr(how, ':') = '\0';
    printf("%10zu  %8.2f  %8.2f  %8.2f  %6.0f  %s\n", bytes, ours, plain,
           window, bad, how);
    fflush(stdout);
    if (b->json == NULL)
        return;
    fprintf(b->json,
            "%s    {\"bytes\": %zu, \"us\": %.3f, \"nccl_us\": %.3f, "
            "\"nccl_window_us\": %.3f, \"wrong\": %.0f, \"algorithm\": "
            "\"%s\"}",
            b->is_first ? "" : ",\n", bytes, ours, plain, window, bad, how);
    b->is_first = false;
}

/* Microseconds of host time a launch of a kernel that has nothing to wait for. */
static double bare(bench *b)
{
    const dcmi_peer *c = b->comm->ctx;
    const dcmi_cu_ptr watch = gpu_alloc(b->r, sizeof(dcmk_watch));
    const dcmi_cu_ptr epochs = gpu_alloc(b->r, DCMK_GRID * 8);
    uint64_t ones[DCMK_GRID];
    const dcmk_watch nothing = {0};
    dcmk_args args = c->args;
    void *params[1] = {&args};
    const dcmi_cu_launch how = {
        .grid = {1, 1, 1},
        .block = {DCMK_LANES, 1, 1},
        .stream = b->r->stream,
    };
    double begin;
    double host = 0;

    for (int i = 0; i < DCMK_GRID; i++)
        ones[i] = 1;
    gpu_do(b->r->cuda->copy_to(epochs, ones, sizeof(ones)));
    gpu_do(b->r->cuda->copy_to(watch, &nothing, sizeof(nothing)));
    args.watch = watch;
    args.epochs = epochs;
    args.nranks = 1; /* who has no peers, waits for none */
    args.rank = 0;
    for (int warm = 0; warm < 2; warm++) {
        begin = now_us();
        for (int k = 0; k < 1000; k++)
            gpu_do(b->r->cuda->launch(&how, c->fn_barrier, params, NULL));
        host = now_us() - begin;
        gpu_do(b->r->cuda->stream_sync(b->r->stream));
    }
    gpu_do(b->r->cuda->mem_free(epochs));
    gpu_do(b->r->cuda->mem_free(watch));
    return host / 1000;
}

/* Host time of an eager call beside that of a bare launch. */
static void eager(bench *b)
{
    double begin;
    double host;

    for (int warm = 0; warm < 3; warm++) {
        const double launch = bare(b);

        gpu_meet(b->r);
        begin = now_us();
        for (int k = 0; k < 1000; k++)
            one(b, DEVCOMM, 1024, k);
        host = now_us() - begin;
        gpu_do(b->r->cuda->stream_sync(b->r->stream));
        if (warm > 0 && b->r->rank == 0)
            printf("eager, 1 KiB: %.2f us of host time a call (a bare launch: "
                   "%.2f), %.2f us a call until done\n",
                   host / 1000, launch, (now_us() - begin) / 1000);
    }
}

static void windows(bench *b)
{
    void *at[2] = {NULL, NULL};
    void *window;

    if (!b->has_nccl || b->nccl.window == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        if (b->nccl.alloc(&at[i], MOST) != 0 ||
            b->nccl.window(b->nccl.comm, at[i], MOST, &window,
                           NCCL_SYMMETRIC) != 0)
            return;
    }
    b->src[1] = (dcmi_cu_ptr)(uintptr_t)at[0];
    b->dst[1] = (dcmi_cu_ptr)(uintptr_t)at[1];
    b->has_window = true;
}

static int one_rank(gpu_rank *r, void *arg)
{
    bench b = {.r = r, .o = arg, .is_first = true};
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    char name[64] = "";
    double begin;
    int version = 0;

    gpu_open(r);
    opts.algo = b.o->algo;
    gpu_meet(r);
    begin = now_us();
    gpu_die_unless(dcm_comm_new(&b.comm, r->group, &opts) == DCM_OK);
    if (r->rank == 0)
        printf("communicator of %d ranks: %.1f ms\n", r->nranks,
               (now_us() - begin) / 1e3);
    b.has_nccl = nccl_open(&b.nccl, r);
    b.src[0] = gpu_alloc(r, MOST);
    b.dst[0] = gpu_alloc(r, MOST);
    gpu_do(r->cuda->event_create(&b.from, 0));
    gpu_do(r->cuda->event_create(&b.to, 0));
    windows(&b);
    (void)r->cuda->device_name(name, sizeof(name), r->device);
    (void)r->cuda->driver_version(&version);
    if (r->rank == 0) {
        if (b.o->file != NULL)
            b.json = fopen(b.o->file, "w");
        if (b.json != NULL)
            fprintf(
                b.json,
                "{\"device\": \"%s\", \"cuda\": %d, \"nccl\": %d, \"ranks\": "
                "%d, \"operation\": \"%s\",\n  \"rows\": [\n",
                name, version, b.nccl.number, r->nranks, op_name(b.o->op));
        printf("%s, CUDA %d, NCCL %d, %d ranks, %s; us a call\n"
               "     bytes   devcomm      NCCL  NCCL sym   wrong\n",
               name, version, b.nccl.number, r->nranks, op_name(b.o->op));
    }
    eager(&b);
    for (size_t bytes = b.o->op == OP_ALL_REDUCE ? 1024 : 8;
         bytes <= (b.o->is_quick ? 4u << 20 : 32u << 20); bytes *= 2)
        row(&b, bytes);
    if (b.json != NULL) {
        fprintf(b.json, "\n  ]\n}\n");
        (void)fclose(b.json);
    }
    gpu_meet(r);
    if (b.has_nccl)
        (void)b.nccl.destroy(b.nccl.comm);
    dcm_comm_free(b.comm);
    gpu_close(r);
    return 0;
}

int main(int argc, char **argv)
{
    options o = {.nranks = gpu_count()};
    int c;

    while ((c = getopt(argc, argv, "n:o:a:p:q")) != -1) {
        switch (c) {
        case 'n':
            o.nranks = atoi(optarg);
            break;
        case 'o':
            o.file = optarg;
            break;
        case 'a':
            o.algo = optarg;
            break;
        case 'p':
            o.op = op_by_name(optarg);
            break;
        case 'q':
            o.is_quick = true;
            break;
        default:
            o.op = OPS;
            break;
        }
    }
    if (o.op == OPS) {
        fprintf(stderr, "usage: gpu_loop [-n RANKS] [-o FILE] [-a ALGO] "
                        "[-p OPERATION] [-q]\n");
        return 2;
    }
    if (o.nranks < 2) {
        printf("fewer than 2 GPUs: skipped\n");
        return GPU_SKIP;
    }
    return gpu_run(o.nranks, one_rank, &o, 0, 540);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce on GPUs, bit for bit against the scalar reference: type, operator,
 * count, alignment, in place, every algorithm that serves the call, eager and in
 * replayed graphs whose inputs change; buffers of one allocation and of many mappings.
 *
 *     test_gpu_reduce [RANKS] [full]
 *
 * DEVCOMM_TEST_THIN leaves few cases, for two ranks on one device and sanitizers.
 */
#include "gpu/ranks.h"

#include <unistd.h>

#include "backend/cpu/reduce/reduce.h"
#include "backend/peer/plan.h"

enum {
    RED = 256,
    REPLAYS = 5
};

typedef struct shape {
    int nranks;
    bool is_full;
} shape;

typedef struct call {
    dcm_dtype dtype;
    dcm_op op;
    size_t count;
    unsigned shift;
    bool in_place;
} call;

typedef struct bench {
    gpu_rank *r;
    dcm_comm *comm;
    const char *algo;
    bool in_pieces; /* src and dst: gpu_alloc_pieces() */
    dcmi_cu_ptr src;
    dcmi_cu_ptr dst;
    unsigned char *host[16]; /* inputs of all ranks */
    unsigned char *want;
    unsigned char *got;
    size_t room;
    unsigned cases;
} bench;

static uint64_t next(uint64_t *x)
{
    *x ^= *x >> 12;
    *x ^= *x << 25;
    *x ^= *x >> 27;
    return *x * 0x2545f4914f6cdd1dull;
}

/* Random bits with zeros, infinities, NaNs, subnormals and words of ones. */
static void fill(unsigned char *at, size_t bytes, uint64_t seed)
{
    static const uint32_t special[] = {0,           0x80008000u, 0x7f807f80u,
                                       0xff800000u, 0x7c00fc00u, 0x00010001u,
                                       0xffffffffu, 0x7fc07e00u, 0x80010000u};
    uint64_t x = seed * 0x9e3779b97f4a7c15ull | 1;

    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t v = (uint32_t)(next(&x) >> 20);

        if (v % 11 == 0)
            v = special[(v >> 8) % 9];
        memcpy(at + i, &v, bytes - i < 4 ? bytes - i : 4);
    }
}

static void expect(bench *b, const call *c, uint64_t seed)
{
    const dcmi_reduce_ops *set = dcmi_reduce_select(NULL);
    const size_t bytes = c->count * dcm_dtype_bytes(c->dtype);
    const void *src[16];

    for (int p = 0; p < b->r->nranks; p++) {
        fill(b->host[p], bytes, seed * 16 + (uint64_t)p);
        src[p] = b->host[p];
    }
    set->fn[c->dtype][c->op](&(dcmi_reduce_args){
        .dst = (void *[1]){b->want},
        .src = src,
        .ndst = 1,
        .nsrc = b->r->nranks,
        .avg_n = b->r->nranks,
        .count = c->count,
    });
}

static void upload(bench *b, const call *c)
{
    const size_t bytes = c->count * dcm_dtype_bytes(c->dtype);
    const dcmi_cuda *cuda = b->r->cuda;

    memset(b->got, 0xa5, bytes + 2 * RED);
    gpu_do(cuda->copy_to(b->dst + c->shift, b->got, bytes + 2 * RED));
    gpu_do(cuda->copy_to((c->in_place ? b->dst : b->src) + c->shift + RED,
                         b->host[b->r->rank], bytes));
    gpu_do(cuda->ctx_sync()); /* a copy may return before it has arrived */
}

static void compare(bench *b, const call *c, const char *how)
{
    const size_t bytes = c->count * dcm_dtype_bytes(c->dtype);

    gpu_do(b->r->cuda->stream_sync(b->r->stream));
    gpu_die_unless(dcm_comm_check(b->comm) == DCM_OK);
    gpu_do(b->r->cuda->copy_from(b->got, b->dst + c->shift, bytes + 2 * RED));
    for (size_t i = 0; i < RED; i++)
        gpu_die_unless(b->got[i] == 0xa5 && b->got[RED + bytes + i] == 0xa5);
    for (size_t i = 0; i < bytes; i++) {
        if (b->got[RED + i] == b->want[i])
            continue;
        fprintf(stderr,
                "rank %d of %d: %s %s %s count %zu shift %u%s %s: byte %zu is "
                "%02x, not %02x\n",
                b->r->rank, b->r->nranks, b->algo != NULL ? b->algo : "auto",
                dcm_dtype_str(c->dtype), dcm_op_str(c->op), c->count, c->shift,
                c->in_place ? " in place" : "", how, i, b->got[RED + i],
                b->want[i]);
        _exit(1);
    }
    b->cases++;
}

static void run(bench *b, const call *c)
{
    gpu_die_unless(
        dcm_all_reduce(b->comm,
                       gpu_at(c->in_place ? b->dst : b->src, c->shift + RED),
                       gpu_at(b->dst, c->shift + RED), c->count, c->dtype,
                       c->op, b->r->stream) == DCM_OK);
}

static void eager(bench *b, const call *c, uint64_t seed)
{
    expect(b, c, seed);
    upload(b, c);
    run(b, c);
    compare(b, c, "eager");
}

static void replay(bench *b, const call *c, uint64_t seed)
{
    const dcmi_cuda *cuda = b->r->cuda;
    dcmi_cu_graph graph;
    dcmi_cu_graph_exec exec;

    gpu_do(cuda->capture_begin(b->r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
    run(b, c);
    gpu_do(cuda->capture_end(b->r->stream, &graph));
    gpu_do(cuda->graph_instantiate(&exec, graph, 0));
    for (uint64_t i = 0; i < REPLAYS; i++) {
        expect(b, c, seed + i);
        upload(b, c);
        gpu_do(cuda->graph_launch(exec, b->r->stream));
        compare(b, c, "graph");
    }
    gpu_do(cuda->graph_exec_destroy(exec));
    gpu_do(cuda->graph_destroy(graph));
}

static void alloc_device(bench *b)
{
    dcmi_cu_ptr (*const alloc)(gpu_rank *, size_t) =
        b->in_pieces ? gpu_alloc_pieces : gpu_alloc;

    b->src = alloc(b->r, b->room);
    b->dst = alloc(b->r, b->room);
}

static void free_device(bench *b)
{
    if (b->in_pieces) {
        gpu_free_pieces(b->r, b->src, b->room);
        gpu_free_pieces(b->r, b->dst, b->room);
        return;
    }
    gpu_do(b->r->cuda->mem_free(b->src));
    gpu_do(b->r->cuda->mem_free(b->dst));
}

/* One communicator an algorithm, so that it can be forced. */
static void run_grid(gpu_rank *r, const shape *s, const char *algo,
                     bool in_pieces)
{
    static const size_t counts[] = {0,    1,     7,      60,     1023,   8192,
                                    8193, 65536, 100003, 524288, 1500001};
    const bool is_words = algo != NULL && strncmp(algo, "push", 4) == 0;
    const bool is_thin = getenv("DEVCOMM_TEST_THIN") != NULL;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    bench b = {.r = r, .algo = algo, .in_pieces = in_pieces};
    unsigned k = 0;

    b.room = 1500001 * 8 + 4 * RED;
    opts.algo = algo;
    gpu_die_unless(dcm_comm_new(&b.comm, r->group, &opts) == DCM_OK);
    alloc_device(&b);
    b.want = malloc(b.room);
    b.got = malloc(b.room);
    for (int p = 0; p < r->nranks; p++)
        b.host[p] = malloc(b.room);
    for (int i = 0; i < DCM_NDTYPES * DCM_NOPS; i++) {
        for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++, k++) {
            const call c = {
                .dtype = (dcm_dtype)(i / DCM_NOPS),
                .op = (dcm_op)(i % DCM_NOPS),
                .count = counts[n],
                .shift = k % 3 == 0   ? 0
                         : k % 3 == 1 ? 8
                                      : k % 16,
                .in_place = k % 5 == 0,
            };

            if (is_words && !dcmi_peer_has_words(c.dtype))
                continue;
            if (is_thin && (c.count > 10000 || k % 9 != 0))
                continue;
            if (!s->is_full && c.count > 10000 && k % 7 != 0 &&
                !(c.dtype == DCM_BF16 && c.op == DCM_SUM))
                continue;
            eager(&b, &c, k);
            if (k % 4 == 0 || s->is_full)
                replay(&b, &c, k * 100);
        }
    }
    if (r->rank == 0)
        printf("%d ranks, %s%s: %u results right\n", r->nranks,
               algo != NULL ? algo : "auto",
               in_pieces ? ", buffers of several mappings" : "", b.cases);
    for (int p = 0; p < r->nranks; p++)
        free(b.host[p]);
    free(b.want);
    free(b.got);
    free_device(&b);
    dcm_comm_free(b.comm);
}

static int one_rank(gpu_rank *r, void *arg)
{
    const shape *s = arg;

    gpu_open(r);
    run_grid(r, s, NULL, false);
    run_grid(r, s, NULL, true);
    for (int i = 0; i < DCMI_PEER_ALGOS; i++) {
        if ((dcmi_peer_algo)i != DCMI_PEER_PUSH || r->nranks == 2)
            run_grid(r, s, dcmi_peer_algo_name((dcmi_peer_algo)i), false);
    }
    gpu_close(r);
    return 0;
}

int main(int argc, char **argv)
{
    const int devices = gpu_count();
    shape s = {.nranks = argc > 1 ? atoi(argv[1]) : devices};

    if (devices == 0) {
        printf("no GPU: skipped\n");
        return GPU_SKIP;
    }
    s.is_full = argc > 2 && strcmp(argv[2], "full") == 0;
    if (s.nranks < 2)
        s.nranks = 2;
    return gpu_run(s.nranks, one_rank, &s, 0, s.is_full ? 3000 : 240);
}

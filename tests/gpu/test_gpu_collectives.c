/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation but all_reduce on GPUs, bit for bit against what it must give:
 * types, counts of zero and odd ones, roots, shapes, alignment, in place, pieces;
 * eager and in replayed graphs whose inputs change.  Messages in rings, both ways
 * and to oneself.  A rank that is killed, in each of them; ranks that differ.
 *
 *     test_gpu_collectives [RANKS] [full | results]
 *
 * DEVCOMM_TEST_THIN leaves few cases, for two ranks on one device and sanitizers.
 */
#include "gpu/ranks.h"

#include <signal.h>
#include <unistd.h>

#include "base/parse.h"
#include "coll_case.h"

enum {
    RED = 256,
    REPLAYS = 4,
    LARGE = 700001, /* elements: several pieces */
    LARGE_V = 1400003,
    ROOM = 24 << 20
};

typedef struct options {
    int nranks;
    bool is_full;
} options;

typedef struct bench {
    gpu_rank *r;
    dcm_comm *comm;
    dcmi_cu_ptr src;
    dcmi_cu_ptr dst;
    unsigned char *inputs[COLL_RANKS];
    unsigned char *host;
    unsigned char *want;
    unsigned cases;
} bench;

static const dcm_coll_kind kinds[] = {
    DCM_COLL_ALL_GATHER, DCM_COLL_BROADCAST,  DCM_COLL_GATHER,
    DCM_COLL_SCATTER,    DCM_COLL_ALL_TO_ALL, DCM_COLL_REDUCE_SCATTER,
    DCM_COLL_REDUCE,
};

enum {
    KINDS = 7
};

static void fill(unsigned char *at, size_t bytes, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull | 1;

    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t v;

        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        v = (uint32_t)(x >> 20);
        memcpy(at + i, &v, bytes - i < 4 ? bytes - i : 4);
    }
}

static void bench_new(bench *b, gpu_rank *r)
{
    *b = (bench){.r = r};
    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&b->comm, r->group, NULL) == DCM_OK);
    b->src = gpu_alloc(r, ROOM);
    b->dst = gpu_alloc(r, ROOM);
    b->host = malloc(ROOM);
    b->want = malloc(ROOM);
    for (int p = 0; p < r->nranks; p++)
        b->inputs[p] = malloc(ROOM);
}

static void bench_free(bench *b)
{
    for (int p = 0; p < b->r->nranks; p++)
        free(b->inputs[p]);
    free(b->host);
    free(b->want);
    gpu_do(b->r->cuda->mem_free(b->src));
    gpu_do(b->r->cuda->mem_free(b->dst));
    dcm_comm_free(b->comm);
    gpu_close(b->r);
}

/* ---- one case ------------------------------------------------------------- */

/* Where this rank's buffers are, red zones around dst. */
typedef struct place {
    dcmi_cu_ptr src;
    dcmi_cu_ptr dst;
    size_t src_bytes;
    size_t dst_bytes;
} place;

static place place_of(const bench *b, const coll_case *t, unsigned shift)
{
    const int rank = b->r->rank;
    const ptrdiff_t at = coll_place(t, rank);
    place p = {b->src + RED + shift, b->dst + RED + shift,
               coll_src_bytes(t, rank), coll_dst_bytes(t, rank)};

    if (t->in_place && coll_may_alias(t, rank)) {
        if (at >= 0)
            p.src = p.dst + (size_t)at;
        else
            p.dst = p.src + (size_t)-at;
    }
    return p;
}

static void upload(bench *b, const coll_case *t, const place *at, uint64_t seed)
{
    const dcmi_cuda *cuda = b->r->cuda;
    const size_t around = at->dst_bytes + 2 * RED;

    gpu_die_unless(around <= ROOM && at->src_bytes + 2 * RED <= ROOM);
    for (int p = 0; p < t->nranks; p++)
        fill(b->inputs[p], coll_src_bytes(t, p), seed * 16 + (uint64_t)p);
    memset(b->host, 0xa5, around);
    gpu_do(cuda->copy_to(at->dst - RED, b->host, around));
    if (at->src_bytes != 0)
        gpu_do(cuda->copy_to(at->src, b->inputs[b->r->rank], at->src_bytes));
    gpu_do(cuda->ctx_sync());
    gpu_do(cuda->copy_from(b->want, at->dst - RED, around));
    coll_want(t, b->r->rank, b->inputs, b->want + RED);
}

static void compare(bench *b, const coll_case *t, const place *at,
                    const char *how)
{
    const size_t around = at->dst_bytes + 2 * RED;
    char name[128];

    gpu_do(b->r->cuda->stream_sync(b->r->stream));
    gpu_die_unless(dcm_comm_check(b->comm) == DCM_OK);
    gpu_do(b->r->cuda->copy_from(b->host, at->dst - RED, around));
    for (size_t i = 0; i < around; i++) {
        if (b->host[i] == b->want[i])
            continue;
        coll_name(t, name, sizeof(name));
        fprintf(stderr, "rank %d: %s, %s: byte %td of dst is %02x, not %02x\n",
                b->r->rank, name, how, (ptrdiff_t)i - RED, b->host[i],
                b->want[i]);
        _exit(1);
    }
    b->cases++;
}

static void call(bench *b, const coll_case *t, const place *at)
{
    gpu_die_unless(coll_run(b->comm, t, gpu_at(at->src, 0), gpu_at(at->dst, 0),
                            b->r->stream) == DCM_OK);
}

static void one_case(bench *b, const coll_case *t, unsigned shift,
                     uint64_t seed, bool is_graph)
{
    const dcmi_cuda *cuda = b->r->cuda;
    const place at = place_of(b, t, shift);
    dcmi_cu_graph graph;
    dcmi_cu_graph_exec exec;

    upload(b, t, &at, seed);
    call(b, t, &at);
    compare(b, t, &at, "eager");
    if (!is_graph)
        return;
    gpu_do(cuda->capture_begin(b->r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
    call(b, t, &at);
    gpu_do(cuda->capture_end(b->r->stream, &graph));
    gpu_do(cuda->graph_instantiate(&exec, graph, 0));
    for (uint64_t i = 1; i <= REPLAYS; i++) {
        upload(b, t, &at, seed + i);
        gpu_do(cuda->graph_launch(exec, b->r->stream));
        compare(b, t, &at, "graph");
    }
    gpu_do(cuda->graph_exec_destroy(exec));
    gpu_do(cuda->graph_destroy(graph));
}

static size_t count_of(const coll_case *t, size_t count)
{
    if (count == LARGE && t->kind == DCM_COLL_ALL_TO_ALL &&
        t->shape == COLL_UNEVEN && dcm_dtype_bytes(t->dtype) == 1)
        return LARGE_V;
    /* What is large a rank is too much for sixteen. */
    if (count > 10000)
        count =
            count * 2 / (size_t)t->nranks / dcm_dtype_bytes(t->dtype) / 7 * 7;
    return count;
}

static void grid(bench *b, const options *o)
{
    static const size_t counts[] = {0, 1, 7, 63, 1022, 8190, 8193, LARGE};
    const bool is_thin = getenv("DEVCOMM_TEST_THIN") != NULL;
    unsigned k = 0;

    for (int i = 0; i < KINDS * COLL_SHAPES * DCM_NDTYPES; i++) {
        for (size_t n = 0; n < 8; n++) {
            coll_case t = {
                .kind = kinds[i % KINDS],
                .shape = (coll_shape)(i / KINDS % COLL_SHAPES),
                .dtype = (dcm_dtype)(i / KINDS / COLL_SHAPES),
                .op = (dcm_op)(((unsigned)i + n) % DCM_NOPS),
                .root = (int)(k % (unsigned)b->r->nranks),
                .nranks = b->r->nranks,
                .in_place = k % 3 == 0,
            };

            t.count = count_of(&t, counts[n]);
            if (!coll_is_call(&t))
                continue;
            k++;
            if (is_thin && (k % 5 != 0 || (t.count > 10000 && k % 4 != 0)))
                continue;
            one_case(b, &t,
                     k % 3 == 0   ? 0
                     : k % 3 == 1 ? 8
                                  : k % 16,
                     k * 100, k % 4 == 0 || o->is_full);
        }
    }
}

/* ---- messages ------------------------------------------------------------- */

static dcm_status ring(bench *b, size_t bytes, int times)
{
    const int rank = b->r->rank;
    const int n = b->r->nranks;
    dcm_status st = dcm_begin();

    for (int i = 0; i < times && st == DCM_OK; i++) {
        const size_t at = (size_t)i * bytes;

        st = dcm_send(b->comm, gpu_at(b->src, at), bytes, DCM_U8,
                      (rank + 1) % n, b->r->stream);
        if (st == DCM_OK)
            st = dcm_recv(b->comm, gpu_at(b->dst, at), bytes, DCM_U8,
                          (rank + n - 1) % n, b->r->stream);
    }
    if (st == DCM_OK)
        st = dcm_send(b->comm, gpu_at(b->src, 0), bytes, DCM_U8, rank,
                      b->r->stream);
    if (st == DCM_OK)
        st = dcm_recv(b->comm, gpu_at(b->dst, (size_t)times * bytes), bytes,
                      DCM_U8, rank, b->r->stream);
    return st == DCM_OK ? dcm_end() : st;
}

/* What lies in dst after a ring; the inputs change from turn to turn. */
static void ring_turn(bench *b, size_t bytes, int times, uint64_t seed,
                      dcmi_cu_graph_exec exec)
{
    const dcmi_cuda *cuda = b->r->cuda;
    const int n = b->r->nranks;
    const int before = (b->r->rank + n - 1) % n;
    const size_t all = bytes * (size_t)times;

    fill(b->inputs[0], all, seed + (uint64_t)b->r->rank);
    fill(b->want, all, seed + (uint64_t)before);
    memcpy(b->want + all, b->inputs[0], bytes);
    memset(b->host, 0xa5, all + bytes);
    if (all != 0) {
        gpu_do(cuda->copy_to(b->src, b->inputs[0], all));
        gpu_do(cuda->copy_to(b->dst, b->host, all + bytes));
    }
    gpu_do(cuda->ctx_sync());
    if (exec != NULL)
        gpu_do(cuda->graph_launch(exec, b->r->stream));
    else
        gpu_die_unless(ring(b, bytes, times) == DCM_OK);
    gpu_do(cuda->stream_sync(b->r->stream));
    gpu_die_unless(dcm_comm_check(b->comm) == DCM_OK);
    if (all != 0)
        gpu_do(cuda->copy_from(b->host, b->dst, all + bytes));
    gpu_die_unless(memcmp(b->host, b->want, all + bytes) == 0);
    b->cases++;
}

static void rings(bench *b)
{
    static const size_t sizes[] = {0, 1, 8, 481, 70000, 3000001};
    const dcmi_cuda *cuda = b->r->cuda;
    dcmi_cu_graph_exec exec;
    dcmi_cu_graph graph;

    for (int i = 0; i < 6; i++) {
        const int times = 1 + i % 3;

        ring_turn(b, sizes[i], times, (uint64_t)i * 1000, NULL);
        gpu_do(cuda->capture_begin(b->r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
        gpu_die_unless(ring(b, sizes[i], times) == DCM_OK);
        gpu_do(cuda->capture_end(b->r->stream, &graph));
        gpu_do(cuda->graph_instantiate(&exec, graph, 0));
        for (int k = 1; k < 5; k++)
            ring_turn(b, sizes[i], times, (uint64_t)(i * 1000 + k * 50), exec);
        gpu_do(cuda->graph_exec_destroy(exec));
        gpu_do(cuda->graph_destroy(graph));
    }
}

/* A number goes round, one more at every rank, by send and recv in turn. */
static void relay(bench *b)
{
    const dcmi_cuda *cuda = b->r->cuda;
    const int n = b->r->nranks;
    const int rank = b->r->rank;

    for (int i = 0; i < 50; i++) {
        uint32_t v = (uint32_t)i * 7;

        if (rank != 0) {
            gpu_die_unless(dcm_recv(b->comm, gpu_at(b->dst, 0), 1, DCM_U32,
                                    rank - 1, b->r->stream) == DCM_OK);
            gpu_do(cuda->stream_sync(b->r->stream));
            gpu_do(cuda->copy_from(&v, b->dst, sizeof(v)));
            gpu_die_unless(v == (uint32_t)(i * 7 + rank));
        }
        v++;
        if (rank != n - 1) {
            gpu_do(cuda->stream_sync(b->r->stream)); /* src is read */
            gpu_do(cuda->copy_to(b->src, &v, sizeof(v)));
            gpu_do(cuda->ctx_sync());
            gpu_die_unless(dcm_send(b->comm, gpu_at(b->src, 0), 1, DCM_U32,
                                    rank + 1, b->r->stream) == DCM_OK);
        }
        if (i % 7 == 0)
            gpu_die_unless(dcm_barrier(b->comm, b->r->stream) == DCM_OK);
    }
    gpu_do(cuda->stream_sync(b->r->stream));
    gpu_die_unless(dcm_comm_check(b->comm) == DCM_OK);
    b->cases++;
}

static int results_rank(gpu_rank *r, void *arg)
{
    const options *o = arg;
    char how[512];
    bench b;

    bench_new(&b, r);
    grid(&b, o);
    rings(&b);
    relay(&b);
    for (int i = 0; i < KINDS + 2; i++) {
        const char *name = i < KINDS    ? dcmi_coll_str(kinds[i])
                           : i == KINDS ? "send"
                                        : "barrier";
        dcm_call one = DCM_CALL_INIT;

        one.name = name;
        one.count = 1000;
        gpu_die_unless(dcm_comm_explain_call(b.comm, how, sizeof(how), &one) ==
                       DCM_OK);
        if (r->rank == 0)
            printf("%s: %s\n", name, how);
    }
    if (r->rank == 0)
        printf("%d ranks: %u results right\n", r->nranks, b.cases);
    bench_free(&b);
    return 0;
}

/* ---- failures ------------------------------------------------------------- */

/* Call `kind`, or for KINDS a receive from the last rank, a send on it. */
static dcm_status any_call(bench *b, int i, size_t count)
{
    const int last = b->r->nranks - 1;
    const coll_case t = {
        .kind = kinds[i % KINDS],
        .dtype = DCM_BF16,
        .op = DCM_SUM,
        .count = count,
        .root = 0,
        .nranks = b->r->nranks,
    };
    dcm_status st = DCM_OK;

    if (i < KINDS)
        return coll_run(b->comm, &t, gpu_at(b->src, 0), gpu_at(b->dst, 0),
                        b->r->stream);
    if (b->r->rank != last)
        return dcm_recv(b->comm, gpu_at(b->dst, 0), count, DCM_BF16, last,
                        b->r->stream);
    for (int p = 0; p < last && st == DCM_OK; p++)
        st = dcm_send(b->comm, gpu_at(b->src, 0), count, DCM_BF16, p,
                      b->r->stream);
    return st;
}

/* The last rank dies before its second call of *arg; all others say so. */
static int killed_rank(gpu_rank *r, void *arg)
{
    const int i = *(const int *)arg;
    dcm_failure failure = {.size = sizeof(failure)};
    bench b;

    bench_new(&b, r);
    gpu_die_unless(any_call(&b, i, 5000) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_meet(r);
    if (r->rank == r->nranks - 1)
        (void)kill(getpid(), SIGKILL);
    (void)any_call(&b, i, 5000); /* it may know of the death already */
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_die_unless(dcm_comm_check(b.comm) == DCM_E_PEER);
    dcm_comm_failure(b.comm, &failure);
    gpu_die_unless(failure.rank == r->nranks - 1);
    gpu_do(r->cuda->ctx_sync());
    bench_free(&b);
    return 0;
}

/* Rank 1 calls another count, or, of a broadcast, the others' neighbour. */
static int differs_rank(gpu_rank *r, void *arg)
{
    const int i = *(const int *)arg;
    bench b;

    bench_new(&b, r);
    gpu_die_unless(any_call(&b, i, r->rank == 1 ? 4000 : 5000) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_meet(r);
    (void)dcm_comm_check(b.comm);
    gpu_meet(r);
    gpu_die_unless(dcm_comm_check(b.comm) == DCM_E_MISMATCH);
    if (r->rank == 0)
        printf("differs: %s\n", dcm_errmsg());
    bench_free(&b);
    return 0;
}

/* Rank 1 calls another operation than the others: the next one, or all_reduce. */
static int other_rank(gpu_rank *r, void *arg)
{
    const int i = *(const int *)arg;
    bench b;
    dcm_status st;

    bench_new(&b, r);
    if (r->rank == 1 && i % 2 != 0)
        st = dcm_all_reduce(b.comm, gpu_at(b.src, 0), gpu_at(b.dst, 0), 5000,
                            DCM_BF16, DCM_SUM, r->stream);
    else
        st = any_call(&b, (i + (r->rank == 1 ? 1 : 0)) % KINDS, 5000);
    gpu_die_unless(st == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_meet(r);
    (void)dcm_comm_check(b.comm);
    gpu_meet(r);
    gpu_die_unless(dcm_comm_check(b.comm) == DCM_E_MISMATCH);
    bench_free(&b);
    return 0;
}

static int run_case(const char *name, int n, gpu_rank_fn fn, int arg,
                    uint64_t killed)
{
    const int bad = gpu_run(n, fn, &arg, killed, 60);

    printf("%s, %s: %s\n", name,
           arg < KINDS ? dcmi_coll_str(kinds[arg]) : "messages",
           bad != 0 ? "FAILED" : "ok");
    return bad;
}

int main(int argc, char **argv)
{
    const int devices = gpu_count();
    options o = {.nranks = argc > 1 ? atoi(argv[1]) : devices};
    const bool is_short = argc > 2 && strcmp(argv[2], "results") == 0;
    int bad;

    if (devices == 0) {
        printf("no GPU: skipped\n");
        return GPU_SKIP;
    }
    o.is_full = argc > 2 && strcmp(argv[2], "full") == 0;
    o.nranks = o.nranks < 2 ? 2 : o.nranks;
    bad = gpu_run(o.nranks, results_rank, &o, 0, o.is_full ? 3000 : 240);
    for (int i = 0; i <= KINDS && !is_short; i++) {
        bad |= run_case("killed", o.nranks, killed_rank, i,
                        1ull << (o.nranks - 1));
        bad |= run_case("differs", o.nranks, differs_rank, i, 0);
        if (i < KINDS)
            bad |= run_case("another", o.nranks, other_rank, i, 0);
    }
    return bad;
}

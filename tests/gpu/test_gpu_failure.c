/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to the others when a rank dies, in eager calls, in a replayed graph
 * and while they synchronise a stream: their kernels end, the next call names the
 * rank, the context is good, and a communicator of the survivors works.  Also a
 * rank that comes late, one that never comes, a call that differs, an abort, graphs
 * replayed at once.
 *
 *     test_gpu_failure [RANKS [SECONDS that the late rank is late]]
 */
#define _GNU_SOURCE
#include "gpu/ranks.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"

enum {
    COUNT = 10000,
    OPS = 50
};

/* Shared by all ranks: when the victim killed itself. */
static double *killed_at;

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void nap_ms(int ms)
{
    const struct timespec t = {.tv_sec = ms / 1000,
                               .tv_nsec = ms % 1000 * 1000000L};

    (void)nanosleep(&t, NULL);
}

static dcm_status sum(gpu_rank *r, dcm_comm *comm, dcmi_cu_ptr at, size_t count)
{
    return dcm_all_reduce(comm, gpu_at(at, 0), gpu_at(at, 0), count, DCM_BF16,
                          DCM_SUM, r->stream);
}

/* The survivors make a communicator of their own and use it. */
static void go_on(gpu_rank *r, dcm_comm *comm, dcmi_cu_ptr at)
{
    dcm_comm *next;

    gpu_do(r->cuda->ctx_sync());
    gpu_die_unless(dcm_comm_regroup(&next, comm, NULL) == DCM_OK);
    for (int i = 0; i < 10; i++)
        gpu_die_unless(sum(r, next, at, COUNT) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_die_unless(dcm_comm_check(next) == DCM_OK);
    dcm_comm_free(next);
}

/* The last rank dies; *arg: 0 eager, 1 graph replay. */
static int killed_rank(gpu_rank *r, void *arg)
{
    const bool is_graph = *(const int *)arg != 0;
    const bool is_victim = r->rank == r->nranks - 1;
    dcmi_cu_graph_exec exec = NULL;
    dcmi_cu_graph graph;
    dcm_failure failure = {.size = sizeof(failure)};
    dcm_comm *comm;
    dcmi_cu_ptr at;
    double begin;
    double ended;
    dcm_status st;

    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    if (is_graph) {
        gpu_do(r->cuda->capture_begin(r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
        for (int i = 0; i < OPS; i++)
            gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
        gpu_do(r->cuda->capture_end(r->stream, &graph));
        gpu_do(r->cuda->graph_instantiate(&exec, graph, 0));
        gpu_do(r->cuda->graph_launch(exec, r->stream));
    } else {
        gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
    }
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_meet(r);
    if (is_victim) {
        nap_ms(300); /* the others wait in their kernels */
        *killed_at = now_ms();
        gpu_die();
    }
    begin = now_ms();
    if (is_graph)
        gpu_do(r->cuda->graph_launch(exec, r->stream));
    else
        gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    ended = now_ms();
    printf("%s: rank %d's stream ended %.2f ms after the kill (waited %.0f)\n",
           is_graph ? "graph" : "eager", r->rank, ended - *killed_at,
           ended - begin);
    gpu_die_unless(ended - *killed_at < 20 || gpu_is_standin());
    st = sum(r, comm, at, COUNT);
    dcm_comm_failure(comm, &failure);
    printf("rank %d: %s\n", r->rank, dcm_errmsg());
    gpu_die_unless(st == DCM_E_PEER && failure.rank == r->nranks - 1);
    go_on(r, comm, at);
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

/* Rank 1 comes *arg seconds late, and is waited for. */
static int late_rank(gpu_rank *r, void *arg)
{
    const int seconds = *(const int *)arg;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    gpu_meet(r);
    if (r->rank == 1)
        nap_ms(1000 * seconds);
    gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_die_unless(dcm_comm_check(comm) == DCM_OK);
    gpu_meet(r);
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

/* Rank 0 waits 200 ms for the others, which do not come. */
static int never_rank(gpu_rank *r, void *arg)
{
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    if (r->rank == 0) {
        dcm_comm_set_timeout(comm, 200);
        gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
        gpu_do(r->cuda->stream_sync(r->stream));
        gpu_die_unless(dcm_comm_check(comm) == DCM_E_TIMEOUT);
        printf("never: %s\n", dcm_errmsg());
    }
    gpu_meet(r);
    gpu_die_unless(dcm_comm_check(comm) == DCM_E_TIMEOUT);
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

/* Rank 1 calls another count. */
static int differs_rank(gpu_rank *r, void *arg)
{
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    gpu_die_unless(sum(r, comm, at, (size_t)(r->rank == 1 ? 512 : COUNT)) ==
                   DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_meet(r);
    (void)dcm_comm_check(comm);
    gpu_meet(r);
    gpu_die_unless(dcm_comm_check(comm) == DCM_E_MISMATCH);
    printf("differs: rank %d: %s\n", r->rank, dcm_errmsg());
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

static void *abort_soon(void *arg)
{
    nap_ms(100);
    dcm_comm_abort(arg);
    return NULL;
}

/* Rank 0 waits in a stream, and another thread of its aborts. */
static int abort_rank(gpu_rank *r, void *arg)
{
    pthread_t t;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    if (r->rank == 0) {
        gpu_die_unless(pthread_create(&t, NULL, abort_soon, comm) == 0);
        gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
        gpu_do(r->cuda->stream_sync(r->stream));
        gpu_die_unless(pthread_join(t, NULL) == 0);
    }
    gpu_meet(r);
    gpu_die_unless(dcm_comm_check(comm) == DCM_E_ABORTED);
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

/*
 * Rank 0 replays two graphs at once, each on a stream of its own; the first waits
 * for rank 1 when the second begins.  Rank 1 hears of it and does not wait.
 */
static int overlap_rank(gpu_rank *r, void *arg)
{
    dcmi_cu_graph_exec exec[2];
    dcmi_cu_graph graph;
    dcmi_cu_stream other;
    dcm_comm *comm;
    dcmi_cu_ptr at;
    dcm_status st;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&comm, r->group, NULL) == DCM_OK);
    at = gpu_alloc(r, COUNT * 2);
    gpu_do(r->cuda->stream_create(&other, DCMI_CU_STREAM_NON_BLOCKING));
    for (int i = 0; i < 2; i++) {
        gpu_do(r->cuda->capture_begin(r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
        gpu_die_unless(sum(r, comm, at, COUNT) == DCM_OK);
        gpu_do(r->cuda->capture_end(r->stream, &graph));
        gpu_do(r->cuda->graph_instantiate(&exec[i], graph, 0));
        gpu_do(r->cuda->graph_destroy(graph));
    }
    gpu_meet(r);
    if (r->rank == 0) {
        gpu_do(r->cuda->graph_launch(exec[0], r->stream));
        gpu_do(r->cuda->graph_launch(exec[1], other));
        gpu_do(r->cuda->stream_sync(r->stream));
        gpu_do(r->cuda->stream_sync(other));
        gpu_die_unless(dcm_comm_check(comm) == DCM_E_BUSY);
        printf("overlap: %s\n", dcm_errmsg());
    }
    gpu_meet(r);
    st = sum(r, comm, at, COUNT);
    if (st == DCM_OK) {
        gpu_do(r->cuda->stream_sync(r->stream));
        st = dcm_comm_check(comm);
    }
    gpu_die_unless(st == DCM_E_BUSY);
    gpu_do(r->cuda->ctx_sync());
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

static int run_case(const char *name, int n, gpu_rank_fn fn, int arg,
                    uint64_t killed)
{
    const int bad = gpu_run(n, fn, &arg, killed, 60);

    printf("%s: %s\n", name, bad != 0 ? "FAILED" : "ok");
    return bad;
}

int main(int argc, char **argv)
{
    const int devices = gpu_count();
    int n = argc > 1 ? atoi(argv[1]) : devices;
    const int late_s = argc > 2 ? atoi(argv[2]) : 3;
    int bad = 0;

    if (devices == 0) {
        printf("no GPU: skipped\n");
        return GPU_SKIP;
    }
    n = n < 2 ? 2 : n;
    killed_at = mmap(NULL, sizeof(*killed_at), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    gpu_die_unless(killed_at != MAP_FAILED);
    bad |= run_case("killed, eager", n, killed_rank, 0, 1ull << (n - 1));
    bad |= run_case("killed, graph", n, killed_rank, 1, 1ull << (n - 1));
    bad |= run_case("late", n, late_rank, late_s, 0);
    bad |= run_case("never", n, never_rank, 0, 0);
    bad |= run_case("differs", n, differs_rank, 0, 0);
    bad |= run_case("abort", n, abort_rank, 0, 0);
    /* On the stand-in kernels side by side are the race that TSan looks for. */
    if (!DCMI_TSAN)
        bad |= run_case("overlap", n, overlap_rank, 0, 0);
    return bad;
}

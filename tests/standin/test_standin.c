/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer backend's host side, on the stand-in: what creation and the end leave
 * behind, driver calls that fail in turn, captures, streams, contexts, and a
 * communicator whose stream is stuck when it is freed.
 */
#define _GNU_SOURCE
#include "gpu/ranks.h"

#include <pthread.h>

#include "standin/ask.h"

enum {
    COUNT = 3000
};

/* ---- calls ---------------------------------------------------------------- */

static dcm_status new_comm(gpu_rank *r, dcm_comm **comm_p)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;

    opts.backend = "peer";
    return dcm_comm_new(comm_p, r->group, &opts);
}

static void put(gpu_rank *r, dcmi_cu_ptr at, int round)
{
    float v[COUNT];

    for (int i = 0; i < COUNT; i++)
        v[i] = (float)(i + r->rank + round);
    gpu_do(r->cuda->copy_to(at, v, sizeof(v)));
}

/* What the largest rank has put there. */
static void must_be_right(gpu_rank *r, dcmi_cu_ptr at, int round)
{
    float v[COUNT];

    gpu_do(r->cuda->copy_from(v, at, sizeof(v)));
    for (int i = 0; i < COUNT; i++)
        gpu_die_unless((int)v[i] == i + r->nranks - 1 + round);
}

static dcm_status largest(dcm_comm *comm, dcmi_cu_ptr at, dcm_stream stream)
{
    return dcm_all_reduce(comm, gpu_at(at, 0), gpu_at(at, 0), COUNT, DCM_F32,
                          DCM_MAX, stream);
}

static void use(gpu_rank *r, dcm_comm *comm)
{
    const dcmi_cu_ptr at = gpu_alloc(r, COUNT * 4);

    put(r, at, 0);
    gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_die_unless(dcm_comm_check(comm) == DCM_OK);
    must_be_right(r, at, 0);
    gpu_meet(r); /* mem_free waits for the context, which others may share */
    gpu_do(r->cuda->mem_free(at));
}

/* ---- nothing stays -------------------------------------------------------- */

static int leaks_rank(gpu_rank *r, void *arg)
{
    standin_counts was;

    (void)arg;
    gpu_open(r);
    was = ask_count();
    for (int i = 0; i < 3; i++) {
        dcm_comm *comm;
        dcm_comm *other;

        gpu_die_unless(new_comm(r, &comm) == DCM_OK);
        gpu_die_unless(new_comm(r, &other) == DCM_OK);
        use(r, comm);
        use(r, other);
        dcm_comm_free(comm);
        use(r, other);
        dcm_comm_free(other);
        ask_must_equal(&was, "after a communicator");
    }
    gpu_close(r);
    return 0;
}

/* ---- driver calls that fail ----------------------------------------------- */

typedef struct entry {
    const char *name;
    size_t at;
} entry;

static const entry entries[] = {
#define DCMI_X(member, symbol, args, is_required)                              \
    {symbol, offsetof(dcmi_cuda, member)},
    DCMI_CU_MAP(DCMI_X)
#undef DCMI_X
};

static dcmi_cu_result fail(void)
{
    return 999;
}

/* Rank 1's call fails for good; all ranks must end alike, and leave nothing. */
static int one_fails(gpu_rank *r, const entry *e)
{
    char *slot = (char *)(uintptr_t)r->cuda + e->at;
    dcmi_cu_result (*const stub)(void) = fail;
    const standin_counts was = ask_count();
    dcm_comm *comm = NULL;
    double all[DCM_MAX_RANKS];
    double mine;
    void *kept;

    memcpy(&kept, slot, sizeof(kept));
    if (r->rank == 1)
        memcpy(slot, &stub, sizeof(stub));
    mine = (double)new_comm(r, &comm);
    memcpy(slot, &kept, sizeof(kept));
    gpu_die_unless(dcm_group_exchange(r->group, &mine, all, sizeof(mine), 0) ==
                   DCM_OK);
    for (int p = 0; p < r->nranks; p++) {
        if ((int)all[p] != (int)mine)
            fprintf(stderr, "%s: rank %d has %d, rank %d %d\n", e->name,
                    r->rank, (int)mine, p, (int)all[p]);
        gpu_die_unless((int)all[p] == (int)mine);
    }
    if ((int)mine == DCM_OK) {
        use(r, comm);
        dcm_comm_free(comm);
        return 0;
    }
    ask_must_equal(&was, e->name);
    return 1;
}

static int fails_rank(gpu_rank *r, void *arg)
{
    const size_t n = sizeof(entries) / sizeof(entries[0]);
    dcm_comm *comm;
    int failed = 0;

    (void)arg;
    gpu_open(r);
    for (size_t i = 0; i < n; i++)
        failed += one_fails(r, &entries[i]);
    if (r->rank == 0)
        printf("%d of %zu driver calls are needed for creation\n", failed, n);
    gpu_die_unless(failed > 20);
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    use(r, comm);
    dcm_comm_free(comm);
    gpu_close(r);
    return 0;
}

/* ---- a stream that is stuck ----------------------------------------------- */

static void *warned;

static void note(void *arg, int level, const char *message)
{
    (void)arg;
    if (level == DCM_LOG_WARN && strstr(message, "still has work") != NULL)
        __atomic_store_n(&warned, &warned, __ATOMIC_RELAXED);
}

/* Rank 0 frees while its stream is held in front of its call. */
static int stuck_rank(gpu_rank *r, void *arg)
{
    const bool is_stuck = r->rank == 0;
    standin_counts was;
    standin_counts now;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    dcm_log_set(note, NULL, DCM_LOG_WARN);
    at = gpu_alloc(r, COUNT * 4);
    was = ask_count();
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    if (is_stuck) {
        ask_hold(r->stream);
        gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
        dcm_comm_free(comm);
        gpu_die_unless(warned != NULL);
        now = ask_count();
        gpu_die_unless(now.of[STANDIN_MAPPINGS] > was.of[STANDIN_MAPPINGS]);
        gpu_die_unless(now.of[STANDIN_REGIONS] > was.of[STANDIN_REGIONS]);
        ask_let_go(); /* the kernel runs now, on all that it looks at */
        gpu_do(r->cuda->stream_sync(r->stream));
    } else {
        dcm_comm_free(comm); /* and never calls, so that the kernel looks */
        gpu_die_unless(warned == NULL);
    }
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    use(r, comm);
    dcm_comm_free(comm);
    ask_must_equal(&was, "after a stuck stream");
    gpu_do(r->cuda->mem_free(at));
    gpu_close(r);
    return 0;
}

/* Rank 0 frees while its kernel waits for a rank that does not call. */
static int waiting_rank(gpu_rank *r, void *arg)
{
    standin_counts was;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    dcm_log_set(note, NULL, DCM_LOG_WARN);
    at = gpu_alloc(r, COUNT * 4);
    was = ask_count();
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    if (r->rank == 0)
        gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
    else
        gpu_meet(r);
    dcm_comm_free(comm); /* tells the kernel to stop */
    if (r->rank == 0)
        gpu_meet(r);
    gpu_do(r->cuda->stream_sync(r->stream));
    gpu_die_unless(warned == NULL);
    ask_must_equal(&was, "after a kernel that waited");
    gpu_do(r->cuda->mem_free(at));
    gpu_close(r);
    return 0;
}

/* ---- captures, streams, contexts ------------------------------------------ */

typedef struct helper {
    gpu_rank *r;
    pthread_barrier_t barrier;
} helper;

/* A capture that forbids every thread what could wait. */
static void *capture_meanwhile(void *arg)
{
    helper *h = arg;
    dcmi_cu_stream stream;
    dcmi_cu_graph graph;

    gpu_do(h->r->cuda->ctx_set(h->r->ctx));
    gpu_do(h->r->cuda->stream_create(&stream, DCMI_CU_STREAM_NON_BLOCKING));
    gpu_do(h->r->cuda->capture_begin(stream, 0));
    (void)pthread_barrier_wait(&h->barrier);
    (void)pthread_barrier_wait(&h->barrier);
    gpu_do(h->r->cuda->capture_end(stream, &graph));
    gpu_do(h->r->cuda->graph_destroy(graph));
    gpu_do(h->r->cuda->stream_destroy(stream));
    return NULL;
}

static int beside_capture_rank(gpu_rank *r, void *arg)
{
    helper h = {.r = r};
    dcm_comm *comm;
    pthread_t t;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(pthread_barrier_init(&h.barrier, NULL, 2) == 0);
    gpu_die_unless(pthread_create(&t, NULL, capture_meanwhile, &h) == 0);
    (void)pthread_barrier_wait(&h.barrier);
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    dcm_comm_free(comm);
    (void)pthread_barrier_wait(&h.barrier);
    gpu_die_unless(pthread_join(t, NULL) == 0);
    gpu_close(r);
    return 0;
}

/* One graph over two streams, replayed with other numbers. */
static int two_streams_rank(gpu_rank *r, void *arg)
{
    const dcmi_cuda *cuda;
    dcmi_cu_stream other;
    dcmi_cu_event joined;
    dcmi_cu_graph graph;
    dcmi_cu_graph_exec exec;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    cuda = r->cuda;
    gpu_do(cuda->stream_create(&other, DCMI_CU_STREAM_NON_BLOCKING));
    gpu_do(cuda->event_create(&joined, DCMI_CU_EVENT_NO_TIMING));
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    at = gpu_alloc(r, COUNT * 4);
    for (int i = 0; i < 50; i++) { /* eager, on each in turn */
        put(r, at, i);
        gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
        gpu_die_unless(largest(comm, at, other) == DCM_OK);
        gpu_do(cuda->stream_sync(other));
        must_be_right(r, at, i);
    }
    gpu_do(cuda->capture_begin(r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
    gpu_do(cuda->event_record(joined, r->stream));
    gpu_do(cuda->stream_wait(other, joined, 0));
    gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
    gpu_die_unless(largest(comm, at, other) == DCM_OK);
    gpu_do(cuda->event_record(joined, other));
    gpu_do(cuda->stream_wait(r->stream, joined, 0));
    gpu_do(cuda->capture_end(r->stream, &graph));
    gpu_do(cuda->graph_instantiate(&exec, graph, 0));
    for (int i = 0; i < 50; i++) {
        put(r, at, i);
        gpu_do(cuda->graph_launch(exec, r->stream));
        gpu_do(cuda->stream_sync(r->stream));
        must_be_right(r, at, i);
    }
    gpu_die_unless(dcm_comm_check(comm) == DCM_OK);
    dcm_comm_free(comm);
    gpu_do(cuda->graph_exec_destroy(exec));
    gpu_do(cuda->graph_destroy(graph));
    gpu_do(cuda->event_destroy(joined));
    gpu_do(cuda->stream_destroy(other));
    gpu_close(r);
    return 0;
}

/* Another device is current when a call is made, and stays so. */
static int other_device_rank(gpu_rank *r, void *arg)
{
    dcmi_cu_ctx other;
    dcmi_cu_ctx now;
    dcm_comm *comm;
    dcmi_cu_ptr at;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    at = gpu_alloc(r, COUNT * 4);
    put(r, at, 0);
    gpu_do(r->cuda->primary_retain(&other, 1 - r->device));
    gpu_do(r->cuda->ctx_set(other));
    gpu_die_unless(largest(comm, at, r->stream) == DCM_OK);
    gpu_do(r->cuda->ctx_get(&now));
    gpu_die_unless(now == other);
    gpu_do(r->cuda->ctx_set(r->ctx));
    gpu_do(r->cuda->stream_sync(r->stream));
    must_be_right(r, at, 0);
    gpu_do(r->cuda->ctx_set(other));
    dcm_comm_free(comm);
    gpu_do(r->cuda->ctx_get(&now));
    gpu_die_unless(now == other);
    gpu_do(r->cuda->primary_release(1 - r->device));
    gpu_do(r->cuda->ctx_set(r->ctx));
    gpu_close(r);
    return 0;
}

/* Memory that no device reaches is refused, and nothing has begun. */
static int pointer_rank(gpu_rank *r, void *arg)
{
    float *host = malloc(COUNT * 4);
    dcm_comm *comm;

    (void)arg;
    gpu_open(r);
    gpu_die_unless(host != NULL);
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    gpu_die_unless(dcm_all_reduce(comm, host, host, COUNT, DCM_F32, DCM_MAX,
                                  r->stream) == DCM_E_INVAL);
    use(r, comm);
    dcm_comm_free(comm);
    free(host);
    gpu_close(r);
    return 0;
}

/* ---- refusals ------------------------------------------------------------- */

/* *arg: words that every rank's error has. */
static int refused_rank(gpu_rank *r, void *arg)
{
    const char *words = *(const char **)arg;
    standin_counts was;
    dcm_comm *comm;

    gpu_open(r);
    was = ask_count();
    gpu_die_unless(new_comm(r, &comm) != DCM_OK);
    if (strstr(dcm_errmsg(), words) == NULL)
        fprintf(stderr, "rank %d: %s\n", r->rank, dcm_errmsg());
    gpu_die_unless(strstr(dcm_errmsg(), words) != NULL);
    ask_must_equal(&was, words);
    gpu_close(r);
    return 0;
}

/* The staging is in host memory, *arg says why, and all works. */
static int staged_rank(gpu_rank *r, void *arg)
{
    const char *words = *(const char **)arg;
    char text[2000];
    standin_counts was;
    dcm_comm *comm;

    gpu_open(r);
    was = ask_count();
    gpu_die_unless(new_comm(r, &comm) == DCM_OK);
    gpu_die_unless(dcm_comm_explain(comm, text, sizeof(text), NULL, NULL, COUNT,
                                    DCM_F32, DCM_SUM) == DCM_OK);
    if (strstr(text, words) == NULL || strstr(text, "staged: ") == NULL)
        fprintf(stderr, "%s\n", text);
    gpu_die_unless(strstr(text, words) != NULL &&
                   strstr(text, "staged: ") != NULL);
    use(r, comm);
    gpu_die_unless(dcm_barrier(comm, r->stream) == DCM_OK);
    use(r, comm);
    dcm_comm_free(comm);
    ask_must_equal(&was, words);
    gpu_close(r);
    return 0;
}

/* In an environment: creation is refused, or the staging is in host memory. */
static int with(const char *what, const char *variable, const char *value,
                const char *words)
{
    const gpu_rank_fn fn =
        strcmp(what, "refused") == 0 ? refused_rank : staged_rank;
    const char *was = getenv(variable);
    char kept[4096];
    int bad;

    (void)snprintf(kept, sizeof(kept), "%s", was != NULL ? was : "");
    (void)setenv(variable, value, 1);
    bad = gpu_run(2, fn, &words, 0, 60);
    (void)setenv(variable, kept, 1);
    printf("%s, %s=%s: %s\n", what, variable, value,
           bad != 0 ? "FAILED" : "ok");
    return bad;
}

static int run_case(const char *name, int n, gpu_rank_fn fn)
{
    const int bad = gpu_run(n, fn, NULL, 0, 100);

    printf("%s: %s\n", name, bad != 0 ? "FAILED" : "ok");
    return bad;
}

int main(void)
{
    int bad = 0;

    gpu_die_unless(gpu_count() == 2);
    bad |= run_case("leaks", 3, leaks_rank);
    bad |= run_case("driver calls that fail", 2, fails_rank);
    bad |= run_case("stuck stream", 2, stuck_rank);
    bad |= run_case("waiting kernel", 2, waiting_rank);
    bad |= run_case("beside a capture", 2, beside_capture_rank);
    bad |= run_case("two streams", 2, two_streams_rank);
    bad |= run_case("another device", 2, other_device_rank);
    bad |= run_case("pointers", 2, pointer_rank);
    bad |= with("staged", "STANDIN_NO_PEER", "1", "no access to rank");
    bad |= with("staged", "STANDIN_NO_NVLINK", "1", "no NVLink to rank");
    bad |= with("staged", "STANDIN_DEAF", "1", "does not reach rank");
    bad |= with("staged", "DEVCOMM_GPU_VETO", "peer", "GPU_VETO names it");
    bad |= with("staged", "DEVCOMM_ALGO", "staged", "it is asked for");
    bad |=
        with("refused", "DEVCOMM_GPU_IMAGE", "/no/such/file", "/no/such/file");
    bad |= with("refused", "DEVCOMM_GPU_IMAGE", "/dev/null", "not a file");
    bad |=
        with("refused", "DEVCOMM_GPU_IMAGE", "/proc/self/exe", "INVALID_IMAGE");
    return bad;
}

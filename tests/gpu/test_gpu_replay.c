/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Very many replays of captured calls, of sizes and algorithms in random order,
 * with eager calls and barriers in between, each on other inputs: what one call
 * leaves in the staging must never pass for another's.
 *
 *     test_gpu_replay [RANKS] [REPLAYS]
 *
 * Inputs and outputs lie in pinned host memory, so that the host writes and checks
 * them without copies.
 */
#include "gpu/ranks.h"

enum {
    GRAPHS = 6,
    CHECKED = 64 /* elements looked at, spread over the message */
};

static const size_t counts[GRAPHS] = {1, 120, 1500, 9000, 140000, 300000};

typedef struct soak {
    gpu_rank *r;
    dcm_comm *comm;
    uint32_t *src; /* u32 in the bits of f32: exact below 2^24 */
    uint32_t *dst;
    dcmi_cu_graph_exec exec[GRAPHS];
    unsigned serial;
} soak;

static uint32_t bits_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return u;
}

static float value(const soak *s, int rank, size_t i)
{
    const uint32_t h = (s->serial * 2654435761u ^ (uint32_t)i * 40503u) >> 12;

    return (float)(h + (uint32_t)rank * 3u);
}

static size_t place(size_t count, size_t k)
{
    return count <= CHECKED ? k : k * (count - 1) / (CHECKED - 1);
}

static void call(const soak *s, size_t count)
{
    gpu_die_unless(dcm_all_reduce(s->comm, s->src, s->dst, count, DCM_F32,
                                  DCM_SUM, s->r->stream) == DCM_OK);
}

static void capture(soak *s)
{
    const dcmi_cuda *cuda = s->r->cuda;
    dcmi_cu_graph graph;

    for (int g = 0; g < GRAPHS; g++) {
        gpu_do(cuda->capture_begin(s->r->stream, DCMI_CU_CAPTURE_THREAD_LOCAL));
        call(s, counts[g]);
        gpu_do(cuda->capture_end(s->r->stream, &graph));
        gpu_do(cuda->graph_instantiate(&s->exec[g], graph, 0));
        gpu_do(cuda->graph_destroy(graph));
    }
}

/* The places that are looked at get new inputs; the rest keeps older ones. */
static void write_inputs(const soak *s, size_t count)
{
    for (size_t k = 0; k < CHECKED && k < count; k++) {
        const size_t i = place(count, k);

        s->src[i] = bits_of(value(s, s->r->rank, i));
        s->dst[i] = 0x7fc0dead;
    }
}

static void check(const soak *s, size_t count, int graph)
{
    for (size_t k = 0; k < CHECKED && k < count; k++) {
        const size_t i = place(count, k);
        float want = value(s, 0, i);

        for (int p = 1; p < s->r->nranks; p++)
            want += value(s, p, i);
        if (s->dst[i] == bits_of(want))
            continue;
        fprintf(stderr,
                "rank %d, replay %u of graph %d: element %zu is %08x, "
                "not %08x\n",
                s->r->rank, s->serial, graph, i, s->dst[i], bits_of(want));
        abort();
    }
}

static int one_rank(gpu_rank *r, void *arg)
{
    const unsigned replays = *(const unsigned *)arg;
    const size_t bytes = counts[GRAPHS - 1] * sizeof(uint32_t);
    soak s = {.r = r};
    uint32_t random = 12345;
    void *at[2];

    gpu_open(r);
    gpu_die_unless(dcm_comm_new(&s.comm, r->group, NULL) == DCM_OK);
    for (int i = 0; i < 2; i++) {
        gpu_do(r->cuda->host_alloc(&at[i], bytes, DCMI_CU_HOST_PORTABLE));
        memset(at[i], 0, bytes);
    }
    s.src = at[0];
    s.dst = at[1];
    capture(&s);
    for (s.serial = 1; s.serial <= replays; s.serial++) {
        unsigned pick;
        int g;

        random = random * 1664525u + 1013904223u;
        pick = random >> 20;
        g = pick % 64 == 0 ? (int)(pick / 64 % GRAPHS) : (int)(pick % 3);
        write_inputs(&s, counts[g]);
        if (pick % 17 == 0)
            call(&s, counts[g]);
        else
            gpu_do(r->cuda->graph_launch(s.exec[g], r->stream));
        if (pick % 101 == 0)
            gpu_die_unless(dcm_barrier(s.comm, r->stream) == DCM_OK);
        gpu_do(r->cuda->stream_sync(r->stream));
        check(&s, counts[g], g);
    }
    gpu_die_unless(dcm_comm_check(s.comm) == DCM_OK);
    if (r->rank == 0)
        printf("%d ranks: %u replays right\n", r->nranks, replays);
    gpu_meet(r);
    for (int g = 0; g < GRAPHS; g++)
        gpu_do(r->cuda->graph_exec_destroy(s.exec[g]));
    dcm_comm_free(s.comm);
    gpu_do(r->cuda->host_free(s.src));
    gpu_do(r->cuda->host_free(s.dst));
    gpu_close(r);
    return 0;
}

int main(int argc, char **argv)
{
    const int devices = gpu_count();
    const int n = argc > 1 ? atoi(argv[1]) : devices;
    unsigned replays = argc > 2 ? (unsigned)atoi(argv[2]) : 20000;

    if (devices == 0) {
        printf("no GPU: skipped\n");
        return GPU_SKIP;
    }
    if (getenv("DEVCOMM_TEST_THIN") != NULL)
        replays = 300;
    return gpu_run(n < 2 ? 2 : n, one_rank, &replays, 0, 300);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conformance of all_reduce: one table of shapes, one loop.  Every result is
 * compared bit for bit with the scalar reference, on every rank, with red zones
 * round the buffers; each algorithm is forced where it can serve the shape.
 */
#include "support.h"

#include <pthread.h>

#include "backend/cpu/reduce/reduce.h"

enum {
    RED = 256, /* bytes of red zone on either side */
    RED_BYTE = 0xa5,
};

typedef struct grid {
    int nranks;
    const char *algo; /* NULL: the plan's choice */
    const size_t *counts;
    size_t n_counts;
    bool use_arena;
    uint64_t seed;
    pthread_barrier_t barrier;
    unsigned char *src[DCM_MAX_RANKS]; /* this case's inputs, unaligned */
    unsigned char *want;
    size_t room;
    size_t cases;
} grid;

typedef struct test_case {
    dcm_dtype dtype;
    dcm_op op;
    size_t count;
    bool in_place;
    unsigned shift; /* bytes off alignment */
} test_case;

/* Values that arithmetic treats specially, by type. */
static void put_special(unsigned char *at, dcm_dtype dtype, uint64_t pick)
{
    static const uint64_t f64[] = {0,
                                   1ull << 63,
                                   0x7ff0000000000000ull,
                                   0xfff0000000000000ull,
                                   0x7ff8000000000000ull,
                                   0x7ff0000000000001ull,
                                   1,
                                   0x800fffffffffffffull,
                                   0x7fefffffffffffffull};
    static const uint32_t f32[] = {0,           0x80000000u, 0x7f800000u,
                                   0xff800000u, 0x7fc00000u, 0x7f800001u,
                                   1,           0x807fffffu, 0x7f7fffffu};
    static const uint16_t f16[] = {0,      0x8000, 0x7c00, 0xfc00, 0x7e00,
                                   0x7c01, 1,      0x83ff, 0x7bff};
    static const uint16_t bf16[] = {0,      0x8000, 0x7f80, 0xff80, 0x7fc0,
                                    0x7f81, 1,      0x807f, 0x7f7f};
    const size_t i = pick % 9;

    switch (dtype) {
    case DCM_F64:
        memcpy(at, &f64[i], 8);
        break;
    case DCM_F32:
        memcpy(at, &f32[i], 4);
        break;
    case DCM_F16:
        memcpy(at, &f16[i], 2);
        break;
    case DCM_BF16:
        memcpy(at, &bf16[i], 2);
        break;
    case DCM_F8E4M3:
    case DCM_F8E5M2:
    case DCM_I8:
    case DCM_U8:
    case DCM_I32:
    case DCM_U32:
    case DCM_I64:
    case DCM_U64:
    default:
        break; /* random bits have every value */
    }
}

static void fill(unsigned char *at, const test_case *t, uint64_t seed)
{
    const size_t item = dcm_dtype_bytes(t->dtype);
    const size_t bytes = t->count * item;
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    uint64_t v;

    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        v = test_random(&state);
        memcpy(at + i, &v, 8);
    }
    v = test_random(&state);
    memcpy(at + bytes / 8 * 8, &v, bytes % 8);
    for (size_t i = 0; i < t->count; i += 1 + test_random(&state) % 13)
        put_special(at + i * item, t->dtype, test_random(&state));
}

/* Rank 0: the inputs of all ranks and the expected result. */
static void prepare(grid *g, const test_case *t)
{
    const dcmi_reduce_ops *scalar = dcmi_reduce_select("scalar");
    const void *src[DCM_MAX_RANKS];
    void *dst[1] = {g->want};

    for (int r = 0; r < g->nranks; r++) {
        fill(g->src[r], t, g->seed + g->cases * 64 + (uint64_t)r);
        src[r] = g->src[r];
    }
    scalar->fn[t->dtype][t->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = g->nranks,
        .avg_n = g->nranks,
        .count = t->count,
    });
    g->cases++;
}

static bool is_red(const unsigned char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != RED_BYTE)
            return false;
    }
    return true;
}

static void compare(const grid *g, const test_case *t, int rank,
                    const unsigned char *got, size_t bytes)
{
    const size_t item = dcm_dtype_bytes(t->dtype);

    if (bytes == 0 || memcmp(got, g->want, bytes) == 0)
        return;
    for (size_t i = 0; i < t->count; i++) {
        if (memcmp(got + i * item, g->want + i * item, item) == 0)
            continue;
        fprintf(stderr,
                "rank %d of %d: %s %s count %zu shift %u %s algo %s: element "
                "%zu is wrong (seed %llu)\n",
                rank, g->nranks, dcm_dtype_str(t->dtype), dcm_op_str(t->op),
                t->count, t->shift, t->in_place ? "in place" : "out of place",
                g->algo != NULL ? g->algo : "auto", i,
                (unsigned long long)g->seed);
        abort();
    }
}

/* One case on one rank; src and dst have room and red zones. */
static void run_case(grid *g, const test_case *t, int rank, dcm_comm *comm,
                     unsigned char *src_base, unsigned char *dst_base)
{
    const size_t bytes = t->count * dcm_dtype_bytes(t->dtype);
    unsigned char *src = src_base + RED + t->shift;
    unsigned char *dst = t->in_place ? src : dst_base + RED + t->shift;

    pthread_barrier_wait(&g->barrier);
    if (rank == 0)
        prepare(g, t);
    pthread_barrier_wait(&g->barrier);

    memset(src_base, RED_BYTE, 2 * RED + bytes + 64);
    memset(dst_base, RED_BYTE, 2 * RED + bytes + 64);
    memcpy(src, g->src[rank], bytes);
    die_unless(dcm_all_reduce(comm, src, dst, t->count, t->dtype, t->op,
                              NULL) == DCM_OK);
    compare(g, t, rank, dst, bytes);
    if (!t->in_place)
        die_unless(bytes == 0 || memcmp(src, g->src[rank], bytes) == 0);
    die_unless(is_red(src_base, RED + t->shift));
    die_unless(is_red(src + bytes, RED));
    die_unless(t->in_place || is_red(dst_base, RED + t->shift));
    die_unless(t->in_place || is_red(dst + bytes, RED));
}

/* Sanitizers slow the large cases down most: keep a few of them. */
static bool is_thinned_out(size_t count, int i)
{
    if (!test_is_thin())
        return false;
    return (count > 1000 && i % 7 != 0) || (count > 100000 && i % 5 != 0);
}

static void rank_main(int rank, dcm_group *group, void *arg)
{
    static const unsigned shifts[] = {0, 1, 4, 8, 60};
    grid *g = arg;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_arena *arena = NULL;
    void *src;
    void *dst;
    dcm_comm *comm;
    size_t k = 0;

    opts.algo = g->algo;
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    if (g->use_arena) {
        die_unless(dcm_arena_new(&arena, comm, 2 * g->room + 4096) == DCM_OK);
        die_unless(dcm_arena_alloc(arena, &src, g->room) == DCM_OK);
        die_unless(dcm_arena_alloc(arena, &dst, g->room) == DCM_OK);
    } else {
        src = malloc(g->room);
        dst = malloc(g->room);
        die_unless(src != NULL && dst != NULL);
    }
    for (size_t c = 0; c < g->n_counts; c++) {
        for (int i = 0; i < DCM_NDTYPES * DCM_NOPS * 2; i++) {
            const test_case t = {
                .dtype = (dcm_dtype)(i / 2 / DCM_NOPS),
                .op = (dcm_op)(i / 2 % DCM_NOPS),
                .in_place = i % 2 != 0,
                .count = g->counts[c],
                .shift = shifts[k++ % 5],
            };

            if (is_thinned_out(t.count, i))
                continue;
            run_case(g, &t, rank, comm, src, dst);
        }
    }
    if (!g->use_arena) {
        free(src);
        free(dst);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_arena_free(arena);
    dcm_comm_free(comm);
}

static void run_grid(int nranks, const char *algo, const size_t *counts,
                     size_t n_counts, bool use_arena)
{
    grid g = {
        .nranks = nranks,
        .algo = algo,
        .counts = counts,
        .n_counts = n_counts,
        .use_arena = use_arena,
        .seed = test_seed(),
    };
    size_t most = 0;

    for (size_t i = 0; i < n_counts; i++)
        most = counts[i] > most ? counts[i] : most;
    g.room = most * 8 + 4 * RED + 128;
    g.want = malloc(most * 8 + 8);
    assert_non_null(g.want);
    for (int r = 0; r < nranks; r++) {
        g.src[r] = malloc(most * 8 + 8);
        assert_non_null(g.src[r]);
    }
    assert_int_equal(pthread_barrier_init(&g.barrier, NULL, (unsigned)nranks),
                     0);
    test_run_threads(nranks, rank_main, &g);
    assert_true(g.cases > 0);
    printf("%zu cases on %d ranks, algorithm %s%s\n", g.cases, nranks,
           algo != NULL ? algo : "auto", use_arena ? ", arena" : "");
    (void)pthread_barrier_destroy(&g.barrier);
    for (int r = 0; r < nranks; r++)
        free(g.src[r]);
    free(g.want);
}

static const size_t counts[] = {0, 1, 3, 17, 1023, 4096, 1048577};
static const size_t small[] = {1, 7, 8, 15, 56, 57, 100, 128};
static const size_t middle[] = {1, 33, 4097, 16385};
static const size_t large[] = {1, 65, 5000, 70001, 300007};

static void test_auto(void **state)
{
    static const int ranks[] = {1, 2, 3, 4, 5, 8};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        if (test_is_thin() && ranks[i] > 3)
            continue;
        run_grid(ranks[i], NULL, counts, 7, false);
    }
}

static void test_forced(void **state)
{
    static const int ranks[] = {2, 3, 5};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        run_grid(ranks[i], "mail", small, 8, false);
        run_grid(ranks[i], "one_shot", middle, 4, false);
        run_grid(ranks[i], "two_shot", large, test_is_thin() ? 4 : 5, false);
    }
}

/* Nothing to reduce: still an operation, which no rank may run ahead of. */
static void empty_rank(int rank, dcm_group *group, void *arg)
{
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm *comm;

    opts.algo = arg;
    opts.timeout_ms = 20000;
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    for (int32_t i = 0; i < 3000; i++) {
        int32_t v = rank + i;

        for (int k = 0; k < i % 4; k++)
            die_unless(dcm_all_reduce(comm, NULL, NULL, 0, DCM_I32, DCM_SUM,
                                      NULL) == DCM_OK);
        if (strcmp(opts.algo, "direct") == 0)
            continue;
        die_unless(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(v == 2 * i + 1);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_empty(void **state)
{
    static const char *const algos[] = {"auto", "mail", "one_shot", "two_shot",
                                        "direct"};

    (void)state;
    for (size_t i = 0; i < sizeof(algos) / sizeof(algos[0]); i++)
        test_run_threads(2, empty_rank, (void *)(uintptr_t)algos[i]);
}

static void test_arena(void **state)
{
    static const int ranks[] = {1, 2, 3, 4};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
        run_grid(ranks[i], NULL, large, 5, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_forced),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU kernels themselves, compiled for the host, between rank threads: every
 * algorithm, type and operator against the scalar reference, back to back with
 * changing sizes and grids, unaligned and in place, at turning epochs; and what
 * ends a wait: a dead, a departed, a late peer, a failed communicator, a call that
 * differs.
 *
 * Blocks of one call run in order in the rank's thread, or each in its own.
 */
#include "model/peer_world.h"

#include "backend/cpu/reduce/reduce.h"
#include "base/compiler.h"

typedef struct call {
    dcmi_peer_algo algo;
    dcm_dtype dtype;
    dcm_op op;
    size_t count;
    unsigned shift; /* bytes off alignment */
    bool in_place;
    unsigned spread; /* so many times the blocks needed */
} call;

static void reduce(world *w, int rank, const call *c, const void *src,
                   void *dst)
{
    const uint64_t bytes = c->count * dcm_dtype_bytes(c->dtype);
    dcmk_args a = {.src = address(src), .dst = address(dst)};
    const uint64_t both = a.src | a.dst;
    const uint32_t align = both % 16 == 0 ? 16 : both % 8 == 0 ? 8 : 1;
    const dcmi_peer_shape shape =
        dcmi_peer_shape_of(&w->lay, c->algo, c->dtype, c->op, bytes, align);
    char name[48];

    die_unless(bytes <= w->lay.most[c->algo]);
    common_args(w, rank, &a);
    a.sign = dcmi_peer_sign(1, c->dtype, c->op, c->count, 0);
    dcmi_peer_fill(&a, &w->lay, &shape, c->dtype, c->op, bytes);
    die_unless(dcmi_peer_kernel_name(name, sizeof(name), &w->lay, c->algo,
                                     shape.what));
    run_grid(w, name, &a, shape.grid * (1 + c->spread), shape.threads);
}

static void barrier(world *w, int rank)
{
    const dcmi_peer_shape shape = {.algo = DCMI_PEER_LL128};
    dcmk_args a = {.sign = 7};

    common_args(w, rank, &a);
    dcmi_peer_fill(&a, &w->lay, &shape, DCM_U8, DCM_SUM, 0);
    run_grid(w, "dcmk_k_barrier", &a, 1, DCMK_LANES);
}

/* ---- results -------------------------------------------------------------- */

/* Rank 0: random bits, which have every value of small types, and words of ones. */
static void prepare(world *w, const call *c, uint64_t *seed)
{
    const dcmi_reduce_ops *scalar = dcmi_reduce_select("scalar");
    const size_t bytes = c->count * dcm_dtype_bytes(c->dtype);
    const void *src[MOST];
    void *dst[1] = {w->want};

    for (int r = 0; r < w->n; r++) {
        unsigned char *at = w->rank[r].src + RED + c->shift;

        for (size_t i = 0; i < bytes; i++)
            at[i] = (unsigned char)(test_random(seed) >> 13);
        for (size_t i = test_random(seed) % 90; i + 8 <= bytes;
             i += 8 + test_random(seed) % 400)
            memset(at + i, 0xff, 8);
        src[r] = at;
    }
    scalar->fn[c->dtype][c->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = w->n,
        .avg_n = w->n,
        .count = c->count,
    });
}

static void check(const world *w, int rank, const call *c,
                  const unsigned char *got)
{
    const size_t item = dcm_dtype_bytes(c->dtype);
    const size_t bytes = c->count * item;

    for (size_t i = 0; i < RED; i++)
        die_unless(w->rank[rank].dst[c->shift + i] == 0xa5 &&
                   w->rank[rank].dst[c->shift + RED + bytes + i] == 0xa5);
    for (size_t i = 0; i < bytes; i++) {
        if (got[i] == w->want[i])
            continue;
        fprintf(stderr,
                "rank %d of %d: %s %s %s count %zu shift %u: byte %zu "
                "is %02x, not %02x\n",
                rank, w->n, dcmi_peer_algo_name(c->algo),
                dcm_dtype_str(c->dtype), dcm_op_str(c->op), c->count, c->shift,
                i, got[i], w->want[i]);
        abort();
    }
}

static void one_call(world *w, int rank, const call *c, uint64_t *seed)
{
    rank_state *s = &w->rank[rank];
    const size_t bytes = c->count * dcm_dtype_bytes(c->dtype);
    unsigned char *src = s->src + RED + c->shift;
    unsigned char *dst = s->dst + RED + c->shift;

    (void)pthread_barrier_wait(&w->barrier);
    if (rank == 0)
        prepare(w, c, seed);
    (void)pthread_barrier_wait(&w->barrier);
    memset(s->dst, 0xa5, bytes + 3 * RED);
    if (c->in_place)
        memcpy(dst, src, bytes);
    reduce(w, rank, c, c->in_place ? dst : src, dst);
    check(w, rank, c, dst);
}

static bool has_algo(const world *w, const call *c)
{
    return dcmi_peer_serves(&w->lay, c->algo, c->dtype);
}

static void grid_rank(world *w, int rank, void *arg)
{
    static const size_t counts[] = {1, 3, 59, 60, 61, 240, 1000, 3001};
    uint64_t seed = *(const uint64_t *)arg;
    unsigned k = 0;

    for (int i = 0; i < DCMI_PEER_ALGOS * DCM_NDTYPES * DCM_NOPS; i++) {
        for (size_t n = 0; n < 8; n++, k++) {
            const call c = {
                .algo = (dcmi_peer_algo)(i % DCMI_PEER_ALGOS),
                .dtype = (dcm_dtype)(i / DCMI_PEER_ALGOS / DCM_NOPS),
                .op = (dcm_op)(i / DCMI_PEER_ALGOS % DCM_NOPS),
                .count = counts[n],
                .shift = k % 3 == 0   ? 0
                         : k % 3 == 1 ? 8
                                      : k % 7,
                .in_place = k % 5 == 0,
                .spread = k % 11 == 0,
            };

            if (has_algo(w, &c) && (!test_is_thin() || k % 5 == 0))
                one_call(w, rank, &c, &seed);
            if (k % 50 == 0)
                barrier(w, rank);
        }
    }
    die_unless(w->rank[rank].watch.has_failed == 0);
}

static void test_grid(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 2 * (MOST - 1); i++) {
        const int n = 2 + i / 2;
        world *w = malloc(sizeof(*w));

        assert_non_null(w);
        world_new(w, n, n % 2 != 0 ? 1 : 0xfffffff0u, i % 2 != 0);
        run(w, grid_rank, &seed);
        world_free(w);
        free(w);
    }
}

/* No meeting between calls but the calls themselves; each rank's own inputs. */
static void soak_rank(world *w, int rank, void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;
    const int calls = test_is_thin() ? 1500 : 15000;
    uint32_t *src = malloc(4 * 4096);
    uint32_t *dst = malloc(4 * 4096);

    die_unless(src != NULL && dst != NULL);
    for (int i = 0; i < calls; i++) {
        call c = {
            .algo = (dcmi_peer_algo)(test_random(&seed) % DCMI_PEER_ALGOS),
            .dtype = DCM_F32,
            .op = DCM_MAX,
            .count = 1 + test_random(&seed) % 4000 % (1u << i % 13),
            .spread = (unsigned)(test_random(&seed) % 3),
        };

        if (!has_algo(w, &c))
            c.algo = w->lay.is_staged ? DCMI_PEER_STAGED : DCMI_PEER_LL128;
        for (size_t k = 0; k < c.count; k++) {
            const float x = (float)(i + (int)k + rank * ((int)k % 2 * 2 - 1));

            memcpy(&src[k], &x, 4);
            dst[k] = 0x7fc0dead;
        }
        reduce(w, rank, &c, src, dst);
        for (size_t k = 0; k < c.count; k++) {
            const float x = (float)(i + (int)k + (k % 2 != 0 ? w->n - 1 : 0));

            die_unless(memcmp(&dst[k], &x, 4) == 0);
        }
        if (i % 97 == 0)
            barrier(w, rank);
    }
    free(src);
    free(dst);
}

static void test_soak(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 6; i++) {
        world *w = malloc(sizeof(*w));

        assert_non_null(w);
        world_new(w, 2 + i / 2, 1, i % 2 != 0);
        run(w, soak_rank, &seed);
        world_free(w);
        free(w);
    }
}

static void parallel_rank(world *w, int rank, void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;

    for (unsigned i = 0; i < (test_is_thin() ? 80u : 400u); i++) {
        const call c = {
            .algo = (dcmi_peer_algo)(i % DCMI_PEER_ALGOS),
            .dtype = DCM_BF16,
            .op = DCM_SUM,
            .count = 100 + i * 7 % 1500,
        };

        if (has_algo(w, &c))
            one_call(w, rank, &c, &seed);
    }
}

/* Blocks side by side, as on a device. */
static void test_parallel(void **state)
{
    uint64_t seed = test_seed();
    world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    for (int i = 0; i < 4; i++) {
        world_new(w, 2 + i / 2, 1, i % 2 != 0);
        w->is_parallel = true;
        run(w, parallel_rank, &seed);
        world_free(w);
    }
    free(w);
}

/* ---- the peer test -------------------------------------------------------- */

/* *arg: 0, or what the mapping of rank 0's memory, as rank 1 has it, does wrong. */
static void probe_rank(world *w, int rank, void *arg)
{
    const uint32_t wrong = *(const uint32_t *)arg;
    uint32_t bad[DCMK_RANKS];
    dcmk_args a = {.dst = address(bad), .nranks = w->n};

    memset(bad, 0xff, sizeof(bad));
    common_args(w, rank, &a);
    a.timeout_ns = wrong != 0 ? 100000000u : w->timeout_ns;
    if (wrong != 0 && rank == 1)
        a.peer[0] =
            address(w->want); /* elsewhere: writes and reads go astray */
    run_grid(w, "dcmk_k_probe", &a, 1, DCMK_LANES);
    for (int p = 0; p < w->n; p++) {
        uint32_t want = 0;

        if (wrong != 0 && rank == 0)
            want = DCMK_PROBE_ATOMIC | (p == 1 ? DCMK_PROBE_LATE : 0);
        if (wrong != 0 && rank == 1 && p == 0)
            want = DCMK_PROBE_READ;
        if (bad[p] != want)
            fprintf(stderr, "rank %d of %d finds %#x of rank %d, not %#x\n",
                    rank, w->n, bad[p], p, want);
        die_unless(bad[p] == want);
    }
}

static void test_probe(void **state)
{
    world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        /* Lanes take turns here: with more ranks others would come late too. */
        for (int n = 2; n <= (wrong != 0 ? 2 : MOST); n++) {
            world_new(w, n, 1, false);
            memset(w->want, 0, 1 << 20);
            run(w, probe_rank, &wrong);
            world_free(w);
        }
    }
    free(w);
}

/* ---- what ends a wait ----------------------------------------------------- */

typedef struct ending {
    dcmi_peer_algo algo;
    uint32_t cause;
} ending;

/* Rank 1 of two does what the case says; rank 0 waits for it. */
static void ending_rank(world *w, int rank, void *arg)
{
    const ending *e = arg;
    rank_state *s = &w->rank[rank];
    call c = {.algo = e->algo, .dtype = DCM_BF16, .op = DCM_SUM, .count = 600};

    memset(s->src, 0x3f, 2048);
    memset(s->dst, 0xa5, 2048);
    for (int i = 0; i < 3; i++)
        reduce(w, rank, &c, s->src, s->dst);
    if (rank == 1) {
        switch (e->cause) {
        case DCMK_CAUSE_DEAD:
            __atomic_store_n(&w->life[1], DCMK_LIFE_DIED | 77u,
                             __ATOMIC_RELAXED);
            return;
        case DCMK_CAUSE_LEFT:
            __atomic_store_n(&w->stage[1], DCMK_STAGE_FREED, __ATOMIC_RELAXED);
            return;
        case DCMK_CAUSE_FAILED:
            __atomic_store_n(&w->fail, 5, __ATOMIC_RELAXED);
            return;
        case DCMK_CAUSE_MISMATCH:
            c.count = 599;
            break;
        default:
            return;
        }
    } else if (e->cause == DCMK_CAUSE_MISMATCH && e->algo == DCMI_PEER_PUSH) {
        c.algo = DCMI_PEER_LL128; /* another algorithm finds it as well */
    }
    memset(s->dst, 0xa5, 2048);
    reduce(w, rank, &c, s->src, s->dst);
    die_unless(s->watch.has_failed == 1 && s->record.state == 1);
    if (s->record.cause != e->cause)
        fprintf(stderr, "rank %d, %s: cause %u, not %u\n", rank,
                dcmi_peer_algo_name(e->algo), s->record.cause, e->cause);
    die_unless(s->record.cause == e->cause && s->record.epoch == 4);
    die_unless(s->record.peer == (uint32_t)(1 - rank));
    /* Words cannot say that they are another call's; their header did. */
    for (int i = 0; i < 1200 && e->cause != DCMK_CAUSE_MISMATCH; i++)
        die_unless(s->dst[i] == 0xa5);
}

static void test_endings(void **state)
{
    world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    for (int i = 0; i < DCMI_PEER_ALGOS * 5; i++) {
        ending e = {(dcmi_peer_algo)(i % DCMI_PEER_ALGOS),
                    DCMK_CAUSE_DEAD + (uint32_t)(i / DCMI_PEER_ALGOS)};

        world_new(w, 2, 1, e.algo == DCMI_PEER_STAGED);
        if (e.cause == DCMK_CAUSE_LATE)
            w->timeout_ns = 50000000;
        run(w, ending_rank, &e);
        world_free(w);
    }
    free(w);
}

/* ---- kernels of one rank side by side ------------------------------------- */

typedef struct beside {
    world *w;
    dcmi_peer_algo algo;
} beside;

static void beside_call(const beside *b)
{
    rank_state *s = &b->w->rank[0];
    const call c = {
        .algo = b->algo, .dtype = DCM_BF16, .op = DCM_SUM, .count = 600};

    reduce(b->w, 0, &c, s->src, s->dst);
}

static void *beside_main(void *arg)
{
    beside_call(arg);
    return NULL;
}

/* Rank 0's kernel waits for rank 1, which does not come; its next one begins. */
static void beside_waiting(const beside *b)
{
    rank_state *s = &b->w->rank[0];
    beside copy = *b;
    pthread_t t;

    die_unless(pthread_create(&t, NULL, beside_main, &copy) == 0);
    while (__atomic_load_n(&s->epochs[0], __ATOMIC_RELAXED) == 1)
        (void)sched_yield();
    beside_call(b);
    die_unless(pthread_join(t, NULL) == 0);
}

/* Two kernels have taken the same epoch. */
static void beside_twin(const beside *b)
{
    rank_state *s = &b->w->rank[0];

    s->watch.turn.begun = 1;
    beside_call(b);
}

static void test_beside(void **state)
{
    world *w = malloc(sizeof(*w));

    (void)state;
    assert_non_null(w);
    for (int i = 0; i < 2 * DCMI_PEER_ALGOS; i++) {
        const beside b = {w, (dcmi_peer_algo)(i / 2)};
        rank_state *s = &w->rank[0];

        /* Kernels side by side are a race, which is what is looked for here. */
        if (DCMI_TSAN && i % 2 == 0)
            continue;
        world_new(w, 2, 1, b.algo == DCMI_PEER_STAGED);
        if (i % 2 == 0)
            beside_waiting(&b);
        else
            beside_twin(&b);
        assert_int_equal(s->record.state, 1);
        assert_int_equal(s->record.cause, DCMK_CAUSE_OVERLAP);
        assert_int_equal(s->record.peer, 0);
        assert_int_equal(s->watch.has_failed, 1);
        world_free(w);
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),     cmocka_unit_test(test_soak),
        cmocka_unit_test(test_parallel), cmocka_unit_test(test_probe),
        cmocka_unit_test(test_endings),  cmocka_unit_test(test_beside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

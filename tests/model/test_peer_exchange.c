/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU kernels that move bytes between pairs, compiled for the host, between rank
 * threads: every collective but all_reduce against what it must give, pieces, rows,
 * counts of zero, in place, back to back with barriers and messages, whose pairs
 * count for themselves; and what ends a wait.
 */
#include "model/peer_world.h"

#include "backend/peer/exchange.h"
#include "coll_case.h"

enum {
    ROOM = 1 << 19 /* bytes of a buffer */
};

/* ---- a call, as the host side of the backend makes it --------------------- */

static void launch_move(world *w, const dcmi_peer_move *s,
                        const dcmk_exchange *x)
{
    char name[48];

    die_unless(dcmi_peer_mover_name(name, sizeof(name), w->n, w->lay.is_staged,
                                    s->mover));
    run_grid(w, name, &x->a, s->grid, s->threads);
}

static void begin_exchange(world *w, int rank, dcmk_exchange *x)
{
    memset(x, 0, sizeof(*x));
    common_args(w, rank, &x->a);
    x->counters = address(w->rank[rank].counters);
}

static void begin_messages(world *w, int rank, dcmk_exchange *x)
{
    begin_exchange(w, rank, x);
    dcmi_peer_fill_messages(x, &w->lay);
}

static void launch_messages(world *w, dcmk_exchange *x)
{
    const dcmi_peer_move s = dcmi_peer_message_shape(x, &w->lay);

    launch_move(w, &s, x);
}

static void launch_rest(world *w, int rank, const dcm_coll *coll,
                        const dcmi_peer_moves *m)
{
    uint64_t end = 0;

    for (int p = 0; p < w->n; p++) {
        end = m->out_bytes[p] > end ? m->out_bytes[p] : end;
        end = m->in_bytes[p] > end ? m->in_bytes[p] : end;
    }
    for (uint64_t at = w->lay.most_exchange; at < end;
         at += w->lay.most_message) {
        dcmk_exchange x;

        begin_messages(w, rank, &x);
        dcmi_peer_rest(&x, &w->lay, m, coll, at);
        launch_messages(w, &x);
    }
}

static void launch_call(world *w, int rank, const dcm_coll *coll)
{
    dcmk_exchange x;
    dcmi_peer_moves m;
    uint64_t at = 0;

    dcmi_peer_plan_moves(&m, coll, rank, w->n);
    begin_exchange(w, rank, &x);
    dcmi_peer_fill_exchange(&x, &w->lay);
    do {
        const dcmi_peer_move s =
            dcmi_peer_piece(&x, &at, &w->lay, &m, coll, at);

        launch_move(w, &s, &x);
    } while (at < m.largest && !m.is_private);
    if (m.is_private)
        launch_rest(w, rank, coll, &m);
}

static void barrier(world *w, int rank)
{
    const dcmi_peer_shape shape = {.algo = DCMI_PEER_LL128};
    dcmk_args a = {.sign = 7};

    common_args(w, rank, &a);
    dcmi_peer_fill(&a, &w->lay, &shape, DCM_U8, DCM_SUM, 0);
    run_grid(w, "dcmk_k_barrier", &a, 1, DCMK_LANES);
}

/* ---- a case --------------------------------------------------------------- */

/* A rank's input of call `serial`: random bits. */
static void fill(unsigned char *at, size_t bytes, uint64_t serial, int rank)
{
    uint64_t seed = (serial * 977 + (uint64_t)rank * 1000003u) | 1;

    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(test_random(&seed) >> 13);
}

/* Buffers of one rank thread: no rank needs another's to check its own. */
typedef struct site {
    unsigned char *inputs[MOST];
    unsigned char *src;
    unsigned char *dst;
    unsigned char *want;
} site;

static void site_new(site *s, int n)
{
    for (int p = 0; p < n; p++)
        s->inputs[p] = malloc(ROOM);
    s->src = aligned_alloc(64, ROOM + 4 * RED);
    s->dst = aligned_alloc(64, ROOM + 4 * RED);
    s->want = malloc(ROOM + 4 * RED);
    die_unless(s->src != NULL && s->dst != NULL && s->want != NULL);
}

static void site_free(site *s, int n)
{
    for (int p = 0; p < n; p++)
        free(s->inputs[p]);
    free(s->src);
    free(s->dst);
    free(s->want);
}

static void compare(const site *s, const coll_case *t, int rank,
                    const unsigned char *got, size_t bytes)
{
    char name[128];

    for (size_t i = 0; i < bytes; i++) {
        if (got[i] == s->want[i])
            continue;
        coll_name(t, name, sizeof(name));
        fprintf(stderr, "rank %d: %s: byte %td of dst is %02x, not %02x\n",
                rank, name, (ptrdiff_t)i - RED, got[i], s->want[i]);
        abort();
    }
}

static void one_case(world *w, int rank, site *s, const coll_case *t,
                     uint64_t serial, unsigned shift)
{
    const bool in_place = t->in_place && coll_may_alias(t, rank);
    const ptrdiff_t place = coll_place(t, rank);
    const size_t src_bytes = coll_src_bytes(t, rank);
    const size_t dst_bytes = coll_dst_bytes(t, rank);
    unsigned char *src = s->src + RED + shift;
    unsigned char *dst = s->dst + RED + (shift ^ (shift & 1) << 2);
    coll_lists lists;
    dcm_coll coll;

    die_unless(src_bytes + RED <= ROOM && dst_bytes + RED <= ROOM);
    for (int p = 0; p < t->nranks; p++)
        fill(s->inputs[p], coll_src_bytes(t, p), serial, p);
    memset(s->src, 0xa5, src_bytes + 4 * RED);
    memset(s->dst, 0xa5, dst_bytes + 4 * RED);
    if (in_place && place >= 0)
        src = dst + place;
    else if (in_place)
        dst = src - place;
    memcpy(src, s->inputs[rank], src_bytes);
    memcpy(s->want, dst - RED, dst_bytes + 2 * RED);
    coll_want(t, rank, s->inputs, s->want + RED);
    coll = coll_call(t, rank, &lists, src, dst, NULL);
    launch_call(w, rank, &coll);
    compare(s, t, rank, dst - RED, dst_bytes + 2 * RED);
}

static const dcm_coll_kind kinds[] = {
    DCM_COLL_ALL_GATHER, DCM_COLL_BROADCAST,  DCM_COLL_GATHER,
    DCM_COLL_SCATTER,    DCM_COLL_ALL_TO_ALL, DCM_COLL_REDUCE_SCATTER,
    DCM_COLL_REDUCE,
};

enum {
    KINDS = 7
};

static void grid_rank(world *w, int rank, void *arg)
{
    static const size_t counts[] = {0, 1, 7, 60, 61, 420, 1001, 3003};
    uint64_t serial = *(const uint64_t *)arg;
    unsigned k = 0;
    site s;

    site_new(&s, w->n);
    for (int i = 0; i < KINDS * COLL_SHAPES * DCM_NDTYPES; i++) {
        for (size_t n = 0; n < 8; n++) {
            const coll_case t = {
                .kind = kinds[i % KINDS],
                .shape = (coll_shape)(i / KINDS % COLL_SHAPES),
                .dtype = (dcm_dtype)(i / KINDS / COLL_SHAPES),
                .op = (dcm_op)((unsigned)i + n) % DCM_NOPS,
                .count = counts[n],
                .root = (int)(k % (unsigned)w->n),
                .nranks = w->n,
                .in_place = k % 3 == 0,
            };

            if (!coll_is_call(&t))
                continue;
            k++;
            if (test_is_thin() && k % 4 != 0)
                continue;
            one_case(w, rank, &s, &t, serial + k,
                     k % 3 == 0   ? 0
                     : k % 3 == 1 ? 8
                                  : k % 7);
            if (k % 50 == 0)
                barrier(w, rank);
        }
    }
    die_unless(w->rank[rank].watch.has_failed == 0);
    site_free(&s, w->n);
}

static void run_world(int n, uint64_t epoch, bool is_staged,
                      void (*fn)(world *w, int rank, void *arg), void *arg)
{
    world *w = malloc(sizeof(*w));

    assert_non_null(w);
    world_new(w, n, epoch, is_staged);
    run(w, fn, arg);
    world_free(w);
    free(w);
}

static void test_grid(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 2 * (MOST - 1); i++)
        run_world(2 + i / 2, i / 2 % 2 != 0 ? 1 : 0xfffffff0u, i % 2 != 0,
                  grid_rank, &seed);
}

/* ---- pieces: staging so small that every call takes several launches ------ */

static void pieces_rank(world *w, int rank, void *arg)
{
    uint64_t serial = *(const uint64_t *)arg;
    site s;

    site_new(&s, w->n);
    for (int i = 0; i < KINDS * COLL_SHAPES * 4; i++) {
        const coll_case t = {
            .kind = kinds[i % KINDS],
            .shape = (coll_shape)(i / KINDS % COLL_SHAPES),
            .dtype = i % 2 != 0 ? DCM_BF16 : DCM_F64,
            .op = DCM_SUM,
            .count = 3500 + (size_t)i * 7,
            .root = i % w->n,
            .nranks = w->n,
            .in_place = i % 3 == 0,
        };

        if (coll_is_call(&t))
            one_case(w, rank, &s, &t, serial + (unsigned)i, i % 2 != 0 ? 3 : 0);
    }
    site_free(&s, w->n);
}

static void test_pieces(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 6; i++) {
        world *w = malloc(sizeof(*w));

        assert_non_null(w);
        world_new(w, 2 + i / 2, 1, i % 2 != 0);
        if (i % 2 != 0) {
            w->lay.most_exchange = DCMK_STAGED_SPAN;
            w->lay.most_message = DCMK_STAGED_SPAN;
        } else {
            w->lay.most_exchange = 5 * DCMK_WARP_DATA;
            w->lay.most_message = 3 * DCMK_WARP_DATA;
        }
        run(w, pieces_rank, &seed);
        world_free(w);
        free(w);
    }
}

/* ---- back to back --------------------------------------------------------- */

/* What goes from `from` to `to` in a step: every rank computes it alike. */
static size_t step_bytes(uint64_t step, int from, int to)
{
    uint64_t seed = step * 1000003u + (uint64_t)(from * 37 + to) + 5;
    const uint64_t v = test_random(&seed) >> 20;

    return v % 3 == 0 ? SIZE_MAX : (size_t)(v >> 8) % (1u << v % 13);
}

/* Messages of all pairs that have one, side by side, or sends first. */
static void messages_step(world *w, int rank, site *s, uint64_t step)
{
    const bool is_split = step % 5 == 0;
    unsigned char *at = s->src;
    dcmk_exchange x;

    begin_messages(w, rank, &x);
    for (int p = 0; p < w->n; p++) {
        const size_t out = step_bytes(step, rank, p);
        const size_t in = step_bytes(step, p, rank);
        dcmi_peer_message m = {address(at), out, (uint32_t)(step & 0xffff)};

        if (out != SIZE_MAX) {
            fill(at, out, step, rank * 16 + p);
            dcmi_peer_message_out(&x, p, &m);
            at += out;
        }
        m.at = address(s->dst + p * 8192);
        m.bytes = in;
        if (in != SIZE_MAX && (!is_split || p == rank))
            dcmi_peer_message_in(&x, p, &m);
    }
    memset(s->dst, 0xa5, (size_t)w->n * 8192);
    launch_messages(w, &x);
    if (is_split) {
        begin_messages(w, rank, &x);
        for (int p = 0; p < w->n; p++) {
            const dcmi_peer_message m = {address(s->dst + p * 8192),
                                         step_bytes(step, p, rank),
                                         (uint32_t)(step & 0xffff)};

            if (m.bytes != SIZE_MAX && p != rank)
                dcmi_peer_message_in(&x, p, &m);
        }
        launch_messages(w, &x);
    }
    for (int p = 0; p < w->n; p++) {
        const size_t in = step_bytes(step, p, rank);

        if (in == SIZE_MAX)
            continue;
        fill(s->want, in, step, p * 16 + rank);
        die_unless(memcmp(s->dst + p * 8192, s->want, in) == 0);
        die_unless(s->dst[p * 8192 + (ptrdiff_t)in] == 0xa5);
    }
}

/* No meeting between calls but the calls themselves. */
static void soak_rank(world *w, int rank, void *arg)
{
    uint64_t seed = *(const uint64_t *)arg;
    const uint64_t steps = test_is_thin() ? 800 : 8000;
    site s;

    site_new(&s, w->n);
    for (uint64_t i = 0; i < steps; i++) {
        const uint64_t v = test_random(&seed) >> 20;
        const coll_case t = {
            .kind = kinds[v % KINDS],
            .shape = (coll_shape)(v / 8 % COLL_SHAPES),
            .dtype = (dcm_dtype)(v / 32 % DCM_NDTYPES),
            .op = (dcm_op)(v / 512 % DCM_NOPS),
            .count = (size_t)(v >> 16) % (1u << i % 11),
            .root = (int)(v / 4096 % (unsigned)w->n),
            .nranks = w->n,
            .in_place = i % 4 == 0,
        };

        if (i % 3 == 0)
            messages_step(w, rank, &s, i);
        else if (coll_is_call(&t))
            one_case(w, rank, &s, &t, i, (unsigned)(v >> 40) % 9);
        if (i % 97 == 0)
            barrier(w, rank);
    }
    die_unless(w->rank[rank].watch.has_failed == 0);
    site_free(&s, w->n);
}

static void test_soak(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 6; i++)
        run_world(2 + i / 2, i < 4 ? 1 : 0xffffff00u, i % 2 != 0, soak_rank,
                  &seed);
}

/* Blocks side by side, as on a device. */
static void parallel_rank(world *w, int rank, void *arg)
{
    uint64_t serial = *(const uint64_t *)arg;
    site s;

    site_new(&s, w->n);
    for (int i = 0; i < (test_is_thin() ? 60 : 300); i++) {
        const coll_case t = {
            .kind = kinds[i % KINDS],
            .shape = (coll_shape)(i / KINDS % COLL_SHAPES),
            .dtype = DCM_BF16,
            .op = DCM_SUM,
            .count = (size_t)(i * 7 % 2100) / 7 * 7,
            .root = i % w->n,
            .nranks = w->n,
        };

        if (coll_is_call(&t))
            one_case(w, rank, &s, &t, serial + (unsigned)i, 0);
        messages_step(w, rank, &s, (uint64_t)i);
    }
    site_free(&s, w->n);
}

static void test_parallel(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (int i = 0; i < 4; i++) {
        world *w = malloc(sizeof(*w));

        assert_non_null(w);
        world_new(w, 2 + i / 2, 1, i % 2 != 0);
        w->is_parallel = true;
        run(w, parallel_rank, &seed);
        world_free(w);
        free(w);
    }
}

/* ---- a sender ahead of its receiver --------------------------------------- */

static void put(world *w, int rank, int way, int p, unsigned char *at,
                size_t bytes)
{
    const dcmi_peer_message m = {address(at), bytes, 9};
    dcmk_exchange x;

    begin_messages(w, rank, &x);
    if (way == 0)
        dcmi_peer_message_out(&x, p, &m);
    else
        dcmi_peer_message_in(&x, p, &m);
    launch_messages(w, &x);
}

/* The first two messages need no receiver; more than those are never lost. */
static void ahead_rank(world *w, int rank, void *arg)
{
    unsigned char *at = w->rank[rank].src;

    (void)arg;
    for (int i = 0; i < 2; i++) {
        if (rank != 0)
            break;
        fill(at, 5000, (uint64_t)i, 0);
        put(w, 0, 0, 1, at, 5000);
    }
    (void)pthread_barrier_wait(&w->barrier);
    for (int i = 0; i < 40; i++) {
        unsigned char want[5000];

        if (rank == 0 && i >= 2) {
            fill(at, 5000, (uint64_t)i, 0);
            put(w, 0, 0, 1, at, 5000);
        } else if (rank == 1) {
            put(w, 1, 1, 0, at, 5000);
            fill(want, 5000, (uint64_t)i, 0);
            die_unless(memcmp(at, want, 5000) == 0);
        }
    }
}

static void test_ahead(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        run_world(2 + i / 2, i % 2 == 0 ? 1 : 0xfffffff8u, i % 2 != 0,
                  ahead_rank, NULL);
}

/* ---- what ends a wait ----------------------------------------------------- */

typedef enum waiting {
    EXCHANGE,
    PART,
    RECEIVER,
    SENDER,
    WAITINGS
} waiting;

typedef struct ending {
    waiting what;
    uint32_t cause;
} ending;

static void ending_call(world *w, int rank, waiting what, size_t count)
{
    const coll_case t = {
        .kind = what == PART ? DCM_COLL_REDUCE : DCM_COLL_BROADCAST,
        .dtype = DCM_BF16,
        .op = DCM_SUM,
        .count = count,
        .nranks = 2,
    };
    rank_state *s = &w->rank[rank];
    coll_lists lists;
    const dcm_coll coll = coll_call(&t, rank, &lists, s->src, s->dst, NULL);
    const bool is_out = (what == SENDER) == (rank == 0);

    if (what == EXCHANGE || what == PART)
        launch_call(w, rank, &coll);
    else
        put(w, rank, is_out ? 0 : 1, 1 - rank, is_out ? s->src : s->dst,
            2 * count);
}

/* Rank 1 of two does what the case says; rank 0 waits for it. */
static void ending_rank(world *w, int rank, void *arg)
{
    const ending *e = arg;
    rank_state *s = &w->rank[rank];
    const bool is_mismatch = e->cause == DCMK_CAUSE_MISMATCH;

    for (int i = 0; i < 3; i++)
        ending_call(w, rank, e->what, 600);
    if (e->what == SENDER && rank == 0) /* there is room for one */
        ending_call(w, rank, e->what, 600);
    memset(s->dst, 0xa5, 2048);
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
            break;
        default:
            return;
        }
    }
    if (e->what == RECEIVER && is_mismatch && rank == 1) {
        const dcmi_peer_message m = {address(s->src), 10, 8};
        dcmk_exchange x;

        begin_messages(w, rank, &x);
        dcmi_peer_message_out(&x, 0, &m);
        launch_messages(w, &x);
        return; /* a sender is through */
    }
    ending_call(w, rank, e->what, is_mismatch && rank == 1 ? 599 : 600);
    die_unless(s->watch.has_failed == 1 && s->record.state == 1);
    if (s->record.cause != e->cause)
        fprintf(stderr, "rank %d, %d: cause %u, not %u\n", rank, (int)e->what,
                s->record.cause, e->cause);
    die_unless(s->record.cause == e->cause);
    die_unless(s->record.epoch == (e->what == SENDER ? 5u : 4u));
    die_unless(s->record.phase ==
               (e->what == SENDER ? DCMK_PHASE_ROOM : DCMK_PHASE_GATHER));
    die_unless(s->record.peer == (uint32_t)(1 - rank));
    for (int i = 0; i < 1200; i++)
        die_unless(s->dst[i] == 0xa5 || (e->what == EXCHANGE && rank == 0));
}

static void test_endings(void **state)
{
    (void)state;
    for (int i = 0; i < WAITINGS * 5 * 2; i++) {
        ending e = {(waiting)(i / 2 % WAITINGS),
                    DCMK_CAUSE_DEAD + (uint32_t)(i / 2 / WAITINGS)};
        world *w = malloc(sizeof(*w));

        /* A sender that waits for room sees no signature. */
        if (e.what == SENDER && e.cause == DCMK_CAUSE_MISMATCH) {
            free(w);
            continue;
        }
        assert_non_null(w);
        world_new(w, 2, 1, i % 2 != 0);
        if (e.cause == DCMK_CAUSE_LATE)
            w->timeout_ns = 50000000;
        run(w, ending_rank, &e);
        world_free(w);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),  cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_soak),  cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_ahead), cmocka_unit_test(test_endings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

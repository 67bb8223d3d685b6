/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conformance of every collective: one table of kinds, one loop over types,
 * operators, ranks, counts, roots and alignments, with a thread a rank and with all
 * ranks in one thread.  Each rank knows every rank's input by a formula and computes
 * what it must receive; reductions are compared with the scalar set, bit for bit.
 * Red zones round both buffers.
 */
#include "support.h"

#include <devcomm/backend.h>

#include "backend/cpu/reduce/reduce.h"

enum {
    RED = 192,
    RED_BYTE = 0xa5,
    MAX_N = 8,
    MIXED_MOST = 60000,
};

typedef enum shape {
    EVEN,
    INNER, /* all_gather */
    UNEVEN,
    SHAPES
} shape;

typedef struct test_case {
    dcm_coll_kind kind;
    shape shape;
    dcm_dtype dtype;
    dcm_op op;
    size_t count; /* of a block; of the largest when uneven */
    int root;
    int nranks;
    bool in_place;
    unsigned shift;
} test_case;

/* Where a rank's buffers are, and what they hold. */
typedef struct site {
    int rank;
    size_t room;
    unsigned char *src_base, *dst_base;
    dcm_arena *arena; /* NULL: src is elsewhere */
    bool is_src_there, is_dst_there;
    unsigned char *want;          /* dst's expected content */
    unsigned char *inputs[MAX_N]; /* of every rank */
    /* Of the case under way. */
    unsigned char *src, *dst;
    size_t src_bytes, dst_bytes;
    bool is_in_place;
    size_t send[MAX_N], recv[MAX_N], displs[MAX_N];
} site;

static bool is_reduction(dcm_coll_kind kind)
{
    return kind == DCM_COLL_ALL_REDUCE || kind == DCM_COLL_REDUCE ||
           kind == DCM_COLL_REDUCE_SCATTER;
}

/* Elements that `from` has for `to`: zero, small and full ones. */
static size_t pair_count(const test_case *t, int from, int to)
{
    static const unsigned parts[] = {4, 0, 1, 3, 2};

    if (t->shape != UNEVEN)
        return t->count;
    if (t->kind != DCM_COLL_ALL_TO_ALL)
        from = 0;
    return t->count * parts[(from * 3 + to) % 5] / 4;
}

static size_t block_at(const test_case *t, int from, int to)
{
    size_t at = 0;

    for (int i = 0; i < to; i++)
        at += pair_count(t, from, i);
    return at;
}

/* Elements that a rank has in src and gets in dst. */
static size_t src_count(const test_case *t, int rank)
{
    switch (t->kind) {
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_REDUCE:
    case DCM_COLL_GATHER:
        return t->count;
    case DCM_COLL_BROADCAST:
        return rank == t->root ? t->count : 0;
    case DCM_COLL_SCATTER:
        return rank == t->root ? t->count * (size_t)t->nranks : 0;
    case DCM_COLL_ALL_GATHER:
        return pair_count(t, 0, rank);
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    case DCM_COLL_REDUCE_SCATTER:
    case DCM_COLL_ALL_TO_ALL:
    default:
        return block_at(t, rank, t->nranks);
    }
}

static size_t dst_count(const test_case *t, int rank)
{
    size_t sum = 0;

    switch (t->kind) {
    case DCM_COLL_REDUCE:
        return rank == t->root ? t->count : 0;
    case DCM_COLL_GATHER:
        return rank == t->root ? t->count * (size_t)t->nranks : 0;
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BROADCAST:
    case DCM_COLL_SCATTER:
        return t->count;
    case DCM_COLL_REDUCE_SCATTER:
        return pair_count(t, 0, rank);
    case DCM_COLL_ALL_GATHER:
        return block_at(t, 0, t->nranks);
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    case DCM_COLL_ALL_TO_ALL:
    default:
        for (int r = 0; r < t->nranks; r++)
            sum += pair_count(t, r, rank);
        return sum;
    }
}

/* In place, where src lies in dst (positive) or dst in src (negative). */
static ptrdiff_t place(const test_case *t, int rank)
{
    switch (t->kind) {
    case DCM_COLL_GATHER:
    case DCM_COLL_ALL_GATHER:
        return (ptrdiff_t)block_at(t, 0, rank);
    case DCM_COLL_SCATTER:
    case DCM_COLL_REDUCE_SCATTER:
        return -(ptrdiff_t)block_at(t, 0, rank);
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    case DCM_COLL_REDUCE:
    case DCM_COLL_BROADCAST:
    case DCM_COLL_ALL_TO_ALL:
    default:
        return 0;
    }
}

static void fill(unsigned char *at, size_t bytes, int rank, uint64_t seed)
{
    uint64_t state = seed * 977 + (uint64_t)rank * 0x9e3779b97f4a7c15u + 3u;

    for (size_t i = 0; i < bytes; i += 8) {
        const uint64_t v = test_random(&state);

        memcpy(at + i, &v, bytes - i < 8 ? bytes - i : 8);
    }
}

/* What `s->rank` must have in dst afterwards. */
static void expect(const test_case *t, site *s)
{
    const size_t item = dcm_dtype_bytes(t->dtype);
    const size_t skip =
        t->kind == DCM_COLL_REDUCE_SCATTER ? block_at(t, 0, s->rank) * item : 0;
    const void *src[MAX_N];
    void *dst[1] = {s->want};
    unsigned char *to = s->want;

    if (is_reduction(t->kind)) {
        for (int r = 0; r < t->nranks; r++)
            src[r] = s->inputs[r] + skip;
        dcmi_reduce_select("scalar")->fn[t->dtype][t->op](&(dcmi_reduce_args){
            .dst = dst,
            .src = src,
            .ndst = 1,
            .nsrc = t->nranks,
            .avg_n = t->nranks,
            .count = dst_count(t, s->rank),
        });
        return;
    }
    if (t->kind == DCM_COLL_BROADCAST || t->kind == DCM_COLL_SCATTER) {
        memcpy(to,
               s->inputs[t->root] + (t->kind == DCM_COLL_SCATTER
                                         ? (size_t)s->rank * t->count * item
                                         : 0),
               t->count * item);
        return;
    }
    for (int r = 0; r < t->nranks && dst_count(t, s->rank) > 0; r++) {
        const bool is_a2a = t->kind == DCM_COLL_ALL_TO_ALL;
        const size_t n =
            is_a2a ? pair_count(t, r, s->rank) : pair_count(t, 0, r);
        const size_t at = is_a2a ? block_at(t, r, s->rank) : 0;

        memcpy(to, s->inputs[r] + at * item, n * item);
        to += n * item;
    }
}

/* The expected rows of an inner all-gather, from the packed blocks. */
static void expect_inner(const test_case *t, site *s, size_t outer,
                         size_t inner)
{
    const size_t row = inner * dcm_dtype_bytes(t->dtype);

    for (size_t o = 0; o < outer; o++) {
        for (int r = 0; r < t->nranks; r++)
            memcpy(s->want + (o * (size_t)t->nranks + (size_t)r) * row,
                   s->inputs[r] + o * row, row);
    }
}

static dcm_status call_uneven(dcm_comm *comm, const test_case *t, site *s)
{
    const size_t *displs = t->shift != 0 ? s->displs : NULL;

    for (int r = 0; r < t->nranks; r++) {
        s->send[r] = pair_count(t, s->rank, r);
        s->recv[r] = pair_count(t, r, s->rank);
        s->displs[r] = block_at(t, s->rank, r);
    }
    if (t->kind == DCM_COLL_ALL_GATHER)
        return dcm_all_gather_v(comm, s->src, s->dst, s->send, displs, t->dtype,
                                NULL);
    if (t->kind == DCM_COLL_REDUCE_SCATTER)
        return dcm_reduce_scatter_v(comm, s->src, s->dst, s->send, t->dtype,
                                    t->op, NULL);
    return dcm_all_to_all_v(comm, s->src, s->send, displs, s->dst, s->recv,
                            NULL, t->dtype, NULL);
}

static dcm_status call(dcm_comm *comm, const test_case *t, site *s)
{
    const void *src = s->src;
    void *dst = s->dst;

    if (t->shape == UNEVEN)
        return call_uneven(comm, t, s);
    switch (t->kind) {
    case DCM_COLL_ALL_REDUCE:
        return dcm_all_reduce(comm, src, dst, t->count, t->dtype, t->op, NULL);
    case DCM_COLL_REDUCE:
        return dcm_reduce(comm, src, dst, t->count, t->dtype, t->op, t->root,
                          NULL);
    case DCM_COLL_BROADCAST:
        return dcm_broadcast(comm, src, dst, t->count, t->dtype, t->root, NULL);
    case DCM_COLL_GATHER:
        return dcm_gather(comm, src, dst, t->count, t->dtype, t->root, NULL);
    case DCM_COLL_SCATTER:
        return dcm_scatter(comm, src, dst, t->count, t->dtype, t->root, NULL);
    case DCM_COLL_REDUCE_SCATTER:
        return dcm_reduce_scatter(comm, src, dst, t->count, t->dtype, t->op,
                                  NULL);
    case DCM_COLL_ALL_TO_ALL:
        return dcm_all_to_all(comm, src, dst, t->count, t->dtype, NULL);
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
    case DCM_COLL_RECV:
    case DCM_COLL_ALL_GATHER:
    default:
        return t->shape == INNER
                   ? dcm_all_gather_inner(comm, src, dst, t->count / 3, 3,
                                          t->dtype, NULL)
                   : dcm_all_gather(comm, src, dst, t->count, t->dtype, NULL);
    }
}

static void check_red(const unsigned char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        die_unless(at[i] == RED_BYTE);
}

static void report(const test_case *t, int rank)
{
    fprintf(stderr,
            "kind %d shape %d: rank %d of %d, root %d, %s %s, count %zu, "
            "shift %u%s is wrong\n",
            (int)t->kind, (int)t->shape, rank, t->nranks, t->root,
            dcm_dtype_str(t->dtype), dcm_op_str(t->op), t->count, t->shift,
            t->in_place ? ", in place" : "");
    abort();
}

static void prepare(const test_case *t, site *s, uint64_t seed)
{
    const size_t item = dcm_dtype_bytes(t->dtype);
    const ptrdiff_t at = place(t, s->rank) * (ptrdiff_t)item;

    s->src_bytes = src_count(t, s->rank) * item;
    s->dst_bytes = dst_count(t, s->rank) * item;
    s->src = s->src_base + RED + t->shift;
    s->dst = s->dst_base + RED + t->shift;
    s->is_in_place = t->in_place && s->src_bytes > 0 && s->dst_bytes > 0;
    for (int r = 0; r < t->nranks; r++)
        fill(s->inputs[r], src_count(t, r) * item, r, seed);
    if (t->shape == INNER)
        expect_inner(t, s, t->count / 3, 3);
    else
        expect(t, s);
    memset(s->src_base, RED_BYTE, s->room);
    memset(s->dst_base, RED_BYTE, s->room);
    if (s->is_in_place && at >= 0)
        s->src = s->dst + at;
    else if (s->is_in_place)
        s->dst = s->src - at;
    memcpy(s->src, s->inputs[s->rank], s->src_bytes);
}

static void verify(const test_case *t, const site *s)
{
    if (memcmp(s->dst, s->want, s->dst_bytes) != 0)
        report(t, s->rank);
    if (!s->is_in_place &&
        memcmp(s->src, s->inputs[s->rank], s->src_bytes) != 0)
        report(t, s->rank);
    check_red(s->src_base, RED + t->shift);
    check_red(s->dst_base, RED + t->shift);
    if (!s->is_in_place) {
        check_red(s->src + s->src_bytes, RED);
        check_red(s->dst + s->dst_bytes, RED);
    }
}

/* One of `n` ranks that this thread drives; alone it needs no scope. */
static void run_case(dcm_comm **comms, site *sites, int n, const test_case *t,
                     uint64_t seed)
{
    for (int i = 0; i < n; i++)
        prepare(t, &sites[i], seed);
    if (n > 1)
        die_unless(dcm_begin() == DCM_OK);
    for (int i = 0; i < n; i++)
        die_unless(call(comms[i], t, &sites[i]) == DCM_OK);
    if (n > 1)
        die_unless(dcm_end() == DCM_OK);
    for (int i = 0; i < n; i++)
        verify(t, &sites[i]);
}

typedef struct grid {
    int nranks;
    const size_t *counts;
    size_t n_counts;
    uint64_t seed;
    bool arena;
} grid;

static const struct {
    dcm_coll_kind kind;
    shape shape;
    bool has_root;
    bool may_alias;
} kinds[] = {
    {DCM_COLL_ALL_REDUCE, EVEN, false, true},
    {DCM_COLL_REDUCE, EVEN, true, true},
    {DCM_COLL_BROADCAST, EVEN, true, true},
    {DCM_COLL_GATHER, EVEN, true, true},
    {DCM_COLL_SCATTER, EVEN, true, true},
    {DCM_COLL_ALL_GATHER, EVEN, false, true},
    {DCM_COLL_ALL_GATHER, INNER, false, false},
    {DCM_COLL_ALL_GATHER, UNEVEN, false, true},
    {DCM_COLL_REDUCE_SCATTER, EVEN, false, true},
    {DCM_COLL_REDUCE_SCATTER, UNEVEN, false, true},
    {DCM_COLL_ALL_TO_ALL, EVEN, false, true},
    {DCM_COLL_ALL_TO_ALL, UNEVEN, false, false},
};
enum {
    KINDS = sizeof(kinds) / sizeof(kinds[0])
};

/* The operators matter to reductions alone. */
static void run_kind(const grid *g, dcm_comm **comms, site *sites, int n, int k,
                     size_t count)
{
    static const unsigned shifts[] = {0, 1, 4, 60};
    const int ops = is_reduction(kinds[k].kind) ? DCM_NOPS : 1;
    uint64_t serial = g->seed + count;

    for (int i = 0; i < DCM_NDTYPES * ops * 2; i++) {
        const test_case t = {
            .kind = kinds[k].kind,
            .shape = kinds[k].shape,
            .dtype = (dcm_dtype)(i / 2 / ops),
            .op = (dcm_op)(i / 2 % ops),
            .count = kinds[k].shape == INNER ? count / 3 * 3 : count,
            .root = kinds[k].has_root ? i % g->nranks : 0,
            .nranks = g->nranks,
            .in_place = i % 2 != 0 && kinds[k].may_alias,
            .shift = shifts[(unsigned)i / 2 % 4],
        };

        if (count > 20000 && i % (test_is_thin() ? 37 : 11) != 0)
            continue;
        if ((test_is_thin() && i % 5 != 0) || (g->arena && i % 3 != 0))
            continue;
        run_case(comms, sites, n, &t, serial++);
    }
}

/* src in the arena on most ranks, and dst on every third. */
static void make_arena(site *s, dcm_comm *comm)
{
    void *at;

    die_unless(dcm_arena_new(&s->arena, comm, 2 * s->room + 4096) == DCM_OK);
    die_unless(dcm_arena_alloc(s->arena, &at, s->room) == DCM_OK);
    if (s->rank % 4 != 2) {
        free(s->src_base);
        s->src_base = at;
        s->is_src_there = true;
    }
    if (s->rank % 3 != 0)
        return;
    free(s->dst_base);
    die_unless(dcm_arena_alloc(s->arena, &at, s->room) == DCM_OK);
    s->dst_base = at;
    s->is_dst_there = true;
}

static void make_site(site *s, int rank, int nranks, size_t most)
{
    *s = (site){
        .rank = rank,
        .room = most * 8 * (size_t)nranks + 2 * RED + 64,
    };
    s->src_base = malloc(s->room);
    s->dst_base = malloc(s->room);
    s->want = malloc(s->room);
    die_unless(s->src_base != NULL && s->dst_base != NULL && s->want != NULL);
    for (int r = 0; r < nranks; r++) {
        s->inputs[r] = malloc(s->room);
        die_unless(s->inputs[r] != NULL);
    }
}

static void free_site(site *s, int nranks)
{
    for (int r = 0; r < nranks; r++)
        free(s->inputs[r]);
    free(s->want);
    if (!s->is_src_there)
        free(s->src_base);
    if (!s->is_dst_there)
        free(s->dst_base);
}

static void rank_main(int rank, dcm_group *group, void *arg)
{
    const grid *g = arg;
    dcm_comm *comm;
    size_t most = 0;
    site s;

    for (size_t i = 0; i < g->n_counts; i++)
        most = g->counts[i] > most ? g->counts[i] : most;
    make_site(&s, rank, g->nranks, most);
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    if (g->arena)
        make_arena(&s, comm);
    for (size_t c = 0; c < g->n_counts; c++) {
        for (int k = 0; k < KINDS; k++)
            run_kind(g, &comm, &s, 1, k, g->counts[c]);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    free_site(&s, g->nranks);
    dcm_arena_free(s.arena);
    dcm_comm_free(comm);
}

static const size_t counts[] = {0, 1, 3, 17, 130, 1023, 4099};
static const size_t large[] = {100003, 1048577};

static void test_grid(void **state)
{
    static const int ranks[] = {1, 2, 3, 4, 5, 8};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        grid g = {ranks[i], counts, 7, test_seed(), false};

        if (test_is_thin() && ranks[i] > 3)
            continue;
        test_run_threads(ranks[i], rank_main, &g);
        g.arena = true;
        test_run_threads(ranks[i], rank_main, &g);
    }
}

/* Many pieces: slots are used again. */
static void test_large(void **state)
{
    (void)state;
    for (int n = 2; n <= (test_is_thin() ? 2 : 3); n++) {
        grid g = {n, large, test_is_thin() ? 1 : 2, test_seed(), false};

        test_run_threads(n, rank_main, &g);
        g.arena = n == 2;
        if (g.arena)
            test_run_threads(n, rank_main, &g);
    }
}

/*
 * A random sequence of operations, kinds and sizes mixed, over two communicators
 * in turn: what one operation leaves behind, the next one must bear.
 */
static void mixed_rank(int rank, dcm_group *group, void *arg)
{
    const grid *g = arg;
    const int rounds = test_is_thin() ? 300 : 4000;
    uint64_t state = g->seed;
    dcm_comm *comm[2];
    site s;

    make_site(&s, rank, g->nranks, MIXED_MOST);
    die_unless(dcm_comm_new(&comm[0], group, NULL) == DCM_OK);
    die_unless(dcm_comm_new(&comm[1], group, NULL) == DCM_OK);
    if (g->arena)
        make_arena(&s, comm[1]); /* comm[0] must copy */
    for (int i = 0; i < rounds; i++) {
        const uint64_t v = test_random(&state);
        const int k = (int)(v % KINDS);
        const size_t most = (v >> 8) % 16 == 0 ? MIXED_MOST : 1500;
        const size_t count = (v >> 16) % most;
        const test_case t = {
            .kind = kinds[k].kind,
            .shape = kinds[k].shape,
            .dtype = (dcm_dtype)((v >> 40) % DCM_NDTYPES),
            .op = is_reduction(kinds[k].kind) ? (dcm_op)((v >> 44) % DCM_NOPS)
                                              : DCM_SUM,
            .count = kinds[k].shape == INNER ? count / 3 * 3 : count,
            .root =
                kinds[k].has_root ? (int)((v >> 48) % (unsigned)g->nranks) : 0,
            .nranks = g->nranks,
            .in_place = (v >> 52) % 2 != 0 && kinds[k].may_alias,
            .shift = (unsigned)(v >> 53) % 61,
        };

        run_case(&comm[(v >> 60) & 1], &s, 1, &t, v);
        if (v % 13 == 0) {
            int32_t one = 1;

            die_unless(dcm_all_reduce(comm[0], &one, &one, 1, DCM_I32, DCM_SUM,
                                      NULL) == DCM_OK);
            die_unless(one == g->nranks);
        }
    }
    for (int i = 0; i < 2; i++)
        die_unless(dcm_comm_finalize(comm[i], 0) == DCM_OK);
    free_site(&s, g->nranks);
    dcm_arena_free(s.arena);
    dcm_comm_free(comm[0]);
    dcm_comm_free(comm[1]);
}

static void test_mixed(void **state)
{
    (void)state;
    for (int n = 2; n <= (test_is_thin() ? 3 : 4); n++) {
        grid g = {n, NULL, 0, test_seed() + (unsigned)n, false};

        test_run_threads(n, mixed_rank, &g);
        g.arena = true;
        test_run_threads(n, mixed_rank, &g);
    }
}

/* All ranks in one thread, between begin and end. */
static void one_thread(int n, const size_t *few, size_t n_few)
{
    const grid g = {n, few, n_few, test_seed(), false};
    dcm_group *groups[MAX_N];
    dcm_comm *comms[MAX_N];
    site sites[MAX_N];

    assert_ok(dcm_group_new_local(groups, n, NULL));
    assert_ok(dcm_comm_new_multi(comms, groups, n, NULL));
    for (int r = 0; r < n; r++)
        make_site(&sites[r], r, n, few[n_few - 1]);
    for (size_t c = 0; c < n_few; c++) {
        for (int k = 0; k < KINDS; k++)
            run_kind(&g, comms, sites, n, k, few[c]);
    }
    for (int r = 0; r < n; r++) {
        dcm_comm_free(comms[r]);
        free_site(&sites[r], n);
    }
    for (int r = 0; r < n; r++)
        dcm_group_free(groups[r]);
}

static void test_one_thread(void **state)
{
    static const int ranks[] = {1, 2, 3, 4, 5, 8};
    static const size_t few[] = {0, 3, 130, 4099};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        if (!test_is_thin() || ranks[i] <= 3)
            one_thread(ranks[i], few, 4);
    }
    one_thread(2, large, 1);
}

/* Operations of one communicator that build on each other, in one scope. */
static void test_in_order(void **state)
{
    enum {
        N = 4,
        COUNT = 50000
    };
    dcm_group *groups[N];
    dcm_comm *comms[N];
    int32_t *src[N];
    int32_t *dst[N];

    (void)state;
    assert_ok(dcm_group_new_local(groups, N, NULL));
    assert_ok(dcm_comm_new_multi(comms, groups, N, NULL));
    for (int r = 0; r < N; r++) {
        src[r] = calloc(N * COUNT, 4);
        dst[r] = calloc(N * COUNT, 4);
        assert_true(src[r] != NULL && dst[r] != NULL);
        for (int i = 0; i < N * COUNT; i++)
            src[r][i] = r * 1000000 + i;
    }
    assert_ok(dcm_begin());
    for (int r = 0; r < N; r++) {
        assert_ok(
            dcm_all_to_all(comms[r], src[r], dst[r], COUNT, DCM_I32, NULL));
        assert_ok(dcm_reduce_scatter(comms[r], dst[r], src[r], COUNT, DCM_I32,
                                     DCM_SUM, NULL));
        assert_ok(
            dcm_broadcast(comms[r], dst[r], dst[r], COUNT, DCM_I32, 2, NULL));
    }
    assert_ok(dcm_end());
    for (int r = 0; r < N; r++) {
        for (int i = 0; i < COUNT; i++) {
            int32_t sum = 0;

            for (int q = 0; q < N; q++)
                sum += r * 1000000 + q * COUNT + i;
            assert_int_equal(src[r][i], sum);
            assert_int_equal(dst[r][i], 2 * COUNT + i);
        }
    }
    for (int r = 0; r < N; r++) {
        dcm_comm_free(comms[r]);
        free(src[r]);
        free(dst[r]);
    }
    for (int r = 0; r < N; r++)
        dcm_group_free(groups[r]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),     cmocka_unit_test(test_large),
        cmocka_unit_test(test_mixed),    cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

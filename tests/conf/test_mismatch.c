/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that call different things: every rank gets DCM_E_MISMATCH, whichever
 * algorithms the two calls would have taken, and the message tells both calls.
 */
#include "support.h"

#include "any_op.h"

enum {
    RANKS = 3,
    ARENA_BYTES = 1 << 20,
    PRIVATE_BYTES = 1 << 22,
    HALF_BYTES = PRIVATE_BYTES / 2
};

/* What each rank does. */
typedef struct plan {
    int nranks;
    size_t count[RANKS];
    dcm_dtype dtype[RANKS];
    dcm_op op[RANKS];
    dcm_coll_kind kind[RANKS];
    int root[RANKS];
    bool in_arena[RANKS];
} plan;

static void one_rank(int rank, dcm_group *group, void *arg)
{
    const plan *p = arg;
    dcm_arena *arena = NULL;
    void *buf = malloc(PRIVATE_BYTES);
    void *own = buf;
    dcm_comm *comm;
    dcm_failure f = {.size = sizeof(f)};
    dcm_status st;

    die_unless(buf != NULL);
    memset(buf, 0, PRIVATE_BYTES);
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    die_unless(dcm_arena_new(&arena, comm, ARENA_BYTES) == DCM_OK);
    if (p->in_arena[rank])
        die_unless(dcm_arena_alloc(arena, &buf, ARENA_BYTES) == DCM_OK);
    st = p->kind[rank] == DCM_COLL_ALL_REDUCE
             ? dcm_all_reduce(comm, buf, buf, p->count[rank], p->dtype[rank],
                              p->op[rank], NULL)
             : test_any_op(comm, p->kind[rank], buf, (char *)buf + HALF_BYTES,
                           p->count[rank], p->dtype[rank], p->root[rank]);
    die_unless(st == DCM_E_MISMATCH);
    dcm_comm_failure(comm, &f);
    die_unless(f.status == DCM_E_MISMATCH && f.rank >= 0);
    if (f.reporter == rank)
        die_unless(strstr(f.message, " called ") != NULL);
    /* Failed for good. */
    die_unless(dcm_barrier(comm, NULL) == DCM_E_MISMATCH);
    dcm_arena_free(arena);
    dcm_comm_free(comm);
    free(own);
}

static plan same(int nranks, size_t count)
{
    plan p = {.nranks = nranks};

    for (int r = 0; r < RANKS; r++) {
        p.count[r] = count;
        p.dtype[r] = DCM_F32;
        p.op[r] = DCM_SUM;
        p.kind[r] = DCM_COLL_ALL_REDUCE;
    }
    return p;
}

/* One size for each algorithm, and for each pair of them. */
static const size_t sizes[] = {1, 100, 700, 5000, 100000, 800000};
enum {
    SIZES = 6
};

static void test_counts(void **state)
{
    (void)state;
    for (int n = 2; n <= RANKS; n++) {
        for (int i = 0; i < SIZES * SIZES; i++) {
            plan p = same(n, sizes[i / SIZES]);

            p.count[n - 1] = sizes[i % SIZES];
            if (p.count[0] != p.count[n - 1])
                test_run_threads(n, one_rank, &p);
        }
    }
}

static void test_types(void **state)
{
    (void)state;
    for (int n = 2; n <= RANKS; n++) {
        for (int i = 0; i < SIZES; i++) {
            plan p = same(n, sizes[i]);

            p.dtype[0] = DCM_I32;
            test_run_threads(n, one_rank, &p);
            p = same(n, sizes[i]);
            p.op[n - 1] = DCM_MAX;
            test_run_threads(n, one_rank, &p);
            p = same(n, sizes[i]);
            p.kind[0] = DCM_COLL_BARRIER;
            test_run_threads(n, one_rank, &p);
        }
    }
}

/* Some or all in an arena: sizes that fit it. */
static void test_arenas(void **state)
{
    (void)state;
    for (int i = 0; i < 5 * 5 * 4; i++) {
        plan p = same(RANKS, sizes[i / 20]);

        p.count[2] = sizes[i / 4 % 5];
        p.in_arena[0] = true;
        p.in_arena[1] = i % 4 < 2;
        p.in_arena[2] = i % 2 != 0;
        if (p.count[0] != p.count[2])
            test_run_threads(RANKS, one_rank, &p);
    }
}

/* Every pair of kinds, at sizes that go by mail and through the rings. */
static void test_kinds(void **state)
{
    static const size_t blocks[] = {1, 5000, 50000};

    (void)state;
    for (int i = 0; i < 9 * 9 * 3; i++) {
        plan p = same(RANKS, blocks[i % 3]);

        for (int r = 0; r < RANKS; r++)
            p.kind[r] = (dcm_coll_kind)(1 + i / 3 / 9);
        p.kind[i % RANKS] = (dcm_coll_kind)(1 + i / 3 % 9);
        if (p.kind[0] != p.kind[1] || p.kind[1] != p.kind[2])
            test_run_threads(RANKS, one_rank, &p);
    }
}

static void test_roots_and_blocks(void **state)
{
    static const dcm_coll_kind kinds[] = {
        DCM_COLL_REDUCE,         DCM_COLL_BROADCAST,  DCM_COLL_GATHER,
        DCM_COLL_SCATTER,        DCM_COLL_ALL_GATHER, DCM_COLL_ALL_TO_ALL,
        DCM_COLL_REDUCE_SCATTER,
    };

    (void)state;
    for (int i = 0; i < 7 * 2 * 3; i++) {
        const size_t count = i % 2 != 0 ? 5 : 50000;
        plan p = same(RANKS, count);

        for (int r = 0; r < RANKS; r++)
            p.kind[r] = kinds[i / 2 % 7];
        if (i / 14 == 0 && i / 2 % 7 < 4)
            p.root[i % RANKS] = 1;
        else if (i / 14 == 1)
            p.dtype[i % RANKS] = DCM_I32;
        else
            p.count[i % RANKS] = count + 3;
        test_run_threads(RANKS, one_rank, &p);
    }
}

/* What one rank sends another, and what that one awaits. */
static void uneven_rank(int rank, dcm_group *group, void *arg)
{
    const int which = *(const int *)arg;
    const size_t size = which % 2 != 0 ? 3 : 30000;
    size_t send[RANKS];
    size_t recv[RANKS];
    int32_t *src = calloc(RANKS * 2 * size, sizeof(*src));
    int32_t *dst = calloc(RANKS * 2 * size, sizeof(*dst));
    dcm_comm *comm;
    dcm_status st;

    die_unless(src != NULL && dst != NULL);
    for (int r = 0; r < RANKS; r++)
        send[r] = recv[r] = size;
    if (rank == 1)
        recv[2] = size + 1;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    if (which < 2)
        st = dcm_all_to_all_v(comm, src, send, NULL, dst, recv, NULL, DCM_I32,
                              NULL);
    else if (which < 4)
        st = dcm_all_gather_v(comm, src, dst, recv, NULL, DCM_I32, NULL);
    else
        st = dcm_all_gather_inner(comm, src, dst, rank == 1 ? 1 : 3,
                                  rank == 1 ? 3 : 1, DCM_I32, NULL);
    /* Only the pair knows: the others may be through, and hear it next time. */
    die_unless(st == DCM_E_MISMATCH ||
               (which < 2 && rank != 1 && st == DCM_OK));
    die_unless(dcm_barrier(comm, NULL) == DCM_E_MISMATCH);
    dcm_comm_free(comm);
    free(src);
    free(dst);
}

static void test_uneven(void **state)
{
    (void)state;
    for (int which = 0; which < 5; which++)
        test_run_threads(RANKS, uneven_rank, &which);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),           cmocka_unit_test(test_types),
        cmocka_unit_test(test_arenas),           cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_roots_and_blocks), cmocka_unit_test(test_uneven),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

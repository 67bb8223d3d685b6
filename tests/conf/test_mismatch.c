/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that call different things: every rank gets DCM_E_MISMATCH, whichever
 * algorithms the two calls would have taken, and the message tells both calls.
 */
#include "support.h"

enum {
    RANKS = 3,
    ARENA_BYTES = 1 << 20,
    PRIVATE_BYTES = 1 << 22
};

/* What each rank does. */
typedef struct plan {
    int nranks;
    size_t count[RANKS];
    dcm_dtype dtype[RANKS];
    dcm_op op[RANKS];
    bool is_barrier[RANKS];
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
    st = p->is_barrier[rank]
             ? dcm_barrier(comm, NULL)
             : dcm_all_reduce(comm, buf, buf, p->count[rank], p->dtype[rank],
                              p->op[rank], NULL);
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
            p.is_barrier[0] = true;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_arenas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

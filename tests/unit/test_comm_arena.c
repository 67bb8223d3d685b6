/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas and scopes: their edges, and reductions inside of them. */
#include "support.h"

#include "comm/comm.h"
#include "leaks.h"

enum {
    PART = 16 * 4096
};

static dcm_group *group;
static dcm_comm *comm;
static dcm_arena *arena;

static int make_one(void **state)
{
    (void)state;
    return dcm_group_new_local(&group, 1, NULL) == DCM_OK &&
                   dcm_comm_new(&comm, group, NULL) == DCM_OK &&
                   dcm_arena_new(&arena, comm, PART) == DCM_OK
               ? 0
               : -1;
}

static int free_one(void **state)
{
    (void)state;
    dcm_arena_free(arena);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

/* ---- arenas ------------------------------------------------------------------ */

static void test_arena_arguments(void **state)
{
    dcm_arena *a = NULL;
    void *p = NULL;

    (void)state;
    assert_status(dcm_arena_new(NULL, comm, 1), DCM_E_INVAL, "arena of 1");
    assert_status(dcm_arena_new(&a, NULL, 1), DCM_E_INVAL, "arena of 1");
    assert_status(dcm_arena_new(&a, comm, 0), DCM_E_INVAL, "arena of 0");
    assert_status(dcm_arena_new(&a, comm, SIZE_MAX), DCM_E_INVAL, "arena of");
    assert_status(dcm_arena_new(&a, comm, PTRDIFF_MAX), DCM_E_INVAL,
                  "arena of");
    assert_status(dcm_arena_alloc(NULL, &p, 1), DCM_E_INVAL, "block of 1");
    assert_status(dcm_arena_alloc(arena, NULL, 1), DCM_E_INVAL, "block of 1");
    assert_status(dcm_arena_alloc(arena, &p, SIZE_MAX), DCM_E_INVAL, "block");
    assert_status(dcm_arena_alloc(arena, &p, PTRDIFF_MAX), DCM_E_INVAL,
                  "block");
    assert_status(dcm_arena_alloc(arena, &p, PART + 1), DCM_E_NOMEM,
                  "the largest free one has 65536");
    assert_null(a);
    assert_null(p);
    dcm_arena_free(NULL);
    dcm_arena_release(NULL, &p);
    dcm_arena_release(arena, NULL);
}

/* More than the address space, or the machine, has: an error, and no harm. */
static int ask_for_too_much(void *arg)
{
    static const size_t sizes[] = {
        (size_t)PTRDIFF_MAX / DCM_MAX_RANKS - 4096,
        (size_t)1 << 50,
        (size_t)1 << 44,
    };
    FILE *f = fopen("/proc/self/oom_score_adj", "w");
    const int fds = test_count_fds();
    dcm_arena *a = NULL;
    dcm_group *g;
    dcm_comm *c;
    int v = 3;

    (void)arg;
    die_unless(f != NULL && fputs("1000", f) >= 0 && fclose(f) == 0);
    die_unless(dcm_group_new_local(&g, 1, NULL) == DCM_OK);
    die_unless(dcm_comm_new(&c, g, NULL) == DCM_OK);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        die_unless(dcm_arena_new(&a, c, sizes[i]) == DCM_E_NOMEM);
        die_unless(a == NULL && dcm_errmsg()[0] != '\0');
    }
    die_unless(dcm_all_reduce(c, &v, &v, 1, DCM_I32, DCM_SUM, NULL) == DCM_OK);
    die_unless(dcm_arena_new(&a, c, 1) == DCM_OK);
    dcm_arena_free(a);
    dcm_comm_free(c);
    dcm_group_free(g);
    die_unless(test_count_fds() == fds - 1);
    return 0;
}

static void test_arena_too_large(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(ask_for_too_much, NULL, 60), 0);
}

static void test_arena_blocks(void **state)
{
    unsigned char *last = NULL;
    void *p[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_ok(dcm_arena_alloc(arena, &p[i], (size_t)i * 100));
        assert_int_equal((uintptr_t)p[i] % 128, 0);
        assert_true((unsigned char *)p[i] > last);
        for (int k = 0; k < 100 * i; k++)
            assert_int_equal(((unsigned char *)p[i])[k], 0);
        memset(p[i], 0xff, (size_t)i * 100);
        last = (unsigned char *)p[i] + 100 * i - 1;
    }
    for (int i = 1; i < 4; i++)
        assert_int_equal(((unsigned char *)p[i])[i * 100 - 1], 0xff);
}

static void test_arena_joins(void **state)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    void *whole;
    void *p[3];

    (void)state;
    for (int k = 0; k < 6; k++) {
        for (int i = 0; i < 3; i++)
            assert_ok(dcm_arena_alloc(arena, &p[i], i < 2 ? 20000 : 25344));
        assert_status(dcm_arena_alloc(arena, &whole, 1), DCM_E_NOMEM, "has 0");
        for (int i = 0; i < 3; i++)
            dcm_arena_release(arena, p[orders[k][i]]);
        assert_ok(dcm_arena_alloc(arena, &whole, PART));
        assert_ptr_equal(whole, p[0]);
        dcm_arena_release(arena, whole);
    }
}

/* First fit: a released block is taken again, and not by what is too large. */
static void test_arena_reuses(void **state)
{
    void *p[3];
    void *q;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_ok(dcm_arena_alloc(arena, &p[i], 1024));
    dcm_arena_release(arena, p[1]);
    assert_ok(dcm_arena_alloc(arena, &q, 1025));
    assert_true((char *)q > (char *)p[2]);
    assert_ok(dcm_arena_alloc(arena, &q, 1024));
    assert_ptr_equal(q, p[1]);
}

static void test_arena_releases_only_its_own(void **state)
{
    char foreign[256];
    void *p[2];
    void *q;

    (void)state;
    assert_ok(dcm_arena_alloc(arena, &p[0], PART / 2));
    assert_ok(dcm_arena_alloc(arena, &p[1], PART / 2));
    dcm_arena_release(arena, foreign);
    dcm_arena_release(arena, (char *)p[0] + 128); /* inside of one */
    dcm_arena_release(arena, (char *)p[0] - 128);
    dcm_arena_release(arena, (char *)p[1] + PART / 2); /* the end */
    assert_status(dcm_arena_alloc(arena, &q, 1), DCM_E_NOMEM, "has 0");
    dcm_arena_release(arena, p[1]);
    dcm_arena_release(arena, p[1]); /* twice */
    assert_ok(dcm_arena_alloc(arena, &q, PART / 2));
    assert_ptr_equal(q, p[1]);
}

/* ---- between ranks ----------------------------------------------------------- */

typedef struct wish {
    size_t bytes[3];
    dcm_status st[3];
    char message[3][256];
} wish;

static void make_arena(int rank, dcm_group *g, void *arg)
{
    wish *w = arg;
    const float mine = 1.0f;
    dcm_arena *a = NULL;
    dcm_comm *c;
    float sum = 0;

    die_unless(dcm_comm_new(&c, g, NULL) == DCM_OK);
    w->st[rank] = dcm_arena_new(&a, c, w->bytes[rank]);
    (void)snprintf(w->message[rank], sizeof(w->message[rank]), "%s",
                   dcm_errmsg());
    die_unless((a != NULL) == (w->st[rank] == DCM_OK));
    /* The communicator is as good as before. */
    die_unless(dcm_all_reduce(c, &mine, &sum, 1, DCM_F32, DCM_SUM, NULL) ==
               DCM_OK);
    die_unless(sum == (float)dcm_comm_nranks(c));
    dcm_arena_free(a);
    die_unless(dcm_comm_finalize(c, 0) == DCM_OK);
    dcm_comm_free(c);
}

static void test_arena_sizes_differ(void **state)
{
    wish w = {.bytes = {8192, 8192, 8192}};

    (void)state;
    test_run_threads(3, make_arena, &w);
    for (int r = 0; r < 3; r++)
        assert_int_equal(w.st[r], DCM_OK);
    w.bytes[2] = 12288;
    test_run_threads(3, make_arena, &w);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(w.st[r], DCM_E_MISMATCH);
        assert_non_null(strstr(w.message[r], "rank 2"));
        assert_non_null(strstr(w.message[r], "36864"));
    }
    /* The same number of pages is the same size. */
    w = (wish){.bytes = {8192, 8191, 4097}};
    test_run_threads(3, make_arena, &w);
    for (int r = 0; r < 3; r++)
        assert_int_equal(w.st[r], DCM_OK);
}

static void reduce_in_arena(int rank, dcm_group *g, void *arg)
{
    static const size_t counts[] = {1, 500, 3000, 20000, 300000};
    const int n = dcm_group_nranks(g);
    dcm_arena *a;
    dcm_comm *c;
    char text[200];

    (void)arg;
    die_unless(dcm_comm_new(&c, g, NULL) == DCM_OK);
    die_unless(dcm_arena_new(&a, c, (size_t)4 << 20) == DCM_OK);
    for (size_t k = 0; k < 5; k++) {
        const size_t bytes = counts[k] * sizeof(int32_t);
        int32_t *src;
        int32_t *dst;
        void *p[2];

        die_unless(dcm_arena_alloc(a, &p[0], bytes) == DCM_OK);
        die_unless(dcm_arena_alloc(a, &p[1], bytes) == DCM_OK);
        src = p[0];
        dst = k % 2 == 0 ? p[1] : p[0];
        for (size_t i = 0; i < counts[k]; i++)
            src[i] = (int32_t)i + rank;
        die_unless(dcm_comm_explain(c, text, sizeof(text), src, dst, counts[k],
                                    DCM_I32, DCM_SUM) == DCM_OK);
        /* Small ones may be mail: that depends on the caches. */
        die_unless(bytes <= 4144 || strncmp(text, "direct: ", 8) == 0);
        die_unless(dcm_all_reduce(c, src, dst, counts[k], DCM_I32, DCM_SUM,
                                  NULL) == DCM_OK);
        for (size_t i = 0; i < counts[k]; i++)
            die_unless(dst[i] == n * (int32_t)i + n * (n - 1) / 2);
        dcm_arena_release(a, p[1]);
        dcm_arena_release(a, p[0]);
    }
    dcm_arena_free(a);
    die_unless(dcm_comm_finalize(c, 0) == DCM_OK);
    dcm_comm_free(c);
}

static void test_arena_reduces(void **state)
{
    (void)state;
    test_run_threads(2, reduce_in_arena, NULL);
    test_run_threads(3, reduce_in_arena, NULL);
}

/* ---- scopes ------------------------------------------------------------------ */

static void test_scope_arguments(void **state)
{
    int32_t v = 5;

    (void)state;
    assert_status(dcm_end(), DCM_E_INVAL, "without dcm_begin");
    assert_ok(dcm_begin());
    assert_ok(dcm_end()); /* an empty one */
    assert_status(dcm_end(), DCM_E_INVAL, "without dcm_begin");

    assert_ok(dcm_begin());
    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    /* Wrong ones are told at once and are not collected. */
    assert_status(dcm_all_reduce(comm, NULL, &v, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "src is NULL");
    assert_status(dcm_all_reduce(NULL, &v, &v, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "no communicator");
    assert_status(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, (dcm_op)9, NULL),
                  DCM_E_INVAL, "operator 9");
    assert_status(dcm_barrier(NULL, NULL), DCM_E_INVAL, "no communicator");
    assert_ok(dcm_barrier(comm, NULL));
    assert_ok(dcm_end());
    assert_ok(dcm_comm_check(comm));
}

static uint64_t operations(void)
{
    dcm_comm_info info = {.size = sizeof(info)};

    dcm_comm_info_get(comm, &info);
    return info.operations;
}

static void test_scope_nests(void **state)
{
    const uint64_t before = operations();

    (void)state;
    assert_ok(dcm_begin());
    assert_ok(dcm_barrier(comm, NULL));
    assert_ok(dcm_begin());
    assert_ok(dcm_barrier(comm, NULL));
    assert_ok(dcm_end());
    assert_int_equal(operations(), before);
    assert_ok(dcm_barrier(comm, NULL));
    assert_ok(dcm_end());
    assert_int_equal(operations(), before + 3);
}

/* Hundreds of calls of several ranks in one scope, in the order of each. */
static void test_scope_many(void **state)
{
    enum {
        N = 3,
        CALLS = 300
    };
    static int32_t value[N][CALLS];
    dcm_group *g[N];
    dcm_comm *c[N];

    (void)state;
    assert_ok(dcm_group_new_local(g, N, NULL));
    assert_ok(dcm_comm_new_multi(c, g, N, NULL));
    assert_ok(dcm_begin());
    for (int i = 0; i < CALLS; i++) {
        for (int r = N - 1; r >= 0; r--) {
            value[r][i] = i * (r + 1);
            assert_ok(dcm_all_reduce(c[r], &value[r][i], &value[r][i], 1,
                                     DCM_I32, DCM_SUM, NULL));
        }
    }
    assert_ok(dcm_end());
    for (int i = 0; i < CALLS; i++)
        for (int r = 0; r < N; r++)
            assert_int_equal(value[r][i], 6 * i);
    for (int r = 0; r < N; r++) {
        dcm_comm_free(c[r]);
        dcm_group_free(g[r]);
    }
}

/* The first failure is returned, with its message; all are told. */
static void test_scope_fails(void **state)
{
    dcm_group *g[2];
    dcm_comm *c[2];
    float v[2] = {1, 2};
    double d = 1;

    (void)state;
    assert_ok(dcm_group_new_local(g, 2, NULL));
    assert_ok(dcm_comm_new_multi(c, g, 2, NULL));
    assert_ok(dcm_begin());
    assert_ok(dcm_all_reduce(c[0], &v[0], &v[0], 1, DCM_F32, DCM_SUM, NULL));
    assert_ok(dcm_all_reduce(c[1], &d, &d, 1, DCM_F64, DCM_SUM, NULL));
    assert_ok(dcm_barrier(comm, NULL)); /* of another communicator */
    assert_status(dcm_end(), DCM_E_MISMATCH, "all_reduce");
    assert_status(dcm_comm_check(c[0]), DCM_E_MISMATCH, "");
    assert_status(dcm_comm_check(c[1]), DCM_E_MISMATCH, "");
    assert_ok(dcm_comm_check(comm));
    assert_ok(dcm_begin()); /* the next scope begins empty */
    assert_ok(dcm_end());
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(c[r]);
        dcm_group_free(g[r]);
    }
}

/* A rank that has freed an arena cannot read there what another gives. */
static void freed_rank(int rank, dcm_group *g, void *arg)
{
    enum {
        COUNT = 10000
    };
    static char dst[2][2 * COUNT];
    char own[COUNT] = {0};
    void *src = own;
    dcm_arena *a;
    dcm_comm *c;

    (void)arg;
    die_unless(dcm_comm_new(&c, g, NULL) == DCM_OK);
    die_unless(dcm_arena_new(&a, c, PART) == DCM_OK);
    if (rank == 0)
        dcm_arena_free(a);
    else
        die_unless(dcm_arena_alloc(a, &src, COUNT) == DCM_OK);
    die_unless(dcm_all_gather(c, src, dst[rank], COUNT, DCM_U8, NULL) ==
               DCM_E_MISMATCH);
    if (rank == 0)
        die_unless(strstr(dcm_errmsg(), "that rank 0 has freed") != NULL);
    if (rank == 1)
        dcm_arena_free(a);
    dcm_comm_free(c);
}

static void test_arena_freed_elsewhere(void **state)
{
    (void)state;
    test_run_threads(2, freed_rank, NULL);
}

#define with_one(f) cmocka_unit_test_setup_teardown(f, make_one, free_one)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_one(test_arena_arguments),
        cmocka_unit_test(test_arena_too_large),
        with_one(test_arena_blocks),
        with_one(test_arena_joins),
        with_one(test_arena_reuses),
        with_one(test_arena_releases_only_its_own),
        cmocka_unit_test(test_arena_sizes_differ),
        cmocka_unit_test(test_arena_reduces),
        cmocka_unit_test(test_arena_freed_elsewhere),
        with_one(test_scope_arguments),
        with_one(test_scope_nests),
        cmocka_unit_test(test_scope_many),
        with_one(test_scope_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many calls in a row: a million small ones with changing data, random shapes
 * mixed on two communicators, 64 MiB messages, scopes that drive all ranks from
 * one thread.
 */
#include "support.h"

typedef struct run {
    int nranks;
    uint64_t seed;
    size_t calls;
} run;

static void small_calls(int rank, dcm_group *group, void *arg)
{
    const run *r = arg;
    dcm_comm *comm;

    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    for (size_t i = 0; i < r->calls; i++) {
        /* 1 to 24 elements: one line and more, always other values. */
        const size_t count = 1 + i % 24;
        int32_t src[24];
        int32_t dst[24];

        for (size_t k = 0; k < count; k++)
            src[k] = (int32_t)(i * 31 + k) * (rank + 1);
        die_unless(dcm_all_reduce(comm, src, dst, count, DCM_I32, DCM_SUM,
                                  NULL) == DCM_OK);
        for (size_t k = 0; k < count; k++) {
            const int32_t sum = r->nranks * (r->nranks + 1) / 2;

            die_unless((uint32_t)dst[k] ==
                       (uint32_t)(int32_t)(i * 31 + k) * (uint32_t)sum);
        }
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_million(void **state)
{
    run r = {.nranks = 2, .calls = test_is_thin() ? 20000 : 1000000};

    (void)state;
    test_run_threads(r.nranks, small_calls, &r);
    r = (run){.nranks = 3, .calls = test_is_thin() ? 2000 : 50000};
    test_run_threads(r.nranks, small_calls, &r);
}

/* The value that rank `rank` gives for element k of call i. */
static uint32_t value(uint64_t seed, size_t i, size_t k, int rank)
{
    uint64_t state = seed ^ (i * 0x9e3779b97f4a7c15ull) ^
                     (k * 0xbf58476d1ce4e5b9ull) ^ ((uint64_t)rank << 32);

    return (uint32_t)test_random(&state);
}

static void one_shape(const run *r, int rank, dcm_comm *comm, size_t i,
                      uint64_t *shape, uint32_t *src, uint32_t *dst,
                      size_t most)
{
    const size_t bits = test_random(shape) % 20;
    size_t count = test_random(shape) % ((size_t)1 << bits) + bits % 2;
    const size_t shift = test_random(shape) % 16;

    if (count > most - 16)
        count = most - 16;
    for (size_t k = 0; k < count; k++)
        src[shift + k] = value(r->seed, i, k, rank);
    die_unless(dcm_all_reduce(comm, src + shift, dst + shift, count, DCM_U32,
                              DCM_SUM, NULL) == DCM_OK);
    for (size_t k = 0; k < count; k += 1 + count / 64) {
        uint32_t sum = 0;

        for (int q = 0; q < r->nranks; q++)
            sum += value(r->seed, i, k, q);
        die_unless(dst[shift + k] == sum);
    }
}

static void random_shapes(int rank, dcm_group *group, void *arg)
{
    enum {
        MOST = 600000
    };
    const run *r = arg;
    uint64_t shape = r->seed;
    uint32_t *src = malloc(MOST * sizeof(*src));
    uint32_t *dst = malloc(MOST * sizeof(*dst));
    dcm_comm *comm[2];

    die_unless(src != NULL && dst != NULL);
    for (int i = 0; i < 2; i++)
        die_unless(dcm_comm_new(&comm[i], group, NULL) == DCM_OK);
    for (size_t i = 0; i < r->calls; i++) {
        dcm_comm *c = comm[test_random(&shape) % 2];

        if (test_random(&shape) % 8 == 0)
            die_unless(dcm_barrier(c, NULL) == DCM_OK);
        one_shape(r, rank, c, i, &shape, src, dst, MOST);
    }
    for (int i = 0; i < 2; i++) {
        die_unless(dcm_comm_finalize(comm[i], 0) == DCM_OK);
        dcm_comm_free(comm[i]);
    }
    free(src);
    free(dst);
}

static void test_shapes(void **state)
{
    static const int ranks[] = {2, 3, 4};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        run r = {
            .nranks = ranks[i],
            .seed = test_seed() + i,
            .calls = test_is_thin() ? 60 : 400,
        };

        test_run_threads(r.nranks, random_shapes, &r);
    }
}

static void large_message(int rank, dcm_group *group, void *arg)
{
    const size_t count = (test_is_thin() ? 4 : 64) * (size_t)1024 * 1024 / 4;
    float *buf = malloc(count * sizeof(*buf));
    dcm_comm *comm;

    (void)arg;
    die_unless(buf != NULL);
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    for (size_t i = 0; i < count; i++)
        buf[i] = (float)((i + (size_t)rank) % 1024);
    die_unless(dcm_all_reduce(comm, buf, buf, count, DCM_F32, DCM_SUM, NULL) ==
               DCM_OK);
    for (size_t i = 0; i < count; i++)
        die_unless(buf[i] == (float)(i % 1024 + (i + 1) % 1024));
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    free(buf);
}

static void test_large(void **state)
{
    (void)state;
    test_run_threads(2, large_message, NULL);
}

/* All ranks in this thread, several operations in one scope. */
static void test_scope(void **state)
{
    enum {
        N = 5,
        COUNT = 50000
    };
    dcm_group *groups[N];
    dcm_comm *comms[N];
    int64_t *buf[N];
    int32_t tiny[N];

    (void)state;
    assert_ok(dcm_group_new_local(groups, N, NULL));
    assert_ok(dcm_comm_new_multi(comms, groups, N, NULL));
    for (int r = 0; r < N; r++) {
        buf[r] = malloc(COUNT * sizeof(*buf[r]));
        assert_non_null(buf[r]);
    }
    for (int round = 0; round < 3; round++) {
        assert_ok(dcm_begin());
        for (int r = 0; r < N; r++) {
            for (size_t i = 0; i < COUNT; i++)
                buf[r][i] = (int64_t)i * (r + 1) + round;
            tiny[r] = r;
            assert_ok(dcm_all_reduce(comms[r], buf[r], buf[r], COUNT, DCM_I64,
                                     DCM_SUM, NULL));
            assert_ok(dcm_barrier(comms[r], NULL));
            assert_ok(dcm_all_reduce(comms[r], &tiny[r], &tiny[r], 1, DCM_I32,
                                     DCM_MAX, NULL));
        }
        assert_ok(dcm_end());
        for (int r = 0; r < N; r++) {
            assert_int_equal(tiny[r], N - 1);
            for (size_t i = 0; i < COUNT; i += 997)
                assert_int_equal(buf[r][i], (int64_t)i * 15 + N * round);
        }
    }
    for (int r = 0; r < N; r++) {
        dcm_comm_free(comms[r]);
        dcm_group_free(groups[r]);
        free(buf[r]);
    }
    assert_status(dcm_end(), DCM_E_INVAL, "without dcm_begin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_million),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_scope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

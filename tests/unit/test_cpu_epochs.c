/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU backend after billions of operations: the epoch is set near the places
 * where words would seem posted, and where it wraps.
 */
#include "support.h"

#include "backend/cpu/ctx.h"
#include "comm/comm.h"

enum {
    N = 3,
    COUNT = 300000
};

static void sums(dcm_comm *comm, int rank, int rounds)
{
    static const size_t counts[] = {1, 200, 5000, COUNT};
    int32_t *v = malloc(COUNT * sizeof(*v));

    die_unless(v != NULL);
    for (int i = 0; i < rounds; i++) {
        const size_t count = counts[i % 4];

        for (size_t k = 0; k < count; k++)
            v[k] = rank + i;
        die_unless(dcm_all_reduce(comm, v, v, count, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        for (size_t k = 0; k < count; k++)
            die_unless(v[k] == N * i + N * (N - 1) / 2);
    }
    free(v);
}

/* As if so many operations had been; the half of the next one is the other. */
static void jump(dcm_comm *comm, uint32_t epoch)
{
    dcmi_cpu *c = comm->ctx;

    c->epoch = epoch - ((epoch ^ c->epoch) & 1);
}

static void one_rank(int rank, dcm_group *group, void *arg)
{
    static const uint32_t turns[] = {1u << 30, 2u << 30, 3u << 30, 0};
    dcm_comm *comm;

    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    sums(comm, rank, 8);
    for (int lap = 0; lap < 2; lap++) {
        for (int t = 0; t < 4; t++) {
            const dcmi_cpu *c = comm->ctx;
            const dcmi_word *word = &c->region[rank]->reduced;

            /* Small ones over the turn: no word is posted but by tidying. */
            jump(comm, turns[t] - 4);
            for (int i = 0; i < 12; i++)
                die_unless(dcm_barrier(comm, NULL) == DCM_OK);
            die_unless(c->epoch - (uint32_t)(atomic_load(&word->v) >> 32) < 64);
            /* Mail of many lines at each epoch near the turn. */
            jump(comm, turns[t] + 30);
            sums(comm, rank, 8);
        }
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_turns(void **state)
{
    (void)state;
    test_run_threads(N, one_rank, NULL);
}

/* Small messages between pairs are no reason to measure the placement again. */
static void pairs(int rank, dcm_group *group, void *arg)
{
    enum {
        CALLS = 200
    };
    const size_t counts[2] = {3, 3};
    unsigned char src[6] = {0};
    unsigned char dst[6];
    const dcmi_cpu *c;
    uint32_t before;
    dcm_comm *comm;

    (void)rank;
    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    c = comm->ctx;
    before = c->epoch;
    for (int i = 0; i < CALLS; i++)
        die_unless(dcm_all_to_all_v(comm, src, counts, NULL, dst, counts, NULL,
                                    DCM_U8, NULL) == DCM_OK);
    die_unless(c->epoch - before == CALLS);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_pairs(void **state)
{
    (void)state;
    test_run_threads(2, pairs, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

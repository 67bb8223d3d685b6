/* SPDX-License-Identifier: Apache-2.0 */
/* When slower copies call for a placement probe, and that all ranks make it. */
#include "support.h"

#include "backend/cpu/ctx.h"
#include "comm/comm.h"

enum {
    BYTES = 32 * 1024,
    FAST_NS = 2000,
    N = 3,
    COUNT = 20000
};

static void note(dcmi_drift *d, int n, uint64_t ns)
{
    for (int i = 0; i < n; i++)
        dcmi_drift_note(d, ns, BYTES);
}

static void probed(dcmi_drift *d, bool is_new)
{
    dcmi_drift_probe(d);
    assert_false(d->is_seen);
    dcmi_drift_probed(d, is_new);
}

static void test_steady(void **state)
{
    dcmi_drift d = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        note(&d, 1, FAST_NS + (uint64_t)i % 7 * FAST_NS / 8);
    assert_false(d.is_seen);
}

/* The reference is the least so far, in whatever order samples come. */
static void test_slow(void **state)
{
    dcmi_drift d = {0};

    (void)state;
    note(&d, 1, 10 * FAST_NS);
    note(&d, 1, FAST_NS);
    note(&d, DCMI_DRIFT_NEED - 1, 3 * FAST_NS);
    assert_false(d.is_seen);
    note(&d, 1, 3 * FAST_NS);
    assert_true(d.is_seen);
    /* It stays so until the probe. */
    note(&d, 10, FAST_NS);
    assert_true(d.is_seen);
    probed(&d, true);
    note(&d, 100, 3 * FAST_NS);
    assert_false(d.is_seen);
}

static void test_disturbed(void **state)
{
    dcmi_drift d = {0};

    (void)state;
    for (int i = 0; i < 100; i++) {
        note(&d, 1, FAST_NS);
        note(&d, DCMI_DRIFT_NEED - 1, 1000 * FAST_NS);
    }
    assert_false(d.is_seen);
}

/* Larger copies take longer, and that is no drift. */
static void test_sizes(void **state)
{
    dcmi_drift d = {0};

    (void)state;
    note(&d, 10, FAST_NS);
    for (int i = 0; i < 100; i++)
        dcmi_drift_note(&d, 64 * FAST_NS, (size_t)64 * BYTES);
    assert_false(d.is_seen);
    dcmi_drift_note(&d, 0, BYTES); /* a clock that stands still */
    note(&d, DCMI_DRIFT_NEED, FAST_NS);
    assert_true(d.is_seen);
}

/* Probes in vain become rare, those that were right do not. */
static void test_in_vain(void **state)
{
    dcmi_drift d = {0};

    (void)state;
    for (int need = DCMI_DRIFT_NEED; need <= DCMI_DRIFT_NEED_MAX; need *= 2) {
        note(&d, 1, FAST_NS);
        note(&d, need - 1, 3 * FAST_NS);
        assert_false(d.is_seen);
        note(&d, 1, 3 * FAST_NS);
        assert_true(d.is_seen);
        probed(&d, false);
    }
    note(&d, 1, FAST_NS);
    note(&d, DCMI_DRIFT_NEED_MAX, 3 * FAST_NS);
    assert_true(d.is_seen);
    probed(&d, false);
    /* One that was made for another reason says nothing, unless it finds. */
    probed(&d, false);
    assert_int_equal(d.need, DCMI_DRIFT_NEED_MAX);
    probed(&d, true);
    assert_int_equal(d.need, DCMI_DRIFT_NEED);
}

/*
 * One rank sees drift.  Each operation is one epoch and a probe is another: the
 * next operation goes round without, the one behind it has the probe on all ranks.
 */
static void one_rank(int rank, dcm_group *group, void *arg)
{
    int32_t *v = calloc(COUNT, sizeof(*v));
    dcm_comm *comm;
    dcmi_cpu *c;

    (void)arg;
    die_unless(v != NULL);
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    c = comm->ctx;
    c->is_crowded = false; /* whatever the machine has */
    for (int lap = 0; lap < 3; lap++) {
        const uint32_t epoch = c->epoch;

        c->drift.is_seen = rank == lap;
        die_unless(dcm_all_reduce(comm, v, v, COUNT, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(c->epoch == epoch + 1 && c->work > DCMI_PLACE_AGAIN);
        die_unless(dcm_all_reduce(comm, v, v, COUNT, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(c->epoch == epoch + 3 && c->work <= DCMI_PLACE_AGAIN);
        die_unless(!c->drift.is_seen && c->trip_ns != 0);
        die_unless(dcm_all_reduce(comm, v, v, COUNT, DCM_I32, DCM_SUM, NULL) ==
                   DCM_OK);
        die_unless(c->epoch == epoch + 4);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
    free(v);
}

static void test_all_probe(void **state)
{
    (void)state;
    test_run_threads(N, one_rank, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady),    cmocka_unit_test(test_slow),
        cmocka_unit_test(test_disturbed), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_in_vain),   cmocka_unit_test(test_all_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

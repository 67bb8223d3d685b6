/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record: what is written is read, a line that is being written is not, and
 * whatever bytes stand in the segment do no harm to who reads them.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inspect/comm.h"
#include "inspect/verdict.h"
#include "inspect/words.h"

enum {
    NRANKS = 3
};

typedef struct fixture {
    size_t bytes;
    dcmi_record *record;
    dcmi_recorder recorder[NRANKS];
    void *copies[3];
    dcmi_seen_comm *seen;
} fixture;

static void *zeroed(size_t bytes)
{
    void *at = aligned_alloc(DCMI_SECTOR, bytes);

    assert_non_null(at);
    memset(at, 0, bytes);
    return at;
}

static fixture *set_up(void)
{
    fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->bytes = dcmi_record_bytes(NRANKS);
    f->record = zeroed(f->bytes);
    for (int i = 0; i < 3; i++)
        f->copies[i] = zeroed(f->bytes);
    f->seen = calloc(1, sizeof(*f->seen));
    assert_non_null(f->seen);
    dcmi_record_title(f->record, NRANKS, "cpu", "unix:job");
    for (int r = 0; r < NRANKS; r++)
        dcmi_record_open(&f->recorder[r], f->record, r);
    return f;
}

static void tear_down(fixture *f)
{
    for (int i = 0; i < 3; i++)
        free(f->copies[i]);
    free(f->record);
    free(f->seen);
    free(f);
}

static void copy(fixture *f)
{
    for (int i = 0; i < 3; i++)
        memcpy(f->copies[i], f->record, f->bytes);
}

static dcmi_record *copy_at(fixture *f, int i)
{
    return f->copies[i];
}

static dcm_status decode(fixture *f)
{
    const dcmi_seen_now now = {.ns = dcmi_now_ns(), .stamp = dcmi_stamp()};

    return dcmi_seen_decode(
        f->seen,
        (const void *const[3]){f->copies[0], f->copies[1], f->copies[2]},
        f->bytes, &now);
}

static dcm_coll call_of(uint64_t number)
{
    return (dcm_coll){
        .size = sizeof(dcm_coll),
        .count = (size_t)number * 3,
        .dtype = DCM_BF16,
        .op = DCM_MAX,
        .kind = DCM_COLL_REDUCE,
        .root = 2,
    };
}

static void begin(fixture *f, int rank, uint64_t number)
{
    const dcm_coll coll = call_of(number);

    dcmi_record_begin(&f->recorder[rank], &coll, number, NRANKS);
}

static void finish(fixture *f, int rank, dcm_status st)
{
    dcmi_record_path(&f->recorder[rank],
                     (const char[DCMI_RECORD_NAME]){"sixteen_letters_"});
    dcmi_record_end(&f->recorder[rank], st);
}

static void test_reads_what_is_written(void **state)
{
    const uint64_t before = dcmi_now_ns();
    fixture *f = set_up();
    const dcmi_seen_op *o;
    char text[DCMI_WORDS];

    (void)state;
    begin(f, 1, 1);
    finish(f, 1, DCM_OK);
    begin(f, 1, 2);
    copy(f);
    assert_ok(decode(f));
    assert_int_equal(f->seen->nranks, NRANKS);
    assert_string_equal(f->seen->backend, "cpu");
    assert_string_equal(f->seen->job, "unix:job");
    assert_int_equal(f->seen->rank[1].pid, getpid());
    assert_int_equal(f->seen->rank[0].n_ops, 0);
    assert_int_equal(f->seen->rank[1].n_ops, 2);
    assert_true(dcmi_seen_is_inside(&f->seen->rank[1]));
    assert_int_equal(dcmi_seen_at(&f->seen->rank[1]), 2);

    o = dcmi_seen_number(&f->seen->rank[1], 1);
    assert_non_null(o);
    assert_true(o->is_over);
    assert_int_equal(o->status, DCM_OK);
    assert_string_equal(o->path, "sixteen_letters_");
    assert_string_equal(dcmi_say_op(text, o),
                        "operation 1 (reduce of 3 bf16, max, root 2)");
    /* Stamps are turned into times to some per mille. */
    assert_in_range(o->begun_ns, before - 1000000000, f->seen->now_ns);
    o = dcmi_seen_number(&f->seen->rank[1], 2);
    assert_non_null(o);
    assert_false(o->is_over);
    assert_int_equal(o->begun_ns, 0);
    assert_string_equal(o->path, "");
    tear_down(f);
}

/* The ring keeps the newest; refused calls leave no gap. */
static void test_ring(void **state)
{
    fixture *f = set_up();

    (void)state;
    for (uint64_t n = 1; n <= 200; n++) {
        begin(f, 0, n);
        finish(f, 0, DCM_OK);
    }
    begin(f, 0, 201);
    finish(f, 0, DCM_E_INVAL);
    begin(f, 0, 0); /* a known sum */
    finish(f, 0, DCM_OK);
    copy(f);
    assert_ok(decode(f));
    assert_int_equal(f->seen->rank[0].n_ops, DCMI_RECORD_OPS);
    for (size_t i = 0; i + 1 < DCMI_RECORD_OPS; i++)
        assert_int_equal(f->seen->rank[0].op[i].serial,
                         f->seen->rank[0].op[i + 1].serial + 1);
    assert_int_equal(dcmi_seen_at(&f->seen->rank[0]), 200);
    assert_null(dcmi_seen_number(&f->seen->rank[0], 201));
    assert_null(dcmi_seen_number(&f->seen->rank[0], 138));
    assert_non_null(dcmi_seen_number(&f->seen->rank[0], 139));
    tear_down(f);
}

/* A line, or a wait, that was written between the copies does not count. */
static void test_torn(void **state)
{
    fixture *f = set_up();
    dcmi_record_op *op;

    (void)state;
    begin(f, 0, 1);
    dcmi_record_look(&f->recorder[0], &(dcmi_record_looking){.ranks = 6,
                                                             .op = "reduce",
                                                             .phase = "gather",
                                                             .number = 1});
    for (int which = 0; which < 3; which++) {
        copy(f);
        op = &copy_at(f, which)->rank[0].op[1];
        assert_int_equal(op->serial, 1);
        op->serial = 0;
        copy_at(f, which)->rank[0].wait.seq++;
        assert_ok(decode(f));
        assert_int_equal(f->seen->rank[0].n_ops, 0);
        assert_int_equal(f->seen->rank[0].wait.ranks, 0);
    }
    copy(f);
    copy_at(f, 2)->rank[0].op[1].serial += DCMI_RECORD_OPS;
    assert_ok(decode(f));
    assert_int_equal(f->seen->rank[0].n_ops, 0);
    assert_int_equal(f->seen->rank[0].wait.ranks, 6);
    assert_string_equal(f->seen->rank[0].wait.phase, "gather");
    /* A path that the first copy has no time for may be the last round's. */
    finish(f, 0, DCM_OK);
    copy(f);
    copy_at(f, 0)->rank[0].op[1].begun = 0;
    assert_ok(decode(f));
    assert_string_equal(f->seen->rank[0].op[0].path, "");
    tear_down(f);
}

static void test_wait_and_failure(void **state)
{
    const dcm_failure failure = {
        .size = sizeof(failure),
        .status = DCM_E_TIMEOUT,
        .rank = 2,
        .reporter = 0,
        .epoch = 9,
        .op = "reduce",
        .phase = "gather",
        .message = "rank 2 is late",
    };
    const dcmi_record_looking at = {.ranks = 4,
                                    .number = 9,
                                    .op = "reduce",
                                    .phase = "gather",
                                    .timeout_ns = 5000000000ull};
    fixture *f = set_up();
    uint64_t since;

    (void)state;
    begin(f, 0, 9);
    dcmi_record_look(&f->recorder[0], &at);
    copy(f);
    assert_ok(decode(f));
    assert_int_equal(f->seen->rank[0].wait.ranks, 4);
    assert_int_equal(f->seen->rank[0].wait.timeout_ns, 5000000000ull);
    since = f->seen->rank[0].wait.since_ns;
    assert_in_range(since, 1, f->seen->now_ns);
    /* Looking again is still the same wait. */
    dcmi_record_look(&f->recorder[0], &at);
    copy(f);
    assert_ok(decode(f));
    assert_int_equal(f->seen->rank[0].wait.since_ns, since);

    dcmi_record_fail(&f->recorder[0], &failure);
    dcmi_record_end(&f->recorder[0], DCM_E_TIMEOUT);
    copy(f);
    assert_ok(decode(f));
    assert_int_equal(f->seen->rank[0].wait.ranks, 0);
    assert_int_equal(f->seen->rank[0].op[0].status, DCM_E_TIMEOUT);
    assert_int_equal(f->seen->rank[0].failure.status, DCM_E_TIMEOUT);
    assert_int_equal(f->seen->rank[0].failure.culprit, 2);
    assert_string_equal(f->seen->rank[0].failure.text, "rank 2 is late");
    assert_int_equal(f->seen->rank[1].failure.status, DCM_OK);
    tear_down(f);
}

static void test_refuses(void **state)
{
    fixture *f = set_up();

    (void)state;
    copy(f);
    copy_at(f, 0)->layout = 0;
    assert_int_equal(decode(f), DCM_AGAIN);
    copy(f);
    copy_at(f, 1)->layout = DCMI_RECORD_LAYOUT + 1;
    assert_status(decode(f), DCM_E_ABI, "layout");
    copy(f);
    copy_at(f, 2)->magic++;
    assert_status(decode(f), DCM_E_INVAL, "magic");
    copy(f);
    for (int i = 0; i < 3; i++)
        copy_at(f, i)->n_ranks = DCM_MAX_RANKS + 1;
    assert_status(decode(f), DCM_E_INVAL, "65 ranks");
    for (int i = 0; i < 3; i++)
        copy_at(f, i)->n_ranks = NRANKS + 1;
    assert_status(decode(f), DCM_E_INVAL, "4 ranks");
    copy(f);
    copy_at(f, 1)->n_ranks = NRANKS - 1;
    assert_status(decode(f), DCM_E_INVAL, "2 ranks");
    f->bytes = sizeof(dcmi_record) - 1;
    assert_int_equal(decode(f), DCM_AGAIN);
    tear_down(f);
}

static void check_seen(const dcmi_seen_comm *c)
{
    for (int r = 0; r < c->nranks; r++) {
        const dcmi_seen_rank *rank = &c->rank[r];

        assert_true(rank->pid >= 0);
        assert_true(rank->wait.ranks < 1ull << NRANKS);
        assert_true(rank->wait.since_ns <= c->now_ns);
        assert_in_range(rank->failure.culprit + 1, 0, NRANKS);
        assert_true(rank->n_ops <= DCMI_RECORD_OPS);
        for (size_t i = 0; i < rank->n_ops; i++) {
            assert_true(rank->op[i].begun_ns <= c->now_ns);
            assert_true(strlen(rank->op[i].path) <= DCMI_RECORD_NAME);
        }
    }
}

/* Any bytes behind a right head: read, said in words, harmless. */
static void test_hostile(void **state)
{
    const int rounds = test_is_thin() ? 200 : 2000;
    fixture *f = set_up();
    dcmi_verdict *v = calloc(1, sizeof(*v));
    uint64_t random = test_seed();

    (void)state;
    assert_non_null(v);
    for (int i = 0; i < rounds; i++) {
        uint64_t *at = (uint64_t *)&f->record->rank[0];
        const size_t n = (f->bytes - sizeof(dcmi_record)) / sizeof(*at);

        for (size_t k = 0; k < n; k++) {
            at[k] = test_random(&random);
            /* Some small numbers, and serials that fit their place. */
            if (test_random(&random) % 2 == 0)
                at[k] %= 70;
        }
        for (int r = 0; r < NRANKS; r++) {
            for (uint64_t k = 0; k < DCMI_RECORD_OPS; k++)
                f->record->rank[r].op[k].serial =
                    test_random(&random) % 9 * DCMI_RECORD_OPS + k;
            f->record->rank[r].who.pid = (int32_t)test_random(&random);
        }
        f->record->made_ns = test_random(&random);
        f->record->made_stamp = test_random(&random);
        memset(f->record->job, 0xff, sizeof(f->record->job));
        copy(f);
        assert_ok(decode(f));
        check_seen(f->seen);
        f->seen->failure = f->seen->rank[0].failure;
        f->seen->is_moving = i % 2 == 0;
        v->n = 0;
        dcmi_judge_comm(v, f->seen);
        for (size_t k = 0; k < v->n; k++)
            assert_true(strlen(v->line[k]) < DCMI_VERDICT_BYTES);
    }
    free(v);
    tear_down(f);
}

/* ---- while it is written -------------------------------------------------- */

typedef struct shared {
    dcmi_record *record;
    _Atomic bool is_over;
} shared;

/* Operations whose count follows from their number, and waits likewise. */
static void *write_ops(void *arg)
{
    shared *s = arg;
    dcmi_recorder r = {.mine = NULL};

    dcmi_record_open(&r, s->record, 0);
    for (uint64_t n = 1; !atomic_load(&s->is_over); n++) {
        const dcm_coll coll = call_of(n);

        dcmi_record_begin(&r, &coll, n, NRANKS);
        dcmi_record_path(&r, (const char[DCMI_RECORD_NAME]){"mail"});
        dcmi_record_look(&r, &(dcmi_record_looking){.ranks = 1 + n % 7,
                                                    .number = 1 + n % 7,
                                                    .op = "reduce",
                                                    .phase = "x"});
        dcmi_record_end(&r, DCM_OK);
    }
    return NULL;
}

static void test_concurrent(void **state)
{
    const int rounds = test_is_thin() ? 2000 : 20000;
    fixture *f = set_up();
    const int fd = memfd_create("record", MFD_CLOEXEC);
    shared s = {.record = NULL};
    pthread_t thread;
    size_t n_ops = 0;
    size_t n_waits = 0;

    (void)state;
    assert_int_equal(ftruncate(fd, (off_t)f->bytes), 0);
    s.record = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(s.record, MAP_FAILED);
    dcmi_record_title(s.record, NRANKS, "cpu", "");
    assert_int_equal(pthread_create(&thread, NULL, write_ops, &s), 0);
    for (int i = 0; i < rounds; i++) {
        const dcmi_seen_rank *rank = &f->seen->rank[0];

        for (int k = 0; k < 3; k++)
            assert_ok(dcmi_find_copy(f->copies[k], fd, 0, f->bytes));
        assert_ok(decode(f));
        for (size_t k = 0; k < rank->n_ops; k++) {
            assert_int_equal(rank->op[k].count, rank->op[k].number * 3);
            assert_int_equal(rank->op[k].number, rank->op[k].serial);
            n_ops++;
        }
        if (rank->wait.ranks != 0) {
            assert_int_equal(rank->wait.ranks, rank->wait.number);
            n_waits++;
        }
    }
    atomic_store(&s.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    printf("%zu operations and %zu waits read in %d looks\n", n_ops, n_waits,
           rounds);
    assert_true(n_ops > 0);
    assert_int_equal(munmap(s.record, f->bytes), 0);
    assert_int_equal(close(fd), 0);
    tear_down(f);
}

/* ---- words ---------------------------------------------------------------- */

static void test_words(void **state)
{
    char text[DCMI_WORDS];
    dcmi_seen_op op = {.kind = DCM_COLL_BARRIER, .number = 4};

    (void)state;
    assert_string_equal(dcmi_say_ranks(text, 0), "no rank");
    assert_string_equal(dcmi_say_ranks(text, 4), "rank 2");
    assert_string_equal(dcmi_say_ranks(text, 3), "ranks 0 and 1");
    assert_string_equal(dcmi_say_ranks(text, 11), "ranks 0, 1 and 3");
    assert_string_equal(dcmi_say_ranks(text, 0xff00), "ranks 8 to 15");
    assert_string_equal(dcmi_say_ranks(text, UINT64_MAX), "ranks 0 to 63");
    assert_string_equal(dcmi_say_list(text, 0), "-");
    assert_string_equal(dcmi_say_list(text, 0xf1), "0,4-7");
    /* The longest lists there can be. */
    (void)dcmi_say_list(text, 0x5555555555555555);
    assert_true(strlen(text) < DCMI_WORDS);
    (void)dcmi_say_ranks(text, 0x5555555555555555);
    assert_true(strlen(text) < DCMI_WORDS);
    assert_string_equal(dcmi_say_time(text, 350000000), "350 ms");
    assert_string_equal(dcmi_say_time(text, 12300000000), "12.3 s");
    assert_string_equal(dcmi_say_time(text, 600000000000), "10.0 min");
    assert_string_equal(dcmi_say_bytes(text, 4096, DCM_F32), "16 KiB");
    assert_string_equal(dcmi_say_op(text, &op), "operation 4 (barrier)");
    op = (dcmi_seen_op){.kind = DCM_COLL_RECV,
                        .number = 2,
                        .count = 5,
                        .dtype = DCM_I8,
                        .root = 3};
    assert_string_equal(dcmi_say_op(text, &op),
                        "message 2 (recv of 5 i8 from rank 3)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_is_written),
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_torn),
        cmocka_unit_test(test_wait_and_failure),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

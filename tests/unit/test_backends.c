/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of backends: tables that are short, wrong, doubled; files that are
 * no backends; and who is chosen.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/backend.h>

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "leaks.h"

/* ---- a backend of this test -------------------------------------------------- */

static atomic_int toy_score[2]; /* of each rank */
static atomic_int toy_fails_on; /* rank whose open fails; -1: none */
static atomic_int toy_open;     /* contexts */
static char toy_why[] = "no toys today";

static dcm_status toy_probe(int *score_p, dcm_group *group, char *why,
                            size_t why_bytes)
{
    *score_p = atomic_load(&toy_score[dcm_group_rank(group)]);
    if (*score_p == 0)
        (void)snprintf(why, why_bytes, "%s", toy_why);
    return DCM_OK;
}

static dcm_status toy_begin(void **ctx_p, const dcm_backend_env *env)
{
    if (env->rank == atomic_load(&toy_fails_on))
        return DCM_E_DEVICE;
    (void)atomic_fetch_add(&toy_open, 1);
    *ctx_p = &toy_open;
    return DCM_OK;
}

static void toy_end(void *ctx)
{
    die_unless(ctx == &toy_open);
    (void)atomic_fetch_sub(&toy_open, 1);
}

static dcm_status toy_reduce(void *ctx, const dcm_coll *coll)
{
    die_unless(ctx == &toy_open);
    memset(coll->dst, 'T', coll->count * dcm_dtype_bytes(coll->dtype));
    return DCM_OK;
}

static dcm_status toy_barrier(void *ctx, const dcm_coll *coll)
{
    (void)ctx;
    (void)coll;
    return DCM_E_UNSUP;
}

static dcm_status wild_explain(void *ctx, char *text, size_t bytes,
                               const dcm_coll *coll)
{
    (void)ctx;
    (void)text;
    (void)bytes;
    (void)coll;
    abort(); /* the table said that it does not know this slot */
}

static dcm_backend_ops toy(const char *name)
{
    return (dcm_backend_ops){
        .abi = DCM_BACKEND_ABI,
        .size = sizeof(dcm_backend_ops),
        .name = name,
        .probe = toy_probe,
        .open = toy_begin,
        .close = toy_end,
        .all_reduce = toy_reduce,
        .barrier = toy_barrier,
    };
}

static dcm_group *one;

static int make_group(void **state)
{
    (void)state;
    atomic_store(&toy_fails_on, -1);
    return dcm_group_new_local(&one, 1, NULL) == DCM_OK ? 0 : -1;
}

static int free_group(void **state)
{
    (void)state;
    dcm_group_free(one);
    return 0;
}

/* Number of the backend called `name`, and what it says; -1: there is none. */
static int find(const char *name, int *score_p, char *why)
{
    const char *its_name;

    for (size_t i = 0;; i++) {
        if (dcm_backend_list(i, one, &its_name, score_p, why, 120) != DCM_OK)
            return -1;
        if (strcmp(its_name, name) == 0)
            return (int)i;
    }
}

/* ---- tables ------------------------------------------------------------------ */

static void refuse(dcm_backend_ops ops, dcm_status want, const char *text)
{
    assert_status(dcm_backend_register(&ops), want, text);
}

static void test_tables(void **state)
{
    const dcm_backend_ops good = toy("wrong");
    dcm_backend_ops ops;
    char why[120];
    int score;

    (void)state;
    assert_status(dcm_backend_register(NULL), DCM_E_INVAL, "no backend table");
    ops = good;
    ops.abi = 0;
    refuse(ops, DCM_E_ABI, "abi 0");
    ops.abi = DCM_BACKEND_ABI + 1;
    refuse(ops, DCM_E_ABI, "this library has");
    ops = good;
    ops.size = 0;
    refuse(ops, DCM_E_ABI, "0 bytes");
    ops.size = offsetof(dcm_backend_ops, barrier);
    refuse(ops, DCM_E_ABI, "bytes");
    ops = good;
    ops.name = NULL;
    refuse(ops, DCM_E_INVAL, "name");
    ops.name = "";
    refuse(ops, DCM_E_INVAL, "name");
    ops.name = "sixteen letters.";
    refuse(ops, DCM_E_INVAL, "name");
    ops.name = "cpu";
    refuse(ops, DCM_E_BUSY, "backend cpu is there already");
    for (int slot = 0; slot < 5; slot++) {
        ops = good;
        if (slot == 0)
            ops.probe = NULL;
        if (slot == 1)
            ops.open = NULL;
        if (slot == 2)
            ops.close = NULL;
        if (slot == 3)
            ops.all_reduce = NULL;
        if (slot == 4)
            ops.barrier = NULL;
        refuse(ops, DCM_E_INVAL, "backend wrong lacks a mandatory slot");
    }
    assert_int_equal(find("wrong", &score, why), -1);
    assert_int_equal(find("cpu", &score, why), 0);
    assert_true(score > 0);
}

static void test_list(void **state)
{
    const char *name = NULL;
    char why[120];
    int score = 77;

    (void)state;
    assert_status(dcm_backend_list(0, NULL, &name, &score, why, 120),
                  DCM_E_INVAL, "NULL");
    assert_status(dcm_backend_list(0, one, NULL, &score, why, 120), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_backend_list(0, one, &name, NULL, why, 120), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_backend_list(0, one, &name, &score, NULL, 120),
                  DCM_E_INVAL, "NULL");
    assert_status(dcm_backend_list(0, one, &name, &score, why, 0), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_backend_list(SIZE_MAX, one, &name, &score, why, 120),
                  DCM_E_INVAL, "no backend number");
    assert_null(name);
    assert_int_equal(score, 77);
}

/* A table of the first version: what it lacks answers for itself. */
static void test_short_table(void **state)
{
    dcm_backend_ops ops = toy("short");
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm_info info = {.size = sizeof(info)};
    dcm_arena *arena = NULL;
    dcm_comm *comm;
    char text[80];
    char value = 'v';

    (void)state;
    ops.size = offsetof(dcm_backend_ops, explain);
    ops.explain = wild_explain;
    assert_ok(dcm_backend_register(&ops));
    memset(&ops, 0xff, sizeof(ops)); /* the library has its own copy */
    assert_status(dcm_backend_register(&(dcm_backend_ops){.abi = 0}), DCM_E_ABI,
                  "");

    atomic_store(&toy_score[0], 1);
    opts.backend = "short";
    assert_ok(dcm_comm_new(&comm, one, &opts));
    assert_int_equal(toy_open, 1);
    assert_ok(dcm_all_reduce(comm, &value, &value, 1, DCM_U8, DCM_SUM, NULL));
    assert_int_equal(value, 'T');
    assert_int_equal(dcm_barrier(comm, NULL), DCM_E_UNSUP);
    assert_ok(dcm_comm_explain(comm, text, sizeof(text), NULL, NULL, 1, DCM_U8,
                               DCM_SUM));
    assert_string_equal(text, "the backend does not say");
    assert_status(dcm_arena_new(&arena, comm, 4096), DCM_E_UNSUP,
                  "no symmetric memory");
    assert_null(arena);
    dcm_comm_info_get(comm, &info);
    assert_string_equal(info.backend, "short");
    assert_int_equal(info.shared_bytes, info.reserve_bytes);
    dcm_comm_free(comm);
    assert_int_equal(toy_open, 0);
}

/* Newer: the slots that this library does not know are left alone. */
static void test_long_table(void **state)
{
    struct {
        dcm_backend_ops known;
        void (*more)(void);
    } ops = {.known = toy("long"), .more = abort};
    char why[120];
    int score;

    (void)state;
    ops.known.size = sizeof(ops);
    atomic_store(&toy_score[0], 0);
    assert_ok(dcm_backend_register(&ops.known));
    assert_true(find("long", &score, why) > 0);
    assert_int_equal(score, 0);
    assert_string_equal(why, toy_why);
    assert_status(dcm_backend_register(&ops.known), DCM_E_BUSY,
                  "backend long is there already");
}

/* It ends in the middle of a slot: no version did. */
static void test_odd_size(void **state)
{
    dcm_backend_ops ops = toy("odd");

    (void)state;
    ops.size = offsetof(dcm_backend_ops, explain) + 4;
    refuse(ops, DCM_E_ABI, "bytes");
}

/* The copy is whole: the caller's name may go. */
static void test_name_is_copied(void **state)
{
    static char name[] = "brief";
    dcm_backend_ops ops = toy(name);
    char why[120];
    int score;

    (void)state;
    assert_ok(dcm_backend_register(&ops));
    memset(name, '?', sizeof(name) - 1);
    assert_true(find("brief", &score, why) > 0);
}

/* ---- who is chosen ----------------------------------------------------------- */

typedef struct choice {
    dcm_comm_opts opts;
    dcm_status st[2];
    char message[2][512];
    char backend[2][16];
} choice;

static void create(int rank, dcm_group *group, void *arg)
{
    choice *c = arg;
    dcm_comm_info info = {.size = sizeof(info)};
    dcm_comm *comm;

    c->st[rank] = dcm_comm_new(&comm, group, &c->opts);
    (void)snprintf(c->message[rank], sizeof(c->message[rank]), "%s",
                   dcm_errmsg());
    if (c->st[rank] != DCM_OK)
        return;
    dcm_comm_info_get(comm, &info);
    (void)snprintf(c->backend[rank], sizeof(c->backend[rank]), "%s",
                   info.backend);
    dcm_comm_free(comm);
}

static choice create_two(const char *backend, int score_0, int score_1)
{
    choice c;

    memset(&c, 0, sizeof(c));
    c.opts = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
    c.opts.backend = backend;
    atomic_store(&toy_score[0], score_0);
    atomic_store(&toy_score[1], score_1);
    test_run_threads(2, create, &c);
    return c;
}

/* The highest of the least scores; toys are registered under three names. */
static void test_choice(void **state)
{
    static const struct {
        int score[2];
        bool is_toy;
    } cases[] = {
        {{1000, 1000}, true}, {{INT32_MAX, 11}, true}, {{1000, 0}, false},
        {{0, 1000}, false},   {{1000, -1}, false},     {{1000, 9}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const choice c = create_two(NULL, cases[i].score[0], cases[i].score[1]);

        for (int r = 0; r < 2; r++) {
            assert_int_equal(c.st[r], DCM_OK);
            assert_int_equal(strcmp(c.backend[r], "cpu") != 0, cases[i].is_toy);
        }
        assert_string_equal(c.backend[0], c.backend[1]);
        assert_int_equal(toy_open, 0);
    }
}

static void test_forced(void **state)
{
    choice c;

    (void)state;
    c = create_two("long", 1, 1);
    assert_string_equal(c.backend[0], "long");
    assert_string_equal(c.backend[1], "long");
    c = create_two("long", 1, 0);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(c.st[r], DCM_E_UNSUP);
        assert_non_null(strstr(c.message[r], "long: rank 1: no toys today"));
        assert_null(strstr(c.message[r], "cpu"));
    }
    c = create_two("cpu", 1000, 1000);
    assert_string_equal(c.backend[0], "cpu");
}

/* One rank cannot open it: both fail, and what was opened is closed. */
static void test_open_fails(void **state)
{
    choice c;

    (void)state;
    atomic_store(&toy_fails_on, 1);
    c = create_two("long", 1, 1);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(c.st[r], DCM_E_DEVICE);
        assert_non_null(strstr(c.message[r], "rank 1: "));
    }
    assert_int_equal(toy_open, 0);
}

/* ---- files ------------------------------------------------------------------- */

/* The file of a kind, beside this program. */
static const char *file_of(const char *kind)
{
    static char path[4096 + 64];
    ssize_t n = readlink("/proc/self/exe", path, 4095);
    char *slash;

    assert_true(n > 0);
    path[n] = '\0';
    slash = strrchr(path, '/');
    (void)snprintf(slash + 1, 64, "test_backend_%s.so", kind);
    return path;
}

static void test_no_files(void **state)
{
    (void)state;
    assert_status(dcm_backend_load(NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_backend_load(""), DCM_E_INVAL, "not an absolute path");
    assert_status(dcm_backend_load("libm.so.6"), DCM_E_INVAL,
                  "libm.so.6: not an absolute path");
    assert_status(dcm_backend_load("./x.so"), DCM_E_INVAL, "absolute");
    assert_status(dcm_backend_load("/nonexistent/x.so"), DCM_E_SYS,
                  "/nonexistent/x.so");
    assert_status(dcm_backend_load("/"), DCM_E_SYS, "backend: /");
    assert_status(dcm_backend_load("/proc/self/status"), DCM_E_SYS,
                  "/proc/self/status");
}

static void test_files(void **state)
{
    char why[120];
    int score;

    (void)state;
    assert_status(dcm_backend_load(file_of("outer")), DCM_E_ABI,
                  "outer.so: no dcm_backend_entry");
    assert_int_equal(find("inner", &score, why), -1);
    assert_status(dcm_backend_load(file_of("empty")), DCM_E_INVAL,
                  "no backend table");
    assert_non_null(strstr(dcm_errmsg(), "empty.so"));
    assert_status(dcm_backend_load(file_of("old")), DCM_E_ABI, "abi 99");
    assert_int_equal(test_count_maps("test_backend_"), 0);

    assert_ok(dcm_backend_load(file_of("good")));
    assert_true(find("good", &score, why) > 0);
    assert_int_equal(score, 0);
    assert_string_equal(why, "good serves nobody");
    assert_status(dcm_backend_load(file_of("good")), DCM_E_BUSY,
                  "backend good is there already");
    assert_true(find("good", &score, why) > 0);
}

/* DEVCOMM_BACKEND_PATH is read once: each case is a process. */
typedef struct paths {
    const char *value;
    const char *text; /* of the error; NULL: none */
    bool has_good;
} paths;

static int with_paths(void *arg)
{
    const paths *p = arg;
    dcm_comm *comm;
    char why[120];
    int score;

    die_unless(setenv("DEVCOMM_BACKEND_PATH", p->value, 1) == 0);
    die_unless(dcm_group_new_local(&one, 1, NULL) == DCM_OK);
    for (int i = 0; i < 2; i++) { /* the same answer each time */
        const dcm_status st = dcm_comm_new(&comm, one, NULL);

        if (p->text == NULL) {
            die_unless(st == DCM_OK);
            dcm_comm_free(comm);
        } else {
            die_unless(st != DCM_OK);
            die_unless(strstr(dcm_errmsg(), "DEVCOMM_BACKEND_PATH") != NULL);
            die_unless(strstr(dcm_errmsg(), p->text) != NULL);
        }
    }
    if (p->text == NULL)
        die_unless((find("good", &score, why) >= 0) == p->has_good);
    dcm_group_free(one);
    return 0;
}

/* Before the other tests of files. */
static void test_paths(void **state)
{
    char good[4300];
    char colons[4400];
    char both[8800];
    paths cases[] = {
        {"", NULL, false},
        {":::", NULL, false},
        {good, NULL, true},
        {colons, NULL, true},
        {"x.so", "x.so: not an absolute path", false},
        {"/nonexistent/x.so", "/nonexistent/x.so", false},
        {both, "old.so", false},
    };

    (void)state;
    (void)snprintf(good, sizeof(good), "%s", file_of("good"));
    (void)snprintf(colons, sizeof(colons), ":%s::", good);
    (void)snprintf(both, sizeof(both), "%s:%s", good, file_of("old"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(test_in_child(with_paths, &cases[i], 60), 0);
}

/* ---- many -------------------------------------------------------------------- */

static atomic_int n_registered;

static void *register_some(void *arg)
{
    static char names[4][8][8];
    const int t = *(const int *)arg;

    for (int i = 0; i < 8; i++) {
        dcm_backend_ops ops;
        const char *name;
        dcm_status st;
        char why[120];
        int score;

        (void)snprintf(names[t][i], sizeof(names[t][i]), "t%d-%d", t, i);
        ops = toy(names[t][i]);
        st = dcm_backend_register(&ops);
        die_unless(st == DCM_OK || st == DCM_E_NOMEM);
        if (st == DCM_OK)
            (void)atomic_fetch_add(&n_registered, 1);
        for (size_t k = 0;
             dcm_backend_list(k, one, &name, &score, why, 120) == DCM_OK; k++)
            die_unless(name[0] != '\0');
    }
    return NULL;
}

/* Until there is no room, from several threads; the last test. */
static void test_many(void **state)
{
    pthread_t threads[4];
    int numbers[4];
    const char *name;
    char why[120];
    int before = 0;
    int after = 0;
    int score;

    (void)state;
    while (dcm_backend_list((size_t)before, one, &name, &score, why, 120) ==
           DCM_OK)
        before++;
    for (int t = 0; t < 4; t++) {
        numbers[t] = t;
        assert_int_equal(
            pthread_create(&threads[t], NULL, register_some, &numbers[t]), 0);
    }
    for (int t = 0; t < 4; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    while (dcm_backend_list((size_t)after, one, &name, &score, why, 120) ==
           DCM_OK)
        after++;
    assert_int_equal(after, 16);
    assert_int_equal(n_registered, 16 - before);
    refuse(toy("no room"), DCM_E_NOMEM, "more than 16 backends");
}

#define with_group(f) cmocka_unit_test_setup_teardown(f, make_group, free_group)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_group(test_paths), /* first: see there */
        with_group(test_tables),
        with_group(test_list),
        with_group(test_short_table),
        with_group(test_long_table),
        with_group(test_odd_size),
        with_group(test_name_is_copied),
        with_group(test_choice),
        with_group(test_forced),
        with_group(test_open_fails),
        with_group(test_no_files),
        with_group(test_files),
        with_group(test_many), /* last: see there */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

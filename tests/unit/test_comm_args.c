/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unwelcome arguments to every public function: a clear error, no crash, and the
 * object as good as before.  Arenas and scopes: test_comm_arena.c; ranks that
 * call different things: test_comm_mismatch.c.
 */
#include "support.h"

#include "leaks.h"

/* A struct of the next version, with one field more. */
#define NEWER(type)                                                            \
    struct {                                                                   \
        type known;                                                            \
        uint64_t more;                                                         \
    }

static dcm_group *group; /* one rank, with its communicator */
static dcm_comm *comm;

static int make_one(void **state)
{
    (void)state;
    return dcm_group_new_local(&group, 1, NULL) == DCM_OK &&
                   dcm_comm_new(&comm, group, NULL) == DCM_OK
               ? 0
               : -1;
}

static int free_one(void **state)
{
    (void)state;
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

static void assert_works(void)
{
    int32_t v = 7;

    assert_ok(dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, NULL));
    assert_int_equal(v, 7);
    assert_ok(dcm_comm_check(comm));
}

/* ---- groups ------------------------------------------------------------------ */

static int no_gather(void *arg, const void *mine, void *all, size_t bytes)
{
    (void)arg;
    (void)mine;
    (void)all;
    (void)bytes;
    abort();
}

static void test_group_null(void **state)
{
    dcm_group *g = NULL;

    (void)state;
    assert_status(dcm_group_new(NULL, "unix:x", 0, 1, NULL), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_group_new(&g, NULL, 0, 1, NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_group_new_env(NULL, NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_group_new_fn(NULL, 0, 1, no_gather, NULL, NULL),
                  DCM_E_INVAL, "NULL");
    assert_status(dcm_group_new_fn(&g, 0, 1, NULL, NULL, NULL), DCM_E_INVAL,
                  "NULL");
    assert_status(dcm_group_new_local(NULL, 1, NULL), DCM_E_INVAL, "NULL");
    dcm_group_free(NULL);
    assert_null(g);
}

static void test_group_ranks(void **state)
{
    static const struct {
        int rank;
        int nranks;
        const char *text;
    } cases[] = {
        {0, 0, "0 ranks"},           {0, -1, "-1 ranks"},
        {0, 65, "65 ranks"},         {0, INT32_MAX, "ranks"},
        {-1, 2, "rank -1 of 2"},     {2, 2, "rank 2 of 2"},
        {INT32_MIN, 64, "of 64"},    {64, 64, "rank 64 of 64"},
        {INT32_MAX, 1, "rank 2147"}, {0, INT32_MIN, "ranks"},
    };
    dcm_group *g[DCM_MAX_RANKS + 1];

    (void)state;
    memset(g, 0, sizeof(g));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_status(
            dcm_group_new(g, "unix:x", cases[i].rank, cases[i].nranks, NULL),
            DCM_E_INVAL, cases[i].text);
        assert_status(dcm_group_new_fn(g, cases[i].rank, cases[i].nranks,
                                       no_gather, NULL, NULL),
                      DCM_E_INVAL, cases[i].text);
        if (cases[i].nranks < 1 || cases[i].nranks > DCM_MAX_RANKS)
            assert_status(dcm_group_new_local(g, cases[i].nranks, NULL),
                          DCM_E_INVAL, cases[i].text);
    }
    assert_null(g[0]);
}

static void test_group_addresses(void **state)
{
    static const char *const bad[] = {
        "",          "unix",      "unix:",        "tcp:",   "tcp:localhost",
        "tcp::1",    "tcp:a:",    "tcp:a:0x1",    "UNIX:x", "tcp:a:65536",
        "file:/tmp", "tcp:[::1]", "tcp:[::1]:-1", ":",      "tcp:a:1:2",
    };
    const int fds = test_count_fds();
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *g = NULL;
    char text[256] = "unix:";

    (void)state;
    opts.timeout_ms = 200;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const dcm_status st = dcm_group_new(&g, bad[i], 0, 2, &opts);

        if (st != DCM_E_INVAL || strstr(dcm_errmsg(), bad[i]) == NULL)
            fail_msg("\"%s\": %d: %s", bad[i], (int)st, dcm_errmsg());
    }
    assert_null(g);
    memset(text + 5, 'n', 200); /* longer than a socket's name can be */
    assert_ok(dcm_group_new(&g, text, 0, 1, &opts));
    dcm_group_free(g);
    assert_int_equal(test_count_fds(), fds);
}

static void test_group_opts(void **state)
{
    NEWER(dcm_group_opts)
    next = {.known = DCM_GROUP_OPTS_INIT, .more = 1};
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    char name[66];
    dcm_group *g = NULL;

    (void)state;
    opts.size = 0;
    assert_status(dcm_group_new_local(&g, 1, &opts), DCM_E_INVAL,
                  "dcm_group_opts: size");
    opts.size = 1 << 20;
    assert_status(dcm_group_new_local(&g, 1, &opts), DCM_E_INVAL,
                  "dcm_group_opts: size");
    opts = (dcm_group_opts)DCM_GROUP_OPTS_INIT;
    opts.flags = 0x80;
    assert_status(dcm_group_new_local(&g, 1, &opts), DCM_E_INVAL,
                  "unknown flags 0x80");
    opts.flags = 0;
    memset(name, 'n', sizeof(name));
    name[65] = '\0';
    opts.name = name;
    assert_status(dcm_group_new_local(&g, 1, &opts), DCM_E_INVAL,
                  "name of 65 bytes");
    name[64] = '\0';
    assert_ok(dcm_group_new_local(&g, 1, &opts));
    dcm_group_free(g);

    g = NULL;
    next.known.size = sizeof(next);
    assert_status(dcm_group_new_local(&g, 1, &next.known), DCM_E_ABI,
                  "dcm_group_opts: byte");
    assert_null(g);
    next.more = 0;
    assert_ok(dcm_group_new_local(&g, 1, &next.known));
    dcm_group_free(g);
    /* Older: it ends before its name. */
    opts.size = offsetof(dcm_group_opts, name);
    opts.name = (const char *)1;
    opts.flags = 0x80;
    assert_ok(dcm_group_new_local(&g, 1, &opts));
    dcm_group_free(g);
}

/* A variable that cannot be read fails the creation and is named. */
static void test_group_environment(void **state)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"DEVCOMM_TIMEOUT_MS", "soon"},       {"DEVCOMM_TIMEOUT_MS", "0"},
        {"DEVCOMM_TIMEOUT_MS", "4294967296"}, {"DEVCOMM_SPIN_US", "-1"},
        {"DEVCOMM_SPIN_US", "1000001"},
    };
    const int fds = test_count_fds();
    dcm_group *g[2] = {NULL, NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(setenv(cases[i].name, cases[i].value, 1), 0);
        assert_status(dcm_group_new_local(g, 2, NULL), DCM_E_INVAL,
                      cases[i].name);
        assert_int_equal(unsetenv(cases[i].name), 0);
    }
    assert_null(g[0]);
    assert_int_equal(test_count_fds(), fds);
}

/* ---- getters of nothing ------------------------------------------------------ */

static int get_of_group(void *arg)
{
    (void)arg;
    (void)dcm_group_rank(NULL);
    (void)dcm_group_nranks(NULL);
    (void)dcm_group_nhosts(NULL);
    (void)dcm_group_host_of(NULL, 0);
    return 0;
}

static int get_of_comm(void *arg)
{
    dcm_comm_info info = {.size = sizeof(info), .rank = 77};
    dcm_failure failure = {.size = sizeof(failure), .rank = 77};

    (void)arg;
    dcm_comm_info_get(NULL, &info);
    dcm_comm_failure(NULL, &failure);
    dcm_comm_abort(NULL);
    dcm_comm_free(NULL);
    dcm_comm_set_timeout(NULL, 5);
    (void)dcm_comm_rank(NULL);
    (void)dcm_comm_nranks(NULL);
    return info.rank == 77 && failure.rank == 77 ? 0 : 1;
}

static void test_null_getters(void **state)
{
    (void)state;
    assert_int_equal(test_in_child(get_of_group, NULL, 60), 0);
    assert_int_equal(test_in_child(get_of_comm, NULL, 60), 0);
}

/* ---- communicators ----------------------------------------------------------- */

static void test_comm_null(void **state)
{
    dcm_group *one[2] = {group, NULL};
    dcm_comm *c[2] = {NULL, NULL};

    (void)state;
    assert_status(dcm_comm_new(NULL, group, NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_comm_new(c, NULL, NULL), DCM_E_INVAL, "NULL");
    assert_status(dcm_comm_new_multi(NULL, one, 1, NULL), DCM_E_INVAL, "multi");
    assert_status(dcm_comm_new_multi(c, NULL, 1, NULL), DCM_E_INVAL, "multi");
    assert_status(dcm_comm_new_multi(c, one, 0, NULL), DCM_E_INVAL, "0 ranks");
    assert_status(dcm_comm_new_multi(c, one, 65, NULL), DCM_E_INVAL,
                  "65 ranks");
    assert_status(dcm_comm_new_multi(c, one, 2, NULL), DCM_E_INVAL,
                  "group 1 is NULL");
    assert_status(dcm_comm_split(NULL, comm, 0, 0, NULL), DCM_E_INVAL, "split");
    assert_status(dcm_comm_split(c, NULL, 0, 0, NULL), DCM_E_INVAL, "split");
    assert_status(dcm_comm_split(c, comm, -2, 0, NULL), DCM_E_INVAL,
                  "colour -2");
    assert_status(dcm_comm_regroup(NULL, comm, NULL), DCM_E_INVAL, "regroup");
    assert_status(dcm_comm_regroup(c, NULL, NULL), DCM_E_INVAL, "regroup");
    assert_status(dcm_comm_finalize(NULL, 0), DCM_E_INVAL, "finalize");
    assert_status(dcm_comm_check(NULL), DCM_E_INVAL, "check");
    assert_null(c[0]);
    assert_works();
}

/* One group for two ranks. */
static void test_comm_twice(void **state)
{
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_comm *c[2] = {NULL, NULL};
    dcm_group *g[2];
    dcm_group *same[2];

    (void)state;
    opts.timeout_ms = 500;
    assert_ok(dcm_group_new_local(g, 2, &opts));
    same[0] = g[0];
    same[1] = g[0];
    assert_status(dcm_comm_new_multi(c, same, 2, NULL), DCM_E_INVAL, "");
    assert_null(c[0]);
    dcm_group_free(g[0]);
    dcm_group_free(g[1]);
}

static void test_comm_opts(void **state)
{
    NEWER(dcm_comm_opts)
    next = {.known = DCM_COMM_OPTS_INIT, .more = 1};
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_comm *c = NULL;

    (void)state;
    opts.size = 3;
    assert_status(dcm_comm_new(&c, group, &opts), DCM_E_INVAL,
                  "dcm_comm_opts: size 3");
    opts = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
    opts.flags = 1;
    assert_status(dcm_comm_new(&c, group, &opts), DCM_E_INVAL, "flags 0x1");
    opts.flags = 0;
    opts.backend = "no such";
    assert_status(dcm_comm_new(&c, group, &opts), DCM_E_INVAL,
                  "no backend called no such");
    opts.backend = "cpu";
    opts.algo = "no way";
    assert_status(dcm_comm_new(&c, group, &opts), DCM_E_INVAL,
                  "no algorithm no way");
    next.known.size = sizeof(next);
    assert_status(dcm_comm_new(&c, group, &next.known), DCM_E_ABI,
                  "dcm_comm_opts: byte");
    assert_null(c);
    next.more = 0;
    assert_ok(dcm_comm_new(&c, group, &next.known));
    dcm_comm_free(c);
    assert_works();
}

static void test_comm_environment(void **state)
{
    static const struct {
        const char *name;
        const char *value;
        const char *text;
    } cases[] = {
        {"DEVCOMM_BACKEND", "nonsense", "nonsense"},
        {"DEVCOMM_ALGO", "nonsense", "nonsense"},
        {"DEVCOMM_CPU_SIMD", "nonsense", "DEVCOMM_CPU_SIMD=nonsense"},
        {"DEVCOMM_CPU_STORES", "nonsense", "DEVCOMM_CPU_STORES=nonsense"},
        {"DEVCOMM_CPU_STAGING_KIB", "nonsense", "DEVCOMM_CPU_STAGING_KIB"},
        {"DEVCOMM_CPU_STAGING_KIB", "99999999999", "DEVCOMM_CPU_STAGING_KIB"},
    };
    const int fds = test_count_fds();
    const int maps = test_count_maps("memfd:devcomm");
    dcm_comm *c = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(setenv(cases[i].name, cases[i].value, 1), 0);
        assert_status(dcm_comm_new(&c, group, NULL), DCM_E_INVAL,
                      cases[i].text);
        assert_int_equal(unsetenv(cases[i].name), 0);
    }
    assert_null(c);
    assert_int_equal(test_count_fds(), fds);
    assert_int_equal(test_count_maps("memfd:devcomm"), maps);
    assert_works();
}

static uint64_t operations(void)
{
    dcm_comm_info info = {.size = sizeof(info)};

    dcm_comm_info_get(comm, &info);
    return info.operations;
}

static void test_all_reduce(void **state)
{
    enum {
        N = 64
    };
    const uint64_t before = operations();
    char space[3 * 4 * N];
    char *a = space + 4 * N;

    (void)state;
    memset(space, 0, sizeof(space));
    assert_status(dcm_all_reduce(NULL, a, a, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "no communicator");
    assert_status(dcm_all_reduce(comm, NULL, a, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "src is NULL");
    assert_status(dcm_all_reduce(comm, a, NULL, 1, DCM_I32, DCM_SUM, NULL),
                  DCM_E_INVAL, "dst is NULL");
    assert_status(dcm_all_reduce(comm, a, a, 1, (dcm_dtype)12, DCM_SUM, NULL),
                  DCM_E_INVAL, "no type 12");
    assert_status(dcm_all_reduce(comm, a, a, 0, (dcm_dtype)-1, DCM_SUM, NULL),
                  DCM_E_INVAL, "no type -1");
    assert_status(dcm_all_reduce(comm, a, a, 1, DCM_I32, (dcm_op)5, NULL),
                  DCM_E_INVAL, "no operator 5");
    assert_status(dcm_all_reduce(comm, a, a, 1, DCM_I32, (dcm_op)-1, NULL),
                  DCM_E_INVAL, "no operator -1");
    assert_status(dcm_all_reduce(comm, a, a, SIZE_MAX, DCM_U8, DCM_SUM, NULL),
                  DCM_E_INVAL, "overflow");
    assert_status(
        dcm_all_reduce(comm, a, a, SIZE_MAX / 8 + 1, DCM_F64, DCM_SUM, NULL),
        DCM_E_INVAL, "overflow");
    assert_status(dcm_all_reduce(comm, a, a, (size_t)PTRDIFF_MAX / 4 + 1,
                                 DCM_F32, DCM_SUM, NULL),
                  DCM_E_INVAL, "overflow");
    for (int shift = 1 - 4 * N; shift < 4 * N; shift++) {
        if (shift == 0)
            continue;
        assert_status(
            dcm_all_reduce(comm, a, a + shift, N, DCM_I32, DCM_SUM, NULL),
            DCM_E_INVAL, "overlap");
    }
    /* That was E_INVAL each time: nothing has been done. */
    assert_int_equal(operations(), before);
    assert_ok(dcm_all_reduce(comm, a, a + 4 * N, N, DCM_I32, DCM_SUM, NULL));
    assert_ok(dcm_all_reduce(comm, a, a - 4 * N, N, DCM_I32, DCM_SUM, NULL));
    assert_ok(dcm_all_reduce(comm, NULL, NULL, 0, DCM_I32, DCM_SUM, NULL));
    assert_int_equal(operations(), before + 3);
    assert_works();
}

/* The CPU has no streams. */
static void test_streams(void **state)
{
    const uint64_t before = operations();
    int32_t v = 1;

    (void)state;
    assert_status(
        dcm_all_reduce(comm, &v, &v, 1, DCM_I32, DCM_SUM, (dcm_stream)&v),
        DCM_E_INVAL, "no streams");
    assert_status(dcm_barrier(comm, (dcm_stream)&v), DCM_E_INVAL, "no streams");
    assert_status(dcm_barrier(NULL, NULL), DCM_E_INVAL, "no communicator");
    assert_int_equal(operations(), before);
    assert_works();
}

static dcm_status explain(dcm_comm *c, char *text, size_t bytes, size_t count,
                          dcm_dtype dtype, dcm_op op)
{
    return dcm_comm_explain(c, text, bytes, NULL, NULL, count, dtype, op);
}

static void test_explain_arguments(void **state)
{
    char text[64];

    (void)state;
    assert_status(explain(NULL, text, 9, 1, DCM_F32, DCM_SUM), DCM_E_INVAL,
                  "explain");
    assert_status(explain(comm, NULL, 9, 1, DCM_F32, DCM_SUM), DCM_E_INVAL,
                  "explain");
    assert_status(explain(comm, text, 0, 1, DCM_F32, DCM_SUM), DCM_E_INVAL,
                  "explain");
    assert_status(explain(comm, text, 9, 1, (dcm_dtype)12, DCM_SUM),
                  DCM_E_INVAL, "explain");
    assert_status(explain(comm, text, 9, 1, DCM_F32, (dcm_op)-1), DCM_E_INVAL,
                  "explain");
    assert_status(explain(comm, text, 9, SIZE_MAX, DCM_F32, DCM_SUM),
                  DCM_E_INVAL, "explain");
    for (size_t bytes = 1; bytes < 16; bytes++) {
        memset(text, 'x', sizeof(text));
        assert_ok(explain(comm, text, bytes, 8, DCM_F32, DCM_SUM));
        assert_int_equal(strlen(text), bytes - 1);
        assert_int_equal(text[bytes], 'x');
    }
    assert_ok(explain(comm, text, sizeof(text), 8, DCM_F32, DCM_SUM));
    assert_int_equal(strncmp(text, "alone: ", 7), 0);
}

/* The first word is the path: small, middle, large, in an arena. */
static void test_explain(void **state)
{
    static const struct {
        size_t count;
        const char *algo;
    } cases[] = {
        {0, "mail: 0 bytes on 2 ranks; "},
        {8, "mail: 32 bytes on 2 ranks; "},
        {1000, "one_shot: 4000 bytes on 2 ranks; "},
        {(size_t)1 << 40, "two_shot: 4398046511104 bytes on 2 ranks; "},
    };
    dcm_group *g[2];
    dcm_comm *c[2];
    char text[600];

    (void)state;
    assert_ok(dcm_group_new_local(g, 2, NULL));
    assert_ok(dcm_comm_new_multi(c, g, 2, NULL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_ok(explain(c[1], text, sizeof(text), cases[i].count, DCM_F32,
                          DCM_SUM));
        if (strncmp(text, cases[i].algo, strlen(cases[i].algo)) != 0)
            fail_msg("%zu elements: %s", cases[i].count, text);
        assert_non_null(strstr(text, "reduced by "));
    }
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(c[r]);
        dcm_group_free(g[r]);
    }
}

static dcm_status explain_call(dcm_comm *c, char *text, size_t bytes,
                               const char *name, size_t count)
{
    const dcm_call call = {
        .size = sizeof(call),
        .name = name,
        .count = count,
        .dtype = DCM_F32,
    };

    return dcm_comm_explain_call(c, text, bytes, &call);
}

static void test_explain_call_arguments(void **state)
{
    static const size_t counts[] = {1};
    dcm_call call = DCM_CALL_INIT;
    NEWER(dcm_call)
    next = {.known = {.size = sizeof(next), .name = "barrier"}};
    char text[300];

    (void)state;
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), NULL),
                  DCM_E_INVAL, "explain");
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), &call),
                  DCM_E_INVAL, "without a name");
    call.name = "all_gether";
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), &call),
                  DCM_E_INVAL, "no operation all_gether");
    call.name = "broadcast";
    call.root = 1;
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), &call),
                  DCM_E_INVAL, "no such call");
    call.root = 0;
    assert_ok(dcm_comm_explain_call(comm, text, sizeof(text), &call));
    assert_int_equal(strncmp(text, "alone: ", 7), 0);
    call.name = "all_to_all";
    call.counts = counts;
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), &call),
                  DCM_E_INVAL, "one of two");
    call.size = offsetof(dcm_call, counts);
    assert_ok(dcm_comm_explain_call(comm, text, sizeof(text), &call));
    assert_ok(dcm_comm_explain_call(comm, text, sizeof(text), &next.known));
    next.more = 1;
    assert_status(dcm_comm_explain_call(comm, text, sizeof(text), &next.known),
                  DCM_E_ABI, "dcm_call");
}

/* The path of each kind. */
static void test_explain_call(void **state)
{
    static const struct {
        const char *name;
        size_t count;
        const char *path;
    } cases[] = {
        {"all_reduce", 8, "mail: "},      {"all_reduce", 1 << 20, "two_shot: "},
        {"barrier", 0, "mail: "},         {"reduce", 8, "mail: "},
        {"reduce", 4096, "staged: "},     {"broadcast", 8, "mail: "},
        {"broadcast", 4096, "staged: "},  {"all_gather", 8, "mail: "},
        {"all_gather", 4096, "staged: "}, {"reduce_scatter", 8, "mail: "},
        {"scatter", 4096, "staged: "},    {"gather", 4096, "staged: "},
        {"all_to_all", 4096, "staged: "}, {"send", 8, "mail: "},
        {"recv", 4096, "pieces: "},
    };
    static const size_t counts[] = {1, 2};
    dcm_call call = DCM_CALL_INIT;
    dcm_group *g[2];
    dcm_comm *c[2];
    char text[600];

    (void)state;
    assert_ok(dcm_group_new_local(g, 2, NULL));
    assert_ok(dcm_comm_new_multi(c, g, 2, NULL));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_ok(explain_call(c[1], text, sizeof(text), cases[i].name,
                               cases[i].count));
        if (strncmp(text, cases[i].path, strlen(cases[i].path)) != 0)
            fail_msg("%s of %zu: %s", cases[i].name, cases[i].count, text);
    }
    /* Blocks that differ, or lie in rows, are no mail, however small. */
    call.name = "all_gather";
    call.counts = counts;
    assert_ok(dcm_comm_explain_call(c[0], text, sizeof(text), &call));
    assert_int_equal(strncmp(text, "staged: ", 8), 0);
    call.counts = NULL;
    call.count = 4;
    call.inner = 2;
    assert_ok(dcm_comm_explain_call(c[0], text, sizeof(text), &call));
    assert_non_null(strstr(text, "lie in rows"));
    for (int r = 0; r < 2; r++) {
        dcm_comm_free(c[r]);
        dcm_group_free(g[r]);
    }
}

/* Callers of other versions get what both know. */
static void test_info(void **state)
{
    dcm_failure failure = {.size = sizeof(failure), .rank = 77};
    dcm_comm_info info = {.size = sizeof(info)};
    NEWER(dcm_comm_info)
    next = {.known = {.size = sizeof(next)}, .more = 77};

    (void)state;
    dcm_comm_info_get(comm, NULL);
    dcm_comm_failure(comm, NULL);
    dcm_comm_info_get(comm, &info);
    assert_int_equal(info.size, sizeof(info));
    assert_int_equal(info.rank, 0);
    assert_int_equal(info.nranks, 1);
    assert_string_equal(info.backend, "cpu");
    assert_true(info.shared_bytes > 0);
    assert_true(info.reserve_bytes >= info.shared_bytes);

    dcm_comm_info_get(comm, &next.known);
    assert_int_equal(next.known.nranks, 1);
    assert_int_equal(next.known.size, sizeof(next));
    assert_int_equal(next.more, 77);

    info = (dcm_comm_info){
        .size = offsetof(dcm_comm_info, nranks), .rank = 55, .nranks = 77};
    dcm_comm_info_get(comm, &info);
    assert_int_equal(info.rank, 0);
    assert_int_equal(info.nranks, 77);
    info = (dcm_comm_info){.size = 0, .rank = 55};
    dcm_comm_info_get(comm, &info);
    assert_int_equal(info.rank, 55);

    dcm_comm_failure(comm, &failure);
    assert_int_equal(failure.status, DCM_OK);
    assert_string_equal(failure.message, "");
}

#define with_one(f) cmocka_unit_test_setup_teardown(f, make_one, free_one)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_null),
        cmocka_unit_test(test_group_ranks),
        cmocka_unit_test(test_group_addresses),
        cmocka_unit_test(test_group_opts),
        cmocka_unit_test(test_group_environment),
        cmocka_unit_test(test_null_getters),
        with_one(test_comm_null),
        cmocka_unit_test(test_comm_twice),
        with_one(test_comm_opts),
        with_one(test_comm_environment),
        with_one(test_all_reduce),
        with_one(test_streams),
        with_one(test_explain_arguments),
        cmocka_unit_test(test_explain),
        with_one(test_explain_call_arguments),
        cmocka_unit_test(test_explain_call),
        with_one(test_info),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

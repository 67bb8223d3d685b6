/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that call different things: all of them get DCM_E_MISMATCH, for good, and
 * somebody says which two calls.  Threads, but for settings that only processes
 * can have different.
 */
#define _GNU_SOURCE
#include "support.h"

#include <unistd.h>

#include "mp/mp.h"

enum {
    RANKS = 3,
    ARENA_BYTES = 4 << 20
};

/* What one rank calls. */
typedef struct call {
    enum {
        REDUCE,
        REDUCE_IN_ARENA,
        BARRIER
    } kind;
    size_t count;
    dcm_dtype dtype;
    dcm_op op;
} call;

typedef struct pairing {
    call most; /* all ranks but one */
    call odd;
    const char *texts[2]; /* of both, as somebody must say them */
} pairing;

static const pairing pairings[] = {
    /* counts, within and between the algorithms */
    {{REDUCE, 4, DCM_F32, DCM_SUM},
     {REDUCE, 5, DCM_F32, DCM_SUM},
     {"all_reduce of 4 f32, sum", "all_reduce of 5 f32, sum"}},
    {{REDUCE, 0, DCM_F32, DCM_SUM},
     {REDUCE, 1, DCM_F32, DCM_SUM},
     {"all_reduce of 0 f32, sum", "all_reduce of 1 f32, sum"}},
    {{REDUCE, 8, DCM_I8, DCM_SUM},
     {REDUCE, 700, DCM_I8, DCM_SUM},
     {"all_reduce of 8 i8, sum", "all_reduce of 700 i8, sum"}},
    {{REDUCE, 2000, DCM_F32, DCM_SUM},
     {REDUCE, 2001, DCM_F32, DCM_SUM},
     {"all_reduce of 2000 f32, sum", "all_reduce of 2001 f32, sum"}},
    {{REDUCE, 900000, DCM_F32, DCM_SUM},
     {REDUCE, 900001, DCM_F32, DCM_SUM},
     {"all_reduce of 900000 f32, sum", "all_reduce of 900001 f32, sum"}},
    {{REDUCE, 4, DCM_F32, DCM_SUM},
     {REDUCE, 2000, DCM_F32, DCM_SUM},
     {"all_reduce of 4 f32, sum", "all_reduce of 2000 f32, sum"}},
    {{REDUCE, 4, DCM_F32, DCM_SUM},
     {REDUCE, 900000, DCM_F32, DCM_SUM},
     {"all_reduce of 4 f32, sum", "all_reduce of 900000 f32, sum"}},
    {{REDUCE, 2000, DCM_F32, DCM_SUM},
     {REDUCE, 900000, DCM_F32, DCM_SUM},
     {"all_reduce of 2000 f32, sum", "all_reduce of 900000 f32, sum"}},
    /* types */
    {{REDUCE, 4, DCM_F32, DCM_SUM},
     {REDUCE, 4, DCM_I32, DCM_SUM},
     {"all_reduce of 4 f32, sum", "all_reduce of 4 i32, sum"}},
    {{REDUCE, 8, DCM_F32, DCM_SUM},
     {REDUCE, 4, DCM_F64, DCM_SUM},
     {"all_reduce of 8 f32, sum", "all_reduce of 4 f64, sum"}},
    {{REDUCE, 4000, DCM_BF16, DCM_SUM},
     {REDUCE, 4000, DCM_F16, DCM_SUM},
     {"all_reduce of 4000 bf16, sum", "all_reduce of 4000 f16, sum"}},
    {{REDUCE, 900000, DCM_U32, DCM_SUM},
     {REDUCE, 900000, DCM_I32, DCM_SUM},
     {"all_reduce of 900000 u32, sum", "all_reduce of 900000 i32, sum"}},
    /* operators */
    {{REDUCE, 4, DCM_F32, DCM_SUM},
     {REDUCE, 4, DCM_F32, DCM_AVG},
     {"all_reduce of 4 f32, sum", "all_reduce of 4 f32, avg"}},
    {{REDUCE, 4000, DCM_F32, DCM_MAX},
     {REDUCE, 4000, DCM_F32, DCM_MIN},
     {"all_reduce of 4000 f32, max", "all_reduce of 4000 f32, min"}},
    {{REDUCE, 900000, DCM_F32, DCM_PROD},
     {REDUCE, 900000, DCM_F32, DCM_SUM},
     {"all_reduce of 900000 f32, prod", "all_reduce of 900000 f32, sum"}},
    /* arenas */
    {{REDUCE_IN_ARENA, 2000, DCM_F32, DCM_SUM},
     {REDUCE_IN_ARENA, 2001, DCM_F32, DCM_SUM},
     {"all_reduce of 2000 f32, sum", "all_reduce of 2001 f32, sum"}},
    {{REDUCE_IN_ARENA, 400000, DCM_F32, DCM_SUM},
     {REDUCE_IN_ARENA, 400000, DCM_F32, DCM_MAX},
     {"all_reduce of 400000 f32, sum", "all_reduce of 400000 f32, max"}},
    {{REDUCE_IN_ARENA, 2000, DCM_F32, DCM_SUM},
     {REDUCE, 2001, DCM_F32, DCM_SUM},
     {"all_reduce of 2000 f32, sum", "all_reduce of 2001 f32, sum"}},
    {{REDUCE, 900000, DCM_F32, DCM_SUM},
     {REDUCE_IN_ARENA, 400000, DCM_F32, DCM_SUM},
     {"all_reduce of 900000 f32, sum", "all_reduce of 400000 f32, sum"}},
    {{REDUCE_IN_ARENA, 400000, DCM_F32, DCM_SUM},
     {REDUCE, 4, DCM_F32, DCM_SUM},
     {"all_reduce of 400000 f32, sum", "all_reduce of 4 f32, sum"}},
    /* barriers */
    {{BARRIER, 0, DCM_F64, DCM_SUM},
     {REDUCE, 0, DCM_F64, DCM_SUM},
     {"barrier", "all_reduce of 0 f64, sum"}},
    {{BARRIER, 0, DCM_F64, DCM_SUM},
     {REDUCE, 4, DCM_F32, DCM_SUM},
     {"barrier", "all_reduce of 4 f32, sum"}},
    {{REDUCE, 2000, DCM_F32, DCM_SUM},
     {BARRIER, 0, DCM_F64, DCM_SUM},
     {"all_reduce of 2000 f32, sum", "barrier"}},
    {{REDUCE, 900000, DCM_F32, DCM_SUM},
     {BARRIER, 0, DCM_F64, DCM_SUM},
     {"all_reduce of 900000 f32, sum", "barrier"}},
    {{BARRIER, 0, DCM_F64, DCM_SUM},
     {REDUCE_IN_ARENA, 400000, DCM_F32, DCM_SUM},
     {"barrier", "all_reduce of 400000 f32, sum"}},
};

typedef struct run {
    const pairing *pairing;
    int odd; /* the rank */
    dcm_status st[RANKS];
    char message[RANKS][512];
} run;

/* Space for the largest call of each rank, zero. */
static unsigned char *space[RANKS];

static dcm_status do_call(const call *c, int rank, dcm_comm *comm,
                          dcm_arena *arena)
{
    void *at = space[rank];

    if (c->kind == BARRIER)
        return dcm_barrier(comm, NULL);
    if (c->kind == REDUCE_IN_ARENA)
        die_unless(
            dcm_arena_alloc(arena, &at, c->count * dcm_dtype_bytes(c->dtype)) ==
            DCM_OK);
    return dcm_all_reduce(comm, at, at, c->count, c->dtype, c->op, NULL);
}

/* Failed for good, with a record that fits; the survivors (all) go on. */
static void check_failed(int rank, dcm_comm *comm)
{
    dcm_failure f = {.size = sizeof(f)};
    const float mine = (float)(rank + 1);
    const int n = dcm_comm_nranks(comm);
    dcm_comm *next;
    float sum;

    die_unless(dcm_comm_check(comm) == DCM_E_MISMATCH);
    die_unless(dcm_barrier(comm, NULL) == DCM_E_MISMATCH);
    die_unless(dcm_all_reduce(comm, &mine, &sum, 1, DCM_F32, DCM_SUM, NULL) ==
               DCM_E_MISMATCH);
    die_unless(dcm_comm_finalize(comm, 0) == DCM_E_MISMATCH);
    dcm_comm_failure(comm, &f);
    die_unless(f.status == DCM_E_MISMATCH && f.epoch == 2);
    die_unless(f.rank >= 0 && f.rank < n && f.reporter >= 0 && f.reporter < n);
    die_unless(f.pid == (int)getpid() && f.message[0] != '\0');

    die_unless(dcm_comm_regroup(&next, comm, NULL) == DCM_OK);
    die_unless(dcm_comm_nranks(next) == n && dcm_comm_rank(next) == rank);
    die_unless(dcm_all_reduce(next, &mine, &sum, 1, DCM_F32, DCM_SUM, NULL) ==
               DCM_OK);
    die_unless(sum == (float)(n * (n + 1) / 2));
    die_unless(dcm_comm_finalize(next, 0) == DCM_OK);
    dcm_comm_free(next);
}

static void play(int rank, dcm_group *group, void *arg)
{
    run *r = arg;
    dcm_comm_opts opts = DCM_COMM_OPTS_INIT;
    dcm_arena *arena;
    dcm_comm *comm;

    opts.timeout_ms = 60000;
    die_unless(dcm_comm_new(&comm, group, &opts) == DCM_OK);
    die_unless(dcm_arena_new(&arena, comm, ARENA_BYTES) == DCM_OK);
    die_unless(dcm_barrier(comm, NULL) == DCM_OK);
    r->st[rank] = do_call(rank == r->odd ? &r->pairing->odd : &r->pairing->most,
                          rank, comm, arena);
    (void)snprintf(r->message[rank], sizeof(r->message[rank]), "%s",
                   dcm_errmsg());
    if (r->st[rank] == DCM_E_MISMATCH)
        check_failed(rank, comm);
    dcm_arena_free(arena);
    dcm_comm_free(comm);
}

static void check_run(const run *r, int nranks)
{
    const char *const *texts = r->pairing->texts;
    bool is_said = false;

    for (int i = 0; i < nranks; i++) {
        if (r->st[i] != DCM_E_MISMATCH)
            fail_msg("%s against %s by rank %d of %d: rank %d got %d: %s",
                     texts[0], texts[1], r->odd, nranks, i, (int)r->st[i],
                     r->message[i]);
        if (strstr(r->message[i], texts[0]) != NULL &&
            strstr(r->message[i], texts[1]) != NULL)
            is_said = true;
    }
    if (!is_said)
        fail_msg("%s against %s by rank %d of %d: nobody says it: %s", texts[0],
                 texts[1], r->odd, nranks, r->message[0]);
}

static void play_all(int nranks)
{
    const size_t step = test_is_thin() ? 4 : 1;

    for (size_t i = 0; i < sizeof(pairings) / sizeof(pairings[0]); i += step) {
        for (int odd = 0; odd < nranks; odd++) {
            run r = {.pairing = &pairings[i], .odd = odd};

            /* Of three, each is the odd one in every third pairing. */
            if (nranks > 2 && i / step % (size_t)nranks != (size_t)odd)
                continue;
            test_run_threads(nranks, play, &r);
            check_run(&r, nranks);
        }
    }
}

static void test_two_ranks(void **state)
{
    (void)state;
    play_all(2);
}

static void test_three_ranks(void **state)
{
    (void)state;
    play_all(3);
}

/* ---- at creation ------------------------------------------------------------- */

typedef struct creation {
    dcm_comm_opts opts[RANKS];
    dcm_status st[RANKS];
    char message[RANKS][256];
} creation;

static void create(int rank, dcm_group *group, void *arg)
{
    creation *c = arg;
    int all[RANKS];
    dcm_comm *comm = NULL;

    c->st[rank] = dcm_comm_new(&comm, group, &c->opts[rank]);
    (void)snprintf(c->message[rank], sizeof(c->message[rank]), "%s",
                   dcm_errmsg());
    die_unless((comm != NULL) == (c->st[rank] == DCM_OK));
    dcm_comm_free(comm);
    /* The group is as good as before. */
    die_unless(dcm_group_exchange(group, &rank, all, sizeof(rank), 0) ==
               DCM_OK);
}

static void create_all(creation *c, int nranks, dcm_status want,
                       const char *text)
{
    test_run_threads(nranks, create, c);
    for (int r = 0; r < nranks; r++) {
        if (c->st[r] != want || strstr(c->message[r], text) == NULL)
            fail_msg("rank %d: %d: %s; not %d with \"%s\"", r, (int)c->st[r],
                     c->message[r], (int)want, text);
    }
}

static creation plain(void)
{
    creation c;

    memset(&c, 0, sizeof(c));
    for (int r = 0; r < RANKS; r++)
        c.opts[r] = (dcm_comm_opts)DCM_COMM_OPTS_INIT;
    return c;
}

static void test_options(void **state)
{
    creation c = plain();

    (void)state;
    create_all(&c, 3, DCM_OK, "");
    c.opts[1].backend = "cpu";
    create_all(&c, 2, DCM_E_MISMATCH,
               "rank 1 asks for another backend, algorithm or "
               "DEVCOMM_CHECK_EVERY than rank 0");
    create_all(&c, 3, DCM_E_MISMATCH, "rank 1 asks for another backend");
    c = plain();
    c.opts[2].algo = "two_shot";
    create_all(&c, 3, DCM_E_MISMATCH, "rank 2 asks for another backend");
    c = plain();
    for (int r = 0; r < 3; r++)
        c.opts[r].algo = r == 0 ? "mail" : "one_shot";
    create_all(&c, 3, DCM_E_MISMATCH, "rank 1 asks for another backend");
    /* Not the same words for the same thing, but no harm. */
    c = plain();
    c.opts[1].timeout_ms = 5000;
    create_all(&c, 3, DCM_OK, "");
}

/* What is wrong on one rank only is told to all. */
static void test_one_rank_wrong(void **state)
{
    creation c = plain();

    (void)state;
    c.opts[1].flags = 4;
    create_all(&c, 3, DCM_E_INVAL, "rank 1: dcm_comm_opts: unknown flags 0x4");
    c = plain();
    c.opts[2].size = 1;
    create_all(&c, 3, DCM_E_INVAL, "rank 2: dcm_comm_opts: size 1");
    c = plain();
    c.opts[0].backend = "nonsense";
    create_all(&c, 2, DCM_E_INVAL, "rank 0: there is no backend called");
}

static void test_forced_algorithm(void **state)
{
    creation c = plain();

    (void)state;
    for (int r = 0; r < 2; r++)
        c.opts[r].algo = "nonsense";
    create_all(&c, 2, DCM_E_INVAL, "no algorithm nonsense");
    for (int r = 0; r < 2; r++)
        c.opts[r].algo = "auto";
    create_all(&c, 2, DCM_OK, "");
}

/* ---- the environment, of processes ------------------------------------------- */

typedef struct setting {
    const char *name;
    const char *value; /* of rank 1 */
    const char *text;  /* the message; NULL: no matter */
} setting;

static int with_setting(int rank, void *arg)
{
    const setting *s = arg;
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    char address[64];
    dcm_group *group;
    dcm_comm *comm;
    dcm_status st;
    float v = 1;

    (void)snprintf(address, sizeof(address), "unix:mismatch-%d",
                   (int)getppid());
    opts.timeout_ms = 60000;
    if (rank == 1)
        die_unless(setenv(s->name, s->value, 1) == 0);
    die_unless(dcm_group_new(&group, address, rank, 2, &opts) == DCM_OK);
    st = dcm_comm_new(&comm, group, NULL);
    if (s->text != NULL) {
        die_unless(st == DCM_E_MISMATCH);
        die_unless(strstr(dcm_errmsg(), s->text) != NULL);
    } else {
        die_unless(st == DCM_OK);
        for (int i = 0; i < 10; i++)
            die_unless(dcm_all_reduce(comm, &v, &v, 1, DCM_F32, DCM_AVG,
                                      NULL) == DCM_OK);
        die_unless(v == 1.0f && dcm_comm_finalize(comm, 0) == DCM_OK);
        dcm_comm_free(comm);
    }
    dcm_group_free(group);
    return 0;
}

static void test_settings(void **state)
{
    static setting settings[] = {
        {"DEVCOMM_CPU_STAGING_KIB", "2048", "DEVCOMM_CPU_STAGING_KIB"},
        {"DEVCOMM_CPU_STORES", "stream", "DEVCOMM_CPU_STORES"},
        {"DEVCOMM_BACKEND", "cpu", "another backend"},
        {"DEVCOMM_ALGO", "one_shot", "algorithm"},
        {"DEVCOMM_CPU_SIMD", "scalar", NULL},
        {"DEVCOMM_SPIN_US", "0", NULL},
        {"DEVCOMM_TIMEOUT_MS", "30000", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        mp_world mp;

        mp_spawn(&mp, 2, with_setting, &settings[i]);
        mp_wait(&mp, 90000, 0);
    }
}

/* A rank whose environment cannot be read takes the others with it. */
static int with_nonsense(int rank, void *arg)
{
    const char *name = arg;
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    char address[64];
    dcm_group *group;

    (void)snprintf(address, sizeof(address), "unix:nonsense-%d",
                   (int)getppid());
    opts.timeout_ms = 5000;
    if (rank == 1)
        die_unless(setenv(name, "nonsense", 1) == 0);
    die_unless(dcm_group_new(&group, address, rank, 3, &opts) == DCM_E_INVAL);
    die_unless(strstr(dcm_errmsg(), name) != NULL);
    return 0;
}

static void test_nonsense_setting(void **state)
{
    static char name[] = "DEVCOMM_SPIN_US";
    mp_world mp;

    (void)state;
    mp_spawn(&mp, 3, with_nonsense, name);
    mp_wait(&mp, 60000, 0);
}

static int make_space(void **state)
{
    (void)state;
    for (int r = 0; r < RANKS; r++) {
        space[r] = calloc(1, ARENA_BYTES);
        if (space[r] == NULL)
            return -1;
    }
    return 0;
}

static int free_space(void **state)
{
    (void)state;
    for (int r = 0; r < RANKS; r++)
        free(space[r]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_ranks),
        cmocka_unit_test(test_three_ranks),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_one_rank_wrong),
        cmocka_unit_test(test_forced_algorithm),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_nonsense_setting),
    };

    return cmocka_run_group_tests(tests, make_space, free_space);
}

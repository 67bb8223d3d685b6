/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send and recv: every size around the borders of lines and pieces, in both
 * directions, to oneself, in bursts, and random sets of messages side by side with
 * collectives.  Contents are a formula of sender, receiver and number; red zones
 * round what is received.
 */
#include "support.h"

enum {
    RED = 64,
    RED_BYTE = 0x5a,
    MOST = 1300000,
    MAX_N = 8,
};

typedef struct letter {
    int from, to;
    size_t bytes;
    uint64_t id;
} letter;

static void write_letter(const letter *l, unsigned char *at)
{
    uint64_t state = l->id * 1000003u + (uint64_t)(l->from * 64 + l->to);

    for (size_t i = 0; i < l->bytes; i += 8) {
        const uint64_t v = test_random(&state);

        memcpy(at + i, &v, l->bytes - i < 8 ? l->bytes - i : 8);
    }
}

static void check_letter(const letter *l, const unsigned char *at,
                         unsigned char *scratch)
{
    write_letter(l, scratch);
    if (memcmp(at, scratch, l->bytes) != 0) {
        fprintf(stderr, "letter %llu of %zu bytes from %d to %d is wrong\n",
                (unsigned long long)l->id, l->bytes, l->from, l->to);
        abort();
    }
}

typedef struct desk {
    int rank, n;
    dcm_comm *comm;
    unsigned char *out, *in, *scratch;
} desk;

static void desk_open(desk *d, int rank, dcm_group *group)
{
    *d = (desk){.rank = rank, .n = dcm_group_nranks(group)};
    d->out = malloc(MOST);
    d->in = malloc(MOST + 2 * RED);
    d->scratch = malloc(MOST + 8);
    die_unless(d->out != NULL && d->in != NULL && d->scratch != NULL);
    die_unless(dcm_comm_new(&d->comm, group, NULL) == DCM_OK);
}

static void desk_close(desk *d)
{
    die_unless(dcm_comm_finalize(d->comm, 0) == DCM_OK);
    dcm_comm_free(d->comm);
    free(d->out);
    free(d->in);
    free(d->scratch);
}

static void expect_letter(desk *d, const letter *l, bool is_red)
{
    if (is_red) {
        check_letter(l, d->in + RED, d->scratch);
        for (int i = 0; i < RED; i++)
            die_unless(d->in[i] == RED_BYTE &&
                       d->in[RED + l->bytes + (size_t)i] == RED_BYTE);
    }
}

/* ---- neighbours ----------------------------------------------------------- */

static const size_t sizes[] = {
    0,     1,      55,     56,     57,     112,    113,
    895,   896,    897,    952,    4096,   65535,  65536,
    65537, 131072, 262143, 262144, 262145, 327681, MOST,
};

/* Each sends to the next, in a scope or in an order that needs none. */
static void neighbours(desk *d, size_t bytes, uint64_t id, bool is_scope)
{
    const int next = (d->rank + 1) % d->n;
    const int last = (d->rank + d->n - 1) % d->n;
    const letter sent = {d->rank, next, bytes, id};
    const letter got = {last, d->rank, bytes, id};
    const bool is_first = d->rank % 2 == 0;

    write_letter(&sent, d->out);
    memset(d->in, RED_BYTE, bytes + 2 * RED);
    if (is_scope)
        die_unless(dcm_begin() == DCM_OK);
    if (is_scope || is_first)
        die_unless(dcm_send(d->comm, d->out, bytes, DCM_U8, next, NULL) ==
                   DCM_OK);
    die_unless(dcm_recv(d->comm, d->in + RED, bytes, DCM_U8, last, NULL) ==
               DCM_OK);
    if (!is_scope && !is_first)
        die_unless(dcm_send(d->comm, d->out, bytes, DCM_U8, next, NULL) ==
                   DCM_OK);
    if (is_scope)
        die_unless(dcm_end() == DCM_OK);
    expect_letter(d, &got, true);
}

static void neighbours_rank(int rank, dcm_group *group, void *arg)
{
    desk d;
    uint64_t id = 1;

    (void)arg;
    desk_open(&d, rank, group);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            neighbours(&d, sizes[i], id++, true);
            if (d.n % 2 == 0)
                neighbours(&d, sizes[i], id++, false);
        }
    }
    desk_close(&d);
}

static void test_neighbours(void **state)
{
    static const int ranks[] = {1, 2, 3, 4, 5, 8};

    (void)state;
    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        if (!test_is_thin() || ranks[i] <= 3)
            test_run_threads(ranks[i], neighbours_rank, NULL);
    }
}

/* ---- bursts: more than a channel holds, one side faster than the other ------ */

static void burst_rank(int rank, dcm_group *group, void *arg)
{
    const int count = test_is_thin() ? 20000 : 500000;
    uint64_t state = test_seed();
    uint64_t words[200];
    dcm_comm *comm;

    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    for (int i = 0; i < count; i++) {
        const size_t n = test_random(&state) % (i % 100 == 0 ? 200 : 20);
        const uint64_t v = test_random(&state);

        for (size_t k = 0; k < n; k++)
            words[k] = rank == 0 ? v + k : 0;
        if (rank == 0)
            die_unless(dcm_send(comm, words, n, DCM_U64, 1, NULL) == DCM_OK);
        else
            die_unless(dcm_recv(comm, words, n, DCM_U64, 0, NULL) == DCM_OK);
        for (size_t k = 0; k < n; k++)
            die_unless(words[k] == v + k);
    }
    die_unless(dcm_comm_finalize(comm, 0) == DCM_OK);
    dcm_comm_free(comm);
}

static void test_burst(void **state)
{
    (void)state;
    test_run_threads(2, burst_rank, NULL);
}

/* ---- random sets ---------------------------------------------------------- */

enum {
    LETTERS = 24,
    ROOM = 400000
};

static void draw(letter *l, uint64_t *state, int n)
{
    const uint64_t v = test_random(state);
    const size_t most = v % 8 == 0 ? ROOM : v % 8 < 3 ? 3000 : 200;

    l->from = (int)((v >> 8) % (unsigned)n);
    l->to = (int)((v >> 16) % (unsigned)n);
    l->bytes = (v >> 24) % most;
    l->id = v;
}

/* This rank's calls of a set, sends first or receives first. */
static void call_all(dcm_comm *comm, int rank, const letter *set, int n,
                     unsigned char *const *out, unsigned char *const *in,
                     bool sends_first)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n; i++) {
            const letter *l = &set[i];

            if ((pass == 0) == sends_first && l->from == rank)
                die_unless(dcm_send(comm, out[i], l->bytes, DCM_I8, l->to,
                                    NULL) == DCM_OK);
            if ((pass == 0) != sends_first && l->to == rank)
                die_unless(dcm_recv(comm, in[i], l->bytes, DCM_I8, l->from,
                                    NULL) == DCM_OK);
        }
    }
}

static void random_rank(int rank, dcm_group *group, void *arg)
{
    const int rounds = test_is_thin() ? 40 : 400;
    uint64_t state = *(const uint64_t *)arg;
    unsigned char *out[LETTERS];
    unsigned char *in[LETTERS];
    letter set[LETTERS];
    desk d;

    desk_open(&d, rank, group);
    for (int i = 0; i < LETTERS; i++) {
        out[i] = malloc(ROOM + 8);
        in[i] = malloc(ROOM + 8);
        die_unless(out[i] != NULL && in[i] != NULL);
    }
    for (int round = 0; round < rounds; round++) {
        const uint64_t v = test_random(&state);
        const int n = (int)(v % LETTERS);
        int32_t sum = rank;

        for (int i = 0; i < n; i++) {
            draw(&set[i], &state, d.n);
            if (set[i].from == rank)
                write_letter(&set[i], out[i]);
        }
        die_unless(dcm_begin() == DCM_OK);
        /* Before the messages on some ranks, behind them on others. */
        if ((v >> 8 & 1) != 0 && ((v >> (9 + rank)) & 1) != 0)
            die_unless(dcm_all_reduce(d.comm, &sum, &sum, 1, DCM_I32, DCM_SUM,
                                      NULL) == DCM_OK);
        call_all(d.comm, rank, set, n, out, in, (v >> (20 + rank) & 1) != 0);
        if ((v >> 8 & 1) != 0 && ((v >> (9 + rank)) & 1) == 0)
            die_unless(dcm_all_reduce(d.comm, &sum, &sum, 1, DCM_I32, DCM_SUM,
                                      NULL) == DCM_OK);
        die_unless(dcm_end() == DCM_OK);
        die_unless((v >> 8 & 1) == 0 || sum == d.n * (d.n - 1) / 2);
        for (int i = 0; i < n; i++) {
            if (set[i].to == rank)
                check_letter(&set[i], in[i], d.scratch);
        }
    }
    for (int i = 0; i < LETTERS; i++) {
        free(out[i]);
        free(in[i]);
    }
    desk_close(&d);
}

static void test_random_sets(void **state)
{
    (void)state;
    for (int n = 1; n <= (test_is_thin() ? 3 : 5); n++) {
        uint64_t seed = test_seed() + (unsigned)n;

        test_run_threads(n, random_rank, &seed);
    }
}

/* ---- ranks of one thread -------------------------------------------------- */

static void test_one_thread(void **state)
{
    enum {
        N = 3,
        BYTES = 700000
    };
    dcm_group *groups[N];
    dcm_comm *comms[N];
    unsigned char *out[N][N];
    unsigned char *in[N][N];
    unsigned char *scratch = malloc(BYTES + 8);

    (void)state;
    assert_non_null(scratch);
    assert_ok(dcm_group_new_local(groups, N, NULL));
    assert_ok(dcm_comm_new_multi(comms, groups, N, NULL));
    for (int i = 0; i < N * N; i++) {
        out[i / N][i % N] = malloc(BYTES);
        in[i / N][i % N] = malloc(BYTES);
        assert_true(out[i / N][i % N] != NULL && in[i / N][i % N] != NULL);
        write_letter(&(letter){i / N, i % N, BYTES, 7}, out[i / N][i % N]);
    }
    assert_ok(dcm_begin());
    for (int i = 0; i < N * N; i++) {
        assert_ok(dcm_send(comms[i / N], out[i / N][i % N], BYTES, DCM_U8,
                           i % N, NULL));
        assert_ok(dcm_recv(comms[i % N], in[i / N][i % N], BYTES, DCM_U8, i / N,
                           NULL));
    }
    assert_ok(dcm_end());
    for (int i = 0; i < N * N; i++) {
        check_letter(&(letter){i / N, i % N, BYTES, 7}, in[i / N][i % N],
                     scratch);
        free(out[i / N][i % N]);
        free(in[i / N][i % N]);
    }
    free(scratch);
    for (int r = 0; r < N; r++)
        dcm_comm_free(comms[r]);
    for (int r = 0; r < N; r++)
        dcm_group_free(groups[r]);
}

/* ---- what is refused ------------------------------------------------------ */

static const struct {
    size_t sent, awaited;
    dcm_dtype type, other;
} pairs[] = {
    {3, 4, DCM_F32, DCM_F32},       {3, 3, DCM_F32, DCM_I32},
    {3, 300, DCM_F32, DCM_F32},     {300, 3, DCM_F32, DCM_F32},
    {300, 301, DCM_F32, DCM_F32},   {300, 300, DCM_F32, DCM_U32},
    {70000, 70001, DCM_I8, DCM_I8}, {0, 1, DCM_I8, DCM_I8},
};

static void mismatch_rank(int rank, dcm_group *group, void *arg)
{
    static unsigned char buffer[2][80000];
    const int i = *(const int *)arg;
    char text[64];
    dcm_comm *comm;
    dcm_status st;

    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    if (rank == 0)
        st = dcm_send(comm, buffer[0], pairs[i].sent, pairs[i].type, 1, NULL);
    else
        st = dcm_recv(comm, buffer[1], pairs[i].awaited, pairs[i].other, 0,
                      NULL);
    if (rank == 0 && st == DCM_OK)
        st = dcm_barrier(comm, NULL);
    die_unless(st == DCM_E_MISMATCH);
    if (rank == 1) {
        (void)snprintf(text, sizeof(text), "sends %zu %s", pairs[i].sent,
                       dcm_dtype_str(pairs[i].type));
        die_unless(strstr(dcm_errmsg(), text) != NULL);
        (void)snprintf(text, sizeof(text), "receives %zu %s", pairs[i].awaited,
                       dcm_dtype_str(pairs[i].other));
        die_unless(strstr(dcm_errmsg(), text) != NULL);
    }
    dcm_comm_free(comm);
}

static void test_mismatch(void **state)
{
    (void)state;
    for (int i = 0; i < (int)(sizeof(pairs) / sizeof(pairs[0])); i++)
        test_run_threads(2, mismatch_rank, &i);
}

/* Nobody answers: the deadline ends it, by name. */
static void late_rank(int rank, dcm_group *group, void *arg)
{
    static unsigned char buffer[600000];
    const bool is_send = *(const bool *)arg;
    const char *text = is_send ? "send" : "recv";
    dcm_comm *comm;
    dcm_status st;

    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
    if (rank == 0) {
        dcm_comm_set_timeout(comm, 50);
        st = is_send ? dcm_send(comm, buffer, sizeof(buffer), DCM_U8, 2, NULL)
                     : dcm_recv(comm, buffer, 1, DCM_U8, 2, NULL);
        die_unless(st == DCM_E_TIMEOUT);
        die_unless(strstr(dcm_errmsg(), "rank 2 ") != NULL);
        die_unless(strncmp(dcm_errmsg(), text, 4) == 0);
    } else {
        st = dcm_barrier(comm, NULL);
        die_unless(st == DCM_E_TIMEOUT);
    }
    dcm_comm_free(comm);
}

static void test_late(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool is_send = i == 0;

        test_run_threads(3, late_rank, &is_send);
    }
}

static void args_rank(int rank, dcm_group *group, void *arg)
{
    int32_t v = rank;
    dcm_comm *comm;

    (void)arg;
    die_unless(dcm_comm_new(&comm, group, NULL) == DCM_OK);
#define REFUSED(call, text)                                                    \
    die_unless((call) == DCM_E_INVAL && strstr(dcm_errmsg(), (text)) != NULL)
    REFUSED(dcm_send(NULL, &v, 1, DCM_I32, 0, NULL), "send: no communicator");
    REFUSED(dcm_recv(NULL, &v, 1, DCM_I32, 0, NULL), "recv: no communicator");
    REFUSED(dcm_send(comm, NULL, 1, DCM_I32, 1 - rank, NULL), "src is NULL");
    REFUSED(dcm_recv(comm, NULL, 1, DCM_I32, 1 - rank, NULL), "dst is NULL");
    REFUSED(dcm_send(comm, &v, 1, DCM_I32, 2, NULL), "peer 2 of 2 ranks");
    REFUSED(dcm_recv(comm, &v, 1, DCM_I32, -1, NULL), "peer -1 of 2 ranks");
    REFUSED(dcm_send(comm, &v, 1, (dcm_dtype)77, 1 - rank, NULL), "no type 77");
    REFUSED(dcm_recv(comm, &v, SIZE_MAX / 2, DCM_I32, 1 - rank, NULL),
            "overflow");
    REFUSED(dcm_send(comm, &v, 1, DCM_I32, rank, NULL), "calls itself");
    REFUSED(dcm_send(comm, &v, 1, DCM_I32, 1 - rank, &v), "no streams");
#undef REFUSED
    /* Nothing of it has counted: the channel is as before. */
    die_unless(dcm_begin() == DCM_OK);
    die_unless(dcm_send(comm, &rank, 1, DCM_I32, 1 - rank, NULL) == DCM_OK);
    die_unless(dcm_recv(comm, &v, 1, DCM_I32, 1 - rank, NULL) == DCM_OK);
    die_unless(dcm_end() == DCM_OK);
    die_unless(v == 1 - rank);
    dcm_comm_free(comm);
}

static void test_args(void **state)
{
    (void)state;
    test_run_threads(2, args_rank, NULL);
}

/* A channel to oneself has one ring of pieces, not one an end. */
static void test_footprint(void **state)
{
    static unsigned char from[4096];
    static unsigned char to[4096];
    dcm_comm_info before = {.size = sizeof(before)};
    dcm_comm_info after = {.size = sizeof(after)};
    dcm_group *group;
    dcm_comm *comm;

    (void)state;
    assert_ok(dcm_group_new_local(&group, 1, NULL));
    assert_ok(dcm_comm_new(&comm, group, NULL));
    dcm_comm_info_get(comm, &before);
    assert_ok(dcm_begin());
    assert_ok(dcm_send(comm, from, sizeof(from), DCM_U8, 0, NULL));
    assert_ok(dcm_recv(comm, to, sizeof(to), DCM_U8, 0, NULL));
    assert_ok(dcm_end());
    dcm_comm_info_get(comm, &after);
    assert_int_equal(after.shared_bytes - before.shared_bytes, 4 * 64 * 1024);
    dcm_comm_free(comm);
    dcm_group_free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours),  cmocka_unit_test(test_burst),
        cmocka_unit_test(test_random_sets), cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_mismatch),    cmocka_unit_test(test_late),
        cmocka_unit_test(test_args),        cmocka_unit_test(test_footprint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

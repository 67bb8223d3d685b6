/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote readers of the broadcast queue, over loopback: records of all sizes,
 * readers that are killed, stopped and come again, a writer that dies, strangers.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mp.h"
#include "os/clock.h"
#include "os/ident.h"
#include "queue/queue.h"

enum {
    WAIT_MS = 20000,
    BUF_BYTES = 1 << 20,
    RING = 256 << 10,
};

typedef struct world {
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    _Atomic int has_handle;
    _Atomic int attached;
    _Atomic int stop;
    _Atomic int late; /* time-outs of the writer */
    _Atomic uint64_t received[4];
    uint64_t records;
    int nlocal;
    int nremote;
} world;

static world *w;

static void fresh_world(int nlocal, int nremote, uint64_t records)
{
    if (w == NULL) {
        w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(w, MAP_FAILED);
    }
    memset(w, 0, sizeof(*w));
    w->nlocal = nlocal;
    w->nremote = nremote;
    w->records = test_is_thin() ? records / 10 + 10 : records;
}

static uint64_t hash_of(uint64_t i)
{
    uint64_t state = i * 0x9e3779b97f4a7c15ull + 7;

    (void)test_random(&state);
    return test_random(&state);
}

static size_t length_of(uint64_t i)
{
    const uint64_t h = hash_of(i);

    return 8 + (h % 32 == 0 ? (h >> 8) % (BUF_BYTES - 8) : (h >> 8) % 3000);
}

static void fill(unsigned char *buf, uint64_t i, size_t bytes)
{
    memset(buf, (int)(hash_of(i) & 0xff), bytes);
    memcpy(buf, &i, 8);
}

static dcm_queue *make_queue(uint32_t timeout_ms)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    dcm_queue *q;

    opts.bytes = RING;
    opts.nremote = (uint32_t)w->nremote;
    opts.timeout_ms = timeout_ms;
    die_unless(dcm_queue_create(&q, w->nlocal, &opts) == DCM_OK);
    die_unless(dcm_queue_handle(q, w->handle, sizeof(w->handle)) == DCM_OK);
    atomic_store(&w->has_handle, 1);
    return q;
}

static dcm_queue *attach(int reader)
{
    dcm_queue *q;

    while (atomic_load(&w->has_handle) == 0)
        dcmi_nap_ns(DCMI_NS_PER_MS);
    die_unless(dcm_queue_attach(&q, w->handle, sizeof(w->handle), reader,
                                WAIT_MS) == DCM_OK);
    (void)atomic_fetch_add(&w->attached, 1);
    return q;
}

static int place_of(int rank)
{
    return rank <= w->nlocal ? rank - 1 : DCM_QUEUE_REMOTE;
}

/* ---- all of it, to both kinds ------------------------------------------------ */

static int one_side(int rank, void *arg)
{
    unsigned char *buf = malloc(BUF_BYTES);
    unsigned char *want = malloc(BUF_BYTES);
    const void *at;
    dcm_queue *q;
    size_t left;
    void *to;
    size_t n;

    (void)arg;
    q = rank == 0 ? make_queue(WAIT_MS) : attach(place_of(rank));
    die_unless(dcm_queue_wait_ready(q, WAIT_MS) == DCM_OK);
    for (uint64_t i = 0; i < w->records; i++) {
        const size_t bytes = length_of(i);

        fill(want, i, bytes);
        if (rank == 0 && i % 5 == 0 && bytes <= RING / 2) {
            die_unless(dcm_queue_reserve(q, &to, bytes, 0) == DCM_OK);
            memcpy(to, want, bytes);
            die_unless(dcm_queue_commit(q, bytes) == DCM_OK);
        } else if (rank == 0) {
            die_unless(dcm_queue_enqueue(q, want, bytes, 0) == DCM_OK);
        } else if (i % 7 == 0 && bytes <= RING / 2) {
            die_unless(dcm_queue_peek(q, &at, &n, &left, 0) == DCM_OK);
            die_unless(n == bytes && left == 0 && memcmp(at, want, n) == 0);
            die_unless(dcm_queue_advance(q, n) == DCM_OK);
        } else {
            die_unless(dcm_queue_next(q, &n, 0) == DCM_OK && n == bytes);
            die_unless(dcm_queue_dequeue(q, &n, buf, BUF_BYTES, 0) == DCM_OK);
            die_unless(n == bytes && memcmp(buf, want, n) == 0);
        }
    }
    if (rank == 0) {
        die_unless(dcm_queue_finish(q, WAIT_MS) == DCM_OK);
    } else {
        die_unless(dcm_queue_dequeue(q, &n, buf, BUF_BYTES, 0) == DCM_E_PEER);
        die_unless(strstr(dcm_errmsg(), "has closed it") != NULL);
    }
    dcm_queue_close(q);
    free(buf);
    free(want);
    return 0;
}

static void test_records(void **state)
{
    static const int sides[][2] = {{0, 1}, {1, 2}, {2, 1}};
    mp_world mp;

    (void)state;
    for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++) {
        fresh_world(sides[i][0], sides[i][1], 3000);
        mp_spawn(&mp, 1 + w->nlocal + w->nremote, one_side, NULL);
        mp_wait(&mp, WAIT_MS, 0);
    }
}

/* ---- killed, stopped, coming again -------------------------------------------- */

static int write_until(void)
{
    unsigned char *buf = malloc(BUF_BYTES);
    dcm_queue *q = make_queue(WAIT_MS);
    uint64_t i = 0;
    dcm_status st;

    while (atomic_load(&w->stop) == 0) {
        const size_t bytes = 8 + hash_of(i) % 20000;

        fill(buf, i, bytes);
        st = dcm_queue_enqueue(q, buf, bytes, 100);
        die_unless(st == DCM_OK || st == DCM_E_TIMEOUT);
        if (st == DCM_OK)
            i++;
        else
            (void)atomic_fetch_add(&w->late, 1);
    }
    i = UINT64_MAX;
    die_unless(dcm_queue_enqueue(q, &i, 8, 0) == DCM_OK);
    die_unless(dcm_queue_finish(q, WAIT_MS) == DCM_OK);
    dcm_queue_close(q);
    free(buf);
    return 0;
}

static int read_until(int number, int place)
{
    unsigned char *buf = malloc(BUF_BYTES);
    dcm_queue *q = attach(place);
    uint64_t want = UINT64_MAX;
    uint64_t i;
    size_t n;

    for (;;) {
        die_unless(dcm_queue_dequeue(q, &n, buf, BUF_BYTES, 0) == DCM_OK);
        memcpy(&i, buf, 8);
        if (i == UINT64_MAX)
            break;
        die_unless(want == UINT64_MAX || i == want);
        want = i + 1;
        (void)atomic_fetch_add(&w->received[number], 1);
    }
    dcm_queue_close(q);
    free(buf);
    return 0;
}

static int until_side(int rank, void *arg)
{
    (void)arg;
    return rank == 0 ? write_until() : read_until(rank - 1, place_of(rank));
}

static void await_more(_Atomic uint64_t *count)
{
    const uint64_t before = atomic_load(count);
    const uint64_t start = dcmi_now_ns();

    while (atomic_load(count) == before) {
        assert_true(dcmi_now_ns() - start < WAIT_MS * DCMI_NS_PER_MS);
        (void)sched_yield();
    }
}

static void test_killed_and_again(void **state)
{
    const int rounds = test_is_thin() ? 4 : 20;
    mp_world mp;
    pid_t victim;

    (void)state;
    fresh_world(1, 1, 0);
    mp_spawn(&mp, 3, until_side, NULL);
    await_more(&w->received[1]);
    for (int i = 0; i < rounds; i++) {
        victim = fork();
        assert_true(victim >= 0);
        if (victim == 0)
            _exit(read_until(2, DCM_QUEUE_REMOTE));
        await_more(&w->received[2]);
        (void)kill(victim, SIGKILL);
        assert_int_equal(waitpid(victim, NULL, 0), victim);
        await_more(&w->received[0]);
        await_more(&w->received[1]);
    }
    atomic_store(&w->stop, 1);
    mp_wait(&mp, WAIT_MS, 0);
}

static void test_stopped(void **state)
{
    mp_world mp;
    int late;

    (void)state;
    fresh_world(1, 1, 0);
    mp_spawn(&mp, 3, until_side, NULL);
    await_more(&w->received[1]);
    mp_kill(&mp, 2, SIGSTOP);
    late = atomic_load(&w->late);
    while (atomic_load(&w->late) < late + 3)
        dcmi_nap_ns(DCMI_NS_PER_MS);
    mp_kill(&mp, 2, SIGCONT);
    await_more(&w->received[1]);
    await_more(&w->received[0]);
    atomic_store(&w->stop, 1);
    mp_wait(&mp, WAIT_MS, 0);
}

static int orphan_side(int rank, void *arg)
{
    unsigned char buf[64] = {0};
    dcm_status st = DCM_OK;
    dcm_queue *q;
    size_t n;

    (void)arg;
    if (rank == 0) {
        q = make_queue(WAIT_MS);
        for (;;)
            die_unless(dcm_queue_enqueue(q, buf, sizeof(buf), 0) == DCM_OK);
    }
    q = attach(DCM_QUEUE_REMOTE);
    while (st == DCM_OK)
        st = dcm_queue_dequeue(q, &n, buf, sizeof(buf), 0);
    die_unless(st == DCM_E_PEER);
    die_unless(strstr(dcm_errmsg(), "without a farewell") != NULL);
    dcm_queue_close(q);
    return 0;
}

static void test_killed_writer(void **state)
{
    mp_world mp;

    (void)state;
    fresh_world(0, 2, 0);
    mp_spawn(&mp, 3, orphan_side, NULL);
    while (atomic_load(&w->attached) < 2)
        dcmi_nap_ns(DCMI_NS_PER_MS);
    mp_kill(&mp, 0, SIGKILL);
    mp_wait(&mp, WAIT_MS, 1);
}

/* ---- strangers ---------------------------------------------------------------- */

static void *attach_here(void *arg)
{
    dcm_queue **q_p = arg;

    die_unless(dcm_queue_attach(q_p, w->handle, sizeof(w->handle),
                                DCM_QUEUE_REMOTE, WAIT_MS) == DCM_OK);
    return NULL;
}

/* Processes with one wrong bit in the handle's secret, or with another token. */
static int wrong_side(int rank, void *arg)
{
    unsigned char bad[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue *q;
    uint64_t sum;

    (void)arg;
    memcpy(bad, w->handle, sizeof(bad));
    if (rank == 0)
        bad[offsetof(dcmi_queue_passport, ticket)] ^= 1;
    else
        die_unless(setenv("DEVCOMM_TOKEN", "another", 1) == 0);
    sum = dcmi_hash(0, bad, sizeof(bad) - 8);
    memcpy(bad + sizeof(bad) - 8, &sum, 8);
    die_unless(dcm_queue_attach(&q, bad, sizeof(bad), DCM_QUEUE_REMOTE,
                                WAIT_MS) == DCM_E_PEER);
    die_unless(strstr(dcm_errmsg(), "does not know the secret") != NULL);
    return 0;
}

/* Bytes that are no ZeroMQ at all. */
static void send_garbage(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    unsigned char junk[4096];
    uint64_t random = test_seed();
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    for (size_t i = 0; i < sizeof(junk); i++)
        junk[i] = (unsigned char)test_random(&random);
    (void)send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
    (void)close(fd);
}

/* One that has the public key, and not the secret. */
typedef struct stranger {
    const dcmi_zmq *z;
    void *ctx;
    void *s;
} stranger;

static void come(stranger *g, const dcmi_queue_passport *pass)
{
    char key[DCMI_ZMQ_KEY_CHARS + 1] = {0};
    char mine[2][DCMI_ZMQ_KEY_CHARS + 1];
    char where[64];

    assert_ok(dcmi_zmq_open(&g->z));
    g->ctx = g->z->ctx_new_fn();
    g->s = g->z->socket_fn(g->ctx, DCMI_ZMQ_DEALER);
    if (pass->remote.has_curve != 0) {
        memcpy(key, pass->remote.curve_key, sizeof(pass->remote.curve_key));
        assert_int_equal(g->z->curve_keypair_fn(mine[0], mine[1]), 0);
        (void)g->z->setsockopt_fn(g->s, DCMI_ZMQ_CURVE_SERVERKEY, key,
                                  sizeof(key));
        (void)g->z->setsockopt_fn(g->s, DCMI_ZMQ_CURVE_PUBLICKEY, mine[0],
                                  sizeof(mine[0]));
        (void)g->z->setsockopt_fn(g->s, DCMI_ZMQ_CURVE_SECRETKEY, mine[1],
                                  sizeof(mine[1]));
    }
    (void)snprintf(where, sizeof(where), "tcp://127.0.0.1:%u",
                   (unsigned)pass->remote.port);
    assert_int_equal(g->z->connect_fn(g->s, where), 0);
}

static void go(const stranger *g)
{
    assert_int_equal(dcmi_remote_set(g->z, g->s, DCMI_ZMQ_LINGER, 2000),
                     DCM_OK);
    (void)g->z->close_fn(g->s);
    (void)g->z->ctx_term_fn(g->ctx);
}

/* Proves nothing. */
static void send_unproven(const dcmi_queue_passport *pass)
{
    dcmi_remote_words words = {.kind = DCMI_REMOTE_CREDIT, .n = {~0ull, 1}};
    stranger g;

    come(&g, pass);
    for (unsigned i = 0; i < 20; i++) {
        words.kind = DCMI_REMOTE_PROOF + i % 4;
        (void)g.z->send_fn(g.s, &words, 1 + i * 4, 0); /* and of wrong sizes */
        (void)g.z->send_fn(g.s, &words, sizeof(words), 0);
    }
    go(&g);
}

/* Claims to have proved: it is counted, and neither answered nor let in. */
static void forge_proof(dcm_queue *q, const dcmi_queue_passport *pass)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_PROOF};
    const uint64_t start = dcmi_now_ns();
    dcm_queue_info info = {.size = sizeof(info)};
    int before;
    stranger g;
    char byte;

    assert_ok(dcm_queue_stat(q, &info, NULL, 0));
    before = info.refused;
    come(&g, pass);
    (void)g.z->send_fn(g.s, &words, sizeof(words), 0);
    do {
        dcmi_remote_tend(q);
        assert_ok(dcm_queue_stat(q, &info, NULL, 0));
        assert_int_equal(info.nremote, 1);
        assert_true(dcmi_now_ns() - start < WAIT_MS * DCMI_NS_PER_MS);
    } while (info.refused == before);
    assert_true(g.z->recv_fn(g.s, &byte, 1, DCMI_ZMQ_DONTWAIT) < 0);
    go(&g);
}

static void test_strangers(void **state)
{
    dcm_queue_info info = {.size = sizeof(info)};
    dcmi_queue_passport pass;
    unsigned char buf[16];
    pthread_t thread;
    dcm_queue *far;
    mp_world mp;
    dcm_queue *q;
    size_t n;

    (void)state;
    fresh_world(0, 1, 0);
    q = make_queue(WAIT_MS);
    memcpy(&pass, w->handle, sizeof(pass));
    assert_status(dcm_queue_enqueue(q, "x", 1, 50), DCM_E_TIMEOUT,
                  "0 of 1 remote readers");
    assert_int_equal(dcm_queue_try_enqueue(q, "x", 1), DCM_AGAIN);
    assert_int_equal(pthread_create(&thread, NULL, attach_here, &far), 0);
    assert_ok(dcm_queue_wait_ready(q, 0));
    assert_int_equal(pthread_join(thread, NULL), 0);

    forge_proof(q, &pass); /* first: nothing else is counted yet */
    mp_spawn(&mp, 2, wrong_side, NULL);
    while (mp_alive(&mp))
        dcmi_remote_tend(q);
    send_garbage(pass.remote.port);
    send_unproven(&pass);
    do {
        assert_ok(dcm_queue_enqueue(q, "hello", 5, 0));
        assert_ok(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0));
        assert_memory_equal(buf, "hello", 5);
        assert_ok(dcm_queue_stat(q, &info, NULL, 0));
    } while (info.refused < 20);
    mp_wait(&mp, WAIT_MS, 0);
    assert_int_equal(info.nremote, 1);
    dcm_queue_close(far);
    dcm_queue_close(q);
}

/* ---- what no honest side sends ------------------------------------------------- */

/* A writer and a remote reader of this process. */
static void open_both(dcm_queue **q_p, dcm_queue **far_p)
{
    pthread_t thread;

    fresh_world(0, 1, 0);
    *q_p = make_queue(WAIT_MS);
    assert_int_equal(pthread_create(&thread, NULL, attach_here, far_p), 0);
    assert_ok(dcm_queue_wait_ready(*q_p, 0));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* A record that is longer than agreed, one that is missing, and a short end. */
static void test_gap(void **state)
{
    unsigned char buf[16];
    uint64_t most;
    dcm_queue *far;
    dcm_queue *q;
    size_t n;

    (void)state;
    open_both(&q, &far);
    assert_ok(dcm_queue_enqueue(q, "a", 1, 0));
    assert_ok(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0));
    most = far->g.max_record;
    far->g.max_record = 4;
    assert_ok(dcm_queue_enqueue(q, "hello", 5, 0));
    assert_status(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                  "record 1 was due, and number 1 came");
    far->g.max_record = most;
    assert_ok(dcm_queue_enqueue(q, "b", 1, 0));
    assert_status(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                  "record 1 was due, and number 2 came");
    assert_status(dcm_queue_finish(q, 1), DCM_E_TIMEOUT, "have not read");
    assert_status(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                  "closed it after record 3; here only 1 came");
    dcm_queue_close(far);
    dcm_queue_close(q);
}

/* A reader that says it has read what it was not sent is none any more. */
static void test_false_credit(void **state)
{
    const uint64_t start = dcmi_now_ns();
    dcm_queue_info info = {.size = sizeof(info)};
    unsigned char buf[16];
    dcm_queue *far;
    dcm_queue *q;
    size_t n;

    (void)state;
    open_both(&q, &far);
    assert_ok(dcm_queue_enqueue(q, "a", 1, 0));
    assert_ok(dcm_queue_dequeue(far, &n, buf, sizeof(buf), 0));
    far->n += 100;
    assert_int_equal(dcm_queue_try_dequeue(far, &n, buf, sizeof(buf)),
                     DCM_AGAIN); /* gives credit */
    do {
        dcmi_remote_tend(q);
        assert_ok(dcm_queue_stat(q, &info, NULL, 0));
        assert_true(dcmi_now_ns() - start < WAIT_MS * DCMI_NS_PER_MS);
    } while (info.nremote != 0);
    dcm_queue_close(far);
    dcm_queue_close(q);
}

static void test_refused(void **state)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    dcm_queue *far;
    dcm_queue *q;

    (void)state;
    assert_ok(dcm_queue_create(&q, 0, NULL));
    assert_ok(dcm_queue_handle(q, handle, sizeof(handle)));
    assert_status(
        dcm_queue_attach(&far, handle, sizeof(handle), DCM_QUEUE_REMOTE, 0),
        DCM_E_UNSUP, "serves no remote readers");
    dcm_queue_close(q);
    opts.nremote = 1000;
    assert_status(dcm_queue_create(&q, 0, &opts), DCM_E_INVAL, "1000 remote");
    opts.nremote = 1;
    opts.address = "no.such.address.at.all";
    assert_status(dcm_queue_create(&q, 0, &opts), DCM_E_SYS, "listening");
}

/* ---- in a group of two hosts --------------------------------------------------- */

static int group_side(int rank, void *arg)
{
    static const char *const hosts[] = {"a", "a", "b", "b"};
    dcm_group_opts opts = DCM_GROUP_OPTS_INIT;
    dcm_group *group;
    dcm_queue *q;
    uint64_t got;
    size_t n;

    opts.host = hosts[rank];
    opts.token = "the job's";
    die_unless(setenv("DEVCOMM_TOKEN", "the job's", 1) == 0);
    die_unless(dcm_group_new(&group, arg, rank, 4, &opts) == DCM_OK);
    for (int writer = 0; writer < 4; writer++) {
        die_unless(dcm_queue_create_group(&q, group, writer, NULL) == DCM_OK);
        for (uint64_t i = 0; i < 200; i++) {
            if (rank == writer) {
                die_unless(dcm_queue_enqueue(q, &i, sizeof(i), 0) == DCM_OK);
                continue;
            }
            die_unless(dcm_queue_dequeue(q, &n, &got, sizeof(got), 0) ==
                       DCM_OK);
            die_unless(n == sizeof(got) && got == i);
        }
        if (rank == writer)
            die_unless(dcm_queue_finish(q, WAIT_MS) == DCM_OK);
        dcm_queue_close(q);
    }
    dcm_group_free(group);
    return 0;
}

static void test_group(void **state)
{
    char address[64];
    mp_world mp;

    (void)state;
    (void)snprintf(address, sizeof(address), "unix:queue-%d", (int)getpid());
    mp_spawn(&mp, 4, group_side, address);
    mp_wait(&mp, WAIT_MS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_killed_and_again),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_false_credit),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_group),
    };
    const dcmi_zmq *z;

    if (dcmi_zmq_open(&z) != DCM_OK) {
        printf("%s\n", dcm_errmsg());
        return 77;
    }
    if (DCMI_TSAN) /* it cannot see what ZeroMQ's own threads do */
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile peers of the same user: one writes random words all over a live queue's
 * segment and tries to truncate it; handles are forged; strangers knock.  The
 * others get errors, never a crash, a hang or an access out of bounds.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mp.h"
#include "os/clock.h"
#include "os/ident.h"
#include "queue/queue.h"

enum {
    READERS = 3,
    RING = 65536,
    BUF_BYTES = 4 * RING,
    MS = 1000000,
};

typedef struct world {
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    _Atomic int has_handle;
    _Atomic int attached;
    _Atomic int stop;
    _Atomic uint64_t sent;
    _Atomic uint64_t received;
    _Atomic uint64_t failed[2]; /* of the writer, of readers */
    uint64_t seed;
} world;

static world *w;

static void fresh_world(uint64_t seed)
{
    if (w == NULL) {
        w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(w, MAP_FAILED);
    }
    memset(w, 0, sizeof(*w));
    w->seed = seed;
}

/* Writer and readers begin again with a new queue when theirs is of no use. */
static void write_on(void)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;
    unsigned char *buf = calloc(1, BUF_BYTES);
    uint64_t random = w->seed;
    dcm_queue *q;
    dcm_status st;

    opts.bytes = RING;
    opts.max_record = BUF_BYTES;
    die_unless(dcm_queue_create(&q, READERS, &opts) == DCM_OK);
    die_unless(dcm_queue_handle(q, w->handle, sizeof(w->handle)) == DCM_OK);
    atomic_store(&w->has_handle, 1);
    while (atomic_load(&w->stop) == 0) {
        const uint64_t v = test_random(&random);
        const size_t bytes = v % 16 == 0  ? (v >> 8) % BUF_BYTES
                             : v % 16 < 4 ? (v >> 8) % 30000
                                          : (v >> 8) % 200;

        st = dcm_queue_enqueue(q, buf, bytes, 5);
        (void)atomic_fetch_add(st == DCM_OK ? &w->sent : &w->failed[0], 1);
        die_unless(st == DCM_OK || st == DCM_E_TIMEOUT);
    }
    dcm_queue_close(q);
    free(buf);
}

static void read_on(int reader)
{
    unsigned char *buf = calloc(1, BUF_BYTES);
    dcm_queue *q = NULL;
    const void *at;
    dcm_status st;
    size_t left;
    size_t n;

    while (atomic_load(&w->has_handle) == 0)
        dcmi_nap_ns(MS);
    while (atomic_load(&w->stop) == 0) {
        if (q == NULL) {
            st = dcm_queue_attach(&q, w->handle, sizeof(w->handle),
                                  DCM_QUEUE_ANY, 1);
            if (st != DCM_OK) {
                q = NULL;
                dcmi_nap_ns(MS);
                continue;
            }
            (void)atomic_fetch_add(&w->attached, 1);
        }
        if (reader == 0) {
            st = dcm_queue_peek(q, &at, &n, &left, 5);
            for (size_t i = 0; st == DCM_OK && i < n; i++)
                buf[0] ^= ((const unsigned char *)at)[i];
            if (st == DCM_OK)
                st = dcm_queue_advance(q, n);
        } else {
            st = dcm_queue_dequeue(q, &n, buf, BUF_BYTES, 5);
        }
        if (st == DCM_OK)
            (void)atomic_fetch_add(&w->received, 1);
        else if (st != DCM_E_TIMEOUT) {
            (void)atomic_fetch_add(&w->failed[1], 1);
            dcm_queue_close(q);
            q = NULL;
        }
    }
    dcm_queue_close(q);
    free(buf);
}

static int side(int rank, void *arg)
{
    (void)arg;
    if (rank == 0)
        write_on();
    else
        read_on(rank - 1);
    return 0;
}

/* The writer's segment, opened as any process of the user can. */
static unsigned char *break_in(dcmi_queue_passport *pass)
{
    char path[64];
    void *base;
    int fd;

    memcpy(pass, w->handle, sizeof(*pass));
    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pass->pid,
                   (int)pass->fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)pass->g.total_bytes * 2), -1);
    base = mmap(NULL, pass->g.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                fd, 0);
    assert_ptr_not_equal(base, MAP_FAILED);
    (void)close(fd);
    return base;
}

/* A word somewhere: mostly where words matter. */
static uint64_t somewhere(uint64_t *random, const dcmi_queue_geometry *g)
{
    const uint64_t v = test_random(random);
    uint64_t from = 0;
    uint64_t bytes = g->slots_at;

    if (v % 8 == 0) {
        from = offsetof(dcmi_queue_frame, head);
        bytes = sizeof(dcmi_queue_head);
    } else if (v % 8 == 1) {
        from = offsetof(dcmi_queue_frame, entry);
        bytes = (READERS + 1) * sizeof(dcmi_queue_entry);
    } else if (v % 8 < 6) {
        from = g->slots_at;
        bytes = g->arena_at - g->slots_at;
    } else if (v % 8 == 6) {
        from = g->arena_at;
        bytes = g->arena_bytes;
    }
    return (from + (v >> 8) % bytes) & ~7ull;
}

static void scribble(unsigned char *base, uint64_t *random,
                     const dcmi_queue_geometry *g)
{
    _Atomic uint64_t *word =
        (_Atomic uint64_t *)(void *)(base + somewhere(random, g));
    const uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    const uint64_t v = test_random(random);
    uint64_t new = v;

    switch (v % 6) {
    case 0:
        new = old + 1;
        break;
    case 1:
        new = old - 1;
        break;
    case 2:
        new = old ^ (1ull << (v >> 8) % 64);
        break;
    case 3:
        new = (v >> 8) % (2 * RING);
        break;
    case 4:
        new = 0;
        break;
    default:
        break;
    }
    atomic_store_explicit(word, new, memory_order_relaxed);
}

static void attack(uint64_t seed, uint64_t pause_ns)
{
    const uint64_t length_ns = (test_is_thin() ? 200ull : 1000ull) * MS;
    dcmi_queue_passport pass;
    uint64_t random = seed;
    unsigned char *base;
    uint64_t until;
    mp_world mp;

    fresh_world(seed);
    mp_spawn(&mp, 1 + READERS, side, NULL);
    while (atomic_load(&w->attached) < READERS)
        dcmi_nap_ns(MS);
    base = break_in(&pass);
    until = dcmi_now_ns() + length_ns;
    while (dcmi_now_ns() < until && mp_alive(&mp)) {
        for (int i = 0; i < 50; i++) {
            scribble(base, &random, &pass.g);
            if (pause_ns != 0)
                dcmi_nap_ns(pause_ns);
        }
    }
    atomic_store(&w->stop, 1);
    mp_wait(&mp, 60000, 0);
    printf("%llu sent, %llu received, %llu and %llu errors\n",
           (unsigned long long)w->sent, (unsigned long long)w->received,
           (unsigned long long)w->failed[0], (unsigned long long)w->failed[1]);
    (void)munmap(base, pass.g.total_bytes);
}

static void test_random_words(void **state)
{
    const uint64_t seed = test_seed();

    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        attack(seed + i, 0);
    for (uint64_t i = 3; i < 6; i++)
        attack(seed + i, 20000);
}

/* A writer and a reader of this process. */
static void open_both(dcm_queue **w_p, dcm_queue **r_p, int nreaders)
{
    dcm_queue_opts opts = DCM_QUEUE_OPTS_INIT;

    fresh_world(0);
    opts.bytes = RING;
    opts.max_record = BUF_BYTES;
    assert_ok(dcm_queue_create(w_p, nreaders, &opts));
    assert_ok(dcm_queue_handle(*w_p, w->handle, sizeof(w->handle)));
    assert_ok(dcm_queue_attach(r_p, w->handle, sizeof(w->handle), 0, 0));
}

/* Words that no honest writer writes, one at a time: each is named. */
static void test_false_words(void **state)
{
    static unsigned char buf[BUF_BYTES];
    const uint64_t in_arena = DCMI_QUEUE_IN_ARENA;
    dcmi_queue_slot *slot;
    dcm_queue *q;
    dcm_queue *r;
    size_t n;

    (void)state;
    open_both(&q, &r, 1);
    slot = &q->slots[0];
    assert_ok(dcm_queue_enqueue(q, buf, 1000, 0));
    const struct {
        _Atomic uint64_t *word;
        uint64_t value;
        const char *text;
    } lies[] = {
        {&slot->info, DCMI_QUEUE_INLINE + 1, "its length is 113"},
        {&slot->info, in_arena | (BUF_BYTES + 1), "its length is 262145"},
        {&slot->u.arena.at, RING + 64, "it begins at byte 65600"},
        {&slot->seq, 7, "not there of 1"},
        {&slot->u.arena.filled, 1001, "filled to 1001"},
    };

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const uint64_t truth = atomic_load(lies[i].word);

        atomic_store(lies[i].word, lies[i].value);
        assert_status(dcm_queue_dequeue(r, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                      lies[i].text);
        atomic_store(lies[i].word, truth);
    }
    assert_ok(dcm_queue_dequeue(r, &n, buf, sizeof(buf), 0));
    assert_int_equal(n, 1000);
    dcm_queue_close(r);
    dcm_queue_close(q);
}

/* What was copied while the writer did not count its reader is not delivered. */
static void test_dropped_while_reading(void **state)
{
    unsigned char buf[64];
    dcm_queue *q;
    dcm_queue *r;
    uint64_t who;
    size_t n;

    (void)state;
    open_both(&q, &r, 1);
    assert_ok(dcm_queue_enqueue(q, "hello", 5, 0));
    assert_ok(dcm_queue_next(r, &n, 0));
    who = atomic_load(&q->frame->entry[0].who) & ~(0xfull << 32);
    atomic_store(&q->frame->entry[0].who,
                 who | (uint64_t)DCMI_ENTRY_DROPPED << 32);
    assert_status(dcm_queue_dequeue(r, &n, buf, sizeof(buf), 0), DCM_E_PEER,
                  "has dropped reader 0");
    dcm_queue_close(r);
    dcm_queue_close(q);
}

static void check_forged(const dcmi_queue_passport *pass)
{
    unsigned char bad[DCM_QUEUE_HANDLE_BYTES];
    uint64_t sum;
    dcm_queue *r;

    memcpy(bad, w->handle, sizeof(bad));
    memcpy(bad, pass, sizeof(*pass));
    sum = dcmi_hash(0, bad, sizeof(bad) - 8);
    memcpy(bad + sizeof(bad) - 8, &sum, 8);
    assert_status(dcm_queue_attach(&r, bad, sizeof(bad), 1, 1000), DCM_E_INVAL,
                  "another queue's");
}

/* A handle that fits itself, and not the segment that it names. */
static void test_another_segment(void **state)
{
    dcmi_queue_passport pass;
    dcm_queue *q;
    dcm_queue *r;

    (void)state;
    open_both(&q, &r, 2);
    memcpy(&pass, w->handle, sizeof(pass));
    pass.id.word[1] ^= 1;
    check_forged(&pass);
    memcpy(&pass, w->handle, sizeof(pass));
    pass.g.max_record /= 2;
    check_forged(&pass);
    dcm_queue_close(r);
    dcm_queue_close(q);
}

/* What the door answers to these words: 0: it shows out, 1: it lets in. */
static ssize_t knock(dcm_queue *q, const void *words, size_t bytes)
{
    const uint64_t until = dcmi_now_ns() + 20000ull * MS;
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    ssize_t n;
    char yes;
    int fd;

    assert_int_equal(getsockname(q->door.listener, (struct sockaddr *)&a, &len),
                     0);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(send(fd, words, bytes, MSG_NOSIGNAL), bytes);
    do {
        dcmi_queue_door_serve(q, dcmi_now_ns());
        n = recv(fd, &yes, 1, 0);
    } while (n < 0 && errno == EAGAIN && dcmi_now_ns() < until);
    if (n < 0 && errno == ECONNRESET)
        n = 0; /* it did not hear all */
    (void)close(fd);
    return n;
}

/* The door's name can be seen by all of this user; its secret cannot. */
static void test_door(void **state)
{
    dcmi_queue_ticket ticket;
    dcm_queue *q;
    dcm_queue *r;

    (void)state;
    open_both(&q, &r, 2);
    ticket = q->ticket;
    assert_int_equal(knock(q, &ticket, sizeof(ticket)), 1);
    ticket.secret[15] ^= 1;
    assert_int_equal(knock(q, &ticket, sizeof(ticket)), 0);
    assert_int_equal(knock(q, &q->ticket, sizeof(ticket) - 1), 0);
    dcm_queue_close(r);
    dcm_queue_close(q);
}

/* A forged handle whose checksum is right. */
static void test_forged_handles(void **state)
{
    const int rounds = test_is_thin() ? 300 : 3000;
    unsigned char bad[DCM_QUEUE_HANDLE_BYTES];
    uint64_t random = test_seed();
    unsigned refused = 0;
    dcm_queue *q;
    dcm_queue *r;
    uint64_t sum;

    (void)state;
    fresh_world(0);
    assert_ok(dcm_queue_create(&q, READERS, NULL));
    assert_ok(dcm_queue_handle(q, w->handle, sizeof(w->handle)));
    for (int i = 0; i < rounds; i++) {
        const size_t at = test_random(&random) % sizeof(dcmi_queue_passport);
        const uint64_t v = test_random(&random);

        memcpy(bad, w->handle, sizeof(bad));
        memcpy(bad + at, &v, 1 + v % 8);
        sum = dcmi_hash(0, bad, sizeof(bad) - 8);
        memcpy(bad + sizeof(bad) - 8, &sum, 8);
        if (dcm_queue_attach(&r, bad, sizeof(bad), DCM_QUEUE_ANY, 1) == DCM_OK)
            dcm_queue_close(r);
        else
            refused++;
    }
    printf("%u of %d refused\n", refused, rounds);
    assert_true(refused > (unsigned)rounds / 4); /* not every byte matters */
    dcm_queue_close(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_false_words),
        cmocka_unit_test(test_dropped_while_reading),
        cmocka_unit_test(test_another_segment),
        cmocka_unit_test(test_door),
        cmocka_unit_test(test_random_words),
        cmocka_unit_test(test_forged_handles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

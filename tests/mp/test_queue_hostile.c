/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile peers of the same user: one writes random words all over a live queue's
 * segment and tries to truncate it; handles are forged.  The others get errors,
 * never a crash, a hang or an access out of bounds.
 */
#define _GNU_SOURCE
#include "support.h"

#include <devcomm/queue.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
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
        cmocka_unit_test(test_random_words),
        cmocka_unit_test(test_forged_handles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

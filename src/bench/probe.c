/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The placement probe.
 *
 * Layout       one page of a memfd that rank 0 makes and passes to rank 1 over
 *              an abstract unix socket: two words, each in lines of its own.
 * Writers and  rank 0 writes `ping`, rank 1 writes `pong`, both `gave_up`.
 * readers
 * Ordering     release and acquire; no data but the words themselves.
 * Wrap         the words count trips; a probe starts at a multiple of 2^16, so
 *              words that a given-up probe left never match.
 * When a peer  the other's deadline passes and the probe gives -1.
 * dies
 */
#include "bench/probe.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "bench/stats.h"
#include "os/ident.h"
#include "os/memfd.h"
#include "os/sock.h"

enum {
    RUNS = 9,
    TRIPS = 400,
    FIRST_TRIPS = 64, /* until both are there */
    LOOKS = 4096,     /* polls between two looks at the clock */
    DEADLINE_MS = 50, /* of one probe: two ranks on one core give up */
    MEET_MS = 5000,
};

typedef struct page {
    DCMI_ALIGNED(256) _Atomic uint32_t ping;
    DCMI_ALIGNED(256) _Atomic uint32_t pong;
    DCMI_ALIGNED(256) _Atomic uint32_t gave_up; /* number of the probe */
} page;

struct dcmi_probe {
    page *page;
    int rank;
    uint32_t number; /* probes so far */
};

/* What ranks tell each other when they meet. */
typedef struct hello {
    char name[64]; /* of rank 0's socket; "": it has none */
} hello;

static dcm_status on_watch(void *arg, bool expired)
{
    (void)arg;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "probe: rank 0 and 1 do not meet")
                   : DCM_OK;
}

static const dcmi_watch watch = {
    .check = on_watch,
    .timeout_ns = MEET_MS * DCMI_NS_PER_MS,
};

static dcm_status listen_somewhere(int *fd_p, hello *h)
{
    uint64_t random[2];
    dcm_status st = dcmi_random(random, sizeof(random));

    if (st != DCM_OK)
        return st;
    (void)snprintf(h->name, sizeof(h->name), "devcomm-probe-%016llx%016llx",
                   (unsigned long long)random[0],
                   (unsigned long long)random[1]);
    return dcmi_unix_listen(fd_p, h->name, 1);
}

/* Rank 0: make the page and hand it to whoever connects. */
static dcm_status give_page(int *mem_p, int listener)
{
    uint64_t start = 0;
    char byte = 0;
    dcm_status st;
    int sock = -1;
    int mem = -1;

    st = dcmi_memfd_create(&mem, "devcomm-probe", dcmi_page_bytes());
    if (st == DCM_OK)
        st = dcmi_memfd_reserve(mem, 0, dcmi_page_bytes());
    if (st == DCM_OK)
        st = dcmi_wait_fd(listener, POLLIN, &watch, &start);
    if (st == DCM_OK)
        st = dcmi_unix_accept(&sock, listener);
    if (st == DCM_OK)
        st = dcmi_sock_send(sock, &byte, 1, mem, &watch, &start);
    dcmi_close(sock);
    if (st != DCM_OK) {
        dcmi_close(mem);
        return st;
    }
    *mem_p = mem;
    return DCM_OK;
}

/* Rank 1. */
static dcm_status take_page(int *mem_p, const char *name)
{
    uint64_t start = 0;
    dcm_status st;
    int sock = -1;
    int mem = -1;
    char byte;

    st = dcmi_unix_connect(&sock, name);
    if (st == DCM_OK)
        st = dcmi_sock_recv(sock, &byte, 1, &mem, &watch, &start);
    dcmi_close(sock);
    if (st == DCM_OK)
        st = dcmi_memfd_verify(mem, dcmi_page_bytes());
    if (st != DCM_OK) {
        dcmi_close(mem);
        return st;
    }
    *mem_p = mem;
    return DCM_OK;
}

/* Ranks 0 and 1, after rank 0's name is known; NULL when it does not work. */
static void *meet(int rank, int listener, const char *name)
{
    void *base = NULL;
    int mem = -1;
    dcm_status st =
        rank == 0 ? give_page(&mem, listener) : take_page(&mem, name);

    if (st == DCM_OK && dcmi_memfd_map(&base, mem, dcmi_page_bytes()) != DCM_OK)
        base = NULL;
    dcmi_close(mem);
    return base;
}

dcm_status dcmi_probe_new(dcmi_probe **probe_p, dcm_group *group)
{
    const int rank = dcm_group_rank(group);
    const size_t n = (size_t)dcm_group_nranks(group);
    hello *all = calloc(n, sizeof(*all));
    unsigned char ok[DCM_MAX_RANKS] = {0};
    dcmi_probe *probe = calloc(1, sizeof(*probe));
    unsigned char my_ok;
    hello mine = {""};
    int listener = -1;
    dcm_status st;

    if (rank == 0 && n > 1 && listen_somewhere(&listener, &mine) != DCM_OK)
        mine.name[0] = '\0';
    if (all == NULL || probe == NULL) {
        st = dcmi_err(DCM_E_NOMEM, "the placement probe");
        goto out;
    }
    st = dcm_group_exchange(group, &mine, all, sizeof(mine), 0);
    if (st != DCM_OK)
        goto out;
    probe->rank = rank;
    all[0].name[sizeof(all[0].name) - 1] = '\0';
    if (rank < 2 && n > 1 && all[0].name[0] != '\0' &&
        dcm_group_host_of(group, 0) == dcm_group_host_of(group, 1))
        probe->page = meet(rank, listener, all[0].name);
    my_ok = probe->page != NULL;
    st = dcm_group_exchange(group, &my_ok, ok, 1, 0);
    if (st != DCM_OK)
        goto out;
    if (n < 2 || ok[0] == 0 || ok[1] == 0) {
        dcmi_probe_free(probe);
        probe = NULL;
    }
    *probe_p = probe;
    probe = NULL;

out:
    dcmi_close(listener);
    dcmi_probe_free(probe);
    free(all);
    return st;
}

void dcmi_probe_free(dcmi_probe *probe)
{
    if (probe == NULL)
        return;
    if (probe->page != NULL)
        dcmi_memfd_unmap(probe->page, dcmi_page_bytes());
    free(probe);
}

/* Until *word is `want`; false: gave up. */
static bool await(dcmi_probe *p, _Atomic uint32_t *word, uint32_t want,
                  uint64_t deadline_ns)
{
    for (unsigned looks = 1;; looks++) {
        if (atomic_load_explicit(word, memory_order_acquire) == want)
            return true;
        if (looks % LOOKS != 0)
            continue;
        if (atomic_load_explicit(&p->page->gave_up, memory_order_relaxed) ==
            p->number)
            return false;
        if (dcmi_now_ns() >= deadline_ns) {
            atomic_store_explicit(&p->page->gave_up, p->number,
                                  memory_order_relaxed);
            return false;
        }
    }
}

static bool trips(dcmi_probe *p, uint32_t *at, int n, uint64_t deadline_ns)
{
    page *g = p->page;

    for (int i = 0; i < n; i++) {
        const uint32_t v = ++*at;

        if (p->rank == 0)
            atomic_store_explicit(&g->ping, v, memory_order_release);
        if (!await(p, p->rank == 0 ? &g->pong : &g->ping, v, deadline_ns))
            return false;
        if (p->rank == 1)
            atomic_store_explicit(&g->pong, v, memory_order_release);
    }
    return true;
}

double dcmi_probe_run(dcmi_probe *probe)
{
    const uint64_t deadline_ns = dcmi_now_ns() + DEADLINE_MS * DCMI_NS_PER_MS;
    double ns[RUNS];
    uint32_t at;

    if (probe == NULL || probe->page == NULL)
        return -1.0;
    at = ++probe->number << 16;
    if (!trips(probe, &at, FIRST_TRIPS, deadline_ns))
        return -1.0;
    for (int i = 0; i < RUNS; i++) {
        const uint64_t start = dcmi_now_ns();

        if (!trips(probe, &at, TRIPS, deadline_ns))
            return -1.0;
        ns[i] = (double)(dcmi_now_ns() - start) / TRIPS;
    }
    return dcmi_stats_of(ns, RUNS).p50;
}

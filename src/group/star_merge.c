/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange of a star: rank 0 gathers every owner's entries and sends all of
 * them to every owner.
 *
 * An owner's frame says how long it will still wait.  Rank 0 gives up with the
 * first of them and tells the others why before it returns, so that all ranks
 * report the same; each waits a little past its own deadline for that word.  A
 * rank that dies after its frame has come fails the next exchange, not this one:
 * so all ranks that live get the same outcome.
 */
#define _GNU_SOURCE
#include "group/star.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define FRAME_MAGIC 0x64636d66u

enum {
    MOST_BYTES = 1 << 20
}; /* a rank, so that no size overflows */

/* Followed by `entries` times `bytes` bytes, or by a text when it failed. */
typedef struct frame {
    uint32_t magic;
    uint32_t seq;
    int32_t status;
    uint32_t entries;
    uint64_t bytes;
    uint64_t left_ns; /* until the sender gives up */
} frame;

_Static_assert(sizeof(frame) == 32, "on the wire");

/* One owner's frame, as far as it has come; then, how much of ours has gone. */
typedef struct part {
    frame head;
    char *payload;
    size_t entries;
    size_t moved;
} part;

typedef struct exchange {
    dcmi_star *star;
    const int *owner;
    char *all;
    size_t bytes;
    uint64_t until_ns;
    uint64_t waiting; /* owners whose frames have not come or not gone */
    uint64_t gone;
    part parts[DCM_MAX_RANKS];
} exchange;

dcm_status dcmi_star_fail(dcmi_star *star, dcm_status st)
{
    struct {
        frame head;
        char text[DCMI_STAR_TEXT_BYTES];
    } words = {.head = {.magic = FRAME_MAGIC, .status = st}};
    size_t n;

    star->failed = st;
    (void)snprintf(star->failure, sizeof(star->failure), "%s", dcm_errmsg());
    memcpy(words.text, star->failure, sizeof(words.text));
    for (int r = 1; r < star->base.nranks && star->base.rank == 0; r++) {
        if (star->member[r].fd >= 0)
            (void)dcmi_sock_try_send(star->member[r].fd, &words, sizeof(words),
                                     &n);
    }
    return dcmi_err(st, "%s", star->failure);
}

static frame make_frame(const dcmi_star *star, size_t entries, size_t bytes,
                        uint64_t deadline_ns)
{
    return (frame){
        .magic = FRAME_MAGIC,
        .seq = star->seq,
        .entries = (uint32_t)entries,
        .bytes = bytes,
        .left_ns = dcmi_star_left(deadline_ns),
    };
}

static size_t entries_of(const int *owner, int nranks, int rank)
{
    size_t n = 0;

    for (int r = 0; r < nranks; r++)
        n += owner[r] == rank;
    return n;
}

/* ---- rank 0 --------------------------------------------------------------- */

static dcm_status check_head(exchange *x, int r)
{
    const part *p = &x->parts[r];
    const uint64_t until_ns = dcmi_star_until(p->head.left_ns);
    char name[160];

    (void)dcmi_star_names(x->star, 1ull << r, name, sizeof(name));
    if (p->head.magic != FRAME_MAGIC)
        return dcmi_err(DCM_E_PEER, "%s sent what is no exchange", name);
    if (p->head.seq != x->star->seq || p->head.bytes != x->bytes ||
        p->head.entries != p->entries)
        return dcmi_err(DCM_E_MISMATCH,
                        "%s is at exchange %u with %llu bytes for each of %u "
                        "ranks, rank 0 at exchange %u with %zu for each of %zu",
                        name, p->head.seq, (unsigned long long)p->head.bytes,
                        p->head.entries, x->star->seq, x->bytes, p->entries);
    if (until_ns < x->until_ns)
        x->until_ns = until_ns;
    return DCM_OK;
}

/* Read what has come of an owner's frame. */
static dcm_status read_part(exchange *x, int r)
{
    part *p = &x->parts[r];
    const size_t total = sizeof(frame) + p->entries * x->bytes;
    dcm_status st;
    size_t left;
    char *at;
    size_t n;

    while (p->moved < total) {
        if (p->moved < sizeof(frame)) {
            at = (char *)&p->head + p->moved;
            left = sizeof(frame) - p->moved;
        } else {
            at = p->payload + (p->moved - sizeof(frame));
            left = total - p->moved;
        }
        st = dcmi_sock_try_recv(x->star->member[r].fd, at, left, &n);
        if (st == DCM_AGAIN)
            return DCM_OK;
        if (st == DCM_E_PEER) {
            x->gone |= 1ull << r;
            return DCM_OK;
        }
        if (st != DCM_OK)
            return st;
        p->moved += n;
        if (p->moved == sizeof(frame)) {
            st = check_head(x, r);
            if (st != DCM_OK)
                return st;
        }
    }
    x->waiting &= ~(1ull << r);
    return DCM_OK;
}

/* Wait until one of the owners in x->waiting is ready; returns those that are. */
static uint64_t await_owners(const exchange *x, short events, uint64_t until_ns)
{
    struct pollfd p[DCM_MAX_RANKS];
    uint64_t ready = 0;

    for (int r = 0; r < DCM_MAX_RANKS; r++) {
        const bool is_waited = (x->waiting >> r & 1) != 0;

        p[r] = (struct pollfd){
            .fd = is_waited ? x->star->member[r].fd : -1,
            .events = events,
        };
    }
    (void)dcmi_poll(p, DCM_MAX_RANKS, until_ns);
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        ready |= (uint64_t)(p[r].revents != 0) << r;
    return ready;
}

/* dcmi_poll() comes back every second, and so this is called as often. */
static void note_lost(exchange *x)
{
    for (uint64_t m = x->waiting; m != 0 && x->star->is_tcp; m &= m - 1) {
        if (dcmi_tcp_is_lost(x->star->member[__builtin_ctzll(m)].fd))
            x->gone |= m & -m;
    }
}

static dcm_status gather(exchange *x)
{
    dcm_status st = DCM_OK;
    bool is_late = false;
    char names[256];

    for (uint64_t m = x->waiting; m != 0; m &= m - 1) {
        if (x->star->member[__builtin_ctzll(m)].fd < 0)
            x->gone |= m & -m;
    }
    while (st == DCM_OK && x->waiting != 0 && x->gone == 0 && !is_late) {
        /* What has come by then counts, however late we are to see it. */
        is_late = dcmi_now_ns() >= x->until_ns;
        for (uint64_t m = await_owners(x, POLLIN, x->until_ns);
             m != 0 && st == DCM_OK; m &= m - 1)
            st = read_part(x, __builtin_ctzll(m));
        note_lost(x);
    }
    if (st == DCM_OK && x->gone != 0)
        return dcmi_err(
            DCM_E_PEER, "%s died or left before the exchange",
            dcmi_star_names(x->star, x->gone, names, sizeof(names)));
    if (st == DCM_OK && x->waiting != 0)
        return dcmi_err(
            DCM_E_TIMEOUT, "%s did not come to the exchange",
            dcmi_star_names(x->star, x->waiting, names, sizeof(names)));
    return st;
}

/* Send `message`; an owner that does not take it is lost to the next one. */
static void scatter(exchange *x, const char *message, size_t bytes)
{
    const uint64_t until_ns = dcmi_star_until(
        dcmi_star_left(x->until_ns) + DCMI_STAR_GRACE_MS * DCMI_NS_PER_MS);
    uint64_t ready;

    while (x->waiting != 0 && dcmi_now_ns() < until_ns) {
        ready = await_owners(x, POLLOUT, until_ns);
        for (uint64_t m = ready; m != 0; m &= m - 1) {
            const int r = __builtin_ctzll(m);
            part *p = &x->parts[r];
            dcm_status st;
            size_t n = 0;

            st = dcmi_sock_try_send(x->star->member[r].fd, message + p->moved,
                                    bytes - p->moved, &n);
            p->moved += n;
            if (st != DCM_OK && st != DCM_AGAIN)
                dcmi_star_drop(&x->star->member[r]);
            if (p->moved == bytes || x->star->member[r].fd < 0)
                x->waiting &= ~(1ull << r);
        }
    }
    for (uint64_t m = x->waiting; m != 0; m &= m - 1)
        dcmi_star_drop(&x->star->member[__builtin_ctzll(m)]);
}

static void unpack(const exchange *x)
{
    const char *next[DCM_MAX_RANKS];
    const int n = x->star->base.nranks;

    for (int r = 0; r < n; r++)
        next[r] = x->parts[r].payload;
    for (int r = 0; r < n; r++) {
        const int from = x->owner[r];

        if (from == 0)
            continue;
        memcpy(x->all + (size_t)r * x->bytes, next[from], x->bytes);
        next[from] += x->bytes;
    }
}

/* `room` holds a frame and all ranks' bytes. */
static dcm_status lead(exchange *x, char *room)
{
    const size_t n = (size_t)x->star->base.nranks;
    const uint64_t deadline_ns = x->until_ns;
    char *payload = room + sizeof(frame);
    uint64_t owners;
    dcm_status st;
    frame head;

    for (size_t r = 0; r < n; r++) {
        part *p = &x->parts[r];

        p->entries = entries_of(x->owner, (int)n, (int)r);
        p->payload = payload;
        payload += p->entries * x->bytes;
        if (r != 0 && p->entries != 0)
            x->waiting |= 1ull << r;
    }
    owners = x->waiting;
    st = gather(x);
    if (st != DCM_OK)
        return st;
    unpack(x);

    head = make_frame(x->star, n, x->bytes, deadline_ns);
    memcpy(room, &head, sizeof(head));
    memcpy(room + sizeof(head), x->all, n * x->bytes);
    for (size_t r = 0; r < n; r++)
        x->parts[r].moved = 0;
    x->waiting = owners;
    x->until_ns = deadline_ns;
    scatter(x, room, sizeof(head) + n * x->bytes);
    return DCM_OK;
}

/* ---- the others ----------------------------------------------------------- */

static dcm_status check_leader(void *arg, bool expired)
{
    const dcmi_star *star = arg;

    if (expired)
        return dcmi_err(DCM_E_TIMEOUT, "rank 0 did not come to the exchange");
    /* The caller says it in words. */
    return star->is_tcp && dcmi_tcp_is_lost(star->member[0].fd) ? DCM_E_PEER
                                                                : DCM_OK;
}

static dcm_status read_failure(int fd, const frame *head,
                               const dcmi_watch *watch, bool *is_told_p,
                               uint64_t *start_p)
{
    char text[DCMI_STAR_TEXT_BYTES];
    dcm_status st;

    st = dcmi_sock_recv(fd, text, sizeof(text), NULL, watch, start_p);
    if (st != DCM_OK)
        return st;
    dcmi_star_clean(text, sizeof(text));
    *is_told_p = true;
    return dcmi_err(dcmi_star_status(head->status), "%s", text);
}

/* *is_told_p: the failure is the one that rank 0 has told. */
static dcm_status receive_all(const exchange *x, const dcmi_watch *watch,
                              bool *is_told_p, uint64_t *start_p)
{
    const size_t n = (size_t)x->star->base.nranks;
    const int fd = x->star->member[0].fd;
    dcm_status st;
    frame head;

    st = dcmi_sock_recv(fd, &head, sizeof(head), NULL, watch, start_p);
    if (st != DCM_OK)
        return st;
    if (head.magic == FRAME_MAGIC && head.status != DCM_OK)
        return read_failure(fd, &head, watch, is_told_p, start_p);
    if (head.magic != FRAME_MAGIC || head.seq != x->star->seq ||
        head.entries != n || head.bytes != x->bytes)
        return dcmi_err(DCM_E_SYS, "rank 0 sent what is no exchange");
    return dcmi_sock_recv(fd, x->all, n * x->bytes, NULL, watch, start_p);
}

static dcm_status follow(exchange *x, char *room)
{
    const dcmi_star *star = x->star;
    const int fd = star->member[0].fd;
    const int rank = star->base.rank;
    const dcmi_watch watch = {
        .check = check_leader,
        .arg = x->star,
        .timeout_ns =
            dcmi_star_left(x->until_ns) + DCMI_STAR_GRACE_MS * DCMI_NS_PER_MS,
    };
    const frame head =
        make_frame(star, entries_of(x->owner, star->base.nranks, rank),
                   x->bytes, x->until_ns);
    char *at = room + sizeof(head);
    bool is_told = false;
    uint64_t start = 0;
    dcm_status st;

    memcpy(room, &head, sizeof(head));
    for (int r = 0; r < star->base.nranks; r++) {
        if (x->owner[r] != rank)
            continue;
        memcpy(at, x->all + (size_t)r * x->bytes, x->bytes);
        at += x->bytes;
    }
    st = dcmi_sock_send(fd, room, (size_t)(at - room), -1, &watch, &start);
    /* Where sending fails there may still be rank 0's reason to read. */
    if (st == DCM_OK || st == DCM_E_PEER)
        st = receive_all(x, &watch, &is_told, &start);
    if (st == DCM_E_PEER && !is_told)
        return dcmi_err(st, "rank 0, met at %s, died or left", star->address);
    return st;
}

dcm_status dcmi_star_merge(dcmi_boot *boot, void *all, size_t bytes,
                           const int *owner, uint64_t deadline_ns)
{
    dcmi_star *star = (dcmi_star *)boot;
    exchange *x;
    dcm_status st;
    char *room;

    if (star->failed != DCM_OK)
        return dcmi_err(star->failed, "%s", star->failure);
    if (bytes > MOST_BYTES || owner[0] != 0 || owner[boot->rank] != boot->rank)
        return dcmi_err(DCM_E_INVAL,
                        "exchange of %zu bytes by rank %d, owned "
                        "by rank %d",
                        bytes, boot->rank, owner[boot->rank]);
    x = calloc(1, sizeof(*x));
    room = malloc(sizeof(frame) + (size_t)boot->nranks * bytes);
    if (x == NULL || room == NULL) {
        st = dcmi_err(DCM_E_NOMEM, "exchange of %zu bytes a rank", bytes);
    } else {
        star->seq++;
        *x = (exchange){
            .star = star,
            .owner = owner,
            .all = all,
            .bytes = bytes,
            .until_ns = deadline_ns,
        };
        st = boot->rank == 0 ? lead(x, room) : follow(x, room);
    }
    free(room);
    free(x);
    return st == DCM_OK ? DCM_OK : dcmi_star_fail(star, st);
}

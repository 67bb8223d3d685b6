/* SPDX-License-Identifier: Apache-2.0 */
/* Passing a segment's descriptor to the ranks of one host. */
#include "group/handover.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "os/ident.h"
#include "os/sock.h"

enum {
    BACKLOG = 2 * DCM_MAX_RANKS
};

/* A member's first words. */
typedef struct hello {
    dcmi_handover_ticket ticket;
    int32_t rank;
} hello;

static void name_of(char *name, size_t bytes, const dcmi_handover_ticket *t)
{
    uint64_t id[2];

    /* The name is visible to every user: it must not give the secret away. */
    id[0] = dcmi_hash(1, t->secret, sizeof(t->secret));
    id[1] = dcmi_hash(id[0], t->secret, sizeof(t->secret));
    (void)snprintf(name, bytes, "devcomm-seg-%016llx%016llx",
                   (unsigned long long)id[0], (unsigned long long)id[1]);
}

dcm_status dcmi_handover_open(dcmi_handover *h, bool may_lead)
{
    char name[DCMI_SOCK_NAME_BYTES];
    dcm_status st;

    memset(h, 0, sizeof(*h));
    h->listener = -1;
    h->link = -1;
    if (!may_lead)
        return DCM_OK;
    st = dcmi_random(h->ticket.secret, sizeof(h->ticket.secret));
    if (st != DCM_OK)
        return st;
    name_of(name, sizeof(name), &h->ticket);
    return dcmi_unix_listen(&h->listener, name, BACKLOG);
}

static dcm_status only_time(void *arg, bool expired)
{
    (void)arg;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "a local socket is stuck")
                   : DCM_OK;
}

/*
 * For bytes that are there already or fit into an empty socket's buffer: who
 * makes us wait longer is a stranger.
 */
static const dcmi_watch brief = {.check = only_time,
                                 .timeout_ns = 100 * DCMI_NS_PER_MS};

dcm_status dcmi_handover_connect(dcmi_handover *h,
                                 const dcmi_handover_ticket *leader, int rank)
{
    hello words = {.ticket = *leader, .rank = rank};
    char name[DCMI_SOCK_NAME_BYTES];
    uint64_t start = 0;
    dcm_status st;

    name_of(name, sizeof(name), leader);
    st = dcmi_unix_connect(&h->link, name);
    if (st == DCM_AGAIN)
        return dcmi_err(DCM_E_SYS, "nobody listens on socket @%s", name);
    if (st != DCM_OK)
        return st;
    return dcmi_sock_send(h->link, &words, sizeof(words), -1, &brief, &start);
}

/* Serve one connection; *ranks loses the member's bit. */
static dcm_status serve_one(const dcmi_handover *h, int sock, uint64_t *ranks,
                            int fd, uint64_t bytes)
{
    uint64_t start = 0;
    hello words;
    dcm_status st;

    st = dcmi_sock_recv(sock, &words, sizeof(words), NULL, &brief, &start);
    if (st == DCM_E_PEER || st == DCM_E_TIMEOUT)
        return DCM_OK; /* a stranger: members sent theirs before step 4 */
    if (st != DCM_OK)
        return st;
    if (memcmp(&words.ticket, &h->ticket, sizeof(words.ticket)) != 0 ||
        words.rank < 0 || words.rank >= DCM_MAX_RANKS ||
        (*ranks >> words.rank & 1) == 0)
        return DCM_OK; /* a stranger: it gets nothing */
    *ranks &= ~(1ull << words.rank);
    st = dcmi_sock_send(sock, &bytes, sizeof(bytes), fd, &brief, &start);
    /* A member that died since: the next exchange finds and names it. */
    return st == DCM_E_PEER ? DCM_OK : st;
}

dcm_status dcmi_handover_serve(dcmi_handover *h, uint64_t ranks, int fd,
                               uint64_t bytes, const dcmi_watch *watch)
{
    uint64_t start = 0;
    dcm_status st;
    int sock;

    while (ranks != 0) {
        st = dcmi_unix_accept(&sock, h->listener);
        if (st == DCM_AGAIN)
            st = dcmi_wait_fd(h->listener, POLLIN, watch, &start);
        else if (st == DCM_OK) {
            st = serve_one(h, sock, &ranks, fd, bytes);
            dcmi_close(sock);
        }
        if (st == DCM_E_TIMEOUT)
            return dcmi_err_at(st, "rank %d did not come for its segment",
                               __builtin_ctzll(ranks));
        if (st != DCM_OK)
            return st;
    }
    return DCM_OK;
}

dcm_status dcmi_handover_receive(dcmi_handover *h, int *fd_p, uint64_t *bytes_p,
                                 const dcmi_watch *watch)
{
    uint64_t start = 0;
    uint64_t bytes;
    dcm_status st;
    int fd;

    st = dcmi_sock_recv(h->link, &bytes, sizeof(bytes), &fd, watch, &start);
    if (st != DCM_OK)
        return st;
    if (fd < 0)
        return dcmi_err(DCM_E_SYS, "the leader's message carried no segment");
    *fd_p = fd;
    *bytes_p = bytes;
    return DCM_OK;
}

void dcmi_handover_close(dcmi_handover *h)
{
    dcmi_close(h->listener);
    dcmi_close(h->link);
    h->listener = -1;
    h->link = -1;
}

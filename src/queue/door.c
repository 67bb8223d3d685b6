/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's door: an abstract unix socket for readers that cannot open its
 * /proc/PID/fd, such as those in another PID namespace.
 *
 *   1. the reader connects and sends the handle's secret;
 *   2. the writer, within one of its calls, sends the segment's descriptor;
 *   3. the reader takes its place and sends its number.
 *
 * The connection then stays open: its end tells each side that the other is gone.
 * The writer listens to one guest at a time and gives it a moment, so that a
 * stranger, who must be of the same user, keeps nobody out for long.
 */
#include "queue/queue.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/sha256.h"
#include "os/clock.h"
#include "os/ident.h"
#include "os/sock.h"

enum {
    BACKLOG = 64,
    GUEST_MS = 200,   /* for the secret */
    SEATED_MS = 2000, /* for the place, which takes some work */
    KNOCK_NAP_NS = 2000000,
    KNOCK_MS = 1000, /* who does not listen by then is gone */
};

/* The name is visible to every user: it must not give the secret away. */
static void name_of(char *name, size_t bytes, const dcmi_queue_ticket *t)
{
    uint8_t digest[DCMI_SHA256_BYTES];
    uint64_t id[2];
    dcmi_sha256 s;

    dcmi_sha256_init(&s);
    dcmi_sha256_add(&s, "devcomm queue door", 18);
    dcmi_sha256_add(&s, t->secret, sizeof(t->secret));
    dcmi_sha256_end(&s, digest);
    memcpy(id, digest, sizeof(id));
    (void)snprintf(name, bytes, "devcomm-queue-%016llx%016llx",
                   (unsigned long long)id[0], (unsigned long long)id[1]);
}

dcm_status dcmi_queue_door_open(dcm_queue *q)
{
    char name[DCMI_SOCK_NAME_BYTES];
    dcm_status st;

    st = dcmi_random(&q->ticket, sizeof(q->ticket));
    if (st != DCM_OK)
        return st;
    name_of(name, sizeof(name), &q->ticket);
    return dcmi_unix_listen(&q->door.listener, name, BACKLOG);
}

void dcmi_queue_door_close(dcm_queue *q)
{
    dcmi_close(q->door.listener);
    dcmi_close(q->door.guest);
    q->door.listener = -1;
    q->door.guest = -1;
}

static dcm_status only_time(void *arg, bool expired)
{
    (void)arg;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "queue: the writer did not answer")
                   : DCM_OK;
}

static bool has_bytes(int sock)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* Read `bytes` that have come, or nothing: small writes come in one piece. */
static dcm_status hear(int sock, void *buf, size_t bytes)
{
    size_t moved;
    dcm_status st = dcmi_sock_try_recv(sock, buf, bytes, &moved);

    if (st == DCM_OK && moved != bytes)
        return dcmi_err(DCM_E_INVAL, "queue: a guest of too few words");
    return st;
}

static void show_out(dcm_queue *q)
{
    dcmi_close(q->door.guest);
    q->door.guest = -1;
    q->door.is_inside = false;
}

static void let_in(dcm_queue *q, uint64_t now)
{
    const dcmi_watch brief = {.check = only_time,
                              .timeout_ns = 100 * DCMI_NS_PER_MS};
    const char yes = 1;
    uint64_t start = 0;
    dcmi_queue_ticket ticket;
    dcm_status st;

    st = hear(q->door.guest, &ticket, sizeof(ticket));
    if (st == DCM_OK && !dcmi_equal_secret(&ticket, &q->ticket, sizeof(ticket)))
        st = dcmi_err(DCM_E_INVAL, "queue: a guest without the secret");
    if (st == DCM_OK)
        st = dcmi_sock_send(q->door.guest, &yes, 1, q->fd, &brief, &start);
    if (st != DCM_OK) {
        dcmi_log(DCM_LOG_WARN, "%s", dcm_errmsg());
        show_out(q);
        return;
    }
    q->door.is_inside = true;
    q->door.guest_until_ns = now + SEATED_MS * DCMI_NS_PER_MS;
}

/* The guest says its place: from now on its connection stands for its life. */
static void seat(dcm_queue *q)
{
    dcmi_queue_peer *p;
    int32_t reader;

    if (hear(q->door.guest, &reader, sizeof(reader)) != DCM_OK || reader < 0 ||
        reader >= DCM_QUEUE_MAX_READERS) {
        show_out(q);
        return;
    }
    p = &q->peer[reader];
    dcmi_process_close(&p->process);
    dcmi_close(p->link);
    p->who = 0; /* looked at anew */
    p->link = q->door.guest;
    q->door.guest = -1;
    q->door.is_inside = false;
}

void dcmi_queue_door_serve(dcm_queue *q, uint64_t now)
{
    if (q->door.listener < 0)
        return;
    if (q->door.guest >= 0 && q->door.guest_until_ns < now)
        show_out(q);
    if (q->door.guest < 0) {
        if (dcmi_unix_accept(&q->door.guest, q->door.listener) != DCM_OK) {
            q->door.guest = -1;
            return;
        }
        q->door.guest_until_ns = now + GUEST_MS * DCMI_NS_PER_MS;
    }
    if (!has_bytes(q->door.guest))
        return;
    if (q->door.is_inside)
        seat(q);
    else
        let_in(q, now);
}

dcm_status dcmi_queue_door_knock(int *fd_p, dcm_queue *q, uint64_t timeout_ns)
{
    const uint64_t most = KNOCK_MS * DCMI_NS_PER_MS;
    const uint64_t until =
        dcmi_now_ns() + (timeout_ns < most ? timeout_ns : most);
    const dcmi_watch watch = {.check = only_time, .timeout_ns = timeout_ns};
    char name[DCMI_SOCK_NAME_BYTES];
    uint64_t start = 0;
    dcm_status st;
    char yes;
    int fd = -1;

    name_of(name, sizeof(name), &q->ticket);
    for (;;) {
        st = dcmi_unix_connect(&q->link, name);
        if (st != DCM_AGAIN)
            break;
        if (dcmi_now_ns() >= until)
            return dcmi_err(DCM_E_PEER,
                            "queue: its writer (pid %d) is not to "
                            "be seen in /proc and does not listen",
                            q->writer.pid);
        dcmi_nap_ns(KNOCK_NAP_NS);
    }
    if (st == DCM_OK)
        st = dcmi_sock_send(q->link, &q->ticket, sizeof(q->ticket), -1, &watch,
                            &start);
    if (st == DCM_OK)
        st = dcmi_sock_recv(q->link, &yes, 1, &fd, &watch, &start);
    if (st != DCM_OK)
        return dcmi_err_at(st, "queue: attaching by socket @%s", name);
    if (fd < 0)
        return dcmi_err(DCM_E_PEER, "queue: the writer sent no segment");
    *fd_p = fd;
    return DCM_OK;
}

dcm_status dcmi_queue_door_tell(dcm_queue *q)
{
    const dcmi_watch brief = {.check = only_time,
                              .timeout_ns = 1000 * DCMI_NS_PER_MS};
    const int32_t reader = q->me;
    uint64_t start = 0;

    if (q->link < 0)
        return DCM_OK;
    return dcmi_sock_send(q->link, &reader, sizeof(reader), -1, &brief, &start);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What remote readers are sent: records, as their windows allow, and the end. */
#include "queue/remote_write.h"

#include <poll.h>
#include <string.h>

#include "base/err.h"
#include "os/clock.h"

enum {
    RECORD_COST = 64, /* what a record takes of the window besides its bytes */
};

static uint64_t cost_of(uint64_t bytes)
{
    return bytes + RECORD_COST;
}

/* The first reader whose window is too small for the record; NULL: none. */
static const dcmi_remote_peer *find_narrow(const dcmi_remote *r, uint64_t bytes)
{
    for (int i = 0; i < r->n; i++) {
        const uint64_t out = r->peer[i].sent_cost - r->peer[i].read_cost;

        if (out != 0 && out + cost_of(bytes) > r->window)
            return &r->peer[i];
    }
    return NULL;
}

typedef struct window_wait {
    dcm_queue *q;
    uint64_t bytes;
} window_wait;

static bool may_send(const window_wait *w)
{
    return dcmi_remote_is_complete(w->q) &&
           find_narrow(w->q->remote, w->bytes) == NULL;
}

static dcm_status check_window(void *arg, bool expired)
{
    window_wait *w = arg;
    dcmi_remote *r = w->q->remote;
    const uint64_t now = dcmi_now_ns();
    const dcmi_remote_peer *p;

    dcmi_remote_tend(w->q);
    dcmi_remote_ping(r, now);
    if (may_send(w))
        return DCM_AGAIN; /* sending may have taken the descriptor's signal */
    if (!expired)
        return dcmi_queue_cancelled(w->q);
    p = find_narrow(r, w->bytes);
    if (p == NULL)
        return dcmi_err(DCM_E_TIMEOUT,
                        "queue: %d of %d remote readers have attached", r->came,
                        r->expected);
    return dcmi_err(DCM_E_TIMEOUT,
                    "queue: a remote reader is late: %llu records behind, last "
                    "seen %llu ms ago",
                    (unsigned long long)(w->q->n - p->read),
                    (unsigned long long)((now - p->seen_ns) / DCMI_NS_PER_MS));
}

dcm_status dcmi_remote_await(dcm_queue *q, uint64_t bytes, uint64_t timeout_ns)
{
    window_wait w = {.q = q, .bytes = bytes};
    const dcmi_watch watch = {
        .check = check_window, .arg = &w, .timeout_ns = timeout_ns};
    uint64_t start = 0;
    dcm_status st = DCM_OK;

    dcmi_remote_tend(q);
    while (st == DCM_OK && !may_send(&w)) {
        if (timeout_ns == 0)
            return DCM_AGAIN;
        st = dcmi_wait_fd(q->remote->fd, POLLIN, &watch, &start);
        if (st == DCM_AGAIN)
            st = DCM_OK;
        dcmi_remote_tend(q);
    }
    return st;
}

dcm_status dcmi_remote_prepare(dcm_queue *q, dcmi_zmq_msg *msg, void **to_p,
                               uint64_t bytes)
{
    const dcmi_zmq *z = q->remote->z;
    const uint64_t head[2] = {DCMI_REMOTE_DATA, q->n};
    unsigned char *at;

    if (z->msg_init_size_fn(msg, DCMI_REMOTE_HEAD + bytes) != 0)
        return dcmi_err(DCM_E_NOMEM, "queue: a message of %llu bytes",
                        (unsigned long long)bytes);
    at = z->msg_data_fn(msg);
    memcpy(at, head, sizeof(head));
    *to_p = at + DCMI_REMOTE_HEAD;
    return DCM_OK;
}

void dcmi_remote_discard(dcm_queue *q, dcmi_zmq_msg *msg)
{
    (void)q->remote->z->msg_close_fn(msg);
}

static bool send_copy(const dcmi_remote *r, const dcmi_remote_peer *p,
                      dcmi_zmq_msg *msg)
{
    dcmi_zmq_msg copy;

    (void)r->z->msg_init_fn(&copy);
    if (r->z->msg_copy_fn(&copy, msg) == 0 &&
        r->z->send_fn(r->socket, p->id, (size_t)p->id_bytes,
                      DCMI_ZMQ_SNDMORE | DCMI_ZMQ_DONTWAIT) == p->id_bytes &&
        r->z->msg_send_fn(&copy, r->socket, DCMI_ZMQ_DONTWAIT) >= 0)
        return true;
    (void)r->z->msg_close_fn(&copy);
    return false;
}

void dcmi_remote_send(dcm_queue *q, dcmi_zmq_msg *msg, uint64_t bytes)
{
    dcmi_remote *r = q->remote;

    for (int i = r->n - 1; i >= 0; i--) {
        if (send_copy(r, &r->peer[i], msg))
            r->peer[i].sent_cost += cost_of(bytes);
        else
            dcmi_remote_forget(r, &r->peer[i], "is gone");
    }
    dcmi_remote_discard(q, msg);
}

static void say_bye(const dcm_queue *q)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_BYE, .n = {q->n}};
    dcmi_remote *r = q->remote;

    for (int i = r->n - 1; i >= 0; i--) {
        if (!dcmi_remote_tell(r, r->peer[i].id, r->peer[i].id_bytes, &words))
            dcmi_remote_forget(r, &r->peer[i], "is gone");
    }
}

static dcm_status check_drained(void *arg, bool expired)
{
    dcm_queue *q = arg;
    dcmi_remote *r = q->remote;
    const uint64_t now = dcmi_now_ns();
    const dcm_status st = dcmi_queue_cancelled(q);

    dcmi_remote_tend(q);
    dcmi_remote_ping(r, now);
    if (r->n == 0)
        return DCM_AGAIN; /* tending may have taken the descriptor's signal */
    if (st != DCM_OK || !expired)
        return st;
    return dcmi_err(
        DCM_E_TIMEOUT,
        "queue: %d remote readers have not read everything; one is "
        "%llu records behind, last seen %llu ms ago",
        r->n, (unsigned long long)(q->n - r->peer[0].read),
        (unsigned long long)((now - r->peer[0].seen_ns) / DCMI_NS_PER_MS));
}

/*
 * Readers answer the good-bye when they have read everything before it, and are
 * forgotten then.
 */
dcm_status dcmi_remote_end(dcm_queue *q, uint64_t timeout_ns)
{
    const dcmi_watch watch = {
        .check = check_drained, .arg = q, .timeout_ns = timeout_ns};
    uint64_t start = 0;
    dcm_status st = DCM_OK;

    say_bye(q);
    dcmi_remote_tend(q);
    while (st == DCM_OK && q->remote->n > 0) {
        st = dcmi_wait_fd(q->remote->fd, POLLIN, &watch, &start);
        if (st == DCM_AGAIN)
            st = DCM_OK;
        dcmi_remote_tend(q);
    }
    return q->remote->n == 0 ? DCM_OK : st;
}

void dcmi_remote_close(dcm_queue *q)
{
    dcmi_remote *r = q->remote;

    say_bye(q);
    q->remote = NULL;
    dcmi_remote_tear_down(r);
}

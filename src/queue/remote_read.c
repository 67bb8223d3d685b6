/* SPDX-License-Identifier: Apache-2.0 */
/* A remote reader; remote.h tells the protocol. */
#include "queue/remote.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/ident.h"
#include "queue/queue.h"

enum {
    CREDIT_PART = 4, /* of the window: credit is given at least so often */
    RECORD_COST = 64,
};

struct dcmi_remote_reader {
    const dcmi_zmq *z;
    void *ctx;
    void *socket;
    void *monitor;
    int fd;
    dcmi_zmq_msg msg; /* the record that is being read */
    bool has_msg;
    bool is_lost;  /* the connection has ended */
    bool is_over;  /* the writer has said good-bye */
    uint64_t last; /* records in all, when it is over */
    uint64_t read_cost;
    uint64_t told_cost; /* of which the writer knows */
};

static dcm_status set_curve(dcmi_remote_reader *r,
                            const dcmi_remote_place *place)
{
    char public_key[DCMI_ZMQ_KEY_CHARS + 1];
    char secret_key[DCMI_ZMQ_KEY_CHARS + 1];
    char server_key[DCMI_ZMQ_KEY_CHARS + 1] = {0};
    const dcmi_zmq *z = r->z;
    dcm_status st = DCM_OK;

    if (place->has_curve == 0)
        return DCM_OK;
    if (z->has_fn("curve") == 0)
        return dcmi_err(DCM_E_UNSUP, "queue: the writer wants CURVE, which "
                                     "this ZeroMQ has not");
    memcpy(server_key, place->curve_key, sizeof(place->curve_key));
    if (z->curve_keypair_fn(public_key, secret_key) != 0 ||
        z->setsockopt_fn(r->socket, DCMI_ZMQ_CURVE_SERVERKEY, server_key,
                         sizeof(server_key)) != 0 ||
        z->setsockopt_fn(r->socket, DCMI_ZMQ_CURVE_PUBLICKEY, public_key,
                         sizeof(public_key)) != 0 ||
        z->setsockopt_fn(r->socket, DCMI_ZMQ_CURVE_SECRETKEY, secret_key,
                         sizeof(secret_key)) != 0)
        st = dcmi_zmq_err(z, "CURVE's keys");
    memset(secret_key, 0, sizeof(secret_key));
    return st;
}

/* A second socket tells when the connection ends. */
static dcm_status watch_connection(dcmi_remote_reader *r)
{
    char where[64];

    (void)snprintf(where, sizeof(where), "inproc://devcomm-%p", (void *)r);
    if (r->z->socket_monitor_fn(r->socket, where,
                                DCMI_ZMQ_EVENT_DISCONNECTED) != 0)
        return dcmi_zmq_err(r->z, "watching a connection");
    r->monitor = r->z->socket_fn(r->ctx, DCMI_ZMQ_PAIR);
    if (r->monitor == NULL || r->z->connect_fn(r->monitor, where) != 0)
        return dcmi_zmq_err(r->z, "watching a connection");
    return DCM_OK;
}

static dcm_status connect_to(dcmi_remote_reader *r, const dcm_queue *q,
                             const dcmi_remote_place *place)
{
    const int64_t most =
        (int64_t)q->g.max_record + DCMI_REMOTE_HEAD + DCMI_REMOTE_CURVE_BYTES;
    char address[sizeof(place->address) + 1] = {0};
    size_t bytes = sizeof(r->fd);
    char where[128];
    dcm_status st;

    memcpy(address, place->address, sizeof(place->address));
    r->ctx = r->z->ctx_new_fn();
    if (r->ctx == NULL)
        return dcmi_zmq_err(r->z, "ZeroMQ");
    (void)r->z->ctx_set_fn(r->ctx, DCMI_ZMQ_BLOCKY, 0);
    r->socket = r->z->socket_fn(r->ctx, DCMI_ZMQ_DEALER);
    if (r->socket == NULL)
        return dcmi_zmq_err(r->z, "a socket");
    st = dcmi_remote_tune(r->z, r->socket, address);
    if (st == DCM_OK)
        st = set_curve(r, place);
    if (st == DCM_OK)
        st = watch_connection(r);
    if (st != DCM_OK)
        return st;
    (void)snprintf(where, sizeof(where),
                   strchr(address, ':') != NULL ? "tcp://[%s]:%u"
                                                : "tcp://%s:%u",
                   address, (unsigned)place->port);
    if (r->z->setsockopt_fn(r->socket, DCMI_ZMQ_MAXMSGSIZE, &most,
                            sizeof(most)) != 0 ||
        r->z->connect_fn(r->socket, where) != 0 ||
        r->z->getsockopt_fn(r->socket, DCMI_ZMQ_FD, &r->fd, &bytes) != 0)
        return dcmi_err_at(dcmi_zmq_err(r->z, "connecting"), "%s", where);
    return DCM_OK;
}

/* Whether the connection has ended; what came before is read first. */
static bool is_lost(dcmi_remote_reader *r)
{
    uint8_t event[64];

    while (r->z->recv_fn(r->monitor, event, sizeof(event), DCMI_ZMQ_DONTWAIT) >=
           0)
        r->is_lost = true;
    return r->is_lost;
}

static void tell(const dcmi_remote_reader *r, const dcmi_remote_words *words)
{
    (void)r->z->send_fn(r->socket, words, sizeof(*words), DCMI_ZMQ_DONTWAIT);
}

typedef struct message_wait {
    dcm_queue *q;
    const char *what;
} message_wait;

static dcm_status check_message(void *arg, bool expired)
{
    const message_wait *w = arg;
    dcm_status st = dcmi_queue_cancelled(w->q);

    if (st == DCM_OK && expired)
        st = dcmi_err(DCM_E_TIMEOUT, "queue: %s has not come from the writer",
                      w->what);
    /* After this the caller looks for messages once more. */
    return st == DCM_OK && is_lost(w->q->link_far) ? DCM_AGAIN : st;
}

/* The next message into r->msg; E_PEER when there will be none. */
static dcm_status await_message(dcm_queue *q, const char *what, bool is_try,
                                uint64_t timeout_ns)
{
    dcmi_remote_reader *r = q->link_far;
    message_wait w = {.q = q, .what = what};
    const dcmi_watch watch = {
        .check = check_message, .arg = &w, .timeout_ns = timeout_ns};
    uint64_t start = 0;
    dcm_status st = DCM_OK;
    bool was_lost;

    for (;;) {
        was_lost = is_lost(r);
        (void)r->z->msg_init_fn(&r->msg);
        if (r->z->msg_recv_fn(&r->msg, r->socket, DCMI_ZMQ_DONTWAIT) >= 0)
            return DCM_OK;
        (void)r->z->msg_close_fn(&r->msg);
        if (was_lost)
            return dcmi_err(DCM_E_PEER,
                            "queue: the connection to the writer ended, "
                            "without a farewell, before %s",
                            what);
        if (is_try)
            return DCM_AGAIN;
        st = dcmi_wait_fd(r->fd, POLLIN, &watch, &start);
        if (st != DCM_OK && st != DCM_AGAIN)
            return st;
    }
}

/* A message of one kind, and nothing else. */
static dcm_status expect(dcm_queue *q, dcmi_remote_words *words,
                         dcmi_remote_kind kind, uint64_t timeout_ns)
{
    dcmi_remote_reader *r = q->link_far;
    dcm_status st = await_message(q, "an answer", false, timeout_ns);
    size_t bytes;

    if (st != DCM_OK)
        return st;
    bytes = r->z->msg_size_fn(&r->msg);
    if (bytes == sizeof(*words))
        memcpy(words, r->z->msg_data_fn(&r->msg), sizeof(*words));
    (void)r->z->msg_close_fn(&r->msg);
    if (bytes == sizeof(*words) && words->kind == DCMI_REMOTE_FULL)
        return dcmi_err(DCM_E_BUSY, "queue: all %d remote places are taken",
                        DCMI_REMOTE_MOST);
    if (bytes != sizeof(*words) || words->kind != (uint32_t)kind)
        return dcmi_err(DCM_E_PEER, "queue: the writer gave no answer of use");
    return DCM_OK;
}

static dcm_status shake_hands(dcm_queue *q, uint64_t timeout_ns)
{
    dcmi_remote_words words = {.kind = DCMI_REMOTE_HELLO};
    dcmi_remote_words answer;
    dcmi_remote_key key;
    uint8_t mac[DCMI_SHA256_BYTES];
    dcm_status st;

    dcmi_remote_key_make(&key, &q->ticket, sizeof(q->ticket));
    st = dcmi_random(words.nonce, sizeof(words.nonce));
    if (st != DCM_OK)
        return st;
    tell(q->link_far, &words);
    st = expect(q, &answer, DCMI_REMOTE_CHALLENGE, timeout_ns);
    if (st != DCM_OK)
        return st;
    dcmi_remote_mac(mac, &key, 'S', words.nonce, answer.nonce);
    if (!dcmi_equal_secret(mac, answer.mac, sizeof(mac)))
        return dcmi_err(DCM_E_PEER, "queue: who answers does not know the "
                                    "secret, or has another DEVCOMM_TOKEN");
    words.kind = DCMI_REMOTE_PROOF;
    dcmi_remote_mac(words.mac, &key, 'C', words.nonce, answer.nonce);
    tell(q->link_far, &words);
    st = expect(q, &answer, DCMI_REMOTE_WELCOME, timeout_ns);
    if (st == DCM_OK)
        q->n = answer.n[0];
    return st;
}

dcm_status dcmi_remote_attach(dcm_queue *q, const dcmi_remote_place *place,
                              uint64_t timeout_ns)
{
    const dcmi_zmq *z;
    dcmi_remote_reader *r;
    dcm_status st;

    st = dcmi_zmq_open(&z);
    if (st != DCM_OK)
        return st;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return dcmi_err(DCM_E_NOMEM, "queue: a remote reader");
    r->z = z;
    q->link_far = r;
    st = connect_to(r, q, place);
    return st == DCM_OK ? shake_hands(q, timeout_ns) : st;
}

void dcmi_remote_leave(dcm_queue *q)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_BYE};
    dcmi_remote_reader *r = q->link_far;

    q->link_far = NULL;
    if (r->has_msg)
        (void)r->z->msg_close_fn(&r->msg);
    if (r->socket != NULL) {
        tell(r, &words);
        (void)dcmi_remote_set(r->z, r->socket, DCMI_ZMQ_LINGER, 0);
        (void)r->z->close_fn(r->socket);
    }
    if (r->monitor != NULL)
        (void)r->z->close_fn(r->monitor);
    if (r->ctx != NULL)
        (void)r->z->ctx_term_fn(r->ctx);
    free(r);
}

/* Let the writer know what was read, when that is much or `now`. */
static void give_credit(dcm_queue *q, bool now)
{
    dcmi_remote_reader *r = q->link_far;
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_CREDIT,
                                     .n = {q->n, r->read_cost}};
    const uint64_t open = r->read_cost - r->told_cost;

    if (open == 0 || (!now && open < q->g.arena_bytes / CREDIT_PART))
        return;
    tell(r, &words);
    r->told_cost = r->read_cost;
}

static dcm_status ended(const dcm_queue *q)
{
    const dcmi_remote_reader *r = q->link_far;

    if (r->last == q->n)
        return dcmi_err(DCM_E_PEER, "queue: the writer has closed it");
    return dcmi_err(DCM_E_PEER,
                    "queue: the writer closed it after record %llu; here only "
                    "%llu came",
                    (unsigned long long)r->last, (unsigned long long)q->n);
}

/* What r->msg is: AGAIN when it is no record. */
static dcm_status judge(dcm_queue *q, const unsigned char **data_p,
                        uint64_t *bytes_p)
{
    dcmi_remote_reader *r = q->link_far;
    const size_t bytes = r->z->msg_size_fn(&r->msg);
    unsigned char *data = r->z->msg_data_fn(&r->msg);
    uint64_t head[2];
    uint32_t kind;

    if (bytes < sizeof(head))
        return dcmi_err(DCM_E_PEER, "queue: a message of %zu bytes", bytes);
    memcpy(head, data, sizeof(head));
    memcpy(&kind, data, sizeof(kind));
    if (kind == DCMI_REMOTE_PING)
        return DCM_AGAIN;
    if (kind == DCMI_REMOTE_BYE && bytes == sizeof(dcmi_remote_words)) {
        const dcmi_remote_words bye = {.kind = DCMI_REMOTE_BYE};

        tell(r, &bye);
        r->is_over = true;
        r->last = head[1];
        return ended(q);
    }
    if (kind != DCMI_REMOTE_DATA || head[1] != q->n ||
        bytes - DCMI_REMOTE_HEAD > q->g.max_record)
        return dcmi_err(DCM_E_PEER,
                        "queue: record %llu was due, and number %llu came",
                        (unsigned long long)q->n, (unsigned long long)head[1]);
    *data_p = data + DCMI_REMOTE_HEAD;
    *bytes_p = bytes - DCMI_REMOTE_HEAD;
    return DCM_OK;
}

dcm_status dcmi_remote_begin(dcm_queue *q, const unsigned char **data_p,
                             uint64_t *bytes_p, bool is_try,
                             uint64_t timeout_ns)
{
    dcmi_remote_reader *r = q->link_far;
    dcm_status st;

    if (r->is_over)
        return ended(q);
    for (;;) {
        st = await_message(q, "a record", true, 0);
        if (st == DCM_AGAIN) {
            give_credit(q, true);
            if (is_try)
                return DCM_AGAIN;
            st = await_message(q, "a record", false, timeout_ns);
        }
        if (st != DCM_OK)
            return st;
        st = judge(q, data_p, bytes_p);
        if (st == DCM_OK) {
            r->has_msg = true;
            return DCM_OK;
        }
        (void)r->z->msg_close_fn(&r->msg);
        if (st != DCM_AGAIN)
            return st;
    }
}

void dcmi_remote_finish(dcm_queue *q, uint64_t bytes)
{
    dcmi_remote_reader *r = q->link_far;

    (void)r->z->msg_close_fn(&r->msg);
    r->has_msg = false;
    r->read_cost += bytes + RECORD_COST;
    q->n++;
    give_credit(q, false);
}

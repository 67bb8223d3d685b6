/* SPDX-License-Identifier: Apache-2.0 */
/* The writer's side of remote readers; remote.h tells the protocol. */
#include "queue/remote.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/ident.h"
#include "queue/queue.h"

enum {
    MESSAGES_A_CALL = 64, /* so that a flood keeps nobody here */
    RCVHWM = 1000,        /* of each peer's small messages */
    PING_NS = 20000000,
    RECORD_COST = 64, /* what a record takes of the window besides its bytes */
};

typedef struct peer {
    uint8_t id[DCMI_REMOTE_ID_BYTES];
    int id_bytes;
    uint64_t first;     /* the first record that it gets */
    uint64_t read;      /* records that it says it has read */
    uint64_t sent_cost; /* since it came */
    uint64_t read_cost;
    uint64_t seen_ns;
} peer;

struct dcmi_remote {
    const dcmi_zmq *z;
    void *ctx;
    void *socket;
    int fd;
    int expected;
    int came; /* so far */
    int refused;
    int n;
    uint64_t pinged_ns;
    uint64_t window;
    dcmi_remote_key key;
    dcmi_remote_key own; /* makes challenges */
    dcmi_remote_place place;
    peer peer[DCMI_REMOTE_MOST];
};

static uint64_t cost_of(uint64_t bytes)
{
    return bytes + RECORD_COST;
}

/* ---- opening --------------------------------------------------------------- */

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static dcm_status set_curve(dcmi_remote *r)
{
    char public_key[DCMI_ZMQ_KEY_CHARS + 1];
    char secret_key[DCMI_ZMQ_KEY_CHARS + 1];
    dcm_status st;

    if (r->z->has_fn("curve") == 0) {
        if (is_loopback(r->place.address))
            return DCM_OK;
        return dcmi_err(DCM_E_UNSUP,
                        "queue: this ZeroMQ has no CURVE, so remote readers "
                        "are served on loopback only, not on %s",
                        r->place.address);
    }
    if (r->z->curve_keypair_fn(public_key, secret_key) != 0)
        return dcmi_zmq_err(r->z, "a key pair");
    st = dcmi_remote_set(r->z, r->socket, DCMI_ZMQ_CURVE_SERVER, 1);
    if (st == DCM_OK &&
        r->z->setsockopt_fn(r->socket, DCMI_ZMQ_CURVE_SECRETKEY, secret_key,
                            sizeof(secret_key)) != 0)
        st = dcmi_zmq_err(r->z, "the secret key");
    memset(secret_key, 0, sizeof(secret_key));
    memcpy(r->place.curve_key, public_key, sizeof(r->place.curve_key));
    r->place.has_curve = 1;
    return st;
}

static dcm_status listen_at(dcmi_remote *r)
{
    const int64_t most = DCMI_REMOTE_CURVE_BYTES;
    const bool is_v6 = strchr(r->place.address, ':') != NULL;
    char where[128];
    size_t bytes = sizeof(where);
    const char *colon;

    (void)snprintf(where, sizeof(where), is_v6 ? "tcp://[%s]:*" : "tcp://%s:*",
                   r->place.address);
    if (r->z->setsockopt_fn(r->socket, DCMI_ZMQ_MAXMSGSIZE, &most,
                            sizeof(most)) != 0 ||
        r->z->bind_fn(r->socket, where) != 0 ||
        r->z->getsockopt_fn(r->socket, DCMI_ZMQ_LAST_ENDPOINT, where, &bytes) !=
            0)
        return dcmi_err_at(dcmi_zmq_err(r->z, "listening"), "%s",
                           r->place.address);
    colon = strrchr(where, ':');
    r->place.port = colon != NULL ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
    bytes = sizeof(r->fd);
    if (r->z->getsockopt_fn(r->socket, DCMI_ZMQ_FD, &r->fd, &bytes) != 0)
        return dcmi_zmq_err(r->z, "the socket's descriptor");
    return DCM_OK;
}

static dcm_status set_up(dcmi_remote *r)
{
    dcm_status st;

    r->ctx = r->z->ctx_new_fn();
    if (r->ctx == NULL)
        return dcmi_zmq_err(r->z, "ZeroMQ");
    (void)r->z->ctx_set_fn(r->ctx, DCMI_ZMQ_BLOCKY, 0);
    r->socket = r->z->socket_fn(r->ctx, DCMI_ZMQ_ROUTER);
    if (r->socket == NULL)
        return dcmi_zmq_err(r->z, "a socket");
    st = dcmi_remote_tune(r->z, r->socket, r->place.address);
    if (st == DCM_OK)
        st = dcmi_remote_set(r->z, r->socket, DCMI_ZMQ_RCVHWM, RCVHWM);
    if (st == DCM_OK)
        st = dcmi_remote_set(r->z, r->socket, DCMI_ZMQ_ROUTER_MANDATORY, 1);
    if (st == DCM_OK)
        st = set_curve(r);
    return st == DCM_OK ? listen_at(r) : st;
}

/* Nothing lingers: what is under way is lost, and its reader is told so. */
static void tear_down(dcmi_remote *r)
{
    if (r->socket != NULL) {
        (void)dcmi_remote_set(r->z, r->socket, DCMI_ZMQ_LINGER, 0);
        (void)r->z->close_fn(r->socket);
    }
    if (r->ctx != NULL)
        (void)r->z->ctx_term_fn(r->ctx);
    free(r);
}

dcm_status dcmi_remote_open(dcm_queue *q, const char *address, int expected)
{
    const char *at = address != NULL ? address : "127.0.0.1";
    const dcmi_zmq *z;
    dcmi_remote *r;
    dcm_status st;

    if (strlen(at) >= sizeof(r->place.address))
        return dcmi_err(DCM_E_INVAL, "queue: address of %zu bytes", strlen(at));
    st = dcmi_zmq_open(&z);
    if (st != DCM_OK)
        return st;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return dcmi_err(DCM_E_NOMEM, "queue: remote readers");
    r->z = z;
    r->expected = expected;
    r->window = q->g.arena_bytes;
    memcpy(r->place.address, at, strlen(at));
    dcmi_remote_key_make(&r->key, &q->ticket, sizeof(q->ticket));
    st = dcmi_random(&r->own, sizeof(r->own));
    if (st == DCM_OK)
        st = set_up(r);
    if (st != DCM_OK) {
        tear_down(r);
        return st;
    }
    q->remote = r;
    return DCM_OK;
}

const dcmi_remote_place *dcmi_remote_where(const dcm_queue *q)
{
    return &q->remote->place;
}

/* ---- peers ----------------------------------------------------------------- */

/* Send to a peer; false: it is gone. */
static bool tell(const dcmi_remote *r, const uint8_t *id, int id_bytes,
                 const dcmi_remote_words *words)
{
    return r->z->send_fn(r->socket, id, (size_t)id_bytes,
                         DCMI_ZMQ_SNDMORE | DCMI_ZMQ_DONTWAIT) == id_bytes &&
           r->z->send_fn(r->socket, words, sizeof(*words), DCMI_ZMQ_DONTWAIT) ==
               (int)sizeof(*words);
}

static peer *find(dcmi_remote *r, const uint8_t *id, int id_bytes)
{
    for (int i = 0; i < r->n; i++) {
        if (r->peer[i].id_bytes == id_bytes &&
            memcmp(r->peer[i].id, id, (size_t)id_bytes) == 0)
            return &r->peer[i];
    }
    return NULL;
}

static void forget(dcmi_remote *r, peer *p, const char *why)
{
    dcmi_log(DCM_LOG_WARN, "queue: a remote reader %s: dropped", why);
    *p = r->peer[--r->n];
}

static void challenge_of(uint8_t *s, const dcmi_remote *r, const uint8_t *id,
                         int id_bytes, const uint8_t *c)
{
    uint8_t name[DCMI_REMOTE_NONCE] = {0};

    memcpy(name, id, (size_t)id_bytes);
    dcmi_remote_mac(s, &r->own, 'N', c, name);
}

static void on_hello(dcmi_remote *r, const uint8_t *id, int id_bytes,
                     const dcmi_remote_words *words)
{
    dcmi_remote_words answer = {.kind = DCMI_REMOTE_CHALLENGE};

    challenge_of(answer.nonce, r, id, id_bytes, words->nonce);
    dcmi_remote_mac(answer.mac, &r->key, 'S', words->nonce, answer.nonce);
    (void)tell(r, id, id_bytes, &answer);
}

static void on_proof(dcm_queue *q, const uint8_t *id, int id_bytes,
                     const dcmi_remote_words *words)
{
    dcmi_remote_words answer = {.kind = DCMI_REMOTE_WELCOME};
    dcmi_remote *r = q->remote;
    uint8_t mac[DCMI_SHA256_BYTES];
    uint8_t s[DCMI_REMOTE_NONCE];
    peer *p;

    challenge_of(s, r, id, id_bytes, words->nonce);
    dcmi_remote_mac(mac, &r->key, 'C', words->nonce, s);
    if (!dcmi_equal_secret(mac, words->mac, sizeof(mac)) ||
        find(r, id, id_bytes) != NULL) {
        r->refused++;
        return;
    }
    if (r->n == DCMI_REMOTE_MOST) {
        answer.kind = DCMI_REMOTE_FULL;
        (void)tell(r, id, id_bytes, &answer);
        return;
    }
    answer.n[0] = q->n;
    if (!tell(r, id, id_bytes, &answer))
        return;
    p = &r->peer[r->n++];
    memset(p, 0, sizeof(*p));
    memcpy(p->id, id, (size_t)id_bytes);
    p->id_bytes = id_bytes;
    p->first = q->n;
    p->read = q->n;
    p->seen_ns = dcmi_now_ns();
    r->came++;
}

static void on_credit(const dcm_queue *q, dcmi_remote *r, peer *p,
                      const dcmi_remote_words *words)
{
    if (words->n[0] > q->n || words->n[0] < p->read ||
        words->n[1] > p->sent_cost || words->n[1] < p->read_cost) {
        forget(r, p, "claims more than it was sent");
        return;
    }
    p->read = words->n[0];
    p->read_cost = words->n[1];
    p->seen_ns = dcmi_now_ns();
}

static void on_message(dcm_queue *q, const uint8_t *id, int id_bytes,
                       const dcmi_remote_words *words)
{
    dcmi_remote *r = q->remote;
    peer *p = find(r, id, id_bytes);

    if (words->kind == DCMI_REMOTE_HELLO)
        on_hello(r, id, id_bytes, words);
    else if (words->kind == DCMI_REMOTE_PROOF)
        on_proof(q, id, id_bytes, words);
    else if (p == NULL)
        r->refused++;
    else if (words->kind == DCMI_REMOTE_CREDIT)
        on_credit(q, r, p, words);
    else if (words->kind == DCMI_REMOTE_BYE)
        forget(r, p, "has left");
}

/* One whole message; false: none has come. */
static bool hear(dcm_queue *q)
{
    const dcmi_remote *r = q->remote;
    uint8_t id[256];
    uint8_t rest[16];
    dcmi_remote_words words;
    size_t more_bytes = sizeof(int);
    int more = 0;
    int n;
    const int id_bytes =
        r->z->recv_fn(r->socket, id, sizeof(id), DCMI_ZMQ_DONTWAIT);

    if (id_bytes < 0)
        return false;
    n = r->z->recv_fn(r->socket, &words, sizeof(words), DCMI_ZMQ_DONTWAIT);
    (void)r->z->getsockopt_fn(r->socket, DCMI_ZMQ_RCVMORE, &more, &more_bytes);
    if (more == 0 && n == (int)sizeof(words) &&
        id_bytes <= DCMI_REMOTE_ID_BYTES) {
        on_message(q, id, id_bytes, &words);
        return true;
    }
    q->remote->refused++;
    while (more != 0) {
        (void)r->z->recv_fn(r->socket, rest, sizeof(rest), DCMI_ZMQ_DONTWAIT);
        (void)r->z->getsockopt_fn(r->socket, DCMI_ZMQ_RCVMORE, &more,
                                  &more_bytes);
    }
    return true;
}

/* Who cannot be sent to any more is gone. */
static void ping(dcmi_remote *r)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_PING};

    for (int i = r->n - 1; i >= 0; i--) {
        if (!tell(r, r->peer[i].id, r->peer[i].id_bytes, &words))
            forget(r, &r->peer[i], "is gone");
    }
}

void dcmi_remote_tend(dcm_queue *q)
{
    for (int i = 0; i < MESSAGES_A_CALL && hear(q); i++)
        ;
}

bool dcmi_remote_is_complete(const dcm_queue *q)
{
    return q->remote->came >= q->remote->expected;
}

/* ---- records --------------------------------------------------------------- */

/* The first reader whose window is too small for the record; NULL: none. */
static const peer *find_narrow(const dcmi_remote *r, uint64_t bytes)
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
    const peer *p;

    dcmi_remote_tend(w->q);
    if (now - r->pinged_ns >= PING_NS) {
        r->pinged_ns = now;
        ping(r);
    }
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

static bool send_copy(const dcmi_remote *r, const peer *p, dcmi_zmq_msg *msg)
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
            forget(r, &r->peer[i], "is gone");
    }
    dcmi_remote_discard(q, msg);
}

static void say_bye(const dcm_queue *q)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_BYE, .n = {q->n}};
    dcmi_remote *r = q->remote;

    for (int i = r->n - 1; i >= 0; i--) {
        if (!tell(r, r->peer[i].id, r->peer[i].id_bytes, &words))
            forget(r, &r->peer[i], "is gone");
    }
}

static dcm_status check_drained(void *arg, bool expired)
{
    dcm_queue *q = arg;
    dcmi_remote *r = q->remote;
    const uint64_t now = dcmi_now_ns();
    const dcm_status st = dcmi_queue_cancelled(q);

    dcmi_remote_tend(q);
    if (now - r->pinged_ns >= PING_NS) {
        r->pinged_ns = now;
        ping(r);
    }
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
    tear_down(r);
}

/* ---- for others to see ------------------------------------------------------ */

int dcmi_remote_describe(const dcm_queue *q, dcm_queue_reader *readers, int n)
{
    const dcmi_remote *r = q->remote;
    const uint64_t now = dcmi_now_ns();

    for (int i = 0; i < r->n && i < n; i++) {
        memset(&readers[i], 0, sizeof(readers[i]));
        readers[i].reader = DCM_QUEUE_REMOTE;
        readers[i].lag = q->n - r->peer[i].read;
        readers[i].seen_ns = now - r->peer[i].seen_ns;
        readers[i].state =
            readers[i].lag == 0 ? DCM_QUEUE_WAITING : DCM_QUEUE_BUSY;
    }
    return r->n;
}

int dcmi_remote_refused(const dcm_queue *q)
{
    return q->remote->refused;
}

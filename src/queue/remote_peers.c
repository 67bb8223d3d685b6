/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer and its remote readers: who proves what, who is let in, what they
 * say; remote.h tells the protocol.
 */
#include "queue/remote_write.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/ident.h"

enum {
    MESSAGES_A_CALL = 64, /* so that a flood keeps nobody here */
    PING_NS = 20000000,
};

bool dcmi_remote_tell(const dcmi_remote *r, const uint8_t *id, int id_bytes,
                      const dcmi_remote_words *words)
{
    return r->z->send_fn(r->socket, id, (size_t)id_bytes,
                         DCMI_ZMQ_SNDMORE | DCMI_ZMQ_DONTWAIT) == id_bytes &&
           r->z->send_fn(r->socket, words, sizeof(*words), DCMI_ZMQ_DONTWAIT) ==
               (int)sizeof(*words);
}

static dcmi_remote_peer *find(dcmi_remote *r, const uint8_t *id, int id_bytes)
{
    for (int i = 0; i < r->n; i++) {
        if (r->peer[i].id_bytes == id_bytes &&
            memcmp(r->peer[i].id, id, (size_t)id_bytes) == 0)
            return &r->peer[i];
    }
    return NULL;
}

void dcmi_remote_forget(dcmi_remote *r, dcmi_remote_peer *p, const char *why)
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
    (void)dcmi_remote_tell(r, id, id_bytes, &answer);
}

static void on_proof(dcm_queue *q, const uint8_t *id, int id_bytes,
                     const dcmi_remote_words *words)
{
    dcmi_remote_words answer = {.kind = DCMI_REMOTE_WELCOME};
    dcmi_remote *r = q->remote;
    uint8_t mac[DCMI_SHA256_BYTES];
    uint8_t s[DCMI_REMOTE_NONCE];
    dcmi_remote_peer *p;

    challenge_of(s, r, id, id_bytes, words->nonce);
    dcmi_remote_mac(mac, &r->key, 'C', words->nonce, s);
    if (!dcmi_equal_secret(mac, words->mac, sizeof(mac)) ||
        find(r, id, id_bytes) != NULL) {
        r->refused++;
        return;
    }
    if (r->n == DCMI_REMOTE_MOST) {
        answer.kind = DCMI_REMOTE_FULL;
        (void)dcmi_remote_tell(r, id, id_bytes, &answer);
        return;
    }
    answer.n[0] = q->n;
    if (!dcmi_remote_tell(r, id, id_bytes, &answer))
        return;
    p = &r->peer[r->n++];
    memset(p, 0, sizeof(*p));
    memcpy(p->id, id, (size_t)id_bytes);
    p->id_bytes = id_bytes;
    p->read = q->n;
    p->seen_ns = dcmi_now_ns();
    r->came++;
}

static void on_credit(const dcm_queue *q, dcmi_remote *r, dcmi_remote_peer *p,
                      const dcmi_remote_words *words)
{
    if (words->n[0] > q->n || words->n[0] < p->read ||
        words->n[1] > p->sent_cost || words->n[1] < p->read_cost) {
        dcmi_remote_forget(r, p, "claims more than it was sent");
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
    dcmi_remote_peer *p = find(r, id, id_bytes);

    if (words->kind == DCMI_REMOTE_HELLO)
        on_hello(r, id, id_bytes, words);
    else if (words->kind == DCMI_REMOTE_PROOF)
        on_proof(q, id, id_bytes, words);
    else if (p == NULL)
        r->refused++;
    else if (words->kind == DCMI_REMOTE_CREDIT)
        on_credit(q, r, p, words);
    else if (words->kind == DCMI_REMOTE_BYE)
        dcmi_remote_forget(r, p, "has left");
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

void dcmi_remote_ping(dcmi_remote *r, uint64_t now)
{
    const dcmi_remote_words words = {.kind = DCMI_REMOTE_PING};

    if (now - r->pinged_ns < PING_NS)
        return;
    r->pinged_ns = now;
    for (int i = r->n - 1; i >= 0; i--) {
        if (!dcmi_remote_tell(r, r->peer[i].id, r->peer[i].id_bytes, &words))
            dcmi_remote_forget(r, &r->peer[i], "is gone");
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

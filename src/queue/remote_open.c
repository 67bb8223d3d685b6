/* SPDX-License-Identifier: Apache-2.0 */
/* The writer's socket for remote readers: opened, tuned, and put away. */
#include "queue/remote_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/ident.h"

enum {
    RCVHWM = 1000, /* of each peer's small messages */
};

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

void dcmi_remote_tear_down(dcmi_remote *r)
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
        dcmi_remote_tear_down(r);
        return st;
    }
    q->remote = r;
    return DCM_OK;
}

const dcmi_remote_place *dcmi_remote_where(const dcm_queue *q)
{
    return &q->remote->place;
}

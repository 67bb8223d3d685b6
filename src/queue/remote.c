/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of a remote connection share: keys, proofs, options. */
#include "queue/remote.h"

#include <string.h>

#include "base/env.h"
#include "base/err.h"

void dcmi_remote_key_make(dcmi_remote_key *key, const void *secret, size_t n)
{
    const char *token = dcmi_env_str(DCMI_ENV_TOKEN);
    dcmi_hmac m;

    if (token == NULL)
        token = "";
    dcmi_hmac_init(&m, token, strlen(token));
    dcmi_hmac_add(&m, "devcomm queue", 13);
    dcmi_hmac_add(&m, secret, n);
    dcmi_hmac_end(&m, key->byte);
}

void dcmi_remote_mac(uint8_t *mac, const dcmi_remote_key *key, char side,
                     const uint8_t *c, const uint8_t *s)
{
    dcmi_hmac m;

    dcmi_hmac_init(&m, key->byte, sizeof(key->byte));
    dcmi_hmac_add(&m, &side, 1);
    dcmi_hmac_add(&m, c, DCMI_REMOTE_NONCE);
    dcmi_hmac_add(&m, s, DCMI_REMOTE_NONCE);
    dcmi_hmac_end(&m, mac);
}

dcm_status dcmi_remote_set(const dcmi_zmq *z, void *socket, int option,
                           int value)
{
    return z->setsockopt_fn(socket, option, &value, sizeof(value)) == 0
               ? DCM_OK
               : dcmi_zmq_err(z, "a socket's option");
}

dcm_status dcmi_remote_tune(const dcmi_zmq *z, void *socket,
                            const char *address)
{
    /* No limits of ZeroMQ's own: the window bounds what is under way. */
    static const int options[][2] = {
        {DCMI_ZMQ_SNDHWM, 0},
        {DCMI_ZMQ_RCVHWM, 0},
        {DCMI_ZMQ_RECONNECT_IVL, -1},
        /* A host that vanished is found after 11 s; a stopped process's answers. */
        {DCMI_ZMQ_TCP_KEEPALIVE, 1},
        {DCMI_ZMQ_TCP_KEEPALIVE_IDLE, 5},
        {DCMI_ZMQ_TCP_KEEPALIVE_INTVL, 2},
        {DCMI_ZMQ_TCP_KEEPALIVE_CNT, 3},
    };
    dcm_status st = DCM_OK;

    for (size_t i = 0; i < DCMI_ARRAY_LEN(options) && st == DCM_OK; i++)
        st = dcmi_remote_set(z, socket, options[i][0], options[i][1]);
    if (st == DCM_OK && strchr(address, ':') != NULL)
        st = dcmi_remote_set(z, socket, DCMI_ZMQ_IPV6, 1);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of ZeroMQ (4.2 or later) that remote readers need, opened when the
 * first queue wants one.  No header of it is needed to build.
 */
#ifndef DCMI_QUEUE_ZMQ_H
#define DCMI_QUEUE_ZMQ_H

#include <devcomm/devcomm.h>

#include "base/compiler.h"

typedef struct dcmi_zmq_msg {
    DCMI_ALIGNED(16) unsigned char opaque[64];
} dcmi_zmq_msg;

/* X(returns, name, arguments) */
#define DCMI_ZMQ_MAP(X)                                                        \
    X(void *, ctx_new, (void))                                                 \
    X(int, ctx_set, (void *ctx, int option, int value))                        \
    X(int, ctx_term, (void *ctx))                                              \
    X(void *, socket, (void *ctx, int type))                                   \
    X(int, close, (void *socket))                                              \
    X(int, setsockopt,                                                         \
      (void *socket, int option, const void *value, size_t bytes))             \
    X(int, getsockopt, (void *socket, int option, void *value, size_t *bytes)) \
    X(int, bind, (void *socket, const char *address))                          \
    X(int, connect, (void *socket, const char *address))                       \
    X(int, send, (void *socket, const void *bytes, size_t n, int flags))       \
    X(int, recv, (void *socket, void *bytes, size_t n, int flags))             \
    X(int, msg_init, (dcmi_zmq_msg * msg))                                     \
    X(int, msg_init_size, (dcmi_zmq_msg * msg, size_t bytes))                  \
    X(int, msg_copy, (dcmi_zmq_msg * to, dcmi_zmq_msg * from))                 \
    X(int, msg_close, (dcmi_zmq_msg * msg))                                    \
    X(int, msg_send, (dcmi_zmq_msg * msg, void *socket, int flags))            \
    X(int, msg_recv, (dcmi_zmq_msg * msg, void *socket, int flags))            \
    X(void *, msg_data, (dcmi_zmq_msg * msg))                                  \
    X(size_t, msg_size, (const dcmi_zmq_msg *msg))                             \
    X(int, socket_monitor, (void *socket, const char *address, int events))    \
    X(int, curve_keypair, (char *public_key, char *secret_key))                \
    X(int, has, (const char *what))                                            \
    X(int, errno, (void))                                                      \
    X(const char *, strerror, (int number))

typedef struct dcmi_zmq {
#define DCMI_X(returns, name, arguments) returns(*name##_fn) arguments;
    DCMI_ZMQ_MAP(DCMI_X)
#undef DCMI_X
} dcmi_zmq;

/* Constants of ZeroMQ's interface. */
enum {
    DCMI_ZMQ_PAIR = 0,
    DCMI_ZMQ_DEALER = 5,
    DCMI_ZMQ_ROUTER = 6,
    DCMI_ZMQ_RCVMORE = 13,
    DCMI_ZMQ_FD = 14,
    DCMI_ZMQ_LINGER = 17,
    DCMI_ZMQ_RECONNECT_IVL = 18,
    DCMI_ZMQ_MAXMSGSIZE = 22,
    DCMI_ZMQ_SNDHWM = 23,
    DCMI_ZMQ_RCVHWM = 24,
    DCMI_ZMQ_LAST_ENDPOINT = 32,
    DCMI_ZMQ_ROUTER_MANDATORY = 33,
    DCMI_ZMQ_TCP_KEEPALIVE = 34,
    DCMI_ZMQ_TCP_KEEPALIVE_CNT = 35,
    DCMI_ZMQ_TCP_KEEPALIVE_IDLE = 36,
    DCMI_ZMQ_TCP_KEEPALIVE_INTVL = 37,
    DCMI_ZMQ_IPV6 = 42,
    DCMI_ZMQ_CURVE_SERVER = 47,
    DCMI_ZMQ_CURVE_PUBLICKEY = 48,
    DCMI_ZMQ_CURVE_SECRETKEY = 49,
    DCMI_ZMQ_CURVE_SERVERKEY = 50,
    DCMI_ZMQ_BLOCKY = 70,
    DCMI_ZMQ_DONTWAIT = 1,
    DCMI_ZMQ_SNDMORE = 2,
    DCMI_ZMQ_EVENT_DISCONNECTED = 0x0200,
    DCMI_ZMQ_KEY_CHARS = 40, /* of a key in text, without the zero byte */
};

/* E_UNSUP says what to install. */
dcm_status dcmi_zmq_open(const dcmi_zmq **zmq_p);

/* The status of a call that failed: "what: why". */
dcm_status dcmi_zmq_err(const dcmi_zmq *zmq, const char *what);

#endif /* DCMI_QUEUE_ZMQ_H */

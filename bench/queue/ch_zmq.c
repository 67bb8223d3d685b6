/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroMQ over its ipc transport: publish and subscribe, nothing dropped. */
#include "channel.h"

#include <stdio.h>
#include <unistd.h>

#include <zmq.h>

static char address[64];
static void *ctx;
static void *sock;
static size_t size;
static int nreaders;

static bool fail(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    return false;
}

static bool make(size_t bytes, int readers)
{
    size = bytes;
    nreaders = readers;
    (void)snprintf(address, sizeof(address), "ipc:///tmp/devcomm-bench-%d",
                   (int)getpid());
    return true;
}

static bool open_socket(int kind)
{
    const int most = size >= 1 << 20 ? 64 : 1000;

    ctx = zmq_ctx_new();
    sock = zmq_socket(ctx, kind);
    return sock != NULL &&
           zmq_setsockopt(sock, ZMQ_SNDHWM, &most, sizeof(most)) == 0 &&
           zmq_setsockopt(sock, ZMQ_RCVHWM, &most, sizeof(most)) == 0;
}

static bool open_writer(void)
{
    const int yes = 1;
    char subscription[8];

    if (!open_socket(ZMQ_XPUB) ||
        zmq_setsockopt(sock, ZMQ_XPUB_NODROP, &yes, sizeof(yes)) != 0 ||
        zmq_setsockopt(sock, ZMQ_XPUB_VERBOSE, &yes, sizeof(yes)) != 0 ||
        zmq_bind(sock, address) != 0)
        return fail("zmq_bind");
    for (int r = 0; r < nreaders; r++) {
        if (zmq_recv(sock, subscription, sizeof(subscription), 0) < 0)
            return fail("zmq_recv");
    }
    return true;
}

static bool open_reader(int reader)
{
    (void)reader;
    return (open_socket(ZMQ_SUB) &&
            zmq_setsockopt(sock, ZMQ_SUBSCRIBE, "", 0) == 0 &&
            zmq_connect(sock, address) == 0) ||
           fail("zmq_connect");
}

static bool send_record(const void *record)
{
    return zmq_send(sock, record, size, 0) == (int)size || fail("zmq_send");
}

static bool receive(int reader, void *record)
{
    (void)reader;
    return zmq_recv(sock, record, size, 0) == (int)size || fail("zmq_recv");
}

static void end(void)
{
    (void)unlink(address + sizeof("ipc://") - 1);
}

const bq_channel bq_zmq = {
    "ZeroMQ ipc", make, open_writer, open_reader, send_record, receive, end,
};

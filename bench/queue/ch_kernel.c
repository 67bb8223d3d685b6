/* SPDX-License-Identifier: Apache-2.0 */
/* What the system has: pipes, unix sockets, POSIX message queues. */
#define _GNU_SOURCE
#include "channel.h"

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PIPE_BYTES = 1 << 20,
    SOCKET_BYTES = 4 << 20,
    MQ_RECORDS = 10, /* the system's default limit */
};

static int end_of[BQ_READERS_MOST][2]; /* the reader's, the writer's */
static mqd_t mq[BQ_READERS_MOST];
static int nreaders;
static size_t size;

static bool fail(const char *what)
{
    perror(what);
    return false;
}

static bool nothing(void)
{
    return true;
}

static bool no_reader(int reader)
{
    (void)reader;
    return true;
}

static bool make_pipe(size_t bytes, int readers)
{
    size = bytes;
    nreaders = readers;
    for (int r = 0; r < readers; r++) {
        if (pipe(end_of[r]) != 0)
            return fail("pipe");
        (void)fcntl(end_of[r][1], F_SETPIPE_SZ, PIPE_BYTES);
    }
    return true;
}

static bool make_unix(size_t bytes, int readers)
{
    const int room = SOCKET_BYTES;

    size = bytes;
    nreaders = readers;
    for (int r = 0; r < readers; r++) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, end_of[r]) != 0)
            return fail("socketpair");
        (void)setsockopt(end_of[r][1], SOL_SOCKET, SO_SNDBUF, &room,
                         sizeof(room));
    }
    return true;
}

static bool write_all(const void *record)
{
    for (int r = 0; r < nreaders; r++) {
        const char *at = record;
        size_t left = size;

        while (left > 0) {
            const ssize_t n = write(end_of[r][1], at, left);

            if (n <= 0)
                return fail("write");
            at += n;
            left -= (size_t)n;
        }
    }
    return true;
}

static bool read_all(int reader, void *record)
{
    char *at = record;
    size_t left = size;

    while (left > 0) {
        const ssize_t n = read(end_of[reader][0], at, left);

        if (n <= 0)
            return fail("read");
        at += n;
        left -= (size_t)n;
    }
    return true;
}

static bool make_mq(size_t bytes, int readers)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct mq_attr a = {.mq_maxmsg = MQ_RECORDS, .mq_msgsize = (long)bytes};
    char name[64];

    size = bytes;
    nreaders = readers;
    (void)setrlimit(RLIMIT_MSGQUEUE, &all);
    for (int r = 0; r < readers; r++) {
        (void)snprintf(name, sizeof(name), "/devcomm-bench-%d-%d",
                       (int)getpid(), r);
        mq[r] = mq_open(name, O_CREAT | O_RDWR, 0600, &a);
        if (mq[r] == (mqd_t)-1)
            return fail("mq_open");
        (void)mq_unlink(name);
    }
    return true;
}

static bool send_mq(const void *record)
{
    for (int r = 0; r < nreaders; r++) {
        if (mq_send(mq[r], record, size, 0) != 0)
            return fail("mq_send");
    }
    return true;
}

static bool receive_mq(int reader, void *record)
{
    return mq_receive(mq[reader], record, size, NULL) == (ssize_t)size ||
           fail("mq_receive");
}

const bq_channel bq_pipe = {
    "pipe", make_pipe, nothing, no_reader, write_all, read_all, NULL,
};
const bq_channel bq_unix = {
    "unix socket", make_unix, nothing, no_reader, write_all, read_all, NULL,
};
const bq_channel bq_posix_mq = {
    "POSIX mq", make_mq, nothing, no_reader, send_mq, receive_mq, NULL,
};

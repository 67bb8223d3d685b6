/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of sockets share: a watch, a fresh name, a connection. */
#ifndef DCM_TEST_SOCK_SUPPORT_H
#define DCM_TEST_SOCK_SUPPORT_H

#include "support.h"

#include <unistd.h>

#include "base/err.h"
#include "os/sock.h"

static inline dcm_status check_time(void *arg, bool expired)
{
    (void)arg;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "the test's time is over")
                   : DCM_OK;
}

/* For what must come: long, so that a loaded machine does not spoil it. */
static const dcmi_watch patient = {
    .check = check_time,
    .timeout_ns = 60000 * DCMI_NS_PER_MS,
};

static inline dcm_status receive(int sock, void *buf, size_t bytes, int *fd_p)
{
    uint64_t start = 0;

    return dcmi_sock_recv(sock, buf, bytes, fd_p, &patient, &start);
}

static inline dcm_status transmit(int sock, const void *buf, size_t bytes,
                                  int fd)
{
    uint64_t start = 0;

    return dcmi_sock_send(sock, buf, bytes, fd, &patient, &start);
}

static char name[64]; /* of this test run */

static inline int fresh_name(void **state)
{
    static int serial;

    (void)state;
    (void)snprintf(name, sizeof(name), "devcomm-test-%d-%d", (int)getpid(),
                   serial++);
    return 0;
}

typedef struct link {
    int listener;
    int near;
    int far;
} link_fds;

static inline void connect_both(link_fds *l)
{
    assert_ok(dcmi_unix_listen(&l->listener, name, 4));
    assert_ok(dcmi_unix_connect(&l->far, name));
    assert_ok(dcmi_unix_accept(&l->near, l->listener));
}

static inline void close_both(const link_fds *l)
{
    dcmi_close(l->near);
    dcmi_close(l->far);
    dcmi_close(l->listener);
}

#endif /* DCM_TEST_SOCK_SUPPORT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Abstract unix sockets, descriptor passing, sending and receiving. */
#define _GNU_SOURCE
#include "os/sock.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fiber.h"

enum {
    STRANGERS_A_CALL = 16,
    POLL_SLICE_MS = 1000,
    LAST_READS = 64, /* of 4 KiB: a socket's buffer */
};

/* Whether `err` says that the connection is no more. */
static bool is_lost(int err)
{
    return err == EPIPE || err == ECONNRESET || err == ECONNABORTED ||
           err == ETIMEDOUT || err == EHOSTUNREACH || err == ENETUNREACH ||
           err == EHOSTDOWN || err == ENETDOWN || err == ENOTCONN;
}

/* One number on Linux, two names in POSIX. */
static bool would_block(int err)
{
#if EAGAIN == EWOULDBLOCK
    return err == EAGAIN;
#else
    return err == EAGAIN || err == EWOULDBLOCK;
#endif
}

static dcm_status abstract_address(struct sockaddr_un *a, socklen_t *bytes_p,
                                   const char *name)
{
    const size_t len = strlen(name);

    if (len == 0 || len + 1 > sizeof(a->sun_path))
        return dcmi_err(DCM_E_INVAL,
                        "socket name of %zu bytes; 1 to %zu are possible", len,
                        sizeof(a->sun_path) - 1);
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path + 1, name, len);
    *bytes_p = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
    return DCM_OK;
}

static dcm_status unix_socket(int *fd_p)
{
    int fd;

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return dcmi_err_sys("unix socket");
    *fd_p = fd;
    return DCM_OK;
}

dcm_status dcmi_unix_listen(int *fd_p, const char *name, int backlog)
{
    struct sockaddr_un a;
    socklen_t bytes;
    dcm_status st;
    int fd = -1;

    st = abstract_address(&a, &bytes, name);
    if (st != DCM_OK)
        return st;
    st = unix_socket(&fd);
    if (st != DCM_OK)
        return st;
    if (bind(fd, (struct sockaddr *)&a, bytes) != 0) {
        st = errno == EADDRINUSE
                 ? dcmi_err(DCM_E_BUSY, "socket @%s is in use by another job",
                            name)
                 : dcmi_err_sys("binding socket @%s", name);
        goto err_close;
    }
    if (listen(fd, backlog) != 0) {
        st = dcmi_err_sys("listening on socket @%s", name);
        goto err_close;
    }
    *fd_p = fd;
    return DCM_OK;

err_close:
    (void)close(fd);
    return st;
}

static dcm_status check_user(int fd, const char *what)
{
    struct ucred cred;
    socklen_t bytes = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) != 0)
        return dcmi_err_sys("credentials of %s", what);
    if (cred.uid != geteuid())
        return dcmi_err(
            DCM_E_INVAL, "%s belongs to user %u (process %d), not to user %u",
            what, (unsigned)cred.uid, (int)cred.pid, (unsigned)geteuid());
    return DCM_OK;
}

dcm_status dcmi_unix_connect(int *fd_p, const char *name)
{
    char what[DCMI_SOCK_NAME_BYTES + 16] = "socket @";
    struct sockaddr_un a;
    socklen_t bytes;
    dcm_status st;
    int fd = -1;

    st = abstract_address(&a, &bytes, name);
    if (st != DCM_OK)
        return st;
    st = unix_socket(&fd);
    if (st != DCM_OK)
        return st;
    if (connect(fd, (struct sockaddr *)&a, bytes) != 0) {
        /* EAGAIN: the listener's queue is full. */
        st = errno == ECONNREFUSED || errno == ENOENT || errno == EAGAIN
                 ? DCM_AGAIN
                 : dcmi_err_sys("connecting to socket @%s", name);
        goto err_close;
    }
    (void)strncat(what, name, sizeof(what) - 16);
    st = check_user(fd, what);
    if (st != DCM_OK)
        goto err_close;
    *fd_p = fd;
    return DCM_OK;

err_close:
    (void)close(fd);
    return st;
}

dcm_status dcmi_unix_accept(int *fd_p, int listener)
{
    dcm_status st;
    int fd;

    for (int i = 0; i < STRANGERS_A_CALL; i++) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && would_block(errno))
            return DCM_AGAIN;
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return dcmi_err_sys("accepting a connection");
        st = check_user(fd, "the connecting process");
        if (st == DCM_OK) {
            *fd_p = fd;
            return DCM_OK;
        }
        (void)close(fd);
        if (st != DCM_E_INVAL)
            return st;
    }
    return DCM_AGAIN;
}

dcm_status dcmi_sock_send(int sock, const void *buf, size_t bytes, int fd,
                          const dcmi_watch *watch, uint64_t *start_ns_p)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.space = {0}};
    const char *at = buf;
    dcm_status st;
    ssize_t n;

    while (bytes > 0) {
        struct iovec v = {.iov_base = (void *)(uintptr_t)at, .iov_len = bytes};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

        if (fd >= 0) {
            m.msg_control = control.space;
            m.msg_controllen = sizeof(control.space);
            control.align.cmsg_level = SOL_SOCKET;
            control.align.cmsg_type = SCM_RIGHTS;
            control.align.cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
        }
        n = sendmsg(sock, &m, MSG_NOSIGNAL);
        if (n > 0) {
            fd = -1; /* it went with the first bytes */
            at += n;
            bytes -= (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && !would_block(errno)) {
            if (is_lost(errno))
                return dcmi_err(DCM_E_PEER, "the peer closed the connection");
            return dcmi_err_sys("sending %zu bytes", bytes);
        }
        st = dcmi_wait_fd(sock, POLLOUT, watch, start_ns_p);
        if (st != DCM_OK)
            return st;
    }
    return DCM_OK;
}

/* Keep the first descriptor of a message, close any others. */
static void take_fds(struct msghdr *m, int *fd_p)
{
    struct cmsghdr *c;
    size_t n;
    int fd;

    for (c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (fd_p != NULL && *fd_p < 0)
                *fd_p = fd;
            else
                (void)close(fd);
        }
    }
}

dcm_status dcmi_sock_recv(int sock, void *buf, size_t bytes, int *fd_p,
                          const dcmi_watch *watch, uint64_t *start_ns_p)
{
    union {
        char space[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    char *at = buf;
    dcm_status st;
    int fd = -1;
    ssize_t n;

    while (bytes > 0) {
        struct iovec v = {.iov_base = at, .iov_len = bytes};
        struct msghdr m = {
            .msg_iov = &v,
            .msg_iovlen = 1,
            .msg_control = control.space,
            .msg_controllen = sizeof(control.space),
        };

        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
        if (n > 0) {
            take_fds(&m, &fd);
            at += n;
            bytes -= (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || is_lost(errno)) {
            st = dcmi_err(DCM_E_PEER, "the peer closed the connection");
            goto err_fd;
        }
        if (!would_block(errno)) {
            st = dcmi_err_sys("receiving %zu bytes", bytes);
            goto err_fd;
        }
        st = dcmi_wait_fd(sock, POLLIN, watch, start_ns_p);
        if (st != DCM_OK)
            goto err_fd;
    }
    if (fd_p != NULL)
        *fd_p = fd;
    else
        dcmi_close(fd);
    return DCM_OK;

err_fd:
    dcmi_close(fd);
    return st;
}

static dcm_status moved(ssize_t n, size_t bytes, size_t *moved_p)
{
    if (n > 0) {
        *moved_p = (size_t)n;
        return DCM_OK;
    }
    if (n < 0 && (would_block(errno) || errno == EINTR))
        return DCM_AGAIN;
    if (n == 0 || is_lost(errno))
        return dcmi_err(DCM_E_PEER, "the peer closed the connection");
    return dcmi_err_sys("moving %zu bytes over a socket", bytes);
}

dcm_status dcmi_sock_try_send(int sock, const void *buf, size_t bytes,
                              size_t *moved_p)
{
    return moved(send(sock, buf, bytes, MSG_NOSIGNAL | MSG_DONTWAIT), bytes,
                 moved_p);
}

/* A descriptor that comes along is closed by the kernel: nobody took it. */
dcm_status dcmi_sock_try_recv(int sock, void *buf, size_t bytes,
                              size_t *moved_p)
{
    return moved(recv(sock, buf, bytes, MSG_DONTWAIT), bytes, moved_p);
}

int dcmi_poll(struct pollfd *p, unsigned n, uint64_t until_ns)
{
    int ready = poll(p, n, 0);
    uint64_t now;
    uint64_t ms;

    if (ready > 0) {
        dcmi_fiber_progress();
        return ready;
    }
    if (dcmi_fiber_active()) {
        dcmi_fiber_yield();
        return 0;
    }
    now = dcmi_now_ns();
    if (now >= until_ns)
        return 0;
    ms = (until_ns - now) / DCMI_NS_PER_MS + 1;
    ready = poll(p, n, ms < POLL_SLICE_MS ? (int)ms : POLL_SLICE_MS);
    return ready > 0 ? ready : 0;
}

int dcmi_unix_peer_pid(int sock)
{
    struct ucred cred;
    socklen_t bytes = sizeof(cred);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) != 0)
        return 0;
    return (int)cred.pid;
}

void dcmi_close(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void dcmi_sock_hang_up(int sock)
{
    char rest[4096];

    if (sock < 0)
        return;
    (void)shutdown(sock, SHUT_WR);
    for (int i = 0; i < LAST_READS; i++) {
        if (recv(sock, rest, sizeof(rest), MSG_DONTWAIT) <= 0)
            break;
    }
    (void)close(sock);
}

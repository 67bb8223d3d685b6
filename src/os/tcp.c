/* SPDX-License-Identifier: Apache-2.0 */
/* TCP: looking names up, listening, connecting, accepting. */
#define _GNU_SOURCE
#include "os/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/sock.h"

enum {
    /* A host that vanished is found after IDLE + PROBES * INTERVAL seconds. */
    KEEPALIVE_IDLE_S = 5,
    KEEPALIVE_INTERVAL_S = 2,
    KEEPALIVE_PROBES = 3,
    LOST_MS = 11000, /* the same */
    /* One address's share of a connect: the next may be the right one. */
    CONNECT_MS = 3000,
};

static bool is_loopback(const struct sockaddr_storage *a)
{
    struct sockaddr_in6 six;
    struct sockaddr_in four;

    if (a->ss_family == AF_INET) {
        memcpy(&four, a, sizeof(four));
        return ntohl(four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    memcpy(&six, a, sizeof(six));
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) &&
            six.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

static dcm_status lookup_error(const char *host, int rc)
{
    if (rc == EAI_SYSTEM)
        return dcmi_err_sys("looking up host %s", host);
    if (rc == EAI_MEMORY)
        return dcmi_err(DCM_E_NOMEM, "looking up host %s", host);
    if (rc == EAI_AGAIN || rc == EAI_NONAME || rc == EAI_NODATA)
        return dcmi_err(DCM_AGAIN, "host %s: %s", host, gai_strerror(rc));
    return dcmi_err(DCM_E_INVAL, "host %s: %s", host, gai_strerror(rc));
}

dcm_status dcmi_tcp_resolve(dcmi_tcp_place *place, const char *host,
                            uint16_t port)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *list;
    char service[8];
    int rc;

    memset(place, 0, sizeof(*place));
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
    rc = getaddrinfo(host, service, &hints, &list);
    place->is_literal = rc == 0 || strcasecmp(host, "localhost") == 0;
    if (rc == EAI_NONAME) {
        hints.ai_flags = AI_NUMERICSERV;
        rc = getaddrinfo(host, service, &hints, &list);
    }
    if (rc != 0)
        return lookup_error(host, rc);

    place->is_loopback = true;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if (place->n == DCMI_TCP_MOST_ADDRESSES ||
            (a->ai_family != AF_INET && a->ai_family != AF_INET6))
            continue;
        memcpy(&place->address[place->n], a->ai_addr, a->ai_addrlen);
        place->bytes[place->n] = a->ai_addrlen;
        if (!is_loopback(&place->address[place->n]))
            place->is_loopback = false;
        place->n++;
    }
    freeaddrinfo(list);
    if (place->n == 0)
        return dcmi_err(DCM_E_INVAL, "host %s has no internet address", host);
    return DCM_OK;
}

static const char *address_text(const void *address, socklen_t bytes,
                                char *text, size_t text_bytes)
{
    char port[8];
    char host[64];

    if (getnameinfo(address, bytes, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        (void)snprintf(text, text_bytes, "?");
    else
        (void)snprintf(text, text_bytes,
                       strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host,
                       port);
    return text;
}

const char *dcmi_tcp_peer(int sock, char *text, size_t bytes)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);

    if (getpeername(sock, (struct sockaddr *)&a, &n) != 0)
        n = 0;
    return address_text(&a, n, text, bytes);
}

static dcm_status tcp_socket(int *fd_p, int family)
{
    const int on = 1;
    int fd;

    fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return dcmi_err_sys("TCP socket");
    /*
     * For the listener: ports of a job that has just ended are free.  For the
     * others: see is_own_echo().
     */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
        const dcm_status st = dcmi_err_sys("SO_REUSEADDR");

        (void)close(fd);
        return st;
    }
    *fd_p = fd;
    return DCM_OK;
}

static void set_options(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };

    /* None is needed for being right: a refusal costs time only. */
    for (size_t i = 0; i < DCMI_ARRAY_LEN(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name,
                         &options[i].value, sizeof(options[i].value));
}

/* DCM_AGAIN: the address is not this host's. */
static dcm_status listen_at(int *fd_p, const struct sockaddr_storage *a,
                            socklen_t bytes, int backlog)
{
    const int off = 0;
    dcm_status st;
    char text[80];
    int fd = -1;

    st = tcp_socket(&fd, a->ss_family);
    if (st != DCM_OK)
        return errno == EAFNOSUPPORT ? DCM_AGAIN : st;
    if (a->ss_family == AF_INET6) /* "any" of IPv6 means IPv4 too */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    (void)address_text(a, bytes, text, sizeof(text));
    if (bind(fd, (const struct sockaddr *)a, bytes) != 0 ||
        listen(fd, backlog) != 0) {
        if (errno == EADDRINUSE)
            st = dcmi_err(DCM_E_BUSY, "%s is in use by another program", text);
        else
            st = errno == EADDRNOTAVAIL ? DCM_AGAIN
                                        : dcmi_err_sys("listening at %s", text);
        (void)close(fd);
        return st;
    }
    *fd_p = fd;
    return DCM_OK;
}

/* Listen on all addresses, at the port and of the kind of `like`. */
static dcm_status listen_any(int *fd_p, const struct sockaddr_storage *like,
                             int backlog)
{
    struct sockaddr_storage any;
    struct sockaddr_in6 six;
    struct sockaddr_in four;
    socklen_t bytes = sizeof(four);

    memset(&any, 0, sizeof(any));
    if (like->ss_family == AF_INET) {
        memcpy(&four, like, sizeof(four));
        four.sin_addr.s_addr = htonl(INADDR_ANY);
        memcpy(&any, &four, sizeof(four));
    } else {
        memcpy(&six, like, sizeof(six));
        six.sin6_addr = in6addr_any;
        six.sin6_scope_id = 0;
        bytes = sizeof(six);
        memcpy(&any, &six, sizeof(six));
    }
    return listen_at(fd_p, &any, bytes, backlog);
}

dcm_status dcmi_tcp_listen(int *fd_p, const dcmi_tcp_place *place, bool may_any,
                           int backlog)
{
    dcm_status st = DCM_AGAIN;
    char text[80];

    /*
     * Debian's /etc/hosts gives a host's own name a loopback address; the other
     * hosts know it by its real one.
     */
    if (may_any && place->is_loopback && !place->is_literal)
        return listen_any(fd_p, &place->address[0], backlog);

    for (int i = 0; i < place->n && st == DCM_AGAIN; i++)
        st = listen_at(fd_p, &place->address[i], place->bytes[i], backlog);
    if (st == DCM_AGAIN && may_any && !place->is_loopback)
        st = listen_any(fd_p, &place->address[0], backlog);
    if (st == DCM_AGAIN)
        st = dcmi_err(DCM_E_INVAL, "%s is not an address of this host",
                      address_text(&place->address[0], place->bytes[0], text,
                                   sizeof(text)));
    return st;
}

/*
 * When nobody listens at a port that the system also gives to those who connect,
 * it may give us that very port, and TCP then connects the socket to itself.
 * While that lasts rank 0 can take the port, as both sides reuse addresses.
 */
static bool is_own_echo(int fd)
{
    struct sockaddr_storage a;
    struct sockaddr_storage b;
    socklen_t na = sizeof(a);
    socklen_t nb = sizeof(b);

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    return getsockname(fd, (struct sockaddr *)&a, &na) == 0 &&
           getpeername(fd, (struct sockaddr *)&b, &nb) == 0 && na == nb &&
           memcmp(&a, &b, na) == 0;
}

/* 0, or errno. */
static int finish_connect(int fd, uint64_t until_ns)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t bytes = sizeof(int);
    int err = 0;

    while (dcmi_poll(&p, 1, until_ns) == 0) {
        if (dcmi_now_ns() >= until_ns)
            return ETIMEDOUT;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &bytes) != 0)
        return errno;
    if (err == 0 && is_own_echo(fd))
        return ECONNREFUSED;
    return err;
}

/* Worth another try later: the other side may not be up yet. */
static bool is_passing(int err)
{
    return err == ECONNREFUSED || err == ECONNRESET || err == ETIMEDOUT ||
           err == EHOSTUNREACH || err == ENETUNREACH || err == EHOSTDOWN ||
           err == ENETDOWN || err == EADDRNOTAVAIL || err == ECONNABORTED ||
           err == EAGAIN;
}

static dcm_status connect_at(int *fd_p, const struct sockaddr_storage *a,
                             socklen_t bytes, uint64_t until_ns)
{
    const uint64_t share = dcmi_now_ns() + CONNECT_MS * DCMI_NS_PER_MS;
    dcm_status st;
    char text[80];
    int fd = -1;
    int err = 0;

    st = tcp_socket(&fd, a->ss_family);
    if (st != DCM_OK)
        return errno == EAFNOSUPPORT ? DCM_AGAIN : st;
    if (connect(fd, (const struct sockaddr *)a, bytes) != 0)
        err = errno;
    if (err == EINPROGRESS || err == EINTR || err == 0)
        err = finish_connect(fd, share < until_ns ? share : until_ns);
    if (err == 0) {
        set_options(fd);
        *fd_p = fd;
        return DCM_OK;
    }
    (void)close(fd);
    errno = err;
    st = dcmi_err_sys("connecting to %s",
                      address_text(a, bytes, text, sizeof(text)));
    return is_passing(err) ? DCM_AGAIN : st;
}

dcm_status dcmi_tcp_connect(int *fd_p, const dcmi_tcp_place *place,
                            uint64_t until_ns)
{
    dcm_status st = DCM_AGAIN;

    for (int i = 0; i < place->n && st == DCM_AGAIN; i++)
        st = connect_at(fd_p, &place->address[i], place->bytes[i], until_ns);
    return st;
}

dcm_status dcmi_tcp_accept(int *fd_p, int listener)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        set_options(fd);
        *fd_p = fd;
        return DCM_OK;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
        errno == ENOMEM || errno == EBADF || errno == EINVAL)
        return dcmi_err_sys("accepting a connection");
    return DCM_AGAIN; /* the rest are failures of one connection */
}

bool dcmi_tcp_is_lost(int sock)
{
    struct tcp_info info;
    socklen_t bytes = sizeof(info);

    /*
     * Not TCP_USER_TIMEOUT: that also gives up on a peer that answers, but does
     * not read.
     */
    memset(&info, 0, sizeof(info));
    return getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 &&
           info.tcpi_unacked > 0 && info.tcpi_backoff > 0 &&
           info.tcpi_last_ack_recv >= LOST_MS;
}

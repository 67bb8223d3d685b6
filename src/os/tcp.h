/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP between hosts.  Sockets are non-blocking, close-on-exec, without Nagle's
 * delay, and with keepalive: a host that vanished is found after 11 seconds.
 */
#ifndef DCMI_TCP_H
#define DCMI_TCP_H

#include <devcomm/devcomm.h>

#include <stdbool.h>
#include <sys/socket.h>

enum {
    DCMI_TCP_MOST_ADDRESSES = 8
};

/* What one host name stands for. */
typedef struct dcmi_tcp_place {
    int n;
    bool is_literal;  /* an address was given, or "localhost" */
    bool is_loopback; /* every address is */
    socklen_t bytes[DCMI_TCP_MOST_ADDRESSES];
    struct sockaddr_storage address[DCMI_TCP_MOST_ADDRESSES];
} dcmi_tcp_place;

/*
 * Look `host` up.  An address never asks anybody; a name asks the system's
 * resolver, which blocks for as long as resolv.conf(5) says.  AGAIN: the name is
 * not known, or not yet; the error record says which.
 */
dcm_status dcmi_tcp_resolve(dcmi_tcp_place *place, const char *host,
                            uint16_t port);

/*
 * Listen at `place`.  When none of its addresses is this host's (a translated
 * address), or when it is a name that this host alone takes for loopback,
 * `may_any` allows to listen on all addresses.  E_BUSY: the port is taken.
 */
dcm_status dcmi_tcp_listen(int *fd_p, const dcmi_tcp_place *place, bool may_any,
                           int backlog);

/*
 * Connect to the first address that answers; the route chooses the interface.
 * AGAIN: none did by `until_ns` of dcmi_now_ns(), or all refused; the error
 * record says the last reason.
 */
dcm_status dcmi_tcp_connect(int *fd_p, const dcmi_tcp_place *place,
                            uint64_t until_ns);

/* Accept one waiting connection; AGAIN: none. */
dcm_status dcmi_tcp_accept(int *fd_p, int listener);

/*
 * Whether the other end's host has answered nothing for some seconds while it
 * should have.  Keepalive finds it when nothing is under way, this when bytes
 * are.  A stopped process's host answers.
 */
bool dcmi_tcp_is_lost(int sock);

/* The other end's address in numbers, "?" when unknown; returns `text`. */
const char *dcmi_tcp_peer(int sock, char *text, size_t bytes);

#endif /* DCMI_TCP_H */

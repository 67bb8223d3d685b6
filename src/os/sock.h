/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets: abstract unix ones that pass segments between processes of one user;
 * sending and receiving on these and on TCP's (tcp.h).  All are non-blocking and
 * close-on-exec; waiting is done with a watch or until a time, so that every
 * wait has a deadline.
 */
#ifndef DCMI_SOCK_H
#define DCMI_SOCK_H

#include <devcomm/devcomm.h>

#include <poll.h>

#include "os/wait.h"

enum {
    DCMI_SOCK_NAME_BYTES = 96
};

/*
 * Listen on the abstract name (no leading zero byte in `name`).  E_BUSY: it is
 * taken by another socket.
 */
dcm_status dcmi_unix_listen(int *fd_p, const char *name, int backlog);

/*
 * Connect to the abstract name.  AGAIN: nobody listens there.  E_INVAL: another
 * user does, said with the user's number.
 */
dcm_status dcmi_unix_connect(int *fd_p, const char *name);

/*
 * Accept one waiting connection; AGAIN: none.  Strangers are closed and skipped,
 * some at a call, so that a flood of them keeps nobody here.
 */
dcm_status dcmi_unix_accept(int *fd_p, int listener);

/* Send `bytes` bytes, with the descriptor `fd` when it is not negative. */
dcm_status dcmi_sock_send(int sock, const void *buf, size_t bytes, int fd,
                          const dcmi_watch *watch, uint64_t *start_ns_p);

/*
 * Receive exactly `bytes`; *fd_p, when not NULL, receives a descriptor that
 * came along or -1.  E_PEER: the other side closed or reset the connection.
 */
dcm_status dcmi_sock_recv(int sock, void *buf, size_t bytes, int *fd_p,
                          const dcmi_watch *watch, uint64_t *start_ns_p);

/*
 * Move what can be moved now, at most `bytes`, at least one.  AGAIN: nothing
 * can.  E_PEER: the other side closed or lost the connection.
 */
dcm_status dcmi_sock_try_send(int sock, const void *buf, size_t bytes,
                              size_t *moved_p);
dcm_status dcmi_sock_try_recv(int sock, void *buf, size_t bytes,
                              size_t *moved_p);

/*
 * Wait until one of `p` is ready or `until_ns` of dcmi_now_ns() has come; how
 * many are.  0 also when a second has passed, a signal came, or for another
 * fiber's turn: the caller looks at the clock and calls again.
 */
int dcmi_poll(struct pollfd *p, unsigned n, uint64_t until_ns);

/* Process id of the other end of a unix socket; 0: unknown. */
int dcmi_unix_peer_pid(int sock);

void dcmi_close(int fd); /* negative is allowed */

/*
 * Close a connection so that what was sent last arrives: TCP takes that back
 * when a socket is closed with bytes unread.  Never waits; leaves the error
 * record as it is.
 */
void dcmi_sock_hang_up(int sock);

#endif /* DCMI_SOCK_H */

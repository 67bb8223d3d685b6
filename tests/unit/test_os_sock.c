/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix sockets: names, users, whole and half messages, descriptors, deadlines.
 */
#define _GNU_SOURCE
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "leaks.h"
#include "sock_support.h"

/* For what must not come. */
static const dcmi_watch hasty = {
    .check = check_time,
    .timeout_ns = 5 * DCMI_NS_PER_MS,
};

static dcm_status check_abort(void *arg, bool expired)
{
    int *looks = arg;

    (void)expired;
    return --*looks <= 0 ? dcmi_err(DCM_E_ABORTED, "told to end") : DCM_OK;
}

/* ---- names ------------------------------------------------------------------- */

static void assert_flags(int fd)
{
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

static void test_listen(void **state)
{
    const int before = test_count_fds();
    int first = -1;
    int second = -1;

    (void)state;
    assert_ok(dcmi_unix_listen(&first, name, 4));
    assert_flags(first);
    assert_status(dcmi_unix_listen(&second, name, 4), DCM_E_BUSY, name);
    assert_int_equal(second, -1);
    dcmi_close(first);
    assert_ok(dcmi_unix_listen(&second, name, 4)); /* free again */
    dcmi_close(second);
    dcmi_close(-1);
    assert_int_equal(test_count_fds(), before);
}

static void test_names(void **state)
{
    const int before = test_count_fds();
    char text[110];
    int fd = -1;

    (void)state;
    memset(text, 'n', sizeof(text));
    text[108] = '\0';
    assert_status(dcmi_unix_listen(&fd, text, 1), DCM_E_INVAL, "108 bytes");
    assert_status(dcmi_unix_connect(&fd, text), DCM_E_INVAL, "108 bytes");
    assert_status(dcmi_unix_listen(&fd, "", 1), DCM_E_INVAL, "0 bytes");
    assert_status(dcmi_unix_connect(&fd, ""), DCM_E_INVAL, "0 bytes");
    assert_int_equal(fd, -1);
    text[107] = '\0';
    assert_ok(dcmi_unix_listen(&fd, text, 1));
    dcmi_close(fd);
    assert_int_equal(test_count_fds(), before);
}

static void test_nobody(void **state)
{
    const int before = test_count_fds();
    int listener;
    int fd = -1;

    (void)state;
    assert_int_equal(dcmi_unix_connect(&fd, name), DCM_AGAIN);
    assert_ok(dcmi_unix_listen(&listener, name, 1));
    assert_int_equal(dcmi_unix_accept(&fd, listener), DCM_AGAIN);
    dcmi_close(listener);
    assert_int_equal(dcmi_unix_connect(&fd, name), DCM_AGAIN);
    assert_status(dcmi_unix_accept(&fd, -1), DCM_E_SYS, "accepting");
    assert_int_equal(fd, -1);
    assert_int_equal(test_count_fds(), before);
}

/* More who want in than the listener's queue holds: try again later. */
static void test_full_queue(void **state)
{
    dcm_status st = DCM_OK;
    int fds[64];
    int listener;
    int n = 0;

    (void)state;
    assert_ok(dcmi_unix_listen(&listener, name, 2));
    while (n < 64 && st == DCM_OK) {
        st = dcmi_unix_connect(&fds[n], name);
        n += st == DCM_OK;
    }
    assert_int_equal(st, DCM_AGAIN);
    assert_in_range(n, 2, 8);
    while (n-- > 0)
        dcmi_close(fds[n]);
    dcmi_close(listener);
}

static void test_whole(void **state)
{
    char in[] = "twelve bytes";
    char out[sizeof(in)];
    link_fds l;
    int fd = 99;

    (void)state;
    connect_both(&l);
    assert_flags(l.near);
    assert_flags(l.far);
    assert_int_equal(dcmi_unix_peer_pid(l.near), getpid());
    assert_int_equal(dcmi_unix_peer_pid(-1), 0);
    assert_ok(transmit(l.far, in, sizeof(in), -1));
    assert_ok(receive(l.near, out, sizeof(out), &fd));
    assert_string_equal(out, in);
    assert_int_equal(fd, -1);
    /* In parts, and more than asked for: the rest stays. */
    assert_ok(transmit(l.near, in, 5, -1));
    assert_ok(transmit(l.near, in + 5, sizeof(in) - 5, -1));
    assert_ok(receive(l.far, out, 3, NULL));
    assert_ok(receive(l.far, out + 3, sizeof(out) - 3, NULL));
    assert_string_equal(out, in);
    assert_ok(receive(l.far, out, 0, &fd));
    assert_ok(transmit(l.far, in, 0, -1));
    close_both(&l);
}

/* ---- half messages and deadlines --------------------------------------------- */

static void test_half(void **state)
{
    const int before = test_count_fds();
    char text[8] = "seven..";
    link_fds l;
    int fd = 99;

    (void)state;
    connect_both(&l);
    assert_ok(transmit(l.far, text, 3, l.listener));
    dcmi_close(l.far);
    l.far = -1;
    assert_status(receive(l.near, text, 8, &fd), DCM_E_PEER, "closed");
    assert_int_equal(fd, 99);
    /* The half message's descriptor is not left open. */
    assert_int_equal(test_count_fds(), before + 2);
    assert_status(receive(l.near, text, 8, NULL), DCM_E_PEER, "closed");
    assert_status(transmit(l.near, text, 8, -1), DCM_E_PEER, "closed");
    close_both(&l);
    assert_int_equal(test_count_fds(), before);
}

static void test_recv_deadline(void **state)
{
    const int before = test_count_fds();
    uint64_t start = 0;
    char text[8] = "";
    link_fds l;
    int fd = 99;

    (void)state;
    connect_both(&l);
    assert_status(dcmi_sock_recv(l.near, text, 8, &fd, &hasty, &start),
                  DCM_E_TIMEOUT, "time is over");
    assert_true(start != 0);
    /* The same start: its time is over at once, also for what comes late. */
    assert_ok(transmit(l.far, text, 3, l.listener));
    assert_status(dcmi_sock_recv(l.near, text, 8, &fd, &hasty, &start),
                  DCM_E_TIMEOUT, "time is over");
    assert_int_equal(fd, 99);
    assert_int_equal(test_count_fds(), before + 3);
    close_both(&l);
}

static void test_send_deadline(void **state)
{
    const size_t much = (size_t)16 << 20;
    char *text = calloc(1, much);
    uint64_t start = 0;
    link_fds l;

    (void)state;
    assert_non_null(text);
    connect_both(&l);
    assert_status(dcmi_sock_send(l.near, text, much, -1, &hasty, &start),
                  DCM_E_TIMEOUT, "time is over");
    free(text);
    close_both(&l);
}

static void test_told_to_end(void **state)
{
    const size_t much = (size_t)16 << 20;
    char *text = calloc(1, much);
    uint64_t start = 0;
    int looks = 3;
    const dcmi_watch watch = {
        .check = check_abort,
        .arg = &looks,
        .timeout_ns = UINT64_MAX / 2,
    };
    link_fds l;

    (void)state;
    assert_non_null(text);
    connect_both(&l);
    assert_status(dcmi_sock_recv(l.near, text, 1, NULL, &watch, &start),
                  DCM_E_ABORTED, "told to end");
    assert_int_equal(looks, 0);
    looks = 2;
    assert_status(dcmi_sock_send(l.near, text, much, -1, &watch, &start),
                  DCM_E_ABORTED, "told to end");
    looks = 2;
    assert_status(dcmi_wait_fd(l.near, POLLIN, &watch, &start), DCM_E_ABORTED,
                  "told to end");
    free(text);
    close_both(&l);
}

/* A large message between threads: both sides wait for each other. */
typedef struct large {
    int sock;
    size_t bytes;
} large;

static void *send_large(void *arg)
{
    const large *a = arg;
    unsigned char *text = malloc(a->bytes);

    die_unless(text != NULL);
    for (size_t i = 0; i < a->bytes; i++)
        text[i] = (unsigned char)(i * 7 / 5);
    die_unless(transmit(a->sock, text, a->bytes, a->sock) == DCM_OK);
    free(text);
    return NULL;
}

static void test_large(void **state)
{
    large a = {.bytes = (size_t)8 << 20};
    unsigned char *text = malloc(a.bytes);
    pthread_t thread;
    link_fds l;
    int fd = -1;

    (void)state;
    assert_non_null(text);
    connect_both(&l);
    a.sock = l.far;
    assert_int_equal(pthread_create(&thread, NULL, send_large, &a), 0);
    assert_ok(receive(l.near, text, a.bytes, &fd));
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < a.bytes; i++) {
        if (text[i] != (unsigned char)(i * 7 / 5))
            fail_msg("byte %zu", i);
    }
    assert_true(fd >= 0);
    dcmi_close(fd);
    free(text);
    close_both(&l);
}

/* However many pieces a message goes in, its descriptor goes once. */
static void test_sent_once(void **state)
{
    large a = {.bytes = (size_t)2 << 20};
    union {
        char space[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    char *text = malloc(a.bytes);
    struct iovec v = {.iov_base = text, .iov_len = a.bytes};
    size_t got = 0;
    int fds = 0;
    pthread_t thread;
    link_fds l;

    (void)state;
    assert_non_null(text);
    connect_both(&l);
    a.sock = l.far;
    assert_int_equal(pthread_create(&thread, NULL, send_large, &a), 0);
    while (got < a.bytes) {
        struct msghdr m = {
            .msg_iov = &v,
            .msg_iovlen = 1,
            .msg_control = control.space,
            .msg_controllen = sizeof(control.space),
        };
        uint64_t start = 0;
        ssize_t n;

        assert_ok(dcmi_wait_fd(l.near, POLLIN, &patient, &start));
        n = recvmsg(l.near, &m, 0);
        assert_true(n > 0);
        got += (size_t)n;
        if (m.msg_controllen != 0) {
            int fd;

            memcpy(&fd, CMSG_DATA(&control.align), sizeof(fd));
            dcmi_close(fd);
            fds++;
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fds, 1);
    free(text);
    close_both(&l);
}

/* ---- descriptors ------------------------------------------------------------- */

static ino_t inode_of(int fd)
{
    struct stat s;

    assert_int_equal(fstat(fd, &s), 0);
    return s.st_ino;
}

static void test_descriptor(void **state)
{
    const int before = test_count_fds();
    int memfd = memfd_create("test-sock", 0);
    char text[4] = "abc";
    link_fds l;
    int fd = -1;

    (void)state;
    assert_true(memfd >= 0);
    connect_both(&l);
    assert_ok(transmit(l.far, text, 4, memfd));
    assert_ok(receive(l.near, text, 4, &fd));
    assert_true(fd >= 0 && fd != memfd);
    assert_true(inode_of(fd) == inode_of(memfd));
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    dcmi_close(fd);

    assert_ok(transmit(l.far, text, 4, memfd)); /* not wanted */
    assert_ok(receive(l.near, text, 4, NULL));
    /* With each half one: the first is kept. */
    assert_ok(transmit(l.far, text, 2, memfd));
    assert_ok(transmit(l.far, text, 2, l.listener));
    fd = -1;
    assert_ok(receive(l.near, text, 4, &fd));
    assert_true(inode_of(fd) == inode_of(memfd));
    dcmi_close(fd);
    dcmi_close(memfd);
    assert_status(transmit(l.far, text, 4, 9999), DCM_E_SYS, "sending");
    close_both(&l);
    assert_int_equal(test_count_fds(), before);
}

/* `n` times the same descriptor in one message: what no rank of ours does. */
static void send_many(int sock, int fd, int n)
{
    union {
        char space[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } control = {.space = {0}};
    struct iovec v = {.iov_base = (char[4]){"abc"}, .iov_len = 4};
    struct msghdr m = {
        .msg_iov = &v,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int)),
    };

    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
    for (int i = 0; i < n; i++)
        memcpy(CMSG_DATA(&control.align) + (size_t)i * sizeof(int), &fd,
               sizeof(fd));
    assert_int_equal(sendmsg(sock, &m, 0), 4);
}

static void test_several_descriptors(void **state)
{
    const int before = test_count_fds();
    char text[4];
    link_fds l;
    size_t n;
    int fd;

    (void)state;
    connect_both(&l);
    for (int many = 1; many <= 16; many++) {
        fd = -1;
        send_many(l.far, l.listener, many);
        assert_ok(receive(l.near, text, 4, &fd));
        assert_true(fd >= 0);
        assert_int_equal(test_count_fds(), before + 4);
        dcmi_close(fd);
        send_many(l.far, l.listener, many);
        assert_ok(receive(l.near, text, 4, NULL));
        assert_int_equal(test_count_fds(), before + 3);
        send_many(l.far, l.listener, many);
        assert_ok(dcmi_sock_try_recv(l.near, text, 4, &n));
        assert_int_equal(test_count_fds(), before + 3);
    }
    close_both(&l);
}

/* ---- without waiting --------------------------------------------------------- */

static void test_try(void **state)
{
    char *much = calloc(1, (size_t)1 << 20);
    dcm_status st = DCM_OK;
    size_t sent = 0;
    link_fds l;
    size_t n = 77;

    (void)state;
    assert_non_null(much);
    connect_both(&l);
    assert_int_equal(dcmi_sock_try_recv(l.near, much, 4, &n), DCM_AGAIN);
    assert_int_equal(n, 77);
    while (st == DCM_OK) {
        st = dcmi_sock_try_send(l.far, much, (size_t)1 << 20, &n);
        sent += st == DCM_OK ? n : 0;
    }
    assert_int_equal(st, DCM_AGAIN);
    assert_true(sent > 0);
    while (dcmi_sock_try_recv(l.near, much, (size_t)1 << 20, &n) == DCM_OK)
        sent -= n;
    assert_int_equal(sent, 0);
    dcmi_close(l.far);
    l.far = -1;
    assert_status(dcmi_sock_try_recv(l.near, much, 4, &n), DCM_E_PEER,
                  "closed");
    assert_status(dcmi_sock_try_send(l.near, much, 4, &n), DCM_E_PEER,
                  "closed");
    assert_status(dcmi_sock_try_recv(-1, much, 4, &n), DCM_E_SYS, "moving");
    free(much);
    close_both(&l);
}

static void test_poll(void **state)
{
    struct pollfd p[2];
    link_fds l;

    (void)state;
    connect_both(&l);
    p[0] = (struct pollfd){.fd = l.near, .events = POLLIN};
    p[1] = (struct pollfd){.fd = l.far, .events = POLLIN};
    assert_int_equal(dcmi_poll(p, 2, 0), 0);
    assert_int_equal(dcmi_poll(p, 2, dcmi_now_ns() + DCMI_NS_PER_MS), 0);
    assert_ok(transmit(l.far, "x", 1, -1));
    assert_int_equal(dcmi_poll(p, 2, UINT64_MAX), 1);
    assert_int_equal(p[0].revents, POLLIN);
    assert_ok(transmit(l.near, "x", 1, -1));
    assert_int_equal(dcmi_poll(p, 2, UINT64_MAX), 2);
    close_both(&l);
}

/* Bytes unread here must not take back what was sent last. */
static void test_hang_up(void **state)
{
    char text[8] = "";
    link_fds l;

    (void)state;
    connect_both(&l);
    assert_ok(transmit(l.far, "unread", 7, -1));
    assert_ok(transmit(l.near, "reason", 7, -1));
    dcmi_sock_hang_up(l.near);
    l.near = -1;
    dcmi_sock_hang_up(-1);
    assert_ok(receive(l.far, text, 7, NULL));
    assert_string_equal(text, "reason");
    assert_status(receive(l.far, text, 1, NULL), DCM_E_PEER, "closed");
    close_both(&l);
}

#define named(f) cmocka_unit_test_setup(f, fresh_name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        named(test_listen),
        named(test_names),
        named(test_nobody),
        named(test_full_queue),
        named(test_whole),
        named(test_half),
        named(test_recv_deadline),
        named(test_send_deadline),
        named(test_told_to_end),
        named(test_large),
        named(test_sent_once),
        named(test_descriptor),
        named(test_several_descriptors),
        named(test_try),
        named(test_poll),
        named(test_hang_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

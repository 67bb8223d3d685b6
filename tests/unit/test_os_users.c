/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets of other users, and sockets between fibers. */
#define _GNU_SOURCE
#include "support.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "leaks.h"
#include "os/fiber.h"
#include "sock_support.h"

/* ---- in fibers --------------------------------------------------------------- */

typedef struct talker {
    int sock;
    bool begins;
    int rounds;
} talker;

static void talk(void *arg)
{
    talker *t = arg;
    int number = 0;

    for (int i = 0; i < 100; i++) {
        if (t->begins)
            die_unless(transmit(t->sock, &i, sizeof(i), -1) == DCM_OK);
        die_unless(receive(t->sock, &number, sizeof(number), NULL) == DCM_OK);
        die_unless(number == i);
        if (!t->begins)
            die_unless(transmit(t->sock, &i, sizeof(i), -1) == DCM_OK);
        t->rounds++;
    }
}

static void test_fibers_talk(void **state)
{
    talker talkers[2] = {{.begins = true}, {.begins = false}};
    void *args[2] = {&talkers[0], &talkers[1]};
    link_fds l;

    (void)state;
    connect_both(&l);
    talkers[0].sock = l.near;
    talkers[1].sock = l.far;
    assert_ok(dcmi_fiber_run(talk, args, 2));
    assert_int_equal(talkers[0].rounds, 100);
    assert_int_equal(talkers[1].rounds, 100);
    close_both(&l);
}

/* ---- another user ------------------------------------------------------------ */

enum {
    STRANGER = 65534
};

typedef struct visit {
    int ready[2]; /* pipes: a byte each way */
    int go[2];
} visit;

static void open_visit(visit *v)
{
    assert_int_equal(pipe(v->ready), 0);
    assert_int_equal(pipe(v->go), 0);
}

static void close_visit(const visit *v)
{
    for (int i = 0; i < 2; i++) {
        dcmi_close(v->ready[i]);
        dcmi_close(v->go[i]);
    }
}

static pid_t as_stranger(const visit *v, void (*fn)(const visit *v))
{
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(60);
        die_unless(setresuid(STRANGER, STRANGER, STRANGER) == 0);
        fn(v);
        _exit(0);
    }
    return pid;
}

static void assert_ended(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void listen_as_stranger(const visit *v)
{
    int listener;
    char byte;

    die_unless(dcmi_unix_listen(&listener, name, 4) == DCM_OK);
    die_unless(write(v->ready[1], "r", 1) == 1);
    die_unless(read(v->go[0], &byte, 1) == 1);
}

static void test_strange_listener(void **state)
{
    const int before = test_count_fds();
    int fd = -1;
    char byte;
    visit v;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    open_visit(&v);
    pid = as_stranger(&v, listen_as_stranger);
    assert_int_equal(read(v.ready[0], &byte, 1), 1);
    assert_status(dcmi_unix_connect(&fd, name), DCM_E_INVAL,
                  "belongs to user 65534");
    assert_non_null(strstr(dcm_errmsg(), name));
    assert_int_equal(fd, -1);
    assert_status(dcmi_unix_listen(&fd, name, 1), DCM_E_BUSY, name);
    assert_int_equal(write(v.go[1], "g", 1), 1);
    assert_ended(pid);
    close_visit(&v);
    assert_int_equal(test_count_fds(), before);
}

/* Around the library: a stranger would not ask it. */
static void connect_as_stranger(const visit *v)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char byte;
    int fd;

    for (int i = 0; i < 40; i++) {
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        die_unless(fd >= 0);
        memcpy(a.sun_path + 1, name, strlen(name));
        die_unless(connect(fd, (struct sockaddr *)&a,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                       1 + strlen(name))) == 0);
    }
    die_unless(write(v->ready[1], "r", 1) == 1);
    die_unless(read(v->go[0], &byte, 1) == 1);
    die_unless(recv(fd, &byte, 1, 0) == 0); /* closed, without a word */
}

static void test_strange_guests(void **state)
{
    const int before = test_count_fds();
    dcm_status st = DCM_AGAIN;
    int listener;
    int far = -1;
    int fd = -1;
    char byte;
    visit v;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    open_visit(&v);
    assert_ok(dcmi_unix_listen(&listener, name, 64));
    pid = as_stranger(&v, connect_as_stranger);
    assert_int_equal(read(v.ready[0], &byte, 1), 1);
    assert_ok(dcmi_unix_connect(&far, name));
    /* Forty strangers stand before it: some are sent away at each call. */
    for (int i = 0; i < 40 && st == DCM_AGAIN; i++)
        st = dcmi_unix_accept(&fd, listener);
    assert_int_equal(st, DCM_OK);
    assert_int_equal(dcmi_unix_peer_pid(fd), getpid());
    assert_int_equal(dcmi_unix_accept(&fd, listener), DCM_AGAIN);
    assert_int_equal(write(v.go[1], "g", 1), 1);
    assert_ended(pid);
    dcmi_close(fd);
    dcmi_close(far);
    dcmi_close(listener);
    close_visit(&v);
    assert_int_equal(test_count_fds(), before);
}

#define named(f) cmocka_unit_test_setup(f, fresh_name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        named(test_fibers_talk),
        named(test_strange_listener),
        named(test_strange_guests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

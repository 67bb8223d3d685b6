/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing a segment over: members, strangers who come with nothing, noise or half
 * a hello, and memory that is no group's.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "group/hall.h"
#include "group/handover.h"
#include "leaks.h"
#include "os/memfd.h"
#include "os/sock.h"
#include "sock_support.h"

enum {
    SEGMENT = 4096
};

static const dcmi_watch hasty = {
    .check = check_time,
    .timeout_ns = 5 * DCMI_NS_PER_MS,
};

static dcmi_handover leader;
static dcmi_handover member[3];
static int segment;
static int fds;

static int open_all(void **state)
{
    (void)state;
    fds = test_count_fds();
    if (dcmi_memfd_create(&segment, "test-handover", SEGMENT) != DCM_OK ||
        dcmi_handover_open(&leader, true) != DCM_OK)
        return -1;
    for (int i = 0; i < 3; i++) {
        if (dcmi_handover_open(&member[i], false) != DCM_OK)
            return -1;
    }
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    dcmi_handover_close(&leader);
    dcmi_handover_close(&leader); /* again: no matter */
    for (int i = 0; i < 3; i++)
        dcmi_handover_close(&member[i]);
    dcmi_close(segment);
    return test_count_fds() == fds ? 0 : -1;
}

static void connect_members(int n)
{
    for (int i = 0; i < n; i++)
        assert_ok(dcmi_handover_connect(&member[i], &leader.ticket, i + 1));
}

static void assert_received(int i)
{
    uint64_t bytes = 0;
    struct stat a;
    struct stat b;
    int fd = -1;

    assert_ok(dcmi_handover_receive(&member[i], &fd, &bytes, &patient));
    assert_int_equal(bytes, SEGMENT);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(fstat(segment, &b), 0);
    assert_true(a.st_ino == b.st_ino);
    assert_ok(dcmi_memfd_verify(fd, SEGMENT));
    dcmi_close(fd);
}

static void test_members(void **state)
{
    (void)state;
    connect_members(3);
    assert_ok(dcmi_handover_serve(&leader, 0xe, segment, SEGMENT, &patient));
    for (int i = 2; i >= 0; i--)
        assert_received(i);
    /* Nobody to serve: nothing to wait for. */
    assert_ok(dcmi_handover_serve(&leader, 0, segment, SEGMENT, &hasty));
}

static void test_nobody_comes(void **state)
{
    uint64_t bytes = 7;
    int fd = -7;

    (void)state;
    assert_status(dcmi_handover_serve(&leader, 2, segment, SEGMENT, &hasty),
                  DCM_E_TIMEOUT, "time is over");
    connect_members(1);
    assert_status(dcmi_handover_receive(&member[0], &fd, &bytes, &hasty),
                  DCM_E_TIMEOUT, "time is over");
    dcmi_handover_close(&leader);
    assert_status(dcmi_handover_receive(&member[0], &fd, &bytes, &patient),
                  DCM_E_PEER, "closed");
    assert_true(bytes == 7 && fd == -7);
    assert_status(dcmi_handover_connect(&member[1], &leader.ticket, 2),
                  DCM_E_SYS, "nobody listens on socket @devcomm-seg-");
}

static void test_wrong_ticket(void **state)
{
    dcmi_handover_ticket ticket = leader.ticket;

    (void)state;
    ticket.secret[15] ^= 1;
    assert_status(dcmi_handover_connect(&member[0], &ticket, 1), DCM_E_SYS,
                  "nobody listens");
}

/* ---- strangers --------------------------------------------------------------- */

/* Connect as anybody of this user can who lists the sockets. */
static int stranger(const void *words, size_t bytes)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_storage address;
    socklen_t address_bytes = sizeof(address);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(leader.listener, (struct sockaddr *)&address,
                                 &address_bytes),
                     0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, address_bytes),
                     0);
    if (bytes > 0)
        assert_int_equal(send(fd, words, bytes, 0), bytes);
    return fd;
}

typedef struct hello { /* as in handover.c */
    dcmi_handover_ticket ticket;
    int32_t rank;
} hello;

/* It gets nothing: the connection ends. */
static void assert_sent_away(int fd)
{
    char byte;

    assert_true(recv(fd, &byte, 1, 0) <= 0);
    dcmi_close(fd);
}

static void test_strangers(void **state)
{
    static const int32_t wrong_ranks[] = {-1, 0,  2,         3,
                                          63, 64, INT32_MAX, INT32_MIN};
    unsigned char noise[64];
    hello words = {.ticket = leader.ticket, .rank = 1};
    int fd[16];
    int n = 0;

    (void)state;
    memset(noise, 0xa5, sizeof(noise));
    dcmi_close(stranger(NULL, 0));    /* comes and goes */
    dcmi_close(stranger(&words, 10)); /* half a hello, and gone */
    fd[n++] = stranger(&words, 10);   /* half a hello, and waits */
    fd[n++] = stranger(noise, sizeof(noise));
    words.ticket.secret[0] ^= 1; /* almost the secret */
    fd[n++] = stranger(&words, sizeof(words));
    words.ticket = leader.ticket;
    for (size_t i = 0; i < sizeof(wrong_ranks) / sizeof(wrong_ranks[0]); i++) {
        words.rank = wrong_ranks[i];
        fd[n++] = stranger(&words, sizeof(words));
    }
    connect_members(1);
    assert_ok(dcmi_handover_serve(&leader, 2, segment, SEGMENT, &patient));
    assert_received(0);
    dcmi_handover_close(&leader);
    while (n-- > 0)
        assert_sent_away(fd[n]);
}

/* One rank, two connections: the first is served. */
static void test_served_once(void **state)
{
    hello words = {.ticket = leader.ticket, .rank = 1};
    int late;

    (void)state;
    connect_members(1);
    late = stranger(&words, sizeof(words));
    assert_ok(dcmi_handover_connect(&member[1], &leader.ticket, 2));
    assert_ok(dcmi_handover_serve(&leader, 6, segment, SEGMENT, &patient));
    assert_received(0);
    assert_received(1);
    assert_sent_away(late);
}

/* A member that has gone counts as served; the next exchange names it. */
static void test_member_gone(void **state)
{
    (void)state;
    connect_members(2);
    dcmi_handover_close(&member[0]);
    assert_ok(dcmi_handover_serve(&leader, 6, segment, SEGMENT, &patient));
    assert_received(1);
}

/* A leader that sends no segment, or half a message. */
static void test_bad_leader(void **state)
{
    const uint64_t size = SEGMENT;
    uint64_t bytes = 7;
    int fd = -7;
    int sock;

    (void)state;
    connect_members(1);
    assert_ok(dcmi_unix_accept(&sock, leader.listener));
    assert_int_equal(send(sock, &size, sizeof(size), 0), sizeof(size));
    dcmi_close(sock);
    assert_status(dcmi_handover_receive(&member[0], &fd, &bytes, &patient),
                  DCM_E_SYS, "no segment");

    assert_ok(dcmi_handover_connect(&member[1], &leader.ticket, 2));
    assert_ok(dcmi_unix_accept(&sock, leader.listener));
    assert_int_equal(send(sock, &size, 3, 0), 3);
    dcmi_close(sock);
    assert_status(dcmi_handover_receive(&member[1], &fd, &bytes, &patient),
                  DCM_E_PEER, "closed");
    assert_true(bytes == 7 && fd == -7);
}

/* ---- the hall ---------------------------------------------------------------- */

static void test_hall(void **state)
{
    const size_t bytes = dcmi_hall_bytes(2, 3);
    dcmi_hall *hall = aligned_alloc(4096, bytes);

    (void)state;
    assert_non_null(hall);
    memset(hall, 0, bytes);
    assert_status(dcmi_hall_check(hall, bytes, 2, 3), DCM_E_INVAL, "magic 0");
    memset(hall, 0xa5, bytes);
    assert_status(dcmi_hall_check(hall, bytes, 2, 3), DCM_E_INVAL,
                  "magic 0xa5a5");
    memset(hall, 0, bytes);
    dcmi_hall_init(hall, 2, 3);
    assert_ok(dcmi_hall_check(hall, bytes, 2, 3));
    assert_status(dcmi_hall_check(hall, bytes + 4096, 2, 3), DCM_E_INVAL,
                  "2 of 3");
    assert_status(dcmi_hall_check(hall, bytes, 3, 3), DCM_E_INVAL,
                  "not for 3 of 3");
    assert_status(dcmi_hall_check(hall, bytes, 2, 4), DCM_E_INVAL,
                  "not for 2 of 4");
    hall->layout++;
    assert_status(dcmi_hall_check(hall, bytes, 2, 3), DCM_E_ABI, "layout");
    free(hall);
}

/* No part of the hall reaches into another, nor over the end. */
static void test_hall_parts(void **state)
{
    static const int cases[][2] = {{1, 1}, {2, 2}, {64, 64}, {1, 64}, {3, 7}};

    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        const int n_local = cases[c][0];
        const int n = cases[c][1];
        const size_t bytes = dcmi_hall_bytes(n_local, n);
        char *at = aligned_alloc(4096, bytes);
        dcmi_hall *hall = (dcmi_hall *)(void *)at;
        size_t end = sizeof(*hall);

        assert_non_null(at);
        memset(at, 0, bytes);
        dcmi_hall_init(hall, n_local, n);
        for (int i = 0; i < 2 * n_local; i++) {
            char *part = dcmi_hall_payload(hall, i / 2, (unsigned)i % 2);

            assert_int_equal(part - at, end);
            end += DCM_EXCHANGE_MAX;
        }
        for (unsigned half = 0; half < 2 && n_local < n; half++) {
            char *part = dcmi_hall_payload_all(hall, half);

            assert_int_equal(part - at, end);
            end += (size_t)n * DCM_EXCHANGE_MAX;
        }
        assert_true(end <= bytes && bytes % 4096 == 0);
        free(at);
    }
}

#define opened(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        opened(test_members),
        opened(test_nobody_comes),
        opened(test_wrong_ticket),
        opened(test_strangers),
        opened(test_served_once),
        opened(test_member_gone),
        opened(test_bad_leader),
        cmocka_unit_test(test_hall),
        cmocka_unit_test(test_hall_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job's token: who has none or another is refused, it never goes over the
 * wire, and a recorded handshake is worth nothing.  docs/bootstrap.md.
 */
#define _GNU_SOURCE
#include "boot_support.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <unistd.h>

enum {
    WAIT_MS = 90000
};

static const char token[] = "correct horse battery staple";

static mp_world mp;

/* ---- right, wrong, none ----------------------------------------------------- */

/* Processes 0 to 2 are the ranks, 3 and 4 come between with another token. */
static int meet_with_tokens(int process, void *arg)
{
    dcmi_boot *boot;

    if (process >= 3) {
        note(process,
             meet(&boot, arg, 1, 3, 60000,
                  process == 3 ? "correct horse battery stapl" : NULL));
        (void)atomic_fetch_add(&shared->stage, 1);
        return 0;
    }
    if (process == 1)
        await_stage(2);
    meet_well(arg, process, 3, token);
    return 0;
}

static void test_tokens(void **state)
{
    char *const addresses[] = {unix_address, tcp_address};

    (void)state;
    for (int i = 0; i < 2; i++) {
        fresh();
        mp_spawn(&mp, 5, meet_with_tokens, addresses[i]);
        mp_wait(&mp, WAIT_MS, 0);
        for (int p = 3; p < 5; p++)
            assert_noted(p, DCM_E_INVAL,
                         "has another token than rank 1 "
                         "(DEVCOMM_TOKEN), or is no rank");
    }
}

static int refuse_token(int rank, void *arg)
{
    dcmi_boot *boot;

    if (rank == 0)
        note(0, meet(&boot, arg, 0, 2, 1500, token));
    else
        note(1, meet(&boot, arg, 1, 2, 30000, "wrong"));
    return 0;
}

static void test_leader_says_why(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 2, refuse_token, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(0, DCM_E_TIMEOUT,
                 "refused: 1, the last: a process on "
                 "127.0.0.1:");
    assert_noted(0, DCM_E_TIMEOUT, ": the tokens differ");
}

/* An address of this host that is not loopback. */
static bool outer_address(char *text, size_t bytes)
{
    struct ifaddrs *list;
    bool is_found = false;

    if (getifaddrs(&list) != 0)
        return false;
    for (struct ifaddrs *i = list; i != NULL && !is_found; i = i->ifa_next) {
        struct sockaddr_in a;

        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET ||
            (i->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        memcpy(&a, i->ifa_addr, sizeof(a));
        is_found =
            inet_ntop(AF_INET, &a.sin_addr, text, (socklen_t)bytes) != NULL;
    }
    freeifaddrs(list);
    return is_found;
}

static int meet_without_token(int rank, void *arg)
{
    const dcmi_boot_opts opts = {
        .name = "test",
        .allow_no_token = true,
        .deadline_ns = dcmi_now_ns() + 60000 * DCMI_NS_PER_MS,
    };
    dcmi_boot *boot;

    die_unless(dcmi_boot_star(&boot, arg, rank, 2, &opts) == DCM_OK);
    die_unless(exchange(boot, 8, 1, 60000) == DCM_OK);
    boot->ops->close(boot);
    return 0;
}

static int meet_with_token(int rank, void *arg)
{
    meet_well(arg, rank, 2, token);
    return 0;
}

static void test_beyond_loopback(void **state)
{
    char address[64];
    char host[40];
    dcmi_boot *boot;

    (void)state;
    fresh();
    if (!outer_address(host, sizeof(host)))
        skip();
    (void)snprintf(address, sizeof(address), "tcp:%s:%d", host, free_port());
    for (int rank = 0; rank < 2; rank++) {
        assert_status(meet(&boot, address, rank, 2, 60000, NULL), DCM_E_INVAL,
                      "DEVCOMM_TOKEN");
        assert_status(meet(&boot, address, rank, 2, 60000, NULL), DCM_E_INVAL,
                      "DCM_GROUP_ALLOW_NO_TOKEN");
    }
    /* Everybody's address is beyond loopback too. */
    assert_status(meet(&boot, "tcp:0.0.0.0:21000", 0, 2, 60000, NULL),
                  DCM_E_INVAL, "beyond loopback");
    assert_status(meet(&boot, "tcp:[::]:21000", 0, 2, 60000, NULL), DCM_E_INVAL,
                  "beyond loopback");
    mp_spawn(&mp, 2, meet_without_token, address);
    mp_wait(&mp, WAIT_MS, 0);
    mp_spawn(&mp, 2, meet_with_token, address);
    mp_wait(&mp, WAIT_MS, 0);
}

/* ---- the wire --------------------------------------------------------------- */

/* Move what there is from one socket to the other, and record it. */
static bool forward(int from, int to)
{
    uint8_t bytes[4096];
    size_t n;
    size_t at;

    if (dcmi_sock_try_recv(from, bytes, sizeof(bytes), &n) != DCM_OK)
        return false;
    at = atomic_load(&shared->recorded);
    if (at + n <= sizeof(shared->record))
        memcpy(shared->record + at, bytes, n);
    atomic_store(&shared->recorded, at + n);
    return raw_send(to, bytes, n);
}

/* Stand between rank 1, who connects to `front`, and rank 0 at `back`. */
static void stand_between(const char *front, const char *back)
{
    struct pollfd p[2];
    int fds[2];
    bool is_open = true;

    fds[0] = raw_accept(raw_listen(front, 0));
    fds[1] = raw_connect(back, 0);
    while (is_open) {
        for (int i = 0; i < 2; i++)
            p[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        (void)dcmi_poll(p, 2, UINT64_MAX);
        for (int i = 0; i < 2 && is_open; i++) {
            if (p[i].revents != 0)
                is_open = forward(fds[i], fds[1 - i]);
        }
    }
    dcmi_close(fds[0]);
    dcmi_close(fds[1]);
}

static int meet_through_wire(int process, void *arg)
{
    if (process == 2)
        stand_between(arg, tcp_address);
    else
        meet_well(process == 1 ? arg : tcp_address, process, 2, token);
    return 0;
}

/* Play rank 1's records of an earlier meeting to a rank 0. */
static int replay(int process, void *arg)
{
    const uint8_t *hello = shared->record;
    const uint8_t *proof =
        shared->record + sizeof(dcmi_star_hello) + sizeof(dcmi_star_answer);
    dcmi_star_answer answer;
    int fd;

    if (process == 2) {
        fd = raw_connect(arg, 0);
        die_unless(raw_send(fd, hello, sizeof(dcmi_star_hello)));
        die_unless(raw_recv(fd, &answer, sizeof(answer)));
        die_unless(answer.kind == DCMI_STAR_CHALLENGE);
        die_unless(raw_send(fd, proof, sizeof(dcmi_star_proof)));
        die_unless(raw_recv(fd, &answer, sizeof(answer)));
        die_unless(answer.kind == DCMI_STAR_VERDICT);
        die_unless(answer.status == DCM_E_INVAL);
        die_unless(!raw_recv(fd, &answer, 1));
        atomic_store(&shared->stage, 1);
        return 0;
    }
    if (process == 1)
        await_stage(1);
    meet_well(arg, process, 2, token);
    return 0;
}

static void test_wire(void **state)
{
    const dcmi_star_proof *proof;
    uint8_t digest[DCMI_SHA256_BYTES];
    dcmi_sha256 hash;
    char front[64];
    size_t n;

    (void)state;
    fresh();
    (void)snprintf(front, sizeof(front), "tcp:127.0.0.1:%d", free_port());
    mp_spawn(&mp, 3, meet_through_wire, front);
    mp_wait(&mp, WAIT_MS, 0);

    n = atomic_load(&shared->recorded);
    assert_true(n > sizeof(dcmi_star_hello) + 2 * sizeof(dcmi_star_answer) +
                        sizeof(dcmi_star_proof));
    assert_true(n <= sizeof(shared->record));
    assert_null(memmem(shared->record, n, token, strlen(token)));
    dcmi_sha256_init(&hash);
    dcmi_sha256_add(&hash, token, strlen(token));
    dcmi_sha256_end(&hash, digest);
    assert_null(memmem(shared->record, n, digest, sizeof(digest)));

    /* It is the handshake that was recorded. */
    proof = (const void *)(shared->record + sizeof(dcmi_star_hello) +
                           sizeof(dcmi_star_answer));
    assert_int_equal(proof->magic, DCMI_STAR_MAGIC);
    assert_int_equal(proof->rank, 1);
    assert_int_equal(proof->nranks, 2);

    mp_spawn(&mp, 3, replay, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
}

/* ---- rank 0 must know it too ------------------------------------------------ */

/* Accepts everybody, but cannot seal; sends rank 1's own seal back. */
static int meet_false_leader(int process, void *arg)
{
    dcmi_star_answer answer = {
        .magic = DCMI_STAR_MAGIC,
        .version = DCMI_STAR_VERSION,
        .kind = DCMI_STAR_CHALLENGE,
    };
    dcmi_star_hello hello;
    dcmi_star_proof proof;
    dcmi_boot *boot;
    int fd;

    if (process == 1) {
        note(1, meet(&boot, arg, 1, 2, 60000, token));
        return 0;
    }
    fd = raw_accept(raw_listen(arg, 0));
    die_unless(raw_recv(fd, &hello, sizeof(hello)));
    answer.nonce = hello.nonce;
    die_unless(raw_send(fd, &answer, sizeof(answer)));
    die_unless(raw_recv(fd, &proof, sizeof(proof)));
    answer.kind = DCMI_STAR_VERDICT;
    answer.seal = proof.seal;
    die_unless(raw_send(fd, &answer, sizeof(answer)));
    (void)raw_recv(fd, &answer, 1);
    return 0;
}

static void test_false_leader(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 2, meet_false_leader, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(1, DCM_E_INVAL, "has another token than rank 1");
}

/* Each byte of what a seal covers counts, and so does its maker's role. */
static void test_seals(void **state)
{
    dcmi_star_talk talk = {.token = token};
    dcmi_star_proof proof = {.magic = DCMI_STAR_MAGIC, .rank = 1};
    dcmi_star_answer verdict = {.magic = DCMI_STAR_MAGIC};
    uint8_t *bytes = (uint8_t *)&proof;

    (void)state;
    dcmi_star_seal_proof(&talk, &proof);
    dcmi_star_seal_verdict(&talk, &verdict);
    assert_true(dcmi_star_check_proof(&talk, &proof));
    assert_true(dcmi_star_check_verdict(&talk, &verdict));
    for (size_t i = 0; i < sizeof(proof); i++) {
        bytes[i] ^= 1;
        assert_false(dcmi_star_check_proof(&talk, &proof));
        bytes[i] ^= 1;
    }
    bytes = (uint8_t *)&verdict;
    for (size_t i = 0; i < sizeof(verdict); i++) {
        bytes[i] ^= 0x80;
        assert_false(dcmi_star_check_verdict(&talk, &verdict));
        bytes[i] ^= 0x80;
    }
    bytes = (uint8_t *)&talk.joiner;
    for (size_t i = 0; i < sizeof(talk.joiner); i++) {
        bytes[i] ^= 1;
        assert_false(dcmi_star_check_proof(&talk, &proof));
        assert_false(dcmi_star_check_verdict(&talk, &verdict));
        bytes[i] ^= 1;
    }
    bytes = (uint8_t *)&talk.leader;
    bytes[31] ^= 1;
    assert_false(dcmi_star_check_proof(&talk, &proof));
    assert_false(dcmi_star_check_verdict(&talk, &verdict));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_leader_says_why),
        cmocka_unit_test(test_beyond_loopback),
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_false_leader),
        cmocka_unit_test(test_seals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

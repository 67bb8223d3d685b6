/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bootstrap among strangers: garbage, halves, silence, floods, other users,
 * other versions, and things that listen in rank 0's place.  docs/bootstrap.md
 * says what they can and cannot do.
 */
#define _GNU_SOURCE
#include "boot_support.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    WAIT_MS = 90000,
    NOBODY = 65534,
    MANY = 200
};

static mp_world mp;

/* ---- connections that lead nowhere ------------------------------------------ */

static void send_garbage(int fd, uint64_t *seed, size_t most)
{
    uint8_t bytes[4096];
    const size_t n = (size_t)(test_random(seed) % most) + 1;

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(test_random(seed) >> 32);
    (void)raw_send(fd, bytes, n);
}

/* Send what a descriptor comes along with. */
static void send_descriptor(int fd)
{
    const dcmi_star_hello hello = raw_hello();
    const dcmi_watch watch = {.check = NULL, .timeout_ns = 0};
    uint64_t start = 0;

    (void)dcmi_sock_send(fd, &hello, sizeof(hello), STDIN_FILENO, &watch,
                         &start);
}

/* One of the ways to be a nuisance; returns the connection, or -1. */
static int annoy(const char *address, int way, uint64_t *seed)
{
    const int fd = raw_connect(address, (unsigned)geteuid());
    dcmi_star_hello hello = raw_hello();
    dcmi_star_answer answer;
    dcmi_star_proof proof;

    memset(&proof, 0xff, sizeof(proof));
    switch (way) {
    case 0: /* says nothing */
        break;
    case 1:
        send_garbage(fd, seed, 4096);
        break;
    case 2: /* half a record */
        (void)raw_send(fd, &hello, sizeof(hello) / 2);
        break;
    case 3: /* half of the second record */
        if (raw_send(fd, &hello, sizeof(hello)) &&
            raw_recv(fd, &answer, sizeof(answer)))
            (void)raw_send(fd, &proof, sizeof(proof) / 2);
        break;
    case 4: /* a second record of nonsense, of the right kind */
        proof.magic = DCMI_STAR_MAGIC;
        if (raw_send(fd, &hello, sizeof(hello)) &&
            raw_recv(fd, &answer, sizeof(answer)))
            (void)raw_send(fd, &proof, sizeof(proof));
        break;
    case 5: /* a first record with some bytes changed */
        hello.version = (uint16_t)test_random(seed);
        hello.proof_bytes = (uint16_t)test_random(seed);
        (void)raw_send(fd, &hello, sizeof(hello));
        send_garbage(fd, seed, 512);
        break;
    case 6:
        if (strncmp(address, "unix:", 5) == 0)
            send_descriptor(fd);
        break;
    default: /* leaves at once */
        dcmi_close(fd);
        return -1;
    }
    return fd;
}

/* Processes 0 to 2 are the ranks, process 3 keeps its connections open. */
static int among_nuisances(int process, void *arg)
{
    uint64_t seed = test_seed();
    int fds[MANY];

    if (process == 3) {
        for (int i = 0; i < MANY; i++)
            fds[i] = annoy(arg, i % 8, &seed);
        /* The last are silent, and fill every place that there is. */
        for (int i = 0; i < 64; i++)
            dcmi_close(fds[i]);
        for (int i = 0; i < 64; i++)
            fds[i] = annoy(arg, 0, &seed);
        atomic_store(&shared->stage, 1);
        await_stage(4);
        for (int i = 0; i < MANY; i++)
            dcmi_close(fds[i]);
        return 0;
    }
    if (process != 0)
        await_stage(1);
    /*
     * A rank 0 that waited for each nuisance in turn would need three seconds
     * for each of some hundred.
     */
    meet_well(arg, process, 3, NULL);
    (void)atomic_fetch_add(&shared->stage, 1);
    return 0;
}

static void test_nuisances(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 4, among_nuisances, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    fresh();
    mp_spawn(&mp, 4, among_nuisances, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
}

/* Process 2 says nothing: rank 0, still waiting, hangs up before long. */
static int be_silent(int process, void *arg)
{
    char byte;

    if (process == 2) {
        die_unless(!raw_recv(raw_connect(arg, (unsigned)geteuid()), &byte, 1));
        atomic_store(&shared->stage, 1);
        return 0;
    }
    if (process == 1)
        await_stage(1);
    meet_well(arg, process, 2, NULL);
    return 0;
}

static void test_silence(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, be_silent, unix_address);
    mp_wait(&mp, 30000, 0);
}

/* ---- other users ------------------------------------------------------------ */

static int connect_unchecked(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const size_t bytes =
        offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);

    memcpy(a.sun_path + 1, name, strlen(name));
    die_unless(connect(fd, (struct sockaddr *)&a, (socklen_t)bytes) == 0);
    return fd;
}

static int among_other_users(int process, void *arg)
{
    const unsigned uid = (unsigned)geteuid();
    const dcmi_star_hello hello = raw_hello();
    dcmi_star_answer answer;
    char name[DCMI_SOCK_NAME_BYTES];
    int fd;

    if (process == 2) {
        die_unless(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        (void)snprintf(name, sizeof(name), "devcomm-%u-%s-test-0", uid,
                       (const char *)arg + strlen("unix:"));
        /* Its own check refuses the other user first. */
        while (dcmi_unix_connect(&fd, name) == DCM_AGAIN)
            dcmi_nap_ns(200000);
        note(2, dcmi_unix_connect(&fd, name));
        /* Without it: rank 0 hangs up and says nothing. */
        fd = connect_unchecked(name);
        (void)raw_send(fd, &hello, sizeof(hello));
        die_unless(!raw_recv(fd, &answer, sizeof(answer)));
        atomic_store(&shared->stage, 1);
        return 0;
    }
    if (process == 1)
        await_stage(1);
    meet_well(arg, process, 2, NULL);
    return 0;
}

static void test_other_user_connects(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    fresh();
    mp_spawn(&mp, 3, among_other_users, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(2, DCM_E_INVAL, "belongs to user 0");
}

/* Another user holds the name of the group's socket. */
static int taken_by_other_user(int process, void *arg)
{
    const unsigned uid = (unsigned)geteuid();
    dcmi_boot *boot;

    if (process == 2) {
        die_unless(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        (void)raw_listen(arg, uid);
        atomic_store(&shared->stage, 1);
        await_stage(3);
        return 0;
    }
    await_stage(1);
    note(process, meet(&boot, arg, process, 2, 60000, NULL));
    (void)atomic_fetch_add(&shared->stage, 1);
    return 0;
}

static void test_other_user_listens(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    fresh();
    mp_spawn(&mp, 3, taken_by_other_user, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(0, DCM_E_BUSY, "@devcomm-0-boot-");
    assert_noted(1, DCM_E_INVAL, "belongs to user 65534");
}

/* ---- other versions --------------------------------------------------------- */

static int meet_other_version(int process, void *arg)
{
    dcmi_star_hello hello = raw_hello();
    dcmi_star_answer answer;
    dcmi_boot *boot;
    int fd;

    if (process == 0) {
        note(0, meet(&boot, arg, 0, 2, 1500, NULL));
        return 0;
    }
    fd = raw_connect(arg, (unsigned)geteuid());
    if (process == 1)
        hello.version = DCMI_STAR_VERSION + 1;
    else
        hello.magic = __builtin_bswap32(hello.magic);
    die_unless(raw_send(fd, &hello, sizeof(hello)));
    die_unless(raw_recv(fd, &answer, sizeof(answer)));
    die_unless(answer.magic == DCMI_STAR_MAGIC);
    die_unless(answer.version == DCMI_STAR_VERSION);
    die_unless(answer.kind == DCMI_STAR_VERDICT);
    die_unless(answer.status == DCM_E_ABI);
    die_unless(!raw_recv(fd, &answer, 1));
    dcmi_close(fd);
    return 0;
}

static void test_other_version_connects(void **state)
{
    (void)state;
    fresh();
    mp_spawn(&mp, 3, meet_other_version, unix_address);
    mp_wait(&mp, WAIT_MS, 0);
    assert_noted(0, DCM_E_TIMEOUT, "rank 1 did not come");
    assert_noted(0, DCM_E_TIMEOUT,
                 "refused: 2, the last: a process on this "
                 "host: another version or byte order");
}

/* What listens in rank 0's place answers so. */
static const struct impostor {
    const void *words;
    size_t bytes;
    dcm_status status;
    const char *text;
} impostors[] = {
    {&(const dcmi_star_answer){.magic = DCMI_STAR_MAGIC,
                               .version = DCMI_STAR_VERSION + 1,
                               .kind = DCMI_STAR_VERDICT,
                               .status = DCM_E_ABI},
     16, DCM_E_ABI, "has version 2 of the bootstrap, rank 1 version 1"},
    {&(const dcmi_star_answer){.magic = 0x626d6364u}, 16, DCM_E_ABI,
     "has another byte order"},
    {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, DCM_E_INVAL, "is no devcomm"},
    {"", 0, DCM_E_TIMEOUT, "answers, but says nothing"},
    {&(const dcmi_star_answer){.magic = DCMI_STAR_MAGIC,
                               .version = DCMI_STAR_VERSION,
                               .kind = DCMI_STAR_VERDICT},
     sizeof(dcmi_star_answer), DCM_E_INVAL, "is no devcomm"},
};

static int meet_impostor(int process, void *arg)
{
    const struct impostor *i = arg;
    dcmi_star_hello hello;
    dcmi_boot *boot;
    int fd;

    if (process == 1) {
        note(1,
             meet(&boot, tcp_address, 1, 2, i->bytes != 0 ? 60000 : 300, NULL));
        return 0;
    }
    fd = raw_accept(raw_listen(tcp_address, 0));
    die_unless(raw_recv(fd, &hello, sizeof(hello)));
    die_unless(raw_send(fd, i->words, i->bytes));
    (void)raw_recv(fd, &hello, 1);
    return 0;
}

static void test_impostors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(impostors) / sizeof(impostors[0]); i++) {
        fresh();
        mp_spawn(&mp, 2, meet_impostor, (void *)(uintptr_t)&impostors[i]);
        mp_wait(&mp, WAIT_MS, 0);
        assert_noted(1, impostors[i].status, impostors[i].text);
    }
}

/* ---- a member that goes mad ------------------------------------------------- */

static const struct madness {
    uint32_t words[8];
    dcm_status status;
    const char *text;
} madnesses[] = {
    {{1, 2, 3, 4, 5, 6, 7, 8}, DCM_E_PEER, "sent what is no exchange"},
    /* The right magic and number; sizes that overflow when multiplied. */
    {{0x64636d66u, 1, 0, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu,
      0xffffffffu},
     DCM_E_MISMATCH,
     "rank 1 (pid "},
    {{0x64636d66u, 2, 0, 1, 8, 0, 0xffffffffu, 0xffffffffu},
     DCM_E_MISMATCH,
     "is at exchange 2"},
};

static int go_mad(int rank, void *arg)
{
    const struct madness *m = arg;
    dcmi_boot *boot;

    die_unless(meet(&boot, unix_address, rank, 3, 60000, NULL) == DCM_OK);
    if (rank == 1)
        die_unless(raw_send(((dcmi_star *)boot)->member[0].fd, m->words,
                            sizeof(m->words)));
    note(rank, exchange(boot, 8, 1, 60000));
    boot->ops->close(boot);
    return 0;
}

static void test_mad_member(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(madnesses) / sizeof(madnesses[0]); i++) {
        fresh();
        mp_spawn(&mp, 3, go_mad, (void *)(uintptr_t)&madnesses[i]);
        mp_wait(&mp, WAIT_MS, 0);
        for (int r = 0; r < 3; r++)
            assert_noted(r, madnesses[i].status, madnesses[i].text);
    }
}

/* ---- addresses -------------------------------------------------------------- */

static void test_addresses(void **state)
{
    static const struct {
        const char *address;
        const char *text;
    } bad[] = {
        {"", "neither unix:NAME nor tcp:HOST:PORT"},
        {"unix:", "neither unix:NAME nor tcp:HOST:PORT"},
        {"udp:127.0.0.1:1", "neither unix:NAME nor tcp:HOST:PORT"},
        {"tcp:", "no port"},
        {"tcp:host", "no port"},
        {"tcp:127.0.0.1:", "\"\" is not a port"},
        {"tcp:127.0.0.1:0", "\"0\" is not a port"},
        {"tcp:127.0.0.1:65536", "\"65536\" is not a port"},
        {"tcp:127.0.0.1:80x", "\"80x\" is not a port"},
        {"tcp:::1:80", "tcp:[V6]:PORT is meant"},
    };
    char text[400];
    dcmi_boot *boot;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_status(meet(&boot, bad[i].address, 0, 2, 100, NULL), DCM_E_INVAL,
                      bad[i].text);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "unix:", 5);
    assert_status(meet(&boot, text, 0, 2, 100, NULL), DCM_E_INVAL, "399 bytes");
    memcpy(text, "tcp:x", 5);
    text[280] = '\0';
    memcpy(text + 278, ":1", 2);
    assert_status(meet(&boot, text, 0, 2, 100, NULL), DCM_E_INVAL,
                  "host name of 274 bytes");
}

static int meet_by_odd_name(int rank, void *arg)
{
    const dcmi_boot_opts opts = {
        .name = "odd \n\001 \xff name-of a group, as long as they can be......"
                "..........",
        .deadline_ns = dcmi_now_ns() + 60000 * DCMI_NS_PER_MS,
    };
    dcmi_boot *boot;

    die_unless(dcmi_boot_star(&boot, arg, rank, 2, &opts) == DCM_OK);
    die_unless(exchange(boot, 8, 1, 60000) == DCM_OK);
    boot->ops->close(boot);
    return 0;
}

static void test_odd_names(void **state)
{
    char text[280];

    (void)state;
    fresh();
    memset(text, 'x', sizeof(text));
    (void)snprintf(text + 200, 80, "%s", unix_address);
    memcpy(text, "unix:", 5);
    mp_spawn(&mp, 2, meet_by_odd_name, text);
    mp_wait(&mp, WAIT_MS, 0);
    mp_spawn(&mp, 2, meet_by_odd_name, tcp_address);
    mp_wait(&mp, WAIT_MS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nuisances),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_other_user_connects),
        cmocka_unit_test(test_other_user_listens),
        cmocka_unit_test(test_other_version_connects),
        cmocka_unit_test(test_impostors),
        cmocka_unit_test(test_mad_member),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_odd_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

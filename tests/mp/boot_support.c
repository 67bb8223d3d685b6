/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the bootstrap share. */
#define _GNU_SOURCE
#include "boot_support.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

notes *shared;
char unix_address[64];
char tcp_address[64];

int free_port(void)
{
    static int port;

    if (port == 0)
        port = 21000 + (int)((unsigned)getpid() * 7u % 10000u);
    for (int i = 0; i < 1000; i++) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = {.sin_family = AF_INET};
        int rc;

        port = port < 31000 ? port + 1 : 21000;
        a.sin_port = htons((uint16_t)port);
        a.sin_addr.s_addr = htonl(INADDR_ANY);
        rc = bind(fd, (struct sockaddr *)&a, sizeof(a));
        (void)close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no free port");
    return 0;
}

void fresh(void)
{
    static int serial;

    if (shared == NULL) {
        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(shared, MAP_FAILED);
    }
    memset(shared, 0, sizeof(*shared));
    (void)snprintf(unix_address, sizeof(unix_address), "unix:boot-%d-%d",
                   (int)getpid(), serial++);
    (void)snprintf(tcp_address, sizeof(tcp_address), "tcp:127.0.0.1:%d",
                   free_port());
}

dcm_status meet(dcmi_boot **boot_p, const char *address, int rank, int nranks,
                uint32_t timeout_ms, const char *token)
{
    const dcmi_boot_opts opts = {
        .name = "test",
        .token = token,
        .deadline_ns = dcmi_now_ns() + timeout_ms * DCMI_NS_PER_MS,
    };

    return dcmi_boot_star(boot_p, address, rank, nranks, &opts);
}

static uint8_t byte_of(int rank, size_t i, size_t bytes)
{
    return (uint8_t)((size_t)rank * 37 + i * 11 + bytes);
}

dcm_status exchange(dcmi_boot *boot, size_t bytes, int width,
                    uint32_t timeout_ms)
{
    const int n = boot->nranks;
    uint8_t *all = calloc((size_t)n, bytes + 1);
    int owner[DCM_MAX_RANKS];
    dcm_status st;

    die_unless(all != NULL);
    for (int r = 0; r < n; r++) {
        owner[r] = r - r % width;
        for (size_t i = 0; i < bytes && owner[r] == boot->rank; i++)
            all[(size_t)r * bytes + i] = byte_of(r, i, bytes);
    }
    st = boot->ops->merge(boot, all, bytes, owner,
                          dcmi_now_ns() + timeout_ms * DCMI_NS_PER_MS);
    for (int r = 0; r < n && st == DCM_OK; r++) {
        for (size_t i = 0; i < bytes; i++)
            die_unless(all[(size_t)r * bytes + i] == byte_of(r, i, bytes));
    }
    free(all);
    return st;
}

void meet_well(const char *address, int rank, int nranks, const char *token)
{
    dcmi_boot *boot;

    die_unless(meet(&boot, address, rank, nranks, 60000, token) == DCM_OK);
    die_unless(exchange(boot, 100, 1, 60000) == DCM_OK);
    boot->ops->close(boot);
}

void note(int rank, dcm_status st)
{
    shared->status[rank] = st;
    (void)snprintf(shared->text[rank], sizeof(shared->text[rank]), "%s",
                   dcm_errmsg());
}

void await_stage(int stage)
{
    while (atomic_load(&shared->stage) < stage)
        dcmi_nap_ns(200000);
}

void assert_noted(int rank, dcm_status want, const char *text)
{
    if (shared->status[rank] != (int)want ||
        strstr(shared->text[rank], text) == NULL)
        fail_msg("rank %d: %d (%s), not %d with \"%s\"", rank,
                 shared->status[rank], shared->text[rank], (int)want, text);
}

static bool place_of(dcmi_tcp_place *place, const char *address)
{
    char host[64];
    int port;

    if (sscanf(address, "tcp:%63[^:]:%d", host, &port) != 2)
        return false;
    die_unless(dcmi_tcp_resolve(place, host, (uint16_t)port) == DCM_OK);
    return true;
}

static void name_of(char *name, size_t bytes, const char *address, unsigned uid)
{
    (void)snprintf(name, bytes, "devcomm-%u-%s-test-0", uid,
                   address + strlen("unix:"));
}

int raw_connect(const char *address, unsigned uid)
{
    char name[DCMI_SOCK_NAME_BYTES];
    dcmi_tcp_place place;
    dcm_status st;
    int fd;

    do {
        if (place_of(&place, address)) {
            st = dcmi_tcp_connect(&fd, &place, UINT64_MAX);
        } else {
            name_of(name, sizeof(name), address, uid);
            st = dcmi_unix_connect(&fd, name);
        }
        if (st == DCM_AGAIN)
            dcmi_nap_ns(200000);
    } while (st == DCM_AGAIN);
    die_unless(st == DCM_OK);
    return fd;
}

int raw_listen(const char *address, unsigned uid)
{
    char name[DCMI_SOCK_NAME_BYTES];
    dcmi_tcp_place place;
    int fd;

    if (place_of(&place, address)) {
        die_unless(dcmi_tcp_listen(&fd, &place, false, 8) == DCM_OK);
    } else {
        name_of(name, sizeof(name), address, uid);
        die_unless(dcmi_unix_listen(&fd, name, 8) == DCM_OK);
    }
    return fd;
}

int raw_accept(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    int fd;

    for (;;) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            return fd;
        (void)dcmi_poll(&p, 1, UINT64_MAX);
    }
}

bool raw_send(int fd, const void *bytes, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    const char *at = bytes;
    size_t moved;

    while (n > 0) {
        const dcm_status st = dcmi_sock_try_send(fd, at, n, &moved);

        if (st == DCM_AGAIN) {
            (void)dcmi_poll(&p, 1, UINT64_MAX);
            continue;
        }
        if (st != DCM_OK)
            return false;
        at += moved;
        n -= moved;
    }
    return true;
}

bool raw_recv(int fd, void *bytes, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char *at = bytes;
    size_t moved;

    while (n > 0) {
        const dcm_status st = dcmi_sock_try_recv(fd, at, n, &moved);

        if (st == DCM_AGAIN) {
            (void)dcmi_poll(&p, 1, UINT64_MAX);
            continue;
        }
        if (st != DCM_OK)
            return false;
        at += moved;
        n -= moved;
    }
    return true;
}

dcmi_star_hello raw_hello(void)
{
    return (dcmi_star_hello){
        .magic = DCMI_STAR_MAGIC,
        .version = DCMI_STAR_VERSION,
        .proof_bytes = sizeof(dcmi_star_proof),
    };
}

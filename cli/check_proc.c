/* SPDX-License-Identifier: Apache-2.0 */
/* Tests between two processes: sockets, descriptors, death, wake-ups. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "cli.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/ident.h"
#include "os/memfd.h"
#include "os/sock.h"

static dcm_status on_watch(void *arg, bool expired)
{
    (void)arg;
    return expired ? DCM_E_TIMEOUT : DCM_OK;
}

static const dcmi_watch watch = {
    .check = on_watch,
    .timeout_ns = CHECK_DEADLINE_MS * DCMI_NS_PER_MS,
};

static dcm_status listen_somewhere(int *fd_p, char *name, size_t size)
{
    uint64_t random;
    const dcm_status st = dcmi_random(&random, sizeof(random));

    if (st != DCM_OK)
        return st;
    (void)snprintf(name, size, "devcomm-check-%016llx",
                   (unsigned long long)random);
    return dcmi_unix_listen(fd_p, name, 1);
}

static dcm_status accept_one(int *fd_p, int listener)
{
    uint64_t start = 0;
    const dcm_status st = dcmi_wait_fd(listener, POLLIN, &watch, &start);

    return st == DCM_OK ? dcmi_unix_accept(fd_p, listener) : st;
}

check_verdict check_sockets(check_line *line)
{
    check_verdict v;
    char name[64];
    int listener = -1;
    int near = -1;
    int far = -1;

    if (listen_somewhere(&listener, name, sizeof(name)) != DCM_OK)
        return check_say_dcm(line, "listening on an abstract name");
    if (dcmi_unix_connect(&near, name) != DCM_OK ||
        accept_one(&far, listener) != DCM_OK)
        v = check_say_dcm(line, "connecting to an abstract name");
    else if (dcmi_unix_peer_pid(far) != (int)getpid())
        v = check_say(line, CHECK_FAIL, "the peer's process id is %d, not %d",
                      dcmi_unix_peer_pid(far), (int)getpid());
    else
        v = check_say(line, CHECK_OK,
                      "abstract unix sockets work; the peer's "
                      "user and process are known");
    dcmi_close(far);
    dcmi_close(near);
    dcmi_close(listener);
    return v;
}

static const char mark[] = "devcomm check";

/* The child: make a segment, write to it, send it. */
static int send_segment(const char *name)
{
    const size_t bytes = dcmi_page_bytes();
    uint64_t start = 0;
    void *base;
    int sock;
    int fd;

    if (dcmi_memfd_create(&fd, "devcomm-check", bytes) != DCM_OK ||
        dcmi_memfd_reserve(fd, 0, bytes) != DCM_OK ||
        dcmi_memfd_map(&base, fd, bytes) != DCM_OK)
        return CLI_FAIL;
    memcpy(base, mark, sizeof(mark));
    if (dcmi_unix_connect(&sock, name) != DCM_OK ||
        dcmi_sock_send(sock, mark, 1, fd, &watch, &start) != DCM_OK)
        return CLI_FAIL;
    return CLI_OK;
}

static check_verdict take_segment(check_line *line, int listener)
{
    const size_t bytes = dcmi_page_bytes();
    check_verdict v;
    uint64_t start = 0;
    void *base;
    char byte;
    int sock = -1;
    int fd = -1;

    if (accept_one(&sock, listener) != DCM_OK ||
        dcmi_sock_recv(sock, &byte, 1, &fd, &watch, &start) != DCM_OK) {
        v = check_say_dcm(line, "receiving");
    } else if (fd < 0) {
        v = check_say(line, CHECK_FAIL, "a message came, but no descriptor");
    } else if (dcmi_memfd_verify(fd, bytes) != DCM_OK ||
               dcmi_memfd_map(&base, fd, bytes) != DCM_OK) {
        v = check_say_dcm(line, "what came");
    } else {
        v = memcmp(base, mark, sizeof(mark)) == 0
                ? check_say(line, CHECK_OK,
                            "a sealed segment of another "
                            "process is seen here")
                : check_say(line, CHECK_FAIL, "the segment holds other data");
        dcmi_memfd_unmap(base, bytes);
    }
    dcmi_close(fd);
    dcmi_close(sock);
    return v;
}

check_verdict check_fd_passing(check_line *line)
{
    check_verdict v;
    char name[64];
    int listener;
    pid_t pid;

    if (listen_somewhere(&listener, name, sizeof(name)) != DCM_OK)
        return check_say_dcm(line, "listening");
    pid = check_fork();
    if (pid == 0)
        _exit(send_segment(name));
    if (pid < 0)
        v = check_say(line, CHECK_FAIL, "fork: %s", strerror(errno));
    else
        v = take_segment(line, listener);
    if (pid > 0)
        (void)check_join(pid);
    dcmi_close(listener);
    return v;
}

typedef struct victim {
    pthread_mutex_t mutex;
    _Atomic uint32_t has_locked;
} victim;

static bool init_victim(victim *v)
{
    pthread_mutexattr_t attr;

    return pthread_mutexattr_init(&attr) == 0 &&
           pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
           pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
           pthread_mutex_init(&v->mutex, &attr) == 0 &&
           pthread_mutexattr_destroy(&attr) == 0;
}

static _Noreturn void hold_lock(victim *v)
{
    if (pthread_mutex_lock(&v->mutex) == 0)
        atomic_store(&v->has_locked, 1);
    for (;;)
        dcmi_nap_ns(1000 * DCMI_NS_PER_MS);
}

static bool await_word(const _Atomic uint32_t *word)
{
    const uint64_t end = dcmi_now_ns() + CHECK_DEADLINE_MS * DCMI_NS_PER_MS;

    while (atomic_load(word) == 0) {
        if (dcmi_now_ns() >= end)
            return false;
        dcmi_nap_ns(DCMI_NS_PER_MS / 10);
    }
    return true;
}

/* Kill the owner and see when the lock tells of it. */
static check_verdict see_death(check_line *line, victim *v, pid_t pid)
{
    const uint64_t start = dcmi_now_ns();
    uint64_t now;
    int rc;

    (void)kill(pid, SIGKILL);
    do {
        rc = pthread_mutex_trylock(&v->mutex);
        now = dcmi_now_ns();
    } while (rc == EBUSY && now - start < CHECK_DEADLINE_MS * DCMI_NS_PER_MS);
    if (rc == EOWNERDEAD) {
        (void)pthread_mutex_consistent(&v->mutex);
        (void)pthread_mutex_unlock(&v->mutex);
        return check_say(line, CHECK_OK,
                         "a process killed by SIGKILL was seen dead after "
                         "%.2f ms",
                         (double)(now - start) / (double)DCMI_NS_PER_MS);
    }
    return check_say(line, CHECK_FAIL, "a killed owner was not seen: %s",
                     rc == EBUSY ? "still locked after 5 s" : strerror(rc));
}

check_verdict check_robust(check_line *line)
{
    victim *v = check_shared(sizeof(*v));
    check_verdict verdict;
    pid_t pid;

    if (v == NULL || !init_victim(v))
        return check_say(line, CHECK_FAIL, "no robust mutex between processes");
    pid = check_fork();
    if (pid == 0)
        hold_lock(v);
    if (pid < 0) {
        verdict = check_say(line, CHECK_FAIL, "fork: %s", strerror(errno));
    } else if (!await_word(&v->has_locked)) {
        (void)kill(pid, SIGKILL);
        verdict = check_say(line, CHECK_FAIL, "the other process cannot lock");
    } else {
        verdict = see_death(line, v, pid);
    }
    if (pid > 0)
        (void)check_join(pid);
    (void)munmap(v, sizeof(*v));
    return verdict;
}

typedef struct sleeper {
    _Atomic uint32_t is_there;
    _Atomic uint32_t word;
    _Atomic uint64_t woke_ns;
} sleeper;

static int sleep_once(sleeper *s)
{
    const uint64_t end = dcmi_now_ns() + CHECK_DEADLINE_MS * DCMI_NS_PER_MS;

    atomic_store(&s->is_there, 1);
    while (atomic_load(&s->word) == 0 && dcmi_now_ns() < end)
        dcmi_futex_wait(&s->word, 0, CHECK_DEADLINE_MS * DCMI_NS_PER_MS);
    atomic_store(&s->woke_ns, dcmi_now_ns());
    return atomic_load(&s->word) != 0 ? CLI_OK : CLI_FAIL;
}

check_verdict check_futex(check_line *line)
{
    static const uint64_t late_ns = 1000 * DCMI_NS_PER_MS;
    sleeper *s = check_shared(sizeof(*s));
    check_verdict v;
    uint64_t start;
    uint64_t took;
    pid_t pid;

    if (s == NULL)
        return check_say(line, CHECK_FAIL, "no shared memory");
    pid = check_fork();
    if (pid == 0)
        _exit(sleep_once(s));
    if (pid < 0 || !await_word(&s->is_there)) {
        v = check_say(line, CHECK_FAIL, "no second process");
    } else {
        dcmi_nap_ns(5 * DCMI_NS_PER_MS); /* most likely asleep by then */
        start = dcmi_now_ns();
        atomic_store(&s->word, 1);
        dcmi_futex_wake(&s->word);
        (void)check_join(pid);
        took = atomic_load(&s->woke_ns) - start;
        v = check_say(line, took < late_ns ? CHECK_OK : CHECK_FAIL,
                      "a sleeping process was woken after %.0f us",
                      (double)took / 1000.0);
    }
    (void)munmap(s, sizeof(*s));
    return v;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* See calls.h.  Each call has the failure that is likeliest where it is made. */
#define _GNU_SOURCE
#include "torture/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

typedef struct state {
    torture_mode mode;
    int n;
    const char *name;
    unsigned calls; /* that INTERRUPT and SHORT count */
    const char *failed;
    int error;
} state;

static _Thread_local state me;
static atomic_long blocks;

void torture_arm(torture_mode mode, int n, const char *name)
{
    me = (state){
        .mode = mode,
        .n = n,
        .name = name,
        .calls = mode == TORTURE_INTERRUPT ? (unsigned)n * 10000 : 0,
    };
}

const char *torture_disarm(void)
{
    me.mode = TORTURE_NONE;
    return me.failed;
}

const char *torture_reason(void)
{
    return strerror(me.error);
}

long torture_blocks(void)
{
    return atomic_load(&blocks);
}

/* Whether this call of `name` is to fail; errno is `error` then. */
static bool fails(const char *name, int error)
{
    if ((me.mode != TORTURE_NTH && me.mode != TORTURE_NEVER) ||
        strcmp(name, me.name) != 0)
        return false;
    if (me.mode == TORTURE_NTH && (me.n == 0 || --me.n != 0))
        return false;
    me.failed = name;
    me.error = error;
    errno = error;
    return true;
}

/*
 * Whether a signal ends this call before it has done anything.  By chance: in step
 * with a loop of calls, none of it would ever get on.
 */
static bool is_interrupted(const char *name)
{
    unsigned x = ++me.calls;

    if (me.mode != TORTURE_INTERRUPT)
        return false;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    if (((x ^ x >> 16) & 1) == 0)
        return false;
    me.failed = name;
    me.error = EINTR;
    errno = EINTR;
    return true;
}

/* How many of `bytes` this call may move. */
static size_t moves(size_t bytes)
{
    size_t most;

    if (me.mode != TORTURE_SHORT)
        return bytes;
    most = ++me.calls % 2 == 0 ? 1 : (size_t)me.n;
    return bytes > most ? most : bytes;
}

/* A call that returns `bad` and sets errno. */
#define WRAP(type, name, parameters, arguments, bad, error)                    \
    type __real_##name parameters;                                             \
    type __wrap_##name parameters;                                             \
    type __wrap_##name parameters                                              \
    {                                                                          \
        if (fails(#name, error))                                               \
            return bad;                                                        \
        return __real_##name arguments;                                        \
    }

/* The same, when a signal can end it. */
#define WRAP_INTR(type, name, parameters, arguments, bad, error)               \
    type __real_##name parameters;                                             \
    type __wrap_##name parameters;                                             \
    type __wrap_##name parameters                                              \
    {                                                                          \
        if (is_interrupted(#name) || fails(#name, error))                      \
            return bad;                                                        \
        return __real_##name arguments;                                        \
    }

/* One that gives something back does so, and fails all the same. */
#define WRAP_END(type, name, parameters, arguments, bad, error)                \
    type __real_##name parameters;                                             \
    type __wrap_##name parameters;                                             \
    type __wrap_##name parameters                                              \
    {                                                                          \
        const type rc = __real_##name arguments;                               \
                                                                               \
        return fails(#name, error) ? bad : rc;                                 \
    }

/* ---- memory ------------------------------------------------------------------ */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **block_p, size_t align, size_t bytes);
int __wrap_posix_memalign(void **block_p, size_t align, size_t bytes);
void __real_free(void *block);
void __wrap_free(void *block);

static void *counted(void *block)
{
    (void)atomic_fetch_add(&blocks, block != NULL ? 1 : 0);
    return block;
}

void *__wrap_malloc(size_t bytes)
{
    return fails("malloc", ENOMEM) ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails("calloc", ENOMEM) ? NULL : counted(__real_calloc(n, bytes));
}

void *__wrap_realloc(void *old, size_t bytes)
{
    void *more;

    if (fails("realloc", ENOMEM))
        return NULL;
    more = __real_realloc(old, bytes);
    return old == NULL ? counted(more) : more;
}

int __wrap_posix_memalign(void **block_p, size_t align, size_t bytes)
{
    int rc;

    if (fails("posix_memalign", ENOMEM))
        return ENOMEM;
    rc = __real_posix_memalign(block_p, align, bytes);
    if (rc == 0)
        (void)counted(*block_p);
    return rc;
}

void __wrap_free(void *block)
{
    (void)atomic_fetch_sub(&blocks, block != NULL ? 1 : 0);
    __real_free(block);
}

WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1,
     EMFILE)
WRAP_INTR(int, ftruncate, (int fd, off_t bytes), (fd, bytes), -1, ENOSPC)
WRAP_INTR(int, fallocate, (int fd, int mode, off_t at, off_t bytes),
          (fd, mode, at, bytes), -1, ENOSPC)
WRAP(void *, mmap,
     (void *at, size_t bytes, int prot, int flags, int fd, off_t offset),
     (at, bytes, prot, flags, fd, offset), MAP_FAILED, ENOMEM)
WRAP(int, mprotect, (void *at, size_t bytes, int prot), (at, bytes, prot), -1,
     ENOMEM)
WRAP(int, madvise, (void *at, size_t bytes, int what), (at, bytes, what), -1,
     EINVAL)
WRAP_END(int, munmap, (void *at, size_t bytes), (at, bytes), -1, EINVAL)
WRAP(int, getrlimit, (__rlimit_resource_t what, struct rlimit *limit),
     (what, limit), -1, EPERM)

/* ---- files ------------------------------------------------------------------- */

WRAP_END(int, close, (int fd), (fd), -1, EIO)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL,
     EMFILE)
WRAP_END(int, fclose, (FILE * f), (f), EOF, EIO)
WRAP(char *, fgets, (char *text, int bytes, FILE *f), (text, bytes, f), NULL,
     EIO)
WRAP(size_t, fread, (void *to, size_t bytes, size_t n, FILE *f),
     (to, bytes, n, f), 0, EIO)
WRAP(int, fstat, (int fd, struct stat *s), (fd, s), -1, EIO)
WRAP(int, stat, (const char *path, struct stat *s), (path, s), -1, EACCES)

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);

int __wrap_fcntl(int fd, int what, ...)
{
    va_list rest;
    long value;

    va_start(rest, what);
    value = va_arg(rest, long);
    va_end(rest);
    return fails("fcntl", EPERM) ? -1 : __real_fcntl(fd, what, value);
}

int __real_open(const char *path, int how, ...);
int __wrap_open(const char *path, int how, ...);

/* Never with O_CREAT here, so there is no third argument. */
int __wrap_open(const char *path, int how, ...)
{
    return fails("open", EACCES) ? -1 : __real_open(path, how);
}

WRAP(int, access, (const char *path, int how), (path, how), -1, ENOENT)
WRAP(ssize_t, readlink, (const char *path, char *to, size_t bytes),
     (path, to, bytes), -1, EACCES)

/* ---- sockets ----------------------------------------------------------------- */

WRAP(int, socket, (int domain, int type, int protocol),
     (domain, type, protocol), -1, EMFILE)
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t bytes),
     (fd, a, bytes), -1, EACCES)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, EOPNOTSUPP)
WRAP(int, connect, (int fd, const struct sockaddr *a, socklen_t bytes),
     (fd, a, bytes), -1, EACCES)
WRAP_INTR(int, accept4,
          (int fd, struct sockaddr *a, socklen_t *bytes, int flags),
          (fd, a, bytes, flags), -1, EMFILE)
WRAP(int, getsockopt, (int fd, int level, int what, void *v, socklen_t *bytes),
     (fd, level, what, v, bytes), -1, ENOBUFS)
WRAP(int, setsockopt,
     (int fd, int level, int what, const void *v, socklen_t bytes),
     (fd, level, what, v, bytes), -1, ENOBUFS)
WRAP(int, getsockname, (int fd, struct sockaddr *a, socklen_t *bytes),
     (fd, a, bytes), -1, ENOBUFS)
WRAP(int, getpeername, (int fd, struct sockaddr *a, socklen_t *bytes),
     (fd, a, bytes), -1, ENOTCONN)
WRAP(int, shutdown, (int fd, int how), (fd, how), -1, ENOTCONN)
WRAP_INTR(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms), -1,
          ENOMEM)
/* What fits into an empty socket goes at once, as the library counts on. */
WRAP_INTR(ssize_t, send, (int fd, const void *from, size_t bytes, int flags),
          (fd, from, bytes > 1024 ? moves(bytes) : bytes, flags), -1,
          ECONNRESET)
WRAP_INTR(ssize_t, recv, (int fd, void *to, size_t bytes, int flags),
          (fd, to, moves(bytes), flags), -1, ECONNRESET)

/* The message with less in its first and only piece. */
static struct msghdr clip(const struct msghdr *m, struct iovec *v)
{
    struct msghdr less = *m;

    *v = m->msg_iov[0];
    v->iov_len = moves(v->iov_len);
    less.msg_iov = v;
    return less;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct msghdr less;
    struct iovec v;

    if (is_interrupted("sendmsg") || fails("sendmsg", ENOBUFS))
        return -1;
    less = clip(m, &v);
    return __real_sendmsg(fd, &less, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
    struct msghdr less;
    struct iovec v;
    ssize_t n;

    if (is_interrupted("recvmsg") || fails("recvmsg", ENOMEM))
        return -1;
    less = clip(m, &v);
    n = __real_recvmsg(fd, &less, flags);
    m->msg_controllen = less.msg_controllen;
    m->msg_flags = less.msg_flags;
    return n;
}

int __real_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **list);

int __wrap_getaddrinfo(const char *host, const char *port,
                       const struct addrinfo *hints, struct addrinfo **list)
{
    return fails("getaddrinfo", ENOMEM)
               ? EAI_SYSTEM
               : __real_getaddrinfo(host, port, hints, list);
}

WRAP(int, getnameinfo,
     (const struct sockaddr *a, socklen_t bytes, char *host, socklen_t most,
      char *port, socklen_t port_most, int flags),
     (a, bytes, host, most, port, port_most, flags), EAI_MEMORY, ENOMEM)

/* ---- threads, and the rest --------------------------------------------------- */

/* One that returns its error. */
#define WRAP_RC(name, parameters, arguments, error)                            \
    int __real_##name parameters;                                              \
    int __wrap_##name parameters;                                              \
    int __wrap_##name parameters                                               \
    {                                                                          \
        return fails(#name, error) ? (error) : __real_##name arguments;        \
    }

WRAP_RC(pthread_key_create, (pthread_key_t * key, void (*end)(void *)),
        (key, end), EAGAIN)
WRAP_RC(pthread_setspecific, (pthread_key_t key, const void *v), (key, v),
        ENOMEM)
WRAP_RC(pthread_mutex_init,
        (pthread_mutex_t * m, const pthread_mutexattr_t *attr), (m, attr),
        EAGAIN)
WRAP_RC(pthread_mutexattr_init, (pthread_mutexattr_t * attr), (attr), ENOMEM)
WRAP_RC(pthread_mutexattr_setpshared, (pthread_mutexattr_t * attr, int how),
        (attr, how), EINVAL)
WRAP_RC(pthread_mutexattr_setrobust, (pthread_mutexattr_t * attr, int how),
        (attr, how), EINVAL)
WRAP(int, getcontext, (ucontext_t * c), (c), -1, ENOSYS)
WRAP(int, gethostname, (char *name, size_t bytes), (name, bytes), -1,
     ENAMETOOLONG)
WRAP_INTR(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags),
          (to, bytes, flags), -1, ENOSYS)
WRAP_INTR(int, nanosleep, (const struct timespec *t, struct timespec *left),
          (t, left), -1, EINVAL)
WRAP_INTR(ssize_t, pwrite, (int fd, const void *from, size_t bytes, off_t at),
          (fd, from, bytes, at), -1, ENOSPC)
WRAP(int, sched_getcpu, (void), (), -1, ENOSYS)
WRAP(int, sched_getaffinity, (pid_t pid, size_t bytes, cpu_set_t *set),
     (pid, bytes, set), -1, EPERM)
WRAP(long, sysconf, (int what), (what), -1, EINVAL)

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* All but gettid, which cannot fail. */
long __wrap_syscall(long number, ...)
{
    va_list rest;
    long a[6];

    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number != SYS_gettid &&
        (is_interrupted("syscall") || fails("syscall", ENOSYS)))
        return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

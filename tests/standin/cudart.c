/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcudart.so.N for tests: two devices whose memory is the host's, a memfd a piece,
 * so that other processes open it by its handle.  As in the driver's stand-in, with
 * STANDIN_NO_PEER=1 they cannot, and with STANDIN_DEAF=1 they get a copy.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/cuda/runtime.h"

enum {
    PIECES = 64
};

/* What a handle holds. */
typedef struct piece {
    void *at; /* NULL: none */
    size_t bytes;
    int fd; /* -1: opened by a handle */
    int pid;
} piece;

static piece pieces[PIECES];

static piece *find(const void *at)
{
    for (int i = 0; i < PIECES; i++) {
        if (pieces[i].at == at)
            return &pieces[i];
    }
    return NULL;
}

#define DCMI_X(member, symbol, result, args)                                   \
    __attribute__((visibility("default")))                                     \
    result rt_##member args __asm__(symbol);
DCMI_CUDART_MAP(DCMI_X)
#undef DCMI_X

int rt_set_device(int device)
{
    return device == 0 || device == 1 ? 0 : 101;
}

int rt_sync(void)
{
    return 0;
}

int rt_reset(void)
{
    return 0;
}

const char *rt_error_text(int r)
{
    return r == 101 ? "invalid device ordinal" : "from the stand-in";
}

static void *map(int fd, size_t bytes, int flags)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

int rt_malloc(void **ptr_p, size_t bytes)
{
    piece *p = find(NULL);
    int fd = memfd_create("standin-cudart", MFD_CLOEXEC);

    if (p == NULL || fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        return 2;
    *p = (piece){map(fd, bytes, MAP_SHARED), bytes, fd, (int)getpid()};
    *ptr_p = p->at;
    return p->at != NULL ? 0 : 2;
}

int rt_free(void *ptr)
{
    piece *p = find(ptr);

    if (ptr == NULL || p == NULL)
        return ptr == NULL ? 0 : 1;
    (void)munmap(p->at, p->bytes);
    (void)close(p->fd);
    p->at = NULL;
    return 0;
}

int rt_memset(void *dst, int byte, size_t bytes)
{
    memset(dst, byte, bytes);
    return 0;
}

int rt_memcpy(void *dst, const void *src, size_t bytes, int kind)
{
    memcpy(dst, src, bytes);
    return kind == DCMI_CUDART_COPY_INFERRED ? 0 : 1;
}

int rt_ipc_get(dcmi_cu_ipc *handle_p, void *ptr)
{
    const piece *p = find(ptr);

    if (ptr == NULL || p == NULL)
        return 1;
    memset(handle_p, 0, sizeof(*handle_p));
    memcpy(handle_p, p, sizeof(*p));
    return 0;
}

int rt_ipc_open(void **ptr_p, dcmi_cu_ipc handle, unsigned flags)
{
    piece *p = find(NULL);
    char path[64];
    piece theirs;
    int fd;

    if (flags != DCMI_CUDART_LAZY_PEER || p == NULL)
        return 1;
    if (getenv("STANDIN_NO_PEER") != NULL)
        return 217;
    memcpy(&theirs, &handle, sizeof(theirs));
    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", theirs.pid, theirs.fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 201;
    *p = (piece){map(fd, theirs.bytes,
                     getenv("STANDIN_DEAF") != NULL ? MAP_PRIVATE : MAP_SHARED),
                 theirs.bytes, -1, theirs.pid};
    (void)close(fd);
    *ptr_p = p->at;
    return p->at != NULL ? 0 : 2;
}

int rt_ipc_close(void *ptr)
{
    piece *p = find(ptr);

    if (ptr == NULL || p == NULL || p->fd >= 0)
        return 1;
    (void)munmap(p->at, p->bytes);
    p->at = NULL;
    return 0;
}

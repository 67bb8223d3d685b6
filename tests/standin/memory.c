/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations: memfds, so that other processes can open them; pinned memory, and
 * host memory that is registered.
 */
#define _GNU_SOURCE
#include "standin/standin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PAGE = 4096
};

size_t standin_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

int standin_memory_fd(size_t bytes)
{
    const int fd = memfd_create("stand-in", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* ---- allocations ---------------------------------------------------------- */

/* With the lock held. */
static dcmi_cu_result add_pages(uint64_t *at_p, standin_kind k, size_t bytes)
{
    const size_t whole = standin_up(bytes, PAGE);
    const int fd = standin_memory_fd(whole);
    standin_range *r;
    void *at;

    if (fd < 0)
        return STANDIN_NOMEM;
    at = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    r = at != MAP_FAILED ? standin_range_add(k, (uint64_t)(uintptr_t)at, whole)
                         : NULL;
    if (r == NULL) {
        if (at != MAP_FAILED)
            (void)munmap(at, whole);
        (void)close(fd);
        return STANDIN_NOMEM;
    }
    r->fd = fd;
    *at_p = (uint64_t)(uintptr_t)at;
    return DCMI_CU_OK;
}

static dcmi_cu_result allocate(uint64_t *at_p, standin_kind k, size_t bytes)
{
    dcmi_cu_result r = STANDIN_CAPTURING;

    if (bytes == 0)
        return STANDIN_INVALID;
    if (standin_ctx_here() == NULL)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    if (standin_may())
        r = add_pages(at_p, k, bytes);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

/* Waits for the whole context, as the driver's does. */
static dcmi_cu_result release(standin_kind k, uint64_t at)
{
    const standin_ctx *ctx = standin_ctx_here();
    dcmi_cu_result r = STANDIN_INVALID;
    const standin_range *found;

    if (ctx == NULL)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_at(k, at);
    if (!standin_may()) {
        r = STANDIN_CAPTURING;
    } else if (found != NULL) {
        const size_t bytes = found->bytes;

        standin_drain(ctx);
        (void)standin_range_remove(k, at);
        (void)munmap((void *)(uintptr_t)at, bytes);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_alloc(dcmi_cu_ptr *ptr_p, size_t bytes)
{
    return allocate(ptr_p, STANDIN_DEVICE, bytes);
}

dcmi_cu_result standin_mem_free(dcmi_cu_ptr ptr)
{
    const dcmi_cu_result r = release(STANDIN_DEVICE, ptr);

    return r == STANDIN_INVALID ? release(STANDIN_MANAGED, ptr) : r;
}

dcmi_cu_result standin_managed(dcmi_cu_ptr *ptr_p, size_t bytes, unsigned flags)
{
    (void)flags;
    return allocate(ptr_p, STANDIN_MANAGED, bytes);
}

dcmi_cu_result standin_pool(dcmi_cu_ptr *ptr_p, size_t bytes,
                            dcmi_cu_stream stream)
{
    (void)stream;
    return allocate(ptr_p, STANDIN_POOL, bytes);
}

dcmi_cu_result standin_pool_free(dcmi_cu_ptr ptr, dcmi_cu_stream stream)
{
    (void)stream;
    return release(STANDIN_POOL, ptr);
}

dcmi_cu_result standin_host_alloc(void **ptr_p, size_t bytes, unsigned flags)
{
    uint64_t at = 0;
    const dcmi_cu_result r = allocate(&at, STANDIN_HOST, bytes);

    (void)flags;
    if (r == DCMI_CU_OK)
        *ptr_p = (void *)(uintptr_t)at;
    return r;
}

dcmi_cu_result standin_host_free(void *ptr)
{
    return release(STANDIN_HOST, (uint64_t)(uintptr_t)ptr);
}

/* ---- registered host memory ----------------------------------------------- */

dcmi_cu_result standin_host_register(void *ptr, size_t bytes, unsigned flags)
{
    const uint64_t at = (uint64_t)(uintptr_t)ptr;
    dcmi_cu_result r = STANDIN_REGISTERED_ALREADY;
    bool is_there = false;

    (void)flags;
    (void)pthread_mutex_lock(&standin_lock);
    for (const standin_range *p = standin_ranges(); p != NULL; p = p->next)
        is_there =
            is_there || (at < p->base + p->bytes && p->base < at + bytes);
    if (!standin_may())
        r = STANDIN_CAPTURING;
    else if (!is_there)
        r = standin_range_add(STANDIN_REGISTERED, at, bytes) != NULL
                ? DCMI_CU_OK
                : STANDIN_NOMEM;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_host_unregister(void *ptr)
{
    dcmi_cu_result r = STANDIN_NOT_REGISTERED;

    (void)pthread_mutex_lock(&standin_lock);
    if (!standin_may())
        r = STANDIN_CAPTURING;
    else if (standin_range_remove(STANDIN_REGISTERED, (uint64_t)(uintptr_t)ptr))
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

/* ---- handles for other processes ------------------------------------------ */

typedef struct handle {
    int pid;
    int fd;
    uint64_t base;
    size_t bytes;
} handle;

_Static_assert(sizeof(handle) <= sizeof(dcmi_cu_ipc), "fits the driver's");

dcmi_cu_result standin_ipc_get(dcmi_cu_ipc *handle_p, dcmi_cu_ptr ptr)
{
    const standin_range *found;
    handle h = {.pid = getpid(), .fd = -1};

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_of(ptr);
    if (found != NULL && found->kind == STANDIN_DEVICE) {
        h.fd = found->fd;
        h.base = found->base;
        h.bytes = found->bytes;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    memset(handle_p, 0, sizeof(*handle_p));
    memcpy(handle_p, &h, sizeof(h));
    return h.fd >= 0 ? DCMI_CU_OK : STANDIN_INVALID;
}

/* With the lock held. */
static dcmi_cu_result map_opened(dcmi_cu_ptr *ptr_p, const dcmi_cu_ipc *ipc,
                                 int fd, size_t bytes)
{
    standin_range *r;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return STANDIN_NOMEM;
    r = standin_range_add(STANDIN_OPENED, (uint64_t)(uintptr_t)at, bytes);
    if (r == NULL) {
        (void)munmap(at, bytes);
        return STANDIN_NOMEM;
    }
    r->handle = *ipc;
    *ptr_p = (uint64_t)(uintptr_t)at;
    return DCMI_CU_OK;
}

/* Not in the process that made it, and once. */
dcmi_cu_result standin_ipc_open(dcmi_cu_ptr *ptr_p, dcmi_cu_ipc ipc,
                                unsigned flags)
{
    dcmi_cu_result r = DCMI_CU_OK;
    char path[64];
    handle h;
    int fd;

    memcpy(&h, &ipc, sizeof(h));
    if (flags != DCMI_CU_IPC_LAZY_PEER)
        return STANDIN_INVALID;
    if (standin_ctx_here() == NULL || h.pid == getpid())
        return STANDIN_BAD_CONTEXT;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", h.pid, h.fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return STANDIN_INVALID;
    (void)pthread_mutex_lock(&standin_lock);
    for (const standin_range *p = standin_ranges(); p != NULL; p = p->next) {
        if (p->kind == STANDIN_OPENED &&
            memcmp(&p->handle, &ipc, sizeof(ipc)) == 0)
            r = STANDIN_MAPPED_ALREADY;
    }
    if (r == DCMI_CU_OK)
        r = map_opened(ptr_p, &ipc, fd, h.bytes);
    (void)pthread_mutex_unlock(&standin_lock);
    (void)close(fd);
    return r;
}

dcmi_cu_result standin_ipc_close(dcmi_cu_ptr ptr)
{
    dcmi_cu_result r = STANDIN_INVALID;
    const standin_range *found;

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_at(STANDIN_OPENED, ptr);
    if (found != NULL) {
        (void)munmap((void *)(uintptr_t)ptr, found->bytes);
        (void)standin_range_remove(STANDIN_OPENED, ptr);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_peer_enable(dcmi_cu_ctx peer, unsigned flags)
{
    standin_ctx *ctx = standin_ctx_here();
    const standin_ctx *p = peer;
    dcmi_cu_result r = DCMI_CU_OK;

    if (ctx == NULL || p == NULL || p == ctx || flags != 0)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    if ((ctx->peers >> p->device & 1u) != 0)
        r = STANDIN_PEER_ENABLED;
    ctx->peers |= 1u << p->device;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of devices that is the host's: allocations and physical memory are memfds,
 * so that descriptors carry them to other processes.
 */
#define _GNU_SOURCE
#include "standin/standin.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    GRANULE = 2 << 20,
    PAGE = 4096
};

typedef enum kind {
    DEVICE,     /* mem_alloc */
    HOST,       /* host_alloc */
    REGISTERED, /* host_register */
    RESERVED,   /* addresses */
    MAPPED      /* physical memory at reserved addresses */
} kind;

typedef struct range {
    struct range *next;
    uint64_t base;
    size_t bytes;
    kind kind;
    bool is_open; /* MAPPED: access was given */
} range;

/* Physical memory's handle. */
typedef struct physical {
    int fd;
    size_t bytes;
} physical;

static range *ranges;

/* ---- the table, with the lock held ---------------------------------------- */

static range *range_add(kind k, uint64_t base, size_t bytes)
{
    range *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    *r = (range){ranges, base, bytes, k, false};
    ranges = r;
    standin_live_add(
        k == MAPPED || k == RESERVED ? STANDIN_MAPPINGS : STANDIN_REGIONS, 1);
    return r;
}

static bool range_remove(kind k, uint64_t base)
{
    range **at = &ranges;
    range *r;

    while (*at != NULL && ((*at)->kind != k || (*at)->base != base))
        at = &(*at)->next;
    r = *at;
    if (r == NULL)
        return false;
    *at = r->next;
    standin_live_add(
        k == MAPPED || k == RESERVED ? STANDIN_MAPPINGS : STANDIN_REGIONS, -1);
    free(r);
    return true;
}

static range *range_at(kind k, uint64_t base)
{
    range *r = ranges;

    while (r != NULL && (r->kind != k || r->base != base))
        r = r->next;
    return r;
}

/* What a device reaches at `at`. */
static const range *range_of(uint64_t at)
{
    const range *r = ranges;

    while (r != NULL &&
           (r->kind == RESERVED || at < r->base || at >= r->base + r->bytes ||
            (r->kind == MAPPED && !r->is_open)))
        r = r->next;
    return r;
}

bool standin_reaches(uint64_t at, size_t bytes)
{
    const range *r = range_of(at);

    return bytes == 0 || (r != NULL && at + bytes <= r->base + r->bytes);
}

static size_t up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static int memory_fd(size_t bytes)
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
static dcmi_cu_result add_pages(uint64_t *at_p, kind k, size_t bytes)
{
    const size_t whole = up(bytes, PAGE);
    const int fd = memory_fd(whole);
    void *at;

    if (fd < 0)
        return STANDIN_NOMEM;
    at = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED)
        return STANDIN_NOMEM;
    if (range_add(k, (uint64_t)(uintptr_t)at, whole) == NULL) {
        (void)munmap(at, whole);
        return STANDIN_NOMEM;
    }
    *at_p = (uint64_t)(uintptr_t)at;
    return DCMI_CU_OK;
}

static dcmi_cu_result allocate(uint64_t *at_p, kind k, size_t bytes)
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
static dcmi_cu_result release(kind k, uint64_t at)
{
    const standin_ctx *ctx = standin_ctx_here();
    dcmi_cu_result r = STANDIN_INVALID;
    const range *found;

    if (ctx == NULL)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    found = range_at(k, at);
    if (!standin_may()) {
        r = STANDIN_CAPTURING;
    } else if (found != NULL) {
        const size_t bytes = found->bytes;

        standin_drain(ctx);
        (void)range_remove(k, at);
        (void)munmap((void *)(uintptr_t)at, bytes);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_alloc(dcmi_cu_ptr *ptr_p, size_t bytes)
{
    return allocate(ptr_p, DEVICE, bytes);
}

dcmi_cu_result standin_mem_free(dcmi_cu_ptr ptr)
{
    return ptr == 0 ? DCMI_CU_OK : release(DEVICE, ptr);
}

dcmi_cu_result standin_host_alloc(void **ptr_p, size_t bytes, unsigned flags)
{
    uint64_t at = 0;
    const dcmi_cu_result r = allocate(&at, HOST, bytes);

    (void)flags;
    if (r == DCMI_CU_OK)
        *ptr_p = (void *)(uintptr_t)at;
    return r;
}

dcmi_cu_result standin_host_free(void *ptr)
{
    return release(HOST, (uint64_t)(uintptr_t)ptr);
}

/* ---- registered host memory ----------------------------------------------- */

dcmi_cu_result standin_host_register(void *ptr, size_t bytes, unsigned flags)
{
    const uint64_t at = (uint64_t)(uintptr_t)ptr;
    dcmi_cu_result r = STANDIN_REGISTERED;
    bool is_there = false;

    (void)flags;
    (void)pthread_mutex_lock(&standin_lock);
    for (const range *p = ranges; p != NULL; p = p->next)
        is_there =
            is_there || (at < p->base + p->bytes && p->base < at + bytes);
    if (!standin_may())
        r = STANDIN_CAPTURING;
    else if (!is_there)
        r = range_add(REGISTERED, at, bytes) != NULL ? DCMI_CU_OK
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
    else if (range_remove(REGISTERED, (uint64_t)(uintptr_t)ptr))
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_host_pointer(dcmi_cu_ptr *ptr_p, void *host,
                                    unsigned flags)
{
    const range *found;
    bool is_host;

    (void)flags;
    (void)pthread_mutex_lock(&standin_lock);
    found = range_of((uint64_t)(uintptr_t)host);
    is_host =
        found != NULL && (found->kind == HOST || found->kind == REGISTERED);
    (void)pthread_mutex_unlock(&standin_lock);
    *ptr_p = (uint64_t)(uintptr_t)host;
    return is_host ? DCMI_CU_OK : STANDIN_INVALID;
}

dcmi_cu_result standin_pointer_attribute(void *value, int attribute,
                                         dcmi_cu_ptr ptr)
{
    const range *found;
    unsigned type = 0;

    if (attribute != DCMI_CU_POINTER_TYPE)
        return STANDIN_INVALID;
    (void)pthread_mutex_lock(&standin_lock);
    found = range_of(ptr);
    if (found != NULL)
        type = found->kind == DEVICE || found->kind == MAPPED
                   ? 2
                   : DCMI_CU_POINTER_HOST;
    (void)pthread_mutex_unlock(&standin_lock);
    if (type == 0)
        return STANDIN_INVALID;
    memcpy(value, &type, sizeof(type));
    return DCMI_CU_OK;
}

/* ---- copies --------------------------------------------------------------- */

static void run_copy(standin_op *op)
{
    memcpy((void *)(uintptr_t)op->u.move.dst,
           (const void *)(uintptr_t)op->u.move.src, op->u.move.n);
}

static void run_fill(standin_op *op)
{
    uint32_t *at = (uint32_t *)(uintptr_t)op->u.move.dst;
    const uint32_t word = (uint32_t)op->u.move.src;

    if (word == (word & 0xff) * 0x01010101u) {
        memset(at, (int)(word & 0xff), op->u.move.n * 4);
        return;
    }
    for (size_t i = 0; i < op->u.move.n; i++)
        at[i] = word;
}

/* `device` is the side that must be the device's. */
static dcmi_cu_result move(const standin_op *op, uint64_t device, size_t bytes,
                           dcmi_cu_stream stream)
{
    dcmi_cu_result r = STANDIN_INVALID;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL)
        r = STANDIN_BAD_HANDLE;
    else if (standin_reaches(device, bytes))
        r = standin_submit(s, op);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static dcmi_cu_result move_now(uint64_t dst, uint64_t src, uint64_t device,
                               size_t bytes)
{
    dcmi_cu_result r = STANDIN_INVALID;

    (void)pthread_mutex_lock(&standin_lock);
    if (!standin_may())
        r = STANDIN_CAPTURING;
    else if (standin_reaches(device, bytes))
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        memcpy((void *)(uintptr_t)dst, (const void *)(uintptr_t)src, bytes);
    return r;
}

dcmi_cu_result standin_copy_to(dcmi_cu_ptr dst, const void *src, size_t bytes)
{
    return move_now(dst, (uint64_t)(uintptr_t)src, dst, bytes);
}

dcmi_cu_result standin_copy_from(void *dst, dcmi_cu_ptr src, size_t bytes)
{
    return move_now((uint64_t)(uintptr_t)dst, src, src, bytes);
}

/* From memory that is not pinned: the stream's work first, then now. */
static dcmi_cu_result copy_pageable(const standin_op *op, dcmi_cu_stream stream)
{
    dcmi_cu_result r = STANDIN_INVALID;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL) {
        r = STANDIN_BAD_HANDLE;
    } else if (s->graph != NULL) {
        r = STANDIN_CAPTURING;
    } else if (standin_reaches(op->u.move.dst, op->u.move.n)) {
        standin_finish(s);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        memcpy((void *)(uintptr_t)op->u.move.dst,
               (const void *)(uintptr_t)op->u.move.src, op->u.move.n);
    return r;
}

dcmi_cu_result standin_copy_to_async(dcmi_cu_ptr dst, const void *src,
                                     size_t bytes, dcmi_cu_stream stream)
{
    const standin_op op = {
        .run = run_copy,
        .u.move = {dst, (uint64_t)(uintptr_t)src, bytes},
    };
    bool is_pinned;

    (void)pthread_mutex_lock(&standin_lock);
    is_pinned = standin_reaches((uint64_t)(uintptr_t)src, bytes);
    (void)pthread_mutex_unlock(&standin_lock);
    return is_pinned ? move(&op, dst, bytes, stream)
                     : copy_pageable(&op, stream);
}

dcmi_cu_result standin_set_words_async(dcmi_cu_ptr dst, unsigned value,
                                       size_t n, dcmi_cu_stream stream)
{
    const standin_op op = {.run = run_fill, .u.move = {dst, value, n}};

    return dst % 4 != 0 ? STANDIN_INVALID : move(&op, dst, 4 * n, stream);
}

/* ---- physical memory and addresses ---------------------------------------- */

dcmi_cu_result standin_mem_granularity(size_t *bytes_p,
                                       const dcmi_cu_mem_prop *prop, int option)
{
    (void)option;
    *bytes_p = GRANULE;
    return prop->type == DCMI_CU_PINNED ? DCMI_CU_OK : STANDIN_INVALID;
}

static dcmi_cu_result physical_new(dcmi_cu_mem *mem_p, int fd, size_t bytes)
{
    physical *p = calloc(1, sizeof(*p));

    if (p == NULL || fd < 0) {
        free(p);
        return STANDIN_NOMEM;
    }
    *p = (physical){fd, bytes};
    (void)pthread_mutex_lock(&standin_lock);
    standin_live_add(STANDIN_MEMORY, 1);
    (void)pthread_mutex_unlock(&standin_lock);
    *mem_p = (dcmi_cu_mem)(uintptr_t)p;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_mem_create(dcmi_cu_mem *mem_p, size_t bytes,
                                  const dcmi_cu_mem_prop *prop,
                                  unsigned long long flags)
{
    if (flags != 0 || bytes == 0 || bytes % GRANULE != 0 ||
        prop->type != DCMI_CU_PINNED || prop->location.id < 0)
        return STANDIN_INVALID;
    return physical_new(mem_p, memory_fd(bytes), bytes);
}

/* Mappings keep the memory. */
dcmi_cu_result standin_mem_release(dcmi_cu_mem mem)
{
    physical *p = (physical *)(uintptr_t)mem;

    (void)close(p->fd);
    (void)pthread_mutex_lock(&standin_lock);
    standin_live_add(STANDIN_MEMORY, -1);
    (void)pthread_mutex_unlock(&standin_lock);
    free(p);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_mem_export(void *handle_p, dcmi_cu_mem mem, int type,
                                  unsigned long long flags)
{
    const physical *p = (const physical *)(uintptr_t)mem;
    int fd;

    if (type != DCMI_CU_POSIX_FD || flags != 0)
        return STANDIN_INVALID;
    fd = dup(p->fd);
    if (fd < 0)
        return STANDIN_NOMEM;
    memcpy(handle_p, &fd, sizeof(fd));
    return DCMI_CU_OK;
}

dcmi_cu_result standin_mem_import(dcmi_cu_mem *mem_p, void *handle, int type)
{
    const int fd = dup((int)(uintptr_t)handle);
    const off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (type != DCMI_CU_POSIX_FD || bytes <= 0 || bytes % GRANULE != 0) {
        if (fd >= 0)
            (void)close(fd);
        return STANDIN_INVALID;
    }
    return physical_new(mem_p, fd, (size_t)bytes);
}

dcmi_cu_result standin_mem_reserve(dcmi_cu_ptr *ptr_p, size_t bytes,
                                   size_t align, dcmi_cu_ptr at,
                                   unsigned long long flags)
{
    const size_t to = align == 0 ? GRANULE : align;
    dcmi_cu_result r = STANDIN_NOMEM;
    uint64_t base;
    void *room;

    if (at != 0 || flags != 0 || bytes == 0 || bytes % GRANULE != 0)
        return STANDIN_INVALID;
    room = mmap(NULL, bytes + to, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return STANDIN_NOMEM;
    base = up((size_t)(uintptr_t)room, to);
    if (base > (uint64_t)(uintptr_t)room)
        (void)munmap(room, base - (uint64_t)(uintptr_t)room);
    (void)munmap((void *)(uintptr_t)(base + bytes),
                 (uint64_t)(uintptr_t)room + to - base);
    (void)pthread_mutex_lock(&standin_lock);
    if (range_add(RESERVED, base, bytes) != NULL)
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        *ptr_p = base;
    return r;
}

/* Nothing may be mapped there any longer. */
dcmi_cu_result standin_mem_unreserve(dcmi_cu_ptr ptr, size_t bytes)
{
    dcmi_cu_result r = STANDIN_INVALID;
    bool is_used = false;

    (void)pthread_mutex_lock(&standin_lock);
    for (const range *p = ranges; p != NULL; p = p->next)
        is_used = is_used || (p->kind == MAPPED && p->base >= ptr &&
                              p->base < ptr + bytes);
    if (!is_used && range_remove(RESERVED, ptr)) {
        (void)munmap((void *)(uintptr_t)ptr, bytes);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static bool is_reserved(uint64_t at, size_t bytes)
{
    const range *r = ranges;

    while (r != NULL && (r->kind != RESERVED || at < r->base ||
                         at + bytes > r->base + r->bytes))
        r = r->next;
    return r != NULL;
}

dcmi_cu_result standin_mem_map(dcmi_cu_ptr ptr, size_t bytes, size_t offset,
                               dcmi_cu_mem mem, unsigned long long flags)
{
    const physical *p = (const physical *)(uintptr_t)mem;
    dcmi_cu_result r = STANDIN_INVALID;

    if (offset != 0 || flags != 0 || bytes != p->bytes)
        return STANDIN_INVALID;
    (void)pthread_mutex_lock(&standin_lock);
    if (is_reserved(ptr, bytes) && range_at(MAPPED, ptr) == NULL &&
        mmap((void *)(uintptr_t)ptr, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED,
             p->fd, 0) != MAP_FAILED)
        r = range_add(MAPPED, ptr, bytes) != NULL ? DCMI_CU_OK : STANDIN_NOMEM;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_unmap(dcmi_cu_ptr ptr, size_t bytes)
{
    dcmi_cu_result r = STANDIN_INVALID;

    (void)pthread_mutex_lock(&standin_lock);
    if (range_remove(MAPPED, ptr) &&
        mmap((void *)(uintptr_t)ptr, bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
             0) != MAP_FAILED)
        r = DCMI_CU_OK;
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_set_access(dcmi_cu_ptr ptr, size_t bytes,
                                      const dcmi_cu_access *access, size_t n)
{
    dcmi_cu_result r = STANDIN_INVALID;
    range *found;

    (void)pthread_mutex_lock(&standin_lock);
    found = range_at(MAPPED, ptr);
    if (found != NULL && found->bytes == bytes && n == 1 &&
        access->flags == DCMI_CU_READ_WRITE &&
        mprotect((void *)(uintptr_t)ptr, bytes, PROT_READ | PROT_WRITE) == 0) {
        found->is_open = true;
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory, and addresses that it is mapped at. */
#define _GNU_SOURCE
#include "standin/standin.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

dcmi_cu_result standin_mem_granularity(size_t *bytes_p,
                                       const dcmi_cu_mem_prop *prop, int option)
{
    (void)option;
    *bytes_p = STANDIN_GRANULE;
    return prop->type == DCMI_CU_PINNED ? DCMI_CU_OK : STANDIN_INVALID;
}

static dcmi_cu_result physical_new(dcmi_cu_mem *mem_p, int fd, size_t bytes,
                                   int device, int handle_types)
{
    standin_physical *p = calloc(1, sizeof(*p));

    if (p == NULL || fd < 0) {
        free(p);
        return STANDIN_NOMEM;
    }
    *p = (standin_physical){fd, bytes, device, handle_types, false, 1};
    (void)pthread_mutex_lock(&standin_lock);
    standin_live_add(STANDIN_MEMORY, 1);
    (void)pthread_mutex_unlock(&standin_lock);
    *mem_p = (dcmi_cu_mem)(uintptr_t)p;
    return DCMI_CU_OK;
}

/* With the lock held. */
static void physical_put(standin_physical *p)
{
    if (--p->users > 0)
        return;
    (void)close(p->fd);
    standin_live_add(STANDIN_MEMORY, -1);
    free(p);
}

dcmi_cu_result standin_mem_create(dcmi_cu_mem *mem_p, size_t bytes,
                                  const dcmi_cu_mem_prop *prop,
                                  unsigned long long flags)
{
    if (flags != 0 || bytes == 0 || bytes % STANDIN_GRANULE != 0 ||
        prop->type != DCMI_CU_PINNED || prop->location.id < 0)
        return STANDIN_INVALID;
    return physical_new(mem_p, standin_memory_fd(bytes), bytes,
                        prop->location.id, prop->handle_types);
}

/* Mappings keep the memory. */
dcmi_cu_result standin_mem_release(dcmi_cu_mem mem)
{
    (void)pthread_mutex_lock(&standin_lock);
    physical_put((standin_physical *)(uintptr_t)mem);
    (void)pthread_mutex_unlock(&standin_lock);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_mem_retain(dcmi_cu_mem *mem_p, void *at)
{
    const standin_range *found;
    dcmi_cu_result r = STANDIN_INVALID;

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_of((uint64_t)(uintptr_t)at);
    if (found != NULL && found->mem != NULL) {
        found->mem->users++;
        *mem_p = (dcmi_cu_mem)(uintptr_t)found->mem;
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_export(void *handle_p, dcmi_cu_mem mem, int type,
                                  unsigned long long flags)
{
    const standin_physical *p = (const standin_physical *)(uintptr_t)mem;
    int fd;

    if (type != DCMI_CU_POSIX_FD || flags != 0 ||
        (p->handle_types & DCMI_CU_POSIX_FD) == 0)
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
    dcmi_cu_result r;

    if (type != DCMI_CU_POSIX_FD || bytes <= 0 ||
        bytes % STANDIN_GRANULE != 0) {
        if (fd >= 0)
            (void)close(fd);
        return STANDIN_INVALID;
    }
    r = physical_new(mem_p, fd, (size_t)bytes, 0, DCMI_CU_POSIX_FD);
    if (r == DCMI_CU_OK)
        ((standin_physical *)(uintptr_t)*mem_p)->is_imported = true;
    return r;
}

dcmi_cu_result standin_mem_reserve(dcmi_cu_ptr *ptr_p, size_t bytes,
                                   size_t align, dcmi_cu_ptr at,
                                   unsigned long long flags)
{
    const size_t to = align == 0 ? STANDIN_GRANULE : align;
    dcmi_cu_result r = STANDIN_NOMEM;
    uint64_t base;
    void *room;

    if (at != 0 || flags != 0 || bytes == 0 || bytes % STANDIN_GRANULE != 0)
        return STANDIN_INVALID;
    room = mmap(NULL, bytes + to, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return STANDIN_NOMEM;
    base = standin_up((size_t)(uintptr_t)room, to);
    if (base > (uint64_t)(uintptr_t)room)
        (void)munmap(room, base - (uint64_t)(uintptr_t)room);
    (void)munmap((void *)(uintptr_t)(base + bytes),
                 (uint64_t)(uintptr_t)room + to - base);
    (void)pthread_mutex_lock(&standin_lock);
    if (standin_range_add(STANDIN_RESERVED, base, bytes) != NULL)
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
    for (const standin_range *p = standin_ranges(); p != NULL; p = p->next)
        is_used = is_used || (p->kind == STANDIN_MAPPED && p->base >= ptr &&
                              p->base < ptr + bytes);
    if (!is_used && standin_range_remove(STANDIN_RESERVED, ptr)) {
        (void)munmap((void *)(uintptr_t)ptr, bytes);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static bool is_reserved(uint64_t at, size_t bytes)
{
    const standin_range *r = standin_ranges();

    while (r != NULL && (r->kind != STANDIN_RESERVED || at < r->base ||
                         at + bytes > r->base + r->bytes))
        r = r->next;
    return r != NULL;
}

dcmi_cu_result standin_mem_map(dcmi_cu_ptr ptr, size_t bytes, size_t offset,
                               dcmi_cu_mem mem, unsigned long long flags)
{
    standin_physical *p = (standin_physical *)(uintptr_t)mem;
    /* A link that claims to work and carries nothing. */
    const bool is_deaf =
        p->is_imported && standin_setting("STANDIN_DEAF", 0) != 0;
    const int sharing = is_deaf ? MAP_PRIVATE : MAP_SHARED;
    dcmi_cu_result r = STANDIN_INVALID;
    standin_range *added;

    if (offset != 0 || flags != 0 || bytes != p->bytes)
        return STANDIN_INVALID;
    (void)pthread_mutex_lock(&standin_lock);
    if (is_reserved(ptr, bytes) &&
        standin_range_at(STANDIN_MAPPED, ptr) == NULL &&
        mmap((void *)(uintptr_t)ptr, bytes, PROT_NONE, sharing | MAP_FIXED,
             p->fd, 0) != MAP_FAILED) {
        added = standin_range_add(STANDIN_MAPPED, ptr, bytes);
        r = added != NULL ? DCMI_CU_OK : STANDIN_NOMEM;
        if (added != NULL) {
            added->mem = p;
            added->device = p->device;
            p->users++;
        }
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_unmap(dcmi_cu_ptr ptr, size_t bytes)
{
    dcmi_cu_result r = STANDIN_INVALID;
    const standin_range *found;

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_at(STANDIN_MAPPED, ptr);
    if (found != NULL && found->bytes == bytes &&
        mmap((void *)(uintptr_t)ptr, bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
             0) != MAP_FAILED) {
        physical_put(found->mem);
        (void)standin_range_remove(STANDIN_MAPPED, ptr);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_mem_set_access(dcmi_cu_ptr ptr, size_t bytes,
                                      const dcmi_cu_access *access, size_t n)
{
    dcmi_cu_result r = STANDIN_INVALID;
    standin_range *found;

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_at(STANDIN_MAPPED, ptr);
    if (found != NULL && found->bytes == bytes && n == 1 &&
        access->flags == DCMI_CU_READ_WRITE &&
        mprotect((void *)(uintptr_t)ptr, bytes, PROT_READ | PROT_WRITE) == 0) {
        found->is_open = true;
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

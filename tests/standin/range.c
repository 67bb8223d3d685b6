/* SPDX-License-Identifier: Apache-2.0 */
/* The table of memory, by addresses. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin/standin.h"

static standin_range *ranges;

standin_range *standin_ranges(void)
{
    return ranges;
}

static int counted_as(standin_kind kind)
{
    return kind == STANDIN_MAPPED || kind == STANDIN_RESERVED ||
                   kind == STANDIN_OPENED
               ? STANDIN_MAPPINGS
               : STANDIN_REGIONS;
}

standin_range *standin_range_add(standin_kind kind, uint64_t base, size_t bytes)
{
    const standin_ctx *ctx = standin_ctx_here();
    standin_range *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->kind = kind;
    r->base = base;
    r->bytes = bytes;
    r->device = ctx != NULL ? ctx->device : 0;
    r->fd = -1;
    r->next = ranges;
    ranges = r;
    standin_live_add(counted_as(kind), 1);
    return r;
}

bool standin_range_remove(standin_kind kind, uint64_t base)
{
    standin_range **at = &ranges;
    standin_range *r;

    while (*at != NULL && ((*at)->kind != kind || (*at)->base != base))
        at = &(*at)->next;
    r = *at;
    if (r == NULL)
        return false;
    *at = r->next;
    standin_live_add(counted_as(kind), -1);
    if (r->fd >= 0)
        (void)close(r->fd);
    free(r);
    return true;
}

standin_range *standin_range_at(standin_kind kind, uint64_t base)
{
    standin_range *r = ranges;

    while (r != NULL && (r->kind != kind || r->base != base))
        r = r->next;
    return r;
}

const standin_range *standin_range_of(uint64_t at)
{
    const standin_range *r = ranges;

    while (r != NULL && (r->kind == STANDIN_RESERVED || at < r->base ||
                         at >= r->base + r->bytes ||
                         (r->kind == STANDIN_MAPPED && !r->is_open)))
        r = r->next;
    return r;
}

bool standin_reaches(uint64_t at, size_t bytes)
{
    const standin_range *r = standin_range_of(at);

    return bytes == 0 || (r != NULL && at + bytes <= r->base + r->bytes);
}

/* ---- what the driver tells of a pointer ----------------------------------- */

static bool is_host(const standin_range *r)
{
    return r->kind == STANDIN_HOST || r->kind == STANDIN_REGISTERED;
}

/* False: no such attribute of such memory. */
static bool attribute_of(uint64_t *value_p, const standin_range *r, int which)
{
    switch (which) {
    case DCMI_CU_POINTER_TYPE:
        *value_p = is_host(r) ? DCMI_CU_POINTER_HOST : 2;
        return true;
    case DCMI_CU_POINTER_IS_MANAGED:
        *value_p = r->kind == STANDIN_MANAGED;
        return true;
    case DCMI_CU_POINTER_DEVICE:
        *value_p = (uint64_t)r->device;
        return true;
    case DCMI_CU_POINTER_HAS_IPC:
        *value_p = r->kind == STANDIN_DEVICE;
        return true;
    case DCMI_CU_POINTER_HANDLE_TYPES:
        *value_p = r->mem != NULL ? (uint64_t)r->mem->handle_types : 0;
        return true;
    case DCMI_CU_POINTER_POOL:
        *value_p = r->kind == STANDIN_POOL;
        return true;
    case DCMI_CU_POINTER_RANGE_START:
    case DCMI_CU_POINTER_MAPPING_START:
        *value_p = r->base;
        return true;
    case DCMI_CU_POINTER_RANGE_BYTES:
    case DCMI_CU_POINTER_MAPPING_BYTES:
        *value_p = r->bytes;
        return true;
    default:
        return false;
    }
}

/* As wide as the driver writes it. */
static size_t width_of(int which)
{
    switch (which) {
    case DCMI_CU_POINTER_IS_MANAGED:
    case DCMI_CU_POINTER_HAS_IPC:
        return 1;
    case DCMI_CU_POINTER_TYPE:
    case DCMI_CU_POINTER_DEVICE:
        return 4;
    default:
        return 8;
    }
}

dcmi_cu_result standin_pointer_attribute(void *value, int attribute,
                                         dcmi_cu_ptr ptr)
{
    const standin_range *found;
    uint64_t v = 0;
    bool is_there;

    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_of(ptr);
    is_there = found != NULL && attribute_of(&v, found, attribute);
    (void)pthread_mutex_unlock(&standin_lock);
    if (!is_there)
        return STANDIN_INVALID;
    memcpy(value, &v, width_of(attribute)); /* little-endian */
    return DCMI_CU_OK;
}

dcmi_cu_result standin_host_pointer(dcmi_cu_ptr *ptr_p, void *host,
                                    unsigned flags)
{
    const standin_range *found;
    bool is_there;

    (void)flags;
    (void)pthread_mutex_lock(&standin_lock);
    found = standin_range_of((uint64_t)(uintptr_t)host);
    is_there = found != NULL && is_host(found);
    (void)pthread_mutex_unlock(&standin_lock);
    *ptr_p = (uint64_t)(uintptr_t)host;
    return is_there ? DCMI_CU_OK : STANDIN_INVALID;
}

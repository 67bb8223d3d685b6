/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's attributes of a pointer, put together. */
#include "memory/pointer.h"

static const char *const words[] = {
#define DCMI_X(NAME, text) [DCMI_POINTER_##NAME] = text,
    DCMI_POINTER_MAP(DCMI_X)
#undef DCMI_X
};

const char *dcmi_pointer_words(dcmi_pointer_kind kind)
{
    return words[kind];
}

/* An attribute of up to 64 bits; 0: it has none. */
static uint64_t look(const dcmi_cuda *cuda, dcmi_cu_ptr ptr, int attribute)
{
    uint64_t v = 0;

    return cuda->pointer_attribute(&v, attribute, ptr) == DCMI_CU_OK ? v : 0;
}

/* Only what the driver allocated as one piece. */
static bool has_ipc(const dcmi_cuda *cuda, dcmi_cu_ptr ptr)
{
    return (look(cuda, ptr, DCMI_CU_POINTER_HAS_IPC) & 1) != 0;
}

/* Only what was mapped by itself has a handle. */
static bool is_mapped(const dcmi_cuda *cuda, dcmi_cu_ptr ptr)
{
    dcmi_cu_mem mem;

    if (cuda->mem_retain(&mem, (void *)(uintptr_t)ptr) != DCMI_CU_OK)
        return false;
    (void)cuda->mem_release(mem);
    return true;
}

static dcmi_pointer_kind kind_of(const dcmi_cuda *cuda, dcmi_cu_ptr ptr,
                                 uint64_t type)
{
    if ((look(cuda, ptr, DCMI_CU_POINTER_IS_MANAGED) & 1) != 0)
        return DCMI_POINTER_MANAGED;
    if (type == DCMI_CU_POINTER_HOST)
        return DCMI_POINTER_PINNED;
    if (look(cuda, ptr, DCMI_CU_POINTER_POOL) != 0)
        return DCMI_POINTER_POOL;
    /* Asked first: a checker reports a handle that there is not as an error. */
    if (has_ipc(cuda, ptr))
        return DCMI_POINTER_DEVICE;
    return is_mapped(cuda, ptr) ? DCMI_POINTER_MAPPED : DCMI_POINTER_DEVICE;
}

dcmi_pointer dcmi_pointer_look(const dcmi_cuda *cuda, dcmi_cu_ptr ptr)
{
    dcmi_pointer p = {.kind = DCMI_POINTER_HOST, .device = -1};
    const uint64_t type = look(cuda, ptr, DCMI_CU_POINTER_TYPE);
    bool is_mapping;

    if (type == 0)
        return p;
    p.kind = kind_of(cuda, ptr, type);
    is_mapping = p.kind == DCMI_POINTER_MAPPED;
    p.base = look(cuda, ptr,
                  is_mapping ? DCMI_CU_POINTER_MAPPING_START
                             : DCMI_CU_POINTER_RANGE_START);
    p.bytes = look(cuda, ptr,
                   is_mapping ? DCMI_CU_POINTER_MAPPING_BYTES
                              : DCMI_CU_POINTER_RANGE_BYTES);
    if (p.kind == DCMI_POINTER_PINNED)
        return p;
    p.device = (dcmi_cu_device)look(cuda, ptr, DCMI_CU_POINTER_DEVICE);
    p.has_ipc = p.kind == DCMI_POINTER_DEVICE && has_ipc(cuda, ptr);
    p.has_fd = is_mapping && (look(cuda, ptr, DCMI_CU_POINTER_HANDLE_TYPES) &
                              DCMI_CU_POSIX_FD) != 0;
    return p;
}

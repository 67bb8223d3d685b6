/* SPDX-License-Identifier: Apache-2.0 */
/* libcudart.so.N for tests: memory of the host, and which copy it is. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda/runtime.h"

#define DCMI_X(member, symbol, result, args)                                   \
    __attribute__((visibility("default")))                                     \
    result rt_##member args __asm__(symbol);
DCMI_CUDART_MAP(DCMI_X)
#undef DCMI_X

int rt_set_device(int device)
{
    return device == 0 ? 0 : 101;
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

int rt_malloc(void **ptr_p, size_t bytes)
{
    *ptr_p = malloc(bytes);
    return *ptr_p != NULL ? 0 : 2;
}

int rt_free(void *ptr)
{
    free(ptr);
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

/* Handles hold the pointer: they are good in this process alone. */
int rt_ipc_get(dcmi_cu_ipc *handle_p, void *ptr)
{
    memset(handle_p, 0, sizeof(*handle_p));
    memcpy(handle_p, &ptr, sizeof(ptr));
    return 0;
}

int rt_ipc_open(void **ptr_p, dcmi_cu_ipc handle, unsigned flags)
{
    memcpy(ptr_p, &handle, sizeof(*ptr_p));
    return flags == DCMI_CUDART_LAZY_PEER ? 0 : 1;
}

int rt_ipc_close(void *ptr)
{
    return ptr != NULL ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that are not there, their contexts, errors. */
#include "standin/standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t standin_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t standin_moved = PTHREAD_COND_INITIALIZER;

static standin_ctx contexts[STANDIN_DEVICES];
static standin_counts live;
static pid_t owner; /* the process that called cuInit: a fork's child may not */

static STANDIN_THREAD standin_ctx *stack[STANDIN_STACK];
static STANDIN_THREAD int depth;

long standin_setting(const char *name, long fallback)
{
    const char *text = getenv(name);

    return text != NULL && text[0] != '\0' ? strtol(text, NULL, 10) : fallback;
}

static int n_devices(void)
{
    const long n = standin_setting("STANDIN_DEVICES", 2);

    return n < 0 ? 0 : n > STANDIN_DEVICES ? STANDIN_DEVICES : (int)n;
}

void standin_live_add(int what, long n)
{
    live.of[what] += n;
}

void standin_count(standin_counts *counts)
{
    (void)pthread_mutex_lock(&standin_lock);
    *counts = live;
    (void)pthread_mutex_unlock(&standin_lock);
}

standin_ctx *standin_ctx_here(void)
{
    return depth > 0 && owner == getpid() ? stack[depth - 1] : NULL;
}

static bool is_device(dcmi_cu_device device)
{
    return device >= 0 && device < n_devices();
}

dcmi_cu_result standin_init(unsigned flags)
{
    (void)flags;
    if (owner != 0 && owner != getpid())
        return STANDIN_NOT_INITIALIZED;
    owner = getpid();
    return n_devices() > 0 ? DCMI_CU_OK : STANDIN_NO_DEVICE;
}

dcmi_cu_result standin_driver_version(int *version_p)
{
    *version_p = 12080;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_error_name(dcmi_cu_result r, const char **text_p)
{
    switch (r) {
#define STANDIN_X(NAME, number, name)                                          \
    case number:                                                               \
        *text_p = name;                                                        \
        return DCMI_CU_OK;
        STANDIN_ERROR_MAP(STANDIN_X)
#undef STANDIN_X
    default:
        *text_p = NULL;
        return STANDIN_INVALID;
    }
}

dcmi_cu_result standin_error_text(dcmi_cu_result r, const char **text_p)
{
    (void)r;
    *text_p = "from the stand-in";
    return DCMI_CU_OK;
}

dcmi_cu_result standin_device_count(int *n_p)
{
    *n_p = n_devices();
    return DCMI_CU_OK;
}

dcmi_cu_result standin_device_get(dcmi_cu_device *device_p, int i)
{
    if (!is_device(i))
        return STANDIN_BAD_DEVICE;
    *device_p = i;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_device_name(char *name, int bytes, dcmi_cu_device device)
{
    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    (void)snprintf(name, (size_t)bytes, "stand-in %d", device);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_device_attribute(int *value_p, int attribute,
                                        dcmi_cu_device device)
{
    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    switch (attribute) {
    case DCMI_CU_PROCESSORS:
        *value_p = (int)standin_setting("STANDIN_PROCESSORS", 132);
        return DCMI_CU_OK;
    case DCMI_CU_MAJOR:
        *value_p = 9;
        return DCMI_CU_OK;
    case DCMI_CU_MINOR:
        *value_p = 0;
        return DCMI_CU_OK;
    case DCMI_CU_HAS_VMM:
    case DCMI_CU_HAS_POSIX_FD:
        *value_p = standin_setting("STANDIN_NO_FD", 0) == 0;
        return DCMI_CU_OK;
    default:
        return STANDIN_INVALID;
    }
}

dcmi_cu_result standin_device_uuid(dcmi_cu_uuid *uuid_p, dcmi_cu_device device)
{
    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    memcpy(uuid_p->bytes, "stand-in device", 16);
    uuid_p->bytes[15] = (unsigned char)(1 + device);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_device_bus_id(char *text, int bytes,
                                     dcmi_cu_device device)
{
    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    (void)snprintf(text, (size_t)bytes, "0000:%02x:00.0", 0x10 + device);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_can_access_peer(int *can_p, dcmi_cu_device device,
                                       dcmi_cu_device peer)
{
    if (!is_device(device) || !is_device(peer))
        return STANDIN_BAD_DEVICE;
    *can_p = device != peer && standin_setting("STANDIN_NO_PEER", 0) == 0;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_p2p_attribute(int *value_p, int attribute,
                                     dcmi_cu_device device, dcmi_cu_device peer)
{
    if (!is_device(device) || !is_device(peer) ||
        attribute != DCMI_CU_P2P_NATIVE_ATOMICS)
        return STANDIN_INVALID;
    *value_p = standin_setting("STANDIN_NO_NVLINK", 0) == 0;
    return DCMI_CU_OK;
}

/* ---- contexts ------------------------------------------------------------- */

dcmi_cu_result standin_primary_retain(dcmi_cu_ctx *ctx_p, dcmi_cu_device device)
{
    if (owner != getpid())
        return STANDIN_NOT_INITIALIZED;
    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    (void)pthread_mutex_lock(&standin_lock);
    if (contexts[device].device != device) /* once: others read it freely */
        contexts[device].device = device;
    contexts[device].users++;
    standin_live_add(STANDIN_CONTEXTS, 1);
    (void)pthread_mutex_unlock(&standin_lock);
    *ctx_p = &contexts[device];
    return DCMI_CU_OK;
}

dcmi_cu_result standin_primary_release(dcmi_cu_device device)
{
    dcmi_cu_result r = DCMI_CU_OK;

    if (!is_device(device))
        return STANDIN_BAD_DEVICE;
    (void)pthread_mutex_lock(&standin_lock);
    if (contexts[device].users == 0)
        r = STANDIN_BAD_CONTEXT;
    else
        contexts[device].users--;
    standin_live_add(STANDIN_CONTEXTS, r == DCMI_CU_OK ? -1 : 0);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_ctx_get(dcmi_cu_ctx *ctx_p)
{
    *ctx_p = standin_ctx_here();
    return DCMI_CU_OK;
}

dcmi_cu_result standin_ctx_set(dcmi_cu_ctx ctx)
{
    depth = depth == 0 ? 1 : depth;
    stack[depth - 1] = ctx;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_ctx_push(dcmi_cu_ctx ctx)
{
    if (ctx == NULL || depth == STANDIN_STACK)
        return STANDIN_BAD_CONTEXT;
    stack[depth++] = ctx;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_ctx_pop(dcmi_cu_ctx *ctx_p)
{
    if (depth == 0)
        return STANDIN_BAD_CONTEXT;
    *ctx_p = stack[--depth];
    return DCMI_CU_OK;
}

dcmi_cu_result standin_ctx_device(dcmi_cu_device *device_p)
{
    const standin_ctx *ctx = standin_ctx_here();

    if (ctx == NULL)
        return STANDIN_BAD_CONTEXT;
    *device_p = ctx->device;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_ctx_sync(void)
{
    const standin_ctx *ctx = standin_ctx_here();
    dcmi_cu_result r = STANDIN_CAPTURING;

    if (ctx == NULL)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    if (standin_may()) {
        standin_drain(ctx);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

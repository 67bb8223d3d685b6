/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the driver, its errors, and being in a context. */
#include "device/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/err.h"

static const char library[] = "libcuda.so.1";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcmi_cuda table;
static _Atomic bool is_open;

/* Fill the table; *missing_p names a symbol that is not there. */
static bool resolve(void *dl, const char **missing_p)
{
    void *symbol;

#define DCMI_X(member, name, args, is_required)                                \
    symbol = dlsym(dl, name);                                                  \
    if (symbol == NULL && is_required) {                                       \
        *missing_p = name;                                                     \
        return false;                                                          \
    }                                                                          \
    memcpy(&table.member, &symbol, sizeof(symbol));
    DCMI_CU_MAP(DCMI_X)
#undef DCMI_X
    return true;
}

/* With the lock held. */
static dcm_status open_driver(void)
{
    const char *missing = NULL;
    dcmi_cu_result r;
    dcm_status st;
    void *dl;

    dl = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (dl == NULL)
        return dcmi_err(DCM_E_UNSUP, "no NVIDIA driver: %s", dlerror());
    if (!resolve(dl, &missing)) {
        st = dcmi_err(DCM_E_UNSUP, "%s is too old: it has no %s", library,
                      missing);
        goto err_close;
    }
    r = table.init(0);
    if (r != DCMI_CU_OK) {
        (void)dcmi_cuda_err(&table, r, "cuInit");
        st = dcmi_err_at(DCM_E_UNSUP, "%s", library);
        goto err_close;
    }
    /* Never closed: kernels may run. */
    atomic_store_explicit(&is_open, true, memory_order_release);
    return DCM_OK;

err_close:
    (void)dlclose(dl);
    return st;
}

/*
 * Where no device file is, nothing is asked of the dynamic linker, whose lock a
 * child can inherit from a thread that is gone.
 */
static bool is_loaded(void)
{
    static const char *const files[] = {"/dev/nvidiactl", "/dev/dxg",
                                        "/dev/nvgpu", "/dev/nvhost-ctrl-gpu"};
    size_t i = 0;
    void *dl;

    while (i < DCMI_ARRAY_LEN(files) && access(files[i], F_OK) != 0)
        i++;
    if (i == DCMI_ARRAY_LEN(files))
        return false;
    dl = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);

    if (dl != NULL)
        (void)dlclose(dl);
    return dl != NULL;
}

/*
 * A process without CUDA never takes the lock, so that no fork leaves it held; one
 * with CUDA cannot use it in a forked child anyway.
 */
dcm_status dcmi_cuda_get(const dcmi_cuda **cuda_p, bool may_open)
{
    dcm_status st = DCM_OK;

    if (!atomic_load_explicit(&is_open, memory_order_acquire)) {
        if (!may_open && !is_loaded())
            return dcmi_err(DCM_E_UNSUP, "this process does not use CUDA");
        (void)pthread_mutex_lock(&lock);
        if (!atomic_load_explicit(&is_open, memory_order_relaxed))
            st = open_driver();
        (void)pthread_mutex_unlock(&lock);
    }
    if (st == DCM_OK)
        *cuda_p = &table;
    return st;
}

dcm_status dcmi_cuda_err(const dcmi_cuda *cuda, dcmi_cu_result r,
                         const char *fmt, ...)
{
    const char *name = NULL;
    const char *text = NULL;
    char what[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    (void)cuda->error_name(r, &name);
    (void)cuda->error_text(r, &text);
    return dcmi_err(r == 2 ? DCM_E_NOMEM : DCM_E_DEVICE, "%s: %s (%d): %s",
                    what, name != NULL ? name : "unknown", r,
                    text != NULL ? text : "no text");
}

dcm_status dcmi_cuda_home_here(dcmi_cuda_home *home)
{
    dcmi_cuda_home h = {0};
    dcmi_cu_ctx primary = NULL;
    dcmi_cu_result r;
    dcm_status st;

    st = dcmi_cuda_get(&h.cuda, false);
    if (st != DCM_OK)
        return st;
    r = h.cuda->ctx_get(&h.ctx);
    if (r != DCMI_CU_OK || h.ctx == NULL)
        return dcmi_err(DCM_E_UNSUP,
                        "no CUDA device is current in the calling thread");
    r = h.cuda->ctx_device(&h.device);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(h.cuda, r, "the current context's device");
    r = h.cuda->primary_retain(&primary, h.device);
    if (r == DCMI_CU_OK && primary == h.ctx)
        h.is_retained = true;
    else if (r == DCMI_CU_OK)
        (void)h.cuda->primary_release(h.device);
    *home = h;
    return DCM_OK;
}

void dcmi_cuda_home_leave(dcmi_cuda_home *home)
{
    if (home->is_retained)
        (void)home->cuda->primary_release(home->device);
    home->is_retained = false;
}

dcm_status dcmi_cuda_enter(const dcmi_cuda_home *home, bool *is_pushed_p)
{
    dcmi_cu_ctx now = NULL;
    dcmi_cu_result r;

    if (DCMI_LIKELY(home->cuda->ctx_get(&now) == DCMI_CU_OK &&
                    now == home->ctx)) {
        *is_pushed_p = false;
        return DCM_OK;
    }
    r = home->cuda->ctx_push(home->ctx);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(home->cuda, r, "entering the device's context");
    *is_pushed_p = true;
    return DCM_OK;
}

void dcmi_cuda_exit(const dcmi_cuda_home *home, bool is_pushed)
{
    dcmi_cu_ctx ours;

    if (is_pushed)
        (void)home->cuda->ctx_pop(&ours);
}

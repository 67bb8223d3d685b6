/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the runtime among the objects of the process, by their sonames. */
#define _GNU_SOURCE
#include "device/cuda/runtime.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/log.h"

static const char stem[] = "libcudart.so.";

/* Newest first. */
static const char *const sonames[] = {"libcudart.so.13", "libcudart.so.12",
                                      "libcudart.so.11.0"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcmi_cudart table;
static bool is_open;

/* The object's own name for itself, or NULL. */
static const char *soname_of(const struct dl_phdr_info *info)
{
    const ElfW(Dyn) *dyn = NULL;
    const char *strings = NULL;
    size_t at = 0;

    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dyn = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    }
    for (; dyn != NULL && dyn->d_tag != DT_NULL; dyn++) {
        if (dyn->d_tag == DT_STRTAB)
            strings = (const char *)dyn->d_un.d_ptr;
        else if (dyn->d_tag == DT_SONAME)
            at = dyn->d_un.d_val;
    }
    /* Where the loader has not made the address absolute there is no name. */
    if (strings == NULL || at == 0 || (uintptr_t)strings < info->dlpi_addr)
        return NULL;
    return strings + at;
}

/* The first is used, the others are counted. */
static int note(struct dl_phdr_info *info, size_t size, void *arg)
{
    dcmi_cudart *rt = arg;
    const char *soname = soname_of(info);

    (void)size;
    if (soname == NULL || info->dlpi_name == NULL ||
        info->dlpi_name[0] == '\0' ||
        strncmp(soname, stem, sizeof(stem) - 1) != 0)
        return 0;
    if (rt->n_found++ == 0)
        (void)snprintf(rt->path, sizeof(rt->path), "%s", info->dlpi_name);
    else
        dcmi_log(DCM_LOG_WARN,
                 "two CUDA runtimes in one process: %s, which is used, and %s",
                 rt->path, info->dlpi_name);
    return 0;
}

static void *open_any(dcmi_cudart *rt)
{
    void *dl = NULL;

    if (rt->n_found > 0)
        return dlopen(rt->path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    for (size_t i = 0; i < DCMI_ARRAY_LEN(sonames) && dl == NULL; i++) {
        dl = dlopen(sonames[i], RTLD_NOW | RTLD_LOCAL);
        (void)snprintf(rt->path, sizeof(rt->path), "%s", sonames[i]);
    }
    return dl;
}

/* With the lock held.  Never closed: kernels may run. */
static dcm_status open_runtime(dcmi_cudart *rt)
{
    const char *missing = NULL;
    void *symbol;
    void *dl;

    (void)dl_iterate_phdr(note, rt);
    dl = open_any(rt);
    if (dl == NULL)
        return dcmi_err(DCM_E_UNSUP, "no CUDA runtime: %s", dlerror());
#define DCMI_X(member, name, result, args)                                     \
    symbol = dlsym(dl, name);                                                  \
    if (symbol == NULL)                                                        \
        missing = name;                                                        \
    memcpy(&rt->member, &symbol, sizeof(symbol));
    DCMI_CUDART_MAP(DCMI_X)
#undef DCMI_X
    if (missing == NULL)
        return DCM_OK;
    (void)dlclose(dl);
    return dcmi_err(DCM_E_UNSUP, "%s has no %s", rt->path, missing);
}

dcm_status dcmi_cudart_get(const dcmi_cudart **rt_p)
{
    dcm_status st = DCM_OK;
    dcmi_cudart rt;

    (void)pthread_mutex_lock(&lock);
    if (!is_open) {
        memset(&rt, 0, sizeof(rt));
        st = open_runtime(&rt);
        if (st == DCM_OK)
            table = rt;
        is_open = st == DCM_OK;
    }
    (void)pthread_mutex_unlock(&lock);
    if (st == DCM_OK)
        *rt_p = &table;
    return st;
}

dcm_status dcmi_cudart_check(const dcmi_cudart *rt, int r, const char *what)
{
    if (r == 0)
        return DCM_OK;
    return dcmi_err(r == 2 ? DCM_E_NOMEM : DCM_E_DEVICE,
                    "%s: CUDA runtime error %d: %s", what, r,
                    rt->error_text(r));
}

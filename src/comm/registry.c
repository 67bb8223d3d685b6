/* SPDX-License-Identifier: Apache-2.0 */
/* The table of backends: built-in ones, registered ones, loaded ones. */
#define _GNU_SOURCE
#include "comm/registry.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/peer/peer.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/err.h"
#include "base/parse.h"

static const dcm_backend_ops *const builtin[] = {&dcmi_cpu_backend,
                                                 &dcmi_peer_backend};

/* Entries below `count` never change: readers need no lock. */
static dcm_backend_ops table[DCMI_MAX_BACKENDS];
static char names[DCMI_MAX_BACKENDS][DCM_BACKEND_NAME];
static _Atomic size_t count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static dcm_status no_explain(void *ctx, char *text, size_t bytes,
                             const dcm_coll *coll)
{
    (void)ctx;
    (void)coll;
    (void)snprintf(text, bytes, "the backend does not say");
    return DCM_OK;
}

static void no_footprint(void *ctx, size_t *now_p, size_t *most_p)
{
    (void)ctx;
    *now_p = 0;
    *most_p = 0;
}

static dcm_status no_arena_new(void *ctx, void **arena_p, size_t bytes,
                               void **base_p)
{
    (void)ctx;
    (void)arena_p;
    (void)base_p;
    return dcmi_err(DCM_E_UNSUP,
                    "arena of %zu bytes: the backend has no "
                    "symmetric memory",
                    bytes);
}

static void no_arena_free(void *ctx, void *arena)
{
    (void)ctx;
    (void)arena;
}

static dcm_status no_collective(void *ctx, const dcm_coll *coll)
{
    (void)ctx;
    return dcmi_err(DCM_E_UNSUP, "%s: the backend has none",
                    dcmi_coll_str(coll->kind));
}

static dcm_status no_messages(void *ctx, const dcm_coll *const *calls,
                              size_t n_calls)
{
    (void)ctx;
    (void)n_calls;
    return dcmi_err(DCM_E_UNSUP, "%s: the backend has none",
                    dcmi_coll_str(calls[0]->kind));
}

static dcm_status no_check(void *ctx)
{
    (void)ctx;
    return DCM_OK;
}

static void fill_stubs(dcm_backend_ops *b)
{
    if (b->check == NULL)
        b->check = no_check;
    if (b->collective == NULL)
        b->collective = no_collective;
    if (b->messages == NULL)
        b->messages = no_messages;
    if (b->explain == NULL)
        b->explain = no_explain;
    if (b->footprint == NULL)
        b->footprint = no_footprint;
    if (b->arena_new == NULL || b->arena_free == NULL) {
        b->arena_new = no_arena_new;
        b->arena_free = no_arena_free;
    }
}

static dcm_status check(const dcm_backend_ops *ops)
{
    if (ops == NULL)
        return dcmi_err(DCM_E_INVAL, "no backend table");
    if (ops->abi != DCM_BACKEND_ABI)
        return dcmi_err(DCM_E_ABI, "backend abi %u, this library has %u",
                        ops->abi, DCM_BACKEND_ABI);
    if (ops->size < offsetof(dcm_backend_ops, explain) ||
        ops->size % sizeof(void *) != 0)
        return dcmi_err(DCM_E_ABI, "backend table of %u bytes", ops->size);
    if (ops->name == NULL || ops->name[0] == '\0' ||
        strlen(ops->name) >= DCM_BACKEND_NAME)
        return dcmi_err(DCM_E_INVAL, "backend name is empty or over %d bytes",
                        DCM_BACKEND_NAME - 1);
    if (ops->probe == NULL || ops->open == NULL || ops->close == NULL ||
        ops->all_reduce == NULL || ops->barrier == NULL)
        return dcmi_err(DCM_E_INVAL, "backend %s lacks a mandatory slot",
                        ops->name);
    return DCM_OK;
}

/* With the lock held. */
static dcm_status add(const dcm_backend_ops *ops)
{
    const size_t n = atomic_load_explicit(&count, memory_order_relaxed);
    dcm_status st = check(ops);

    if (st != DCM_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, ops->name) == 0)
            return dcmi_err(DCM_E_BUSY, "backend %s is there already",
                            ops->name);
    }
    if (n == DCMI_MAX_BACKENDS)
        return dcmi_err(DCM_E_NOMEM, "more than %d backends",
                        DCMI_MAX_BACKENDS);
    memset(&table[n], 0, sizeof(table[n]));
    memcpy(&table[n], ops, ops->size < sizeof(*ops) ? ops->size : sizeof(*ops));
    (void)snprintf(names[n], sizeof(names[n]), "%s", ops->name);
    table[n].name = names[n];
    fill_stubs(&table[n]);
    atomic_store_explicit(&count, n + 1, memory_order_release);
    return DCM_OK;
}

static void add_builtin(void)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < DCMI_ARRAY_LEN(builtin); i++)
        (void)add(builtin[i]);
    (void)pthread_mutex_unlock(&lock);
}

dcm_status dcm_backend_register(const dcm_backend_ops *ops)
{
    dcm_status st;

    (void)pthread_once(&once, add_builtin);
    (void)pthread_mutex_lock(&lock);
    st = add(ops);
    (void)pthread_mutex_unlock(&lock);
    return st;
}

/* Does `symbol` lie in the object at `path` itself, not in one it needs? */
static bool is_its_own(void *dl, void *symbol)
{
    Dl_info of_symbol;
    struct link_map *map;

    return dladdr(symbol, &of_symbol) != 0 &&
           dlinfo(dl, RTLD_DI_LINKMAP, &map) == 0 &&
           of_symbol.dli_fbase == (void *)map->l_addr;
}

dcm_status dcm_backend_load(const char *path)
{
    dcm_backend_entry_fn entry;
    dcm_status st;
    void *dl;
    void *symbol;

    if (path == NULL || path[0] != '/')
        return dcmi_err(DCM_E_INVAL, "backend file %s: not an absolute path",
                        path != NULL ? path : "(NULL)");
    dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (dl == NULL)
        return dcmi_err(DCM_E_SYS, "backend: %s", dlerror());
    symbol = dlsym(dl, DCM_BACKEND_ENTRY);
    if (symbol == NULL || !is_its_own(dl, symbol)) {
        st = dcmi_err(DCM_E_ABI, "backend %s: no " DCM_BACKEND_ENTRY, path);
        goto err_dlclose;
    }
    memcpy(&entry, &symbol, sizeof(entry)); /* C has no cast for this */
    st = dcm_backend_register(entry());
    if (st != DCM_OK) {
        (void)dcmi_err_at(st, "backend %s", path);
        goto err_dlclose;
    }
    return DCM_OK; /* never closed again: its kernels may sit on a stream */

err_dlclose:
    (void)dlclose(dl);
    return st;
}

static dcm_status load_env_status;
static char load_env_message[DCMI_ERR_BYTES];

static void load_env(void)
{
    const char *at = dcmi_env_str(DCMI_ENV_BACKEND_PATH);
    char path[4096];
    size_t len;

    for (; at != NULL && *at != '\0' && load_env_status == DCM_OK;
         at += len + (at[len] != '\0')) {
        len = strcspn(at, ":");
        if (len == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%.*s", (int)len, at);
        load_env_status = dcm_backend_load(path);
        (void)snprintf(load_env_message, sizeof(load_env_message), "%s",
                       dcm_errmsg());
    }
}

dcm_status dcmi_backend_load_env(void)
{
    static pthread_once_t env_once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, add_builtin);
    (void)pthread_once(&env_once, load_env);
    if (load_env_status != DCM_OK)
        return dcmi_err(load_env_status, "DEVCOMM_BACKEND_PATH: %s",
                        load_env_message);
    return DCM_OK;
}

const dcm_backend_ops *dcmi_backend_nth(size_t i)
{
    (void)pthread_once(&once, add_builtin);
    return i < atomic_load_explicit(&count, memory_order_acquire) ? &table[i]
                                                                  : NULL;
}

const dcm_backend_ops *dcmi_backend_find(const char *name)
{
    const dcm_backend_ops *b;

    for (size_t i = 0; (b = dcmi_backend_nth(i)) != NULL; i++) {
        if (strcmp(b->name, name) == 0)
            return b;
    }
    return NULL;
}

dcm_status dcm_backend_list(size_t i, dcm_group *group, const char **name_p,
                            int *score_p, char *why, size_t why_bytes)
{
    const dcm_backend_ops *b;
    dcm_status st = dcmi_backend_load_env();

    if (st != DCM_OK)
        return st;
    if (group == NULL || name_p == NULL || score_p == NULL || why == NULL ||
        why_bytes == 0)
        return dcmi_err(DCM_E_INVAL, "dcm_backend_list: NULL argument");
    b = dcmi_backend_nth(i);
    if (b == NULL)
        return dcmi_err(DCM_E_INVAL, "there is no backend number %zu", i);
    *name_p = b->name;
    *score_p = 0;
    why[0] = '\0';
    return b->probe(score_p, group, why, why_bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of host mappings that are registered with the driver. */
#include "memory/pinned.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"

typedef struct pinned pinned;
struct pinned {
    pinned *next;
    void *base;
    unsigned users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pinned *all;

/* With the lock held. */
static pinned **find(const void *base)
{
    pinned **at = &all;

    while (*at != NULL && (*at)->base != base)
        at = &(*at)->next;
    return at;
}

/* With the lock held. */
static dcm_status add(const dcmi_cuda *cuda, void *base, size_t bytes)
{
    pinned *p = calloc(1, sizeof(*p));
    dcmi_cu_result r;

    if (p == NULL)
        return dcmi_err(DCM_E_NOMEM, "registering %zu bytes", bytes);
    r = cuda->host_register(base, bytes,
                            DCMI_CU_HOST_PORTABLE | DCMI_CU_HOST_DEVICEMAP);
    if (r != DCMI_CU_OK) {
        free(p);
        return dcmi_cuda_err(cuda, r, "registering %zu bytes of shared memory",
                             bytes);
    }
    p->base = base;
    p->users = 1;
    p->next = all;
    all = p;
    return DCM_OK;
}

dcm_status dcmi_pinned_get(const dcmi_cuda *cuda, void *base, size_t bytes)
{
    dcm_status st = DCM_OK;
    pinned *p;

    (void)pthread_mutex_lock(&lock);
    p = *find(base);
    if (p != NULL)
        p->users++;
    else
        st = add(cuda, base, bytes);
    (void)pthread_mutex_unlock(&lock);
    return st;
}

void dcmi_pinned_put(const dcmi_cuda *cuda, void *base)
{
    pinned **at;
    pinned *p;

    if (base == NULL)
        return;
    (void)pthread_mutex_lock(&lock);
    at = find(base);
    p = *at;
    if (p != NULL && --p->users == 0) {
        *at = p->next;
        (void)cuda->host_unregister(base);
        free(p);
    }
    (void)pthread_mutex_unlock(&lock);
}

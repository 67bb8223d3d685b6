/* SPDX-License-Identifier: Apache-2.0 */
/* The table of opened handles. */
#include "memory/ipc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

typedef struct opened opened;
struct opened {
    opened *next;
    dcmi_cu_ctx ctx;
    dcmi_cu_ipc handle;
    dcmi_cu_ptr base;
    unsigned users;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static opened *all;

/* With the lock held. */
static dcm_status add(opened **o_p, const dcmi_cuda_home *home,
                      const dcmi_cu_ipc *handle)
{
    opened *o = calloc(1, sizeof(*o));
    dcmi_cu_result r;

    if (o == NULL)
        return dcmi_err(DCM_E_NOMEM, "a handle of device memory");
    r = home->cuda->ipc_open(&o->base, *handle, DCMI_CU_IPC_LAZY_PEER);
    if (r != DCMI_CU_OK) {
        free(o);
        return dcmi_cuda_err(home->cuda, r, "opening a handle");
    }
    o->ctx = home->ctx;
    o->handle = *handle;
    o->next = all;
    all = o;
    *o_p = o;
    return DCM_OK;
}

dcm_status dcmi_ipc_get(dcmi_cu_ptr *base_p, const dcmi_cuda_home *home,
                        const dcmi_cu_ipc *handle)
{
    dcm_status st = DCM_OK;
    opened *o;

    (void)pthread_mutex_lock(&lock);
    o = all;
    while (o != NULL && (o->ctx != home->ctx ||
                         memcmp(&o->handle, handle, sizeof(*handle)) != 0))
        o = o->next;
    if (o == NULL)
        st = add(&o, home, handle);
    if (st == DCM_OK) {
        o->users++;
        *base_p = o->base;
    }
    (void)pthread_mutex_unlock(&lock);
    return st;
}

void dcmi_ipc_put(const dcmi_cuda_home *home, dcmi_cu_ptr base)
{
    opened **at = &all;
    opened *o;

    (void)pthread_mutex_lock(&lock);
    while (*at != NULL && ((*at)->ctx != home->ctx || (*at)->base != base))
        at = &(*at)->next;
    o = *at;
    if (o != NULL && --o->users == 0) {
        *at = o->next;
        (void)home->cuda->ipc_close(base);
        free(o);
    }
    (void)pthread_mutex_unlock(&lock);
}

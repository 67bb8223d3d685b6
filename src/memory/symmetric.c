/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Physical memory, where every rank's device can share it by descriptors; else plain
 * allocations.
 *
 * Threads of one process that use each other's allocations themselves (share.h,
 * "same") may free in any order: an allocation counts its users.  With descriptors
 * each rank has mappings of its own, which keep the memory.
 */
#include "memory/symmetric.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"
#include "group/group.h"
#include "group/vote.h"
#include "memory/share.h"

/* One rank's memory. */
typedef struct owned {
    const dcmi_cuda *cuda;
    dcmi_cu_ptr base;
    size_t bytes;
    bool is_physical;
    _Atomic unsigned users;
} owned;

struct dcmi_symmetric {
    size_t bytes;
    owned *own;
    int n_used;
    owned *used[DCM_MAX_RANKS]; /* other threads' */
    dcmi_share *share;
};

static dcm_status allocate_physical(owned *o, const dcmi_cuda_home *home,
                                    size_t bytes)
{
    const dcmi_cuda *cuda = home->cuda;
    const dcmi_cu_location here = {DCMI_CU_ON_DEVICE, home->device};
    const dcmi_cu_access access = {here, DCMI_CU_READ_WRITE};
    const dcmi_cu_mem_prop prop = {
        .type = DCMI_CU_PINNED,
        .handle_types = DCMI_CU_POSIX_FD,
        .location = here,
    };
    size_t granule = 0;
    dcmi_cu_mem mem = 0;
    dcmi_cu_ptr at = 0;
    dcmi_cu_result r;

    r = cuda->mem_granularity(&granule, &prop, DCMI_CU_GRANULARITY_RECOMMENDED);
    if (r != DCMI_CU_OK || granule == 0)
        return dcmi_cuda_err(cuda, r, "granularity of device memory");
    o->bytes = (bytes + granule - 1) / granule * granule;
    r = cuda->mem_create(&mem, o->bytes, &prop, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "%zu bytes of device memory", o->bytes);
    r = cuda->mem_reserve(&at, o->bytes, granule, 0, 0);
    if (r != DCMI_CU_OK)
        goto out;
    r = cuda->mem_map(at, o->bytes, 0, mem, 0);
    if (r != DCMI_CU_OK)
        goto err_unreserve;
    r = cuda->mem_set_access(at, o->bytes, &access, 1);
    if (r != DCMI_CU_OK)
        goto err_unmap;
    o->base = at;
    goto out;

err_unmap:
    (void)cuda->mem_unmap(at, o->bytes);
err_unreserve:
    (void)cuda->mem_unreserve(at, o->bytes);
out:
    (void)cuda->mem_release(mem); /* the mapping keeps it */
    return r == DCMI_CU_OK ? DCM_OK
                           : dcmi_cuda_err(cuda, r,
                                           "mapping %zu bytes of "
                                           "device memory",
                                           o->bytes);
}

static dcm_status allocate(owned *o, const dcmi_cuda_home *home, size_t bytes)
{
    dcmi_cu_result r;

    if (o->is_physical)
        return allocate_physical(o, home, bytes);
    r = home->cuda->mem_alloc(&o->base, bytes);
    o->bytes = bytes;
    return r == DCMI_CU_OK ? DCM_OK
                           : dcmi_cuda_err(home->cuda, r,
                                           "%zu bytes of device memory", bytes);
}

static void put(owned *o)
{
    if (o == NULL ||
        atomic_fetch_sub_explicit(&o->users, 1, memory_order_acq_rel) != 1)
        return;
    if (o->base != 0 && o->is_physical) {
        (void)o->cuda->mem_unmap(o->base, o->bytes);
        (void)o->cuda->mem_unreserve(o->base, o->bytes);
    } else if (o->base != 0) {
        (void)o->cuda->mem_free(o->base);
    }
    free(o);
}

/* Whether this rank's device shares physical memory, and may. */
static dcm_status can_share_fds(int32_t *can_p, const dcmi_cuda_home *home)
{
    uint32_t allowed = 0;
    int has = 0;
    const dcm_status st = dcmi_share_allowed(&allowed);

    (void)home->cuda->device_attribute(&has, DCMI_CU_HAS_POSIX_FD,
                                       home->device);
    *can_p = has != 0 && (allowed >> DCMI_SHARE_FD & 1u) != 0;
    return st;
}

/* Threads that use this rank's memory itself count it, and it theirs. */
static dcm_status count_users(dcmi_symmetric *s, dcm_group *group,
                              uint32_t timeout_ms)
{
    const uint64_t mine = (uint64_t)(uintptr_t)s->own;
    uint64_t all[DCM_MAX_RANKS];
    dcm_status st;

    if (dcmi_share_how(s->share) != DCMI_SHARE_SAME)
        return DCM_OK;
    st = dcm_group_exchange(group, &mine, all, sizeof(mine), timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < group->nranks; r++) {
        owned *o = (owned *)(uintptr_t)all[r];

        if (r == group->rank)
            continue;
        atomic_fetch_add_explicit(&o->users, 1, memory_order_relaxed);
        s->used[s->n_used++] = o;
    }
    return dcmi_group_vote(group, DCM_OK, timeout_ms);
}

static dcm_status make(dcmi_symmetric *s, dcm_group *group,
                       const dcmi_cuda_home *home, size_t bytes,
                       uint32_t timeout_ms)
{
    int32_t can[DCM_MAX_RANKS];
    int32_t mine = 0;
    uint32_t ways = 1u << DCMI_SHARE_FD;
    dcm_status st = can_share_fds(&mine, home);

    st = dcmi_group_vote(group, st, timeout_ms);
    if (st == DCM_OK)
        st = dcm_group_exchange(group, &mine, can, sizeof(mine), timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < group->nranks; r++)
        ways = can[r] != 0 ? ways : DCMI_SHARE_ANY;
    s->own->cuda = home->cuda;
    s->own->is_physical = ways != DCMI_SHARE_ANY;
    st = dcmi_group_vote(group, allocate(s->own, home, bytes), timeout_ms);
    if (st == DCM_OK)
        st = dcmi_share_new(&s->share, group, home, s->own->base, s->own->bytes,
                            ways, timeout_ms);
    return st == DCM_OK ? count_users(s, group, timeout_ms) : st;
}

dcm_status dcmi_symmetric_new(dcmi_symmetric **s_p, dcm_group *group,
                              const dcmi_cuda_home *home, size_t bytes,
                              uint32_t timeout_ms)
{
    dcmi_symmetric *s = calloc(1, sizeof(*s));
    owned *own = calloc(1, sizeof(*own));
    dcm_status st = DCM_OK;

    if (s == NULL || own == NULL)
        st = dcmi_err(DCM_E_NOMEM, "a mapping's handle");
    st = dcmi_group_vote(group, st, timeout_ms);
    if (st != DCM_OK || s == NULL || own == NULL) {
        free(own);
        free(s);
        return st;
    }
    own->users = 1;
    s->own = own;
    st = make(s, group, home, bytes, timeout_ms);
    if (st != DCM_OK) {
        dcmi_symmetric_free(s);
        return st;
    }
    s->bytes = own->bytes;
    *s_p = s;
    return DCM_OK;
}

void dcmi_symmetric_free(dcmi_symmetric *s)
{
    if (s == NULL)
        return;
    dcmi_share_free(s->share);
    for (int i = 0; i < s->n_used; i++)
        put(s->used[i]);
    put(s->own);
    free(s);
}

dcmi_cu_ptr dcmi_symmetric_at(const dcmi_symmetric *s, int rank)
{
    return dcmi_share_at(s->share, rank);
}

size_t dcmi_symmetric_bytes(const dcmi_symmetric *s)
{
    return s->bytes;
}

const char *dcmi_symmetric_how(const dcmi_symmetric *s)
{
    return dcmi_share_name(dcmi_share_how(s->share));
}

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

#include <stdlib.h>

#include "base/err.h"
#include "group/group.h"
#include "group/vote.h"
#include "memory/device.h"
#include "memory/share.h"

struct dcmi_symmetric {
    size_t bytes;
    dcmi_device_mem *own;
    int n_used;
    dcmi_device_mem *used[DCM_MAX_RANKS]; /* other threads' */
    dcmi_share *share;
};

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
        dcmi_device_mem *o = (dcmi_device_mem *)(uintptr_t)all[r];

        if (r == group->rank)
            continue;
        dcmi_device_mem_ref(o);
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
    st = dcmi_device_mem_new(&s->own, home, bytes,
                             ways != DCMI_SHARE_ANY ? DCMI_DEVICE_BY_FD
                                                    : DCMI_DEVICE_PLAIN);
    st = dcmi_group_vote(group, st, timeout_ms);
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
    dcm_status st = DCM_OK;

    if (s == NULL)
        st = dcmi_err(DCM_E_NOMEM, "a mapping's handle");
    st = dcmi_group_vote(group, st, timeout_ms);
    if (st != DCM_OK || s == NULL) {
        free(s);
        return st;
    }
    st = make(s, group, home, bytes, timeout_ms);
    if (st != DCM_OK) {
        dcmi_symmetric_free(s);
        return st;
    }
    s->bytes = s->own->bytes;
    *s_p = s;
    return DCM_OK;
}

void dcmi_symmetric_free(dcmi_symmetric *s)
{
    if (s == NULL)
        return;
    dcmi_share_free(s->share);
    for (int i = 0; i < s->n_used; i++)
        dcmi_device_mem_put(s->used[i]);
    dcmi_device_mem_put(s->own);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the staging lies.  All ranks come to the same: what forbids the devices is
 * voted on, and every step's outcome is the same on all ranks.
 */
#include <stdio.h>

#include "backend/peer/ctx.h"
#include "base/err.h"
#include "base/log.h"
#include "group/vote.h"
#include "memory/pinned.h"

static dcm_status on_devices(dcmi_peer *c, const dcm_backend_env *env)
{
    dcm_status st = dcmi_symmetric_new(&c->staging, env->group, &c->home,
                                       c->lay.bytes + DCMI_PEER_LOCAL_BYTES,
                                       env->timeout_ms);

    if (st != DCM_OK)
        return st;
    c->local = dcmi_symmetric_at(c->staging, c->rank) + c->lay.bytes;
    for (int p = 0; p < c->nranks; p++)
        c->args.peer[p] = dcmi_symmetric_at(c->staging, p);
    st = dcmi_peer_test(c, env);
    /* A verdict: all kernels have ended.  Else one may run, and close() waits. */
    if (st == DCM_E_UNSUP) {
        dcmi_symmetric_free(c->staging);
        c->staging = NULL;
    }
    return st;
}

/* Every rank takes its own area, near itself, before all is registered. */
static dcm_status reserve(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    int has_vmm = 0;
    dcm_status st;

    (void)cuda->device_attribute(&has_vmm, DCMI_CU_HAS_VMM, c->home.device);
    st = dcmi_segment_reserve(c->host, c->lay.bytes * (uint64_t)c->rank,
                              c->lay.bytes);
    if (st == DCM_OK)
        st = dcmi_device_mem_new(&c->own, &c->home, DCMI_PEER_LOCAL_BYTES,
                                 has_vmm != 0 ? DCMI_DEVICE_ALONE
                                              : DCMI_DEVICE_PLAIN);
    if (st == DCM_OK)
        c->local = c->own->base;
    return st;
}

static dcm_status reach(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    void *base = dcmi_segment_base(c->host);
    dcmi_cu_ptr at = 0;
    dcmi_cu_result r;
    dcm_status st;

    st = dcmi_pinned_get(cuda, base, dcmi_segment_bytes(c->host));
    if (st != DCM_OK)
        return st;
    c->host_page = base;
    r = cuda->host_pointer(&at, base, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "staging in host memory on the device");
    for (int p = 0; p < c->nranks; p++)
        c->args.peer[p] = at + c->lay.bytes * (uint64_t)p;
    return DCM_OK;
}

static dcm_status on_host(dcmi_peer *c, const dcm_backend_env *env)
{
    dcm_status st;

    st = dcmi_segment_new(&c->host, env->group, "devcomm-staging",
                          c->lay.bytes * (uint64_t)c->nranks, env->timeout_ms);
    if (st == DCM_OK)
        st = dcmi_group_vote(env->group, reserve(c), env->timeout_ms);
    if (st == DCM_OK)
        st = dcmi_group_vote(env->group, reach(c), env->timeout_ms);
    return st;
}

dcm_status dcmi_peer_make_staging(dcmi_peer *c, const dcm_backend_env *env,
                                  uint64_t threads, dcm_status st)
{
    const bool is_asked = c->is_forced && c->forced == DCMI_PEER_STAGED;

    st = dcmi_group_vote(env->group, st, env->timeout_ms);
    if (st == DCM_OK && is_asked) {
        (void)snprintf(c->why_staged, sizeof(c->why_staged), "it is asked for");
    } else {
        dcmi_peer_lay_out(&c->lay, c->nranks, threads);
        if (st == DCM_OK)
            st = on_devices(c, env);
        if (st != DCM_E_UNSUP || (c->is_forced && !is_asked))
            return st;
        (void)snprintf(c->why_staged, sizeof(c->why_staged), "%s",
                       dcm_errmsg());
        dcmi_err_clear();
        dcmi_log(DCM_LOG_WARN,
                 "rank %d: data between the devices go through host memory, "
                 "which is slow: %s",
                 c->rank, c->why_staged);
    }
    dcmi_peer_lay_out_staged(&c->lay, c->nranks, threads);
    return on_host(c, env);
}

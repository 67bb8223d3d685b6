/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer test at creation (kernels/probe.cu), on the very mapping that will be used.
 * A veto only: what it lets pass may still be found wrong by the first test.  All
 * ranks exchange what they found, and come to the same verdict.
 */
#include <string.h>

#include "backend/peer/ctx.h"
#include "base/err.h"
#include "group/vote.h"

enum {
    LIMIT_MS = 3000 /* from one rank's launch to the last one's */
};

typedef struct finding {
    uint32_t bad[DCMK_RANKS];
} finding;

static dcm_status clear(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr at = dcmi_symmetric_at(c->staging, c->rank);
    dcmi_cu_result r;

    if (c->lay.bytes < DCMK_PROBE_BYTES)
        return dcmi_err(DCM_E_UNSUP,
                        "%llu bytes of staging are too few for "
                        "the peer test",
                        (unsigned long long)c->lay.bytes);
    r = cuda->set_words_async(at, 0, DCMK_PROBE_BYTES / 4, c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->stream_sync(c->stream);
    return r == DCMI_CU_OK ? DCM_OK : dcmi_cuda_err(cuda, r, "the peer test");
}

static dcm_status run(dcmi_peer *c, finding *f)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr at = c->local;
    dcmk_args a = {
        .dst = at,
        .timeout_ns = LIMIT_MS * DCMI_NS_PER_MS,
        .rank = c->rank,
        .nranks = c->nranks,
    };
    dcmi_cu_result r;
    dcm_status st;

    memcpy(a.peer, c->args.peer, sizeof(a.peer));
    st = dcmi_peer_launch(c, c->fn_probe, &a, 1, DCMK_LANES, c->stream);
    if (st != DCM_OK)
        return st;
    r = cuda->stream_sync(c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_from(f->bad, at, sizeof(f->bad));
    return r == DCMI_CU_OK ? DCM_OK : dcmi_cuda_err(cuda, r, "the peer test");
}

/* What rank `to` found of rank `from`. */
static dcm_status describe(uint32_t bad, int from, int to)
{
    if ((bad & DCMK_PROBE_LATE) != 0)
        return dcmi_err(DCM_E_UNSUP,
                        "peer test: what rank %d writes does not reach rank %d "
                        "within %d ms",
                        from, to, LIMIT_MS);
    if ((bad & DCMK_PROBE_ORDER) != 0)
        return dcmi_err(DCM_E_UNSUP,
                        "peer test: a flag of rank %d reached rank %d before "
                        "its payload",
                        from, to);
    if ((bad & DCMK_PROBE_READ) != 0)
        return dcmi_err(DCM_E_UNSUP,
                        "peer test: rank %d reads wrong data from rank %d", to,
                        from);
    return dcmi_err(DCM_E_UNSUP,
                    "peer test: atomics of other ranks are lost in the memory "
                    "of rank %d",
                    to);
}

/* Where writes do not come, atomics do not either: that is found first. */
static dcm_status judge(const finding *all, int n)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n * n; i++) {
            const int from = i % n;
            const uint32_t bad = all[i / n].bad[from];

            if (pass == 0 ? (bad & ~(uint32_t)DCMK_PROBE_ATOMIC) != 0
                          : bad != 0)
                return describe(bad, from, i / n);
        }
    }
    return DCM_OK;
}

dcm_status dcmi_peer_test(dcmi_peer *c, const dcm_backend_env *env)
{
    finding all[DCM_MAX_RANKS];
    finding mine = {{0}};
    dcm_status st;

    st = dcmi_group_vote(env->group, clear(c), env->timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcmi_group_vote(env->group, run(c, &mine), env->timeout_ms);
    if (st == DCM_OK)
        st = dcm_group_exchange(env->group, &mine, all, sizeof(mine),
                                env->timeout_ms);
    return st == DCM_OK ? judge(all, c->nranks) : st;
}

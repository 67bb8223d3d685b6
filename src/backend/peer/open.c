/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the peer backend's part of a communicator, in phases:
 *
 *   1  local: the context, the device's facts, the kernels, all loaded now, since
 *      a first launch that loads could wait behind a kernel that waits for it
 *   2  the facts are exchanged, with what failed in phase 1
 *   3  every rank computes the same layout; staging is made and mapped by all
 *      (staging.c), the peer test tries it (peer_test.c), and it is filled (fill.c)
 *   4  every algorithm runs on numbers that are known (first_test.c)
 *
 * Nothing here waits for the whole context: another rank, or another communicator,
 * may have a kernel in it that waits for this thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/peer/ctx.h"
#include "backend/peer/image.h"
#include "base/err.h"
#include "group/vote.h"

enum {
    SCORE = 50,
    RECORD_BYTES = 4096,
    OLDEST_MAJOR = 8 /* sm_80: the least that kernels are compiled for */
};

/* One rank in phase 2. */
typedef struct facts {
    dcmi_cu_uuid device;
    int32_t processors;
    int32_t major;
} facts;

dcm_status dcmi_peer_probe(int *score_p, dcm_group *group, char *why,
                           size_t why_bytes)
{
    dcmi_cuda_home home;
    dcm_status st = DCM_OK;
    int major = 0;

    *score_p = 0;
    if (dcm_group_nhosts(group) > 1)
        st = dcmi_err(DCM_E_UNSUP, "the ranks are on %d hosts",
                      dcm_group_nhosts(group));
    else if (dcm_group_nranks(group) > DCMK_RANKS)
        st = dcmi_err(DCM_E_UNSUP, "%d ranks are more than %d",
                      dcm_group_nranks(group), DCMK_RANKS);
    if (st == DCM_OK)
        st = dcmi_cuda_home_here(&home);
    if (st != DCM_OK)
        goto out;
    (void)home.cuda->device_attribute(&major, DCMI_CU_MAJOR, home.device);
    if (!dcmi_peer_image_is_there())
        st = dcmi_err(DCM_E_UNSUP, "built without GPU kernels");
    else if (major < OLDEST_MAJOR)
        st = dcmi_err(DCM_E_UNSUP, "compute capability %d.x is below %d.0",
                      major, OLDEST_MAJOR);
    dcmi_cuda_home_leave(&home);
out:
    if (st == DCM_OK)
        *score_p = SCORE;
    else
        (void)snprintf(why, why_bytes, "%s", dcm_errmsg());
    dcmi_err_clear();
    return DCM_OK;
}

/* ---- phase 1 -------------------------------------------------------------- */

static dcm_status read_facts(dcmi_peer *c, facts *f)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_device d = c->home.device;
    int processors = 0;
    int major = 0;
    dcmi_cu_result r;

    r = cuda->device_uuid(&f->device, d);
    if (r == DCMI_CU_OK)
        r = cuda->device_attribute(&processors, DCMI_CU_PROCESSORS, d);
    if (r == DCMI_CU_OK)
        r = cuda->device_attribute(&major, DCMI_CU_MAJOR, d);
    if (r == DCMI_CU_OK)
        r = cuda->device_name(c->device_name, sizeof(c->device_name), d);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "asking the device");
    f->processors = processors;
    f->major = major;
    return DCM_OK;
}

static dcm_status load_function(dcmi_peer *c, dcmi_cu_function *fn_p,
                                const char *name)
{
    const dcmi_cuda *cuda = c->home.cuda;
    int registers = 0;
    dcmi_cu_result r;

    r = cuda->module_function(fn_p, c->module, name);
    if (r == DCMI_CU_OK)
        r = cuda->func_load != NULL
                ? cuda->func_load(*fn_p)
                : cuda->func_attribute(&registers, DCMI_CU_FUNC_REGISTERS,
                                       *fn_p);
    return r == DCMI_CU_OK ? DCM_OK : dcmi_cuda_err(cuda, r, "kernel %s", name);
}

/* Where the staging will lie is not known yet: those for host memory too. */
static dcm_status load_movers(dcmi_peer *c)
{
    dcm_status st = DCM_OK;
    char name[48];

    for (int i = 0; i < 2 * DCMI_PEER_MOVERS && st == DCM_OK; i++) {
        const dcmi_peer_mover mover = (dcmi_peer_mover)(i / 2);
        const bool is_staged = i % 2 != 0;

        if (dcmi_peer_mover_name(name, sizeof(name), c->nranks, is_staged,
                                 mover))
            st = load_function(
                c, is_staged ? &c->fn_staged_mover[mover] : &c->fn_mover[mover],
                name);
    }
    return st;
}

static dcm_status load_kernels(dcmi_peer *c)
{
    const dcmi_peer_layout lay = {.nranks = c->nranks};
    dcmi_peer_image image;
    dcmi_cu_result r;
    dcm_status st;
    char name[48];

    st = dcmi_peer_image_get(&image);
    if (st != DCM_OK)
        return st;
    r = c->home.cuda->module_load(&c->module, image.data);
    dcmi_peer_image_put(&image);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(c->home.cuda, r, "loading the kernels");
    st = load_function(c, &c->fn_barrier, "dcmk_k_barrier");
    if (st == DCM_OK)
        st = load_function(c, &c->fn_probe, "dcmk_k_probe");
    if (st == DCM_OK)
        st = load_movers(c);
    for (int i = 0; i < DCMI_PEER_ALGOS * DCMI_PEER_WHATS && st == DCM_OK;
         i++) {
        const dcmi_peer_algo algo = (dcmi_peer_algo)(i / DCMI_PEER_WHATS);
        const dcmi_peer_what what = (dcmi_peer_what)(i % DCMI_PEER_WHATS);

        if (dcmi_peer_kernel_name(name, sizeof(name), &lay, algo, what))
            st = load_function(c, &c->fn[algo][what], name);
    }
    return st;
}

static dcm_status read_algo(dcmi_peer *c, const char *name)
{
    if (name == NULL || strcmp(name, "auto") == 0)
        return DCM_OK;
    for (int i = 0; i < DCMI_PEER_ALGOS; i++) {
        if (strcmp(name, dcmi_peer_algo_name((dcmi_peer_algo)i)) != 0)
            continue;
        c->forced = (dcmi_peer_algo)i;
        c->is_forced = true;
        return DCM_OK;
    }
    return dcmi_err(DCM_E_INVAL,
                    "the peer backend has no algorithm %s: auto, ll128, "
                    "ll128_two, push, push_two, staged",
                    name);
}

static dcm_status set_up_local(dcmi_peer *c, facts *f)
{
    const dcmi_cuda *cuda = c->home.cuda;
    dcmi_cu_result r;
    dcm_status st;
    void *record = NULL;

    st = read_facts(c, f);
    if (st == DCM_OK)
        st = load_kernels(c);
    if (st != DCM_OK)
        return st;
    r = cuda->host_alloc(&record, RECORD_BYTES,
                         DCMI_CU_HOST_PORTABLE | DCMI_CU_HOST_DEVICEMAP);
    if (r == DCMI_CU_OK) {
        memset(record, 0, RECORD_BYTES);
        c->record = record;
        r = cuda->event_create(&c->event, DCMI_CU_EVENT_NO_TIMING);
        if (r == DCMI_CU_OK)
            r = cuda->stream_create(&c->stream, DCMI_CU_STREAM_NON_BLOCKING);
    }
    return r == DCMI_CU_OK ? DCM_OK
                           : dcmi_cuda_err(cuda, r, "a page of pinned memory");
}

/* ---- phase 2 ------------------------------------------------------- */

/* Lines arrive whole over NVLink, which is also what has native atomics. */
static dcm_status check_link(const dcmi_peer *c, const facts *theirs, int rank)
{
    const dcmi_cuda *cuda = c->home.cuda;
    int n = 0;

    (void)cuda->device_count(&n);
    for (int i = 0; i < n; i++) {
        dcmi_cu_device d = 0;
        dcmi_cu_uuid uuid;
        int can = 0;
        int is_native = 0;

        if (cuda->device_get(&d, i) != DCMI_CU_OK ||
            cuda->device_uuid(&uuid, d) != DCMI_CU_OK ||
            memcmp(&uuid, &theirs->device, sizeof(uuid)) != 0)
            continue;
        if (d == c->home.device)
            return DCM_OK;
        (void)cuda->can_access_peer(&can, c->home.device, d);
        (void)cuda->p2p_attribute(&is_native, DCMI_CU_P2P_NATIVE_ATOMICS,
                                  c->home.device, d);
        if (can == 0)
            return dcmi_err(DCM_E_UNSUP,
                            "the device has no access to rank %d's", rank);
        if (is_native == 0)
            return dcmi_err(DCM_E_UNSUP,
                            "no NVLink to rank %d's device, and every "
                            "algorithm here wants it",
                            rank);
        return DCM_OK;
    }
    return DCM_OK; /* not visible here: mapping its memory will tell */
}

static dcm_status agree(dcmi_peer *c, const dcm_backend_env *env,
                        const facts *mine)
{
    facts all[DCM_MAX_RANKS];
    uint64_t threads = UINT64_MAX;
    bool is_shared = false;
    dcm_status st;

    st = dcm_group_exchange(env->group, mine, all, sizeof(*mine),
                            env->timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < c->nranks; r++) {
        uint64_t sharing = 1; /* itself */
        uint64_t here;

        for (int p = 0; p < c->nranks; p++)
            sharing += p != r && memcmp(&all[p].device, &all[r].device,
                                        sizeof(all[p].device)) == 0;
        here =
            (uint64_t)all[r].processors / sharing * dcmi_peer_block(c->nranks);
        threads = here < threads ? here : threads;
        is_shared = is_shared || sharing > 1;
        if (r == c->rank)
            c->sharing = (int)sharing;
        if (r != c->rank && st == DCM_OK)
            st = check_link(c, &all[r], r);
    }
    /* A dependent kernel occupies what another rank of the device needs. */
    c->has_dependent_launch = mine->major >= 9 && !is_shared;
    return dcmi_peer_make_staging(c, env, threads, st);
}

/* ---- all of it ------------------------------------------------------------ */

static dcm_status open_phases(dcmi_peer *c, const dcm_backend_env *env)
{
    facts mine = {.processors = 0};
    dcm_status st;

    st = read_algo(c, env->algo);
    if (st == DCM_OK)
        st = set_up_local(c, &mine);
    st = dcmi_group_vote(env->group, st, env->timeout_ms);
    if (st == DCM_OK)
        st = agree(c, env, &mine);
    if (st == DCM_OK)
        st = dcmi_group_vote(env->group, dcmi_peer_fill_memory(c),
                             env->timeout_ms);
    if (st == DCM_OK)
        st = dcmi_group_vote(env->group, dcmi_peer_first_test(c),
                             env->timeout_ms);
    return st;
}

dcm_status dcmi_peer_open(void **ctx_p, const dcm_backend_env *env)
{
    int mode = DCMI_CU_CAPTURE_RELAXED;
    dcmi_peer *c = calloc(1, sizeof(*c));
    dcm_status st = DCM_OK;

    dcmi_peer_reap();
    if (c == NULL)
        st = dcmi_err(DCM_E_NOMEM, "peer backend");
    else
        st = dcmi_cuda_home_here(&c->home);
    st = dcmi_group_vote(env->group, st, env->timeout_ms);
    if (st != DCM_OK || c == NULL) {
        if (c != NULL && c->home.cuda != NULL)
            dcmi_cuda_home_leave(&c->home);
        free(c);
        return st;
    }
    c->team = env->team;
    c->rank = env->rank;
    c->nranks = env->nranks;
    /* A capture of another thread must not forbid us to allocate. */
    (void)c->home.cuda->capture_mode(&mode);
    st = open_phases(c, env);
    (void)c->home.cuda->capture_mode(&mode);
    if (st != DCM_OK) {
        dcmi_peer_close(c);
        return st;
    }
    *ctx_p = c;
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the peer backend's part of a communicator, in phases:
 *
 *   1  local: the context, the device's facts, the kernels, all loaded now, since
 *      a first launch that loads could wait behind a kernel that waits for it
 *   2  the facts are exchanged, with what failed in phase 1
 *   3  every rank computes the same layout; staging is made and mapped by all
 *   4  every algorithm runs on numbers that are known
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
#include "base/log.h"
#include "group/vote.h"
#include "memory/pinned.h"
#include "os/memfd.h"

enum {
    SCORE = 50,
    RECORD_BYTES = 4096,
    EPOCHS_AT = 4096, /* behind the watch, which is behind the staging */
    TEST_AT = 8192,
    TEST_COUNT = 1500,
    LOCAL_BYTES = TEST_AT + TEST_COUNT * 4,
    OLDEST_MAJOR = 8, /* sm_80: the least that kernels are compiled for */
    DRAIN_NS = 2000000000
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
    int has_vmm = 0;

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
    (void)home.cuda->device_attribute(&has_vmm, DCMI_CU_HAS_POSIX_FD,
                                      home.device);
    if (dcmi_peer_image() == NULL)
        st = dcmi_err(DCM_E_UNSUP, "built without GPU kernels");
    else if (major < OLDEST_MAJOR)
        st = dcmi_err(DCM_E_UNSUP, "compute capability %d.x is below %d.0",
                      major, OLDEST_MAJOR);
    else if (has_vmm == 0)
        st = dcmi_err(DCM_E_UNSUP, "the device cannot share memory by "
                                   "descriptors");
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

static dcm_status load_kernels(dcmi_peer *c)
{
    const dcmi_peer_layout lay = {.nranks = c->nranks};
    dcmi_cu_result r;
    dcm_status st;
    char name[48];

    r = c->home.cuda->module_load(&c->module, dcmi_peer_image());
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(c->home.cuda, r, "loading the kernels");
    st = load_function(c, &c->fn_barrier, "dcmk_k_barrier");
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
                    "ll128_two, push, push_two",
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

/* ---- phases 2 and 3 ------------------------------------------------------- */

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

static dcm_status lay_out(dcmi_peer *c, const dcm_backend_env *env,
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
    dcmi_peer_lay_out(&c->lay, c->nranks, threads);
    return dcmi_group_vote(env->group, st, env->timeout_ms);
}

/* Where the device sees `at`, which lies in registered memory. */
static dcm_status device_sees(const dcmi_peer *c, uint64_t *where_p, void *page,
                              const volatile void *at)
{
    dcmi_cu_ptr base = 0;
    const dcmi_cu_result r = c->home.cuda->host_pointer(&base, page, 0);

    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(c->home.cuda, r, "shared memory on the device");
    *where_p = base + ((uintptr_t)at - (uintptr_t)page);
    return DCM_OK;
}

/* The pages that kernels look at while they wait. */
static dcm_status map_pages(dcmi_peer *c, dcmk_watch *watch)
{
    dcm_group *group = c->team->group;
    dcmi_team_shared *shared = c->team->shared;
    void *hall = dcmi_mapping_base(group->mapping);
    const size_t page = dcmi_page_bytes();
    dcm_status st;

    st = dcmi_pinned_get(c->home.cuda, shared,
                         (dcmi_team_bytes(c->nranks) + page - 1) / page * page);
    if (st != DCM_OK)
        return st;
    c->team_page = shared;
    st =
        dcmi_pinned_get(c->home.cuda, hall, dcmi_mapping_bytes(group->mapping));
    if (st != DCM_OK)
        return st;
    c->hall_page = hall;
    st = device_sees(c, &watch->fail, shared, &shared->fail);
    if (st == DCM_OK)
        st = device_sees(c, &watch->record, c->record, c->record);
    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        dcmi_life_slot *life = &group->hall->life[group->slot_of[r]];

        st =
            device_sees(c, &watch->life[r], hall, &life->u.word[life->word_at]);
        if (st == DCM_OK)
            st = device_sees(c, &watch->stage[r], shared,
                             &shared->slot[r].stage);
    }
    return st;
}

static dcm_status fill_memory(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr base = dcmi_symmetric_at(c->staging, c->rank);
    const dcmi_cu_ptr local = base + c->lay.bytes;
    dcmk_watch watch = {0};
    uint64_t epochs[DCMK_GRID];
    dcmi_cu_result r;
    dcm_status st;

    st = map_pages(c, &watch);
    if (st != DCM_OK)
        return st;
    for (int i = 0; i < DCMK_GRID; i++)
        epochs[i] = 1;
    r = cuda->set_words_async(base, 0, c->lay.words_at / 4, c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->set_words_async(base + c->lay.words_at, ~0u,
                                  (c->lay.bytes - c->lay.words_at) / 4,
                                  c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_to_async(local, &watch, sizeof(watch), c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_to_async(local + EPOCHS_AT, epochs, sizeof(epochs),
                                c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->stream_sync(c->stream);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "filling the staging");
    c->args.watch = local;
    c->args.epochs = local + EPOCHS_AT;
    c->args.rank = c->rank;
    for (int p = 0; p < c->nranks; p++)
        c->args.peer[p] = dcmi_symmetric_at(c->staging, p);
    return DCM_OK;
}

/* ---- phase 4 -------------------------------------------------------------- */

static uint32_t test_value(int rank, int round, uint32_t i)
{
    return (i * 2654435761u >> 8) + (uint32_t)(rank * 77 + round);
}

/* One all-reduce of known numbers; f32 holds them exactly. */
static dcm_status test_once(dcmi_peer *c, dcmi_peer_algo algo, int round)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr at =
        dcmi_symmetric_at(c->staging, c->rank) + c->lay.bytes + TEST_AT;
    const dcm_coll coll = {
        .size = sizeof(coll),
        .src = (const void *)(uintptr_t)at,
        .dst = (void *)(uintptr_t)at,
        .count = TEST_COUNT,
        .dtype = DCM_F32,
        .op = DCM_MAX,
        .stream = c->stream,
        .kind = DCM_COLL_ALL_REDUCE,
    };
    float v[TEST_COUNT];
    dcmi_cu_result r;
    dcm_status st;

    for (uint32_t i = 0; i < TEST_COUNT; i++)
        v[i] = (float)test_value(c->rank, round, i);
    r = cuda->copy_to_async(at, v, sizeof(v), c->stream);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    c->forced = algo;
    st = dcmi_peer_all_reduce(c, &coll);
    if (st != DCM_OK)
        return st;
    r = cuda->stream_sync(c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_from(v, at, sizeof(v));
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "the first test");
    st = dcmi_peer_find_failure(c);
    for (uint32_t i = 0; i < TEST_COUNT && st == DCM_OK; i++) {
        if (v[i] != (float)test_value(c->nranks - 1, round, i))
            st = dcmi_err(DCM_E_DEVICE,
                          "the first test of %s: element %u is %g, not %g",
                          dcmi_peer_algo_name(algo), i, (double)v[i],
                          (double)test_value(c->nranks - 1, round, i));
    }
    return st;
}

static dcm_status test_all(dcmi_peer *c)
{
    const bool was_forced = c->is_forced;
    const dcmi_peer_algo was = c->forced;
    dcm_status st = DCM_OK;

    c->is_forced = true;
    for (int i = 0; i < 3 * DCMI_PEER_ALGOS && st == DCM_OK; i++) {
        const dcmi_peer_algo algo = (dcmi_peer_algo)(i % DCMI_PEER_ALGOS);

        if (dcmi_peer_serves(&c->lay, algo, DCM_F32))
            st = test_once(c, algo, i);
    }
    c->is_forced = was_forced;
    c->forced = was;
    c->has_last = false;
    return st;
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
        st = lay_out(c, env, &mine);
    if (st == DCM_OK)
        st = dcmi_symmetric_new(&c->staging, env->group, &c->home,
                                c->lay.bytes + LOCAL_BYTES, env->timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcmi_group_vote(env->group, fill_memory(c), env->timeout_ms);
    if (st == DCM_OK)
        st = dcmi_group_vote(env->group, test_all(c), env->timeout_ms);
    return st;
}

dcm_status dcmi_peer_open(void **ctx_p, const dcm_backend_env *env)
{
    int mode = DCMI_CU_CAPTURE_RELAXED;
    dcmi_peer *c = calloc(1, sizeof(*c));
    dcm_status st = DCM_OK;

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

/* Whether a stream has nothing left to do, after DRAIN_NS at most. */
static bool is_drained(const dcmi_peer *c, dcm_stream stream)
{
    const uint64_t start = dcmi_now_ns();

    while (c->home.cuda->stream_query(stream) == DCMI_CU_NOT_READY) {
        if (dcmi_now_ns() - start >= DRAIN_NS)
            return false;
        dcmi_nap_ns(50000);
    }
    return true;
}

/*
 * Wait for this rank's own kernels, for a while: they may be about to end.  Then
 * tell them to stop; they look at the record's page.  False: the caller's stream
 * still has work, so a kernel of ours may be yet to run.
 */
static bool drain(dcmi_peer *c)
{
    bool is_idle =
        !c->has_last || dcmi_peer_has_record(c) || is_drained(c, c->last);

    __atomic_store_n(&c->record->stop, 1, __ATOMIC_RELEASE);
    if (!is_idle || dcmi_peer_has_record(c))
        is_idle = !c->has_last || is_drained(c, c->last);
    return is_idle && (c->stream == NULL || is_drained(c, c->stream));
}

void dcmi_peer_close(void *ctx)
{
    dcmi_peer *c = ctx;
    const dcmi_cuda *cuda = c->home.cuda;
    bool is_pushed = false;
    int mode = DCMI_CU_CAPTURE_RELAXED;

    if (dcmi_cuda_enter(&c->home, &is_pushed) != DCM_OK) {
        free(c); /* the context is gone, and all its memory with it */
        return;
    }
    (void)cuda->capture_mode(&mode);
    if (c->record != NULL && !drain(c)) {
        /* Freed memory under a kernel would take the whole context along. */
        dcmi_log(DCM_LOG_WARN,
                 "rank %d: the stream of the last call still has work after "
                 "%d s; the memory of the communicator stays until the process "
                 "ends",
                 c->rank, (int)(2ll * DRAIN_NS / 1000000000));
        dcmi_pinned_abandon(c->team_page);
        (void)dcmi_mapping_ref(c->team->group->mapping); /* the hall's page */
        (void)cuda->capture_mode(&mode);
        dcmi_cuda_exit(&c->home, is_pushed);
        free(c);
        return;
    }
    dcmi_pinned_put(cuda, c->team_page);
    dcmi_pinned_put(cuda, c->hall_page);
    dcmi_symmetric_free(c->staging);
    if (c->event != NULL)
        (void)cuda->event_destroy(c->event);
    if (c->stream != NULL)
        (void)cuda->stream_destroy(c->stream);
    if (c->record != NULL)
        (void)cuda->host_free(c->record);
    if (c->module != NULL)
        (void)cuda->module_unload(c->module);
    (void)cuda->capture_mode(&mode);
    dcmi_cuda_exit(&c->home, is_pushed);
    dcmi_cuda_home_leave(&c->home);
    free(c);
}

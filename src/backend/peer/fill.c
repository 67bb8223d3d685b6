/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels find in memory before the first call: staging, watch, epochs. */
#include "backend/peer/ctx.h"
#include "base/err.h"
#include "memory/pinned.h"
#include "os/memfd.h"

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

static dcmi_cu_result clear_staging(const dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr base = dcmi_symmetric_at(c->staging, c->rank);
    const dcmi_cu_result r =
        cuda->set_words_async(base, 0, c->lay.words_at / 4, c->stream);

    if (r != DCMI_CU_OK)
        return r;
    return cuda->set_words_async(base + c->lay.words_at, ~0u,
                                 (c->lay.bytes - c->lay.words_at) / 4,
                                 c->stream);
}

dcm_status dcmi_peer_fill_memory(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    const dcmi_cu_ptr local = c->local;
    dcmk_watch watch = {0};
    uint64_t epochs[DCMK_GRID];
    uint64_t counters[DCMI_PEER_COUNTERS];
    dcmi_cu_result r;
    dcm_status st;

    st = map_pages(c, &watch);
    if (st != DCM_OK)
        return st;
    for (int i = 0; i < DCMK_GRID; i++)
        epochs[i] = 1;
    for (int i = 0; i < DCMI_PEER_COUNTERS; i++)
        counters[i] = 1;
    r = c->staging != NULL ? clear_staging(c) : DCMI_CU_OK; /* a segment is */
    if (r == DCMI_CU_OK)
        r = cuda->copy_to_async(local, &watch, sizeof(watch), c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_to_async(local + DCMI_PEER_EPOCHS_AT, epochs,
                                sizeof(epochs), c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->copy_to_async(local + DCMI_PEER_COUNTERS_AT, counters,
                                sizeof(counters), c->stream);
    if (r == DCMI_CU_OK)
        r = cuda->stream_sync(c->stream);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "filling the staging");
    c->args.watch = local;
    c->args.epochs = local + DCMI_PEER_EPOCHS_AT;
    c->args.rank = c->rank;
    return DCM_OK;
}

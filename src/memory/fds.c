/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rank is the leader of one handover, its own memory's, and a member of all
 * others': listeners, tickets, connections and a vote first, so that nobody waits
 * for a rank that could not connect.
 */
#include "memory/fds.h"

#include "base/err.h"
#include "group/group.h"
#include "group/handover.h"
#include "group/vote.h"
#include "os/sock.h"

/* What one exchange has open. */
typedef struct links {
    dcm_group *group;
    dcmi_handover leads;
    dcmi_handover from[DCM_MAX_RANKS];
    uint32_t timeout_ms;
} links;

/* Listeners, tickets, connections. */
static dcm_status connect_all(links *l)
{
    dcmi_handover_ticket tickets[DCM_MAX_RANKS];
    dcm_status st = dcmi_handover_open(&l->leads, true);

    st = dcmi_group_vote(l->group, st, l->timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcm_group_exchange(l->group, &l->leads.ticket, tickets,
                            sizeof(tickets[0]), l->timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < l->group->nranks && st == DCM_OK; r++) {
        if (r != l->group->rank)
            st =
                dcmi_handover_connect(&l->from[r], &tickets[r], l->group->rank);
    }
    return dcmi_group_vote(l->group, st, l->timeout_ms);
}

static dcm_status take(links *l, int *fd_p, int rank, uint64_t want,
                       const dcmi_watch *watch)
{
    uint64_t bytes = 0;
    const dcm_status st =
        dcmi_handover_receive(&l->from[rank], fd_p, &bytes, watch);

    if (st == DCM_OK && bytes != want)
        return dcmi_err(DCM_E_MISMATCH,
                        "rank %d sends %llu bytes of device memory and said "
                        "%llu",
                        rank, (unsigned long long)bytes,
                        (unsigned long long)want);
    return st;
}

static dcm_status spread(links *l, int *fds, int fd, const uint64_t *bytes)
{
    const int me = l->group->rank;
    dcmi_peer_wait who = {.group = l->group, .what = "device memory: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(l->group, l->timeout_ms));
    uint64_t others = 0;
    dcm_status st = DCM_OK;

    for (int r = 0; r < l->group->nranks; r++)
        others |= r != me ? 1ull << r : 0;
    if (others != 0)
        st = dcmi_handover_serve(&l->leads, others, fd, bytes[me], &watch);
    dcmi_handover_close(&l->leads);
    for (int r = 0; r < l->group->nranks && st == DCM_OK; r++) {
        who.ranks = 1ull << r;
        if (r != me)
            st = take(l, &fds[r], r, bytes[r], &watch);
    }
    return dcmi_group_vote(l->group, st, l->timeout_ms);
}

dcm_status dcmi_fds_exchange(int *fds, dcm_group *group, int fd,
                             const uint64_t *bytes, uint32_t timeout_ms)
{
    links l = {.group = group, .timeout_ms = timeout_ms};
    dcm_status st;

    l.leads = (dcmi_handover){.listener = -1, .link = -1};
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        l.from[r] = l.leads;
    st = connect_all(&l);
    if (st == DCM_OK)
        st = spread(&l, fds, fd, bytes);
    dcmi_handover_close(&l.leads);
    for (int r = 0; r < group->nranks; r++)
        dcmi_handover_close(&l.from[r]);
    return st;
}

/* ---- mapping -------------------------------------------------------------- */

static dcmi_cu_result map_at(const dcmi_cuda_home *home, dcmi_cu_ptr at,
                             size_t bytes, dcmi_cu_mem mem)
{
    const dcmi_cuda *cuda = home->cuda;
    const dcmi_cu_access access = {
        .location = {DCMI_CU_ON_DEVICE, home->device},
        .flags = DCMI_CU_READ_WRITE,
    };
    dcmi_cu_result r = cuda->mem_map(at, bytes, 0, mem, 0);

    if (r != DCMI_CU_OK)
        return r;
    r = cuda->mem_set_access(at, bytes, &access, 1);
    if (r != DCMI_CU_OK)
        (void)cuda->mem_unmap(at, bytes);
    return r;
}

dcm_status dcmi_fds_map(dcmi_cu_ptr *base_p, const dcmi_cuda_home *home, int fd,
                        size_t bytes, int rank)
{
    const dcmi_cuda *cuda = home->cuda;
    dcmi_cu_mem mem = 0;
    dcmi_cu_ptr at = 0;
    dcmi_cu_result r;

    r = cuda->mem_import(&mem, (void *)(uintptr_t)fd, DCMI_CU_POSIX_FD);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "importing device memory of rank %d",
                             rank);
    r = cuda->mem_reserve(&at, bytes, 0, 0, 0);
    if (r == DCMI_CU_OK) {
        r = map_at(home, at, bytes, mem);
        if (r != DCMI_CU_OK)
            (void)cuda->mem_unreserve(at, bytes);
    }
    (void)cuda->mem_release(mem); /* the mapping keeps it */
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r,
                             "mapping %zu bytes of device memory of rank %d",
                             bytes, rank);
    *base_p = at;
    return DCM_OK;
}

void dcmi_fds_unmap(const dcmi_cuda_home *home, dcmi_cu_ptr base, size_t bytes)
{
    (void)home->cuda->mem_unmap(base, bytes);
    (void)home->cuda->mem_unreserve(base, bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rank is the leader of one handover, its own allocation's, and a member of
 * all others': listeners, tickets, connections and a vote first, so that nobody
 * waits for a rank that could not connect.
 */
#include "memory/symmetric.h"

#include <stdlib.h>

#include "base/err.h"
#include "group/group.h"
#include "group/handover.h"
#include "group/vote.h"
#include "os/sock.h"

struct dcmi_symmetric {
    const dcmi_cuda_home *home;
    int nranks;
    size_t bytes; /* a rank, whole granules */
    dcmi_cu_ptr base;
    bool is_mapped[DCM_MAX_RANKS];
};

/* What one creation has open. */
typedef struct making {
    dcm_group *group;
    dcmi_symmetric *s;
    dcmi_cu_mem mem;
    bool has_mem;
    int fd; /* of this rank's memory */
    dcmi_handover leads;
    dcmi_handover from[DCM_MAX_RANKS];
    uint32_t timeout_ms;
} making;

static dcm_status allocate(making *m, size_t bytes)
{
    const dcmi_cuda *cuda = m->s->home->cuda;
    const dcmi_cu_mem_prop prop = {
        .type = DCMI_CU_PINNED,
        .handle_types = DCMI_CU_POSIX_FD,
        .location = {DCMI_CU_ON_DEVICE, m->s->home->device},
    };
    size_t granule = 0;
    dcmi_cu_result r;

    r = cuda->mem_granularity(&granule, &prop, DCMI_CU_GRANULARITY_RECOMMENDED);
    if (r != DCMI_CU_OK || granule == 0)
        return dcmi_cuda_err(cuda, r, "granularity of device memory");
    m->s->bytes = (bytes + granule - 1) / granule * granule;
    r = cuda->mem_create(&m->mem, m->s->bytes, &prop, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "%zu bytes of device memory",
                             m->s->bytes);
    m->has_mem = true;
    r = cuda->mem_export(&m->fd, m->mem, DCMI_CU_POSIX_FD, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "exporting device memory");
    r = cuda->mem_reserve(&m->s->base, m->s->bytes * (size_t)m->s->nranks,
                          granule, 0, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "addresses for %d times %zu bytes",
                             m->s->nranks, m->s->bytes);
    return DCM_OK;
}

static dcm_status map(making *m, int rank, dcmi_cu_mem mem)
{
    dcmi_symmetric *s = m->s;
    const dcmi_cuda *cuda = s->home->cuda;
    const dcmi_cu_ptr at = s->base + s->bytes * (size_t)rank;
    const dcmi_cu_access access = {
        .location = {DCMI_CU_ON_DEVICE, s->home->device},
        .flags = DCMI_CU_READ_WRITE,
    };
    char name[64];
    dcmi_cu_result r;

    (void)dcmi_group_name_rank(m->group, rank, name, sizeof(name));
    r = cuda->mem_map(at, s->bytes, 0, mem, 0);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "mapping device memory of %s", name);
    s->is_mapped[rank] = true;
    r = cuda->mem_set_access(at, s->bytes, &access, 1);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "access to device memory of %s", name);
    return DCM_OK;
}

/* Listeners, tickets, connections. */
static dcm_status connect_all(making *m, dcm_status st)
{
    dcmi_handover_ticket tickets[DCM_MAX_RANKS];

    if (st == DCM_OK)
        st = dcmi_handover_open(&m->leads, true);
    st = dcmi_group_vote(m->group, st, m->timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcm_group_exchange(m->group, &m->leads.ticket, tickets,
                            sizeof(tickets[0]), m->timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < m->s->nranks && st == DCM_OK; r++) {
        if (r != m->group->rank)
            st =
                dcmi_handover_connect(&m->from[r], &tickets[r], m->group->rank);
    }
    return dcmi_group_vote(m->group, st, m->timeout_ms);
}

static dcm_status take(making *m, int rank, const dcmi_watch *watch)
{
    const dcmi_cuda *cuda = m->s->home->cuda;
    dcmi_cu_mem mem;
    dcmi_cu_result r;
    uint64_t bytes = 0;
    int fd = -1;
    dcm_status st;

    st = dcmi_handover_receive(&m->from[rank], &fd, &bytes, watch);
    if (st != DCM_OK)
        return st;
    if (bytes != m->s->bytes) {
        dcmi_close(fd);
        return dcmi_err(DCM_E_MISMATCH,
                        "rank %d has %llu bytes of device memory, rank %d %zu",
                        rank, (unsigned long long)bytes, m->group->rank,
                        m->s->bytes);
    }
    r = cuda->mem_import(&mem, (void *)(uintptr_t)fd, DCMI_CU_POSIX_FD);
    dcmi_close(fd);
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r, "importing device memory of rank %d",
                             rank);
    st = map(m, rank, mem);
    (void)cuda->mem_release(mem); /* the mapping keeps it */
    return st;
}

static dcm_status spread(making *m)
{
    const int me = m->group->rank;
    dcmi_peer_wait who = {.group = m->group, .what = "device memory: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(m->group, m->timeout_ms));
    uint64_t others = 0;
    dcm_status st = DCM_OK;

    for (int r = 0; r < m->s->nranks; r++)
        others |= r != me ? 1ull << r : 0;
    if (others != 0)
        st = dcmi_handover_serve(&m->leads, others, m->fd, m->s->bytes, &watch);
    dcmi_handover_close(&m->leads);
    for (int r = 0; r < m->s->nranks && st == DCM_OK; r++) {
        who.ranks = 1ull << r;
        st = r == me ? map(m, me, m->mem) : take(m, r, &watch);
    }
    return dcmi_group_vote(m->group, st, m->timeout_ms);
}

dcm_status dcmi_symmetric_new(dcmi_symmetric **s_p, dcm_group *group,
                              const dcmi_cuda_home *home, size_t bytes,
                              uint32_t timeout_ms)
{
    making m = {.group = group, .fd = -1, .timeout_ms = timeout_ms};
    dcmi_symmetric *s = calloc(1, sizeof(*s));
    dcm_status st;

    m.leads = (dcmi_handover){.listener = -1, .link = -1};
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        m.from[r] = m.leads;
    st = dcmi_group_vote(
        group, s != NULL ? DCM_OK : dcmi_err(DCM_E_NOMEM, "a mapping's handle"),
        timeout_ms);
    if (st != DCM_OK || s == NULL) {
        free(s);
        return st;
    }
    s->home = home;
    s->nranks = group->nranks;
    m.s = s;
    st = connect_all(&m, allocate(&m, bytes));
    if (st == DCM_OK)
        st = spread(&m);
    dcmi_handover_close(&m.leads);
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        dcmi_handover_close(&m.from[r]);
    dcmi_close(m.fd);
    if (m.has_mem)
        (void)home->cuda->mem_release(m.mem);
    if (st != DCM_OK) {
        dcmi_symmetric_free(s);
        return st;
    }
    *s_p = s;
    return DCM_OK;
}

void dcmi_symmetric_free(dcmi_symmetric *s)
{
    if (s == NULL)
        return;
    for (int r = 0; r < s->nranks; r++) {
        if (s->is_mapped[r])
            (void)s->home->cuda->mem_unmap(s->base + s->bytes * (size_t)r,
                                           s->bytes);
    }
    if (s->base != 0)
        (void)s->home->cuda->mem_unreserve(s->base,
                                           s->bytes * (size_t)s->nranks);
    free(s);
}

dcmi_cu_ptr dcmi_symmetric_at(const dcmi_symmetric *s, int rank)
{
    return s->base + s->bytes * (size_t)rank;
}

size_t dcmi_symmetric_bytes(const dcmi_symmetric *s)
{
    return s->bytes;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each rank says what its memory allows, in one exchange; all compute the same way;
 * descriptors then travel by fds.c, everything else was in the exchange.
 */
#include "memory/share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/err.h"
#include "group/group.h"
#include "group/vote.h"
#include "memory/fds.h"
#include "memory/ipc.h"
#include "memory/pointer.h"
#include "os/ident.h"
#include "os/sock.h"

/* X(NAME, words): why a rank cannot go a way. */
#define REASON_MAP(X)                                                          \
    X(NONE, "it can")                                                          \
    X(VETOED, "DEVCOMM_GPU_VETO names it")                                     \
    X(NOT_ASKED, "it is not asked for")                                        \
    X(KIND, "the memory is of another kind")                                   \
    X(RANGE, "the piece ends behind its allocation or mapping")                \
    X(HANDLE, "the driver makes no handle for it")                             \
    X(APART, "the ranks are processes of their own")                           \
    X(TOGETHER, "ranks share a process")

typedef enum reason {
#define DCMI_X(NAME, words) REASON_##NAME,
    REASON_MAP(DCMI_X)
#undef DCMI_X
} reason;

static const char *const reasons[] = {
#define DCMI_X(NAME, words) [REASON_##NAME] = words,
    REASON_MAP(DCMI_X)
#undef DCMI_X
};

static const char *const names[] = {
#define DCMI_X(NAME, name) [DCMI_SHARE_##NAME] = #name,
    DCMI_SHARE_MAP(DCMI_X)
#undef DCMI_X
};

/* One rank's piece. */
typedef struct record {
    dcmi_process_token process;
    uint64_t ctx; /* for threads of one process */
    uint64_t ptr;
    uint64_t base;  /* of its allocation or mapping */
    uint64_t bytes; /* of that */
    int32_t kind;
    int32_t device;
    uint8_t why[4]; /* a reason a way */
    dcmi_cu_ipc ipc;
} record;

struct dcmi_share {
    const dcmi_cuda_home *home;
    int rank;
    int nranks;
    dcmi_share_way how;
    dcmi_cu_ptr at[DCM_MAX_RANKS];
    dcmi_cu_ptr mapped[DCM_MAX_RANKS]; /* to be undone; 0: nothing */
    size_t mapped_bytes[DCM_MAX_RANKS];
};

const char *dcmi_share_name(dcmi_share_way way)
{
    return names[way];
}

dcmi_cu_ptr dcmi_share_at(const dcmi_share *share, int rank)
{
    return share->at[rank];
}

dcmi_share_way dcmi_share_how(const dcmi_share *share)
{
    return share->how;
}

dcm_status dcmi_share_allowed(uint32_t *ways_p)
{
    const char *at = dcmi_env_str(DCMI_ENV_GPU_VETO);
    uint32_t ways = (1u << DCMI_SHARE_WAYS) - 1;

    while (at != NULL && *at != '\0') {
        const size_t n = strcspn(at, ",");
        uint32_t gone = 0;

        for (int w = 0; w < DCMI_SHARE_WAYS; w++) {
            if (strlen(names[w]) == n && memcmp(at, names[w], n) == 0)
                gone = 1u << w;
        }
        if (n == 4 && memcmp(at, "peer", 4) == 0)
            gone = ways;
        if (gone == 0 && n != 0)
            return dcmi_err(DCM_E_INVAL,
                            "DEVCOMM_GPU_VETO has %.*s: same, fd, ipc or peer",
                            (int)n, at);
        ways &= ~gone;
        at += n + (at[n] == ',');
    }
    *ways_p = ways;
    return DCM_OK;
}

/* ---- what this rank's memory allows --------------------------------------- */

static reason try_fd(int *fd_p, const dcmi_cuda *cuda, const dcmi_pointer *p,
                     dcmi_cu_ptr ptr)
{
    dcmi_cu_result r;
    dcmi_cu_mem mem;

    if (p->kind != DCMI_POINTER_MAPPED)
        return REASON_KIND;
    if (!p->has_fd ||
        cuda->mem_retain(&mem, (void *)(uintptr_t)ptr) != DCMI_CU_OK)
        return REASON_HANDLE;
    r = cuda->mem_export(fd_p, mem, DCMI_CU_POSIX_FD, 0);
    (void)cuda->mem_release(mem);
    return r == DCMI_CU_OK ? REASON_NONE : REASON_HANDLE;
}

static reason try_ipc(dcmi_cu_ipc *ipc, const dcmi_cuda *cuda,
                      const dcmi_pointer *p, dcmi_cu_ptr ptr)
{
    if (p->kind != DCMI_POINTER_DEVICE)
        return REASON_KIND;
    if (!p->has_ipc || cuda->ipc_get(ipc, ptr) != DCMI_CU_OK)
        return REASON_HANDLE;
    return REASON_NONE;
}

static reason before(uint32_t asked, uint32_t allowed, dcmi_share_way way)
{
    if ((asked >> way & 1u) == 0)
        return REASON_NOT_ASKED;
    return (allowed >> way & 1u) == 0 ? REASON_VETOED : REASON_NONE;
}

static dcm_status look(record *rec, int *fd_p, const dcmi_cuda_home *home,
                       dcmi_cu_ptr ptr, size_t bytes, uint32_t ways)
{
    const dcmi_pointer p = dcmi_pointer_look(home->cuda, ptr);
    uint32_t allowed = 0;
    const dcm_status st = dcmi_share_allowed(&allowed);

    if (st != DCM_OK)
        return st;
    rec->process = dcmi_process_here();
    rec->ctx = (uint64_t)(uintptr_t)home->ctx;
    rec->ptr = ptr;
    rec->base = p.base;
    rec->bytes = p.bytes;
    rec->kind = (int32_t)p.kind;
    rec->device = home->device;
    for (int w = 0; w < DCMI_SHARE_WAYS; w++)
        rec->why[w] = (uint8_t)before(ways, allowed, (dcmi_share_way)w);
    if (p.device < 0 || p.kind == DCMI_POINTER_MANAGED)
        memset(rec->why, REASON_KIND, sizeof(rec->why));
    if (ptr + bytes > p.base + p.bytes)
        memset(rec->why, REASON_RANGE, sizeof(rec->why));
    if (rec->why[DCMI_SHARE_FD] == REASON_NONE)
        rec->why[DCMI_SHARE_FD] = (uint8_t)try_fd(fd_p, home->cuda, &p, ptr);
    if (rec->why[DCMI_SHARE_IPC] == REASON_NONE)
        rec->why[DCMI_SHARE_IPC] =
            (uint8_t)try_ipc(&rec->ipc, home->cuda, &p, ptr);
    return DCM_OK;
}

/* ---- the way of all ------------------------------------------------------- */

/* The first rank that cannot go `way`, or -1; with its reason. */
static int first_against(const record *all, int n, dcmi_share_way way,
                         reason *why_p)
{
    for (int r = 0; r < n; r++) {
        *why_p = (reason)(all[r].why[way] & 7);
        if (*why_p != REASON_NONE)
            return r;
        for (int p = 0; p < r; p++) {
            const bool is_same = memcmp(&all[p].process, &all[r].process,
                                        sizeof(all[r].process)) == 0;

            *why_p = is_same ? REASON_TOGETHER : REASON_APART;
            if (way == DCMI_SHARE_SAME ? !is_same
                                       : way == DCMI_SHARE_IPC && is_same)
                return r;
        }
    }
    return -1;
}

static dcm_status choose(dcmi_share_way *way_p, const record *all, int n)
{
    char text[400] = "";

    for (int w = 0; w < DCMI_SHARE_WAYS; w++) {
        const size_t used = strlen(text);
        reason why = REASON_NONE;
        const int r = first_against(all, n, (dcmi_share_way)w, &why);

        if (r < 0) {
            *way_p = (dcmi_share_way)w;
            return DCM_OK;
        }
        (void)snprintf(text + used, sizeof(text) - used, "; %s: rank %d: %s",
                       names[w], r, reasons[why]);
    }
    return dcmi_err(DCM_E_UNSUP, "no way to share %s%s",
                    dcmi_pointer_words((dcmi_pointer_kind)(all[0].kind % 6)),
                    text);
}

/* ---- mapping -------------------------------------------------------------- */

/* A thread's memory, for another device of the process. */
static dcm_status reach(const dcmi_share *s, const record *of, int rank)
{
    const dcmi_cuda *cuda = s->home->cuda;
    const dcmi_cu_access access = {
        .location = {DCMI_CU_ON_DEVICE, s->home->device},
        .flags = DCMI_CU_READ_WRITE,
    };
    dcmi_cu_result r;

    if (of->device == s->home->device)
        return DCM_OK;
    if (of->kind == (int32_t)DCMI_POINTER_MAPPED)
        r = cuda->mem_set_access(of->base, of->bytes, &access, 1);
    else
        r = cuda->peer_enable((dcmi_cu_ctx)(uintptr_t)of->ctx, 0);
    if (r == DCMI_CU_OK || r == DCMI_CU_PEER_ALREADY_ENABLED)
        return DCM_OK;
    return dcmi_cuda_err(cuda, r, "access to the memory of rank %d", rank);
}

static dcm_status map_one(dcmi_share *s, const record *of, int rank, int fd)
{
    dcmi_cu_ptr base = of->base;
    dcm_status st = DCM_OK;

    switch (s->how) {
    case DCMI_SHARE_SAME:
        st = reach(s, of, rank);
        break;
    case DCMI_SHARE_FD:
        st = dcmi_fds_map(&base, s->home, fd, of->bytes, rank);
        break;
    case DCMI_SHARE_IPC:
        st = dcmi_ipc_get(&base, s->home, &of->ipc);
        break;
    case DCMI_SHARE_WAYS:
    default:
        break;
    }
    if (st != DCM_OK)
        return st;
    s->mapped[rank] = s->how == DCMI_SHARE_SAME ? 0 : base;
    s->mapped_bytes[rank] = of->bytes;
    s->at[rank] = base + (of->ptr - of->base);
    return DCM_OK;
}

static dcm_status map_all(dcmi_share *s, const record *all, const int *fds)
{
    dcm_status st = DCM_OK;

    for (int r = 0; r < s->nranks && st == DCM_OK; r++) {
        if (r != s->rank)
            st = map_one(s, &all[r], r, fds[r]);
        else
            s->at[r] = all[r].ptr;
    }
    return st;
}

/* Everything behind the first exchange; all[] holds what ranks told. */
static dcm_status share_all(dcmi_share *s, dcm_group *group, const record *all,
                            int fd, uint32_t timeout_ms)
{
    int fds[DCM_MAX_RANKS];
    uint64_t bytes[DCM_MAX_RANKS];
    dcm_status st;

    for (int r = 0; r < s->nranks; r++) {
        fds[r] = -1;
        bytes[r] = all[r].bytes;
    }
    st = choose(&s->how, all, s->nranks);
    if (st != DCM_OK)
        return st; /* as all ranks found */
    if (s->how == DCMI_SHARE_FD)
        st = dcmi_fds_exchange(fds, group, fd, bytes, timeout_ms);
    if (st == DCM_OK)
        st = dcmi_group_vote(group, map_all(s, all, fds), timeout_ms);
    for (int r = 0; r < s->nranks; r++)
        dcmi_close(fds[r]);
    return st;
}

dcm_status dcmi_share_new(dcmi_share **share_p, dcm_group *group,
                          const dcmi_cuda_home *home, dcmi_cu_ptr ptr,
                          size_t bytes, uint32_t ways, uint32_t timeout_ms)
{
    dcmi_share *s = calloc(1, sizeof(*s));
    record *all = calloc(DCM_MAX_RANKS, sizeof(*all));
    record mine;
    int fd = -1;
    dcm_status st;

    memset(&mine, 0, sizeof(mine));
    st = s != NULL && all != NULL
             ? look(&mine, &fd, home, ptr, bytes, ways)
             : dcmi_err(DCM_E_NOMEM, "sharing device memory");
    st = dcmi_group_vote(group, st, timeout_ms);
    if (st != DCM_OK || s == NULL || all == NULL)
        goto out;
    s->home = home;
    s->rank = group->rank;
    s->nranks = group->nranks;
    st = dcm_group_exchange(group, &mine, all, sizeof(mine), timeout_ms);
    if (st == DCM_OK)
        st = share_all(s, group, all, fd, timeout_ms);
out:
    dcmi_close(fd);
    free(all);
    if (st != DCM_OK) {
        dcmi_share_free(s);
        return st;
    }
    *share_p = s;
    return DCM_OK;
}

void dcmi_share_free(dcmi_share *share)
{
    if (share == NULL)
        return;
    for (int r = 0; r < share->nranks; r++) {
        if (share->mapped[r] == 0)
            continue;
        if (share->how == DCMI_SHARE_IPC)
            dcmi_ipc_put(share->home, share->mapped[r]);
        else
            dcmi_fds_unmap(share->home, share->mapped[r],
                           share->mapped_bytes[r]);
    }
    free(share);
}

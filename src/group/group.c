/* SPDX-License-Identifier: Apache-2.0 */
/* Groups: the public constructors, getters and the end. */
#define _GNU_SOURCE
#include "group/group.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/err.h"
#include "base/opts.h"
#include "os/fiber.h"
#include "os/sock.h"

enum {
    DEFAULT_TIMEOUT_MS = 600000,
    NAME_BYTES = 64
};

unsigned dcmi_forks;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    dcmi_forks++;
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

void dcmi_forks_watch(void)
{
    (void)pthread_once(&fork_once, watch_forks);
}

dcm_status dcmi_group_setup_read(dcmi_group_setup *s,
                                 const dcm_group_opts *opts)
{
    dcm_group_opts o;
    bool ok = true;
    dcm_status st;

    dcmi_forks_watch();
    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_group_opts");
    if (st != DCM_OK)
        return st;
    if ((o.flags & ~(uint32_t)DCM_GROUP_ALLOW_NO_TOKEN) != 0)
        return dcmi_err(DCM_E_INVAL, "dcm_group_opts: unknown flags %#x",
                        o.flags);
    s->name = o.name != NULL ? o.name : "";
    if (strlen(s->name) > NAME_BYTES)
        return dcmi_err(DCM_E_INVAL, "group name of %zu bytes; %d are possible",
                        strlen(s->name), NAME_BYTES);
    s->token = o.token != NULL ? o.token : dcmi_env_str(DCMI_ENV_TOKEN);
    s->host = o.host != NULL ? o.host : dcmi_env_str(DCMI_ENV_HOST);
    s->job = NULL;
    s->card = NULL;
    s->flags = o.flags;
    s->timeout_ms = o.timeout_ms;
    if (s->timeout_ms == 0)
        s->timeout_ms = (uint32_t)dcmi_env_u64(
            DCMI_ENV_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, UINT32_MAX, &ok);
    if (!ok)
        return DCM_E_INVAL;
    if (s->timeout_ms == 0)
        return dcmi_err(DCM_E_INVAL, "DEVCOMM_TIMEOUT_MS is 0");
    return DCM_OK;
}

static dcm_status check_ranks(int rank, int nranks)
{
    if (nranks < 1 || nranks > DCM_MAX_RANKS)
        return dcmi_err(DCM_E_INVAL, "%d ranks; 1 to %d are possible", nranks,
                        DCM_MAX_RANKS);
    if (rank < 0 || rank >= nranks)
        return dcmi_err(DCM_E_INVAL, "rank %d of %d", rank, nranks);
    return DCM_OK;
}

static uint64_t deadline_of(const dcmi_group_setup *s)
{
    return dcmi_now_ns() + s->timeout_ms * DCMI_NS_PER_MS;
}

dcm_status dcm_group_new(dcm_group **group_p, const char *address, int rank,
                         int nranks, const dcm_group_opts *opts)
{
    dcmi_group_setup s;
    dcmi_boot_opts bo;
    dcmi_card card;
    dcmi_boot *boot;
    dcm_status st;

    if (group_p == NULL || address == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_group_new: NULL argument");
    st = check_ranks(rank, nranks);
    if (st == DCM_OK)
        st = dcmi_group_setup_read(&s, opts);
    if (st != DCM_OK)
        return st;
    bo = (dcmi_boot_opts){
        .name = s.name,
        .token = s.token,
        .allow_no_token = (s.flags & DCM_GROUP_ALLOW_NO_TOKEN) != 0,
        .deadline_ns = deadline_of(&s),
        .card = &card,
    };
    s.job = address;
    s.card = &card;
    dcmi_card_open(&card, rank, nranks, address, s.name, bo.deadline_ns);
    st = dcmi_boot_star(&boot, address, rank, nranks, &bo);
    if (st != DCM_OK) {
        dcmi_close(card.fd);
        return dcmi_err_at(st, "group at %s", address);
    }
    return dcmi_group_build(group_p, boot, &s, bo.deadline_ns);
}

dcm_status dcm_group_new_env(dcm_group **group_p, const dcm_group_opts *opts)
{
    dcmi_launch launch;
    dcm_status st;

    if (group_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_group_new_env: NULL argument");
    st = dcmi_launch_read(&launch);
    if (st != DCM_OK)
        return st;
    return dcm_group_new(group_p, launch.address, launch.rank, launch.nranks,
                         opts);
}

dcm_status dcm_group_new_fn(dcm_group **group_p, int rank, int nranks,
                            dcm_all_gather_fn fn, void *arg,
                            const dcm_group_opts *opts)
{
    dcmi_group_setup s;
    dcmi_card card;
    dcmi_boot *boot;
    dcm_status st;

    if (group_p == NULL || fn == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_group_new_fn: NULL argument");
    st = check_ranks(rank, nranks);
    if (st == DCM_OK)
        st = dcmi_group_setup_read(&s, opts);
    if (st == DCM_OK)
        st = dcmi_boot_fn(&boot, fn, arg, rank, nranks);
    if (st != DCM_OK)
        return st;
    s.card = &card;
    dcmi_card_open(&card, rank, nranks, "", s.name, deadline_of(&s));
    return dcmi_group_build(group_p, boot, &s, card.page.deadline_ns);
}

typedef struct local_arg {
    dcm_group *group;
    dcmi_boot *boot;
    const dcmi_group_setup *setup;
    uint64_t deadline_ns;
    dcm_status st;
} local_arg;

static void build_local(void *arg)
{
    local_arg *a = arg;

    a->st = dcmi_group_build(&a->group, a->boot, a->setup, a->deadline_ns);
}

dcm_status dcm_group_new_local(dcm_group **groups, int nranks,
                               const dcm_group_opts *opts)
{
    dcmi_boot *boots[DCM_MAX_RANKS];
    local_arg args[DCM_MAX_RANKS];
    void *pointers[DCM_MAX_RANKS];
    dcmi_group_setup s;
    dcm_status st;

    if (groups == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_group_new_local: NULL argument");
    st = check_ranks(0, nranks);
    if (st == DCM_OK)
        st = dcmi_group_setup_read(&s, opts);
    if (st == DCM_OK)
        st = dcmi_boot_local(boots, nranks);
    if (st != DCM_OK)
        return st;

    for (int r = 0; r < nranks; r++) {
        args[r] = (local_arg){
            .boot = boots[r],
            .setup = &s,
            .deadline_ns = deadline_of(&s),
        };
        pointers[r] = &args[r];
    }
    st = dcmi_fiber_run(build_local, pointers, nranks);
    if (st != DCM_OK) {
        for (int r = 0; r < nranks; r++)
            boots[r]->ops->close(boots[r]);
        return st;
    }
    for (int r = 0; r < nranks && st == DCM_OK; r++)
        st = args[r].st;
    for (int r = 0; r < nranks; r++) {
        if (st == DCM_OK)
            groups[r] = args[r].group;
        else
            dcm_group_free(args[r].group);
    }
    return st;
}

dcm_status dcmi_group_enter(dcm_group *group)
{
    if (DCMI_UNLIKELY(group->forks != dcmi_forks))
        return dcmi_err(DCM_E_INVAL, "this group belongs to the process before "
                                     "its fork");
    if (DCMI_UNLIKELY(dcmi_life_is_orphan(group->life)))
        dcmi_life_adopt(group->life);
    return DCM_OK;
}

void dcm_group_free(dcm_group *group)
{
    if (group == NULL)
        return;
    if (group->forks == dcmi_forks)
        dcmi_life_leave(group->life);
    else
        dcmi_life_forget(group->life);
    if (group->boot != NULL)
        group->boot->ops->close(group->boot);
    dcmi_mapping_put(group->mapping);
    dcmi_close(group->hall_fd);
    dcmi_close(group->card_fd);
    free(group->scratch);
    free(group);
}

int dcm_group_rank(const dcm_group *group)
{
    return group != NULL ? group->rank : -1;
}

int dcm_group_nranks(const dcm_group *group)
{
    return group != NULL ? group->nranks : -1;
}

int dcm_group_nhosts(const dcm_group *group)
{
    return group != NULL ? group->nhosts : -1;
}

int dcm_group_host_of(const dcm_group *group, int rank)
{
    return group != NULL && rank >= 0 && rank < group->nranks
               ? group->host_of[rank]
               : -1;
}

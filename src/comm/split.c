/* SPDX-License-Identifier: Apache-2.0 */
/* Communicators made from others: by colour, or of those who survived. */
#include <stdlib.h>

#include "base/err.h"
#include "comm/comm.h"

typedef struct choice {
    int32_t colour;
    int32_t key;
    int32_t status; /* a rank that cannot take part says so to all */
} choice;

/*
 * A group of the ranks that meet on `boot`, which is used up, and its
 * communicator.  `stay_crowded`: ranks that are left out go on using the cores.
 */
static dcm_status derive(dcm_comm **comm_p, dcm_comm *parent, dcmi_boot *boot,
                         bool stay_crowded, const dcm_comm_opts *opts)
{
    const dcmi_group_setup setup = {
        .name = "",
        .job = parent->group->job,
        .timeout_ms = parent->group->timeout_ms,
    };
    dcm_group *group;
    dcm_status st;

    st = dcmi_group_build(&group, boot, &setup,
                          dcmi_now_ns() +
                              dcmi_group_timeout_ns(parent->group, 0));
    if (st != DCM_OK)
        return st;
    if (stay_crowded && parent->group->is_crowded) {
        group->is_crowded = true;
        group->spin_ns = parent->group->spin_ns;
    }
    st = dcmi_comm_create(comm_p, group, opts);
    if (st != DCM_OK) {
        dcm_group_free(group);
        return st;
    }
    (*comm_p)->owns_group = true;
    return DCM_OK;
}

/* The ranks of `colour`, by (key, rank). */
static int members_of(int *order, const choice *all, int nranks, int colour)
{
    int n = 0;

    for (int r = 0; r < nranks; r++) {
        int at = n;

        if (all[r].colour != colour)
            continue;
        while (at > 0 && all[order[at - 1]].key > all[r].key) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = r;
        n++;
    }
    return n;
}

/* The lowest rank that could not take part, told alike on all. */
static dcm_status first_failure(const dcm_comm *comm, const choice *all)
{
    char name[64];

    for (int r = 0; r < comm->team.nranks; r++) {
        if (all[r].status != DCM_OK)
            return dcmi_err(
                (dcm_status)all[r].status, "%s: %s",
                dcmi_group_name_rank(comm->group, r, name, sizeof(name)),
                dcm_status_str((dcm_status)all[r].status));
    }
    return DCM_OK;
}

dcm_status dcm_comm_split(dcm_comm **comm_p, dcm_comm *comm, int colour,
                          int key, const dcm_comm_opts *opts)
{
    choice mine = {.colour = colour, .key = key};
    choice all[DCM_MAX_RANKS];
    int order[DCM_MAX_RANKS];
    dcmi_boot *boot = NULL;
    dcm_status st;
    int n;

    if (comm_p == NULL || comm == NULL || colour < DCM_SPLIT_NONE)
        return dcmi_err(DCM_E_INVAL, "split: NULL argument or colour %d",
                        colour);
    st = dcmi_comm_enter(comm);
    if (st != DCM_OK)
        return st;
    if (colour != DCM_SPLIT_NONE)
        mine.status = dcmi_boot_board(&boot, &comm->team);
    st = dcm_group_exchange(comm->group, &mine, all, sizeof(mine), 0);
    if (st == DCM_OK)
        st = first_failure(comm, all);
    if (st != DCM_OK || colour == DCM_SPLIT_NONE) {
        if (boot != NULL)
            boot->ops->close(boot);
        if (st != DCM_OK)
            return dcmi_err_at(st, "split");
        *comm_p = NULL;
        return DCM_OK;
    }
    n = members_of(order, all, comm->team.nranks, colour);
    dcmi_boot_board_call(boot, order, n, DCMI_MEETING_SPLIT(comm->group));
    st = derive(comm_p, comm, boot, true, opts);
    return st == DCM_OK ? DCM_OK : dcmi_err_at(st, "split, colour %d", colour);
}

dcm_status dcm_comm_regroup(dcm_comm **comm_p, dcm_comm *comm,
                            const dcm_comm_opts *opts)
{
    int order[DCM_MAX_RANKS];
    dcmi_boot *boot;
    uint64_t members;
    dcm_status st;
    int n = 0;

    if (comm_p == NULL || comm == NULL)
        return dcmi_err(DCM_E_INVAL, "regroup: NULL argument");
    st = dcmi_group_enter(comm->group);
    if (st != DCM_OK)
        return st;
    /* Before this rank is said to have come: without memory it may try again. */
    st = dcmi_boot_board(&boot, &comm->team);
    if (st != DCM_OK)
        return dcmi_err_at(st, "regroup");
    st = dcmi_team_survivors(&comm->team, &members,
                             dcmi_group_timeout_ns(comm->group, 0));
    if (st != DCM_OK) {
        boot->ops->close(boot);
        return st;
    }
    for (uint64_t m = members; m != 0; m &= m - 1)
        order[n++] = __builtin_ctzll(m);
    dcmi_boot_board_call(boot, order, n, DCMI_MEETING_REGROUP(&comm->team));
    st = derive(comm_p, comm, boot, false, opts);
    return st == DCM_OK ? DCM_OK : dcmi_err_at(st, "regroup of %d ranks", n);
}

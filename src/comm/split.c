/* SPDX-License-Identifier: Apache-2.0 */
/* Communicators made from others: by colour, or of those who survived. */
#include <stdlib.h>

#include "base/err.h"
#include "comm/comm.h"

typedef struct choice {
    int32_t colour;
    int32_t key;
} choice;

/*
 * A group of the team's ranks `order`, made on its board, and its communicator.
 * `stay_crowded`: the ranks that are left out go on using the same cores.
 */
static dcm_status derive(dcm_comm **comm_p, dcm_comm *parent, const int *order,
                         int n, uint64_t meeting, bool stay_crowded,
                         const dcm_comm_opts *opts)
{
    const dcmi_group_setup setup = {
        .name = "",
        .timeout_ms = parent->group->timeout_ms,
    };
    dcmi_boot *boot;
    dcm_group *group;
    dcm_status st;

    st = dcmi_boot_board(&boot, &parent->team, order, n, meeting);
    if (st != DCM_OK)
        return st;
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

dcm_status dcm_comm_split(dcm_comm **comm_p, dcm_comm *comm, int colour,
                          int key, const dcm_comm_opts *opts)
{
    const choice mine = {.colour = colour, .key = key};
    choice all[DCM_MAX_RANKS];
    int order[DCM_MAX_RANKS];
    dcm_status st;
    int n;

    if (comm_p == NULL || comm == NULL || colour < DCM_SPLIT_NONE)
        return dcmi_err(DCM_E_INVAL, "split: NULL argument or colour %d",
                        colour);
    st = dcmi_comm_enter(comm);
    if (st != DCM_OK)
        return st;
    st = dcm_group_exchange(comm->group, &mine, all, sizeof(mine), 0);
    if (st != DCM_OK)
        return dcmi_err_at(st, "split");
    if (colour == DCM_SPLIT_NONE) {
        *comm_p = NULL;
        return DCM_OK;
    }
    n = members_of(order, all, comm->team.nranks, colour);
    st = derive(comm_p, comm, order, n, DCMI_MEETING_SPLIT(comm->group), true,
                opts);
    return st == DCM_OK ? DCM_OK : dcmi_err_at(st, "split, colour %d", colour);
}

dcm_status dcm_comm_regroup(dcm_comm **comm_p, dcm_comm *comm,
                            const dcm_comm_opts *opts)
{
    int order[DCM_MAX_RANKS];
    uint64_t members;
    dcm_status st;
    int n = 0;

    if (comm_p == NULL || comm == NULL)
        return dcmi_err(DCM_E_INVAL, "regroup: NULL argument");
    st = dcmi_group_enter(comm->group);
    if (st != DCM_OK)
        return st;
    st = dcmi_team_survivors(&comm->team, &members,
                             dcmi_group_timeout_ns(comm->group, 0));
    if (st != DCM_OK)
        return st;
    for (uint64_t m = members; m != 0; m &= m - 1)
        order[n++] = __builtin_ctzll(m);
    st = derive(comm_p, comm, order, n, DCMI_MEETING_REGROUP(&comm->team),
                false, opts);
    return st == DCM_OK ? DCM_OK : dcmi_err_at(st, "regroup of %d ranks", n);
}

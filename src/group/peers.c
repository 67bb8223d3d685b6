/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for ranks: who is dead, who has left, who is late, in words. */
#include "group/group.h"

#include <stdio.h>

#include "base/err.h"

const char *dcmi_group_name_rank(const dcm_group *group, int rank, char *text,
                                 size_t bytes)
{
    if (group->nhosts > 1)
        (void)snprintf(text, bytes, "rank %d (pid %d on host %d)", rank,
                       group->pid_of[rank], group->host_of[rank]);
    else
        (void)snprintf(text, bytes, "rank %d (pid %d)", rank,
                       group->pid_of[rank]);
    return text;
}

uint64_t dcmi_group_timeout_ns(const dcm_group *group, uint32_t timeout_ms)
{
    return (timeout_ms != 0 ? timeout_ms : group->timeout_ms) * DCMI_NS_PER_MS;
}

static dcm_status late(dcmi_peer_wait *w)
{
    char names[512];
    char one[64];
    size_t used = 0;
    int n;

    w->culprit = __builtin_ctzll(w->ranks);
    names[0] = '\0';
    for (uint64_t m = w->ranks; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);

        n = snprintf(names + used, sizeof(names) - used, "%s%s",
                     used == 0 ? "" : ", ",
                     dcmi_group_name_rank(w->group, r, one, sizeof(one)));
        if (n < 0 || (size_t)n >= sizeof(names) - used)
            break;
        used += (size_t)n;
    }
    return dcmi_err(DCM_E_TIMEOUT, "%s%s %s late: alive, but did not come",
                    w->what, names,
                    (w->ranks & (w->ranks - 1)) == 0 ? "is" : "are");
}

dcm_status dcmi_peer_check(void *arg, bool expired)
{
    dcmi_peer_wait *w = arg;
    const dcm_group *g = w->group;
    char name[64];

    for (uint64_t m = w->ranks; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);
        const int slot = g->slot_of[r];
        dcmi_life_state state;

        if (slot < 0)
            continue;
        state = dcmi_life_look(&g->hall->life[slot]);
        if (state != DCMI_LIFE_DEAD && state != DCMI_LIFE_LEFT)
            continue;
        w->culprit = r;
        return dcmi_err(DCM_E_PEER, "%s%s %s", w->what,
                        dcmi_group_name_rank(g, r, name, sizeof(name)),
                        state == DCMI_LIFE_DEAD ? "died"
                                                : "has left its group");
    }
    return expired ? late(w) : DCM_OK;
}

dcmi_watch dcmi_peer_watch(dcmi_peer_wait *wait, uint64_t timeout_ns)
{
    const dcm_group *g = wait->group;

    wait->culprit = -1;
    return (dcmi_watch){
        .check = dcmi_peer_check,
        .arg = wait,
        .bells = &g->hall->bells,
        .rank = g->slot_of[g->rank],
        .timeout_ns = timeout_ns,
        .spin_ns = g->spin_ns,
    };
}

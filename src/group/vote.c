/* SPDX-License-Identifier: Apache-2.0 */
/* The vote; build.c has its own rounds, since there is no hall yet. */
#include "group/vote.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

typedef struct ballot {
    int32_t status;
    char message[252];
} ballot;

dcm_status dcmi_group_vote(dcm_group *group, dcm_status st, uint32_t timeout_ms)
{
    ballot all[DCM_MAX_RANKS];
    ballot mine;

    memset(&mine, 0, sizeof(mine));
    mine.status = st;
    if (st != DCM_OK)
        (void)snprintf(mine.message, sizeof(mine.message), "%s", dcm_errmsg());

    st = dcm_group_exchange(group, &mine, all, sizeof(mine), timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < dcm_group_nranks(group); r++) {
        if (all[r].status != DCM_OK)
            return dcmi_err((dcm_status)all[r].status, "rank %d: %.*s", r,
                            (int)sizeof(all[r].message), all[r].message);
    }
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One exchange in which every rank says whether its part of a step worked. */
#ifndef DCMI_VOTE_H
#define DCMI_VOTE_H

#include <devcomm/devcomm.h>

/*
 * Collective: `st`, with this thread's error record when it is not OK.  Returns
 * OK when all ranks voted OK, else the first failing rank's status and words,
 * the same on every rank.  An exchange that fails comes first.
 */
dcm_status dcmi_group_vote(dcm_group *group, dcm_status st,
                           uint32_t timeout_ms);

#endif /* DCMI_VOTE_H */

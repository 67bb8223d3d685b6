/* SPDX-License-Identifier: Apache-2.0 */
/* Who is where, who is waited for and who is to blame: in sentences. */
#ifndef DCMI_INSPECT_VERDICT_H
#define DCMI_INSPECT_VERDICT_H

#include "inspect/job.h"

enum {
    DCMI_VERDICT_LINES = 72,
    DCMI_VERDICT_BYTES = 512,
};

typedef struct dcmi_verdict {
    bool is_bad; /* something is wrong, or stands for a second and more */
    size_t n;
    char line[DCMI_VERDICT_LINES][DCMI_VERDICT_BYTES];
} dcmi_verdict;

/* Adds to what `v` says already. */
void dcmi_judge_comm(dcmi_verdict *v, const dcmi_seen_comm *comm);

/* The chosen groups that form, and ranks that have not come to an exchange. */
void dcmi_judge_groups(dcmi_verdict *v, const dcmi_sight *sight);

void dcmi_say(dcmi_verdict *v, bool is_bad, const char *fmt, ...)
    DCMI_PRINTF(3, 4);

#endif /* DCMI_INSPECT_VERDICT_H */

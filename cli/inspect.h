/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm inspect: what was seen, as text and as JSON. */
#ifndef DEVCOMM_CLI_INSPECT_H
#define DEVCOMM_CLI_INSPECT_H

#include "inspect/job.h"
#include "inspect/verdict.h"

/* What is shown: the verdicts, one a chosen communicator, behind the groups'. */
typedef struct inspect_report {
    const dcmi_sight *sight;
    const dcmi_verdict *groups;
    const dcmi_verdict *comms; /* by their place in sight->comms */
    unsigned last;             /* operations of the rings to list */
    char host[65];
} inspect_report;

void inspect_print(const inspect_report *report);
void inspect_json(const inspect_report *report);

/* All jobs of this user, a line each. */
void inspect_print_jobs(const dcmi_sight *sight);
void inspect_json_jobs(const dcmi_sight *sight);

/* What is known of one job, or of the cards without one. */
typedef struct inspect_job {
    const char *name;
    int nranks;
    int n_here; /* ranks on this machine */
    int n_comms;
    bool is_forming;
    int least_pid;
} inspect_job;

enum {
    INSPECT_MOST_JOBS = 256
};

size_t inspect_jobs(inspect_job *jobs, const dcmi_sight *sight);

#endif /* DEVCOMM_CLI_INSPECT_H */

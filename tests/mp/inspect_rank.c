/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank of a job to inspect, started by devcomm run:
 *
 *   inspect_rank sleep    rank 2 sleeps before its 8th operation
 *   inspect_rank other    rank 1 broadcasts where the others all_reduce
 *   inspect_rank die      rank 2 is to be killed while it sleeps, as above
 *   inspect_rank late     rank 2 never makes a communicator
 *   inspect_rank absent   rank 2 never joins the group
 *   inspect_rank go       all_reduce for ever
 *   inspect_rank idle     8 operations, then nothing
 *
 * Who has failed says so and stays, so that it can be looked at.
 */
#define _GNU_SOURCE
#include <devcomm/devcomm.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    COUNT = 4096
};

static float src[COUNT];
static float dst[COUNT];

static _Noreturn void stay(void)
{
    for (;;)
        (void)pause();
}

static void must(dcm_status st)
{
    if (st == DCM_OK)
        return;
    fprintf(stderr, "%s\n", dcm_errmsg());
    stay();
}

static dcm_status reduce(dcm_comm *comm)
{
    return dcm_all_reduce(comm, src, dst, COUNT, DCM_F32, DCM_SUM, NULL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "go";
    const char *rank_text = getenv("DEVCOMM_RANK");
    const int rank = rank_text != NULL ? atoi(rank_text) : 0;
    const bool is_other = strcmp(mode, "other") == 0;
    dcm_group *group;
    dcm_comm *comm;

    if (strcmp(mode, "absent") == 0 && rank == 2)
        stay();
    must(dcm_group_new_env(&group, NULL));
    if (strcmp(mode, "late") == 0 && rank == 2)
        stay();
    must(dcm_comm_new(&comm, group, NULL));
    for (int i = 0; i < 7; i++)
        must(reduce(comm));
    if ((strcmp(mode, "sleep") == 0 || strcmp(mode, "die") == 0) && rank == 2)
        (void)sleep(3600);
    if (strcmp(mode, "idle") == 0)
        stay();
    if (is_other && rank == 1)
        must(dcm_broadcast(comm, src, dst, COUNT, DCM_F32, 0, NULL));
    for (;;)
        must(reduce(comm));
}

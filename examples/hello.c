/* SPDX-License-Identifier: Apache-2.0 */
/* Every rank gives its number; all print the sum.  See README.md. */
#include <devcomm/devcomm.h>
#include <stdio.h>
#include <stdlib.h>

static void must(dcm_status st)
{
    if (st == DCM_OK)
        return;
    fprintf(stderr, "%s\n", dcm_errmsg());
    exit(1);
}

int main(void)
{
    dcm_group *group;
    dcm_comm *comm;
    float mine, sum;

    must(dcm_group_new_env(&group, NULL));
    must(dcm_comm_new(&comm, group, NULL));
    mine = (float)dcm_comm_rank(comm) + 1;
    must(dcm_all_reduce(comm, &mine, &sum, 1, DCM_F32, DCM_SUM, NULL));
    printf("rank %d of %d: %g\n", dcm_comm_rank(comm), dcm_comm_nranks(comm),
           (double)sum);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return 0;
}

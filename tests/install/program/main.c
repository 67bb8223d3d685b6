/* SPDX-License-Identifier: Apache-2.0 */
/* Built from an installed copy, as C and as C++: one rank, one all-reduce. */
#include <devcomm/backend.h>
#include <devcomm/devcomm.h>

#include <stdio.h>

int main(void)
{
    dcm_group_opts group_opts = DCM_GROUP_OPTS_INIT;
    dcm_comm_opts comm_opts = DCM_COMM_OPTS_INIT;
    dcm_group *group;
    dcm_comm *comm;
    float x = 2.5f;
    int failed = 1;

    if (dcm_version() != DCM_VERSION)
        return 1;
    if (dcm_group_new_local(&group, 1, &group_opts) != DCM_OK)
        return 1;
    if (dcm_comm_new(&comm, group, &comm_opts) == DCM_OK) {
        failed =
            dcm_all_reduce(comm, &x, &x, 1, DCM_F32, DCM_SUM, NULL) != DCM_OK ||
            x != 2.5f;
        dcm_comm_free(comm);
    }
    dcm_group_free(group);
    printf("devcomm %d\n", dcm_version());
    return failed;
}

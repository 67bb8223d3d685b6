/* SPDX-License-Identifier: Apache-2.0 */
/* Communicators: their state, their failure and their end. */
#include "comm/comm.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

dcm_status dcmi_comm_enter(dcm_comm *comm)
{
    dcm_status st = dcmi_group_enter(comm->group);

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    if (DCMI_UNLIKELY(dcmi_team_is_failed(&comm->team) ||
                      comm->team.failure.status != DCM_OK))
        return dcmi_team_check(&comm->team);
    return DCM_OK;
}

void dcm_comm_free(dcm_comm *comm)
{
    if (comm == NULL)
        return;
    if (comm->team.shared != NULL && comm->group->forks == dcmi_forks)
        dcmi_team_leave(&comm->team);
    if (comm->ctx != NULL)
        comm->ops->close(comm->ctx);
    dcmi_segment_free(comm->segment);
    dcmi_check_free(comm->check);
    if (comm->owns_group)
        dcm_group_free(comm->group);
    free(comm);
}

dcm_status dcm_comm_finalize(dcm_comm *comm, uint32_t timeout_ms)
{
    dcm_status st;

    if (comm == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_comm_finalize: NULL argument");
    st = dcmi_comm_enter(comm);
    if (st != DCM_OK)
        return st;
    if (timeout_ms == 0)
        timeout_ms = comm->timeout_ms;
    return dcmi_team_finalize(&comm->team,
                              dcmi_group_timeout_ns(comm->group, timeout_ms));
}

void dcm_comm_abort(dcm_comm *comm)
{
    if (comm != NULL && comm->team.shared != NULL &&
        comm->group->forks == dcmi_forks)
        dcmi_team_abort(comm->team.shared, comm->team.rank);
}

dcm_status dcm_comm_check(dcm_comm *comm)
{
    dcm_status st;

    if (comm == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_comm_check: NULL argument");
    st = dcmi_team_check(&comm->team);
    return st == DCM_OK ? comm->ops->check(comm->ctx) : st;
}

void dcm_comm_set_timeout(dcm_comm *comm, uint32_t timeout_ms)
{
    if (comm != NULL)
        dcmi_team_set_timeout(&comm->team,
                              timeout_ms != 0 ? timeout_ms : comm->timeout_ms);
}

/* Fill the caller's struct as far as both know it. */
static void copy_out(void *out, const void *ours, size_t size)
{
    size_t theirs;

    memcpy(&theirs, out, sizeof(theirs));
    if (theirs < sizeof(theirs))
        return;
    memcpy((char *)out + sizeof(theirs), (const char *)ours + sizeof(theirs),
           (theirs < size ? theirs : size) - sizeof(theirs));
}

void dcm_comm_failure(const dcm_comm *comm, dcm_failure *out)
{
    if (comm != NULL && out != NULL)
        copy_out(out, &comm->team.failure, sizeof(comm->team.failure));
}

void dcm_comm_info_get(const dcm_comm *comm, dcm_comm_info *out)
{
    dcm_comm_info info = {.size = sizeof(info)};
    size_t now = 0;
    size_t most = 0;
    size_t base;

    if (comm == NULL || out == NULL)
        return;
    comm->ops->footprint(comm->ctx, &now, &most);
    base = dcmi_segment_bytes(comm->segment) +
           dcmi_mapping_bytes(comm->group->mapping);
    info.rank = comm->team.rank;
    info.nranks = comm->team.nranks;
    info.backend = comm->ops->name;
    info.shared_bytes = base + now;
    info.reserve_bytes = base + most;
    info.operations = comm->operations;
    copy_out(out, &info, sizeof(info));
}

int dcm_comm_rank(const dcm_comm *comm)
{
    return comm != NULL ? comm->team.rank : -1;
}

int dcm_comm_nranks(const dcm_comm *comm)
{
    return comm != NULL ? comm->team.nranks : -1;
}

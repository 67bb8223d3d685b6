/* SPDX-License-Identifier: Apache-2.0 */
/* The communicator inside. */
#ifndef DCMI_COMM_H
#define DCMI_COMM_H

#include <devcomm/backend.h>

#include <stdbool.h>

#include "group/team.h"
#include "memory/segment.h"

typedef struct dcmi_check dcmi_check;

struct dcm_comm {
    const dcm_backend_ops *ops;
    void *ctx; /* the backend's */
    dcmi_team team;
    dcm_group *group;
    bool owns_group;
    dcmi_segment *segment; /* the team's memory */
    uint64_t operations;   /* collectives: the same number on every rank */
    uint64_t messages;     /* calls of this rank to send and receive */
    uint32_t timeout_ms;
    dcmi_check *check; /* NULL: not asked for */
};

/* Make a communicator of `group`; on failure the group stays the caller's. */
dcm_status dcmi_comm_create(dcm_comm **comm_p, dcm_group *group,
                            const dcm_comm_opts *opts);

/* Every call's first step: not failed, not a forked child's, alive. */
dcm_status dcmi_comm_enter(dcm_comm *comm);

/* check.c: the known sum behind every `every`-th operation. */
dcm_status dcmi_check_new(dcmi_check **check_p, uint32_t every);
void dcmi_check_free(dcmi_check *check);
dcm_status dcmi_check_after(dcm_comm *comm);

/* Run a checked call now. */
dcm_status dcmi_coll_run(dcm_comm *comm, const dcm_coll *coll);

/* message.c: run checked sends and receives now, side by side. */
dcm_status dcmi_messages_run(dcm_comm *comm, const dcm_coll *const *calls,
                             size_t n_calls);

/* Whether this thread is between dcm_begin() and dcm_end(). */
bool dcmi_scope_is_open(void);

/* Collect a checked call for dcm_end(). */
dcm_status dcmi_scope_add(dcm_comm *comm, const dcm_coll *coll);

#endif /* DCMI_COMM_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collectives, by nothing but the public interface.  Variants:
 *   private    the buffers that all peers get
 *   arena      buffers from an arena of the communicator, never rewritten
 *   rewritten  the same, rewritten before and read after each operation
 *   private_rewritten
 *              private ones in the same loop, as what the arena is held against
 */
#include <devcomm/devcomm.h>

#include <stdio.h>
#include <string.h>

#include "data.h"
#include "loop.h"

#define CHECK(call)                                                            \
    do {                                                                       \
        if ((call) != DCM_OK)                                                  \
            bp_fail("%s: %s", #call, dcm_errmsg());                            \
    } while (0)

static void run(void *arg, const bp_call *b)
{
    const dcm_dtype dtype = b->dtype == BP_F32 ? DCM_F32 : DCM_BF16;

    if (b->op == BP_ALL_REDUCE)
        CHECK(dcm_all_reduce(arg, b->src, b->dst, b->count, dtype, DCM_SUM,
                             NULL));
    else if (b->op == BP_ALL_GATHER)
        CHECK(dcm_all_gather(arg, b->src, b->dst, b->count, dtype, NULL));
    else if (b->op == BP_BROADCAST)
        CHECK(
            dcm_broadcast(arg, b->src, b->dst, b->count, dtype, b->root, NULL));
    else
        CHECK(dcm_reduce_scatter(arg, b->src, b->dst, b->count, dtype, DCM_SUM,
                                 NULL));
}

int main(int argc, char **argv)
{
    bp_driver driver = {.run = run};
    dcm_arena *arena = NULL;
    dcm_group *group;
    dcm_comm *comm;
    char version[32];
    bp_plan plan;
    bp_loop *loop;
    int rank;

    bp_parse(&plan, "devcomm", argc, argv);
    plan.is_rewritten = strstr(plan.variant, "rewritten") != NULL;
    rank = bp_fork(plan.nranks);
    loop = bp_open(&plan, rank);
    (void)snprintf(version, sizeof(version), "devcomm %d.%d.%d",
                   dcm_version() / 10000, dcm_version() / 100 % 100,
                   dcm_version() % 100);
    bp_about(loop, version);
    CHECK(
        dcm_group_new_fn(&group, rank, plan.nranks, bp_all_gather, loop, NULL));
    CHECK(dcm_comm_new(&comm, group, NULL));
    if (strncmp(plan.variant, "private", strlen("private")) != 0) {
        CHECK(dcm_arena_new(&arena, comm, 2 * plan.max_bytes + BP_PAGE));
        CHECK(dcm_arena_alloc(arena, &driver.src, plan.max_bytes));
        CHECK(dcm_arena_alloc(arena, &driver.dst, plan.max_bytes));
    }
    driver.arg = comm;
    bp_run(loop, &driver);
    CHECK(dcm_comm_finalize(comm, 0));
    dcm_arena_free(arena);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return bp_join(rank);
}

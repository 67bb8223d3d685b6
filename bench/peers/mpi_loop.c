/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The collectives of MPI, through whichever MPI this was compiled against.  bf16 is not
 * a type of MPI 3.1 or 4.0: a program's own operator is the only way.
 */
#include <mpi.h>

#include <string.h>

#include "data.h"
#include "loop.h"

static MPI_Op bf16_sum;

static void add_bf16(void *in, void *out, int *count, MPI_Datatype *type)
{
    (void)type;
    bp_bf16_add(out, in, out, (size_t)*count);
}

static void run(void *arg, const bp_call *b)
{
    const MPI_Datatype type = b->dtype == BP_F32 ? MPI_FLOAT : MPI_UINT16_T;
    const MPI_Op sum = b->dtype == BP_F32 ? MPI_SUM : bf16_sum;
    const int n = (int)b->count;

    (void)arg;
    if (b->op == BP_ALL_REDUCE)
        MPI_Allreduce(b->src, b->dst, n, type, sum, MPI_COMM_WORLD);
    else if (b->op == BP_ALL_GATHER)
        MPI_Allgather(b->src, n, type, b->dst, n, type, MPI_COMM_WORLD);
    else if (b->op == BP_BROADCAST)
        MPI_Bcast(b->dst, n, type, b->root, MPI_COMM_WORLD);
    else
        MPI_Reduce_scatter_block(b->src, b->dst, n, type, sum, MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    const bp_driver driver = {.run = run};
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    bp_plan plan;
    bp_loop *loop;
    int length;
    int ranks;
    int rank;

    MPI_Init(&argc, &argv); /* on failure ends the program */
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    bp_parse(&plan, BP_PEER, argc, argv);
    if (plan.nranks != ranks)
        bp_fail("started with %d ranks, --ranks says %d", ranks, plan.nranks);
    MPI_Op_create(add_bf16, 1, &bf16_sum);
    loop = bp_open(&plan, rank);
    MPI_Get_library_version(version, &length);
    version[strcspn(version, "\n,")] = '\0';
    bp_about(loop, version);
    bp_run(loop, &driver);
    MPI_Op_free(&bf16_sum);
    MPI_Finalize();
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI_Allreduce, through whichever MPI this was compiled against.  bf16 is not
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

static void all_reduce(void *arg, const void *src, void *dst, size_t count,
                       bp_dtype dtype)
{
    (void)arg;
    if (dtype == BP_F32)
        MPI_Allreduce(src, dst, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else
        MPI_Allreduce(src, dst, (int)count, MPI_UINT16_T, bf16_sum,
                      MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    const bp_driver driver = {.all_reduce = all_reduce};
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

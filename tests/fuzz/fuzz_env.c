/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment: the launchers' variables and the library's own.  By a getenv() of
 * its own, since setenv() keeps every value that it was ever given.
 */
#include "base/env.h"
#include "fuzz/fuzz.h"
#include "group/boot.h"
#include "group/group.h"

static const char *const names[] = {
    "DEVCOMM_RANK",
    "DEVCOMM_NRANKS",
    "DEVCOMM_ADDR",
    "DEVCOMM_TIMEOUT_MS",
    "DEVCOMM_HOST",
    "DEVCOMM_SPIN_US",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "MPI_LOCALNRANKS",
    "MPI_LOCALRANKID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "PMIX_NAMESPACE",
    "PMI_RANK",
    "PMI_SIZE",
    "SLURM_JOB_ID",
    "SLURM_NNODES",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_NUM_NODES",
    "SLURM_STEP_NUM_TASKS",
};

enum {
    N_NAMES = sizeof(names) / sizeof(names[0])
};

static char values[N_NAMES][400];
static bool is_set[N_NAMES];

char *__wrap_getenv(const char *name);

char *__wrap_getenv(const char *name)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        if (strcmp(name, names[i]) == 0)
            return is_set[i] ? values[i] : NULL;
    }
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_input in = {data, bytes};
    dcmi_group_setup setup;
    dcmi_launch launch;
    bool ok = true;

    memset(is_set, 0, sizeof(is_set));
    while (in.left > 0) {
        const int i = fuzz_byte(&in) % N_NAMES;

        (void)fuzz_text(&in, values[i], sizeof(values[i]));
        is_set[i] = true;
    }
    if (dcmi_launch_read(&launch) == DCM_OK) {
        fuzz_require(launch.rank >= 0 && launch.rank < launch.nranks);
        fuzz_require(memchr(launch.address, '\0', sizeof(launch.address)) !=
                     NULL);
    }
    (void)dcmi_group_setup_read(&setup, NULL);
    (void)dcmi_env_u64(DCMI_ENV_SPIN_US, 0, 1000, &ok);
    return 0;
}

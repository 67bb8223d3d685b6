/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launchers' variables, one row a case: which launcher is taken, rank,
 * number of ranks, address; or why none can be.  docs/launchers.md has the
 * rules.
 */
#define _GNU_SOURCE
#include "support.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group/boot.h"

extern char **environ;

/* Set the variables of "A=1 B=2" and no others. */
static void set_variables(const char *text)
{
    char copy[1024];
    char *rest = copy;
    char *word;

    assert_true(strlen(text) < sizeof(copy));
    (void)snprintf(copy, sizeof(copy), "%s", text);
    assert_int_equal(clearenv(), 0);
    while ((word = strsep(&rest, " ")) != NULL) {
        char *value = strchr(word, '=');

        if (value == NULL)
            continue;
        *value = '\0';
        assert_int_equal(setenv(word, value + 1, 1), 0);
    }
}

#define DEVCOMM "DEVCOMM_RANK=1 DEVCOMM_NRANKS=2 DEVCOMM_ADDR=unix:x "
#define TORCHRUN                                                               \
    "RANK=3 WORLD_SIZE=4 LOCAL_RANK=3 LOCAL_WORLD_SIZE=4 MASTER_ADDR=node7 "   \
    "MASTER_PORT=29500 TORCHELASTIC_RUN_ID=none "
#define OPENMPI                                                                \
    "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3 "                           \
    "OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=3 "               \
    "OMPI_MCA_ess_base_jobid=77 PMIX_NAMESPACE=1122304001 "
#define SLURM                                                                  \
    "SLURM_PROCID=2 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=4 SLURM_JOB_ID=4711 "  \
    "SLURM_STEP_ID=0 SLURM_NNODES=2 SLURM_STEP_NUM_NODES=1 "                   \
    "SLURM_STEP_NODELIST=n[03-04] "
#define PMI "PMI_RANK=0 PMI_SIZE=2 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=2 "

/* `address` ending in "*" is the beginning of one. */
static const struct right {
    const char *variables;
    const char *launcher;
    int rank;
    int nranks;
    const char *address;
} rights[] = {
    {DEVCOMM, "devcomm", 1, 2, "unix:x"},
    {TORCHRUN, "torchrun", 3, 4, "unix:torchrun-29500-*"},
    {OPENMPI, "Open MPI", 1, 3, "unix:openmpi-1122304001"},
    {SLURM, "Slurm", 2, 4, "unix:slurm-4711.0"},

    /* From the innermost to the outermost. */
    {SLURM PMI OPENMPI TORCHRUN DEVCOMM, "devcomm", 1, 2, "unix:x"},
    {SLURM PMI OPENMPI TORCHRUN, "torchrun", 3, 4, "unix:torchrun-29500-*"},
    {SLURM PMI OPENMPI, "Open MPI", 1, 3, "unix:openmpi-1122304001"},
    {SLURM "MASTER_ADDR=n03 MASTER_PORT=1 WORLD_SIZE=4", "Slurm", 2, 4,
     "unix:slurm-4711.0"},
    /* srun --mpi=pmi2 */
    {SLURM "PMI_RANK=2 PMI_SIZE=4", "Slurm", 2, 4, "unix:slurm-4711.0"},

    /* DEVCOMM_ADDR alone replaces the address only. */
    {OPENMPI "DEVCOMM_ADDR=tcp:h:1", "Open MPI", 1, 3, "tcp:h:1"},
    {OPENMPI "OMPI_COMM_WORLD_LOCAL_SIZE=2 DEVCOMM_ADDR=tcp:h:1", "Open MPI", 1,
     3, "tcp:h:1"},
    {PMI "DEVCOMM_ADDR=tcp:h:1", "PMI", 0, 2, "tcp:h:1"},
    {"DEVCOMM_ADDR=unix:y " TORCHRUN, "torchrun", 3, 4, "unix:y"},

    /* torchrun on several hosts; on one by loopback; without local counts. */
    {TORCHRUN "LOCAL_WORLD_SIZE=2 LOCAL_RANK=1", "torchrun", 3, 4,
     "tcp:node7:*"},
    {TORCHRUN "LOCAL_WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=fd00::7", "torchrun",
     3, 4, "tcp:[fd00::7]:*"},
    {TORCHRUN "LOCAL_WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=127.0.0.1",
     "torchrun", 3, 4, "unix:torchrun-29500-*"},
    {TORCHRUN "LOCAL_WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=localhost",
     "torchrun", 3, 4, "unix:torchrun-29500-*"},
    {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=5", "torchrun", 0, 2,
     "tcp:a:*"},

    /* Open MPI before 5 without PMIx. */
    {OPENMPI "PMIX_NAMESPACE=", "Open MPI", 1, 3, "unix:openmpi-77"},

    /* Slurm on several nodes, by the first name of the list. */
    {SLURM "SLURM_STEP_NUM_NODES=2", "Slurm", 2, 4, "tcp:n03:*"},
    {SLURM "SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=gpu7,gpu8", "Slurm", 2,
     4, "tcp:gpu7:*"},
    {SLURM "SLURM_STEP_NUM_NODES=4 SLURM_STEP_NODELIST=r[1,3]-n[08-09]-ib,x",
     "Slurm", 2, 4, "tcp:r1-n08-ib:*"},
    {SLURM "SLURM_STEP_NUM_NODES= SLURM_STEP_NUM_TASKS=", "Slurm", 2, 8,
     "tcp:n03:*"},
};

static void test_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        const struct right *c = &rights[i];
        const size_t n = strlen(c->address);
        dcmi_launch l;

        set_variables(c->variables);
        assert_ok(dcmi_launch_read(&l));
        assert_string_equal(l.launcher, c->launcher);
        assert_int_equal(l.rank, c->rank);
        assert_int_equal(l.nranks, c->nranks);
        if (c->address[n - 1] != '*')
            assert_string_equal(l.address, c->address);
        else if (strncmp(l.address, c->address, n - 1) != 0)
            fail_msg("%s: address %s", c->variables, l.address);
    }
}

static const struct wrong {
    const char *variables;
    dcm_status status;
    const char *text;
} wrongs[] = {
    {"", DCM_E_INVAL, "no launcher has started this process"},
    {"DEVCOMM_ADDR=unix:x", DCM_E_INVAL, "DEVCOMM_ADDR is set, but not"},
    {"DEVCOMM_RANK=0", DCM_E_INVAL, "DEVCOMM_NRANKS is not set"},
    {"DEVCOMM_NRANKS=2", DCM_E_INVAL, "DEVCOMM_RANK is not"},
    {"DEVCOMM_NRANKS=2 " TORCHRUN, DCM_E_INVAL, "DEVCOMM_RANK is not"},
    {"DEVCOMM_RANK=0 " TORCHRUN, DCM_E_INVAL, "DEVCOMM_NRANKS is not set"},
    {"DEVCOMM_RANK=0 DEVCOMM_NRANKS=2", DCM_E_INVAL, "DEVCOMM_ADDR is not"},
    {DEVCOMM "DEVCOMM_RANK=2", DCM_E_INVAL,
     "DEVCOMM_RANK=2 contradicts DEVCOMM_NRANKS=2"},
    {DEVCOMM "DEVCOMM_RANK=-1", DCM_E_INVAL, "DEVCOMM_RANK=\"-1\" is not"},
    {DEVCOMM "DEVCOMM_NRANKS=2x", DCM_E_INVAL, "DEVCOMM_NRANKS=\"2x\""},
    {DEVCOMM "DEVCOMM_NRANKS=99999999999", DCM_E_INVAL, "is not a number"},

    {"RANK=0", DCM_E_INVAL, "torchrun: WORLD_SIZE is not set"},
    {"WORLD_SIZE=2", DCM_E_INVAL, "WORLD_SIZE is set, but RANK is not"},
    {TORCHRUN "MASTER_PORT=", DCM_E_INVAL, "MASTER_PORT is not set"},
    {TORCHRUN "MASTER_PORT=http", DCM_E_INVAL, "MASTER_PORT=\"http\""},
    {TORCHRUN "MASTER_ADDR=", DCM_E_INVAL, "MASTER_ADDR is not"},
    {TORCHRUN "RANK=4", DCM_E_INVAL, "RANK=4 contradicts WORLD_SIZE=4"},
    {TORCHRUN "LOCAL_WORLD_SIZE=5", DCM_E_INVAL,
     "LOCAL_WORLD_SIZE=5 contradicts WORLD_SIZE=4"},
    {TORCHRUN "LOCAL_WORLD_SIZE=2", DCM_E_INVAL,
     "LOCAL_RANK=3 contradicts LOCAL_WORLD_SIZE=2"},

    {"OMPI_COMM_WORLD_RANK=0", DCM_E_INVAL, "OMPI_COMM_WORLD_SIZE is not set"},
    {OPENMPI "OMPI_COMM_WORLD_LOCAL_SIZE=2", DCM_E_UNSUP, "DEVCOMM_ADDR"},
    {OPENMPI "OMPI_COMM_WORLD_LOCAL_SIZE=", DCM_E_UNSUP, "DEVCOMM_ADDR"},
    {OPENMPI "PMIX_NAMESPACE= OMPI_MCA_ess_base_jobid=", DCM_E_INVAL,
     "neither PMIX_NAMESPACE nor OMPI_MCA_ess_base_jobid"},

    {"PMI_RANK=0", DCM_E_INVAL, "PMI_SIZE is not set"},
    {PMI "PMI_RANK=2", DCM_E_INVAL, "PMI_RANK=2 contradicts PMI_SIZE=2"},
    {PMI "MPI_LOCALNRANKS=1", DCM_E_UNSUP, "DEVCOMM_ADDR"},
    {PMI, DCM_E_UNSUP, "no ancestor of this process is Hydra's proxy"},

    {SLURM "SLURM_JOB_ID=", DCM_E_INVAL, "SLURM_JOB_ID is not"},
    {SLURM "SLURM_STEP_NUM_NODES= SLURM_NNODES=", DCM_E_INVAL,
     "SLURM_NNODES is not set"},
    {SLURM "SLURM_PROCID=4", DCM_E_INVAL,
     "SLURM_PROCID=4 contradicts SLURM_STEP_NUM_TASKS=4"},
    {SLURM "SLURM_PROCID=", DCM_E_INVAL, "SLURM_PROCID is not"},
    {SLURM "SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=", DCM_E_UNSUP,
     "DEVCOMM_ADDR"},
    {SLURM "SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=n[03", DCM_E_INVAL,
     "SLURM_STEP_NODELIST=\"n[03\""},
    {SLURM "SLURM_STEP_NUM_NODES=2 SLURM_STEP_NODELIST=,b", DCM_E_INVAL,
     "is no list of hosts"},
    /* A batch script and an interactive shell are no tasks. */
    {"SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_JOB_ID=1", DCM_E_INVAL,
     "no launcher"},
    {SLURM "SLURM_STEP_ID=4294967290", DCM_E_INVAL, "no launcher"},
    {SLURM "SLURM_STEP_ID=-6", DCM_E_INVAL, "no launcher"},
};

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        dcmi_launch l = {.rank = 123};

        set_variables(wrongs[i].variables);
        assert_status(dcmi_launch_read(&l), wrongs[i].status, wrongs[i].text);
        assert_int_equal(l.rank, 123);
    }
}

static void read_address(char *address, const char *variables)
{
    dcmi_launch l;

    set_variables(variables);
    assert_ok(dcmi_launch_read(&l));
    memcpy(address, l.address, sizeof(l.address));
}

/* Jobs differ in their address, ranks of a job do not. */
static void test_jobs_differ(void **state)
{
    static const char *const jobs[][2] = {
        {TORCHRUN, TORCHRUN "MASTER_PORT=29501"},
        {TORCHRUN, TORCHRUN "TORCHELASTIC_RUN_ID=b"},
        {TORCHRUN, TORCHRUN "MASTER_ADDR=node8"},
        {TORCHRUN "LOCAL_RANK=0 LOCAL_WORLD_SIZE=1",
         TORCHRUN "LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 TORCHELASTIC_RUN_ID=b"},
        {OPENMPI, OPENMPI "PMIX_NAMESPACE=2"},
        {SLURM, SLURM "SLURM_STEP_ID=1"},
        {SLURM "SLURM_STEP_NUM_NODES=2",
         SLURM "SLURM_STEP_NUM_NODES=2 SLURM_JOB_ID=4712"},
    };
    char a[DCMI_ADDRESS_BYTES];
    char b[DCMI_ADDRESS_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++) {
        read_address(a, jobs[i][0]);
        read_address(b, jobs[i][1]);
        assert_string_not_equal(a, b);
        read_address(b, jobs[i][0]);
        assert_string_equal(a, b);
    }
    read_address(a, TORCHRUN);
    read_address(b, TORCHRUN "RANK=0 LOCAL_RANK=0");
    assert_string_equal(a, b);
}

/* Derived ports: below the ephemeral ones, and never torchrun's own. */
static void test_ports(void **state)
{
    char address[DCMI_ADDRESS_BYTES];
    char variables[512];
    int got;

    (void)state;
    /* Some of these ports would be derived from themselves. */
    for (int i = 0; i < 4 * 12768; i++) {
        const int port = 20000 + i / 4;

        (void)snprintf(variables, sizeof(variables),
                       TORCHRUN "LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 "
                                "MASTER_PORT=%d TORCHELASTIC_RUN_ID=%d",
                       port, i % 4);
        read_address(address, variables);
        assert_int_equal(sscanf(address, "tcp:node7:%d", &got), 1);
        assert_true(got >= 20000 && got < 32768 && got != port);
    }
}

/* A process that looks like Hydra's proxy, with a shell between it and us. */
static void be_proxy(void)
{
    char want[64];
    dcmi_launch l;
    int status;
    pid_t pid;

    (void)prctl(PR_SET_NAME, "hydra_pmi_proxy");
    (void)snprintf(want, sizeof(want), "unix:pmi-%d-", (int)getpid());
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_NAME, "sh");
        pid = fork();
        if (pid == 0) {
            (void)prctl(PR_SET_NAME, "rank) (x");
            die_unless(dcmi_launch_read(&l) == DCM_OK);
            die_unless(l.rank == 0 && l.nranks == 2);
            die_unless(strncmp(l.address, want, strlen(want)) == 0);
            die_unless(strcmp(l.address + strlen(want), "0") != 0);
            exit(0);
        }
    }
    die_unless(pid > 0 && waitpid(pid, &status, 0) == pid);
    exit(status == 0 ? 0 : 1);
}

static void test_hydra(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    set_variables(PMI);
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        be_proxy();
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),       cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_jobs_differ), cmocka_unit_test(test_ports),
        cmocka_unit_test(test_hydra),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

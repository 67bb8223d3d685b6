/* SPDX-License-Identifier: Apache-2.0 */
/* Two ranks, two processes: sums whose bits are known. */
#define _GNU_SOURCE
#include <devcomm/devcomm.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/data.h"
#include "check.h"
#include "cli.h"
#include "os/clock.h"
#include "os/ident.h"

enum {
    RANKS = 2,
    MAX_COUNT = 300000,
    TIMEOUT_MS = 4000
};

static const struct {
    dcm_dtype dtype;
    dcm_op op;
    size_t count;
} cases[] = {
    {DCM_F32, DCM_SUM, 1},         {DCM_F32, DCM_SUM, 1000},
    {DCM_F32, DCM_SUM, MAX_COUNT}, {DCM_BF16, DCM_AVG, 4097},
    {DCM_F16, DCM_SUM, 70001},     {DCM_I64, DCM_MAX, 17},
};

/* One operation; E_DEVICE stands for wrong results. */
static dcm_status reduce(dcm_comm *comm, size_t i, void *src, void *dst)
{
    const dcmi_data_spec spec = {
        .dtype = cases[i].dtype,
        .op = cases[i].op,
        .nranks = RANKS,
        .seed = i,
        .is_random = true,
    };
    const size_t count = cases[i].count;
    dcmi_data *data;
    dcm_status st = dcmi_data_new(&data, &spec);

    if (st != DCM_OK)
        return st;
    dcmi_data_fill(data, dcm_comm_rank(comm), src, count);
    memset(dst, 0xa5, count * dcm_dtype_bytes(spec.dtype));
    st = dcm_all_reduce(comm, src, dst, count, spec.dtype, spec.op, NULL);
    if (st == DCM_OK && dcmi_data_wrong(data, dst, count) != 0)
        st = DCM_E_DEVICE;
    dcmi_data_free(data);
    return st;
}

static dcm_status reduce_all(dcm_comm *comm)
{
    void *src = malloc(MAX_COUNT * sizeof(double));
    void *dst = malloc(MAX_COUNT * sizeof(double));
    dcm_status st = DCM_OK;

    if (src == NULL || dst == NULL)
        st = DCM_E_NOMEM;
    for (size_t i = 0; st == DCM_OK && i < DCMI_ARRAY_LEN(cases); i++)
        st = reduce(comm, i, src, dst);
    if (st == DCM_OK)
        st = dcm_comm_finalize(comm, TIMEOUT_MS);
    free(dst);
    free(src);
    return st;
}

static dcm_status be_rank(const char *address, int rank, uint64_t *created_p)
{
    const dcm_group_opts opts = {
        .size = sizeof(opts),
        .name = "check",
        .timeout_ms = TIMEOUT_MS,
    };
    const uint64_t start = dcmi_now_ns();
    dcm_comm *comm = NULL;
    dcm_group *group;
    dcm_status st = dcm_group_new(&group, address, rank, RANKS, &opts);

    if (st != DCM_OK)
        return st;
    st = dcm_comm_new(&comm, group, NULL);
    *created_p = dcmi_now_ns() - start;
    if (st == DCM_OK)
        st = reduce_all(comm);
    dcm_comm_free(comm);
    dcm_group_free(group);
    return st;
}

check_verdict check_all_reduce(check_line *line)
{
    uint64_t created = 0;
    uint64_t random;
    char address[64];
    dcm_status st;
    pid_t pid;
    int other;

    if (dcmi_random(&random, sizeof(random)) != DCM_OK)
        return check_say_dcm(line, "a name");
    (void)snprintf(address, sizeof(address), "unix:devcomm-check-%016llx",
                   (unsigned long long)random);
    pid = check_fork();
    if (pid == 0)
        _exit(be_rank(address, 1, &created) == DCM_OK ? CLI_OK : CLI_FAIL);
    if (pid < 0)
        return check_say(line, CHECK_FAIL, "fork: %s", strerror(errno));
    st = be_rank(address, 0, &created);
    other = check_join(pid);
    if (st == DCM_E_DEVICE)
        return check_say(line, CHECK_FAIL, "wrong results");
    if (st != DCM_OK)
        return check_say_dcm(line, "rank 0");
    if (other != CLI_OK)
        return check_say(line, CHECK_FAIL, "rank 1 failed");
    return check_say(
        line, CHECK_OK, "%zu operations right to the bit, ready after %.1f ms",
        DCMI_ARRAY_LEN(cases), (double)created / (double)DCMI_NS_PER_MS);
}

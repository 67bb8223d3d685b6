/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rank for the scripts that test launchers and hosts: says what the launcher
 * left, meets the others, exchanges.
 *
 *   boot_rank          prints "LAUNCHER RANK NRANKS ADDRESS met"
 *   boot_rank hold     prints the same; then rank 0 waits for a second exchange
 *                      and prints its failure, the others never come to it
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "group/boot.h"
#include "os/clock.h"

static uint64_t deadline(void)
{
    bool ok = true;

    return dcmi_now_ns() + DCMI_NS_PER_MS * dcmi_env_u64(DCMI_ENV_TIMEOUT_MS,
                                                         60000, UINT32_MAX,
                                                         &ok);
}

static int fail(void)
{
    fprintf(stderr, "%s\n", dcm_errmsg());
    return 1;
}

static dcm_status exchange(dcmi_boot *boot)
{
    int owner[DCM_MAX_RANKS];
    int ranks[DCM_MAX_RANKS];
    dcm_status st;

    for (int r = 0; r < boot->nranks; r++)
        owner[r] = r;
    ranks[boot->rank] = boot->rank;
    st = boot->ops->merge(boot, ranks, sizeof(int), owner, deadline());
    for (int r = 0; r < boot->nranks && st == DCM_OK; r++) {
        if (ranks[r] != r)
            abort();
    }
    return st;
}

int main(int argc, char **argv)
{
    dcmi_boot_opts opts = {
        .name = "test",
        .token = dcmi_env_str(DCMI_ENV_TOKEN),
        .deadline_ns = deadline(),
    };
    dcmi_launch l;
    dcmi_boot *boot;
    int status = 0;

    if (dcmi_launch_read(&l) != DCM_OK ||
        dcmi_boot_star(&boot, l.address, l.rank, l.nranks, &opts) != DCM_OK)
        return fail();
    if (exchange(boot) == DCM_OK) {
        printf("%s %d %d %s met\n", l.launcher, l.rank, l.nranks, l.address);
        (void)fflush(stdout);
    } else {
        status = fail();
    }
    if (status == 0 && argc > 1 && strcmp(argv[1], "hold") == 0) {
        if (l.rank != 0)
            (void)pause();
        if (exchange(boot) != DCM_OK)
            status = fail();
    }
    boot->ops->close(boot);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bootstrap by the caller's own all-gather: MPI, torch.distributed, a file. */
#include "group/boot.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/clock.h"

typedef struct boot_fn {
    dcmi_boot base;
    dcm_all_gather_fn fn;
    void *arg;
} boot_fn;

/* Its own entry shows a rank at once that the function mixes entries up. */
static dcm_status check_own(const dcmi_boot *boot, const void *sent,
                            const char *wide, size_t bytes)
{
    return memcmp(wide + (size_t)boot->rank * bytes, sent, bytes) == 0
               ? DCM_OK
               : dcmi_err(DCM_E_INVAL,
                          "the caller's all-gather of %zu bytes a rank did not "
                          "put rank %d's at place %d",
                          bytes, boot->rank, boot->rank);
}

/*
 * The caller's function knows only "every rank, its own entry": an owner of
 * several entries sends all of them, and each entry is taken from its owner.
 */
static dcm_status merge(dcmi_boot *boot, void *all, size_t bytes,
                        const int *owner, uint64_t deadline_ns)
{
    const boot_fn *b = (const boot_fn *)boot;
    const size_t n = (size_t)boot->nranks;
    dcm_status st = DCM_OK;
    bool is_plain = true;
    char *wide;
    int rc;

    for (int r = 0; r < boot->nranks; r++)
        is_plain = is_plain && owner[r] == r;

    wide = malloc((is_plain ? 1 : n) * n * bytes + 1);
    if (wide == NULL)
        return dcmi_err(DCM_E_NOMEM, "exchange of %zu bytes a rank", bytes);
    if (is_plain) {
        const char *mine = (char *)all + (size_t)boot->rank * bytes;

        rc = b->fn(b->arg, mine, wide, bytes);
        if (rc == 0)
            st = check_own(boot, mine, wide, bytes);
        if (rc == 0 && st == DCM_OK)
            memcpy(all, wide, n * bytes);
    } else {
        rc = b->fn(b->arg, all, wide, n * bytes);
        if (rc == 0)
            st = check_own(boot, all, wide, n * bytes);
        for (size_t r = 0; rc == 0 && st == DCM_OK && r < n; r++)
            memcpy((char *)all + r * bytes,
                   wide + ((size_t)owner[r] * n + r) * bytes, bytes);
    }
    free(wide);
    if (rc != 0)
        return dcmi_err(DCM_E_SYS, "the caller's all-gather returned %d", rc);
    if (st != DCM_OK)
        return st;
    if (dcmi_now_ns() > deadline_ns)
        return dcmi_err(DCM_E_TIMEOUT,
                        "the caller's all-gather of %zu bytes "
                        "outlasted the deadline",
                        bytes);
    return DCM_OK;
}

static void keep(dcmi_boot *boot, const int *owner)
{
    (void)boot;
    (void)owner;
}

static void close_fn(dcmi_boot *boot)
{
    free(boot);
}

dcm_status dcmi_boot_fn(dcmi_boot **boot_p, dcm_all_gather_fn fn, void *arg,
                        int rank, int nranks)
{
    static const dcmi_boot_ops ops = {merge, keep, close_fn};
    boot_fn *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return dcmi_err(DCM_E_NOMEM, "bootstrap");
    b->base.ops = &ops;
    b->base.rank = rank;
    b->base.nranks = nranks;
    b->base.needs_all = true;
    b->fn = fn;
    b->arg = arg;
    *boot_p = &b->base;
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bootstrap of ranks that all live in this process: a board on the heap.
 *
 * In round k of merge each rank writes its bytes into half k & 1 of its entry and
 * posts k; when a rank has seen another's post it copies that half.  A half is
 * written again two rounds later, when every rank was seen one round later.  The
 * board outlives a rank that gives up: the last one frees it.
 */
#include "group/boot.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/wait.h"

enum {
    HALF_BYTES = 1024 /* a record of build.c fits */
};

typedef struct entry {
    unsigned char half[2][HALF_BYTES];
    _Atomic uint32_t posted;
} entry;

typedef struct board {
    _Atomic int users;
    entry entry[DCM_MAX_RANKS];
} board;

typedef struct boot_local {
    dcmi_boot base;
    board *board;
    uint32_t round;
} boot_local;

typedef struct wait_for {
    int rank;
} wait_for;

static dcm_status check(void *arg, bool expired)
{
    const wait_for *w = arg;

    return expired ? dcmi_err(DCM_E_TIMEOUT, "rank %d did not come", w->rank)
                   : DCM_OK;
}

static dcm_status await(const _Atomic uint32_t *word, uint32_t round, int rank,
                        uint64_t deadline_ns)
{
    const uint64_t now = dcmi_now_ns();
    wait_for who = {.rank = rank};
    const dcmi_watch watch = {
        .check = check,
        .arg = &who,
        .timeout_ns = deadline_ns > now ? deadline_ns - now : 0,
    };
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    /* "Not behind": a fast rank may have posted the next round. */
    while (st == DCM_OK &&
           (int32_t)(atomic_load_explicit(word, memory_order_acquire) - round) <
               0)
        st = dcmi_wait_poll(&w);
    dcmi_wait_end(&w);
    return st;
}

static dcm_status merge(dcmi_boot *boot, void *all, size_t bytes,
                        const int *owner, uint64_t deadline_ns)
{
    boot_local *b = (boot_local *)boot;
    entry *mine = &b->board->entry[boot->rank];
    const uint32_t round = ++b->round;
    dcm_status st = DCM_OK;

    if (bytes > HALF_BYTES)
        return dcmi_err(DCM_E_INVAL, "exchange of %zu bytes a rank", bytes);
    memcpy(mine->half[round & 1], (char *)all + (size_t)boot->rank * bytes,
           bytes);
    atomic_store_explicit(&mine->posted, round, memory_order_release);
    for (int r = 0; r < boot->nranks && st == DCM_OK; r++) {
        const entry *e = &b->board->entry[r];

        if (owner[r] == boot->rank)
            continue;
        st = await(&e->posted, round, r, deadline_ns);
        if (st == DCM_OK)
            memcpy((char *)all + (size_t)r * bytes, e->half[round & 1], bytes);
    }
    return st;
}

static void keep(dcmi_boot *boot, const int *owner)
{
    (void)boot;
    (void)owner;
}

static void close_local(dcmi_boot *boot)
{
    boot_local *b = (boot_local *)boot;

    if (atomic_fetch_sub_explicit(&b->board->users, 1, memory_order_acq_rel) ==
        1)
        free(b->board);
    free(b);
}

dcm_status dcmi_boot_local(dcmi_boot **boots, int nranks)
{
    static const dcmi_boot_ops ops = {merge, keep, close_local};
    board *shared = calloc(1, sizeof(*shared));

    if (shared == NULL)
        return dcmi_err(DCM_E_NOMEM, "bootstrap of %d ranks", nranks);
    for (int r = 0; r < nranks; r++) {
        boot_local *b = calloc(1, sizeof(*b));

        if (b == NULL) {
            while (r-- > 0)
                free(boots[r]);
            free(shared);
            return dcmi_err(DCM_E_NOMEM, "bootstrap of %d ranks", nranks);
        }
        b->base.ops = &ops;
        b->base.rank = r;
        b->base.nranks = nranks;
        b->base.is_one_host = true;
        b->board = shared;
        boots[r] = &b->base;
    }
    atomic_store_explicit(&shared->users, nranks, memory_order_relaxed);
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dcm_begin() and dcm_end(): calls are collected and run together, those of one
 * communicator in order in one fiber, different communicators in different ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "comm/comm.h"
#include "os/fiber.h"

typedef struct entry {
    dcm_comm *comm;
    dcm_coll coll;
    bool is_taken;
} entry;

typedef struct lane {
    const entry *entries; /* those with `comm`, in order */
    size_t count;
    dcm_comm *comm;
    dcm_status st;
    char message[DCMI_ERR_BYTES];
} lane;

/* Small, and in the static block: read in every call. */
static _Thread_local int depth __attribute__((tls_model("initial-exec")));
static _Thread_local entry *entries;
static _Thread_local size_t n_entries;
static _Thread_local size_t n_room;

bool dcmi_scope_is_open(void)
{
    return depth > 0;
}

dcm_status dcmi_scope_add(dcm_comm *comm, const dcm_coll *coll)
{
    size_t room;
    entry *more;

    if (n_entries == n_room) {
        room = n_room == 0 ? 16 : 2 * n_room;
        more = realloc(entries, room * sizeof(*entries));
        if (more == NULL)
            return dcmi_err(DCM_E_NOMEM, "%zu operations in one scope", room);
        entries = more;
        n_room = room;
    }
    entries[n_entries++] = (entry){.comm = comm, .coll = *coll};
    return DCM_OK;
}

static void run_lane(void *arg)
{
    lane *l = arg;

    for (size_t i = 0; i < l->count && l->st == DCM_OK; i++) {
        if (l->entries[i].comm == l->comm)
            l->st = dcmi_coll_run(l->comm, &l->entries[i].coll);
    }
    if (l->st != DCM_OK)
        (void)snprintf(l->message, sizeof(l->message), "%s", dcm_errmsg());
}

/* One lane a communicator, in order of first use. */
static int make_lanes(lane *lanes, const entry *list, size_t count)
{
    int n = 0;

    for (size_t i = 0; i < count; i++) {
        int at = 0;

        while (at < n && lanes[at].comm != list[i].comm)
            at++;
        if (at == n)
            lanes[n++] =
                (lane){.entries = list, .count = count, .comm = list[i].comm};
    }
    return n;
}

static dcm_status run(const entry *list, size_t count)
{
    lane *lanes = calloc(count, sizeof(*lanes));
    void **pointers = calloc(count, sizeof(*pointers));
    dcm_status st = DCM_OK;
    int n;

    if (lanes == NULL || pointers == NULL) {
        st = dcmi_err(DCM_E_NOMEM, "scope of %zu operations", count);
        goto out;
    }
    n = make_lanes(lanes, list, count);
    for (int i = 0; i < n; i++)
        pointers[i] = &lanes[i];
    st = dcmi_fiber_run(run_lane, pointers, n);
    for (int i = 0; i < n && st == DCM_OK; i++) {
        if (lanes[i].st != DCM_OK)
            st = dcmi_err(lanes[i].st, "%s", lanes[i].message);
    }
out:
    free(pointers);
    free(lanes);
    return st;
}

dcm_status dcm_begin(void)
{
    depth++;
    return DCM_OK;
}

dcm_status dcm_end(void)
{
    entry *list = entries;
    const size_t count = n_entries;
    dcm_status st = DCM_OK;

    if (depth == 0)
        return dcmi_err(DCM_E_INVAL, "dcm_end without dcm_begin");
    if (--depth > 0)
        return DCM_OK;
    entries = NULL;
    n_entries = 0;
    n_room = 0;
    if (count > 0)
        st = run(list, count);
    free(list);
    return st;
}

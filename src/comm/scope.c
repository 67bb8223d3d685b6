/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dcm_begin() and dcm_end(): calls are collected and run together, different
 * communicators in different fibers.  In each, the collectives run in order, then
 * the messages side by side: whatever the order in which two ranks listed them,
 * neither waits for the other's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "comm/comm.h"
#include "os/fiber.h"

enum {
    FEW = 8
};

typedef struct entry {
    dcm_comm *comm;
    dcm_coll coll;
    bool is_taken;
} entry;

typedef struct lane {
    const entry *entries; /* those with `comm`, in order */
    size_t count;
    dcm_comm *comm;
    const dcm_coll **messages; /* room for all of them */
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

static bool is_message(const dcm_coll *coll)
{
    return coll->kind == DCM_COLL_SEND || coll->kind == DCM_COLL_RECV;
}

static void run_lane(void *arg)
{
    lane *l = arg;
    size_t n = 0;

    for (size_t i = 0; i < l->count && l->st == DCM_OK; i++) {
        if (l->entries[i].comm != l->comm)
            continue;
        if (is_message(&l->entries[i].coll))
            l->messages[n++] = &l->entries[i].coll;
        else
            l->st = dcmi_coll_run(l->comm, &l->entries[i].coll);
    }
    if (n > 0 && l->st == DCM_OK)
        l->st = dcmi_messages_run(l->comm, l->messages, n);
    if (l->st != DCM_OK)
        (void)snprintf(l->message, sizeof(l->message), "%s", dcm_errmsg());
}

/*
 * One lane a communicator, in order of first use; each gets as much of `messages`
 * as it has.
 */
static int make_lanes(lane *lanes, const dcm_coll **messages, const entry *list,
                      size_t count)
{
    int n = 0;

    for (size_t i = 0; i < count; i++) {
        int at = 0;

        while (at < n && lanes[at].comm != list[i].comm)
            at++;
        if (at < n)
            continue;
        lanes[n].entries = list;
        lanes[n].count = count;
        lanes[n].comm = list[i].comm;
        lanes[n++].st = DCM_OK;
    }
    for (int l = 0; l < n; l++) {
        lanes[l].messages = messages;
        for (size_t i = 0; i < count; i++)
            messages += list[i].comm == lanes[l].comm ? 1 : 0;
    }
    return n;
}

/* What a scope needs beside its list, for as many operations as it has. */
typedef struct scratch {
    lane *lanes;
    void **pointers;
    const dcm_coll **messages;
} scratch;

static dcm_status run_with(const scratch *s, const entry *list, size_t count)
{
    const int n = make_lanes(s->lanes, s->messages, list, count);
    dcm_status st;

    for (int i = 0; i < n; i++)
        s->pointers[i] = &s->lanes[i];
    st = dcmi_fiber_run(run_lane, s->pointers, n);
    for (int i = 0; i < n && st == DCM_OK; i++) {
        if (s->lanes[i].st != DCM_OK)
            st = dcmi_err(s->lanes[i].st, "%s", s->lanes[i].message);
    }
    return st;
}

/* Few operations, the common case, need no memory of their own. */
static dcm_status run_few(const entry *list, size_t count)
{
    lane lanes[FEW];
    void *pointers[FEW];
    const dcm_coll *messages[FEW];

    /* cppcheck-suppress legacyUninitvar */
    return run_with(&(scratch){lanes, pointers, messages}, list, count);
}

static dcm_status run(const entry *list, size_t count)
{
    scratch s;
    dcm_status st;

    if (count <= FEW)
        return run_few(list, count);
    s.lanes = calloc(count, sizeof(*s.lanes));
    s.pointers = calloc(count, sizeof(*s.pointers));
    s.messages = calloc(count, sizeof(*s.messages));
    if (s.lanes == NULL || s.pointers == NULL || s.messages == NULL)
        st = dcmi_err(DCM_E_NOMEM, "scope of %zu operations", count);
    else
        st = run_with(&s, list, count);
    free(s.messages);
    free(s.pointers);
    free(s.lanes);
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

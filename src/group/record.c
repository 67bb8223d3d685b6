/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of the record that is seldom used; record.h has the protocol. */
#define _GNU_SOURCE
#include "group/record.h"

#include <stdio.h>
#include <unistd.h>

#include "os/ident.h"

size_t dcmi_record_bytes(int nranks)
{
    return sizeof(dcmi_record) + (size_t)nranks * sizeof(dcmi_record_rank);
}

void dcmi_record_title(dcmi_record *record, int nranks, const char *backend,
                       const char *job)
{
    record->magic = DCMI_RECORD_MAGIC;
    record->bytes = dcmi_record_bytes(nranks);
    record->made_ns = dcmi_now_ns();
    record->made_stamp = dcmi_stamp();
    record->n_ranks = (uint32_t)nranks;
    (void)snprintf(record->backend, sizeof(record->backend), "%s", backend);
    (void)snprintf(record->job, sizeof(record->job), "%s", job);
    atomic_store_explicit(&record->layout, DCMI_RECORD_LAYOUT,
                          memory_order_release);
}

void dcmi_record_open(dcmi_recorder *r, dcmi_record *record, int rank)
{
    dcmi_record_who *who;

    r->mine = &record->rank[rank];
    r->op = r->mine->op;
    who = &r->mine->who;
    who->pid = (int32_t)getpid();
    who->tid = dcmi_tid();
    who->start_time = dcmi_start_time(who->pid);
    who->pid_namespace = dcmi_pid_namespace();
    atomic_store_explicit(&who->is_written, 1, memory_order_release);
}

/* A text of any length as the two words of a name. */
static void put_text(_Atomic uint64_t *words, const char *text)
{
    char name[DCMI_RECORD_NAME] = "";

    (void)snprintf(name, sizeof(name), "%s", text);
    dcmi_record_put_name(words, name);
}

/* The sequence number is this rank's alone: it need not be added atomically. */
static void bump(_Atomic uint64_t *seq)
{
    dcmi_record_put(seq, atomic_load_explicit(seq, memory_order_relaxed) + 1);
}

void dcmi_record_no_path(dcmi_recorder *r)
{
    dcmi_record_path(r, (const char[DCMI_RECORD_NAME]){""});
}

void dcmi_record_look(dcmi_recorder *r, const dcmi_record_looking *what)
{
    dcmi_record_wait *w = &r->mine->wait;
    const uint64_t now = dcmi_now_ns();

    if (atomic_load_explicit(&r->op->begun, memory_order_relaxed) == 0)
        dcmi_record_no_path(r);
    if (what->ranks != r->waits_for) {
        r->waits_for = what->ranks;
        bump(&w->seq);
        dcmi_record_put(&w->ranks, what->ranks);
        dcmi_record_put(&w->number, what->number);
        dcmi_record_put(&w->since_ns, now);
        dcmi_record_put(&w->timeout_ns, what->timeout_ns);
        dcmi_record_put(&w->tid, dcmi_tid());
        put_text(w->op, what->op);
        put_text(w->phase, what->phase);
        bump(&w->seq);
    }
    dcmi_record_put(&w->looked_ns, now);
}

void dcmi_record_found_slow(dcmi_recorder *r)
{
    dcmi_record_wait *w = &r->mine->wait;

    r->waits_for = 0;
    bump(&w->seq);
    dcmi_record_put(&w->ranks, 0);
    bump(&w->seq);
}

void dcmi_record_fail(dcmi_recorder *r, const dcm_failure *f)
{
    dcmi_record_failure *out = &r->mine->failure;

    out->at_ns = dcmi_now_ns();
    out->waited_ns = f->waited_ns;
    out->number = f->epoch;
    out->culprit = f->rank;
    out->reporter = f->reporter;
    (void)snprintf(out->op, sizeof(out->op), "%s", f->op);
    (void)snprintf(out->phase, sizeof(out->phase), "%s", f->phase);
    (void)snprintf(out->text, sizeof(out->text), "%s", f->message);
    atomic_store_explicit(&out->status, f->status, memory_order_release);
}

uint64_t dcmi_record_ragged(const dcm_coll *coll, uint64_t *call, int nranks)
{
    uint64_t count = 0;

    if (coll->inner != 0)
        *call |= DCMI_RECORD_ROWS;
    if (coll->counts == NULL)
        return coll->count;
    *call |= DCMI_RECORD_RAGGED;
    for (int r = 0; r < nranks; r++)
        count += coll->counts[r];
    return count;
}

void dcmi_record_refused(dcmi_recorder *r, const dcm_coll *coll,
                         uint64_t number, int nranks, dcm_status st)
{
    if (atomic_load_explicit(&r->op->end, memory_order_relaxed) >
        DCMI_RECORD_ENDED(DCM_OK))
        return;
    dcmi_record_begin(r, coll, number, nranks);
    dcmi_record_end(r, st);
}

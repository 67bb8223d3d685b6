/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm inspect: JSON, and the list of jobs. */
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "bench/json.h"
#include "cli.h"
#include "inspect.h"
#include "inspect/words.h"

static void put_ranks(dcmi_jw *w, const char *key, uint64_t ranks)
{
    dcmi_jw_array(w, key);
    for (uint64_t m = ranks; m != 0; m &= m - 1)
        dcmi_jw_num(w, NULL, __builtin_ctzll(m));
    dcmi_jw_end_array(w);
}

/* Seconds before the look; null where it is not known. */
static void put_ago(dcmi_jw *w, const char *key, uint64_t then, uint64_t now)
{
    if (then == 0)
        dcmi_jw_str(w, key, NULL);
    else
        dcmi_jw_num(w, key, now > then ? (double)(now - then) / 1e9 : 0.0);
}

static void put_op(dcmi_jw *w, const dcmi_seen_op *o, uint64_t now)
{
    const size_t item = dcm_dtype_bytes(o->dtype);

    dcmi_jw_object(w, NULL);
    dcmi_jw_u64(w, "operation", o->number);
    dcmi_jw_str(w, "kind", dcmi_coll_str(o->kind));
    dcmi_jw_u64(w, "count", o->count);
    dcmi_jw_num(w, "bytes", (double)o->count * (double)item);
    dcmi_jw_str(w, "dtype", dcm_dtype_str(o->dtype));
    dcmi_jw_str(w, "redop", dcm_op_str(o->op));
    dcmi_jw_num(w, "root", o->root);
    dcmi_jw_bool(w, "ragged", o->is_ragged);
    dcmi_jw_bool(w, "rows", o->has_rows);
    dcmi_jw_str(w, "path", o->path[0] != '\0' ? o->path : NULL);
    put_ago(w, "begun_s_ago", o->begun_ns, now);
    dcmi_jw_bool(w, "over", o->is_over);
    dcmi_jw_str(w, "status", o->is_over ? dcm_status_str(o->status) : NULL);
    dcmi_jw_end_object(w);
}

static void put_failure(dcmi_jw *w, const dcmi_seen_failure *f, uint64_t now)
{
    if (f->status == DCM_OK) {
        dcmi_jw_str(w, "failure", NULL);
        return;
    }
    dcmi_jw_object(w, "failure");
    dcmi_jw_num(w, "status", f->status);
    dcmi_jw_str(w, "text", dcm_status_str(f->status));
    dcmi_jw_num(w, "culprit", f->culprit);
    dcmi_jw_num(w, "reporter", f->reporter);
    dcmi_jw_u64(w, "operation", f->number);
    put_ago(w, "s_ago", f->at_ns, now);
    dcmi_jw_str(w, "message", f->text[0] != '\0' ? f->text : NULL);
    dcmi_jw_end_object(w);
}

static void put_wait(dcmi_jw *w, const dcmi_seen_wait *wait, uint64_t now)
{
    if (wait->ranks == 0) {
        dcmi_jw_str(w, "waits", NULL);
        return;
    }
    dcmi_jw_object(w, "waits");
    put_ranks(w, "for", wait->ranks);
    dcmi_jw_str(w, "phase", wait->phase);
    put_ago(w, "since_s_ago", wait->since_ns, now);
    put_ago(w, "looked_s_ago", wait->looked_ns, now);
    dcmi_jw_num(w, "timeout_s", (double)wait->timeout_ns / 1e9);
    dcmi_jw_end_object(w);
}

static void put_rank(dcmi_jw *w, const dcmi_seen_comm *c, int r, unsigned last)
{
    const dcmi_seen_rank *rank = &c->rank[r];

    dcmi_jw_object(w, NULL);
    dcmi_jw_num(w, "rank", r);
    dcmi_jw_num(w, "pid", rank->pid);
    dcmi_jw_num(w, "tid", rank->tid);
    dcmi_jw_str(w, "process", dcmi_life_word(rank));
    dcmi_jw_str(w, "program", rank->proc.name);
    dcmi_jw_num(w, "core", rank->proc.cpu);
    dcmi_jw_str(w, "sleeps_in",
                rank->proc.sleeps_in[0] != '\0' ? rank->proc.sleeps_in : NULL);
    dcmi_jw_bool(w, "inside", dcmi_seen_is_inside(rank));
    dcmi_jw_u64(w, "operation", dcmi_seen_at(rank));
    put_wait(w, &rank->wait, c->now_ns);
    put_failure(w, &rank->failure, c->now_ns);
    dcmi_jw_array(w, "operations");
    for (size_t i = 0; i < rank->n_ops && i < (last > 0 ? last : 1); i++)
        put_op(w, &rank->op[i], c->now_ns);
    dcmi_jw_end_array(w);
    dcmi_jw_end_object(w);
}

static void put_verdict(dcmi_jw *w, const dcmi_verdict *v)
{
    dcmi_jw_bool(w, "bad", v->is_bad);
    dcmi_jw_array(w, "verdict");
    for (size_t i = 0; i < v->n; i++)
        dcmi_jw_str(w, NULL, v->line[i]);
    dcmi_jw_end_array(w);
}

static void put_comm(dcmi_jw *w, const inspect_report *rep, size_t at)
{
    const dcmi_seen_comm *c = rep->sight->comms[at];

    dcmi_jw_object(w, NULL);
    dcmi_jw_str(w, "job", c->job[0] != '\0' ? c->job : NULL);
    dcmi_jw_str(w, "backend", c->backend);
    put_ago(w, "made_s_ago", c->made_ns, c->now_ns);
    dcmi_jw_bool(w, "moving", c->is_moving);
    put_failure(w, &c->failure, c->now_ns);
    dcmi_jw_array(w, "ranks");
    for (int r = 0; r < c->nranks; r++)
        put_rank(w, c, r, rep->last);
    dcmi_jw_end_array(w);
    put_verdict(w, &rep->comms[at]);
    dcmi_jw_end_object(w);
}

static void put_card(dcmi_jw *w, const dcmi_seen_card *c, uint64_t now)
{
    dcmi_jw_object(w, NULL);
    dcmi_jw_str(w, "job", c->job[0] != '\0' ? c->job : NULL);
    dcmi_jw_str(w, "name", c->name);
    dcmi_jw_num(w, "rank", c->rank);
    dcmi_jw_num(w, "ranks", c->nranks);
    dcmi_jw_num(w, "pid", c->pid);
    dcmi_jw_bool(w, "made", c->step == DCMI_CARD_MADE);
    put_ago(w, "since_s_ago", c->since_ns, now);
    if (c->rank == 0)
        put_ranks(w, "come", c->come);
    dcmi_jw_end_object(w);
}

void inspect_json(const inspect_report *rep)
{
    const dcmi_sight *s = rep->sight;
    dcmi_jw w = {.file = stdout};

    dcmi_jw_object(&w, NULL);
    dcmi_jw_str(&w, "version", cli_version());
    dcmi_jw_str(&w, "host", rep->host);
    dcmi_jw_array(&w, "groups");
    for (size_t i = 0; i < s->n_cards; i++) {
        if (s->cards[i].is_chosen)
            put_card(&w, &s->cards[i], s->now_ns);
    }
    dcmi_jw_end_array(&w);
    put_verdict(&w, rep->groups);
    dcmi_jw_array(&w, "communicators");
    for (size_t i = 0; i < s->n_comms; i++) {
        if (s->is_chosen[i])
            put_comm(&w, rep, i);
    }
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
}

/* ---- the list of jobs ----------------------------------------------------- */

static inspect_job *job_of(inspect_job *jobs, size_t *n_p, const char *name,
                           int pid)
{
    for (size_t i = 0; i < *n_p; i++) {
        if (strcmp(jobs[i].name, name) == 0 &&
            (name[0] != '\0' || jobs[i].least_pid == pid))
            return &jobs[i];
    }
    if (*n_p == INSPECT_MOST_JOBS)
        return NULL;
    jobs[*n_p] = (inspect_job){.name = name, .least_pid = pid};
    return &jobs[(*n_p)++];
}

size_t inspect_jobs(inspect_job *jobs, const dcmi_sight *sight)
{
    size_t n = 0;

    for (size_t i = 0; i < sight->n_cards; i++) {
        const dcmi_seen_card *c = &sight->cards[i];
        inspect_job *j = job_of(jobs, &n, c->job, c->pid);

        if (j == NULL)
            break;
        j->n_here++;
        j->nranks = c->nranks > j->nranks ? c->nranks : j->nranks;
        j->is_forming = j->is_forming || c->step != DCMI_CARD_MADE;
        if (c->pid < j->least_pid)
            j->least_pid = c->pid;
    }
    for (size_t i = 0; i < sight->n_comms; i++) {
        const dcmi_seen_comm *c = sight->comms[i];
        inspect_job *j = job_of(jobs, &n, c->job, c->rank[0].pid);

        if (j == NULL)
            break;
        j->n_comms++;
        j->nranks = c->nranks > j->nranks ? c->nranks : j->nranks;
        if (j->n_here == 0)
            j->n_here = c->nranks;
    }
    return n;
}

void inspect_json_jobs(const dcmi_sight *sight)
{
    inspect_job jobs[INSPECT_MOST_JOBS];
    const size_t n = inspect_jobs(jobs, sight);
    dcmi_jw w = {.file = stdout};

    dcmi_jw_object(&w, NULL);
    dcmi_jw_array(&w, "jobs");
    for (size_t i = 0; i < n; i++) {
        dcmi_jw_object(&w, NULL);
        dcmi_jw_str(&w, "job", jobs[i].name[0] != '\0' ? jobs[i].name : NULL);
        dcmi_jw_num(&w, "ranks", jobs[i].nranks);
        dcmi_jw_num(&w, "here", jobs[i].n_here);
        dcmi_jw_num(&w, "communicators", jobs[i].n_comms);
        dcmi_jw_bool(&w, "forming", jobs[i].is_forming);
        dcmi_jw_num(&w, "pid", jobs[i].least_pid);
        dcmi_jw_end_object(&w);
    }
    dcmi_jw_end_array(&w);
    dcmi_jw_end_object(&w);
}

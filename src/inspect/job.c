/* SPDX-License-Identifier: Apache-2.0 */
/* The look at everything, and the choice of what belongs to a job. */
#include "inspect/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum {
    GENERATIONS = 64 /* between a launcher and a rank */
};

static void note_unread(dcmi_sight *s, dcm_status st, int pid)
{
    dcmi_unread *u = &s->unread[s->n_unread];

    /* Gone by now, or not made yet: the next look will tell. */
    if (st == DCM_E_PEER || st == DCM_AGAIN ||
        s->n_unread == DCMI_ARRAY_LEN(s->unread))
        return;
    s->n_unread++;
    u->pid = pid;
    (void)snprintf(u->why, sizeof(u->why), "%.199s", dcm_errmsg());
}

static void read_card(dcmi_sight *s, const dcmi_find *f)
{
    const dcm_status st = dcmi_seen_card_read(&s->cards[s->n_cards], f);

    if (st == DCM_OK)
        s->n_cards++;
    else
        note_unread(s, st, f->pid);
}

static void read_hall(dcmi_sight *s, const dcmi_find *f)
{
    dcm_status st;

    for (size_t i = 0; i < s->n_halls; i++) {
        if (s->halls[i].inode == f->inode)
            return;
    }
    st = dcmi_seen_hall_read(&s->halls[s->n_halls], f);
    if (st == DCM_OK)
        s->n_halls++;
    else
        note_unread(s, st, f->pid);
}

static void read_comm(dcmi_sight *s, const dcmi_find *f)
{
    dcmi_seen_comm *comm;
    dcm_status st = DCM_E_NOMEM;

    for (size_t i = 0; i < s->n_comms; i++) {
        if (s->comms[i]->inode == f->inode)
            return;
    }
    comm = malloc(sizeof(*comm));
    if (comm != NULL)
        st = dcmi_seen_read(comm, f);
    if (st == DCM_OK) {
        s->comms[s->n_comms++] = comm;
        return;
    }
    note_unread(s, st, f->pid);
    free(comm);
}

static dcm_status look(dcmi_sight *s)
{
    dcm_status st = dcmi_finds_new(&s->finds);

    if (st != DCM_OK)
        return st;
    s->cards = calloc(s->finds.count + 1, sizeof(*s->cards));
    s->halls = calloc(s->finds.count + 1, sizeof(*s->halls));
    s->comms = calloc(s->finds.count + 1, sizeof(dcmi_seen_comm *));
    s->is_chosen = calloc(s->finds.count + 1, sizeof(bool));
    if (s->cards == NULL || s->halls == NULL || s->comms == NULL ||
        s->is_chosen == NULL)
        return dcmi_err(DCM_E_NOMEM, "what %zu segments say", s->finds.count);
    for (size_t i = 0; i < s->finds.count; i++) {
        const dcmi_find *f = &s->finds.list[i];

        switch (f->kind) {
        case DCMI_FIND_CARD:
            read_card(s, f);
            break;
        case DCMI_FIND_HALL:
            read_hall(s, f);
            break;
        case DCMI_FIND_TEAM:
        default:
            read_comm(s, f);
            break;
        }
    }
    s->now_ns = dcmi_now_ns();
    return DCM_OK;
}

static void compare_comm(dcmi_seen_comm *c, const dcmi_seen_comm *old)
{
    for (int r = 0; r < c->nranks && r < old->nranks; r++) {
        const uint64_t now = c->rank[r].n_ops > 0 ? c->rank[r].op[0].serial : 0;
        const uint64_t before =
            old->rank[r].n_ops > 0 ? old->rank[r].op[0].serial : 0;

        if (now > before && now - before > c->moved)
            c->moved = now - before;
    }
    c->is_moving = c->moved > 0;
    c->moved_ns = c->now_ns - old->now_ns;
}

/* What moved since `first`. */
static void compare(dcmi_sight *s, const dcmi_sight *first)
{
    for (size_t i = 0; i < s->n_comms; i++) {
        for (size_t k = 0; k < first->n_comms; k++) {
            if (first->comms[k]->inode == s->comms[i]->inode)
                compare_comm(s->comms[i], first->comms[k]);
        }
    }
    for (size_t i = 0; i < s->n_halls; i++) {
        dcmi_seen_hall *h = &s->halls[i];

        for (size_t k = 0; k < first->n_halls; k++) {
            const dcmi_seen_hall *old = &first->halls[k];

            if (old->inode == h->inode &&
                memcmp(old->seq, h->seq, sizeof(h->seq)) == 0 &&
                memcmp(old->pid, h->pid, sizeof(h->pid)) == 0)
                h->is_still = true;
        }
    }
}

dcm_status dcmi_sight_new(dcmi_sight *sight, uint32_t apart_ms)
{
    dcmi_sight first;
    dcm_status st;

    memset(sight, 0, sizeof(*sight));
    memset(&first, 0, sizeof(first));
    st = look(&first);
    if (st == DCM_OK && first.finds.count > 0)
        dcmi_nap_ns(apart_ms * DCMI_NS_PER_MS);
    if (st == DCM_OK)
        st = look(sight);
    if (st == DCM_OK)
        compare(sight, &first);
    else
        dcmi_sight_free(sight);
    dcmi_sight_free(&first);
    return st;
}

void dcmi_sight_free(dcmi_sight *sight)
{
    for (size_t i = 0; i < sight->n_comms; i++)
        free(sight->comms[i]);
    free(sight->comms);
    free(sight->is_chosen);
    free(sight->halls);
    free(sight->cards);
    dcmi_finds_free(&sight->finds);
    memset(sight, 0, sizeof(*sight));
}

/* ---- choosing ------------------------------------------------------------- */

static bool descends_from(int pid, int ancestor)
{
    dcmi_proc p;

    for (int i = 0; i < GENERATIONS && pid > 1; i++) {
        if (pid == ancestor)
            return true;
        dcmi_proc_look(&p, pid, 0);
        pid = p.parent;
    }
    return false;
}

static bool has_rank_with(const dcmi_seen_comm *c, int pid)
{
    for (int r = 0; r < c->nranks; r++) {
        if (c->rank[r].pid == pid)
            return true;
    }
    return false;
}

/* Choose what the process of `f` holds there. */
static void choose_find(dcmi_sight *s, const dcmi_find *f)
{
    for (size_t i = 0; i < s->n_cards && f->kind == DCMI_FIND_CARD; i++) {
        if (s->cards[i].pid == f->pid)
            s->cards[i].is_chosen = true;
    }
    for (size_t i = 0; i < s->n_halls && f->kind == DCMI_FIND_HALL; i++) {
        if (s->halls[i].inode == f->inode)
            s->halls[i].is_chosen = true;
    }
    for (size_t i = 0; i < s->n_comms && f->kind == DCMI_FIND_TEAM; i++) {
        if (s->comms[i]->inode == f->inode)
            s->is_chosen[i] = true;
    }
}

/* The cards of the other ranks of a job that a chosen card is of. */
static void choose_companions(dcmi_sight *s)
{
    for (size_t i = 0; i < s->n_cards; i++) {
        const dcmi_seen_card *c = &s->cards[i];

        if (!c->is_chosen || c->job[0] == '\0')
            continue;
        for (size_t k = 0; k < s->n_cards; k++) {
            if (strcmp(s->cards[k].job, c->job) == 0)
                s->cards[k].is_chosen = true;
        }
    }
}

/* What those processes hold that `is_it` says; false: nothing. */
static bool choose_all(dcmi_sight *s, int pid,
                       bool (*is_it)(const dcmi_sight *, int holder, int pid))
{
    bool is_any = false;

    for (size_t i = 0; i < s->finds.count; i++) {
        const dcmi_find *f = &s->finds.list[i];

        if (!is_it(s, f->pid, pid))
            continue;
        choose_find(s, f);
        is_any = true;
    }
    choose_companions(s);
    return is_any;
}

static bool is_same(const dcmi_sight *s, int holder, int pid)
{
    (void)s;
    return holder == pid;
}

static bool is_descendant(const dcmi_sight *s, int holder, int pid)
{
    (void)s;
    return descends_from(holder, pid);
}

/* A rank of the same communicator: that is how a dead one is found. */
static bool is_companion(const dcmi_sight *s, int holder, int pid)
{
    for (size_t i = 0; i < s->n_comms; i++) {
        if (has_rank_with(s->comms[i], pid) &&
            has_rank_with(s->comms[i], holder))
            return true;
    }
    return false;
}

bool dcmi_sight_choose_pid(dcmi_sight *sight, int pid)
{
    return choose_all(sight, pid, is_same) ||
           choose_all(sight, pid, is_companion) ||
           choose_all(sight, pid, is_descendant);
}

static size_t add_job(const char **jobs, size_t n, size_t room, const char *job)
{
    if (job[0] == '\0')
        return n;
    for (size_t i = 0; i < n && i < room; i++) {
        if (strcmp(jobs[i], job) == 0)
            return n;
    }
    if (n < room)
        jobs[n] = job;
    return n + 1;
}

size_t dcmi_sight_jobs(const dcmi_sight *sight, const char **jobs, size_t room)
{
    return dcmi_sight_match(sight, "", jobs, room);
}

size_t dcmi_sight_match(const dcmi_sight *sight, const char *name,
                        const char **jobs, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < sight->n_cards + sight->n_comms; i++) {
        const char *job = i < sight->n_cards
                              ? sight->cards[i].job
                              : sight->comms[i - sight->n_cards]->job;

        if (name[0] != '\0' && strcmp(job, name) == 0) {
            jobs[0] = job;
            return 1;
        }
        if (strstr(job, name) != NULL)
            n = add_job(jobs, n, room, job);
    }
    return n;
}

void dcmi_sight_choose_job(dcmi_sight *sight, const char *job)
{
    for (size_t i = 0; i < sight->n_comms; i++)
        sight->is_chosen[i] = strcmp(sight->comms[i]->job, job) == 0;
    for (size_t i = 0; i < sight->n_cards; i++) {
        const dcmi_seen_card *c = &sight->cards[i];

        if (strcmp(c->job, job) == 0)
            (void)choose_all(sight, c->pid, is_same);
    }
}

const char *dcmi_sight_unread(const dcmi_sight *sight)
{
    for (size_t i = 0; i < sight->n_unread; i++) {
        for (size_t k = 0; k < sight->n_cards; k++) {
            if (sight->cards[k].is_chosen &&
                sight->cards[k].pid == sight->unread[i].pid)
                return sight->unread[i].why;
        }
    }
    return NULL;
}

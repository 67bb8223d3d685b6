/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at what this user's processes on this machine have of devcomm: groups
 * that form, groups, communicators; and which of it belongs to a job.
 */
#ifndef DCMI_INSPECT_JOB_H
#define DCMI_INSPECT_JOB_H

#include "group/card.h"
#include "inspect/comm.h"

/* A rank's card, checked. */
typedef struct dcmi_seen_card {
    bool is_chosen;
    int pid; /* who holds it */
    dcmi_proc proc;
    int rank;
    int nranks;
    dcmi_card_step step;
    uint64_t since_ns;
    uint64_t deadline_ns;
    uint64_t come;
    int pid_of[DCM_MAX_RANKS];
    char job[DCMI_CARD_JOB];
    char name[DCMI_CARD_NAME];
} dcmi_seen_card;

/* The ranks of one host in a group's hall. */
typedef struct dcmi_seen_hall {
    bool is_chosen;
    uint64_t inode;
    int n_local;
    int n_ranks;
    bool is_still;               /* nothing was posted between two looks */
    int pid[DCM_MAX_RANKS];      /* by slot; 0: has not come in yet */
    uint64_t seq[DCM_MAX_RANKS]; /* exchanges that the slot has come to */
} dcmi_seen_hall;

typedef struct dcmi_unread {
    int pid; /* who holds it */
    char why[200];
} dcmi_unread;

typedef struct dcmi_sight {
    uint64_t now_ns;
    dcmi_finds finds;
    dcmi_seen_card *cards;
    size_t n_cards;
    dcmi_seen_hall *halls;
    size_t n_halls;
    dcmi_seen_comm **comms;
    bool *is_chosen; /* of comms */
    size_t n_comms;
    dcmi_unread unread[16]; /* the first that could not be read */
    size_t n_unread;
} dcmi_sight;

/*
 * Look twice, `apart_ms` apart, so that what moves is told from what stands.
 * Free it with dcmi_sight_free().
 */
dcm_status dcmi_sight_new(dcmi_sight *sight, uint32_t apart_ms);
void dcmi_sight_free(dcmi_sight *sight);

/*
 * Choose what process `pid` takes part in; if it has nothing itself, what its
 * descendants take part in.  False: nothing.
 */
bool dcmi_sight_choose_pid(dcmi_sight *sight, int pid);

/* The names of the jobs, each once, in `jobs`; returns how many there are. */
size_t dcmi_sight_jobs(const dcmi_sight *sight, const char **jobs, size_t room);

/*
 * The job called `name`, else those whose name has it inside: *n_p of them in
 * `jobs`.
 */
size_t dcmi_sight_match(const dcmi_sight *sight, const char *name,
                        const char **jobs, size_t room);
void dcmi_sight_choose_job(dcmi_sight *sight, const char *job);

/* Why something of what was chosen could not be read; NULL: all was. */
const char *dcmi_sight_unread(const dcmi_sight *sight);

/* gather.c: cards and halls. */
dcm_status dcmi_seen_card_read(dcmi_seen_card *card, const dcmi_find *find);
dcm_status dcmi_seen_hall_read(dcmi_seen_hall *hall, const dcmi_find *find);

#endif /* DCMI_INSPECT_JOB_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group inside: rank, size, hosts, the hall, and how a wait watches peers.
 */
#ifndef DCMI_GROUP_H
#define DCMI_GROUP_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "group/boot.h"
#include "group/card.h"
#include "group/hall.h"
#include "group/life.h"
#include "os/mapping.h"
#include "os/wait.h"

struct dcm_group {
    int rank;
    int nranks;
    int nhosts;
    int host_of[DCM_MAX_RANKS];   /* host numbers, in order of their leaders */
    int leader_of[DCM_MAX_RANKS]; /* rank -> leader's rank of its host */
    int slot_of[DCM_MAX_RANKS];   /* rank -> hall slot; -1: another host */
    int pid_of[DCM_MAX_RANKS];
    char why_apart[224]; /* why ranks of one host, it seemed, are not */
    uint32_t timeout_ms;
    char job[DCMI_ADDRESS_BYTES]; /* where it met, for the record; or "" */
    bool is_crowded;   /* more ranks here than cores: all agree on it */
    uint64_t spin_ns;  /* of this rank's waits; 0: yield at once */
    uint64_t seq;      /* exchanges so far */
    dcm_status failed; /* an exchange failed: the halves are out of step */
    void *scratch; /* DCM_EXCHANGE_MAX bytes a rank, for a caller's exchange */
    dcmi_hall *hall;
    dcmi_mapping *mapping;
    int hall_fd; /* by which it is found from outside; -1: none yet */
    int card_fd; /* the same for card.h; -1: none */
    dcmi_life *life;
    dcmi_boot *boot; /* NULL: one host */
    unsigned forks;  /* forks of the process when it was made */
};

/* Forks since start: a child must not use its parent's handles. */
extern unsigned dcmi_forks;
void dcmi_forks_watch(void); /* counted from the first call on */

/*
 * What opts say, with the environment's defaults, checked.  `host` may be NULL.
 */
typedef struct dcmi_group_setup {
    const char *name;
    const char *token;
    const char *host;
    const char *job; /* where it meets; NULL: nowhere that has a name */
    dcmi_card *card; /* shown while it is built; NULL: none */
    uint32_t timeout_ms;
    uint32_t flags;
} dcmi_group_setup;

dcm_status dcmi_group_setup_read(dcmi_group_setup *s,
                                 const dcm_group_opts *opts);

/*
 * Build a group over `boot`, in three rounds; takes the boot over, also on
 * failure.  Collective over the boot's ranks, which all get the same outcome.
 */
dcm_status dcmi_group_build(dcm_group **group_p, dcmi_boot *boot,
                            const dcmi_group_setup *setup,
                            uint64_t deadline_ns);

/* E_INVAL after a fork; adopts an orphaned life word. */
dcm_status dcmi_group_enter(dcm_group *group);

/* ---- waiting for a rank of this host -------------------------------------- */

/*
 * A wait for one rank, or for any of several: fill `ranks` (bit mask).  On
 * failure *culprit_p gets the rank that is dead, has left or is late.
 */
typedef struct dcmi_peer_wait {
    const dcm_group *group;
    uint64_t ranks;   /* waited for, of the group */
    const char *what; /* "exchange: " or "": begins the message */
    int culprit;      /* out */
} dcmi_peer_wait;

/*
 * The check function of a watch whose arg is a dcmi_peer_wait: E_PEER when one
 * of the ranks is dead or has left, E_TIMEOUT with all their names when the
 * deadline passed.
 */
dcm_status dcmi_peer_check(void *arg, bool expired);

dcmi_watch dcmi_peer_watch(dcmi_peer_wait *wait, uint64_t timeout_ns);

/* "rank 3 (pid 812)", for messages. */
const char *dcmi_group_name_rank(const dcm_group *group, int rank, char *text,
                                 size_t bytes);

uint64_t dcmi_group_timeout_ns(const dcm_group *group, uint32_t timeout_ms);

#endif /* DCMI_GROUP_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A team: what the ranks of one communicator share besides their data, and what
 * a backend needs to wait for them: the fail word, bells, and the board on which
 * sub-groups and survivors meet.
 *
 * Layout          descriptor, fail word, bells, a slot a rank; behind them two
 *                 halves of DCMI_BOARD_BYTES a rank, then the record (record.h).
 * Writers and     The fail word is written once, by compare and swap from 0; so
 * readers         every rank reports the same first failure.  A slot is written
 *                 by its rank.
 * Ordering        As in the hall: a rank writes its half of the board, posts its
 *                 number (release), readers wait for it (acquire).  Numbers are
 *                 meeting * 16 + round, the meeting's number being one that all
 *                 participants know: of the exchange before a split, of the
 *                 attempt of a regroup.  A half is reused two rounds later, when
 *                 every participant of the round between was seen.  Between two
 *                 meetings all participants have passed that exchange, or have
 *                 seen each other arrive.
 * Wrap            64-bit numbers.
 * Reset           None: a failed team stays failed.
 * When a peer     Survivors of a regroup mark `arrived` with the number of their
 * dies            attempt.  One who sees every rank arrived or dead proposes the
 *                 arrived ones by compare and swap on decision[attempt]; all
 *                 read the winner, so all agree, whoever dies meanwhile.
 *
 * Model: tests/model/test_regroup.c.
 */
#ifndef DCMI_TEAM_H
#define DCMI_TEAM_H

#include <devcomm/devcomm.h>

#include <stdatomic.h>

#include "group/group.h"
#include "group/record.h"

#define DCMI_TEAM_MAGIC  0x6d6165746d636364ull /* "dccmteam" */
#define DCMI_TEAM_LAYOUT 2u
#define DCMI_TEAM_MEMFD  "devcomm-team"

enum {
    DCMI_BOARD_BYTES = 1024, /* a rank, a round: a record of build.c fits */
    DCMI_TEAM_ATTEMPTS = 16, /* regroups of one communicator */
};

/* How far a rank has gone in leaving. */
enum {
    DCMI_STAGE_IN = 0,
    DCMI_STAGE_FINAL = 1,
    DCMI_STAGE_FREED = 2
};

typedef struct dcmi_team_slot {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t posted[2];
    _Atomic uint32_t arrived; /* attempts of regroup begun */
    _Atomic uint32_t stage;   /* DCMI_STAGE_* */
} dcmi_team_slot;

typedef struct dcmi_team_shared {
    uint64_t magic;
    uint32_t layout;
    uint32_t n_ranks;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t fail;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t decision[DCMI_TEAM_ATTEMPTS];
    dcmi_bells bells;
    dcmi_team_slot slot[DCM_MAX_RANKS];
} dcmi_team_shared;

_Static_assert(offsetof(dcmi_team_shared, fail) == 128, "shared layout");
_Static_assert(offsetof(dcmi_team_shared, decision) == 256, "shared layout");
_Static_assert(offsetof(dcmi_team_shared, bells) == 384, "shared layout");
_Static_assert(sizeof(dcmi_team_shared) == 384 + 129 * 128, "shared layout");

/* One rank's handle; lives inside its communicator. */
typedef struct dcmi_team {
    dcm_group *group;
    dcmi_team_shared *shared;
    int rank;
    int nranks;
    dcmi_peer_wait who;
    dcmi_watch watch; /* for dcmi_wait_begin(): waits for who.ranks */
    uint64_t epoch;   /* of the operation that runs */
    const char *op;   /* "all_reduce"; for messages */
    const char *phase;
    uint64_t waited_ns;  /* by the wait that failed */
    dcm_failure failure; /* the first failure, as this rank saw it */
    uint32_t attempts;   /* regroups so far */
    dcmi_recorder recorder;
} dcmi_team;

/* What the fail word says. */
typedef struct dcmi_fail_word {
    dcm_status status;
    int culprit; /* 255: nobody */
    int reporter;
    uint64_t epoch;
} dcmi_fail_word;

dcmi_fail_word dcmi_team_fail_word(uint64_t word);

size_t dcmi_team_bytes(int nranks);

/* Where the record lies in the team's segment. */
size_t dcmi_team_record_at(int nranks);

/* `shared` is zero, or initialised by another rank in the same way. */
void dcmi_team_init(dcmi_team *team, dcm_group *group, dcmi_team_shared *shared,
                    uint32_t timeout_ms);

/* Rank 0: what the record says of the whole communicator. */
void dcmi_team_title(dcmi_team *team, const char *backend);

void dcmi_team_set_timeout(dcmi_team *team, uint32_t timeout_ms);

/*
 * A wait ended with `st`, or the caller found a mismatch or shortage of its own
 * (then `culprit` names the rank and the error record is written).  Fails the
 * team for all ranks; if it had failed before, this rank takes over the first
 * failure.  Returns the status to report, with the error record.
 */
dcm_status dcmi_team_fail(dcmi_team *team, dcm_status st, int culprit);

/* OK, or the team's failure taken over into this rank's record. */
dcm_status dcmi_team_check(dcmi_team *team);

/* Wait until every rank has come to this call: dcm_comm_finalize(). */
dcm_status dcmi_team_finalize(dcmi_team *team, uint64_t timeout_ns);

/* This rank will not come again: its peers' waits end with E_PEER. */
void dcmi_team_leave(dcmi_team *team);

/* Async-signal-safe. */
void dcmi_team_abort(dcmi_team_shared *shared, int rank);

static inline int dcmi_team_is_failed(const dcmi_team *team)
{
    return atomic_load_explicit(&team->shared->fail, memory_order_relaxed) != 0;
}

/* A boot that meets on the team's board; closed by its ops.  E_NOMEM. */
dcm_status dcmi_boot_board(dcmi_boot **boot_p, dcmi_team *team);

/*
 * Who meets: order[i] is the team's rank of the boot's rank i.  `meeting` as the
 * head says.
 */
void dcmi_boot_board_call(dcmi_boot *boot, const int *order, int nranks,
                          uint64_t meeting);

/* Meeting numbers: by the group's exchanges; by attempts, apart from these. */
#define DCMI_MEETING_SPLIT(group)  ((group)->seq)
#define DCMI_MEETING_REGROUP(team) ((1ull << 56) + (team)->attempts)

/*
 * Agree with the other living ranks on who they are.  Works on a failed team.
 * E_TIMEOUT names the living that did not come.
 */
dcm_status dcmi_team_survivors(dcmi_team *team, uint64_t *members_p,
                               uint64_t timeout_ns);

#endif /* DCMI_TEAM_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meeting on a team's board: the boot of sub-groups, and the agreement of the
 * survivors on who they are.  team.h has the protocol.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/team.h"

enum {
    ROUNDS = 16
}; /* numbers a meeting */

typedef struct boot_board {
    dcmi_boot base;
    dcmi_team *team;
    uint64_t members;
    int order[DCM_MAX_RANKS]; /* rank in the boot -> rank in the team */
    uint64_t number;
} boot_board;

static char *half_of(dcmi_team *team, int rank, uint64_t number)
{
    return (char *)team->shared + sizeof(*team->shared) +
           (2 * (size_t)rank + (number & 1)) * DCMI_BOARD_BYTES;
}

static dcm_status merge(dcmi_boot *boot, void *all, size_t bytes,
                        const int *owner, uint64_t deadline_ns)
{
    boot_board *b = (boot_board *)boot;
    dcmi_team *team = b->team;
    const uint64_t now = dcmi_now_ns();
    dcmi_peer_wait who = {.group = team->group, .what = "meeting: "};
    dcmi_watch watch =
        dcmi_peer_watch(&who, deadline_ns > now ? deadline_ns - now : 0);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    (void)owner; /* every rank owns itself: one host */
    if (bytes > DCMI_BOARD_BYTES)
        return dcmi_err(DCM_E_INVAL, "meeting with %zu bytes a rank", bytes);
    watch.bells = &team->shared->bells;
    watch.rank = team->rank;
    b->number++;
    memcpy(half_of(team, team->rank, b->number),
           (char *)all + (size_t)boot->rank * bytes, bytes);
    atomic_store_explicit(&team->shared->slot[team->rank].posted[b->number & 1],
                          b->number, memory_order_release);
    dcmi_bells_ring(&team->shared->bells, team->nranks);

    who.ranks = b->members;
    for (;;) {
        for (int i = 0; i < boot->nranks; i++) {
            const int r = b->order[i];

            if ((who.ranks >> r & 1) == 0 ||
                atomic_load_explicit(
                    &team->shared->slot[r].posted[b->number & 1],
                    memory_order_acquire) != b->number)
                continue;
            memcpy((char *)all + (size_t)i * bytes, half_of(team, r, b->number),
                   bytes);
            who.ranks &= ~(1ull << r);
        }
        if (who.ranks == 0 || st != DCM_OK)
            break;
        st = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    return who.ranks == 0 ? DCM_OK : st;
}

static void keep(dcmi_boot *boot, const int *owner)
{
    (void)boot;
    (void)owner;
}

static void close_board(dcmi_boot *boot)
{
    free(boot);
}

dcm_status dcmi_boot_board(dcmi_boot **boot_p, dcmi_team *team)
{
    static const dcmi_boot_ops ops = {merge, keep, close_board};
    boot_board *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return dcmi_err(DCM_E_NOMEM, "meeting of %d ranks", team->nranks);
    b->base.ops = &ops;
    b->base.is_one_host = true;
    b->team = team;
    *boot_p = &b->base;
    return DCM_OK;
}

void dcmi_boot_board_call(dcmi_boot *boot, const int *order, int nranks,
                          uint64_t meeting)
{
    boot_board *b = (boot_board *)boot;

    b->base.nranks = nranks;
    b->number = meeting * ROUNDS;
    for (int i = 0; i < nranks; i++) {
        b->order[i] = order[i];
        b->members |= 1ull << order[i];
        if (order[i] == b->team->rank)
            b->base.rank = i;
    }
}

/* The ranks of the team that are neither arrived nor gone; *here_p the arrived. */
static uint64_t missing(const dcmi_team *team, uint32_t attempt,
                        uint64_t *here_p)
{
    const dcm_group *g = team->group;
    uint64_t away = 0;

    *here_p = 0;
    for (int r = 0; r < team->nranks; r++) {
        const dcmi_life_state life =
            dcmi_life_look(&g->hall->life[g->slot_of[r]]);

        if (life == DCMI_LIFE_DEAD || life == DCMI_LIFE_LEFT ||
            atomic_load_explicit(&team->shared->slot[r].stage,
                                 memory_order_acquire) == DCMI_STAGE_FREED)
            continue;
        if ((int32_t)(atomic_load_explicit(&team->shared->slot[r].arrived,
                                           memory_order_acquire) -
                      attempt) >= 0)
            *here_p |= 1ull << r;
        else
            away |= 1ull << r;
    }
    return away;
}

/* A watch that only minds the clock: the dead are what this wait is about. */
static dcm_status check_clock(void *arg, bool expired)
{
    dcmi_peer_wait *w = arg;

    return expired ? dcmi_peer_check(w, true) : DCM_OK;
}

dcm_status dcmi_team_survivors(dcmi_team *team, uint64_t *members_p,
                               uint64_t timeout_ns)
{
    const uint32_t attempt = team->attempts + 1;
    _Atomic uint64_t *decision;
    dcmi_peer_wait who = {.group = team->group, .what = "regroup: "};
    dcmi_watch watch = dcmi_peer_watch(&who, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;
    uint64_t decided;
    uint64_t here;

    if (attempt > DCMI_TEAM_ATTEMPTS)
        return dcmi_err(DCM_E_UNSUP, "regroup: %d attempts are used up",
                        DCMI_TEAM_ATTEMPTS);
    decision = &team->shared->decision[attempt - 1];
    watch.check = check_clock;
    watch.bells = &team->shared->bells;
    watch.rank = team->rank;
    atomic_store_explicit(&team->shared->slot[team->rank].arrived, attempt,
                          memory_order_release);
    dcmi_bells_ring(&team->shared->bells, team->nranks);

    for (;;) {
        decided = atomic_load_explicit(decision, memory_order_acquire);
        if (decided != 0 || st != DCM_OK)
            break;
        who.ranks = missing(team, attempt, &here);
        if (who.ranks == 0) {
            (void)atomic_compare_exchange_strong_explicit(
                decision, &decided, here, memory_order_acq_rel,
                memory_order_acquire);
            dcmi_bells_ring(&team->shared->bells, team->nranks);
            continue;
        }
        st = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    if (decided == 0)
        return st;
    team->attempts = attempt;
    *members_p = decided;
    return DCM_OK;
}

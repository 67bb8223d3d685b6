/* SPDX-License-Identifier: Apache-2.0 */
/* The team's fail word: who failed first, told alike by every rank. */
#include "group/team.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum {
    NOBODY = 0xff
};

#define NO_OP "none" /* begun yet */

/* A rank that waits looks every 20 ms: one that has not for so long is stopped. */
#define STOPPED_NS 1000000000ull

/* The fail word: 1 .. 8 bits each of -status, culprit, reporter; 40 of epoch. */
static uint64_t fail_word(dcm_status st, int culprit, int reporter,
                          uint64_t epoch)
{
    return (uint64_t)(-(int)st & 0xff) |
           (uint64_t)(culprit < 0 ? NOBODY : culprit) << 8 |
           (uint64_t)(reporter & 0xff) << 16 | epoch << 24;
}

dcmi_fail_word dcmi_team_fail_word(uint64_t word)
{
    return (dcmi_fail_word){
        .status = (dcm_status)(-(int)(word & 0xff)),
        .culprit = (int)(word >> 8 & 0xff),
        .reporter = (int)(word >> 16 & 0xff),
        .epoch = word >> 24,
    };
}

size_t dcmi_team_record_at(int nranks)
{
    return sizeof(dcmi_team_shared) + 2 * (size_t)nranks * DCMI_BOARD_BYTES;
}

size_t dcmi_team_bytes(int nranks)
{
    return dcmi_team_record_at(nranks) + dcmi_record_bytes(nranks);
}

static dcmi_record *record_of(dcmi_team_shared *shared, int nranks)
{
    return (void *)((char *)shared + dcmi_team_record_at(nranks));
}

void dcmi_team_title(dcmi_team *team, const char *backend)
{
    dcmi_record_title(record_of(team->shared, team->nranks), team->nranks,
                      backend, team->group->job);
}

/*
 * The ranks that `rank` waits for in this communicator, by what it recorded; 0 of one
 * that has stopped in its wait.
 */
static uint64_t waits_of(const dcmi_team *team, int rank, uint64_t now)
{
    const dcmi_record_wait *w =
        &record_of(team->shared, team->nranks)->rank[rank].wait;
    const uint64_t ranks =
        atomic_load_explicit(&w->ranks, memory_order_acquire);
    const uint64_t looked =
        atomic_load_explicit(&w->looked_ns, memory_order_relaxed);

    if ((int64_t)(now - looked) > (int64_t)STOPPED_NS)
        return 0;
    return ranks & (~0ull >> (DCM_MAX_RANKS - team->nranks));
}

/*
 * Who keeps this rank waiting in the end: of the ranks it waits for, those that
 * these wait for, and so on, the ones that do not wait themselves.  0: all wait.
 */
static uint64_t last_in_line(const dcmi_team *team)
{
    const uint64_t now = dcmi_now_ns();
    uint64_t seen = 0;
    uint64_t idle = 0;
    uint64_t next = team->who.ranks;

    while (next != 0) {
        const int r = __builtin_ctzll(next);
        const uint64_t theirs = r == team->rank ? 0 : waits_of(team, r, now);

        seen |= 1ull << r;
        if (r != team->rank && theirs == 0)
            idle |= 1ull << r;
        next = (next | theirs) & ~seen;
    }
    return idle;
}

/* The deadline has passed: name the rank that holds the others up. */
static DCMI_COLD dcm_status expire(dcmi_team *team)
{
    const uint64_t direct = team->who.ranks;
    const uint64_t idle = last_in_line(team);
    char name[64];
    char what[128];
    dcm_status st;

    team->who.culprit = __builtin_ctzll(direct);
    (void)dcmi_group_name_rank(team->group, team->who.culprit, name,
                               sizeof(name));
    if (idle == 0)
        return dcmi_err(DCM_E_TIMEOUT,
                        "this rank waits for %s and it for this one, itself or "
                        "through others: nobody is absent; the calls do not "
                        "fit together, or a rank has just stopped",
                        name);
    (void)snprintf(what, sizeof(what), "%s waits too: ", name);
    team->who.what = (idle & direct) != 0 ? "" : what;
    team->who.ranks = idle;
    st = dcmi_peer_check(&team->who, true);
    team->who.what = "";
    team->who.ranks = direct;
    return st;
}

/* The check of a team's waits: arg is the team. */
static dcm_status check_wait(void *arg, bool expired)
{
    dcmi_team *team = arg;
    char name[64];
    dcm_status st;

    dcmi_record_look(&team->recorder, &(dcmi_record_looking){
                                          .ranks = team->who.ranks,
                                          .number = team->epoch,
                                          .op = team->op,
                                          .phase = team->phase,
                                          .timeout_ns = team->watch.timeout_ns,
                                      });
    if (dcmi_team_is_failed(team))
        return DCM_E_ABORTED; /* dcmi_team_fail() takes the real one over */
    for (uint64_t m = team->who.ranks; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);

        if (atomic_load_explicit(&team->shared->slot[r].stage,
                                 memory_order_acquire) != DCMI_STAGE_FREED)
            continue;
        team->who.culprit = r;
        return dcmi_err(
            DCM_E_PEER, "%s has freed its communicator",
            dcmi_group_name_rank(team->group, r, name, sizeof(name)));
    }
    st = dcmi_peer_check(&team->who, false);
    return st == DCM_OK && expired ? expire(team) : st;
}

void dcmi_team_init(dcmi_team *team, dcm_group *group, dcmi_team_shared *shared,
                    uint32_t timeout_ms)
{
    if (group->rank == 0) {
        shared->magic = DCMI_TEAM_MAGIC;
        shared->layout = DCMI_TEAM_LAYOUT;
        shared->n_ranks = (uint32_t)group->nranks;
    }
    team->group = group;
    team->shared = shared;
    team->rank = group->rank;
    team->nranks = group->nranks;
    team->who = (dcmi_peer_wait){
        .group = group,
        .what = "",
    };
    team->watch = dcmi_peer_watch(&team->who, 0);
    team->watch.check = check_wait;
    team->watch.arg = team;
    team->watch.bells = &shared->bells;
    team->watch.rank = group->rank;
    team->op = NO_OP;
    team->phase = "none";
    dcmi_record_open(&team->recorder, record_of(shared, group->nranks),
                     group->rank);
    dcmi_team_set_timeout(team, timeout_ms);
}

void dcmi_team_set_timeout(dcmi_team *team, uint32_t timeout_ms)
{
    team->watch.timeout_ns = dcmi_group_timeout_ns(team->group, timeout_ms);
}

static void record(dcmi_team *team, dcm_status st, int culprit, int reporter,
                   uint64_t epoch)
{
    dcm_failure *f = &team->failure;

    if (f->status != DCM_OK)
        return;
    f->status = st;
    f->rank = culprit;
    f->pid = culprit >= 0 && culprit < team->nranks
                 ? team->group->pid_of[culprit]
                 : 0;
    f->reporter = reporter;
    f->epoch = epoch;
    f->waited_ns = team->waited_ns;
    (void)snprintf(f->op, sizeof(f->op), "%s", team->op);
    (void)snprintf(f->phase, sizeof(f->phase), "%s", team->phase);
    (void)snprintf(f->message, sizeof(f->message), "%s", dcm_errmsg());
    if (team->group->forks == dcmi_forks) /* else it is the parent's */
        dcmi_record_fail(&team->recorder, f);
}

/* Another rank failed the team: tell it in this rank's words. */
static dcm_status take_over(dcmi_team *team, uint64_t word)
{
    const dcmi_fail_word f = dcmi_team_fail_word(word);
    char name[64] = "nobody in particular";
    char from[64] = "?";
    char where[64] = "before the first operation";

    if (f.culprit < team->nranks)
        (void)dcmi_group_name_rank(team->group, f.culprit, name, sizeof(name));
    if (f.reporter < team->nranks)
        (void)dcmi_group_name_rank(team->group, f.reporter, from, sizeof(from));
    if (strcmp(team->op, NO_OP) != 0)
        (void)snprintf(where, sizeof(where), "%s %llu", team->op,
                       (unsigned long long)team->epoch);
    if (f.status == DCM_E_ABORTED)
        (void)dcmi_err(f.status, "%s: aborted by %s", where, from);
    else
        (void)dcmi_err(f.status, "%s: %s: %s (found by %s in operation %llu)",
                       where, name, dcm_status_str(f.status), from,
                       (unsigned long long)f.epoch);
    record(team, f.status, f.culprit < team->nranks ? f.culprit : -1,
           f.reporter, f.epoch);
    return f.status;
}

static dcm_status from_record(const dcmi_team *team)
{
    return dcmi_err((dcm_status)team->failure.status, "%s",
                    team->failure.message);
}

dcm_status dcmi_team_check(dcmi_team *team)
{
    const uint64_t word =
        atomic_load_explicit(&team->shared->fail, memory_order_acquire);

    if (team->failure.status != DCM_OK)
        return from_record(team);
    return word == 0 ? DCM_OK : take_over(team, word);
}

dcm_status dcmi_team_fail(dcmi_team *team, dcm_status st, int culprit)
{
    uint64_t seen = 0;

    if (team->failure.status != DCM_OK)
        return from_record(team);
    if (atomic_compare_exchange_strong_explicit(
            &team->shared->fail, &seen,
            fail_word(st, culprit, team->rank, team->epoch),
            memory_order_acq_rel, memory_order_acquire)) {
        dcmi_bells_ring(&team->shared->bells, team->nranks);
        (void)dcmi_err_at(st, "%s %llu, %s", team->op,
                          (unsigned long long)team->epoch, team->phase);
        record(team, st, culprit, team->rank, team->epoch);
        return st;
    }
    return take_over(team, seen);
}

void dcmi_team_abort(dcmi_team_shared *shared, int rank)
{
    uint64_t seen = 0;

    if (atomic_compare_exchange_strong_explicit(
            &shared->fail, &seen, fail_word(DCM_E_ABORTED, -1, rank, 0),
            memory_order_acq_rel, memory_order_acquire))
        dcmi_bells_ring(&shared->bells, DCM_MAX_RANKS);
}

dcm_status dcmi_team_finalize(dcmi_team *team, uint64_t timeout_ns)
{
    dcmi_watch watch = team->watch;
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;

    watch.timeout_ns = timeout_ns;
    team->op = "finalize";
    team->phase = "wait";
    atomic_store_explicit(&team->shared->slot[team->rank].stage,
                          DCMI_STAGE_FINAL, memory_order_release);
    dcmi_bells_ring(&team->shared->bells, team->nranks);
    team->who.ranks = 0;
    for (int r = 0; r < team->nranks; r++)
        team->who.ranks |= 1ull << r;
    for (;;) {
        for (uint64_t m = team->who.ranks; m != 0; m &= m - 1) {
            if (atomic_load_explicit(
                    &team->shared->slot[__builtin_ctzll(m)].stage,
                    memory_order_acquire) != DCMI_STAGE_IN)
                team->who.ranks &= ~(m & -m);
        }
        if (team->who.ranks == 0 || st != DCM_OK)
            break;
        st = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    dcmi_record_found(&team->recorder);
    team->waited_ns = dcmi_wait_ns(&w);
    return team->who.ranks == 0 ? DCM_OK
                                : dcmi_team_fail(team, st, team->who.culprit);
}

void dcmi_team_leave(dcmi_team *team)
{
    atomic_store_explicit(&team->shared->slot[team->rank].stage,
                          DCMI_STAGE_FREED, memory_order_release);
    dcmi_bells_ring(&team->shared->bells, team->nranks);
}

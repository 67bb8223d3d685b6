/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building a group over a boot, by the law that all ranks decide together.
 *
 *   round 1  every rank's record: who it is, what failed locally already
 *   (each member connects to the leader of its presumed host)
 *   round 2  whether it could; from here all ranks know the hosts
 *   (leaders hand the hall over, members map it and take their life words)
 *   round 3  whether that worked; all ranks succeed, or all fail alike
 *
 * A rank that fails goes on taking part until the round that tells the others.
 */
#define _GNU_SOURCE
#include "group/group.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/err.h"
#include "group/handover.h"
#include "os/futex.h"
#include "os/ident.h"
#include "os/limits.h"
#include "os/memfd.h"
#include "os/sock.h"

#define RECORD_MAGIC 0x64636d67u
#define SPIN_UNSET   UINT64_MAX

enum {
    MESSAGE_BYTES = 200,
    DEFAULT_SPIN_US = 50,
    MOST_SPIN_US = 1000000
};

/* One rank in round 1; fixed size, the same on every rank. */
typedef struct record {
    uint32_t magic;
    uint32_t version;
    int32_t status;
    int32_t pid;
    uint64_t host_hint;
    uint32_t uid;
    int32_t quota;
    dcmi_cpuset cpus;
    dcmi_handover_ticket ticket;
    char message[MESSAGE_BYTES];
} record;

/* One rank in rounds 2 and 3. */
typedef struct vote {
    uint32_t magic;
    int32_t status;
    char message[MESSAGE_BYTES];
} vote;

typedef struct build {
    dcm_group *g;
    dcmi_boot *boot;
    const dcmi_group_setup *setup;
    uint64_t deadline_ns;
    dcmi_handover handover;
    record records[DCM_MAX_RANKS];
    vote votes[DCM_MAX_RANKS];
    int self_owner[DCM_MAX_RANKS];
    uint64_t spin_us; /* as the environment says; SPIN_UNSET: it does not */
} build;

/* What came is votes, not noise of the caller's all-gather. */
static dcm_status check_votes(const vote *votes, int n)
{
    for (int r = 0; r < n; r++) {
        if (votes[r].magic != RECORD_MAGIC)
            return dcmi_err(DCM_E_ABI, "what came from rank %d is no record",
                            r);
    }
    return DCM_OK;
}

static void vote_set(vote *v, dcm_status st)
{
    memset(v, 0, sizeof(*v));
    v->magic = RECORD_MAGIC;
    v->status = st;
    if (st != DCM_OK)
        (void)snprintf(v->message, sizeof(v->message), "%s", dcm_errmsg());
}

/* Presumed hosts: the same hint and user; the lowest rank leads. */
static void guess_hosts(build *b)
{
    const int n = b->g->nranks;

    for (int r = 0; r < n; r++) {
        int leader = 0;

        while (b->records[leader].host_hint != b->records[r].host_hint ||
               b->records[leader].uid != b->records[r].uid)
            leader++;
        b->g->leader_of[r] = leader;
    }
}

/* Number the hosts and the hall's slots, once leader_of is final. */
static void number_hosts(dcm_group *g)
{
    int used = 0;

    g->nhosts = 0;
    for (int r = 0; r < g->nranks; r++) {
        const int leader = g->leader_of[r];

        g->host_of[r] = leader == r ? g->nhosts++ : g->host_of[leader];
        g->slot_of[r] = leader == g->leader_of[g->rank] ? used++ : -1;
    }
}

static int local_count(const dcm_group *g)
{
    int n = 0;

    for (int r = 0; r < g->nranks; r++)
        n += g->slot_of[r] >= 0;
    return n;
}

/*
 * Whether the ranks of this host cannot all run at once: more than the cores
 * that they may use together, or several tied to fewer cores than they are.
 */
static bool is_crowded(const build *b)
{
    const dcm_group *g = b->g;
    dcmi_cpuset together = {.word = {0}};
    int quota = INT_MAX;

    for (int r = 0; r < g->nranks; r++) {
        const record *a = &b->records[r];
        int inside = 0;

        if (g->slot_of[r] < 0)
            continue;
        if (a->quota < quota)
            quota = a->quota;
        for (int i = 0; i < DCMI_CPU_WORDS; i++)
            together.word[i] |= a->cpus.word[i];
        for (int q = 0; q < g->nranks; q++) {
            bool is_subset = g->slot_of[q] >= 0;

            for (int i = 0; i < DCMI_CPU_WORDS && is_subset; i++)
                is_subset =
                    (b->records[q].cpus.word[i] & ~a->cpus.word[i]) == 0;
            inside += is_subset;
        }
        if (inside > dcmi_cpuset_count(&a->cpus))
            return true;
    }
    return local_count(g) > quota ||
           local_count(g) > dcmi_cpuset_count(&together);
}

/* Equal on the ranks of one host, unless the caller tells them apart. */
static uint64_t host_hint(const build *b)
{
    const char *name = b->setup->host;
    const uint64_t hint = b->boot->is_one_host ? 1 : dcmi_host_hint();

    return name != NULL ? dcmi_hash(2, name, strlen(name)) ^ hint : hint;
}

static dcm_status fill_record(build *b, record *mine)
{
    bool ok = true;
    dcm_status st;

    memset(mine, 0, sizeof(*mine));
    mine->magic = RECORD_MAGIC;
    mine->version = DCM_VERSION;
    mine->pid = (int32_t)getpid();
    mine->uid = (uint32_t)geteuid();
    mine->quota = dcmi_limits_quota("");
    dcmi_limits_affinity(&mine->cpus);
    mine->host_hint = host_hint(b);
    b->spin_us = dcmi_env_u64(DCMI_ENV_SPIN_US, SPIN_UNSET, MOST_SPIN_US, &ok);
    st = ok ? dcmi_handover_open(&b->handover, b->g->nranks > 1) : DCM_E_INVAL;
    mine->ticket = b->handover.ticket;
    mine->status = st;
    if (st != DCM_OK)
        (void)snprintf(mine->message, sizeof(mine->message), "%s",
                       dcm_errmsg());
    return st;
}

static dcm_status merge(build *b, void *all, size_t bytes)
{
    return b->boot->ops->merge(b->boot, all, bytes, b->self_owner,
                               b->deadline_ns);
}

static dcm_status round_1(build *b)
{
    dcm_group *g = b->g;
    dcm_status st;

    (void)fill_record(b, &b->records[g->rank]);
    st = merge(b, b->records, sizeof(record));
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < g->nranks; r++) {
        const record *rec = &b->records[r];

        if (rec->magic != RECORD_MAGIC || rec->version != DCM_VERSION)
            return dcmi_err(DCM_E_ABI,
                            "rank %d has another version (%u) than rank %d "
                            "(%d)",
                            r, rec->version, g->rank, DCM_VERSION);
        if (rec->status != DCM_OK)
            return dcmi_err((dcm_status)rec->status, "rank %d: %.*s", r,
                            (int)sizeof(rec->message), rec->message);
        g->pid_of[r] = rec->pid;
    }
    guess_hosts(b);
    return DCM_OK;
}

/*
 * Rank `r` could not reach its leader: it is on a host of its own, and the group
 * remembers why; where all are known to be on one, that is a failure.
 */
static dcm_status set_apart(build *b, int r)
{
    dcm_group *g = b->g;
    const vote *v = &b->votes[r];

    if (b->boot->is_one_host)
        return dcmi_err((dcm_status)v->status, "rank %d: %.*s", r,
                        (int)sizeof(v->message), v->message);
    g->leader_of[r] = r;
    if (g->why_apart[0] == '\0')
        (void)snprintf(g->why_apart, sizeof(g->why_apart), "rank %d: %.*s", r,
                       (int)sizeof(v->message), v->message);
    return DCM_OK;
}

/* Connect to the leader of the presumed host. */
static dcm_status round_2(build *b)
{
    dcm_group *g = b->g;
    const int leader = g->leader_of[g->rank];
    dcm_status st = DCM_OK;

    if (leader != g->rank)
        st = dcmi_handover_connect(&b->handover, &b->records[leader].ticket,
                                   g->rank);
    vote_set(&b->votes[g->rank], st);
    st = merge(b, b->votes, sizeof(vote));
    if (st == DCM_OK)
        st = check_votes(b->votes, g->nranks);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < g->nranks && st == DCM_OK; r++) {
        if (b->votes[r].status != DCM_OK)
            st = set_apart(b, r);
    }
    number_hosts(g);
    return st;
}

static dcm_status only_time(void *arg, bool expired)
{
    (void)arg;
    return expired ? dcmi_err(DCM_E_TIMEOUT, "handing over the group's memory")
                   : DCM_OK;
}

static dcm_status lead(build *b, const dcmi_watch *watch)
{
    dcm_group *g = b->g;
    const size_t bytes = dcmi_hall_bytes(local_count(g), g->nranks);
    uint64_t members = 0;
    dcm_status st;
    int fd;

    st = dcmi_memfd_create(&fd, DCMI_HALL_MEMFD, bytes);
    if (st != DCM_OK)
        return st;
    st = dcmi_memfd_reserve(fd, 0, bytes);
    if (st == DCM_OK)
        st = dcmi_mapping_get(&g->mapping, fd, bytes);
    if (st == DCM_OK) {
        g->hall = dcmi_mapping_base(g->mapping);
        dcmi_hall_init(g->hall, local_count(g), g->nranks);
        for (int r = 0; r < g->nranks; r++)
            members |= (uint64_t)(g->slot_of[r] > 0) << r;
        st = dcmi_handover_serve(&b->handover, members, fd, bytes, watch);
    }
    g->hall_fd = fd;
    return st;
}

static dcm_status follow(build *b, const dcmi_watch *watch)
{
    dcm_group *g = b->g;
    uint64_t bytes;
    dcm_status st;
    int fd;

    st = dcmi_handover_receive(&b->handover, &fd, &bytes, watch);
    if (st != DCM_OK)
        return st;
    g->hall_fd = fd;
    st = dcmi_mapping_get(&g->mapping, fd, (size_t)bytes);
    if (st != DCM_OK)
        return st;
    if (bytes < sizeof(dcmi_hall))
        return dcmi_err(DCM_E_INVAL, "group memory of %llu bytes",
                        (unsigned long long)bytes);
    g->hall = dcmi_mapping_base(g->mapping);
    return dcmi_hall_check(g->hall, (size_t)bytes, local_count(g), g->nranks);
}

static dcm_status share_hall(build *b)
{
    dcm_group *g = b->g;
    const uint64_t now = dcmi_now_ns();
    const dcmi_watch watch = {
        .check = only_time,
        .timeout_ns = b->deadline_ns > now ? b->deadline_ns - now : 0,
    };
    dcm_status st;

    st = g->leader_of[g->rank] == g->rank ? lead(b, &watch) : follow(b, &watch);
    if (st != DCM_OK) {
        /* Members that wait for a leader without memory must not wait long. */
        dcmi_handover_close(&b->handover);
        return st;
    }
    return dcmi_life_take(&g->life, &g->hall->life[g->slot_of[g->rank]],
                          g->mapping);
}

static dcm_status round_3(build *b)
{
    dcm_group *g = b->g;
    dcm_status st;

    st = share_hall(b);
    vote_set(&b->votes[g->rank], st);
    /* A member whose leader failed learns the leader's reason here. */
    st = merge(b, b->votes, sizeof(vote));
    if (st == DCM_OK)
        st = check_votes(b->votes, g->nranks);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < g->nranks; r++) {
        if (b->votes[r].status != DCM_OK)
            return dcmi_err((dcm_status)b->votes[r].status, "rank %d: %.*s", r,
                            (int)sizeof(b->votes[r].message),
                            b->votes[r].message);
    }
    return DCM_OK;
}

static void choose_spin(build *b)
{
    uint64_t us = b->spin_us;

    b->g->is_crowded = is_crowded(b);
    if (us == SPIN_UNSET)
        us = b->g->is_crowded ? 0 : DEFAULT_SPIN_US;
    b->g->spin_ns = us * 1000;
}

static dcm_status run_rounds(build *b)
{
    dcm_status st;

    st = round_1(b);
    if (st == DCM_OK)
        st = round_2(b);
    if (st == DCM_OK)
        st = round_3(b);
    if (st == DCM_OK)
        choose_spin(b);
    return st;
}

/* No memory to build with: tell the others in round 1, from the stack. */
static dcm_status decline(dcmi_boot *boot, uint64_t deadline_ns)
{
    record all[DCM_MAX_RANKS];
    int self_owner[DCM_MAX_RANKS];
    record *mine = &all[boot->rank];

    for (int r = 0; r < boot->nranks; r++)
        self_owner[r] = r;
    memset(all, 0, sizeof(all));
    mine->magic = RECORD_MAGIC;
    mine->version = DCM_VERSION;
    mine->status = DCM_E_NOMEM;
    (void)snprintf(mine->message, sizeof(mine->message),
                   "out of memory for a group of %d ranks", boot->nranks);
    (void)boot->ops->merge(boot, all, sizeof(record), self_owner, deadline_ns);
    (void)dcmi_err(DCM_E_NOMEM, "out of memory for a group of %d ranks",
                   boot->nranks);
    boot->ops->close(boot);
    return DCM_E_NOMEM;
}

static void begin_group(dcm_group *g, const dcmi_boot *boot,
                        const dcmi_group_setup *setup)
{
    g->hall_fd = -1;
    g->card_fd = -1;
    g->rank = boot->rank;
    g->nranks = boot->nranks;
    g->timeout_ms = setup->timeout_ms;
    g->forks = dcmi_forks;
    if (setup->job != NULL)
        (void)snprintf(g->job, sizeof(g->job), "%s", setup->job);
    if (setup->card != NULL) {
        g->card_fd = setup->card->fd;
        dcmi_card_step_to(setup->card, DCMI_CARD_BUILDING);
    }
}

dcm_status dcmi_group_build(dcm_group **group_p, dcmi_boot *boot,
                            const dcmi_group_setup *setup, uint64_t deadline_ns)
{
    dcm_group *g = calloc(1, sizeof(*g));
    build *b = calloc(1, sizeof(*b));
    dcm_status st;

    if (g != NULL)
        g->scratch = calloc((size_t)boot->nranks, DCM_EXCHANGE_MAX);
    if (g == NULL || b == NULL || g->scratch == NULL) {
        if (g != NULL)
            free(g->scratch);
        free(g);
        free(b);
        if (setup->card != NULL)
            dcmi_close(setup->card->fd);
        return decline(boot, deadline_ns);
    }
    dcmi_heavy_fence_join();
    begin_group(g, boot, setup);
    b->g = g;
    b->boot = boot;
    b->setup = setup;
    b->deadline_ns = deadline_ns;
    b->handover.listener = -1;
    b->handover.link = -1;
    for (int r = 0; r < g->nranks; r++)
        b->self_owner[r] = r;

    st = run_rounds(b);
    dcmi_handover_close(&b->handover);
    free(b);

    if (st != DCM_OK || g->nhosts == 1) {
        boot->ops->close(boot);
    } else {
        boot->ops->keep(boot, g->leader_of);
        g->boot = boot;
    }
    if (st != DCM_OK) {
        dcm_group_free(g);
        return st;
    }
    if (setup->card != NULL)
        dcmi_card_step_to(setup->card, DCMI_CARD_MADE);
    *group_p = g;
    return DCM_OK;
}

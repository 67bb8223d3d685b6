/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a communicator, by the law that all ranks decide together:
 *
 *   phase 1  each rank looks at its options and probes its backends; no talk
 *   phase 2  one record a rank is exchanged, with what failed in phase 1
 *   phase 3  every rank computes the same choice from the same records
 *
 * Then the team's memory and the backend are set up, each a collective whose
 * ranks fail alike.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/opts.h"
#include "comm/comm.h"
#include "comm/fault.h"
#include "comm/registry.h"
#include "group/vote.h"
#include "os/fiber.h"
#include "os/ident.h"

typedef struct backend_record {
    char name[DCM_BACKEND_NAME];
    int32_t score;
    char why[DCM_BACKEND_WHY];
} backend_record;

/* One rank in phase 2. */
typedef struct record {
    uint32_t version;
    int32_t status;
    uint64_t options; /* hash of what must be the same on all ranks */
    char message[200];
    uint32_t n_backends;
    backend_record backend[DCMI_MAX_BACKENDS];
} record;

_Static_assert(sizeof(record) <= DCM_EXCHANGE_MAX, "fits one exchange");

typedef struct wish {
    const char *backend; /* NULL: any */
    const char *algo;
    uint32_t timeout_ms;
    uint32_t check_every;
    dcmi_faults faults;
} wish;

static dcm_status read_wish(wish *w, const dcm_comm_opts *opts)
{
    dcm_comm_opts o;
    bool ok = true;
    dcm_status st;

    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_comm_opts");
    if (st != DCM_OK)
        return st;
    if (o.flags != 0)
        return dcmi_err(DCM_E_INVAL, "dcm_comm_opts: unknown flags %#x",
                        o.flags);
    st = dcmi_faults_parse(&w->faults, &w->backend,
                           o.backend != NULL ? o.backend
                                             : dcmi_env_str(DCMI_ENV_BACKEND));
    if (st != DCM_OK)
        return st;
    w->algo = o.algo != NULL ? o.algo : dcmi_env_str(DCMI_ENV_ALGO);
    w->timeout_ms = o.timeout_ms;
    w->check_every =
        (uint32_t)dcmi_env_u64(DCMI_ENV_CHECK_EVERY, 0, UINT32_MAX, &ok);
    if (ok && w->check_every != 0 && w->algo != NULL &&
        strcmp(w->algo, "auto") != 0)
        return dcmi_err(DCM_E_INVAL,
                        "DEVCOMM_CHECK_EVERY needs sizes that the forced "
                        "algorithm %s may not serve",
                        w->algo);
    return ok ? DCM_OK : DCM_E_INVAL;
}

static uint64_t hash_text(uint64_t seed, const char *text)
{
    return text == NULL ? seed + 1 : dcmi_hash(seed, text, strlen(text));
}

/* Phase 1. */
static dcm_status probe_all(record *rec, dcm_group *group, const wish *w)
{
    const dcm_backend_ops *b;
    dcm_status st = dcmi_backend_load_env();

    for (size_t i = 0; st == DCM_OK && (b = dcmi_backend_nth(i)) != NULL; i++) {
        backend_record *r = &rec->backend[i];
        int score = 0;

        (void)snprintf(r->name, sizeof(r->name), "%s", b->name);
        st = b->probe(&score, group, r->why, sizeof(r->why));
        r->score = score;
        rec->n_backends++;
    }
    if (st == DCM_OK && w->backend != NULL &&
        dcmi_backend_find(w->backend) == NULL)
        st = dcmi_err(DCM_E_INVAL, "there is no backend called %s", w->backend);
    return st;
}

static void fill_record(record *rec, dcm_group *group, const wish *w,
                        dcm_status st)
{
    memset(rec, 0, sizeof(*rec));
    rec->version = DCM_VERSION;
    if (st == DCM_OK) {
        rec->options = hash_text(hash_text(3, w->backend), w->algo);
        if (w->faults.n > 0)
            rec->options = hash_text(rec->options, w->faults.text);
        rec->options =
            dcmi_hash(rec->options, &w->check_every, sizeof(w->check_every));
        st = probe_all(rec, group, w);
    }
    rec->status = st;
    if (st != DCM_OK)
        (void)snprintf(rec->message, sizeof(rec->message), "%s", dcm_errmsg());
}

/* The least score that any rank gives backend `name`; *why_r who and why. */
static int least_score(const record *all, int n, const char *name, int *why_r,
                       size_t *why_i)
{
    int least = INT32_MAX;

    for (int r = 0; r < n; r++) {
        int score = 0;
        size_t i;

        for (i = 0; i < all[r].n_backends; i++) {
            if (strncmp(all[r].backend[i].name, name, DCM_BACKEND_NAME) == 0) {
                score = all[r].backend[i].score;
                break;
            }
        }
        if (score < least) {
            least = score;
            *why_r = r;
            *why_i = i;
        }
    }
    return least;
}

static void add_reason(char *reasons, size_t bytes, const record *all, int r,
                       size_t i, const char *name)
{
    const size_t used = strlen(reasons);
    const char *why = i < all[r].n_backends ? all[r].backend[i].why
                                            : "it has no such backend";

    (void)snprintf(reasons + used, bytes - used, "; %s: rank %d: %.*s", name, r,
                   DCM_BACKEND_WHY, why);
}

/* Whether rank r's record is one, can be gone on with, and agrees with rank 0's. */
static dcm_status check_record(const record *all, int r)
{
    const record *rec = &all[r];

    if (rec->version != DCM_VERSION)
        return dcmi_err(DCM_E_ABI, "rank %d has version %u, rank 0 %u", r,
                        rec->version, all[0].version);
    if (rec->status != DCM_OK)
        return dcmi_err((dcm_status)rec->status, "rank %d: %.*s", r,
                        (int)sizeof(rec->message), rec->message);
    if (rec->options != all[0].options)
        return dcmi_err(DCM_E_MISMATCH,
                        "rank %d asks for another backend, algorithm "
                        "or DEVCOMM_CHECK_EVERY than rank 0",
                        r);
    if (rec->n_backends > DCMI_MAX_BACKENDS)
        return dcmi_err(DCM_E_ABI, "rank %d lists %u backends", r,
                        rec->n_backends);
    for (size_t i = 0; i < rec->n_backends; i++) {
        if (memchr(rec->backend[i].name, '\0', DCM_BACKEND_NAME) == NULL)
            return dcmi_err(DCM_E_ABI, "rank %d: backend %zu has no name", r,
                            i);
    }
    return DCM_OK;
}

/* Phase 3: the best least score wins; on equal ones the earlier of rank 0. */
static dcm_status choose(const dcm_backend_ops **ops_p, const record *all,
                         int n, const wish *w)
{
    char reasons[700] = "";
    const char *name = NULL;
    int best = 0;

    for (int r = 0; r < n; r++) {
        const dcm_status st = check_record(all, r);

        if (st != DCM_OK)
            return st;
    }
    for (size_t i = 0; i < all[0].n_backends; i++) {
        const char *candidate = all[0].backend[i].name;
        size_t why_i = 0;
        int why_r = 0;
        int score;

        if (w->backend != NULL && strcmp(w->backend, candidate) != 0)
            continue;
        score = least_score(all, n, candidate, &why_r, &why_i);
        if (score <= 0)
            add_reason(reasons, sizeof(reasons), all, why_r, why_i, candidate);
        if (score > best) {
            best = score;
            name = candidate;
        }
    }
    if (name == NULL)
        return dcmi_err(DCM_E_UNSUP, "no backend serves these %d ranks%s", n,
                        reasons);
    *ops_p = dcmi_backend_find(name);
    return DCM_OK;
}

/* Phases 1 to 3; `st` is what has failed here before. */
static dcm_status agree(const dcm_backend_ops **ops_p, dcm_group *group,
                        const dcm_comm_opts *opts, wish *w, dcm_status st)
{
    record *all = group->scratch;
    record mine;

    if (st == DCM_OK)
        st = read_wish(w, opts);
    fill_record(&mine, group, w, st);
    st = dcm_group_exchange(group, &mine, all, sizeof(mine), w->timeout_ms);
    return st == DCM_OK ? choose(ops_p, all, group->nranks, w) : st;
}

static dcm_status set_up_team(dcm_comm *comm, const wish *w)
{
    const size_t bytes = dcmi_team_bytes(comm->group->nranks);
    dcm_status st;

    st = dcmi_segment_new(&comm->segment, comm->group, DCMI_TEAM_MEMFD, bytes,
                          w->timeout_ms);
    if (st != DCM_OK)
        return st;
    if (comm->group->rank == 0)
        st = dcmi_segment_reserve(comm->segment, 0,
                                  dcmi_segment_bytes(comm->segment));
    if (st == DCM_OK)
        dcmi_team_init(&comm->team, comm->group,
                       dcmi_segment_base(comm->segment), w->timeout_ms);
    if (st == DCM_OK && comm->group->rank == 0)
        dcmi_team_title(&comm->team, comm->ops->name);
    return dcmi_group_vote(comm->group, st, w->timeout_ms);
}

/* The backend, and with it the known sums that it is tested by. */
static dcm_status set_up_backend(dcm_comm *comm, const wish *w)
{
    const dcm_backend_env env = {
        .size = sizeof(env),
        .group = comm->group,
        .rank = comm->group->rank,
        .nranks = comm->group->nranks,
        .timeout_ms = w->timeout_ms,
        .algo = w->algo,
        .team = &comm->team,
    };
    dcm_status st;

    st = w->faults.n > 0 ? dcmi_fault_open(&comm->ops, &comm->ctx, comm->ops,
                                           &w->faults, &env)
                         : comm->ops->open(&comm->ctx, &env);
    dcmi_record_found(&comm->team.recorder);
    if (st == DCM_OK && w->check_every != 0)
        st = dcmi_check_new(&comm->check, w->check_every);
    return dcmi_group_vote(comm->group, st, w->timeout_ms);
}

dcm_status dcmi_comm_create(dcm_comm **comm_p, dcm_group *group,
                            const dcm_comm_opts *opts)
{
    const dcm_backend_ops *ops = NULL;
    wish w = {0};
    dcm_comm *comm;
    dcm_status st = DCM_OK;

    comm = calloc(1, sizeof(*comm));
    if (comm == NULL)
        st = dcmi_err(DCM_E_NOMEM, "communicator");
    st = agree(&ops, group, opts, &w, st);
    if (st != DCM_OK) {
        free(comm);
        return st;
    }
    comm->group = group;
    comm->ops = ops;
    comm->timeout_ms = w.timeout_ms;
    st = set_up_team(comm, &w);
    if (st == DCM_OK)
        st = set_up_backend(comm, &w);
    if (st != DCM_OK) {
        dcm_comm_free(comm);
        return st;
    }
    dcmi_log(DCM_LOG_INFO, "rank %d of %d: communicator on backend %s",
             group->rank, group->nranks, comm->ops->name);
    *comm_p = comm;
    return DCM_OK;
}

dcm_status dcm_comm_new(dcm_comm **comm_p, dcm_group *group,
                        const dcm_comm_opts *opts)
{
    if (comm_p == NULL || group == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_comm_new: NULL argument");
    return dcmi_comm_create(comm_p, group, opts);
}

typedef struct multi_arg {
    dcm_comm *comm;
    dcm_group *group;
    const dcm_comm_opts *opts;
    dcm_status st;
    char message[DCMI_ERR_BYTES];
} multi_arg;

static void create_one(void *arg)
{
    multi_arg *a = arg;

    a->st = dcmi_comm_create(&a->comm, a->group, a->opts);
    if (a->st != DCM_OK)
        (void)snprintf(a->message, sizeof(a->message), "%s", dcm_errmsg());
}

dcm_status dcm_comm_new_multi(dcm_comm **comms, dcm_group *const *groups, int n,
                              const dcm_comm_opts *opts)
{
    void *pointers[DCM_MAX_RANKS];
    multi_arg *args;
    dcm_status st;

    if (comms == NULL || groups == NULL || n < 1 || n > DCM_MAX_RANKS)
        return dcmi_err(DCM_E_INVAL, "dcm_comm_new_multi: %d ranks", n);
    for (int i = 0; i < n; i++) {
        if (groups[i] == NULL)
            return dcmi_err(DCM_E_INVAL, "dcm_comm_new_multi: group %d is NULL",
                            i);
        for (int j = 0; j < i; j++) {
            if (groups[j] == groups[i])
                return dcmi_err(DCM_E_INVAL,
                                "dcm_comm_new_multi: groups %d and %d are one",
                                j, i);
        }
    }
    args = calloc((size_t)n, sizeof(*args));
    if (args == NULL)
        return dcmi_err(DCM_E_NOMEM, "%d communicators", n);
    for (int i = 0; i < n; i++) {
        args[i].group = groups[i];
        args[i].opts = opts;
        pointers[i] = &args[i];
    }
    st = dcmi_fiber_run(create_one, pointers, n);
    for (int i = 0; i < n && st == DCM_OK; i++) {
        if (args[i].st != DCM_OK)
            st = dcmi_err(args[i].st, "%s", args[i].message);
    }
    for (int i = 0; i < n; i++) {
        if (st == DCM_OK)
            comms[i] = args[i].comm;
        else
            dcm_comm_free(args[i].comm);
    }
    free(args);
    return st;
}

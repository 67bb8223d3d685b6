/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table around another backend's, and its faults.
 *
 * A rank on which a call fails does not make it, and fails the communicator for
 * all, as a backend must; one that stalls watches for the others' failure and its
 * own deadline; one that dies does so without a word.  So every fault ends for
 * every rank as the same one of a backend or a process would.
 */
#include "comm/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/parse.h"
#include "group/team.h"
#include "group/vote.h"
#include "os/ident.h"

typedef struct context {
    dcm_backend_ops table; /* ours, with this communicator's name */
    const dcm_backend_ops *inner;
    void *inner_ctx;
    dcmi_team *team;
    uint32_t timeout_ms;
    dcmi_faults faults;
    uint64_t seen[DCMI_MOST_FAULTS]; /* calls that each rule was asked about */
    char name[DCM_BACKEND_NAME + sizeof("fault:")];
} context;

/* ---- which call, what fault ------------------------------------------------ */

static bool fires(const dcmi_fault_rule *rule, uint64_t nth, int rank)
{
    const uint64_t which[2] = {nth, (uint64_t)rank};

    if (rule->at != 0)
        return nth == rule->at;
    return nth >= rule->from &&
           dcmi_hash(rule->seed, which, sizeof(which)) % rule->odds == 0;
}

/* Count the call; the first rule that it is a case of, or NULL. */
static const dcmi_fault_rule *fault_of(context *c, int call)
{
    const dcmi_fault_rule *found = NULL;

    for (size_t i = 0; i < c->faults.n; i++) {
        const dcmi_fault_rule *rule = &c->faults.rule[i];
        const bool is_asked =
            rule->call == 0 ? call < DCMI_FAULT_OPEN : rule->call == call;

        if (!is_asked || (rule->rank != DCMI_FAULT_ANY_RANK &&
                          rule->rank != (uint64_t)c->team->rank))
            continue;
        c->seen[i]++;
        if (found == NULL && fires(rule, c->seen[i], c->team->rank))
            found = rule;
    }
    return found;
}

static dcm_status check_stall(void *arg, bool expired)
{
    const dcmi_team *team = arg;

    if (expired)
        return DCM_E_TIMEOUT;
    return dcmi_team_is_failed(team) ? DCM_E_ABORTED : DCM_OK;
}

/* OK: the time is over.  E_TIMEOUT: the deadline of the call came first. */
static dcm_status stall(const context *c, uint64_t stall_ms)
{
    const uint64_t stall_ns = stall_ms * DCMI_NS_PER_MS;
    dcmi_watch watch = c->team->watch;
    const bool is_late = stall_ns >= watch.timeout_ns;
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st;

    watch.check = check_stall;
    watch.arg = c->team;
    if (!is_late)
        watch.timeout_ns = stall_ns;
    do {
        st = dcmi_wait_poll(&w);
    } while (st == DCM_OK);
    dcmi_wait_end(&w);
    if (st != DCM_E_TIMEOUT)
        return st;
    if (!is_late)
        return DCM_OK;
    return dcmi_err(DCM_E_TIMEOUT,
                    "rank %d: a stall of %llu ms outlasts the deadline",
                    c->team->rank, (unsigned long long)stall_ms);
}

/* What a fault does before the call. */
static dcm_status delay(const context *c, const dcmi_fault_rule *rule)
{
    if (rule != NULL && rule->deed == DCMI_FAULT_STALL)
        return stall(c, rule->stall_ms);
    if (rule != NULL && rule->deed == DCMI_FAULT_DIE)
        (void)kill(getpid(), SIGKILL);
    return DCM_OK;
}

/* The status that the call ends with, where the fault says one. */
static dcm_status refuse(const context *c, const dcmi_fault_rule *rule)
{
    if (rule == NULL || rule->deed != DCMI_FAULT_FAIL)
        return DCM_OK;
    return dcmi_err(rule->status, "rank %d: a fault on purpose, %s",
                    c->team->rank, c->faults.text);
}

/* ---- a wrong bit ------------------------------------------------------------- */

/* Where this rank's results lie: `n` blocks, or none. */
static size_t blocks_of(const context *c, const dcm_coll *coll,
                        const size_t **counts_p, const size_t **displs_p)
{
    const bool is_root = coll->root == c->team->rank;
    const size_t n = (size_t)c->team->nranks;

    *counts_p = NULL;
    *displs_p = NULL;
    switch (coll->kind) {
    case DCM_COLL_REDUCE:
        return is_root ? 1 : 0;
    case DCM_COLL_GATHER:
        return is_root ? n : 0;
    case DCM_COLL_ALL_GATHER:
        *counts_p = coll->counts;
        *displs_p = coll->displs;
        return n;
    case DCM_COLL_ALL_TO_ALL:
        *counts_p = coll->recv_counts;
        *displs_p = coll->recv_displs;
        return n;
    case DCM_COLL_ALL_REDUCE:
    case DCM_COLL_REDUCE_SCATTER:
    case DCM_COLL_BROADCAST:
    case DCM_COLL_SCATTER:
    case DCM_COLL_RECV:
        return 1;
    case DCM_COLL_BARRIER:
    case DCM_COLL_SEND:
        break;
    }
    return 0;
}

/* Flip one bit of one block that has any; results are in host memory. */
static void flip(const context *c, const dcm_coll *coll, uint64_t seed)
{
    const size_t item = dcm_dtype_bytes(coll->dtype);
    const uint64_t chance = dcmi_hash(seed, &c->seen, sizeof(c->seen));
    const size_t *counts;
    const size_t *displs;
    const size_t n = blocks_of(c, coll, &counts, &displs);
    size_t most = 0;
    size_t begin = 0;
    size_t at = 0;

    for (size_t b = 0; b < n; b++) {
        size_t count = counts != NULL ? counts[b] : coll->count;

        if (coll->kind == DCM_COLL_REDUCE_SCATTER && coll->counts != NULL)
            count = coll->counts[c->team->rank];
        if (displs != NULL)
            at = displs[b];
        if (count > most) {
            most = count;
            begin = at;
        }
        at += count;
    }
    if (most > 0)
        ((unsigned char *)coll->dst)[begin * item + chance % (most * item)] ^=
            (unsigned char)(1u << (chance >> 32) % 8);
}

/* ---- the table --------------------------------------------------------------- */

typedef dcm_status (*coll_fn)(void *ctx, const dcm_coll *coll);

/* A failure here is one of the communicator. */
static dcm_status before(const context *c, const dcmi_fault_rule *rule,
                         const dcm_coll *coll)
{
    dcm_status st;

    if (DCMI_LIKELY(rule == NULL))
        return DCM_OK;
    st = delay(c, rule);
    if (st == DCM_OK)
        st = refuse(c, rule);
    if (st == DCM_OK)
        return DCM_OK;
    c->team->op = dcmi_coll_str(coll->kind);
    c->team->phase = "fault";
    return dcmi_team_fail(c->team, st, c->team->rank);
}

static dcm_status run(context *c, coll_fn fn, const dcm_coll *coll)
{
    const dcmi_fault_rule *rule = fault_of(c, (int)coll->kind);
    dcm_status st = before(c, rule, coll);

    if (st != DCM_OK)
        return st;
    st = fn(c->inner_ctx, coll);
    if (st == DCM_OK && rule != NULL && rule->deed == DCMI_FAULT_FLIP)
        flip(c, coll, rule->seed);
    return st;
}

static dcm_status all_reduce(void *ctx, const dcm_coll *coll)
{
    context *c = ctx;

    return run(c, c->inner->all_reduce, coll);
}

static dcm_status barrier(void *ctx, const dcm_coll *coll)
{
    context *c = ctx;

    return run(c, c->inner->barrier, coll);
}

static dcm_status collective(void *ctx, const dcm_coll *coll)
{
    context *c = ctx;

    return run(c, c->inner->collective, coll);
}

/* All are counted; the first that a rule is about decides for all. */
static dcm_status messages(void *ctx, const dcm_coll *const *calls,
                           size_t n_calls)
{
    context *c = ctx;
    const dcmi_fault_rule *rule = NULL;
    const dcm_coll *which = calls[0];
    dcm_status st;

    for (size_t i = 0; i < n_calls; i++) {
        const dcmi_fault_rule *its = fault_of(c, (int)calls[i]->kind);

        if (rule == NULL && its != NULL) {
            rule = its;
            which = calls[i];
        }
    }
    st = before(c, rule, which);
    if (st != DCM_OK)
        return st;
    st = c->inner->messages(c->inner_ctx, calls, n_calls);
    if (st == DCM_OK && rule != NULL && rule->deed == DCMI_FAULT_FLIP)
        flip(c, which, rule->seed);
    return st;
}

static dcm_status explain(void *ctx, char *text, size_t bytes,
                          const dcm_coll *coll)
{
    const context *c = ctx;
    const dcm_status st = c->inner->explain(c->inner_ctx, text, bytes, coll);
    const size_t used = st == DCM_OK ? strlen(text) : 0;

    if (st == DCM_OK)
        (void)snprintf(text + used, bytes - used,
                       "; with faults on purpose, %s", c->faults.text);
    return st;
}

static void footprint(void *ctx, size_t *now_p, size_t *most_p)
{
    const context *c = ctx;

    c->inner->footprint(c->inner_ctx, now_p, most_p);
}

static void arena_free(void *ctx, void *arena)
{
    const context *c = ctx;

    c->inner->arena_free(c->inner_ctx, arena);
}

/* The others make theirs with us before they learn that ours has failed. */
static dcm_status arena_new(void *ctx, void **arena_p, size_t bytes,
                            void **base_p)
{
    context *c = ctx;
    const dcmi_fault_rule *rule = fault_of(c, DCMI_FAULT_ARENA);
    dcm_status st = delay(c, rule);
    void *arena;
    void *base;

    if (st == DCM_OK)
        st = c->inner->arena_new(c->inner_ctx, &arena, bytes, &base);
    if (st != DCM_OK)
        return st;
    st = dcmi_group_vote(c->team->group, refuse(c, rule), c->timeout_ms);
    if (st != DCM_OK) {
        c->inner->arena_free(c->inner_ctx, arena);
        return st;
    }
    *arena_p = arena;
    *base_p = base;
    return DCM_OK;
}

static void close_context(void *ctx)
{
    context *c = ctx;

    c->inner->close(c->inner_ctx);
    free(c);
}

static context *context_new(const dcm_backend_ops *inner,
                            const dcmi_faults *faults,
                            const dcm_backend_env *env)
{
    context *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    (void)snprintf(c->name, sizeof(c->name), "fault:%s", inner->name);
    c->inner = inner;
    c->team = env->team;
    c->timeout_ms = env->timeout_ms;
    c->faults = *faults;
    c->table = (dcm_backend_ops){
        .abi = DCM_BACKEND_ABI,
        .size = sizeof(c->table),
        .name = c->name,
        .probe = inner->probe,
        .close = close_context,
        .all_reduce = all_reduce,
        .barrier = barrier,
        .explain = explain,
        .footprint = footprint,
        .arena_new = arena_new,
        .arena_free = arena_free,
        .collective = collective,
        .messages = messages,
    };
    return c;
}

/* As with an arena: the inner one's open is collective, so it comes first. */
dcm_status dcmi_fault_open(const dcm_backend_ops **ops_p, void **ctx_p,
                           const dcm_backend_ops *inner,
                           const dcmi_faults *faults,
                           const dcm_backend_env *env)
{
    context *c = context_new(inner, faults, env);
    const dcmi_fault_rule *rule = NULL;
    dcm_status st = DCM_OK;
    void *inner_ctx;

    if (c != NULL) {
        rule = fault_of(c, DCMI_FAULT_OPEN);
        st = delay(c, rule);
    }
    if (st == DCM_OK)
        st = inner->open(&inner_ctx, env);
    if (st != DCM_OK)
        goto err_free;
    st = c != NULL ? refuse(c, rule) : dcmi_err(DCM_E_NOMEM, "faults");
    if (st != DCM_OK)
        goto err_close;
    c->inner_ctx = inner_ctx;
    *ops_p = &c->table;
    *ctx_p = c;
    return DCM_OK;

err_close:
    inner->close(inner_ctx);
err_free:
    free(c);
    return st;
}

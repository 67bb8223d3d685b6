/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend's table: probe, open, close, and the choice of algorithm. */
#include "backend/cpu/cpu.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/ctx.h"
#include "base/env.h"
#include "base/err.h"
#include "base/parse.h"
#include "group/vote.h"
#include "os/memfd.h"

enum {
    STAGING_KIB = 4096,
    STAGING_MIN_KIB = 1024,
    STAGING_MAX_KIB = 1024 * 1024,
    PIECE_BYTES = 64 * 1024, /* of a channel; four are in cache at once */
    SCORE = 10,              /* accelerators score higher */
};

static const struct {
    const char *name;
    dcmi_cpu_algo algo;
} algos[] = {
    {"mail", DCMI_ALGO_MAIL},
    {"one_shot", DCMI_ALGO_ONE_SHOT},
    {"two_shot", DCMI_ALGO_TWO_SHOT},
    {"direct", DCMI_ALGO_DIRECT},
};

static dcm_status probe(int *score_p, dcm_group *group, char *why,
                        size_t why_bytes)
{
    if (dcm_group_nhosts(group) > 1) {
        if (group->why_apart[0] != '\0')
            (void)snprintf(why, why_bytes, "%d hosts: %s", group->nhosts,
                           group->why_apart);
        else
            (void)snprintf(
                why, why_bytes,
                "the ranks are on %d hosts, and shared memory serves one",
                group->nhosts);
        *score_p = 0;
        return DCM_OK;
    }
    *score_p = SCORE;
    return DCM_OK;
}

static dcm_status read_algo(dcmi_cpu *c, const char *name)
{
    if (name == NULL || strcmp(name, "auto") == 0)
        return DCM_OK;
    for (size_t i = 0; i < DCMI_ARRAY_LEN(algos); i++) {
        if (strcmp(name, algos[i].name) == 0) {
            c->forced = algos[i].algo;
            return DCM_OK;
        }
    }
    return dcmi_err(
        DCM_E_INVAL,
        "the cpu backend has no algorithm %s: auto, mail, one_shot, "
        "two_shot, direct",
        name);
}

static dcm_status read_env(dcmi_cpu *c)
{
    const char *stores = dcmi_env_str(DCMI_ENV_STORES);
    bool ok = true;
    uint64_t kib;

    c->simd = dcmi_reduce_select(dcmi_env_str(DCMI_ENV_SIMD));
    if (c->simd == NULL)
        return dcmi_err(DCM_E_INVAL,
                        "DEVCOMM_CPU_SIMD=%s: this processor or "
                        "build has no such set",
                        dcmi_env_str(DCMI_ENV_SIMD));
    kib = dcmi_env_u64(DCMI_ENV_STAGING_KIB, STAGING_KIB, STAGING_MAX_KIB, &ok);
    if (!ok)
        return DCM_E_INVAL;
    if (kib < STAGING_MIN_KIB)
        kib = STAGING_MIN_KIB;
    c->ring_bytes = (size_t)kib * 1024 / 65536 * 65536;
    if (stores == NULL || strcmp(stores, "auto") == 0) {
        c->stores = DCMI_STORES_AUTO;
    } else if (strcmp(stores, "plain") == 0) {
        c->stores = DCMI_STORES_PLAIN;
    } else if (strcmp(stores, "stream") == 0) {
        c->stores = DCMI_STORES_STREAM;
        c->is_far = true;
    } else {
        return dcmi_err(DCM_E_INVAL,
                        "DEVCOMM_CPU_STORES=%s: auto, plain or "
                        "stream",
                        stores);
    }
    return DCM_OK;
}

typedef struct settings {
    uint64_t ring_bytes;
    int64_t stores;
    int64_t node; /* where the rank runs now: may differ */
} settings;

/* Ranks walk through the rings alike, so these must be the same on all. */
static dcm_status same_settings(dcmi_cpu *c, const dcm_backend_env *env,
                                dcm_status st)
{
    const settings mine = {c->ring_bytes, c->stores, dcmi_home_node()};
    settings all[DCM_MAX_RANKS];

    st = dcmi_group_vote(env->group, st, env->timeout_ms);
    if (st == DCM_OK)
        st = dcm_group_exchange(env->group, &mine, all, sizeof(mine),
                                env->timeout_ms);
    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        c->node[r] = (int)all[r].node;
        if (all[r].ring_bytes != all[0].ring_bytes)
            st = dcmi_err(DCM_E_MISMATCH,
                          "DEVCOMM_CPU_STAGING_KIB differs: rank %d has %llu "
                          "bytes, rank 0 %llu",
                          r, (unsigned long long)all[r].ring_bytes,
                          (unsigned long long)all[0].ring_bytes);
        else if (all[r].stores != all[0].stores)
            st = dcmi_err(DCM_E_MISMATCH,
                          "DEVCOMM_CPU_STORES differs between rank %d and "
                          "rank 0",
                          r);
    }
    return st;
}

static size_t whole(size_t bytes, size_t page)
{
    return (bytes + page - 1) / page * page;
}

static dcm_status make_segment(dcmi_cpu *c, const dcm_backend_env *env)
{
    const size_t page = dcmi_page_bytes();
    dcm_status st;

    c->ring_offset = whole(
        sizeof(dcmi_region) + (size_t)c->nranks * sizeof(dcmi_pair), page);
    c->pairs_offset =
        whole(c->ring_offset + c->ring_bytes + c->ring_bytes / 4, page);
    c->pair_piece =
        whole(PIECE_BYTES / (c->nranks < 8 ? 1 : (size_t)c->nranks / 4), page);
    c->region_bytes =
        c->pairs_offset + (size_t)c->nranks * DCMI_PAIR_PIECES * c->pair_piece;
    st = dcmi_segment_new(&c->segment, env->group, "devcomm-cpu",
                          c->region_bytes * (size_t)c->nranks, env->timeout_ms);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < c->nranks; r++)
        c->region[r] = dcmi_segment_at(c->segment, (size_t)r * c->region_bytes);
    st = dcmi_segment_reserve(c->segment, (size_t)c->rank * c->region_bytes,
                              c->ring_offset);
    return dcmi_group_vote(env->group, st, env->timeout_ms);
}

static void close_ctx(void *ctx)
{
    dcmi_cpu *c = ctx;

    while (c->arenas != NULL)
        dcmi_cpu_arena_free(c, c->arenas);
    dcmi_segment_free(c->segment);
    free(c);
}

static dcm_status open_ctx(void **ctx_p, const dcm_backend_env *env)
{
    dcmi_cpu *c;
    dcm_status st;

    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return dcmi_group_vote(env->group, dcmi_err(DCM_E_NOMEM, "cpu backend"),
                               env->timeout_ms);
    c->team = env->team;
    c->rank = env->rank;
    c->nranks = env->nranks;
    c->is_crowded = env->group->is_crowded;

    st = read_env(c);
    if (st == DCM_OK)
        st = read_algo(c, env->algo);
    st = same_settings(c, env, st);
    if (st == DCM_OK)
        st = make_segment(c, env);
    if (st == DCM_OK)
        st = dcmi_cpu_place(c);
    if (st != DCM_OK) {
        close_ctx(c);
        return st;
    }
    *ctx_p = c;
    return DCM_OK;
}

/* Bytes up to which one hop, everyone reading everything, beats two. */
static size_t one_shot_limit(const dcmi_cpu *c)
{
    const size_t max = dcmi_cpu_one_shot_max(c);
    size_t limit;

    if (c->nranks <= 2)
        limit = c->is_far ? 8 * 1024 : 512 * 1024;
    else
        limit = 8 * 1024;
    return limit < max ? limit : max;
}

static dcmi_cpu_algo choose(const dcmi_cpu *c, const dcm_coll *coll)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);

    /* Also when forced: others would post no line, which ctx.h demands. */
    if (bytes == 0)
        return DCMI_ALGO_MAIL;
    if (c->forced != DCMI_ALGO_AUTO)
        return c->forced;
    if (bytes <= dcmi_cpu_mail_limit(c) && dcmi_cpu_mail_fits(c, coll))
        return DCMI_ALGO_MAIL;
    return bytes <= one_shot_limit(c) ? DCMI_ALGO_ONE_SHOT : DCMI_ALGO_TWO_SHOT;
}

static dcm_status refuse(dcmi_cpu *c, const dcm_coll *coll, const char *algo)
{
    return dcmi_team_fail(c->team,
                          dcmi_err(DCM_E_UNSUP,
                                   "algorithm %s cannot serve %zu %s", algo,
                                   coll->count, dcm_dtype_str(coll->dtype)),
                          c->rank);
}

static dcm_status reduce_staged(dcmi_cpu *c, const dcm_coll *coll,
                                dcmi_cpu_algo algo)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    dcmi_header mine = {
        .kind = (uint32_t)DCM_COLL_ALL_REDUCE << 16 |
                (uint32_t)coll->dtype << 8 | (uint32_t)coll->op,
        .count = coll->count,
    };
    bool is_served = false;
    dcm_status st;

    if (c->arenas != NULL)
        dcmi_cpu_arena_find(c, coll, &mine);
    dcmi_cpu_write_header(c, &mine);
    /* Where this rank stages at once, the first count announces the header. */
    if (mine.arena != 0 || !c->has_rings)
        dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, dcmi_cpu_word(c, 0));
    if (c->arenas != NULL || algo == DCMI_ALGO_DIRECT) {
        DCMI_CPU_PATH(c, "direct");
        st = dcmi_cpu_direct(c, coll, &mine, &is_served);
        if (st != DCM_OK || is_served)
            return st;
        if (algo == DCMI_ALGO_DIRECT)
            return refuse(c, coll, "direct (buffers outside the arena)");
    }
    st = dcmi_cpu_grow(c);
    if (st != DCM_OK)
        return st;
    if (algo == DCMI_ALGO_ONE_SHOT && bytes > dcmi_cpu_one_shot_max(c))
        return refuse(c, coll, "one_shot");
    if (algo == DCMI_ALGO_ONE_SHOT)
        DCMI_CPU_PATH(c, "one_shot");
    else
        DCMI_CPU_PATH(c, "two_shot");
    return algo == DCMI_ALGO_ONE_SHOT ? dcmi_cpu_one_shot(c, coll, &mine)
                                      : dcmi_cpu_two_shot(c, coll, &mine);
}

/* A communicator of one rank: the rules of numerics still hold. */
static dcm_status reduce_alone(dcmi_cpu *c, const dcm_coll *coll)
{
    DCMI_CPU_PATH(c, "alone");
    c->simd->fn[coll->dtype][coll->op](&(dcmi_reduce_args){
        .dst = (void *[1]){coll->dst},
        .src = (const void *[1]){coll->src},
        .ndst = 1,
        .nsrc = 1,
        .avg_n = 1,
        .count = coll->count,
    });
    return DCM_OK;
}

dcm_status dcmi_cpu_begin_slow(dcmi_cpu *c, const dcm_coll *coll)
{
    if (coll->stream != NULL)
        return dcmi_err(DCM_E_INVAL,
                        "%s: the cpu backend has no streams; pass NULL",
                        dcmi_coll_str(coll->kind));
    return dcmi_cpu_place(c);
}

static dcm_status all_reduce(void *ctx, const dcm_coll *coll)
{
    dcmi_cpu *c = ctx;
    dcmi_cpu_algo algo;
    uint32_t fpenv;
    dcm_status st = dcmi_cpu_begin(c, coll, "all_reduce", "reduce");

    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    algo = choose(c, coll);
    fpenv = dcmi_fpenv_enter();
    if (c->nranks == 1)
        st = reduce_alone(c, coll);
    else if (algo == DCMI_ALGO_MAIL)
        st = dcmi_cpu_mail_fits(c, coll) ? dcmi_cpu_mail_reduce(c, coll)
                                         : refuse(c, coll, "mail");
    else
        st = reduce_staged(c, coll, algo);
    dcmi_fpenv_leave(fpenv);
    return st;
}

static dcm_status barrier(void *ctx, const dcm_coll *coll)
{
    dcmi_cpu *c = ctx;
    const dcm_status st = dcmi_cpu_begin(c, coll, "barrier", "wait");

    return DCMI_LIKELY(st == DCM_OK) ? dcmi_cpu_mail_barrier(c) : st;
}

static const char *algo_name(dcmi_cpu_algo algo)
{
    for (size_t i = 0; i < DCMI_ARRAY_LEN(algos); i++) {
        if (algos[i].algo == algo)
            return algos[i].name;
    }
    return "auto";
}

static dcm_status explain(void *ctx, char *text, size_t bytes,
                          const dcm_coll *coll)
{
    const dcmi_cpu *c = ctx;
    dcmi_cpu_algo algo = choose(c, coll);
    dcmi_header header = {.arena = 0};
    char where[DCMI_WHERE_BYTES];

    if (coll->kind != DCM_COLL_ALL_REDUCE) {
        dcmi_cpu_explain_other(c, text, bytes, coll);
        return DCM_OK;
    }
    dcmi_cpu_where(where, sizeof(where), c);
    dcmi_cpu_arena_find(c, coll, &header);
    if (c->nranks == 1) {
        (void)snprintf(text, bytes, "alone: one rank, reduced by %s",
                       c->simd->name);
        return DCM_OK;
    }
    if (algo != DCMI_ALGO_MAIL && header.arena != 0)
        algo = DCMI_ALGO_DIRECT;
    (void)snprintf(
        text, bytes,
        "%s: %zu bytes on %d ranks; mail serves up to %zu bytes, one_shot %zu, "
        "two_shot the rest; direct serves what is no mail when all ranks' "
        "buffers lie in one arena, and these %s; staged by %s stores (a flag's "
        "round trip takes %u ns)%s; reduced by %s%s",
        algo_name(algo), coll->count * dcm_dtype_bytes(coll->dtype), c->nranks,
        dcmi_cpu_mail_limit(c), one_shot_limit(c),
        header.arena != 0 ? "do here" : "do not",
        c->is_far ? "non-temporal" : "ordinary", c->trip_ns,
        c->is_crowded ? "; more ranks than cores" : "", c->simd->name, where);
    return DCM_OK;
}

static void footprint(void *ctx, size_t *now_p, size_t *most_p)
{
    const dcmi_cpu *c = ctx;
    const size_t n = (size_t)c->nranks;
    size_t channels = 0; /* that have pieces, as far as this rank sees */

    for (int r = 0; r < c->nranks; r++) {
        channels += c->to[r].is_open ? 1 : 0;
        channels += c->from[r].is_open && r != c->rank ? 1 : 0;
    }
    *most_p = c->region_bytes * n + dcmi_cpu_arena_total(c);
    *now_p = (c->has_rings ? c->pairs_offset : c->ring_offset) * n +
             channels * DCMI_PAIR_PIECES * c->pair_piece +
             dcmi_cpu_arena_total(c);
}

const dcm_backend_ops dcmi_cpu_backend = {
    .abi = DCM_BACKEND_ABI,
    .size = sizeof(dcm_backend_ops),
    .name = "cpu",
    .probe = probe,
    .open = open_ctx,
    .close = close_ctx,
    .all_reduce = all_reduce,
    .barrier = barrier,
    .explain = explain,
    .footprint = footprint,
    .arena_new = dcmi_cpu_arena_new,
    .arena_free = dcmi_cpu_arena_free,
    .collective = dcmi_cpu_collective,
    .messages = dcmi_cpu_messages,
};

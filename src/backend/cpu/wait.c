/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for another rank's words, with the team's watch behind it. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/ctx.h"
#include "base/err.h"
#include "base/parse.h"

enum {
    LINES_AHEAD = 8
};

/* Who is waited for changes; the watch reads it when it is asked. */
static dcmi_wait begin(dcmi_cpu *c, int rank)
{
    c->team->who.ranks = 1ull << rank;
    c->team->who.culprit = rank;
    return dcmi_wait_begin(&c->team->watch);
}

static dcm_status end(dcmi_cpu *c, dcmi_wait *w, dcm_status st)
{
    dcmi_wait_end(w);
    if (st == DCM_OK)
        return DCM_OK;
    c->team->waited_ns = dcmi_wait_ns(w);
    return dcmi_team_fail(c->team, st, c->team->who.culprit);
}

dcm_status dcmi_cpu_await_slow(dcmi_cpu *c, int rank,
                               const _Atomic uint64_t *word, uint64_t want)
{
    dcmi_wait w = begin(c, rank);
    dcm_status st = DCM_OK;
    uint64_t v;

    /* Looked at after a failed wait too: a post may precede a death. */
    for (;;) {
        v = atomic_load_explicit(word, memory_order_acquire);
        if ((int64_t)(v - want) >= 0)
            return end(c, &w, DCM_OK);
        if (st != DCM_OK)
            return end(c, &w, st);
        st = dcmi_wait_poll(&w);
    }
}

/* What a call was, from its mail flag or its header. */
static void describe(char *text, size_t bytes, const dcmi_line *line,
                     uint64_t flag)
{
    const char *op = NULL;
    char more[32] = "";
    dcmi_header h;

    if ((flag & DCMI_MAIL_BIT) != 0)
        h = dcmi_cpu_mail_header(flag);
    else
        memcpy(&h, line->data, sizeof(h));
    if (h.kind >> 16 == DCM_COLL_ALL_REDUCE ||
        h.kind >> 16 == DCM_COLL_REDUCE ||
        h.kind >> 16 == DCM_COLL_REDUCE_SCATTER)
        op = dcm_op_str((dcm_op)(h.kind & 0xff));
    if (h.shape >= DCM_MAX_RANKS)
        (void)snprintf(more, sizeof(more), ", counts or rows #%08x",
                       (unsigned)(h.shape >> 32));
    else if (h.shape > 0)
        (void)snprintf(more, sizeof(more), ", root %u", (unsigned)h.shape);
    (void)snprintf(text, bytes, "%s of %llu %s%s%s%s",
                   dcmi_coll_str((dcm_coll_kind)(h.kind >> 16)),
                   (unsigned long long)h.count,
                   dcm_dtype_str((dcm_dtype)(h.kind >> 8 & 0xff)),
                   op != NULL ? ", " : "", op != NULL ? op : "", more);
}

/* Two ranks called different things: say both, fail both. */
static DCMI_COLD dcm_status mismatch(dcmi_cpu *c, int rank,
                                     const dcmi_line *line, uint64_t flag)
{
    const dcmi_line *own = &dcmi_cpu_mail(c, c->rank)[0];
    char what[2][96];
    char name[64];

    describe(what[0], sizeof(what[0]), line, flag);
    describe(what[1], sizeof(what[1]), own,
             atomic_load_explicit(&own->flag, memory_order_relaxed));
    return dcmi_team_fail(
        c->team,
        dcmi_err(DCM_E_MISMATCH, "%s called %s; this rank %d called %s",
                 dcmi_group_name_rank(c->team->group, rank, name, sizeof(name)),
                 what[0], c->rank, what[1]),
        rank);
}

dcm_status dcmi_cpu_await_line_slow(dcmi_cpu *c, int rank,
                                    const dcmi_line *line,
                                    const dcmi_line *last, uint64_t flag)
{
    const dcmi_line *end_ahead =
        last - line > LINES_AHEAD ? line + LINES_AHEAD : last;
    dcmi_wait w = begin(c, rank);
    dcm_status st = DCM_OK;
    uint64_t v;

    for (;;) {
        v = atomic_load_explicit(&line->flag, memory_order_acquire);
        if (v == flag || st != DCM_OK)
            break;
        /* By (a) of ctx.h this epoch's line has no other flag but a mismatch. */
        if (v >> 32 == flag >> 32) {
            dcmi_wait_end(&w);
            return mismatch(c, rank, line, v);
        }
        for (const dcmi_line *l = line + 1; l <= end_ahead; l++)
            __builtin_prefetch(l);
        st = dcmi_wait_poll(&w);
    }
    return end(c, &w, v == flag ? DCM_OK : st);
}

dcm_status dcmi_cpu_await_staged(dcmi_cpu *c, int rank, uint32_t count,
                                 const dcmi_header *mine)
{
    const dcmi_line *line = &dcmi_cpu_mail(c, rank)[0];
    dcmi_wait w = begin(c, rank);
    dcm_status st = DCM_OK;
    dcmi_header theirs;
    uint64_t v;

    for (;;) {
        v = atomic_load_explicit(&line->flag, memory_order_acquire);
        if (v >> 32 == c->epoch &&
            ((v & DCMI_MAIL_BIT) != 0 || (uint32_t)v >= count))
            break;
        if (st != DCM_OK)
            return end(c, &w, st);
        st = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    if ((v & DCMI_MAIL_BIT) != 0)
        return mismatch(c, rank, line, v);
    memcpy(&theirs, line->data, sizeof(theirs));
    if (DCMI_UNLIKELY(theirs.kind != mine->kind ||
                      theirs.count != mine->count ||
                      theirs.shape != mine->shape))
        return mismatch(c, rank, line, v);
    dcmi_cpu_heed(c, &theirs);
    return DCM_OK;
}

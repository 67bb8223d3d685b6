/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for another rank's words, with the team's watch behind it. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/ctx.h"
#include "base/err.h"

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

static const char *kind_name(uint32_t kind)
{
    return kind == DCMI_KIND_ALL_REDUCE ? "all_reduce"
           : kind == DCMI_KIND_BARRIER  ? "barrier"
                                        : "another operation";
}

/* Two ranks called different things: say both, fail both. */
static DCMI_COLD dcm_status mismatch(dcmi_cpu *c, int rank,
                                     const dcmi_line *line, uint64_t flag)
{
    const dcmi_line *own = &dcmi_cpu_mail(c, c->rank)[0];
    const dcmi_line *lines[2] = {line, own};
    char what[2][96];
    char name[64];

    for (int i = 0; i < 2; i++) {
        const uint64_t f =
            i == 0 ? flag
                   : atomic_load_explicit(&own->flag, memory_order_relaxed);
        dcmi_header h;

        if ((f & DCMI_MAIL_BIT) != 0) {
            h.kind = ((uint32_t)f >> 28 & 7) << 16 |
                     ((uint32_t)f >> 24 & 15) << 8 | ((uint32_t)f >> 21 & 7);
            h.count = f & 0x1fffff;
        } else {
            memcpy(&h, lines[i]->data, sizeof(h));
        }
        (void)snprintf(what[i], sizeof(what[i]), "%s of %llu %s, %s",
                       kind_name(h.kind >> 16), (unsigned long long)h.count,
                       dcm_dtype_str((dcm_dtype)(h.kind >> 8 & 0xff)),
                       dcm_op_str((dcm_op)(h.kind & 0xff)));
    }
    return dcmi_team_fail(
        c->team,
        dcmi_err(DCM_E_MISMATCH, "%s called %s; this rank %d called %s",
                 dcmi_group_name_rank(c->team->group, rank, name, sizeof(name)),
                 what[0], c->rank, what[1]),
        rank);
}

dcm_status dcmi_cpu_await_line_slow(dcmi_cpu *c, int rank,
                                    const dcmi_line *line, uint64_t flag)
{
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
    if (DCMI_UNLIKELY(theirs.kind != mine->kind || theirs.count != mine->count))
        return mismatch(c, rank, line, v);
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Before and after an exchange's pieces: who calls what, whose src is read where it
 * is, and when it has been.  exchange.c tells the protocol.
 */
#include <string.h>

#include "backend/cpu/exchange.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/parse.h"

/* Where `rank` says that its src is, if it is in an arena. */
static dcm_status find_direct(dcmi_exchange_run *u, int rank)
{
    const dcmi_cpu *c = u->c;
    const unsigned char *src;
    dcmi_header h;
    char name[64];

    memcpy(&h, dcmi_cpu_mail(c, rank)->data, sizeof(h));
    if (h.arena == 0 || u->x->in[rank].bytes == 0)
        return DCM_OK;
    src = dcmi_cpu_arena_at(c, h.arena, rank, h.src_offset);
    if (src == NULL)
        return dcmi_team_fail(
            c->team,
            dcmi_err(
                DCM_E_MISMATCH,
                "%s gave src from an arena that rank %d has freed",
                dcmi_group_name_rank(c->team->group, rank, name, sizeof(name)),
                c->rank),
            c->rank);
    u->direct |= 1ull << rank;
    u->direct_at[rank] = src + (u->x->is_shared ? 0 : u->x->skip);
    return DCM_OK;
}

/* Those who read src where it is have done so. */
dcm_status dcmi_cpu_exchange_await_readers(const dcmi_exchange_run *u)
{
    dcmi_cpu *c = u->c;
    dcm_status st = DCM_OK;

    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        const bool reads = u->x->is_shared
                               ? (u->x->readers >> r & 1) != 0
                               : r != c->rank && u->x->out[r].bytes > 0;

        if (reads)
            st = dcmi_cpu_await(c, r, &c->region[r]->done.v,
                                dcmi_cpu_word(c, DCMI_ALL_READ));
    }
    return st;
}

/* Between two ranks alone: what one sends is what the other awaits. */
static dcm_status check_pair(const dcmi_exchange_run *u, int rank)
{
    dcmi_cpu *c = u->c;
    const uint64_t theirs = c->region[rank]->sending[c->epoch & 1][c->rank];
    char name[64];

    if (DCMI_LIKELY(theirs == u->x->in[rank].bytes))
        return DCM_OK;
    return dcmi_team_fail(
        c->team,
        dcmi_err(DCM_E_MISMATCH,
                 "%s called all_to_all with %llu bytes for rank %d, which "
                 "called it with %zu from there",
                 dcmi_group_name_rank(c->team->group, rank, name, sizeof(name)),
                 (unsigned long long)theirs, c->rank, u->x->in[rank].bytes),
        rank);
}

/* Everyone is in this operation, and in no other. */
dcm_status dcmi_cpu_exchange_meet(dcmi_exchange_run *u)
{
    dcmi_cpu *c = u->c;
    dcm_status st = DCM_OK;

    for (int i = 1; i < c->nranks && st == DCM_OK; i++) {
        const int r = (c->rank + i) % c->nranks;

        st = dcmi_cpu_await_staged(c, r, 0, &u->x->header);
        if (st == DCM_OK && u->x->is_private)
            st = check_pair(u, r);
        if (st == DCM_OK && c->arenas_made != 0)
            st = find_direct(u, r);
    }
    return st;
}

void dcmi_cpu_exchange_count(dcmi_cpu *c, uint32_t count)
{
    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, dcmi_cpu_word(c, count));
}

/* What peers look at before any piece; posted when no piece is sure to follow. */
void dcmi_cpu_exchange_begin(const dcmi_exchange_run *u)
{
    dcmi_cpu *c = u->c;

    dcmi_cpu_write_header(c, &u->x->header);
    for (int r = 0; r < c->nranks && u->x->is_private; r++)
        c->region[c->rank]->sending[c->epoch & 1][r] = u->x->out[r].bytes;
    if (u->is_direct)
        dcmi_cpu_exchange_count(c, DCMI_ALL_STAGED);
    else if (!c->has_rings || !u->x->is_staging)
        dcmi_cpu_exchange_count(c, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* In words: which way a call other than all_reduce goes, and where ranks are. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/exchange.h"
#include "base/parse.h"

enum {
    HOME_BYTES = 160
};

void dcmi_cpu_where(char *text, size_t bytes, const dcmi_cpu *c)
{
    const dcmi_home home = dcmi_segment_home(c->segment);
    char memory[HOME_BYTES];
    size_t n = 0;

    text[0] = '\0';
    if (home.node < 0)
        return;
    for (int r = 0; r < c->nranks && n < bytes; r++)
        n += (size_t)snprintf(text + n, bytes - n, "%s%d",
                              r > 0 ? "," : "; ranks began on nodes ",
                              c->node[r]);
    dcmi_home_text(memory, sizeof(memory), &home);
    if (n < bytes)
        (void)snprintf(text + n, bytes - n, "; %s", memory);
}

static void explain_message(const dcmi_cpu *c, char *text, size_t bytes,
                            const dcm_coll *coll)
{
    const size_t most = DCMI_PAIR_LINES * DCMI_LINE_DATA;
    const size_t size = coll->count * dcm_dtype_bytes(coll->dtype);

    (void)snprintf(text, bytes,
                   "%s: %s of %zu bytes; mail, lines that carry their flags, "
                   "serves up to %zu bytes, pieces of %zu bytes the rest",
                   size <= most ? "mail" : "pieces", dcmi_coll_str(coll->kind),
                   size, most, c->pair_piece);
}

static void explain_exchange(const dcmi_cpu *c, char *text, size_t bytes,
                             const dcm_coll *coll)
{
    const char *path = "staged";
    dcmi_exchange x;
    char where[DCMI_WHERE_BYTES];
    size_t lanes;

    dcmi_cpu_where(where, sizeof(where), c);
    dcmi_cpu_exchange_plan(c, coll, &x);
    lanes = x.is_shared ? 1 : (size_t)c->nranks;
    if (dcmi_cpu_mail_carries(c, &x))
        path = "mail";
    else if (x.header.arena != 0)
        path = "direct";
    (void)snprintf(
        text, bytes,
        "%s: %s, at most %zu bytes of a rank for %s, on %d ranks; mail, lines "
        "that carry their flags, serves equal blocks up to %zu bytes of a rank "
        "in all, and these are %s; direct serves what is no mail of a rank "
        "whose src lies in an arena, and this %s; staged, pieces through a "
        "ring, the rest, written by %s stores (a flag's round trip takes %u "
        "ns)%s%s%s%s",
        path, dcmi_coll_str(coll->kind), x.most * lanes,
        x.is_shared ? "all its readers" : "all ranks", c->nranks,
        (size_t)DCMI_MAIL_EXCHANGE,
        x.is_ragged                 ? "not equal, or lie in rows"
        : strcmp(path, "mail") == 0 ? "no larger"
                                    : "larger",
        x.header.arena != 0 ? "one does" : "one does not",
        c->is_far ? "non-temporal" : "ordinary", c->trip_ns,
        c->is_crowded ? "; more ranks than cores" : "",
        x.is_reduction ? "; reduced by " : "",
        x.is_reduction ? c->simd->name : "", where);
}

void dcmi_cpu_explain_other(const dcmi_cpu *c, char *text, size_t bytes,
                            const dcm_coll *coll)
{
    if (coll->kind == DCM_COLL_SEND || coll->kind == DCM_COLL_RECV)
        explain_message(c, text, bytes, coll);
    else if (c->nranks == 1)
        (void)snprintf(text, bytes, "alone: one rank, nothing to exchange");
    else if (coll->kind == DCM_COLL_BARRIER)
        (void)snprintf(text, bytes,
                       "mail: each of %d ranks posts one line that carries its "
                       "flag and reads all others'",
                       c->nranks);
    else
        explain_exchange(c, text, bytes, coll);
}

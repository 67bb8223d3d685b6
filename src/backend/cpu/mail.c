/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small messages in the cache lines that carry their flags: all-reduce, the
 * barrier, and the other collectives as exchange.h describes them.
 *
 *   1. write my message into the lines of my half e & 1, each line's flag last
 *   2. for each peer, in rank order, wait for each line and take its data
 *   3. reduce in rank order
 *
 * In an exchange a rank that stages nothing writes line 0 alone, and one that
 * takes nothing from a peer waits for that peer's line 0 alone.
 *
 * No other synchronisation: the flag holds epoch, operation, type, operator and
 * count, so a line is complete exactly when its flag is right, and the half is
 * free to write by (a) of ctx.h.  One message costs one transfer a line and
 * peer, which is the least that can be.
 */
#include <string.h>

#include "backend/cpu/exchange.h"

/* Lines from all peers that are put together on the stack. */
enum {
    GATHER_BYTES = 32 * 1024
};

/* The flag's low half: bit 31, kind 4 bits, type 4, operator 3, root 6, count. */
enum {
    KIND_AT = 27,
    DTYPE_AT = 23,
    OP_AT = 20,
    ROOT_AT = 14,
    COUNT_MASK = (1 << ROOT_AT) - 1,
};

_Static_assert((int)DCMI_MAIL_BYTES <= (int)COUNT_MASK,
               "a mail's count fits its flag");
_Static_assert(DCM_MAX_RANKS <= 64 && DCM_NOPS <= 8 && DCM_NDTYPES <= 16,
               "roots, operators and types fit the flag");

static uint64_t mail_flag(const dcmi_cpu *c, const dcm_coll *coll)
{
    return dcmi_cpu_word(
        c, DCMI_MAIL_BIT | (uint32_t)coll->kind << KIND_AT |
               (uint32_t)coll->dtype << DTYPE_AT | (uint32_t)coll->op << OP_AT |
               (uint32_t)coll->root << ROOT_AT | (uint32_t)coll->count);
}

dcmi_header dcmi_cpu_mail_header(uint64_t flag)
{
    const uint32_t f = (uint32_t)flag;

    return (dcmi_header){
        .kind = (f >> KIND_AT & 15) << 16 | (f >> DTYPE_AT & 15) << 8 |
                (f >> OP_AT & 7),
        .count = f & COUNT_MASK,
        .shape = f >> ROOT_AT & 63,
    };
}

bool dcmi_cpu_mail_fits(const dcmi_cpu *c, const dcm_coll *coll)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);

    return bytes <= DCMI_MAIL_BYTES &&
           bytes * (size_t)c->nranks <= GATHER_BYTES;
}

static void write_lines(dcmi_line *line, const unsigned char *src, size_t bytes,
                        uint64_t flag)
{
    for (; bytes > DCMI_LINE_DATA; line++) {
        memcpy(line->data, src, DCMI_LINE_DATA);
        atomic_store_explicit(&line->flag, flag, memory_order_release);
        src += DCMI_LINE_DATA;
        bytes -= DCMI_LINE_DATA;
    }
    if (bytes > 0) /* src may be NULL */
        memcpy(line->data, src, bytes);
    atomic_store_explicit(&line->flag, flag, memory_order_release);
}

static dcm_status read_lines(dcmi_cpu *c, int rank, unsigned char *to,
                             size_t bytes, uint64_t flag)
{
    const dcmi_line *line = dcmi_cpu_mail(c, rank);
    const dcmi_line *last = line + (bytes - 1) / DCMI_LINE_DATA;
    dcm_status st;

    for (; line < last; line++) {
        st = dcmi_cpu_await_line(c, rank, line, last, flag);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
        memcpy(to, line->data, DCMI_LINE_DATA);
        to += DCMI_LINE_DATA;
        bytes -= DCMI_LINE_DATA;
    }
    st = dcmi_cpu_await_line(c, rank, line, last, flag);
    if (DCMI_LIKELY(st == DCM_OK))
        memcpy(to, line->data, bytes);
    return st;
}

dcm_status dcmi_cpu_mail_reduce(dcmi_cpu *c, const dcm_coll *coll)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    const uint64_t flag = mail_flag(c, coll);
    DCMI_ALIGNED(DCMI_LINE) unsigned char gathered[GATHER_BYTES];
    const void *src[DCM_MAX_RANKS];
    void *dst[1] = {coll->dst};
    size_t at = 0;
    dcm_status st;

    write_lines(dcmi_cpu_mail(c, c->rank), coll->src, bytes, flag);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
    if (bytes > DCMI_MAIL_FAR) /* on another placement it would be no mail */
        c->work += bytes;
    DCMI_CPU_PATH(c, "mail");
    for (int r = 0; r < c->nranks; r++) {
        if (r == c->rank) {
            src[r] = coll->src;
            continue;
        }
        if (bytes <= DCMI_LINE_DATA) {
            const dcmi_line *line = dcmi_cpu_mail(c, r);

            st = dcmi_cpu_await_line(c, r, line, line, flag);
            src[r] = line->data;
        } else {
            st = read_lines(c, r, gathered + at, bytes, flag);
            src[r] = gathered + at;
            at += bytes;
        }
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    c->simd->fn[coll->dtype][coll->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = c->nranks,
        .avg_n = c->nranks,
        .count = coll->count,
    });
    return DCM_OK;
}

dcm_status dcmi_cpu_mail_barrier(dcmi_cpu *c)
{
    const uint64_t flag = mail_flag(c, &(dcm_coll){.kind = DCM_COLL_BARRIER});
    dcm_status st = DCM_OK;

    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, flag);
    DCMI_CPU_PATH(c, "mail");
    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        if (r != c->rank)
            st = dcmi_cpu_await_line(c, r, dcmi_cpu_mail(c, r),
                                     dcmi_cpu_mail(c, r), flag);
    }
    return st;
}

/* Bytes [from, from + bytes) of a rank's message. */
static dcm_status read_range(dcmi_cpu *c, int rank, unsigned char *to,
                             size_t from, size_t bytes, uint64_t flag)
{
    const dcmi_line *lines = dcmi_cpu_mail(c, rank);
    const dcmi_line *last =
        bytes > 0 ? &lines[(from + bytes - 1) / DCMI_LINE_DATA] : lines;
    dcm_status st = dcmi_cpu_await_line(c, rank, &lines[0], last, flag);

    while (bytes > 0 && st == DCM_OK) {
        const dcmi_line *line = &lines[from / DCMI_LINE_DATA];
        const size_t skip = from % DCMI_LINE_DATA;
        const size_t here =
            bytes < DCMI_LINE_DATA - skip ? bytes : DCMI_LINE_DATA - skip;

        st = dcmi_cpu_await_line(c, rank, line, last, flag);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
        if (here == DCMI_LINE_DATA) /* a constant: no call of memcpy() */
            memcpy(to, line->data, DCMI_LINE_DATA);
        else
            memcpy(to, line->data + skip, here);
        to += here;
        from += here;
        bytes -= here;
    }
    return st;
}

bool dcmi_cpu_mail_carries(const dcmi_cpu *c, const dcmi_exchange *x)
{
    const size_t lanes = x->is_shared ? 1 : (size_t)c->nranks;
    const size_t limit = DCMI_MAIL_EXCHANGE;

    return !x->is_ragged && x->most <= limit && x->most * lanes <= limit &&
           x->most * (size_t)c->nranks <= GATHER_BYTES;
}

dcm_status dcmi_cpu_mail_exchange(dcmi_cpu *c, const dcm_coll *coll,
                                  const dcmi_exchange *x)
{
    const uint64_t flag = mail_flag(c, coll);
    const size_t lane = x->is_shared ? 0 : (size_t)c->rank * x->most;
    const size_t lanes = x->is_shared ? 1 : (size_t)c->nranks;
    DCMI_ALIGNED(DCMI_LINE) unsigned char gathered[GATHER_BYTES];
    const void *src[DCM_MAX_RANKS];
    const size_t bytes = x->is_staging ? x->most * lanes : 0;

    write_lines(dcmi_cpu_mail(c, c->rank), x->out[0].at, bytes, flag);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
    DCMI_CPU_PATH(c, "mail");
    for (int r = 0; r < c->nranks; r++) {
        unsigned char *to =
            x->is_reduction ? gathered + (size_t)r * x->most : x->in[r].at;
        dcm_status st;

        src[r] = r == c->rank ? x->own : to;
        if (r == c->rank)
            continue;
        st = read_range(c, r, to, lane, x->in[r].bytes, flag);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
    }
    if (x->is_reduction)
        dcmi_cpu_exchange_reduce(c, coll, x, src, 0, x->in[c->rank].bytes);
    return DCM_OK;
}

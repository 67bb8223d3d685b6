/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce of small messages in the cache lines that carry their flags, and
 * the barrier.
 *
 *   1. write my message into the lines of my half e & 1, each line's flag last
 *   2. for each peer, in rank order, wait for each line and take its data
 *   3. reduce in rank order
 *
 * No other synchronisation: the flag holds epoch, operation, type, operator and
 * count, so a line is complete exactly when its flag is right, and the half is
 * free to write by (a) of ctx.h.  One message costs one transfer a line and
 * peer, which is the least that can be.
 */
#include <string.h>

#include "backend/cpu/ctx.h"

/* Lines from all peers that are put together on the stack. */
enum {
    GATHER_BYTES = 32 * 1024
};

static uint64_t mail_flag(const dcmi_cpu *c, uint32_t kind, uint32_t dtype,
                          uint32_t op, size_t count)
{
    return dcmi_cpu_word(c, DCMI_MAIL_BIT | kind << 28 | dtype << 24 |
                                op << 21 | (uint32_t)count);
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
    memcpy(line->data, src, bytes);
    atomic_store_explicit(&line->flag, flag, memory_order_release);
}

static dcm_status read_lines(dcmi_cpu *c, int rank, unsigned char *to,
                             size_t bytes, uint64_t flag)
{
    const dcmi_line *line = dcmi_cpu_mail(c, rank);
    dcm_status st;

    for (; bytes > DCMI_LINE_DATA; line++) {
        st = dcmi_cpu_await_line(c, rank, line, flag);
        if (DCMI_UNLIKELY(st != DCM_OK))
            return st;
        memcpy(to, line->data, DCMI_LINE_DATA);
        to += DCMI_LINE_DATA;
        bytes -= DCMI_LINE_DATA;
    }
    st = dcmi_cpu_await_line(c, rank, line, flag);
    if (DCMI_LIKELY(st == DCM_OK))
        memcpy(to, line->data, bytes);
    return st;
}

dcm_status dcmi_cpu_mail_reduce(dcmi_cpu *c, const dcm_coll *coll)
{
    const size_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    const uint64_t flag =
        mail_flag(c, DCMI_KIND_ALL_REDUCE, coll->dtype, coll->op, coll->count);
    DCMI_ALIGNED(DCMI_LINE) unsigned char gathered[GATHER_BYTES];
    const void *src[DCM_MAX_RANKS];
    void *dst[1] = {coll->dst};
    size_t at = 0;
    dcm_status st;

    write_lines(dcmi_cpu_mail(c, c->rank), coll->src, bytes, flag);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
    for (int r = 0; r < c->nranks; r++) {
        if (r == c->rank) {
            src[r] = coll->src;
            continue;
        }
        if (bytes <= DCMI_LINE_DATA) {
            const dcmi_line *line = dcmi_cpu_mail(c, r);

            st = dcmi_cpu_await_line(c, r, line, flag);
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
    const uint64_t flag = mail_flag(c, DCMI_KIND_BARRIER, 0, 0, 0);
    dcm_status st = DCM_OK;

    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, flag);
    for (int r = 0; r < c->nranks && st == DCM_OK; r++) {
        if (r != c->rank)
            st = dcmi_cpu_await_line(c, r, dcmi_cpu_mail(c, r), flag);
    }
    return st;
}

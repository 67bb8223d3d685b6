/* SPDX-License-Identifier: Apache-2.0 */
/* Where what a rank has taken, or keeps, is put: rows, or a reduction. */
#include "backend/cpu/exchange.h"

void dcmi_cpu_exchange_put(const dcmi_cpu *c, const dcmi_exchange *x, int rank,
                           const unsigned char *from, size_t offset,
                           size_t bytes)
{
    void (*copy)(void *, const void *, size_t) =
        x->is_large ? c->simd->copy_stream : c->simd->copy;

    if (x->row == 0) {
        copy(x->in[rank].at + offset, from, bytes);
        return;
    }
    while (bytes > 0) {
        const size_t in_row = offset % x->row;
        const size_t here = bytes < x->row - in_row ? bytes : x->row - in_row;

        copy(x->in[rank].at + offset / x->row * x->pitch + in_row, from, here);
        from += here;
        offset += here;
        bytes -= here;
    }
}

void dcmi_cpu_exchange_reduce(const dcmi_cpu *c, const dcm_coll *coll,
                              const dcmi_exchange *x, const void *const *src,
                              size_t offset, size_t bytes)
{
    void *dst[1] = {x->in[c->rank].at + offset};

    if (bytes == 0)
        return;
    c->simd->fn[coll->dtype][coll->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = c->nranks,
        .avg_n = c->nranks,
        .count = bytes / dcm_dtype_bytes(coll->dtype),
    });
}

bool dcmi_cpu_exchange_keeps(const dcmi_cpu *c, const dcmi_exchange *x)
{
    const dcmi_part *in = &x->in[c->rank];

    if (in->bytes == 0 || x->own == NULL)
        return false;
    if (x->is_reduction)
        return c->nranks == 1;
    return x->row != 0 || in->at != x->own;
}

void dcmi_cpu_exchange_keep(const dcmi_cpu *c, const dcm_coll *coll,
                            const dcmi_exchange *x)
{
    const dcmi_part *in = &x->in[c->rank];
    const void *src[1] = {x->own};

    if (!dcmi_cpu_exchange_keeps(c, x))
        return;
    if (!x->is_reduction)
        dcmi_cpu_exchange_put(c, x, c->rank, x->own, 0, in->bytes);
    else
        dcmi_cpu_exchange_reduce(c, coll, x, src, 0, in->bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every set of reduction functions against scalar: all types, operators and
 * shapes, at odd addresses, in place, with and without non-temporal stores, and
 * the bytes round each destination must stay as they were.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "reduce_checks.h"
#include "reduce_oracle.h"

enum {
    LONGEST = 4099,
    MAX_SRC = 8,
    MAX_DST = 3,
    ZONE = 128, /* bytes before and behind that nobody may write */
    ROOM = ZONE + 64 + LONGEST * 8 + ZONE,
};

static const size_t counts[] = {0,  1,  3,  15,  16,   17,
                                63, 64, 65, 255, 1023, LONGEST};
static const int nsrcs[] = {1, 2, 3, 4, 5, 8};

static unsigned char pool[MAX_SRC + MAX_DST][ROOM] DCMI_ALIGNED(64);
static unsigned char pristine[MAX_SRC][LONGEST * 8];
static unsigned char want[LONGEST * 8];

enum {
    APART,
    ON_FIRST,
    ON_LAST,
    ON_BOTH,
    PLACES
};

/* One type, operator and number of sources, sources in place. */
typedef struct grid {
    dcm_dtype dtype;
    dcm_op op;
    int nsrc;
    int avg_n;
    size_t item;
    unsigned char *at[MAX_SRC + MAX_DST]; /* in the pool, sources first */
    const void *src[MAX_SRC];             /* the same */
} grid;

static void place(grid *g, int shift)
{
    for (int b = 0; b < MAX_SRC + MAX_DST; b++) {
        const size_t offset = shift == 0   ? 0
                              : shift == 1 ? data_random() % 64
                                           : data_random() % 8 * g->item;
        unsigned char *p = pool[b] + ZONE + offset;

        memset(pool[b], 0xa5, ROOM);
        g->at[b] = p;
        if (b < MAX_SRC)
            g->src[b] = p;
        if (b < g->nsrc)
            memcpy(p, pristine[b], LONGEST * g->item);
    }
}

static int zones(const grid *g, const char *set, const unsigned char *p,
                 size_t bytes, const unsigned char *behind)
{
    int wrong = 0;

    for (int i = 1; i <= ZONE; i++)
        wrong += p[-i] != 0xa5;
    wrong += behind != NULL ? memcmp(p + bytes, behind, 64) != 0 : 0;
    for (size_t i = 0; behind == NULL && i < ZONE; i++)
        wrong += p[bytes + i] != 0xa5;
    if (wrong > 0)
        fprintf(stderr, "%s %s %s: wrote outside %zu bytes\n", set,
                dcm_dtype_str(g->dtype), dcm_op_str(g->op), bytes);
    return wrong;
}

typedef struct shape {
    size_t count;
    int ndst;
    int where;
    uint64_t stream;
} shape;

static int run_shape(const grid *g, const dcmi_reduce_ops *ops, shape h)
{
    const size_t bytes = h.count * g->item;
    const int last = g->nsrc - 1;
    void *dst[MAX_DST];
    int from[MAX_DST] = {-1, -1, -1};
    int wrong = 0;

    if (h.where == ON_FIRST || h.where == ON_BOTH)
        from[h.ndst - 1] = 0;
    if (h.where == ON_LAST || (h.where == ON_BOTH && h.ndst > 1))
        from[0] = last;
    for (int d = 0; d < h.ndst; d++)
        dst[d] = g->at[from[d] >= 0 ? from[d] : MAX_SRC + d];
    ops->fn[g->dtype][g->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = g->src,
        .ndst = h.ndst,
        .nsrc = g->nsrc,
        .avg_n = g->avg_n,
        .stream = h.stream,
        .count = h.count,
    });
    dcmi_stream_fence();
    for (int d = 0; d < h.ndst; d++) {
        const unsigned char *behind = from[d] < 0 || h.count == LONGEST
                                          ? NULL
                                          : pristine[from[d]] + bytes;

        if (behind != NULL && (LONGEST - h.count) * g->item < 64)
            abort(); /* the list of counts changed */
        wrong += data_compare("grid", ops->name, g->dtype, g->op, dst[d], want,
                              h.count);
        wrong += zones(g, ops->name, dst[d], bytes, behind);
    }
    for (int d = 0; d < h.ndst; d++) {
        if (from[d] >= 0)
            memcpy(dst[d], pristine[from[d]], bytes);
        else
            memset(dst[d], 0xa5, bytes);
    }
    return wrong;
}

static int run_shapes(const grid *g, const dcmi_reduce_ops *ops)
{
    int wrong = 0;

    for (size_t c = 0; c < DCMI_ARRAY_LEN(counts); c++) {
        for (int ndst = 1; ndst <= MAX_DST; ndst++) {
            for (int where = APART; where < PLACES; where++) {
                const uint64_t some = data_random() | 1;

                wrong += run_shape(g, ops, (shape){counts[c], ndst, where, 0});
                wrong +=
                    run_shape(g, ops, (shape){counts[c], ndst, where, some});
            }
        }
    }
    return wrong;
}

static int run_grid(grid *g)
{
    void *const dst[1] = {want};
    const dcmi_reduce_ops *ops;
    const void *src[MAX_SRC];
    int wrong = 0;

    g->item = dcm_dtype_bytes(g->dtype);
    g->avg_n = (int)(data_random() % 10) + 1;
    for (int s = 0; s < MAX_SRC; s++)
        src[s] = pristine[s];
    for (int s = 0; s < g->nsrc; s++)
        data_fill(g->dtype, pristine[s], LONGEST);
    dcmi_reduce_select("scalar")->fn[g->dtype][g->op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = g->nsrc,
        .avg_n = g->avg_n,
        .count = LONGEST,
    });
    for (int shift = 0; shift < 3; shift++) {
        place(g, shift);
        for (size_t k = 1; (ops = dcmi_reduce_nth(k)) != NULL; k++)
            wrong += run_shapes(g, ops);
    }
    return wrong;
}

int check_grid(void)
{
    int wrong = 0;
    grid g;

    for (int type = 0; type < DCM_NDTYPES; type++) {
        for (int op = 0; op < DCM_NOPS; op++) {
            for (size_t n = 0; n < DCMI_ARRAY_LEN(nsrcs); n++) {
                g = (grid){.dtype = (dcm_dtype)type, .op = (dcm_op)op};
                g.nsrc = nsrcs[n];
                wrong += run_grid(&g);
            }
        }
    }
    return wrong;
}

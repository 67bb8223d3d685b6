/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of docs/numerics.md: scalar against the oracle, which computes in
 * another way, and every other set against scalar on the same data.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "reduce_checks.h"
#include "reduce_oracle.h"

enum {
    ALL_CODES = 65536
};

static unsigned char in[3][ALL_CODES * 8];
static unsigned char out[ALL_CODES * 8];
static unsigned char want[ALL_CODES * 8];

typedef struct trial {
    const char *what;
    dcm_dtype dtype;
    dcm_op op;
    int nsrc;
    int avg_n;
    size_t count;
} trial;

/* in[0..nsrc-1] through all sets; the first, scalar, against the oracle. */
static int run_trial(const trial *t)
{
    const void *const src[3] = {in[0], in[1], in[2]};
    void *const dst[1] = {out};
    const dcmi_reduce_args args = {
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = t->nsrc,
        .avg_n = t->avg_n,
        .count = t->count,
    };
    const dcmi_reduce_ops *ops;
    int wrong = 0;

    for (size_t i = 0; i < t->count; i++)
        oracle_put(t->dtype, want, i,
                   oracle_reduce(t->dtype, t->op, src, t->nsrc, t->avg_n, i));
    for (size_t k = 0; (ops = dcmi_reduce_nth(k)) != NULL; k++) {
        memset(out, 0x5a, t->count * dcm_dtype_bytes(t->dtype));
        ops->fn[t->dtype][t->op](&args);
        wrong += data_compare(t->what, ops->name, t->dtype, t->op, out, want,
                              t->count);
    }
    return wrong;
}

static size_t codes_of(dcm_dtype dtype)
{
    return dcm_dtype_bytes(dtype) == 1 ? 256 : ALL_CODES;
}

static int each_op(trial t)
{
    int wrong = 0;

    for (int op = 0; op < DCM_NOPS; op++) {
        t.op = (dcm_op)op;
        wrong += run_trial(&t);
    }
    return wrong;
}

/* One source: each code comes back, but a NaN as the canonical one. */
int check_codes(void)
{
    int wrong = 0;

    for (int type = 0; type < DCM_NDTYPES; type++) {
        const dcm_dtype dtype = (dcm_dtype)type;

        if (dcm_dtype_bytes(dtype) > 2)
            continue;
        for (size_t i = 0; i < codes_of(dtype); i++)
            oracle_put(dtype, in[0], i, i);
        wrong +=
            each_op((trial){"codes", dtype, DCM_SUM, 1, 1, codes_of(dtype)});
        for (size_t i = 0; i < codes_of(dtype); i++)
            if (oracle_is_nan(dtype, i))
                oracle_put(dtype, in[0], i, oracle_canonical_nan(dtype));
        wrong += data_compare("identity", "oracle", dtype, DCM_AVG, want, in[0],
                              codes_of(dtype));
    }
    return wrong;
}

/* Every pair of 8-bit codes, in blocks of one first code each. */
static int pairs_of_bytes(dcm_dtype dtype)
{
    for (size_t i = 0; i < ALL_CODES; i++) {
        oracle_put(dtype, in[0], i, i / 256);
        oracle_put(dtype, in[1], i, i % 256);
        oracle_put(dtype, in[2], i, data_random() % 256);
    }
    return each_op((trial){"pairs", dtype, DCM_SUM, 2, 2, ALL_CODES}) +
           each_op((trial){"triples", dtype, DCM_SUM, 3, 3, ALL_CODES});
}

/* Every 16-bit code with zeros, ones, edges, NaNs and random partners. */
static int pairs_of_words(dcm_dtype dtype)
{
    enum {
        PARTNERS = 12
    };
    uint64_t partner[PARTNERS];
    int wrong = 0;

    data_fill(dtype, in[1], PARTNERS);
    for (size_t k = 0; k < PARTNERS; k++)
        partner[k] = oracle_get(dtype, in[1], k);
    partner[0] = 0x8000;                             /* -0 */
    partner[1] = 1;                                  /* the least number */
    partner[2] = dtype == DCM_F16 ? 0x3c00 : 0x3f80; /* 1 */
    partner[3] = dtype == DCM_F16 ? 0x7bff : 0x7f7f; /* the largest */
    partner[4] = dtype == DCM_F16 ? 0xfc00 : 0xff80; /* -infinity */
    for (size_t k = 0; k < PARTNERS; k++) {
        for (size_t i = 0; i < ALL_CODES; i++) {
            oracle_put(dtype, in[0], i, i);
            oracle_put(dtype, in[1], i, partner[k]);
        }
        wrong += each_op((trial){"partner", dtype, DCM_SUM, 2, 2, ALL_CODES});
    }
    /* Each with a neighbour of its own size, where ties are common. */
    for (size_t i = 0; i < ALL_CODES; i++)
        oracle_put(dtype, in[1], i, i + data_random() % 4096 - 2048);
    return wrong + each_op((trial){"near", dtype, DCM_SUM, 2, 3, ALL_CODES});
}

int check_pairs(void)
{
    return pairs_of_bytes(DCM_F8E4M3) + pairs_of_bytes(DCM_F8E5M2) +
           pairs_of_bytes(DCM_I8) + pairs_of_bytes(DCM_U8) +
           pairs_of_words(DCM_F16) + pairs_of_words(DCM_BF16);
}

int check_wide(void)
{
    static const dcm_dtype wide[] = {DCM_F64, DCM_F32, DCM_I32,
                                     DCM_U32, DCM_I64, DCM_U64};
    int wrong = 0;

    for (size_t t = 0; t < DCMI_ARRAY_LEN(wide); t++) {
        for (int nsrc = 1; nsrc <= 3; nsrc++) {
            for (int s = 0; s < nsrc; s++)
                data_fill(wide[t], in[s], ALL_CODES);
            wrong += each_op(
                (trial){"wide", wide[t], DCM_SUM, nsrc, nsrc, ALL_CODES});
        }
    }
    return wrong;
}

/* Bytes in full; elsewhere numbers round multiples of the divisor. */
int check_division(void)
{
    static const int large[] = {100, 255,  256,     257,
                                300, 4097, 1000003, 0x7fffffff};
    static const dcm_dtype types[] = {DCM_I8,  DCM_U8,  DCM_I32, DCM_U32,
                                      DCM_I64, DCM_U64, DCM_F32, DCM_F64};
    int wrong = 0;

    for (int k = 1; k <= DCM_MAX_RANKS + (int)DCMI_ARRAY_LEN(large); k++) {
        const int n = k <= DCM_MAX_RANKS ? k : large[k - DCM_MAX_RANKS - 1];

        for (size_t t = 0; t < DCMI_ARRAY_LEN(types); t++) {
            data_fill(types[t], in[0], 1024);
            for (size_t i = 0; i < 512 && types[t] < DCM_F32; i++)
                oracle_put(types[t], in[0], i, i);
            for (size_t i = 0; i < 512 && types[t] > DCM_U8; i++)
                oracle_put(types[t], in[0], i,
                           data_random() % 0x100000000u / (unsigned)n *
                                   (unsigned)n +
                               i % 3 - 1);
            wrong +=
                run_trial(&(trial){"division", types[t], DCM_AVG, 1, n, 1024});
        }
    }
    return wrong;
}

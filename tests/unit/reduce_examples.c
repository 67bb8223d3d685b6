/* SPDX-License-Identifier: Apache-2.0 */
/* Results that docs/numerics.md names one by one. */
#include <string.h>

#include "base/compiler.h"
#include "reduce_checks.h"
#include "reduce_oracle.h"

typedef struct example {
    dcm_dtype dtype;
    dcm_op op;
    int nsrc;
    uint64_t src[3];
    int avg_n;
    uint64_t want;
} example;

static const example examples[] = {
    /* One source: every NaN becomes the canonical one, for every operator. */
    {DCM_F32, DCM_SUM, 1, {0xff800001}, 1, 0x7fc00000},
    {DCM_F32, DCM_MIN, 1, {0x7fffffff}, 1, 0x7fc00000},
    {DCM_F64, DCM_PROD, 1, {0xfff8000000000001u}, 1, 0x7ff8000000000000u},
    {DCM_F64, DCM_MAX, 1, {0x7ff0000000000001u}, 1, 0x7ff8000000000000u},
    {DCM_F16, DCM_AVG, 1, {0xfe01}, 1, 0x7e00},
    {DCM_BF16, DCM_MAX, 1, {0xff81}, 1, 0x7fc0},
    {DCM_F8E4M3, DCM_SUM, 1, {0xff}, 1, 0x7f},
    {DCM_F8E5M2, DCM_MIN, 1, {0xfd}, 1, 0x7e},
    /* Minimum and maximum: NaN wins from either side; -0 < +0. */
    {DCM_F32, DCM_MAX, 2, {0x3f800000, 0xffc00000}, 1, 0x7fc00000},
    {DCM_F32, DCM_MIN, 2, {0x7fa00000, 0x3f800000}, 1, 0x7fc00000},
    {DCM_F32, DCM_MIN, 2, {0, 0x80000000}, 1, 0x80000000},
    {DCM_F32, DCM_MAX, 2, {0x80000000, 0}, 1, 0},
    {DCM_F64, DCM_MIN, 2, {0, 0x8000000000000000u}, 1, 0x8000000000000000u},
    {DCM_F16, DCM_MAX, 2, {0x8000, 0x0000}, 1, 0x0000},
    {DCM_F8E4M3, DCM_MIN, 2, {0x00, 0x80}, 1, 0x80},
    {DCM_BF16, DCM_MIN, 2, {0xff80, 0x7fc1}, 1, 0x7fc0},
    {DCM_BF16, DCM_MAX, 3, {0xff80, 0xffff, 0x7f80}, 1, 0x7fc0},
    /* Infinity less infinity is a NaN; a sum may run over and stay there. */
    {DCM_F32, DCM_SUM, 2, {0x7f800000, 0xff800000}, 1, 0x7fc00000},
    {DCM_F32, DCM_SUM, 3, {0x7f7fffff, 0x7f7fffff, 0xff7fffff}, 1, 0x7f800000},
    {DCM_F16, DCM_PROD, 2, {0x7c00, 0x8000}, 1, 0x7e00},
    /* f16 is summed in fp32: 65504 + 65504 - 65504 is no infinity. */
    {DCM_F16, DCM_SUM, 3, {0x7bff, 0x7bff, 0xfbff}, 1, 0x7bff},
    {DCM_F16, DCM_SUM, 2, {0x7bff, 0x4c00}, 1, 0x7c00}, /* 65520 */
    {DCM_F16, DCM_SUM, 2, {0x7bff, 0x4bff}, 1, 0x7bff},
    {DCM_F8E5M2, DCM_SUM, 2, {0x7b, 0x6c}, 1, 0x7c}, /* 61440 */
    {DCM_F8E5M2, DCM_SUM, 2, {0x7b, 0x6b}, 1, 0x7b},
    /* f8e4m3 has no infinity and stops at 448. */
    {DCM_F8E4M3, DCM_SUM, 2, {0x7e, 0x7e}, 1, 0x7e},
    {DCM_F8E4M3, DCM_SUM, 2, {0xfe, 0xfe}, 1, 0xfe},
    /* Ties go to even, once, at the end: 1 + 2^-8 + 2^-8 in bf16. */
    {DCM_BF16, DCM_SUM, 2, {0x3f80, 0x3b80}, 1, 0x3f80},
    {DCM_BF16, DCM_SUM, 2, {0x3f81, 0x3b80}, 1, 0x3f82},
    {DCM_BF16, DCM_SUM, 3, {0x3f80, 0x3b80, 0x3b80}, 1, 0x3f81},
    /* Subnormal numbers count. */
    {DCM_F32, DCM_SUM, 2, {1, 1}, 1, 2},
    {DCM_F64, DCM_SUM, 2, {1, 1}, 1, 2},
    {DCM_F16, DCM_SUM, 2, {0x0001, 0x03ff}, 1, 0x0400},
    {DCM_BF16, DCM_SUM, 2, {0x0001, 0x8003}, 1, 0x8002},
    {DCM_F8E4M3, DCM_SUM, 2, {0x01, 0x07}, 1, 0x08},
    {DCM_F8E5M2, DCM_AVG, 2, {0x02, 0x02}, 4, 0x01},
    /* Integers wrap; avg divides the wrapped sum, toward zero. */
    {DCM_I8, DCM_SUM, 2, {0x7f, 0x01}, 1, 0x80},
    {DCM_I8, DCM_AVG, 3, {100, 100, 100}, 3, 14}, /* 300 - 256 = 44 */
    {DCM_I8, DCM_AVG, 2, {0xfc, 0xfd}, 2, 0xfd},  /* -7 / 2 = -3 */
    {DCM_U8, DCM_AVG, 2, {200, 100}, 2, 22},
    {DCM_I32, DCM_PROD, 2, {0x80000000, 0xffffffff}, 1, 0x80000000},
    {DCM_I32, DCM_AVG, 1, {0x80000000}, 3, 0xd5555556},
    {DCM_U32, DCM_MAX, 2, {0x80000000, 1}, 1, 0x80000000},
    {DCM_I32, DCM_MAX, 2, {0x80000000, 1}, 1, 1},
    {DCM_I64, DCM_AVG, 2, {0, 0xfffffffffffffff9u}, 2, 0xfffffffffffffffdu},
    {DCM_U64, DCM_AVG, 1, {0xfffffffffffffff9u}, 2, 0x7ffffffffffffffcu},
    {DCM_U64, DCM_PROD, 2, {0x100000001u, 0x100000001u}, 1, 0x200000001u},
};

/*
 * As many sources as there can be ranks: the fp32 product of 448s runs over,
 * which f8e4m3 cannot hold, and infinity times 0 is no number.
 */
static int products(const dcmi_reduce_ops *ops)
{
    static const unsigned char first[] = {0x7e, 0xfe, 0x00, 0x7e};
    static const unsigned char last[] = {0x7e, 0x7e, 0x7e, 0x80};
    static const unsigned char between[] = {0x7e, 0x7e, 0x7e, 0x7e};
    static const unsigned char want[] = {0x7e, 0xfe, 0x00, 0x7f};
    const void *src[DCM_MAX_RANKS];
    unsigned char got[4];
    void *const dst[1] = {got};

    for (int s = 0; s < DCM_MAX_RANKS; s++)
        src[s] = between;
    src[0] = first;
    src[DCM_MAX_RANKS - 1] = last;
    ops->fn[DCM_F8E4M3][DCM_PROD](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = DCM_MAX_RANKS,
        .count = 4,
    });
    return data_compare("products", ops->name, DCM_F8E4M3, DCM_PROD, got, want,
                        4);
}

int check_examples(void)
{
    const dcmi_reduce_ops *ops;
    int wrong = 0;

    for (size_t k = 0; (ops = dcmi_reduce_nth(k)) != NULL; k++) {
        wrong += products(ops);
        for (size_t i = 0; i < DCMI_ARRAY_LEN(examples); i++) {
            const example *e = &examples[i];
            uint64_t got = 0;
            void *const dst[1] = {&got};
            const void *const src[3] = {&e->src[0], &e->src[1], &e->src[2]};

            ops->fn[e->dtype][e->op](&(dcmi_reduce_args){
                .dst = dst,
                .src = src,
                .ndst = 1,
                .nsrc = e->nsrc,
                .avg_n = e->avg_n,
                .count = 1,
            });
            if (got == e->want)
                continue;
            wrong += data_compare("example", ops->name, e->dtype, e->op, &got,
                                  &e->want, 1) +
                     1;
        }
    }
    return wrong;
}

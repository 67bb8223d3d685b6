/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reduction with AVX-512: two sets, which differ in the arithmetic on bf16,
 * since that of avx512bf16.c wants one more feature of the processor.
 */
#include "backend/cpu/reduce/avx512.h"
#include "backend/cpu/reduce/sets.h"
#include "backend/cpu/reduce/table.h"

const dcmi_reduce_ops dcmi_reduce_avx512 = {
    .name = "avx512",
    .fn = {ROWS, ROW(BF16, BF16)},
    .copy = copy,
    .copy_stream = copy_stream,
    .warm = warm,
};

const dcmi_reduce_ops dcmi_reduce_avx512bf16 = {
    .name = "avx512bf16",
    .fn = {ROWS, [DCM_BF16] = {[DCM_SUM] = dcmi_reduce_bf16_sum,
                               [DCM_PROD] = dcmi_reduce_bf16_prod,
                               [DCM_MIN] = BF16_MIN,
                               [DCM_MAX] = BF16_MAX,
                               [DCM_AVG] = dcmi_reduce_bf16_avg}},
    .copy = copy,
    .copy_stream = copy_stream,
    .warm = warm,
};

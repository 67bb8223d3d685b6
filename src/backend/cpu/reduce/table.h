/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of all types and operators, and a row of them for each type. */
#ifndef DCMI_REDUCE_TABLE_H
#define DCMI_REDUCE_TABLE_H

#include "backend/cpu/reduce/copy.h"
#include "backend/cpu/reduce/kernels.h"

#define KERNELS(type)                                                          \
    KERNEL(type, SUM)                                                          \
    KERNEL(type, PROD)                                                         \
    KERNEL(type, MIN)                                                          \
    KERNEL(type, MAX)                                                          \
    KERNEL(type, AVG)

/* Wrapping sums and products are the same with and without sign. */
#define KERNELS_SIGNED(type)                                                   \
    KERNEL(type, MIN)                                                          \
    KERNEL(type, MAX)                                                          \
    KERNEL(type, AVG)

KERNELS(F64)
KERNELS(F32)
KERNELS(F16)
KERNELS(BF16)
KERNELS(F8E4M3)
KERNELS(F8E5M2)
KERNELS(U8)
KERNELS(U32)
KERNELS(U64)
KERNELS_SIGNED(I8)
KERNELS_SIGNED(I32)
KERNELS_SIGNED(I64)

/* `wrap` is the type that sums and products are taken from. */
#define ROW(type, wrap)                                                        \
    [DCM_##type] = {                                                           \
        [DCM_SUM] = wrap##_SUM, [DCM_PROD] = wrap##_PROD,                      \
        [DCM_MIN] = type##_MIN, [DCM_MAX] = type##_MAX,                        \
        [DCM_AVG] = type##_AVG,                                                \
    }

/* Every row but that of bf16. */
#define ROWS                                                                   \
    ROW(F64, F64), ROW(F32, F32), ROW(F16, F16), ROW(F8E4M3, F8E4M3),          \
        ROW(F8E5M2, F8E5M2), ROW(I8, U8), ROW(U8, U8), ROW(I32, U32),          \
        ROW(U32, U32), ROW(I64, U64), ROW(U64, U64)

#endif /* DCMI_REDUCE_TABLE_H */

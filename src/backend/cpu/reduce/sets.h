/* SPDX-License-Identifier: Apache-2.0 */
/* The sets of reduction functions that select.c chooses from. */
#ifndef DCMI_REDUCE_SETS_H
#define DCMI_REDUCE_SETS_H

#include "backend/cpu/reduce/reduce.h"

extern const dcmi_reduce_ops dcmi_reduce_scalar;
extern const dcmi_reduce_ops dcmi_reduce_base;
#if defined(__x86_64__)
extern const dcmi_reduce_ops dcmi_reduce_avx2;
extern const dcmi_reduce_ops dcmi_reduce_avx512;
extern const dcmi_reduce_ops dcmi_reduce_avx512bf16;

/* Of avx512bf16.c, for its set. */
void dcmi_reduce_bf16_sum(const dcmi_reduce_args *a);
void dcmi_reduce_bf16_prod(const dcmi_reduce_args *a);
void dcmi_reduce_bf16_avg(const dcmi_reduce_args *a);
#endif

#endif /* DCMI_REDUCE_SETS_H */

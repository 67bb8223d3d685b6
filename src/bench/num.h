/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types of devcomm.h as numbers.  Written apart from the backends and from
 * the format's definition alone, so that it can judge them.
 */
#ifndef DCMI_BENCH_NUM_H
#define DCMI_BENCH_NUM_H

#include <devcomm/devcomm.h>

#include <stdbool.h>
#include <stdint.h>

bool dcmi_num_is_float(dcm_dtype dtype);
bool dcmi_num_is_signed(dcm_dtype dtype);

/* Significant bits of a floating type, the hidden one counted. */
int dcmi_num_precision(dcm_dtype dtype);

/* The element at `at` (any alignment), zero-extended to 64 bits. */
uint64_t dcmi_num_load(dcm_dtype dtype, const void *at);
void dcmi_num_store(dcm_dtype dtype, void *at, uint64_t bits);

/* The exact value of a floating element; NaN and infinities too. */
double dcmi_num_decode(dcm_dtype dtype, uint64_t bits);

/*
 * The nearest element, ties to even.  Above the largest: infinity, in f8e4m3,
 * which has none, the largest.  NaN: the canonical one.
 */
uint64_t dcmi_num_encode(dcm_dtype dtype, double v);

/* Whether `v` is a finite value of the type. */
bool dcmi_num_is_exact(dcm_dtype dtype, double v);

/* The integer that the element stands for, sign-extended. */
int64_t dcmi_num_int(dcm_dtype dtype, uint64_t bits);

/* Keep the bits that the type has. */
uint64_t dcmi_num_trim(dcm_dtype dtype, uint64_t bits);

#endif /* DCMI_BENCH_NUM_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reduction must give, computed in another way than the library does:
 * in fp64, with a search for the nearest number where a type is narrow.
 */
#ifndef REDUCE_ORACLE_H
#define REDUCE_ORACLE_H

#include <stdbool.h>

#include <devcomm/devcomm.h>

/* Call once, before the others. */
void oracle_init(void);

/* An element at any address as an integer, and back. */
uint64_t oracle_get(dcm_dtype dtype, const void *p, size_t i);
void oracle_put(dcm_dtype dtype, void *p, size_t i, uint64_t code);

bool oracle_is_nan(dcm_dtype dtype, uint64_t code);
uint64_t oracle_canonical_nan(dcm_dtype dtype);

/* src[0][i] op src[1][i] op ..., as docs/numerics.md has it. */
uint64_t oracle_reduce(dcm_dtype dtype, dcm_op op, const void *const *src,
                       int nsrc, int avg_n, size_t i);

#endif /* REDUCE_ORACLE_H */

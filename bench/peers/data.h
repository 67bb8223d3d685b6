/* SPDX-License-Identifier: Apache-2.0 */
/* Data whose sum is exact in every type, and the sum of two bf16 vectors. */
#ifndef BP_DATA_H
#define BP_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "loop.h"

#ifdef __cplusplus
extern "C" {
#endif

size_t bp_dtype_bytes(bp_dtype dtype);
const char *bp_dtype_name(bp_dtype dtype);

const char *bp_op_name(bp_op op);

/* Elements of a rank's input and of its output. */
size_t bp_src_count(const bp_call *call, int nranks);
size_t bp_dst_count(const bp_call *call, int nranks);

void bp_fill(void *src, size_t count, bp_dtype dtype, int rank);
/* Elements of the output that are not what all ranks' bp_fill() come to. */
uint64_t bp_wrong(const bp_call *call, int rank, int nranks);

/*
 * out = a + b, bf16, rounded to nearest even, with the best instructions of the
 * processor: what is given to libraries that have no bf16.  out may be a or b.
 */
void bp_bf16_add(uint16_t *out, const uint16_t *a, const uint16_t *b,
                 size_t count);

#ifdef __cplusplus
}
#endif

#endif /* BP_DATA_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each operation that can be measured calls, reads and writes.
 *
 * `count` of a row is, as in nccl-tests, the elements of the larger side: of
 * all_gather's output, of reduce_scatter's input.  Where that is one block a rank
 * it is a multiple of the ranks.  The root is rank 0.
 */
#ifndef DCMI_BENCH_OPS_H
#define DCMI_BENCH_OPS_H

#include "bench/measure.h"

/* Whether rows have types and sizes; operators; src and dst may be one. */
bool dcmi_bench_is_typed(dcmi_bench_op op);
bool dcmi_bench_reduces(dcmi_bench_op op);
bool dcmi_bench_may_alias(dcmi_bench_op op);

/* The next count that is whole blocks. */
size_t dcmi_bench_whole(dcmi_bench_op op, int nranks, size_t count);

/* Bytes of the largest row. */
size_t dcmi_bench_most(dcmi_bench_op op, int nranks);

dcm_status dcmi_bench_call(const dcmi_bench *b, size_t count, dcm_dtype dtype,
                           dcm_op redop);

/* Which path that call takes: dcm_comm_explain_call(). */
dcm_status dcmi_bench_explain(const dcmi_bench *b, char *text, size_t bytes,
                              size_t count, dcm_dtype dtype, dcm_op redop);

/* Elements that this rank gets. */
size_t dcmi_bench_dst_count(const dcmi_bench *b, size_t count);

/* Fill src; elements of dst, and of src, that are not what they must be. */
void dcmi_bench_fill(const dcmi_bench *b, const dcmi_data *data, size_t count,
                     dcm_dtype dtype);
uint64_t dcmi_bench_wrong(const dcmi_bench *b, const dcmi_data *data,
                          size_t count, dcm_dtype dtype);
uint64_t dcmi_bench_changed(const dcmi_bench *b, const dcmi_data *data,
                            size_t count, dcm_dtype dtype);

#endif /* DCMI_BENCH_OPS_H */

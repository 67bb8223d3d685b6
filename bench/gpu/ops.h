/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations beside all_reduce that gpu_loop measures, ours and NCCL's.  `bytes`
 * are those of nccl-tests: of all ranks together where blocks go to or come from
 * all, of one message otherwise; bf16 sums.
 */
#ifndef DCM_BENCH_GPU_OPS_H
#define DCM_BENCH_GPU_OPS_H

#include "gpu/ranks.h"

typedef enum op_kind {
    OP_ALL_REDUCE,
    OP_ALL_GATHER,
    OP_REDUCE_SCATTER,
    OP_BROADCAST,
    OP_REDUCE,
    OP_ALL_TO_ALL,
    OP_RING,      /* to the next rank and from the one before, side by side */
    OP_PING_PONG, /* there and back between two neighbours */
    OPS
} op_kind;

/* OPS: there is no such operation. */
op_kind op_by_name(const char *name);
const char *op_name(op_kind op);

/* NCCL's functions, as far as they are called here. */
typedef struct op_nccl {
    int (*all_gather)(const void *src, void *dst, size_t count, int dtype,
                      void *comm, void *stream);
    int (*reduce_scatter)(const void *src, void *dst, size_t count, int dtype,
                          int op, void *comm, void *stream);
    int (*broadcast)(const void *src, void *dst, size_t count, int dtype,
                     int root, void *comm, void *stream);
    int (*reduce)(const void *src, void *dst, size_t count, int dtype, int op,
                  int root, void *comm, void *stream);
    int (*send)(const void *src, size_t count, int dtype, int peer, void *comm,
                void *stream);
    int (*recv)(void *dst, size_t count, int dtype, int peer, void *comm,
                void *stream);
    int (*begin)(void);
    int (*end)(void);
} op_nccl;

bool op_nccl_find(op_nccl *n, void *dl);

/* One call of `bytes`, enqueued. */
typedef struct op_call {
    op_kind op;
    int rank;
    int nranks;
    const void *src;
    void *dst;
    size_t bytes;
    dcm_stream stream;
} op_call;

dcm_status op_run(dcm_comm *comm, const op_call *c);
int op_run_nccl(const op_nccl *n, void *comm, const op_call *c);

/* The call as explain takes it. */
dcm_call op_explained(const op_call *c);

/*
 * Wrong bytes of this rank's result of a call that has run: src of every rank is
 * `inputs`, dst holds `got`.
 */
size_t op_wrong(const op_call *c, unsigned char *const *inputs,
                const unsigned char *got);

#endif /* DCM_BENCH_GPU_OPS_H */

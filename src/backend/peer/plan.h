/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all ranks compute alike: where things lie in the staging, which algorithm
 * serves a call, and with which grid.
 */
#ifndef DCMI_PEER_PLAN_H
#define DCMI_PEER_PLAN_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "backend/peer/kernels/args.h"

/* X(NAME, name): name as DEVCOMM_ALGO and the kernels have it. */
#define DCMI_PEER_ALGO_MAP(X)                                                  \
    X(LL128, ll128)                                                            \
    X(LL128_TWO, ll128_two)                                                    \
    X(PUSH, push)                                                              \
    X(PUSH_TWO, push_two)                                                      \
    X(STAGED, staged)

typedef enum dcmi_peer_algo {
#define DCMI_X(NAME, name) DCMI_PEER_##NAME,
    DCMI_PEER_ALGO_MAP(DCMI_X)
#undef DCMI_X
    DCMI_PEER_ALGOS
} dcmi_peer_algo;

const char *dcmi_peer_algo_name(dcmi_peer_algo algo);

/* Arithmetic with kernels of its own; everything else is ANY. */
typedef enum dcmi_peer_what {
    DCMI_PEER_BF16,
    DCMI_PEER_F16,
    DCMI_PEER_F32,
    DCMI_PEER_ANY,
    DCMI_PEER_WHATS
} dcmi_peer_what;

/* A region of the staging. */
typedef struct dcmi_peer_region {
    uint64_t at;
    uint64_t slot;
    uint64_t half;
} dcmi_peer_region;

typedef struct dcmi_peer_layout {
    int nranks;
    bool is_staged;            /* in host memory: STAGED serves all calls */
    uint32_t block;            /* most threads of a block */
    dcmi_peer_region lines[2]; /* of the first hop and of the results */
    dcmi_peer_region words[2];
    uint64_t bytes;
    uint64_t words_at; /* from here on memory is set to ones, before to zeros */
    uint64_t most[DCMI_PEER_ALGOS]; /* bytes that one launch may carry */
    /* exchange.c: of all other calls, bytes of a pair. */
    uint64_t most_exchange;
    uint64_t most_message;
    uint32_t blocks;           /* that run at once */
    dcmi_peer_region messages; /* their slots */
    dcmi_peer_region flags;    /* staged: of the exchange, of messages */
    dcmi_peer_region message_flags;
    dcmi_peer_region taken; /* a word of every reader */
} dcmi_peer_layout;

/* Threads of the largest block of the kernels for so many ranks. */
uint32_t dcmi_peer_block(int nranks);

/* `threads`: what runs at once on this rank's share of its device. */
void dcmi_peer_lay_out(dcmi_peer_layout *lay, int nranks, uint64_t threads);

/* The same for staging in host memory, an area of lay->bytes a rank. */
void dcmi_peer_lay_out_staged(dcmi_peer_layout *lay, int nranks,
                              uint64_t threads);

/* One launch. */
typedef struct dcmi_peer_shape {
    dcmi_peer_algo algo;
    dcmi_peer_what what;
    uint64_t shard;
    uint32_t grid;
    uint32_t threads;
} dcmi_peer_shape;

/* Whether words that validate themselves can carry the type. */
bool dcmi_peer_has_words(dcm_dtype dtype);

/* Whether the algorithm serves the type on so many ranks. */
bool dcmi_peer_serves(const dcmi_peer_layout *lay, dcmi_peer_algo algo,
                      dcm_dtype dtype);

/* The plan's choice for a message of `bytes`. */
dcmi_peer_algo dcmi_peer_choose(const dcmi_peer_layout *lay, dcm_dtype dtype,
                                uint64_t bytes);

/*
 * A launch of `bytes`, at most lay->most[algo].  `align` is what this rank's
 * buffers are multiples of, and chooses the arithmetic alone: ranks may differ.
 */
dcmi_peer_shape dcmi_peer_shape_of(const dcmi_peer_layout *lay,
                                   dcmi_peer_algo algo, dcm_dtype dtype,
                                   dcm_op op, uint64_t bytes, uint32_t align);

/* Offsets of the staging, shard and type; not pointers, epochs, watch. */
void dcmi_peer_fill(dcmk_args *a, const dcmi_peer_layout *lay,
                    const dcmi_peer_shape *shape, dcm_dtype dtype, dcm_op op,
                    uint64_t bytes);

/* "dcmk_k_ll128_2_bf16"; false: there is no such kernel. */
bool dcmi_peer_kernel_name(char *name, size_t bytes,
                           const dcmi_peer_layout *lay, dcmi_peer_algo algo,
                           dcmi_peer_what what);

/* The signature of a call, as it stands in flags. */
uint32_t dcmi_peer_sign(int kind, dcm_dtype dtype, dcm_op op, uint64_t count,
                        uint64_t piece);

#endif /* DCMI_PEER_PLAN_H */

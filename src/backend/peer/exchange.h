/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One description for every call but all_reduce and barrier: what this rank gives to
 * each other and gets from it.  Pure functions of the call and of what all ranks
 * agreed on; collective.c and messages.c launch what they say.
 */
#ifndef DCMI_PEER_EXCHANGE_H
#define DCMI_PEER_EXCHANGE_H

#include <devcomm/backend.h>

#include "backend/peer/plan.h"

/* A whole call, seen from one rank; addresses are 0 where there are no bytes. */
typedef struct dcmi_peer_moves {
    uint64_t out[DCMK_RANKS]; /* what goes to each; itself: what it keeps */
    uint64_t in[DCMK_RANKS];  /* where it is put; reductions: in[rank] */
    uint64_t out_bytes[DCMK_RANKS];
    uint64_t in_bytes[DCMK_RANKS];
    uint64_t largest; /* bytes of a pair, the same on all ranks; or private */
    uint64_t row;     /* of what comes in; 0: it is whole */
    uint64_t pitch;
    uint64_t shape;    /* differs when roots, rows or counts do */
    bool is_reduction; /* what comes in is reduced into in[rank] */
    bool is_private;   /* only a pair knows what passes between it */
} dcmi_peer_moves;

/* Of any kind but all_reduce, barrier, send and recv. */
void dcmi_peer_plan_moves(dcmi_peer_moves *m, const dcm_coll *coll, int rank,
                          int nranks);

/* The kernels of these calls. */
typedef enum dcmi_peer_mover {
    DCMI_PEER_EXCHANGE_EVEN, /* all multiples of 8 bytes */
    DCMI_PEER_EXCHANGE_ANY,
    DCMI_PEER_MESSAGE_EVEN,
    DCMI_PEER_MESSAGE_ANY,
    DCMI_PEER_PART_BF16,
    DCMI_PEER_PART_F16,
    DCMI_PEER_PART_F32,
    DCMI_PEER_PART_ANY,
    DCMI_PEER_MOVERS
} dcmi_peer_mover;

/* "dcmk_k_part_most4_bf16"; false: there is no such kernel for so many ranks. */
bool dcmi_peer_mover_name(char *name, size_t bytes, int nranks, bool is_staged,
                          dcmi_peer_mover mover);

/* "exchange", "message", "part" and so on: as explain has it. */
const char *dcmi_peer_mover_str(dcmi_peer_mover mover);

/* The regions of these calls in the staging, from *at on; `most` first. */
void dcmi_peer_lay_out_exchange(dcmi_peer_layout *lay, uint64_t *at,
                                uint64_t threads);

/* One launch. */
typedef struct dcmi_peer_move {
    dcmi_peer_mover mover;
    uint32_t grid;
    uint32_t threads;
} dcmi_peer_move;

/* Staging and number of ranks; not pointers, epochs, watch, rank. */
void dcmi_peer_fill_exchange(dcmk_exchange *x, const dcmi_peer_layout *lay);
void dcmi_peer_fill_messages(dcmk_exchange *x, const dcmi_peer_layout *lay);

/*
 * The piece of a call at `at` of every pair; *next_p: where the one after it begins,
 * the same on all ranks unless private.
 */
dcmi_peer_move dcmi_peer_piece(dcmk_exchange *x, uint64_t *next_p,
                               const dcmi_peer_layout *lay,
                               const dcmi_peer_moves *m, const dcm_coll *coll,
                               uint64_t at);

/* What an all_to_all of private counts has at `at` of each pair, as messages. */
void dcmi_peer_rest(dcmk_exchange *x, const dcmi_peer_layout *lay,
                    const dcmi_peer_moves *m, const dcm_coll *coll,
                    uint64_t at);

/* A piece of a message, to or from one rank. */
typedef struct dcmi_peer_message {
    uint64_t at;
    uint64_t bytes;
    uint32_t sign;
} dcmi_peer_message;

/* What goes to, or comes from, rank `p` in a launch of messages. */
void dcmi_peer_message_out(dcmk_exchange *x, int p, const dcmi_peer_message *m);
void dcmi_peer_message_in(dcmk_exchange *x, int p, const dcmi_peer_message *m);

/* The launch of what has been put in. */
dcmi_peer_move dcmi_peer_message_shape(dcmk_exchange *x,
                                       const dcmi_peer_layout *lay);

#endif /* DCMI_PEER_EXCHANGE_H */

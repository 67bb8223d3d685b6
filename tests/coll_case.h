/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A collective as data: what a rank passes, and what it must find in dst, computed
 * from every rank's input.  No test framework: GPU tests use it too.
 */
#ifndef DCM_TEST_COLL_CASE_H
#define DCM_TEST_COLL_CASE_H

#include <devcomm/backend.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    COLL_RANKS = 16
};

typedef enum coll_shape {
    COLL_EVEN,
    COLL_INNER,  /* all_gather */
    COLL_UNEVEN, /* the v-variants; zero counts too */
    COLL_SHAPES
} coll_shape;

typedef struct coll_case {
    dcm_coll_kind kind;
    coll_shape shape;
    dcm_dtype dtype;
    dcm_op op;
    size_t count; /* of a block; of the largest when uneven */
    int root;
    int nranks;
    bool in_place;
} coll_case;

/* Lists that a call's arguments point to. */
typedef struct coll_lists {
    size_t counts[COLL_RANKS];
    size_t displs[COLL_RANKS];
    size_t recv_counts[COLL_RANKS];
    size_t recv_displs[COLL_RANKS];
} coll_lists;

/* Whether there is such a call, and whether it may be in place. */
bool coll_is_call(const coll_case *t);
bool coll_may_alias(const coll_case *t, int rank);

/* Bytes of a rank's src and dst, gaps of dst included; 0: not looked at. */
size_t coll_src_bytes(const coll_case *t, int rank);
size_t coll_dst_bytes(const coll_case *t, int rank);

/* In place: bytes from dst to src; negative: dst lies in src. */
ptrdiff_t coll_place(const coll_case *t, int rank);

/* `want` holds what dst held before; inputs[r]: rank r's src. */
void coll_want(const coll_case *t, int rank, unsigned char *const *inputs,
               unsigned char *want);

/* The call, for a backend; its lists are in `l`. */
dcm_coll coll_call(const coll_case *t, int rank, coll_lists *l, const void *src,
                   void *dst, dcm_stream stream);

/* The same by the public functions. */
dcm_status coll_run(dcm_comm *comm, const coll_case *t, const void *src,
                    void *dst, dcm_stream stream);

/* "all_gather uneven bf16 count 60 root 1", for messages. */
void coll_name(const coll_case *t, char *text, size_t bytes);

#endif /* DCM_TEST_COLL_CASE_H */

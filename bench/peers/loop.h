/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one measuring loop of all programs of this folder, so that they differ in
 * nothing but the library that they call: same sizes, same buffers, same blocks
 * of operations, same cores, same placement probe, same check of the result.
 *
 * Ranks share one page-aligned file, the board, which `run` makes for each
 * program.  A failure ends the program: these are programs, not a library.
 */
#ifndef BP_LOOP_H
#define BP_LOOP_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BP_MAX_RANKS = 8,
    BP_PAGE = 4096,
};

typedef enum bp_op {
    BP_ALL_REDUCE,
    BP_ALL_GATHER,
    BP_BROADCAST, /* in place; the root goes round, so that none runs ahead */
    BP_REDUCE_SCATTER,
    BP_OPS
} bp_op;

typedef enum bp_dtype {
    BP_F32,
    BP_BF16,
} bp_dtype;

/* What the command line says; `run` fills it in from its table of settings. */
typedef struct bp_plan {
    const char *peer;    /* set by the program */
    const char *variant; /* --variant: for the row, and for the program */
    const char *board;   /* --board FILE of bp_board_bytes() zeros */
    bp_op op;            /* --op all_reduce|all_gather|... */
    bp_dtype dtype;      /* --dtype f32|bf16 */
    int nranks;          /* --ranks */
    size_t min_bytes;    /* --min */
    size_t max_bytes;    /* --max */
    int budget_ms;       /* --budget: of one size; at least some blocks run */
    int limit_s;         /* --limit: then the program is ended by SIGALRM */
    int is_floating;     /* --float: ranks are not pinned to cores */
    int is_boosted;      /* --boost: ranks get the highest priority */
    int is_in_place;     /* set by the program */
    int is_rewritten;    /* set by the program: see time_rewritten() */
} bp_plan;

/* One operation of one rank. */
typedef struct bp_call {
    bp_op op;
    bp_dtype dtype;
    const void *src;
    void *dst;
    size_t count; /* elements of the whole; of a rank's block in all_gather
                     and reduce_scatter */
    int root;     /* of broadcast */
} bp_call;

/* How a program makes its library work. */
typedef struct bp_driver {
    void *arg;
    void *src; /* NULL: private pages, made for each size */
    void *dst;
    /* Optional: called once a size, before the first operation. */
    void (*prepare)(void *arg, const bp_call *call);
    void (*run)(void *arg, const bp_call *call);
} bp_driver;

typedef struct bp_loop bp_loop;

/* Print a message and end this process with status 1. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
void bp_fail(const char *format, ...);

void bp_parse(bp_plan *plan, const char *peer, int argc, char **argv);

/* Make the other ranks; returns the rank, 0 in the parent. */
int bp_fork(int nranks);
/* Rank 0: wait for them; the exit status of the program. */
int bp_join(int rank);

/* Map the board, pin this rank, start the time limit.  Lives until exit. */
bp_loop *bp_open(const bp_plan *plan, int rank);

/* Print a line that says which version of what is measured; rank 0 only. */
void bp_about(const bp_loop *loop, const char *version);

/* Measure and print every size of the plan. */
void bp_run(bp_loop *loop, const bp_driver *driver);

/* ---- the parts, for programs that measure something else ----------------- */

/* Sizes of the comparison, from `i` 0 on; 0: no more. */
size_t bp_size(int i);
void bp_barrier(bp_loop *loop);
/* Rank 0's word for it, on all ranks; begins and ends with a barrier. */
int bp_agree(bp_loop *loop, int mine);
/* Round trip of a flag between ranks 0 and 1 in ns; -1: one core only. */
double bp_probe(bp_loop *loop);
/* All-gather of any number of bytes; 0. */
int bp_all_gather(void *loop, const void *mine, void *all, size_t bytes);
double bp_now_us(void);
void *bp_pages(size_t bytes, int is_shared);
double bp_median(double *values, int n); /* sorts them */

#ifdef __cplusplus
}
#endif

#endif /* BP_LOOP_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.c and start.c share: the board and one rank's view of it. */
#ifndef BP_BOARD_H
#define BP_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "loop.h"

enum {
    BP_MAX_BLOCKS = 128,
    BP_SECTOR = 256, /* apart enough for every prefetcher */
};

typedef struct bp_word {
    _Alignas(BP_SECTOR) _Atomic uint32_t v;
} bp_word;

/* All zero at first.  Each rank writes its own entries, rank 0 `said`. */
typedef struct bp_board {
    bp_word arrived[BP_MAX_RANKS]; /* at how many meetings */
    bp_word ping;
    bp_word pong;
    int said; /* between the two meetings of bp_agree() */
    uint64_t wrong[BP_MAX_RANKS];
    double us[BP_MAX_RANKS][BP_MAX_BLOCKS];
    char gather[BP_MAX_RANKS][BP_PAGE];
} bp_board;

struct bp_loop {
    bp_plan plan;
    bp_board *board;
    int rank;
    int cores;      /* that this rank may run on */
    int is_crowded; /* more ranks than cores */
    uint32_t meetings;
    uint32_t trips;
};

/* Run on the n-th of the cores that the program was given. */
void bp_pin(bp_loop *loop, int n);

size_t bp_page_bytes(size_t bytes); /* rounded up to pages */

#endif /* BP_BOARD_H */

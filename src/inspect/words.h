/* SPDX-License-Identifier: Apache-2.0 */
/* What was seen, in words; each function returns `text`. */
#ifndef DCMI_INSPECT_WORDS_H
#define DCMI_INSPECT_WORDS_H

#include "inspect/comm.h"

enum {
    DCMI_WORDS = 160 /* bytes that a text takes at most */
};

/* "350 ms", "12.3 s", "8.2 min" */
const char *dcmi_say_time(char text[DCMI_WORDS], uint64_t ns);

/* "16 KiB", "16.4 MiB" */
const char *dcmi_say_bytes(char text[DCMI_WORDS], uint64_t count,
                           dcm_dtype dtype);

/* The time from `then` to `now`; "an unknown time" when `then` is 0. */
const char *dcmi_say_since(char text[DCMI_WORDS], uint64_t then, uint64_t now);

/* "rank 2", "ranks 0, 1 and 3", "ranks 0 to 6" */
const char *dcmi_say_ranks(char text[DCMI_WORDS], uint64_t ranks);

/* "0,1,3-7"; "-": none */
const char *dcmi_say_list(char text[DCMI_WORDS], uint64_t ranks);

/* "rank 2 (pid 4711)" */
const char *dcmi_say_rank(char text[DCMI_WORDS], const dcmi_seen_comm *comm,
                          int rank);

/* "all_reduce of 4096 f32, sum", "broadcast of 4 f32, root 0", "barrier" */
const char *dcmi_say_call(char text[DCMI_WORDS], const dcmi_seen_op *op);

/* "operation 1042 (all_reduce of 4096 f32, sum)" */
const char *dcmi_say_op(char text[DCMI_WORDS], const dcmi_seen_op *op);

/* "sleeps in the kernel (hrtimer_nanosleep)", "runs on core 3" */
const char *dcmi_say_life(char text[DCMI_WORDS], const dcmi_seen_rank *rank);

/* One word: "runs", "sleeps", "waits", "dead" */
const char *dcmi_life_word(const dcmi_seen_rank *rank);

/* Whether both are the same call, as all ranks must make it. */
bool dcmi_same_call(const dcmi_seen_op *a, const dcmi_seen_op *b);

#endif /* DCMI_INSPECT_WORDS_H */

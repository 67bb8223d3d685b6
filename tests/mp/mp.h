/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes as ranks, for tests: fork, signal, wait with a time-out.
 *
 *     mp_world mp;
 *
 *     mp_spawn(&mp, 3, fn, arg);      fn(rank, arg) in each of 3 processes
 *     mp_kill(&mp, 1, SIGKILL);
 *     mp_wait(&mp, 60000, 1ull << 1); rank 1 was to be killed, the others OK
 *
 * What a rank writes to standard error is kept, and printed under its number
 * when it fails.  In ranks use die_unless(), never cmocka's assertions.  The
 * ranks die with the test program.  Needs _GNU_SOURCE.
 */
#ifndef DCM_TEST_MP_H
#define DCM_TEST_MP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MP_MOST_RANKS = 72
};

typedef struct mp_world {
    int n;
    pid_t pid[MP_MOST_RANKS];
    bool has_ended[MP_MOST_RANKS];
    int status[MP_MOST_RANKS]; /* as of waitpid(2) */
    int words[MP_MOST_RANKS];  /* a file with what it wrote */
} mp_world;

/* Returns the rank's exit status: 0 when all is well. */
typedef int (*mp_fn)(int rank, void *arg);

void mp_spawn(mp_world *mp, int n, mp_fn fn, void *arg);

void mp_kill(const mp_world *mp, int rank, int sig);

/* Whether all ranks still run; naps a little, so that one can loop on it. */
bool mp_alive(mp_world *mp);

/* Wait for one rank's end, as below; what it ended like is judged later. */
void mp_await(mp_world *mp, int rank, uint32_t timeout_ms);

/*
 * Wait for all.  The test fails when a rank has not ended after `timeout_ms`
 * (all are killed then), when one of `killed` has not died of SIGKILL, or when
 * one of the others has not ended with 0.
 */
void mp_wait(mp_world *mp, uint32_t timeout_ms, uint64_t killed);

#endif /* DCM_TEST_MP_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting the ranks of a job on this host and seeing them to their end.
 *
 *   devcomm run          waits, passes signals on, returns the keeper's status
 *     keeper             starts the ranks, sees who fails first, ends the rest
 *       rank 0 .. n-1
 *
 * Why two processes above the ranks: whichever dies, the other cleans up.  The
 * ranks get SIGKILL when the keeper dies (PR_SET_PDEATHSIG); the keeper sees
 * the launcher die by a pipe.  Both are sub-reapers, so that what the ranks
 * started and left behind becomes their child and is found.
 *
 * Signals of the terminal reach the whole process group by themselves and are
 * not passed on a second time; those sent to the launcher alone are.
 */
#ifndef DEVCOMM_CLI_LAUNCH_H
#define DEVCOMM_CLI_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tag.h"

enum {
    LAUNCH_TIMEOUT = 124, /* as timeout(1) */
    LAUNCH_SELF = 125,    /* the launcher failed, as env(1) */
    LAUNCH_NOEXEC = 126,  /* the program cannot be run */
    LAUNCH_NOENT = 127,   /* there is no such program */
};

typedef struct launch_opts {
    int nranks;
    const char *path; /* searched in PATH when it has no slash */
    char *const *argv;
    double timeout_s; /* of the whole job; 0: none */
    double grace_s;   /* from the first failure to SIGTERM */
    bool is_tagged;   /* "[RANK] " before every line of output */
    bool is_quiet;    /* ranks say themselves why they exit with a failure */
} launch_opts;

/* Run the job; the exit status: 0, or that of the first rank that failed. */
int launch(const launch_opts *opts);

/* ---- between launch.c, keeper.c and spawn.c ------------------------------ */

/* The signals that are passed on, and SIGCHLD: not those that are ignored. */
void launch_signals(sigset_t *set);

/* Kill and reap all children, and theirs, for at most five seconds. */
void launch_sweep(void);

/* Whether the process has begun to die; waitpid() may not know it yet. */
bool launch_is_dying(pid_t pid);

/* The keeper's life; `life_fd` hangs up when the launcher dies. */
int launch_keep(const launch_opts *opts, int life_fd);

typedef struct launch_job {
    const launch_opts *opts;
    pid_t keeper;
    char address[64];
    char token[40];
} launch_job;

bool launch_job_init(launch_job *job, const launch_opts *opts);

/*
 * Start one rank; the tag streams are opened if the job is tagged.  Returns 0
 * or the exit status, said already.
 */
int launch_spawn(const launch_job *job, int rank, pid_t *pid_p, tag_stream *out,
                 tag_stream *err);

#endif /* DEVCOMM_CLI_LAUNCH_H */

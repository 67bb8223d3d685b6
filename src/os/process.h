/* SPDX-License-Identifier: Apache-2.0 */
/* Whether another process still runs, without its help: pidfd, else /proc. */
#ifndef DCMI_PROCESS_H
#define DCMI_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct dcmi_process {
    int pid;
    int fd;       /* pidfd; -1: none, /proc is asked */
    bool is_self; /* never gone */
    bool is_gone;
    uint64_t start_time;
} dcmi_process;

/*
 * Begin to watch process `pid`, which started at `start_time` (0: not known).
 * When it is gone already, or the pid is another one's now, it counts as gone.
 */
void dcmi_process_open(dcmi_process *p, int pid, uint64_t start_time);
void dcmi_process_close(dcmi_process *p);

/* A system call; a zombie is gone. */
bool dcmi_process_is_gone(dcmi_process *p);

#endif /* DCMI_PROCESS_H */

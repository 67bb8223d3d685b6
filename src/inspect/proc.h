/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of processes of this machine, and which segments they hold. */
#ifndef DCMI_INSPECT_PROC_H
#define DCMI_INSPECT_PROC_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

typedef struct dcmi_proc {
    char state; /* R, S, D, T, t, Z, X as in proc(5); 0: no such process */
    int parent;
    int cpu; /* where it ran last */
    uint64_t start_time;
    char name[16];
    char sleeps_in[40]; /* the kernel's function; "": it does not say */
} dcmi_proc;

/* Thread `tid` of process `pid`; tid 0: its first. */
void dcmi_proc_look(dcmi_proc *out, int pid, int tid);

typedef enum dcmi_find_kind {
    DCMI_FIND_CARD,
    DCMI_FIND_HALL,
    DCMI_FIND_TEAM,
} dcmi_find_kind;

/* A segment of devcomm's in the hands of a process: /proc/PID/fd/FD. */
typedef struct dcmi_find {
    dcmi_find_kind kind;
    int pid;
    int fd;
    uint64_t inode; /* the same segment has the same number everywhere */
} dcmi_find;

typedef struct dcmi_finds {
    dcmi_find *list; /* by process */
    size_t count;
    size_t room;
} dcmi_finds;

/* All that this user may look at.  Free it with dcmi_finds_free(). */
dcm_status dcmi_finds_new(dcmi_finds *finds);
void dcmi_finds_free(dcmi_finds *finds);

/* Open one to read: E_PEER when it is gone by now.  *bytes_p: its size. */
dcm_status dcmi_find_open(int *fd_p, size_t *bytes_p, const dcmi_find *find);

/*
 * Copy exactly `bytes` at `offset`, with pread(2): unlike a mapping that can
 * neither fault, nor take memory, nor be written by mistake.
 */
dcm_status dcmi_find_copy(void *to, int fd, size_t offset, size_t bytes);

#endif /* DCMI_INSPECT_PROC_H */

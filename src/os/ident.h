/* SPDX-License-Identifier: Apache-2.0 */
/* Who this process is to others: boot, namespaces, start time, random bytes. */
#ifndef DCMI_IDENT_H
#define DCMI_IDENT_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

/* Fill with the system's random bytes. */
dcm_status dcmi_random(void *bytes, size_t n);

uint64_t dcmi_hash(uint64_t seed, const void *bytes, size_t n); /* FNV-1a */

/* A hint, never a proof, that two processes share a kernel and a network. */
uint64_t dcmi_host_hint(void);

uint64_t dcmi_pid_namespace(void); /* its inode; 0: unknown */

/*
 * When process `pid` of this namespace started (clock ticks since boot); 0:
 * no such process.  With the pid it names one process for ever.
 */
uint64_t dcmi_start_time(int pid);

/* Whether the process named by both still runs (a zombie does not). */
bool dcmi_process_runs(int pid, uint64_t start_time);

/* The calling process, among all of this boot. */
typedef struct dcmi_process_token {
    uint64_t name_space;
    uint64_t start_time;
    uint64_t pid;
} dcmi_process_token;

dcmi_process_token dcmi_process_here(void);

/* This thread's id, as the kernel and robust mutexes know it. */
uint32_t dcmi_tid(void);

#endif /* DCMI_IDENT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What this process may use: cores by affinity and quota, memory by cgroup. */
#ifndef DCMI_LIMITS_H
#define DCMI_LIMITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    DCMI_CPU_WORDS = 16
}; /* 1024 processors */

/* The processors that this thread may run on. */
typedef struct dcmi_cpuset {
    uint64_t word[DCMI_CPU_WORDS];
} dcmi_cpuset;

void dcmi_limits_affinity(dcmi_cpuset *set);
int dcmi_cpuset_count(const dcmi_cpuset *set);

/*
 * Whole cores that the control group's CPU quota allows (1.9 are 1, and so is
 * any part of one), or INT_MAX without one.  `root` is put in front of every path: "" but in tests.
 */
int dcmi_limits_quota(const char *root);

/*
 * Bytes that the control group's memory limits and the system itself leave, or
 * SIZE_MAX.  Past either the kernel kills a process instead of refusing memory.
 */
size_t dcmi_limits_memory_left(const char *root);

#endif /* DCMI_LIMITS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* One core a rank, so that a figure does not depend on the scheduler. */
#ifndef DCMI_BENCH_PIN_H
#define DCMI_BENCH_PIN_H

#include <stdbool.h>

#include "os/limits.h"

/*
 * The core for rank `index` of the `n` ranks that share the allowed processors:
 * distinct ones, whole cores before second threads of a core.  -1: there are
 * fewer processors than ranks.  `root` goes in front of /sys; "" but in tests.
 */
int dcmi_pin_pick(const dcmi_cpuset *allowed, int index, int n,
                  const char *root);

/* Bind the calling thread to the core; false: the system refused. */
bool dcmi_pin_thread(int core);

/* Let the calling thread run where it might before. */
void dcmi_pin_restore(const dcmi_cpuset *allowed);

#endif /* DCMI_BENCH_PIN_H */

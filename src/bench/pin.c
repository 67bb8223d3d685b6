/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing and binding cores. */
#define _GNU_SOURCE
#include "bench/pin.h"

#include <sched.h>
#include <stdio.h>

enum {
    CORES = DCMI_CPU_WORDS * 64
};

static bool has(const dcmi_cpuset *set, int core)
{
    return (set->word[core / 64] >> (core % 64) & 1) != 0;
}

/* The lowest processor that shares the core with `core`. */
static int first_sibling(int core, const char *root)
{
    char path[512];
    int first = core;
    FILE *f;

    (void)snprintf(path, sizeof(path),
                   "%s/sys/devices/system/cpu/cpu%d/topology/"
                   "thread_siblings_list",
                   root, core);
    f = fopen(path, "re");
    if (f == NULL)
        return core;
    if (fscanf(f, "%d", &first) != 1 || first < 0 || first >= CORES)
        first = core;
    (void)fclose(f);
    return first;
}

int dcmi_pin_pick(const dcmi_cpuset *allowed, int index, int n,
                  const char *root)
{
    int left = index;

    if (n > dcmi_cpuset_count(allowed))
        return -1;
    for (int pass = 0; pass < 2; pass++) {
        dcmi_cpuset seen = {{0}}; /* cores passed, by first thread */

        for (int c = 0; c < CORES; c++) {
            const int s = has(allowed, c) ? first_sibling(c, root) : c;
            const bool is_second = has(&seen, s);

            if (!has(allowed, c))
                continue;
            seen.word[s / 64] |= 1ull << (s % 64);
            if (is_second == (pass == 1) && left-- == 0)
                return c;
        }
    }
    return -1;
}

bool dcmi_pin_thread(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0;
}

void dcmi_pin_restore(const dcmi_cpuset *allowed)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int c = 0; c < CORES; c++) {
        if (has(allowed, c))
            CPU_SET((size_t)c, &set);
    }
    (void)sched_setaffinity(0, sizeof(set), &set);
}

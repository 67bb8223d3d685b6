/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of this process.  Control groups of version 2 (one tree) and of
 * version 1 (a tree a controller) are read; every ancestor's limit counts.
 */
#define _GNU_SOURCE
#include "os/limits.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V2_MOUNT "/sys/fs/cgroup"

enum {
    PATH_BYTES = 4096,
    LINE_BYTES = 4200
};

void dcmi_limits_affinity(dcmi_cpuset *set)
{
    cpu_set_t cpus;

    memset(set, 0, sizeof(*set));
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) {
        set->word[0] = 1;
        return;
    }
    for (size_t i = 0; i < (size_t)DCMI_CPU_WORDS * 64; i++) {
        if (CPU_ISSET(i, &cpus))
            set->word[i / 64] |= 1ull << (i % 64);
    }
}

int dcmi_cpuset_count(const dcmi_cpuset *set)
{
    int n = 0;

    for (int i = 0; i < DCMI_CPU_WORDS; i++)
        n += __builtin_popcountll(set->word[i]);
    return n;
}

/* Is `name` one of the comma-separated names in `list` (up to `end`)? */
static bool has_name(const char *list, const char *end, const char *name)
{
    const size_t len = strlen(name);

    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma != NULL ? comma : end;

        if ((size_t)(stop - list) == len && strncmp(list, name, len) == 0)
            return true;
        list = stop + 1;
    }
    return false;
}

/*
 * This process's folder in the tree of `controller` (version 1), or in the one
 * tree of version 2 when controller is "".
 */
static bool find_folder(char *folder, const char *root, const char *controller)
{
    char line[LINE_BYTES];
    char path[PATH_BYTES];
    bool found = false;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        char *names = strchr(line, ':');
        char *end = names != NULL ? strchr(names + 1, ':') : NULL;

        if (end == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        names++;
        if (controller[0] == '\0' ? names == end
                                  : has_name(names, end, controller)) {
            (void)snprintf(folder, PATH_BYTES, "%s", end + 1);
            found = true;
        }
    }
    (void)fclose(f);
    return found;
}

/* The first `n` words of FOLDER/FILE as numbers; "max" is UINT64_MAX. */
static bool read_numbers(uint64_t *v, int n, const char *folder,
                         const char *file)
{
    char path[2 * PATH_BYTES];
    char word[64];
    FILE *f;
    int i;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    for (i = 0; i < n && fscanf(f, "%63s", word) == 1; i++) {
        /* A negative number is version 1's "no limit". */
        v[i] = word[0] == 'm' || word[0] == '-' ? UINT64_MAX
                                                : strtoull(word, NULL, 10);
    }
    (void)fclose(f);
    return i == n;
}

typedef struct tree {
    const char *controller; /* "" for version 2 */
    void (*look)(const char *folder, uint64_t *least);
} tree;

/* Let t->look lower *least at this process's folder and each one above it. */
static void walk(const tree *t, const char *root, uint64_t *least)
{
    char folder[PATH_BYTES];
    char full[2 * PATH_BYTES];
    char *slash;

    if (!find_folder(folder, root, t->controller))
        return;
    for (;;) {
        (void)snprintf(full, sizeof(full), "%s" V2_MOUNT "%s%s%s", root,
                       t->controller[0] != '\0' ? "/" : "", t->controller,
                       folder);
        t->look(full, least);
        slash = strrchr(folder, '/');
        if (slash == NULL || folder[1] == '\0')
            return;
        slash[slash == folder ? 1 : 0] = '\0';
    }
}

static void lower(uint64_t *least, uint64_t v)
{
    if (v < *least)
        *least = v;
}

static void quota_v2(const char *folder, uint64_t *least)
{
    uint64_t v[2];

    if (read_numbers(v, 2, folder, "cpu.max") && v[0] != UINT64_MAX &&
        v[1] != 0)
        lower(least, v[0] / v[1]);
}

static void quota_v1(const char *folder, uint64_t *least)
{
    uint64_t quota;
    uint64_t period;

    if (read_numbers(&quota, 1, folder, "cpu.cfs_quota_us") &&
        quota != UINT64_MAX &&
        read_numbers(&period, 1, folder, "cpu.cfs_period_us") && period != 0)
        lower(least, quota / period);
}

/* The sum of the values that FILE has for two keys. */
static uint64_t sum_of(const char *path, const char *a, const char *b)
{
    unsigned long long v;
    uint64_t sum = 0;
    char line[256];
    char key[64];
    FILE *f;

    f = fopen(path, "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%63s %llu", key, &v) == 2 &&
            (strcmp(key, a) == 0 || strcmp(key, b) == 0))
            sum += v;
    }
    (void)fclose(f);
    return sum;
}

/* The files of one version of control groups. */
typedef struct memory_files {
    const char *max;
    const char *now;
    const char *cache[2]; /* keys of memory.stat */
} memory_files;

static void memory_left(const char *folder, uint64_t *least,
                        const memory_files *m)
{
    char path[2 * PATH_BYTES];
    uint64_t limit;
    uint64_t used;
    uint64_t cache;

    if (!read_numbers(&limit, 1, folder, m->max) || limit == UINT64_MAX ||
        !read_numbers(&used, 1, folder, m->now))
        return;
    /* Cached files count as used, but make room before the limit bites. */
    (void)snprintf(path, sizeof(path), "%s/memory.stat", folder);
    cache = sum_of(path, m->cache[0], m->cache[1]);
    used -= cache < used ? cache : used;
    lower(least, used < limit ? limit - used : 0);
}

static void memory_v2(const char *folder, uint64_t *least)
{
    static const memory_files files = {
        .max = "memory.max",
        .now = "memory.current",
        .cache = {"active_file", "inactive_file"},
    };

    memory_left(folder, least, &files);
}

static void memory_v1(const char *folder, uint64_t *least)
{
    static const memory_files files = {
        .max = "memory.limit_in_bytes",
        .now = "memory.usage_in_bytes",
        .cache = {"total_active_file", "total_inactive_file"},
    };

    memory_left(folder, least, &files);
}

/* What the whole system has left; no limit when it does not say. */
static uint64_t system_memory_left(const char *root)
{
    char path[PATH_BYTES];
    uint64_t kib;

    (void)snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    kib = sum_of(path, "MemAvailable:", "SwapFree:");
    return kib == 0 || kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024;
}

int dcmi_limits_quota(const char *root)
{
    static const tree trees[] = {{"", quota_v2}, {"cpu", quota_v1}};
    uint64_t least = INT_MAX;

    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
        walk(&trees[i], root, &least);
    return least < 1 ? 1 : (int)least;
}

size_t dcmi_limits_memory_left(const char *root)
{
    static const tree trees[] = {{"", memory_v2}, {"memory", memory_v1}};
    uint64_t least = SIZE_MAX;

    lower(&least, system_memory_left(root));
    for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
        walk(&trees[i], root, &least);
    return (size_t)least;
}

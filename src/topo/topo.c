/* SPDX-License-Identifier: Apache-2.0 */
/* Reading /sys/devices/system. */
#include "topo/topo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSTEM "/sys/devices/system"

enum {
    PATH_BYTES = 512,
    TEXT_BYTES = 4096,
    L3 = 3,
    CACHES = 8, /* indices of a processor that are looked at */
};

/* ---- files ---------------------------------------------------------------- */

/* The first line of ROOT/sys/devices/system/FOLDER/FILE; false: no such. */
static bool read_line(char *text, const char *root, const char *folder,
                      const char *file)
{
    char path[PATH_BYTES];
    bool is_read;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s" SYSTEM "/%s/%s", root, folder,
                   file);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    is_read = fgets(text, TEXT_BYTES, f) != NULL;
    (void)fclose(f);
    return is_read;
}

/* A number that is not negative, or -1. */
static int read_number(const char *root, const char *folder, const char *file)
{
    char text[TEXT_BYTES];
    char *end;
    long v;

    if (!read_line(text, root, folder, file))
        return -1;
    v = strtol(text, &end, 10);
    return end != text && v >= 0 && v <= INT32_MAX ? (int)v : -1;
}

/* A list such as "0-3,8"; what is no list ends it. */
static bool read_list(dcmi_cpuset *set, const char *root, const char *folder,
                      const char *file)
{
    char text[TEXT_BYTES];
    char *at = text;

    memset(set, 0, sizeof(*set));
    if (!read_line(text, root, folder, file))
        return false;
    while (*at >= '0' && *at <= '9') {
        const long low = strtol(at, &at, 10);
        const long high = at[0] == '-' && at[1] >= '0' && at[1] <= '9'
                              ? strtol(at + 1, &at, 10)
                              : low;

        for (long i = low; i <= high && i < DCMI_TOPO_CPUS; i++)
            set->word[i / 64] |= 1ull << (i % 64);
        at += *at == ',';
    }
    return true;
}

/* ---- sets ----------------------------------------------------------------- */

bool dcmi_cpuset_has(const dcmi_cpuset *set, int cpu)
{
    return cpu >= 0 && cpu < DCMI_TOPO_CPUS &&
           (set->word[cpu / 64] >> (cpu % 64) & 1) != 0;
}

static int first_of(const dcmi_cpuset *set)
{
    for (int i = 0; i < DCMI_TOPO_CPUS; i++) {
        if (dcmi_cpuset_has(set, i))
            return i;
    }
    return -1;
}

void dcmi_cpuset_text(char *text, size_t bytes, const dcmi_cpuset *set)
{
    char range[32];
    size_t used = 0;

    text[0] = '\0';
    for (int low = 0; low < DCMI_TOPO_CPUS; low++) {
        int high = low;
        size_t n;

        if (!dcmi_cpuset_has(set, low))
            continue;
        while (dcmi_cpuset_has(set, high + 1))
            high++;
        (void)snprintf(range, sizeof(range), high > low ? "%s%d-%d" : "%s%d",
                       used > 0 ? "," : "", low, high);
        n = strlen(range);
        /* Room is kept for the dots. */
        if (used + n + sizeof(",...") > bytes) {
            (void)snprintf(text + used, bytes - used, "%s...",
                           used > 0 ? "," : "");
            return;
        }
        memcpy(text + used, range, n + 1);
        used += n;
        low = high;
    }
}

/* ---- nodes ---------------------------------------------------------------- */

/* "Node 0 MemTotal:  24000 kB" is the first line of a node's meminfo. */
static uint64_t memory_of(const char *root, const char *folder)
{
    char text[TEXT_BYTES];
    const char *at;

    if (!read_line(text, root, folder, "meminfo"))
        return 0;
    at = strstr(text, "MemTotal:");
    return at != NULL ? strtoull(at + strlen("MemTotal:"), NULL, 10) * 1024 : 0;
}

static void read_distances(dcmi_topo_node *node, const char *root,
                           const char *folder)
{
    char text[TEXT_BYTES];
    char *at = text;

    if (!read_line(text, root, folder, "distance"))
        return;
    for (int i = 0; i < DCMI_TOPO_NODES; i++) {
        char *end;
        const unsigned long v = strtoul(at, &end, 10);

        if (end == at)
            return;
        node->distance[i] = v < UINT8_MAX ? (uint8_t)v : UINT8_MAX;
        at = end;
    }
}

void dcmi_topo_read_nodes(dcmi_topo_nodes *nodes, const char *root)
{
    char folder[32];
    dcmi_cpuset ids;

    memset(nodes, 0, sizeof(*nodes));
    if (!read_list(&ids, root, "node", "online"))
        return;
    for (int i = 0; i < DCMI_TOPO_CPUS && nodes->n < DCMI_TOPO_NODES; i++) {
        dcmi_topo_node *node = &nodes->node[nodes->n];

        if (!dcmi_cpuset_has(&ids, i))
            continue;
        (void)snprintf(folder, sizeof(folder), "node/node%d", i);
        node->id = i;
        (void)read_list(&node->cpus, root, folder, "cpulist");
        node->memory_bytes = memory_of(root, folder);
        read_distances(node, root, folder);
        nodes->n++;
    }
}

int dcmi_topo_home(const dcmi_topo_nodes *nodes, int cpu)
{
    const dcmi_topo_node *own = NULL;
    int with_memory = 0;
    int best = -1;

    for (int i = 0; i < nodes->n; i++) {
        with_memory += nodes->node[i].memory_bytes > 0;
        if (dcmi_cpuset_has(&nodes->node[i].cpus, cpu))
            own = &nodes->node[i];
    }
    if (own == NULL || with_memory < 2)
        return -1;
    if (own->memory_bytes > 0)
        return own->id;
    for (int i = 0; i < nodes->n; i++) {
        if (nodes->node[i].memory_bytes > 0 &&
            (best < 0 || own->distance[i] < own->distance[best]))
            best = i;
    }
    return nodes->node[best].id;
}

/* ---- processors ------------------------------------------------------------ */

static int l3_of(const char *root, int cpu)
{
    for (int i = 0; i < CACHES; i++) {
        char folder[64];
        dcmi_cpuset shared;

        (void)snprintf(folder, sizeof(folder), "cpu/cpu%d/cache/index%d", cpu,
                       i);
        if (read_number(root, folder, "level") == L3 &&
            read_list(&shared, root, folder, "shared_cpu_list"))
            return first_of(&shared);
    }
    return -1;
}

static dcmi_topo_cpu read_cpu(const char *root, int cpu)
{
    dcmi_topo_cpu c = {-1, -1, -1};
    dcmi_cpuset threads;
    char folder[64];

    (void)snprintf(folder, sizeof(folder), "cpu/cpu%d/topology", cpu);
    c.package = read_number(root, folder, "physical_package_id");
    if (read_list(&threads, root, folder, "thread_siblings_list"))
        c.core = first_of(&threads);
    c.l3 = l3_of(root, cpu);
    return c;
}

void dcmi_topo_read(dcmi_topo *topo, const char *root)
{
    memset(topo, 0, sizeof(*topo));
    dcmi_topo_read_nodes(&topo->nodes, root);
    (void)read_list(&topo->online, root, "cpu", "online");
    for (int i = 0; i < DCMI_TOPO_CPUS; i++) {
        topo->cpu[i] = dcmi_cpuset_has(&topo->online, i)
                           ? read_cpu(root, i)
                           : (dcmi_topo_cpu){-1, -1, -1};
    }
}

/* ---- counting -------------------------------------------------------------- */

/* Different values of one field, over the processors of `set`. */
static int distinct(const dcmi_topo *topo, const dcmi_cpuset *set,
                    int (*field)(const dcmi_topo_cpu *))
{
    int n = 0;

    for (int i = 0; i < DCMI_TOPO_CPUS; i++) {
        const int v = field(&topo->cpu[i]);
        bool is_new = v >= 0 && dcmi_cpuset_has(set, i);

        for (int k = 0; k < i && is_new; k++)
            is_new = !dcmi_cpuset_has(set, k) || field(&topo->cpu[k]) != v;
        n += is_new;
    }
    return n;
}

static int package_of(const dcmi_topo_cpu *c)
{
    return c->package;
}

static int core_of(const dcmi_topo_cpu *c)
{
    return c->core;
}

static int group_of(const dcmi_topo_cpu *c)
{
    return c->l3;
}

dcmi_topo_counts dcmi_topo_count(const dcmi_topo *topo, const dcmi_cpuset *set)
{
    dcmi_topo_counts n = {0};
    dcmi_cpuset here;

    for (int i = 0; i < DCMI_CPU_WORDS; i++)
        here.word[i] = set->word[i] & topo->online.word[i];
    n.cpus = dcmi_cpuset_count(&here);
    n.cores = distinct(topo, &here, core_of);
    n.l3_groups = distinct(topo, &here, group_of);
    n.packages = distinct(topo, &here, package_of);
    for (int i = 0; i < topo->nodes.n; i++) {
        bool touches = false;

        for (int k = 0; k < DCMI_CPU_WORDS; k++)
            touches = touches ||
                      (topo->nodes.node[i].cpus.word[k] & here.word[k]) != 0;
        n.nodes += touches;
    }
    return n;
}

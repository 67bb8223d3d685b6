/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's processors and memory as /sys tells of them: packages, nodes,
 * caches of level 3 that processors share, cores and their threads.  What /sys
 * does not tell is left unknown, never guessed.
 */
#ifndef DCMI_TOPO_H
#define DCMI_TOPO_H

#include <stdbool.h>
#include <stdint.h>

#include "os/limits.h"

enum {
    DCMI_TOPO_CPUS = DCMI_CPU_WORDS * 64,
    DCMI_TOPO_NODES = 64, /* further ones are not looked at */
};

typedef struct dcmi_topo_node {
    int id; /* as in /sys, which leaves numbers out */
    dcmi_cpuset cpus;
    uint64_t memory_bytes;             /* 0: processors only */
    uint8_t distance[DCMI_TOPO_NODES]; /* to the n-th node; 0: not told */
} dcmi_topo_node;

/* Nodes in the order of their numbers; none: the kernel has no notion of them. */
typedef struct dcmi_topo_nodes {
    int n;
    dcmi_topo_node node[DCMI_TOPO_NODES];
} dcmi_topo_nodes;

/* -1: not told. */
typedef struct dcmi_topo_cpu {
    int package;
    int core; /* the first processor of the core, and of the cache's group */
    int l3;
} dcmi_topo_cpu;

typedef struct dcmi_topo {
    dcmi_cpuset online; /* none: there is no such part of /sys */
    dcmi_topo_cpu cpu[DCMI_TOPO_CPUS];
    dcmi_topo_nodes nodes;
} dcmi_topo;

/* How many of each some processors lie in; 0: not told. */
typedef struct dcmi_topo_counts {
    int cpus;
    int cores;
    int l3_groups;
    int packages;
    int nodes;
} dcmi_topo_counts;

/* `root` is put in front of every path: "" but in tests. */
void dcmi_topo_read_nodes(dcmi_topo_nodes *nodes, const char *root);
void dcmi_topo_read(dcmi_topo *topo, const char *root);

/* Of those of `set` that are online. */
dcmi_topo_counts dcmi_topo_count(const dcmi_topo *topo, const dcmi_cpuset *set);

bool dcmi_cpuset_has(const dcmi_cpuset *set, int cpu);

/* "0-3,8"; what does not fit ends in "...". */
void dcmi_cpuset_text(char *text, size_t bytes, const dcmi_cpuset *set);

/*
 * The id of the node whose memory is nearest to a processor: its own, or, when
 * that has no memory, the one at the least distance.  -1: there is nothing to
 * choose, as only one node has memory, or the processor is of no node.
 */
int dcmi_topo_home(const dcmi_topo_nodes *nodes, int cpu);

#endif /* DCMI_TOPO_H */

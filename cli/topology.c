/* SPDX-License-Identifier: Apache-2.0 */
/* Packages, NUMA nodes, caches and cores, as devcomm info shows them. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "topo/home.h"
#include "topo/topo.h"
#include "topology.h"

#define HWLOC "libhwloc.so.15"

enum {
    SET_TEXT = 128,
    HOME_TEXT = 160,
};

typedef struct shape {
    dcmi_topo topo;
    dcmi_cpuset allowed;
    dcmi_topo_counts all; /* of what is online */
    dcmi_topo_counts own; /* of what this process may use */
    cli_hwloc hwloc;
    char home[HOME_TEXT];
} shape;

static shape *collect(void)
{
    shape *s = calloc(1, sizeof(*s));
    dcmi_home home;

    if (s == NULL)
        return NULL;
    dcmi_topo_read(&s->topo, "");
    dcmi_limits_affinity(&s->allowed);
    s->all = dcmi_topo_count(&s->topo, &s->topo.online);
    s->own = dcmi_topo_count(&s->topo, &s->allowed);
    cli_hwloc_read(&s->hwloc, HWLOC);
    home = dcmi_home_begin();
    dcmi_home_end(&home);
    dcmi_home_text(s->home, sizeof(s->home), &home);
    return s;
}

static void print_count(const char *name, int all, int own)
{
    if (all == 0)
        (void)printf("  %-11s not told\n", name);
    else
        (void)printf("  %-11s %d, %d of them allowed\n", name, all, own);
}

/* Each group of processors that share a cache of level 3. */
static void print_groups(const dcmi_topo *t)
{
    for (int first = 0; first < DCMI_TOPO_CPUS; first++) {
        dcmi_cpuset set = {{0}};
        char text[SET_TEXT];

        if (t->cpu[first].l3 != first)
            continue;
        for (int i = first; i < DCMI_TOPO_CPUS; i++) {
            if (t->cpu[i].l3 == first)
                set.word[i / 64] |= 1ull << (i % 64);
        }
        dcmi_cpuset_text(text, sizeof(text), &set);
        (void)printf("    L3 of    %s\n", text);
    }
}

static void print_nodes(const dcmi_topo_nodes *nodes)
{
    for (int i = 0; i < nodes->n; i++) {
        const dcmi_topo_node *node = &nodes->node[i];
        char text[SET_TEXT];
        char memory[32];

        dcmi_cpuset_text(text, sizeof(text), &node->cpus);
        (void)printf("    node %-3d %s%s, %s, distances", node->id,
                     text[0] != '\0' ? "processors " : "no processors", text,
                     node->memory_bytes > 0
                         ? cli_bytes(memory, node->memory_bytes)
                         : "no memory");
        for (int k = 0; k < nodes->n; k++)
            (void)printf(" %d", node->distance[k]);
        (void)printf("\n");
    }
}

static void print_hwloc(const cli_hwloc *h)
{
    if (h->n == 0) {
        (void)printf("  hwloc       not used: %s\n", h->why);
        return;
    }
    (void)printf("  hwloc       %s\n", h->version);
    for (size_t i = 0; i < h->n; i++)
        (void)printf("    %4u x   %s%s%s\n", h->level[i].count,
                     h->level[i].name, h->level[i].detail[0] != '\0' ? " " : "",
                     h->level[i].detail);
}

void cli_topology_print(void)
{
    shape *s = collect();
    char allowed[SET_TEXT];

    (void)printf("topology\n");
    if (s == NULL) {
        (void)printf("  none        out of memory\n");
        return;
    }
    dcmi_cpuset_text(allowed, sizeof(allowed), &s->allowed);
    (void)printf("  allowed     processors %s\n", allowed);
    print_count("packages", s->all.packages, s->own.packages);
    print_count("cores", s->all.cores, s->own.cores);
    print_count("threads", s->all.cpus, s->own.cpus);
    print_count("L3 groups", s->all.l3_groups, s->own.l3_groups);
    print_groups(&s->topo);
    print_count("NUMA nodes", s->topo.nodes.n, s->own.nodes);
    print_nodes(&s->topo.nodes);
    if (s->home[0] != '\0')
        (void)printf("  placement   %s\n", s->home);
    print_hwloc(&s->hwloc);
    free(s);
}

static void json_counts(dcmi_jw *w, const char *key, const dcmi_topo_counts *n)
{
    dcmi_jw_object(w, key);
    dcmi_jw_u64(w, "packages", (uint64_t)n->packages);
    dcmi_jw_u64(w, "cores", (uint64_t)n->cores);
    dcmi_jw_u64(w, "threads", (uint64_t)n->cpus);
    dcmi_jw_u64(w, "l3_groups", (uint64_t)n->l3_groups);
    dcmi_jw_u64(w, "numa_nodes", (uint64_t)n->nodes);
    dcmi_jw_end_object(w);
}

static void json_cpus(dcmi_jw *w, const shape *s)
{
    dcmi_jw_array(w, "processors");
    for (int i = 0; i < DCMI_TOPO_CPUS; i++) {
        const dcmi_topo_cpu *c = &s->topo.cpu[i];

        if (!dcmi_cpuset_has(&s->topo.online, i))
            continue;
        dcmi_jw_object(w, NULL);
        dcmi_jw_u64(w, "number", (uint64_t)i);
        dcmi_jw_bool(w, "allowed", dcmi_cpuset_has(&s->allowed, i));
        dcmi_jw_num(w, "package", c->package);
        dcmi_jw_num(w, "core", c->core);
        dcmi_jw_num(w, "l3", c->l3);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
}

static void json_nodes(dcmi_jw *w, const dcmi_topo_nodes *nodes)
{
    dcmi_jw_array(w, "nodes");
    for (int i = 0; i < nodes->n; i++) {
        const dcmi_topo_node *node = &nodes->node[i];
        char text[SET_TEXT];

        dcmi_cpuset_text(text, sizeof(text), &node->cpus);
        dcmi_jw_object(w, NULL);
        dcmi_jw_u64(w, "id", (uint64_t)node->id);
        dcmi_jw_str(w, "processors", text);
        dcmi_jw_u64(w, "memory_bytes", node->memory_bytes);
        dcmi_jw_array(w, "distances");
        for (int k = 0; k < nodes->n; k++)
            dcmi_jw_u64(w, NULL, node->distance[k]);
        dcmi_jw_end_array(w);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
}

static void json_hwloc(dcmi_jw *w, const cli_hwloc *h)
{
    dcmi_jw_object(w, "hwloc");
    dcmi_jw_str(w, "version", h->n > 0 ? h->version : NULL);
    dcmi_jw_str(w, "why_not", h->n > 0 ? NULL : h->why);
    dcmi_jw_array(w, "levels");
    for (size_t i = 0; i < h->n; i++) {
        dcmi_jw_object(w, NULL);
        dcmi_jw_u64(w, "count", h->level[i].count);
        dcmi_jw_str(w, "name", h->level[i].name);
        dcmi_jw_str(w, "detail", h->level[i].detail);
        dcmi_jw_end_object(w);
    }
    dcmi_jw_end_array(w);
    dcmi_jw_end_object(w);
}

void cli_topology_json(dcmi_jw *w)
{
    shape *s = collect();

    if (s == NULL)
        return;
    dcmi_jw_object(w, "topology");
    json_counts(w, "online", &s->all);
    json_counts(w, "allowed", &s->own);
    json_cpus(w, s);
    json_nodes(w, &s->topo.nodes);
    dcmi_jw_str(w, "placement", s->home[0] != '\0' ? s->home : NULL);
    json_hwloc(w, &s->hwloc);
    dcmi_jw_end_object(w);
    free(s);
}

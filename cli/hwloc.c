/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwloc's names for the machine's levels, when it is installed.  Only the command
 * opens it, and only to show them: nothing of devcomm depends on what it says.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "topology.h"

/* Of hwloc 2: the depth at which it keeps NUMA nodes, apart from the tree. */
enum {
    NUMA_DEPTH = -3,
    API_MAJOR = 2,
};

/* Its handles and objects are only handed on. */
typedef struct calls {
    unsigned (*get_api_version)(void);
    int (*topology_init)(void **topology_p);
    int (*topology_load)(void *topology);
    void (*topology_destroy)(void *topology);
    int (*topology_get_depth)(void *topology);
    unsigned (*get_nbobjs_by_depth)(void *topology, int depth);
    void *(*get_obj_by_depth)(void *topology, int depth, unsigned i);
    int (*obj_type_snprintf)(char *text, size_t bytes, void *obj, int verbose);
    int (*obj_attr_snprintf)(char *text, size_t bytes, void *obj,
                             const char *separator, int verbose);
} calls;

/* C has no cast from what dlsym() gives to a function. */
#define FIND(dl, c, name)                                                      \
    find((dl), &(c)->name, sizeof((c)->name), "hwloc_" #name)

static bool find(void *dl, void *fn_p, size_t bytes, const char *name)
{
    void *sym = dlsym(dl, name);

    memcpy(fn_p, &sym, bytes);
    return sym != NULL;
}

static bool find_all(void *dl, calls *c)
{
    return FIND(dl, c, get_api_version) && FIND(dl, c, topology_init) &&
           FIND(dl, c, topology_load) && FIND(dl, c, topology_destroy) &&
           FIND(dl, c, topology_get_depth) &&
           FIND(dl, c, get_nbobjs_by_depth) && FIND(dl, c, get_obj_by_depth) &&
           FIND(dl, c, obj_type_snprintf) && FIND(dl, c, obj_attr_snprintf);
}

static void read_level(cli_hwloc *h, const calls *c, void *topology, int depth)
{
    cli_hwloc_level *level = &h->level[h->n];
    void *first = c->get_obj_by_depth(topology, depth, 0);

    if (first == NULL || h->n == CLI_HWLOC_LEVELS)
        return;
    level->count = c->get_nbobjs_by_depth(topology, depth);
    (void)c->obj_type_snprintf(level->name, sizeof(level->name), first, 0);
    (void)c->obj_attr_snprintf(level->detail, sizeof(level->detail), first, " ",
                               0);
    h->n++;
}

static void read_levels(cli_hwloc *h, const calls *c)
{
    void *topology;

    if (c->topology_init(&topology) != 0) {
        (void)snprintf(h->why, sizeof(h->why), "it could not begin");
        return;
    }
    if (c->topology_load(topology) == 0) {
        const int depth = c->topology_get_depth(topology);

        for (int d = 0; d < depth; d++)
            read_level(h, c, topology, d);
        read_level(h, c, topology, NUMA_DEPTH);
    } else {
        (void)snprintf(h->why, sizeof(h->why),
                       "it could not read this machine");
    }
    c->topology_destroy(topology);
}

void cli_hwloc_read(cli_hwloc *h, const char *library)
{
    void *dl = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    unsigned version;
    calls c;

    memset(h, 0, sizeof(*h));
    if (dl == NULL) {
        (void)snprintf(h->why, sizeof(h->why), "%.255s", dlerror());
        return;
    }
    if (!find_all(dl, &c)) {
        (void)snprintf(h->why, sizeof(h->why), "%s lacks a function of hwloc 2",
                       library);
        goto out;
    }
    version = c.get_api_version();
    (void)snprintf(h->version, sizeof(h->version), "%u.%u.%u", version >> 16,
                   version >> 8 & 0xff, version & 0xff);
    if (version >> 16 == API_MAJOR)
        read_levels(h, &c);
    else
        (void)snprintf(h->why, sizeof(h->why), "%s is of version %s, not 2",
                       library, h->version);
out:
    (void)dlclose(dl);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's shape, for devcomm info. */
#ifndef DEVCOMM_CLI_TOPOLOGY_H
#define DEVCOMM_CLI_TOPOLOGY_H

#include "bench/json.h"

void cli_topology_print(void);
void cli_topology_json(dcmi_jw *w); /* a member of an object that is open */

/* ---- hwloc.c --------------------------------------------------------------- */

enum {
    CLI_HWLOC_LEVELS = 32,
    CLI_HWLOC_TEXT = 96,
};

typedef struct cli_hwloc_level {
    unsigned count;
    char name[CLI_HWLOC_TEXT];   /* "L3" */
    char detail[CLI_HWLOC_TEXT]; /* "size=32MB linesize=64 ...", of the first */
} cli_hwloc_level;

/* What the library of this name tells; n == 0: why not. */
typedef struct cli_hwloc {
    char version[16];
    char why[256];
    size_t n;
    cli_hwloc_level level[CLI_HWLOC_LEVELS];
} cli_hwloc;

/* Opens the library when it is called, and closes it again. */
void cli_hwloc_read(cli_hwloc *h, const char *library);

#endif /* DEVCOMM_CLI_TOPOLOGY_H */

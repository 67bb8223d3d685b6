/* SPDX-License-Identifier: Apache-2.0 */
/* What a figure has to be read with: the machine and its state. */
#ifndef DCMI_BENCH_MACHINE_H
#define DCMI_BENCH_MACHINE_H

#include <devcomm/devcomm.h>

#include "bench/json.h"

typedef struct dcmi_machine {
    char cpu[96];    /* "AMD EPYC 9354", or the architecture */
    char kernel[96]; /* "Linux 6.1.0 x86_64" */
    int cores;       /* that this process may use: affinity and quota */
    int allowed;     /* by affinity */
    int online;
    int quota; /* whole cores of the control group; INT_MAX: none */
    int numa_nodes;
    size_t memory_bytes;
    size_t memory_left; /* by control group and free memory */
    double load;        /* runnable threads, mean of the last minute; -1: ? */
} dcmi_machine;

void dcmi_machine_get(dcmi_machine *m);

/* Its members, into an object that is open; no name of the host. */
void dcmi_machine_json(const dcmi_machine *m, dcmi_jw *w);

#endif /* DCMI_BENCH_MACHINE_H */

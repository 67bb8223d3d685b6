/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement probe: how long a cache line takes from rank 0 to rank 1 and back.
 * On a virtual machine the cores move between chiplets while a benchmark runs,
 * and every figure with them, so a figure is read together with this one.
 */
#ifndef DCMI_BENCH_PROBE_H
#define DCMI_BENCH_PROBE_H

#include <devcomm/devcomm.h>

typedef struct dcmi_probe dcmi_probe;

/*
 * Collective over the group.  *probe_p is NULL where ranks 0 and 1 cannot
 * share a line (one rank, two hosts, no sockets): probing then gives -1.
 */
dcm_status dcmi_probe_new(dcmi_probe **probe_p, dcm_group *group);
void dcmi_probe_free(dcmi_probe *probe); /* NULL is allowed */

/*
 * Nanoseconds of a round trip, median of several runs, on ranks 0 and 1 (which
 * call it together); -1: not known, or the two did not run at the same time.
 */
double dcmi_probe_run(dcmi_probe *probe);

#endif /* DCMI_BENCH_PROBE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On which node the kernel takes memory for this thread, by system calls alone.
 * Sandboxes refuse these calls: then memory lies where the kernel likes, which is
 * the node of the processor that runs the thread.
 */
#ifndef DCMI_NUMA_H
#define DCMI_NUMA_H

/* The processor that runs this thread now; -1: not told. */
int dcmi_numa_cpu(void);

/*
 * Memory that this thread takes from now on comes from `node`, and from others
 * when that has none left.  0, or an errno; EBUSY: the thread has a policy of its
 * own, such as numactl's, which is left as it is.
 */
int dcmi_numa_prefer(int node);
void dcmi_numa_any(void); /* undo it */

/* The node of the page at `at`, which must be mapped in; -1: not told. */
int dcmi_numa_node_of(const void *at);

#endif /* DCMI_NUMA_H */

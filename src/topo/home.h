/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a rank's memory is to lie: on the node of the processor that runs it.
 * docs/topology.md says why there.
 */
#ifndef DCMI_HOME_H
#define DCMI_HOME_H

#include <stddef.h>

typedef struct dcmi_home {
    int node;  /* -1: nothing to choose: only one node has memory */
    int error; /* errno: the kernel was not asked, and why; 0: it was */
} dcmi_home;

/* This thread's node, as it runs now; -1: nothing to choose. */
int dcmi_home_node(void);

/* Memory that this thread takes until _end() comes from its node. */
dcmi_home dcmi_home_begin(void);
void dcmi_home_end(const dcmi_home *home);

/* "this rank's memory is on node 1", or why that is not sure; "" without nodes. */
void dcmi_home_text(char *text, size_t bytes, const dcmi_home *home);

#endif /* DCMI_HOME_H */

/* SPDX-License-Identifier: Apache-2.0 */
#include "topo/home.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "os/numa.h"
#include "topo/topo.h"

/* Read once a process: nodes do not come and go under a running program. */
static dcmi_topo_nodes nodes;
static pthread_once_t nodes_once = PTHREAD_ONCE_INIT;

static void read_nodes(void)
{
    dcmi_topo_read_nodes(&nodes, "");
}

int dcmi_home_node(void)
{
    (void)pthread_once(&nodes_once, read_nodes);
    return nodes.n < 2 ? -1 : dcmi_topo_home(&nodes, dcmi_numa_cpu());
}

dcmi_home dcmi_home_begin(void)
{
    dcmi_home home = {.node = dcmi_home_node()};

    if (home.node >= 0)
        home.error = dcmi_numa_prefer(home.node);
    return home;
}

void dcmi_home_end(const dcmi_home *home)
{
    if (home->node >= 0 && home->error == 0)
        dcmi_numa_any();
}

void dcmi_home_text(char *text, size_t bytes, const dcmi_home *home)
{
    if (home->node < 0)
        text[0] = '\0';
    else if (home->error == 0)
        (void)snprintf(text, bytes,
                       "this rank's memory is asked for on node %d",
                       home->node);
    else if (home->error == EBUSY)
        (void)snprintf(text, bytes,
                       "this rank runs on node %d and has a memory policy of "
                       "its own, which decides",
                       home->node);
    else
        (void)snprintf(text, bytes,
                       "this rank runs on node %d, where its memory may not be "
                       "asked for (%s): the kernel decides",
                       home->node, strerror(home->error));
}

/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "os/numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    WORD_BITS = 8 * sizeof(unsigned long),
    MASK_WORDS = 1024 / WORD_BITS,
};

int dcmi_numa_cpu(void)
{
    return sched_getcpu();
}

int dcmi_numa_prefer(int node)
{
    unsigned long mask[MASK_WORDS] = {0};
    int mode = MPOL_DEFAULT;

    if (node < 0 || node >= MASK_WORDS * WORD_BITS)
        return EINVAL;
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0ul, NULL, 0ul) != 0)
        return errno;
    if (mode != MPOL_DEFAULT)
        return EBUSY;
    mask[node / WORD_BITS] = 1ul << (node % WORD_BITS);
    /* The kernel reads one bit less than it is told of. */
    if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask,
                (unsigned long)MASK_WORDS * WORD_BITS + 1) != 0)
        return errno;
    return 0;
}

void dcmi_numa_any(void)
{
    /* It was allowed a moment ago, and takes no memory. */
    (void)syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul);
}

int dcmi_numa_node_of(const void *at)
{
    int node = -1;

    if (syscall(SYS_get_mempolicy, &node, NULL, 0ul, at,
                (unsigned long)(MPOL_F_NODE | MPOL_F_ADDR)) != 0)
        return -1;
    return node;
}

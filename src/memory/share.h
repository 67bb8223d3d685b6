/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of every rank's device memory, mapped by all ranks of a one-host group,
 * by the first way that all of them can go:
 *
 *   same   all ranks are threads of one process: the address itself
 *   fd     descriptors of physical memory, over unix sockets
 *   ipc    the driver's older handles, for plain allocations
 *
 * DEVCOMM_GPU_VETO takes ways away.  Where none is left the data must be staged.
 */
#ifndef DCMI_MEMORY_SHARE_H
#define DCMI_MEMORY_SHARE_H

#include "device/cuda/driver.h"

/* X(NAME, name) in order of preference; names as DEVCOMM_GPU_VETO has them. */
#define DCMI_SHARE_MAP(X)                                                      \
    X(SAME, same)                                                              \
    X(FD, fd)                                                                  \
    X(IPC, ipc)

typedef enum dcmi_share_way {
#define DCMI_X(NAME, name) DCMI_SHARE_##NAME,
    DCMI_SHARE_MAP(DCMI_X)
#undef DCMI_X
    DCMI_SHARE_WAYS
} dcmi_share_way;

#define DCMI_SHARE_ANY ((1u << DCMI_SHARE_WAYS) - 1)

typedef struct dcmi_share dcmi_share;

/*
 * Collective, in `home`'s context; all ranks fail alike: E_UNSUP when no way
 * serves all of them, with each way's reason.  `bytes` of each rank from its `ptr`,
 * inside one allocation, or one mapping; both may differ from rank to rank.  `ways`:
 * a bit a way to consider, DCMI_SHARE_ANY for all.
 */
dcm_status dcmi_share_new(dcmi_share **share_p, dcm_group *group,
                          const dcmi_cuda_home *home, dcmi_cu_ptr ptr,
                          size_t bytes, uint32_t ways, uint32_t timeout_ms);
/* Local; NULL is allowed.  No kernel uses the mappings any longer. */
void dcmi_share_free(dcmi_share *share);

/* Rank r's piece as this rank's device sees it. */
dcmi_cu_ptr dcmi_share_at(const dcmi_share *share, int rank);
dcmi_share_way dcmi_share_how(const dcmi_share *share);
const char *dcmi_share_name(dcmi_share_way way);

/* A bit a way that DEVCOMM_GPU_VETO leaves; E_INVAL: it has another word. */
dcm_status dcmi_share_allowed(uint32_t *ways_p);

#endif /* DCMI_MEMORY_SHARE_H */

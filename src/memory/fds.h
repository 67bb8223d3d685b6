/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of physical device memory: sent from rank to rank, and mapped. */
#ifndef DCMI_MEMORY_FDS_H
#define DCMI_MEMORY_FDS_H

#include "device/cuda/driver.h"

/*
 * Collective, all ranks fail alike: every rank's `fd` to all others; bytes[r] is
 * what rank r has said its memory is.  fds[r] stay -1 where nothing came, and are
 * the caller's, on failure too; fds[rank] is not touched.
 */
dcm_status dcmi_fds_exchange(int *fds, dcm_group *group, int fd,
                             const uint64_t *bytes, uint32_t timeout_ms);

/* Map the memory of `rank` for `home`'s device; `fd` stays the caller's. */
dcm_status dcmi_fds_map(dcmi_cu_ptr *base_p, const dcmi_cuda_home *home, int fd,
                        size_t bytes, int rank);
void dcmi_fds_unmap(const dcmi_cuda_home *home, dcmi_cu_ptr base, size_t bytes);

#endif /* DCMI_MEMORY_FDS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory that kernels read: mapped into the device once a process, counted,
 * since ranks that are threads share their mappings.
 */
#ifndef DCMI_MEMORY_PINNED_H
#define DCMI_MEMORY_PINNED_H

#include "device/cuda/driver.h"

/* Whole pages at `base`; the context is current. */
dcm_status dcmi_pinned_get(const dcmi_cuda *cuda, void *base, size_t bytes);
/* Before the memory is unmapped; NULL is allowed. */
void dcmi_pinned_put(const dcmi_cuda *cuda, void *base);

#endif /* DCMI_MEMORY_PINNED_H */

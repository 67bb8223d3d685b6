/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory of our own, with counted users. */
#ifndef DCMI_MEMORY_DEVICE_H
#define DCMI_MEMORY_DEVICE_H

#include <stdatomic.h>

#include "device/cuda/driver.h"

typedef enum dcmi_device_kind {
    DCMI_DEVICE_BY_FD, /* physical memory that descriptors can share */
    DCMI_DEVICE_ALONE, /* physical memory of this process */
    DCMI_DEVICE_PLAIN  /* an allocation, whose end waits for the context */
} dcmi_device_kind;

typedef struct dcmi_device_mem {
    const dcmi_cuda *cuda;
    dcmi_cu_ptr base;
    size_t bytes; /* as many as asked for, or more */
    dcmi_device_kind kind;
    _Atomic unsigned users;
} dcmi_device_mem;

/* In `home`'s context, with one user. */
dcm_status dcmi_device_mem_new(dcmi_device_mem **mem_p,
                               const dcmi_cuda_home *home, size_t bytes,
                               dcmi_device_kind kind);
void dcmi_device_mem_ref(dcmi_device_mem *mem);
void dcmi_device_mem_put(dcmi_device_mem *mem); /* NULL is allowed */

#endif /* DCMI_MEMORY_DEVICE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Legacy handles of other processes: opened once a process and context, counted. */
#ifndef DCMI_MEMORY_IPC_H
#define DCMI_MEMORY_IPC_H

#include "device/cuda/driver.h"

/* The allocation's start, in the current context of `home`. */
dcm_status dcmi_ipc_get(dcmi_cu_ptr *base_p, const dcmi_cuda_home *home,
                        const dcmi_cu_ipc *handle);
void dcmi_ipc_put(const dcmi_cuda_home *home, dcmi_cu_ptr base);

#endif /* DCMI_MEMORY_IPC_H */

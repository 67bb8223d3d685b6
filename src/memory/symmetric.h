/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory of the same size on every rank of a one-host group, mapped by all
 * of them (share.h).
 */
#ifndef DCMI_MEMORY_SYMMETRIC_H
#define DCMI_MEMORY_SYMMETRIC_H

#include "device/cuda/driver.h"

typedef struct dcmi_symmetric dcmi_symmetric;

/* Collective, in `home`'s context; all ranks fail alike. */
dcm_status dcmi_symmetric_new(dcmi_symmetric **s_p, dcm_group *group,
                              const dcmi_cuda_home *home, size_t bytes,
                              uint32_t timeout_ms);
/* Local; NULL is allowed.  No kernel uses the memory any longer. */
void dcmi_symmetric_free(dcmi_symmetric *s);

/* Rank r's memory, as this rank's device sees it. */
dcmi_cu_ptr dcmi_symmetric_at(const dcmi_symmetric *s, int rank);

/* Bytes of this rank's device that it takes. */
size_t dcmi_symmetric_bytes(const dcmi_symmetric *s);

/* The way it is shared: "fd". */
const char *dcmi_symmetric_how(const dcmi_symmetric *s);

#endif /* DCMI_MEMORY_SYMMETRIC_H */

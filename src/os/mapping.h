/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments mapped into this process, each once: ranks that are threads of one
 * process get the same address, and the last one unmaps it.
 */
#ifndef DCMI_MAPPING_H
#define DCMI_MAPPING_H

#include <devcomm/devcomm.h>

typedef struct dcmi_mapping dcmi_mapping;

/*
 * Map all `bytes` of the sealed memfd `fd`, or count one more user of the
 * mapping that this process has.  `fd` stays the caller's.
 */
dcm_status dcmi_mapping_get(dcmi_mapping **mapping_p, int fd, size_t bytes);
dcmi_mapping *dcmi_mapping_ref(dcmi_mapping *mapping); /* one more user */
dcmi_mapping *
dcmi_mapping_at(const void *base);            /* one more; NULL: none there */
void dcmi_mapping_put(dcmi_mapping *mapping); /* NULL is allowed */

void *dcmi_mapping_base(const dcmi_mapping *mapping);
size_t dcmi_mapping_bytes(const dcmi_mapping *mapping);

#endif /* DCMI_MAPPING_H */

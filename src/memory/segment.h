/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment that all ranks of a one-host group map, made collectively.  It has
 * its full size from the start but takes memory only where it is reserved, so
 * that it never grows and nothing has to be sent around later.
 */
#ifndef DCMI_SEGMENT_H
#define DCMI_SEGMENT_H

#include <devcomm/devcomm.h>

#include "topo/home.h"

typedef struct dcmi_segment dcmi_segment;

/* Collective; `bytes` is rounded up to pages.  All ranks fail alike. */
dcm_status dcmi_segment_new(dcmi_segment **segment_p, dcm_group *group,
                            const char *name, size_t bytes,
                            uint32_t timeout_ms);
void dcmi_segment_free(dcmi_segment *segment); /* local; NULL is allowed */

void *dcmi_segment_base(const dcmi_segment *segment);
void *dcmi_segment_at(const dcmi_segment *segment, size_t offset);
size_t dcmi_segment_bytes(const dcmi_segment *segment);

/*
 * Local: take the memory of whole pages behind [offset, offset + bytes), on this
 * thread's node, and map it in, so that later accesses neither fail nor fault.
 */
dcm_status dcmi_segment_reserve(dcmi_segment *segment, size_t offset,
                                size_t bytes);

/* Where the last reservation's memory was to lie. */
dcmi_home dcmi_segment_home(const dcmi_segment *segment);

/* Local: map in what another rank has reserved.  Only saves later faults. */
void dcmi_segment_touch(const dcmi_segment *segment, size_t offset,
                        size_t bytes);

#endif /* DCMI_SEGMENT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What joins the GPUs of a host, as NVML tells: opened when asked, never needed.
 */
#ifndef DCMI_TOPO_LINKS_H
#define DCMI_TOPO_LINKS_H

#include "device/cuda/driver.h"

typedef enum dcmi_links {
    DCMI_LINKS_UNKNOWN, /* no NVML, or it does not know the devices (MIG) */
    DCMI_LINKS_FULL,    /* NVLink between all pairs */
    DCMI_LINKS_SOME,    /* between some pairs */
    DCMI_LINKS_NONE     /* PCIe alone */
} dcmi_links;

/* Of `n` devices by their UUIDs; a device twice is joined to itself. */
dcmi_links dcmi_links_look(const dcmi_cu_uuid *uuids, int n);
const char *dcmi_links_words(dcmi_links links);

#endif /* DCMI_TOPO_LINKS_H */

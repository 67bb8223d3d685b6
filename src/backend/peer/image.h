/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels' image: every architecture in one, as the driver takes it. */
#ifndef DCMI_PEER_IMAGE_H
#define DCMI_PEER_IMAGE_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

typedef struct dcmi_peer_image {
    const void *data;
    void *memory; /* ours, or NULL: built in */
} dcmi_peer_image;

/* Whether there is one: built in, or a file that DEVCOMM_GPU_IMAGE names. */
bool dcmi_peer_image_is_there(void);

/* E_UNSUP: there is none; E_SYS: the file cannot be read. */
dcm_status dcmi_peer_image_get(dcmi_peer_image *image);
void dcmi_peer_image_put(dcmi_peer_image *image);

#endif /* DCMI_PEER_IMAGE_H */

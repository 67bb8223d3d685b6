/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels' image: every architecture in one, as the driver takes it. */
#ifndef DCMI_PEER_IMAGE_H
#define DCMI_PEER_IMAGE_H

/* NULL: this build has none, because no compiler for it was found. */
const void *dcmi_peer_image(void);

#endif /* DCMI_PEER_IMAGE_H */

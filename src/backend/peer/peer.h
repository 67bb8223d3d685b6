/* SPDX-License-Identifier: Apache-2.0 */
/* The peer backend: kernels of our own over memory that the GPUs share. */
#ifndef DCMI_PEER_H
#define DCMI_PEER_H

#include <devcomm/backend.h>

extern const dcm_backend_ops dcmi_peer_backend;

#endif /* DCMI_PEER_H */

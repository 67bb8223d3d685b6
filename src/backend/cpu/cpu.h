/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU backend: collectives between processes and threads of one host,
 * through shared memory.  README.md tells when it is chosen and what it relies
 * on.
 */
#ifndef DCMI_CPU_H
#define DCMI_CPU_H

#include <devcomm/backend.h>

extern const dcm_backend_ops dcmi_cpu_backend;

#endif /* DCMI_CPU_H */

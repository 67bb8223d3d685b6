/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anonymous shared memory: memfd, sealed against shrinking and growing, so that
 * no peer can turn a later access into SIGBUS, and kill -9 leaks nothing.
 */
#ifndef DCMI_MEMFD_H
#define DCMI_MEMFD_H

#include <devcomm/devcomm.h>

/*
 * Make a sealed segment of `bytes` (whole pages) called `name`; the caller
 * closes *fd_p.  No memory is taken yet: see dcmi_memfd_reserve().
 */
dcm_status dcmi_memfd_create(int *fd_p, const char *name, size_t bytes);

/*
 * Take the memory behind [offset, offset + bytes), near the calling thread, so
 * that a shortage is E_NOMEM here and never a SIGBUS later.
 */
dcm_status dcmi_memfd_reserve(int fd, size_t offset, size_t bytes);

/* Check that `fd` is a sealed memfd of exactly `bytes`: E_INVAL says what not. */
dcm_status dcmi_memfd_verify(int fd, size_t bytes);

/* Map all `bytes` of `fd`, shared and writable. */
dcm_status dcmi_memfd_map(void **base_p, int fd, size_t bytes);
void dcmi_memfd_unmap(void *base, size_t bytes);

/* Map in reserved pages now, where the kernel can: saves later faults. */
void dcmi_memfd_populate(void *at, size_t bytes);

size_t dcmi_page_bytes(void);

/* Bytes that the memory limits of this process and the system leave. */
size_t dcmi_memory_left(void);

#endif /* DCMI_MEMFD_H */

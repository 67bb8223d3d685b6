/* SPDX-License-Identifier: Apache-2.0 */
/* What a pointer points to, as the driver knows it. */
#ifndef DCMI_MEMORY_POINTER_H
#define DCMI_MEMORY_POINTER_H

#include "device/cuda/driver.h"

/* X(NAME, words for messages) */
#define DCMI_POINTER_MAP(X)                                                    \
    X(HOST, "host memory that the driver does not know")                       \
    X(PINNED, "pinned host memory")                                            \
    X(MANAGED, "managed memory")                                               \
    X(POOL, "memory of a pool")                                                \
    X(MAPPED, "mapped physical memory")                                        \
    X(DEVICE, "device memory")

typedef enum dcmi_pointer_kind {
#define DCMI_X(NAME, words) DCMI_POINTER_##NAME,
    DCMI_POINTER_MAP(DCMI_X)
#undef DCMI_X
} dcmi_pointer_kind;

typedef struct dcmi_pointer {
    dcmi_pointer_kind kind;
    dcmi_cu_device device; /* -1: the host's */
    dcmi_cu_ptr base;      /* of the allocation, or of the mapping */
    size_t bytes;          /* from there */
    bool has_ipc;          /* a legacy handle can be made */
    bool has_fd;           /* a descriptor can be made */
} dcmi_pointer;

/* In a context.  Never fails: what the driver does not know is HOST. */
dcmi_pointer dcmi_pointer_look(const dcmi_cuda *cuda, dcmi_cu_ptr ptr);
const char *dcmi_pointer_words(dcmi_pointer_kind kind);

#endif /* DCMI_MEMORY_POINTER_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA runtime, for callers that need it: nothing of ours does.  A library that
 * the process has is used, found by its exact soname, else one is opened.
 *
 * Types are those of the runtime's binary interface.
 */
#ifndef DCMI_DEVICE_CUDA_RUNTIME_H
#define DCMI_DEVICE_CUDA_RUNTIME_H

#include "device/cuda/driver.h"

enum {
    DCMI_CUDART_COPY_INFERRED = 4, /* a memcpy's kind: by the pointers */
    DCMI_CUDART_LAZY_PEER = 1      /* the flag of ipc_open */
};

/* X(member, symbol, result, arguments) */
#define DCMI_CUDART_MAP(X)                                                     \
    X(set_device, "cudaSetDevice", int, (int device))                          \
    X(sync, "cudaDeviceSynchronize", int, (void))                              \
    X(reset, "cudaDeviceReset", int, (void))                                   \
    X(error_text, "cudaGetErrorString", const char *, (int r))                 \
    X(malloc, "cudaMalloc", int, (void **ptr_p, size_t bytes))                 \
    X(free, "cudaFree", int, (void *ptr))                                      \
    X(memset, "cudaMemset", int, (void *dst, int byte, size_t bytes))          \
    X(memcpy, "cudaMemcpy", int,                                               \
      (void *dst, const void *src, size_t bytes, int kind))                    \
    X(ipc_get, "cudaIpcGetMemHandle", int,                                     \
      (dcmi_cu_ipc * handle_p, void *ptr))                                     \
    X(ipc_open, "cudaIpcOpenMemHandle", int,                                   \
      (void **ptr_p, dcmi_cu_ipc handle, unsigned flags))                      \
    X(ipc_close, "cudaIpcCloseMemHandle", int, (void *ptr))

typedef struct dcmi_cudart {
#define DCMI_X(member, symbol, result, args) result(*member) args;
    DCMI_CUDART_MAP(DCMI_X)
#undef DCMI_X
    char path[512]; /* of the library in use */
    int n_found;    /* runtimes that the process had, whatever their version */
} dcmi_cudart;

/*
 * The runtime; the first call finds it.  E_UNSUP: there is none, or it lacks a
 * call.  Several in one process are warned of: each has its own current device.
 * Statically linked ones are not seen.
 */
dcm_status dcmi_cudart_get(const dcmi_cudart **rt_p);

/* OK, or E_DEVICE with the runtime's words behind `what`. */
dcm_status dcmi_cudart_check(const dcmi_cudart *rt, int r, const char *what);

#endif /* DCMI_DEVICE_CUDA_RUNTIME_H */

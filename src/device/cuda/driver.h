/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's driver, as far as we call it.  It is opened when first wanted, so that
 * nothing of it is needed to build or to start.  One list makes the table, the
 * loader and what `devcomm info` says is missing.
 *
 * Types are those of the driver's binary interface, under names of our own.
 */
#ifndef DCMI_DEVICE_CUDA_DRIVER_H
#define DCMI_DEVICE_CUDA_DRIVER_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

#include "base/compiler.h"

typedef int dcmi_cu_result;
typedef int dcmi_cu_device;
typedef void *dcmi_cu_ctx;
typedef void *dcmi_cu_stream;
typedef void *dcmi_cu_event;
typedef void *dcmi_cu_module;
typedef void *dcmi_cu_function;
typedef void *dcmi_cu_graph;
typedef void *dcmi_cu_graph_exec;
typedef uint64_t dcmi_cu_ptr;
typedef unsigned long long dcmi_cu_mem; /* a physical allocation's handle */

/* By which another process opens an allocation. */
typedef struct dcmi_cu_ipc {
    unsigned char bytes[64];
} dcmi_cu_ipc;

typedef struct dcmi_cu_uuid {
    unsigned char bytes[16];
} dcmi_cu_uuid;

enum {
    DCMI_CU_OK = 0,
    DCMI_CU_NOT_READY = 600,
    DCMI_CU_PEER_ALREADY_ENABLED = 704,
    DCMI_CU_ALREADY_REGISTERED = 712,
    /* attributes of a device */
    DCMI_CU_PROCESSORS = 16,
    DCMI_CU_MAJOR = 75,
    DCMI_CU_MINOR = 76,
    DCMI_CU_HAS_VMM = 102,
    DCMI_CU_HAS_POSIX_FD = 103,
    /* of a pair of devices */
    DCMI_CU_P2P_NATIVE_ATOMICS = 3,
    /* of a pointer */
    DCMI_CU_POINTER_TYPE = 2,
    DCMI_CU_POINTER_HOST = 1,
    DCMI_CU_POINTER_IS_MANAGED = 8,
    DCMI_CU_POINTER_DEVICE = 9,
    DCMI_CU_POINTER_HAS_IPC = 10,
    DCMI_CU_POINTER_RANGE_START = 11,
    DCMI_CU_POINTER_RANGE_BYTES = 12,
    DCMI_CU_POINTER_HANDLE_TYPES = 14,
    DCMI_CU_POINTER_POOL = 17,
    DCMI_CU_POINTER_MAPPING_BYTES = 18,
    DCMI_CU_POINTER_MAPPING_START = 19,
    /* of a function */
    DCMI_CU_FUNC_REGISTERS = 4,
    /* flags */
    DCMI_CU_HOST_PORTABLE = 1,
    DCMI_CU_HOST_DEVICEMAP = 2,
    DCMI_CU_STREAM_NON_BLOCKING = 1,
    DCMI_CU_EVENT_NO_TIMING = 2,
    DCMI_CU_CAPTURE_THREAD_LOCAL = 1,
    DCMI_CU_CAPTURE_RELAXED = 2,
    /* memory */
    DCMI_CU_PINNED = 1,
    DCMI_CU_ON_DEVICE = 1,
    DCMI_CU_POSIX_FD = 1,
    DCMI_CU_READ_WRITE = 3,
    DCMI_CU_IPC_LAZY_PEER = 1,
    DCMI_CU_GRANULARITY_RECOMMENDED = 1,
    /* a launch's attribute */
    DCMI_CU_DEPENDENT_LAUNCH = 6
};

typedef struct dcmi_cu_location {
    int type;
    int id;
} dcmi_cu_location;

typedef struct dcmi_cu_mem_prop {
    int type;
    int handle_types;
    dcmi_cu_location location;
    void *unused;
    unsigned char flags[8];
} dcmi_cu_mem_prop;

typedef struct dcmi_cu_access {
    dcmi_cu_location location;
    int flags;
} dcmi_cu_access;

typedef struct dcmi_cu_launch_attr {
    int id;
    char pad[4];
    union {
        char room[64];
        int is_allowed; /* of DCMI_CU_DEPENDENT_LAUNCH */
    } value;
} dcmi_cu_launch_attr;

typedef struct dcmi_cu_launch {
    unsigned grid[3];
    unsigned block[3];
    unsigned shared_bytes;
    dcmi_cu_stream stream;
    dcmi_cu_launch_attr *attrs;
    unsigned n_attrs;
} dcmi_cu_launch;

_Static_assert(sizeof(dcmi_cu_mem_prop) == 32, "the driver's layout");
_Static_assert(sizeof(dcmi_cu_launch_attr) == 72, "the driver's layout");
_Static_assert(sizeof(dcmi_cu_launch) == 56, "the driver's layout");

/* X(member, symbol, arguments, whether we cannot do without) */
#define DCMI_CU_MAP(X)                                                         \
    X(init, "cuInit", (unsigned flags), true)                                  \
    X(driver_version, "cuDriverGetVersion", (int *version_p), true)            \
    X(error_name, "cuGetErrorName", (dcmi_cu_result r, const char **text_p),   \
      true)                                                                    \
    X(error_text, "cuGetErrorString", (dcmi_cu_result r, const char **text_p), \
      true)                                                                    \
    X(device_count, "cuDeviceGetCount", (int *n_p), true)                      \
    X(device_get, "cuDeviceGet", (dcmi_cu_device * device_p, int i), true)     \
    X(device_name, "cuDeviceGetName",                                          \
      (char *name, int bytes, dcmi_cu_device device), true)                    \
    X(device_attribute, "cuDeviceGetAttribute",                                \
      (int *value_p, int attribute, dcmi_cu_device device), true)              \
    X(device_uuid, "cuDeviceGetUuid_v2",                                       \
      (dcmi_cu_uuid * uuid_p, dcmi_cu_device device), true)                    \
    X(device_bus_id, "cuDeviceGetPCIBusId",                                    \
      (char *text, int bytes, dcmi_cu_device device), true)                    \
    X(can_access_peer, "cuDeviceCanAccessPeer",                                \
      (int *can_p, dcmi_cu_device device, dcmi_cu_device peer), true)          \
    X(p2p_attribute, "cuDeviceGetP2PAttribute",                                \
      (int *value_p, int attribute, dcmi_cu_device device,                     \
       dcmi_cu_device peer),                                                   \
      true)                                                                    \
    X(primary_retain, "cuDevicePrimaryCtxRetain",                              \
      (dcmi_cu_ctx * ctx_p, dcmi_cu_device device), true)                      \
    X(primary_release, "cuDevicePrimaryCtxRelease_v2",                         \
      (dcmi_cu_device device), true)                                           \
    X(ctx_get, "cuCtxGetCurrent", (dcmi_cu_ctx * ctx_p), true)                 \
    X(ctx_set, "cuCtxSetCurrent", (dcmi_cu_ctx ctx), true)                     \
    X(ctx_push, "cuCtxPushCurrent_v2", (dcmi_cu_ctx ctx), true)                \
    X(ctx_pop, "cuCtxPopCurrent_v2", (dcmi_cu_ctx * ctx_p), true)              \
    X(ctx_device, "cuCtxGetDevice", (dcmi_cu_device * device_p), true)         \
    X(ctx_sync, "cuCtxSynchronize", (void), true)                              \
    X(module_load, "cuModuleLoadData",                                         \
      (dcmi_cu_module * module_p, const void *image), true)                    \
    X(module_unload, "cuModuleUnload", (dcmi_cu_module module), true)          \
    X(module_function, "cuModuleGetFunction",                                  \
      (dcmi_cu_function * fn_p, dcmi_cu_module module, const char *name),      \
      true)                                                                    \
    X(func_load, "cuFuncLoad", (dcmi_cu_function fn), false)                   \
    X(func_attribute, "cuFuncGetAttribute",                                    \
      (int *value_p, int attribute, dcmi_cu_function fn), true)                \
    X(launch, "cuLaunchKernelEx",                                              \
      (const dcmi_cu_launch *how, dcmi_cu_function fn, void **args,            \
       void **extra),                                                          \
      true)                                                                    \
    X(stream_create, "cuStreamCreate",                                         \
      (dcmi_cu_stream * stream_p, unsigned flags), true)                       \
    X(stream_destroy, "cuStreamDestroy_v2", (dcmi_cu_stream stream), true)     \
    X(stream_query, "cuStreamQuery", (dcmi_cu_stream stream), true)            \
    X(stream_sync, "cuStreamSynchronize", (dcmi_cu_stream stream), true)       \
    X(stream_wait, "cuStreamWaitEvent",                                        \
      (dcmi_cu_stream stream, dcmi_cu_event event, unsigned flags), true)      \
    X(stream_is_capturing, "cuStreamIsCapturing",                              \
      (dcmi_cu_stream stream, int *status_p), true)                            \
    X(capture_begin, "cuStreamBeginCapture_v2",                                \
      (dcmi_cu_stream stream, int mode), true)                                 \
    X(capture_end, "cuStreamEndCapture",                                       \
      (dcmi_cu_stream stream, dcmi_cu_graph * graph_p), true)                  \
    X(capture_mode, "cuThreadExchangeStreamCaptureMode", (int *mode), true)    \
    X(graph_instantiate, "cuGraphInstantiateWithFlags",                        \
      (dcmi_cu_graph_exec * exec_p, dcmi_cu_graph graph,                       \
       unsigned long long flags),                                              \
      true)                                                                    \
    X(graph_launch, "cuGraphLaunch",                                           \
      (dcmi_cu_graph_exec exec, dcmi_cu_stream stream), true)                  \
    X(graph_exec_destroy, "cuGraphExecDestroy", (dcmi_cu_graph_exec exec),     \
      true)                                                                    \
    X(graph_destroy, "cuGraphDestroy", (dcmi_cu_graph graph), true)            \
    X(event_create, "cuEventCreate",                                           \
      (dcmi_cu_event * event_p, unsigned flags), true)                         \
    X(event_destroy, "cuEventDestroy_v2", (dcmi_cu_event event), true)         \
    X(event_record, "cuEventRecord",                                           \
      (dcmi_cu_event event, dcmi_cu_stream stream), true)                      \
    X(event_query, "cuEventQuery", (dcmi_cu_event event), true)                \
    X(event_sync, "cuEventSynchronize", (dcmi_cu_event event), true)           \
    X(event_elapsed, "cuEventElapsedTime",                                     \
      (float *ms_p, dcmi_cu_event from, dcmi_cu_event to), true)               \
    X(mem_alloc, "cuMemAlloc_v2", (dcmi_cu_ptr * ptr_p, size_t bytes), true)   \
    X(mem_free, "cuMemFree_v2", (dcmi_cu_ptr ptr), true)                       \
    X(copy_to, "cuMemcpyHtoD_v2",                                              \
      (dcmi_cu_ptr dst, const void *src, size_t bytes), true)                  \
    X(copy_from, "cuMemcpyDtoH_v2",                                            \
      (void *dst, dcmi_cu_ptr src, size_t bytes), true)                        \
    X(copy_to_async, "cuMemcpyHtoDAsync_v2",                                   \
      (dcmi_cu_ptr dst, const void *src, size_t bytes, dcmi_cu_stream stream), \
      true)                                                                    \
    X(set_words_async, "cuMemsetD32Async",                                     \
      (dcmi_cu_ptr dst, unsigned value, size_t n, dcmi_cu_stream stream),      \
      true)                                                                    \
    X(host_alloc, "cuMemHostAlloc",                                            \
      (void **ptr_p, size_t bytes, unsigned flags), true)                      \
    X(host_free, "cuMemFreeHost", (void *ptr), true)                           \
    X(host_register, "cuMemHostRegister_v2",                                   \
      (void *ptr, size_t bytes, unsigned flags), true)                         \
    X(host_unregister, "cuMemHostUnregister", (void *ptr), true)               \
    X(host_pointer, "cuMemHostGetDevicePointer_v2",                            \
      (dcmi_cu_ptr * ptr_p, void *host, unsigned flags), true)                 \
    X(pointer_attribute, "cuPointerGetAttribute",                              \
      (void *value, int attribute, dcmi_cu_ptr ptr), true)                     \
    X(peer_enable, "cuCtxEnablePeerAccess",                                    \
      (dcmi_cu_ctx peer, unsigned flags), true)                                \
    X(ipc_get, "cuIpcGetMemHandle", (dcmi_cu_ipc * handle_p, dcmi_cu_ptr ptr), \
      true)                                                                    \
    X(ipc_open, "cuIpcOpenMemHandle_v2",                                       \
      (dcmi_cu_ptr * ptr_p, dcmi_cu_ipc handle, unsigned flags), true)         \
    X(ipc_close, "cuIpcCloseMemHandle", (dcmi_cu_ptr ptr), true)               \
    X(mem_retain, "cuMemRetainAllocationHandle",                               \
      (dcmi_cu_mem * mem_p, void *at), true)                                   \
    X(mem_create, "cuMemCreate",                                               \
      (dcmi_cu_mem * mem_p, size_t bytes, const dcmi_cu_mem_prop *prop,        \
       unsigned long long flags),                                              \
      true)                                                                    \
    X(mem_release, "cuMemRelease", (dcmi_cu_mem mem), true)                    \
    X(mem_granularity, "cuMemGetAllocationGranularity",                        \
      (size_t * bytes_p, const dcmi_cu_mem_prop *prop, int option), true)      \
    X(mem_reserve, "cuMemAddressReserve",                                      \
      (dcmi_cu_ptr * ptr_p, size_t bytes, size_t align, dcmi_cu_ptr at,        \
       unsigned long long flags),                                              \
      true)                                                                    \
    X(mem_unreserve, "cuMemAddressFree", (dcmi_cu_ptr ptr, size_t bytes),      \
      true)                                                                    \
    X(mem_map, "cuMemMap",                                                     \
      (dcmi_cu_ptr ptr, size_t bytes, size_t offset, dcmi_cu_mem mem,          \
       unsigned long long flags),                                              \
      true)                                                                    \
    X(mem_unmap, "cuMemUnmap", (dcmi_cu_ptr ptr, size_t bytes), true)          \
    X(mem_set_access, "cuMemSetAccess",                                        \
      (dcmi_cu_ptr ptr, size_t bytes, const dcmi_cu_access *access, size_t n), \
      true)                                                                    \
    X(mem_export, "cuMemExportToShareableHandle",                              \
      (void *handle_p, dcmi_cu_mem mem, int type, unsigned long long flags),   \
      true)                                                                    \
    X(mem_import, "cuMemImportFromShareableHandle",                            \
      (dcmi_cu_mem * mem_p, void *handle, int type), true)

typedef struct dcmi_cuda {
#define DCMI_X(member, symbol, args, is_required) dcmi_cu_result(*member) args;
    DCMI_CU_MAP(DCMI_X)
#undef DCMI_X
} dcmi_cuda;

/*
 * The driver, initialised.  With `may_open` false only if the process has it
 * already: a program that has not does not use a GPU.  E_UNSUP says why not.
 */
dcm_status dcmi_cuda_get(const dcmi_cuda **cuda_p, bool may_open);

/* E_DEVICE, or E_NOMEM: the words given, ": ", and the driver's. */
dcm_status dcmi_cuda_err(const dcmi_cuda *cuda, dcmi_cu_result r,
                         const char *fmt, ...) DCMI_PRINTF(3, 4);

/*
 * The context that calls on a device are made in.  The current one of the calling
 * thread: E_UNSUP when it has none.  A primary context is kept alive.
 */
typedef struct dcmi_cuda_home {
    const dcmi_cuda *cuda;
    dcmi_cu_ctx ctx;
    dcmi_cu_device device;
    bool is_retained;
} dcmi_cuda_home;

dcm_status dcmi_cuda_home_here(dcmi_cuda_home *home);
void dcmi_cuda_home_leave(dcmi_cuda_home *home);

/* Make the home current; what dcmi_cuda_exit() undoes. */
dcm_status dcmi_cuda_enter(const dcmi_cuda_home *home, bool *is_pushed_p);
void dcmi_cuda_exit(const dcmi_cuda_home *home, bool is_pushed);

#endif /* DCMI_DEVICE_CUDA_DRIVER_H */

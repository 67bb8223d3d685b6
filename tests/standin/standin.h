/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for NVIDIA's driver: libcuda.so.1 over host memory, for tests on
 * machines without a GPU.  docs/standin.md says what it shows and what it does not.
 *
 * Every call of the driver's X-list is a function standin_MEMBER here, under the
 * driver's symbol; a call that is missing does not link.
 *
 * One lock guards everything but what operations of streams do when they run.
 */
#ifndef DCM_STANDIN_H
#define DCM_STANDIN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/peer/kernels/args.h"
#include "device/cuda/driver.h"

/* A thread's own, in its static block: ThreadSanitizer does not know the other. */
#define STANDIN_THREAD _Thread_local __attribute__((tls_model("initial-exec")))

#define STANDIN_API __attribute__((visibility("default")))

#define DCMI_X(member, symbol, args, is_required)                              \
    STANDIN_API dcmi_cu_result standin_##member args __asm__(symbol);
DCMI_CU_MAP(DCMI_X)
#undef DCMI_X

/* X(NAME, the driver's number, its name) */
#define STANDIN_ERROR_MAP(X)                                                   \
    X(INVALID, 1, "CUDA_ERROR_INVALID_VALUE")                                  \
    X(NOMEM, 2, "CUDA_ERROR_OUT_OF_MEMORY")                                    \
    X(NOT_INITIALIZED, 3, "CUDA_ERROR_NOT_INITIALIZED")                        \
    X(NO_DEVICE, 100, "CUDA_ERROR_NO_DEVICE")                                  \
    X(BAD_DEVICE, 101, "CUDA_ERROR_INVALID_DEVICE")                            \
    X(BAD_IMAGE, 200, "CUDA_ERROR_INVALID_IMAGE")                              \
    X(BAD_CONTEXT, 201, "CUDA_ERROR_INVALID_CONTEXT")                          \
    X(BAD_HANDLE, 400, "CUDA_ERROR_INVALID_HANDLE")                            \
    X(NOT_FOUND, 500, "CUDA_ERROR_NOT_FOUND")                                  \
    X(BUSY, 600, "CUDA_ERROR_NOT_READY")                                       \
    X(MAPPED_ALREADY, 208, "CUDA_ERROR_ALREADY_MAPPED")                        \
    X(PEER_ENABLED, 704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED")             \
    X(REGISTERED_ALREADY, 712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED")    \
    X(NOT_REGISTERED, 713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED")            \
    X(CAPTURING, 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")                 \
    X(CAPTURE_BROKEN, 901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")            \
    X(CAPTURE_OTHER, 902, "CUDA_ERROR_STREAM_CAPTURE_MERGE")                   \
    X(CAPTURE_ISOLATION, 905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION")

enum {
#define STANDIN_X(NAME, number, name) STANDIN_##NAME = (number),
    STANDIN_ERROR_MAP(STANDIN_X)
#undef STANDIN_X
};

enum {
    STANDIN_DEVICES = 16, /* most */
    STANDIN_BLOCK = DCMK_HOST_THREADS,
    STANDIN_STACK = 16, /* contexts pushed by a thread */
    STANDIN_GRANULE = 2 << 20
};

typedef struct standin_stream standin_stream;
typedef struct standin_event standin_event;
typedef struct standin_graph standin_graph;
typedef struct standin_op standin_op;

typedef struct standin_ctx {
    int device;
    unsigned users;
    standin_stream *null_stream; /* made when first used */
    uint32_t peers;              /* a bit a device whose access is enabled */
} standin_ctx;

/* One piece of a stream's work. */
struct standin_op {
    standin_op *next;
    void (*run)(standin_op *op);
    standin_event *event; /* of records and waits */
    uint64_t ticket;
    union {
        struct {
            dcmk_host_fn fn;
            dcmk_exchange args; /* the largest there are */
            uint32_t grid;
            uint32_t threads;
        } launch;
        struct {
            uint64_t dst;
            uint64_t src; /* or the word */
            size_t n;
        } move;
    } u;
};

/* A queue and a thread that empties it; `graph` is set while it is captured. */
struct standin_stream {
    standin_stream *next;
    standin_ctx *ctx;
    standin_graph *graph;
    standin_op *head; /* the one that runs */
    standin_op *tail;
    pthread_cond_t work;
    uint64_t sent; /* operations so far */
    uint64_t done;
    bool is_ending;
};

struct standin_event {
    standin_event *next;
    unsigned users;
    uint64_t ticket;   /* of the last record */
    uint64_t done;     /* of the last one that has run */
    uint64_t captured; /* the capture that the last record was in, or 0 */
    uint64_t time_ns;
};

/* Operations in the order of their capture: one of the orders that are allowed. */
struct standin_graph {
    standin_graph *next;
    standin_op *head;
    standin_op *tail;
    uint64_t number;
    pthread_t thread;
    int mode;
    bool is_broken;
};

typedef enum standin_kind {
    STANDIN_DEVICE,     /* mem_alloc */
    STANDIN_POOL,       /* cuMemAllocAsync */
    STANDIN_MANAGED,    /* cuMemAllocManaged */
    STANDIN_HOST,       /* host_alloc */
    STANDIN_REGISTERED, /* host_register */
    STANDIN_OPENED,     /* another process's, by its handle */
    STANDIN_RESERVED,   /* addresses */
    STANDIN_MAPPED      /* physical memory at reserved addresses */
} standin_kind;

/* Physical memory's handle. */
typedef struct standin_physical {
    int fd;
    size_t bytes;
    int device;
    int handle_types;
    bool is_imported;
    unsigned users; /* handles and mappings */
} standin_physical;

typedef struct standin_range {
    struct standin_range *next;
    uint64_t base;
    size_t bytes;
    standin_kind kind;
    int device;
    int fd;                /* of an allocation; -1: none */
    bool is_open;          /* MAPPED: access was given */
    standin_physical *mem; /* of MAPPED */
    dcmi_cu_ipc handle;    /* of OPENED */
} standin_range;

extern pthread_mutex_t standin_lock;
extern pthread_cond_t standin_moved; /* an operation has ended */

/* ---- what tests ask, by dlsym() ------------------------------------------- */

/* X(NAME): what is made and unmade. */
#define STANDIN_LIVE_MAP(X)                                                    \
    X(CONTEXTS)                                                                \
    X(STREAMS)                                                                 \
    X(EVENTS)                                                                  \
    X(MODULES)                                                                 \
    X(GRAPHS)                                                                  \
    X(MEMORY)                                                                  \
    X(MAPPINGS)                                                                \
    X(REGIONS)

enum {
#define STANDIN_X(NAME) STANDIN_##NAME,
    STANDIN_LIVE_MAP(STANDIN_X)
#undef STANDIN_X
    STANDIN_LIVE
};

typedef struct standin_counts {
    long of[STANDIN_LIVE];
} standin_counts;

/* How many of each this process has. */
STANDIN_API void standin_count(standin_counts *counts);
/* The stream runs nothing that comes now until all holds are let go. */
STANDIN_API dcmi_cu_result standin_hold(dcmi_cu_stream stream);
STANDIN_API void standin_let_go(void);

typedef void (*standin_count_fn)(standin_counts *counts);
typedef dcmi_cu_result (*standin_hold_fn)(dcmi_cu_stream stream);
typedef void (*standin_let_go_fn)(void);

/* ---- inside --------------------------------------------------------------- */

/* device.c: numbers from the environment, contexts. */
long standin_setting(const char *name, long fallback);
standin_ctx *standin_ctx_here(void);
void standin_live_add(int what, long n); /* with the lock held */

/* stream.c; all with the lock held.  A stream: NULL stands for the context's. */
standin_stream *standin_stream_of(dcmi_cu_stream stream);
dcmi_cu_result standin_submit(standin_stream *s, const standin_op *op);
void standin_append(standin_op **head, standin_op **tail, standin_op *op);
void standin_drop(standin_op *head);
/* Wait for the operations of now, not of later: streams may be fed all the time. */
void standin_finish(standin_stream *s);
void standin_drain(const standin_ctx *ctx);
standin_op *standin_copy_op(const standin_op *op);
standin_stream *standin_streams(void);

/*
 * graph.c, with the lock held: whether this thread may make calls that a capture
 * forbids; it breaks the capture if not.
 */
bool standin_may(void);

/* range.c, with the lock held: memory by its addresses. */
standin_range *standin_range_add(standin_kind kind, uint64_t base,
                                 size_t bytes);
bool standin_range_remove(standin_kind kind, uint64_t base);
standin_range *standin_range_at(standin_kind kind, uint64_t base);
standin_range *standin_ranges(void);
/* What a device reaches at `at`; whether it reaches all of [at, at + bytes). */
const standin_range *standin_range_of(uint64_t at);
bool standin_reaches(uint64_t at, size_t bytes);

/* memory.c */
int standin_memory_fd(size_t bytes); /* -1: failed */
size_t standin_up(size_t bytes, size_t to);

/* The driver's calls that only tests make, by dlsym(). */
STANDIN_API dcmi_cu_result
standin_managed(dcmi_cu_ptr *ptr_p, size_t bytes,
                unsigned flags) __asm__("cuMemAllocManaged");
STANDIN_API dcmi_cu_result
standin_pool(dcmi_cu_ptr *ptr_p, size_t bytes,
             dcmi_cu_stream stream) __asm__("cuMemAllocAsync");
STANDIN_API dcmi_cu_result standin_pool_free(
    dcmi_cu_ptr ptr, dcmi_cu_stream stream) __asm__("cuMemFreeAsync");

#endif /* DCM_STANDIN_H */

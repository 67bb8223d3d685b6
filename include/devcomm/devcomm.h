/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DCM_DEVCOMM_H
#define DCM_DEVCOMM_H

/*
 * Device communicators: collectives between the processors of one machine.
 *
 * No vendor header is included here: a stream is a void pointer, so that the
 * CPU build and every binding read the same file.
 *
 * A handle is used by one thread at a time; dcm_comm_abort() alone may be
 * called from any thread or signal handler.  Outputs come first, end in _p and
 * are written only on success.  Whoever makes an object frees it.  A call is
 * "collective" when every rank of the object must make it, in the same order.
 * After a collective failed (peer dead, deadline, mismatch, abort) the
 * communicator is failed for good: only dcm_comm_regroup(), the getters and
 * dcm_comm_free() are useful then.
 */

#include <stddef.h>
#include <stdint.h>

#include <devcomm/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DCM_API      __attribute__((visibility("default")))
#define DCM_MUST_USE __attribute__((warn_unused_result))
#else
#define DCM_API
#define DCM_MUST_USE
#endif

/* One list makes the enum, dcm_status_str() and the bindings' exceptions. */
#define DCM_STATUS_MAP(X)                                                      \
    X(OK, 0, "success")                                                        \
    X(AGAIN, 1, "not ready yet; call again")                                   \
    X(E_INVAL, -1, "invalid argument")                                         \
    X(E_NOMEM, -2, "out of memory")                                            \
    X(E_UNSUP, -3, "not supported here")                                       \
    X(E_SYS, -4, "a system call failed")                                       \
    X(E_DEVICE, -5, "a device or driver call failed")                          \
    X(E_PEER, -6, "a peer died or left")                                       \
    X(E_TIMEOUT, -7, "the deadline passed")                                    \
    X(E_ABI, -8, "built against another version")                              \
    X(E_BUSY, -9, "in use")                                                    \
    X(E_MISMATCH, -10, "the ranks called different operations")                \
    X(E_ABORTED, -11, "aborted")

typedef enum dcm_status {
#define DCM_X(name, value, text) DCM_##name = (value),
    DCM_STATUS_MAP(DCM_X)
#undef DCM_X
} dcm_status;

/* X(name, value, bytes of one element, text) */
#define DCM_DTYPE_MAP(X)                                                       \
    X(F64, 0, 8, "f64")                                                        \
    X(F32, 1, 4, "f32")                                                        \
    X(F16, 2, 2, "f16")                                                        \
    X(BF16, 3, 2, "bf16")                                                      \
    X(F8E4M3, 4, 1, "f8e4m3")                                                  \
    X(F8E5M2, 5, 1, "f8e5m2")                                                  \
    X(I8, 6, 1, "i8")                                                          \
    X(U8, 7, 1, "u8")                                                          \
    X(I32, 8, 4, "i32")                                                        \
    X(U32, 9, 4, "u32")                                                        \
    X(I64, 10, 8, "i64")                                                       \
    X(U64, 11, 8, "u64")

typedef enum dcm_dtype {
#define DCM_X(name, value, bytes, text) DCM_##name = (value),
    DCM_DTYPE_MAP(DCM_X)
#undef DCM_X
} dcm_dtype;

/* X(name, value, text); docs/numerics.md has the rules. */
#define DCM_OP_MAP(X)                                                          \
    X(SUM, 0, "sum")                                                           \
    X(PROD, 1, "prod")                                                         \
    X(MIN, 2, "min")                                                           \
    X(MAX, 3, "max")                                                           \
    X(AVG, 4, "avg")

typedef enum dcm_op {
#define DCM_X(name, value, text) DCM_##name = (value),
    DCM_OP_MAP(DCM_X)
#undef DCM_X
} dcm_op;

enum {
    DCM_NDTYPES = 12,
    DCM_NOPS = 5,
    DCM_MAX_RANKS = 64, /* of one communicator */
};

typedef struct dcm_group dcm_group;
typedef struct dcm_comm dcm_comm;
typedef struct dcm_arena dcm_arena;
typedef void *dcm_stream; /* cudaStream_t, hipStream_t, or NULL on the CPU */

DCM_API int dcm_version(void);
DCM_API const char *dcm_status_str(dcm_status st); /* never NULL */
DCM_API const char *dcm_errmsg(void); /* this thread's last failure, or "" */

DCM_API size_t dcm_dtype_bytes(dcm_dtype dtype);    /* 0: no such type */
DCM_API const char *dcm_dtype_str(dcm_dtype dtype); /* NULL: no such type */
DCM_API const char *dcm_op_str(dcm_op op);          /* NULL: no such operator */

enum {
    DCM_LOG_ERROR = 1,
    DCM_LOG_WARN = 2,
    DCM_LOG_INFO = 3
};

/*
 * Messages go to `fn` (NULL: nowhere, the default), from any thread; `arg` is
 * handed through.  DEVCOMM_LOG=error|warn|info sends them to standard error.
 */
typedef void (*dcm_log_fn)(void *arg, int level, const char *message);
DCM_API void dcm_log_set(dcm_log_fn fn, void *arg, int level);

/* ---- groups: who the ranks are -------------------------------------------- */

enum {
    /* Take part over TCP beyond this host although there is no token. */
    DCM_GROUP_ALLOW_NO_TOKEN = 1u << 0,
};

/* Zero is the default of every field.  Fields are only ever appended. */
typedef struct dcm_group_opts {
    size_t size;         /* sizeof(dcm_group_opts) as the caller saw it */
    const char *name;    /* tells groups of one job apart; NULL: "" */
    const char *token;   /* the job's secret; NULL: DEVCOMM_TOKEN */
    const char *host;    /* force a host identity; NULL: DEVCOMM_HOST */
    uint32_t timeout_ms; /* default deadline; 0: DEVCOMM_TIMEOUT_MS, 600000 */
    uint32_t flags;      /* DCM_GROUP_* */
} dcm_group_opts;

#define DCM_GROUP_OPTS_INIT                                                    \
    {                                                                          \
        sizeof(dcm_group_opts), NULL, NULL, NULL, 0, 0                         \
    }

/*
 * Make a group from what the launcher left in the environment: DEVCOMM_*,
 * torchrun, Open MPI, MPICH/PMI or Slurm; docs/launchers.md says which variable
 * wins.  Collective over the ranks that the launcher started.
 *
 * Fails with E_INVAL (no or contradicting variables), E_TIMEOUT (names the
 * ranks that did not come), E_PEER, E_SYS, E_NOMEM, E_ABI.
 */
DCM_API DCM_MUST_USE dcm_status dcm_group_new_env(dcm_group **group_p,
                                                  const dcm_group_opts *opts);

/*
 * Make a group by meeting at `address`: "unix:NAME" (an abstract socket of this
 * user, one host) or "tcp:HOST:PORT" (rank 0 listens there).  Collective.
 * Beyond loopback TCP wants a token or DCM_GROUP_ALLOW_NO_TOKEN.
 */
DCM_API DCM_MUST_USE dcm_status dcm_group_new(dcm_group **group_p,
                                              const char *address, int rank,
                                              int nranks,
                                              const dcm_group_opts *opts);

/*
 * All-gather given by the caller: every rank passes `bytes` bytes at `mine`;
 * `all` receives nranks times as many, in rank order.  Returns 0, or non-zero
 * for a failure, which ends the creation on this rank.  It is only called
 * inside dcm_group_new_fn() and, between hosts, inside later exchanges.  It
 * needs a time limit of its own: the library cannot end a call into it.
 */
typedef int (*dcm_all_gather_fn)(void *arg, const void *mine, void *all,
                                 size_t bytes);
DCM_API DCM_MUST_USE dcm_status dcm_group_new_fn(dcm_group **group_p, int rank,
                                                 int nranks,
                                                 dcm_all_gather_fn fn,
                                                 void *arg,
                                                 const dcm_group_opts *opts);

/*
 * Make all ranks of a group inside this process: `groups` receives `nranks`
 * handles.  Hand each to its thread, or keep several in one thread (then use
 * dcm_comm_new_multi() and put operations between dcm_begin() and dcm_end()).
 */
DCM_API DCM_MUST_USE dcm_status dcm_group_new_local(dcm_group **groups,
                                                    int nranks,
                                                    const dcm_group_opts *opts);

DCM_API void dcm_group_free(dcm_group *group); /* local; NULL is allowed */

/* Getters return -1 for NULL. */
DCM_API int dcm_group_rank(const dcm_group *group);
DCM_API int dcm_group_nranks(const dcm_group *group);
DCM_API int dcm_group_nhosts(const dcm_group *group);
/* Number of the host that `rank` runs on, 0 .. nhosts-1; -1: no such rank. */
DCM_API int dcm_group_host_of(const dcm_group *group, int rank);

enum {
    DCM_EXCHANGE_MAX = 4096
}; /* bytes a rank in one exchange */

/*
 * All-gather `bytes` (0 to DCM_EXCHANGE_MAX) of host memory from every rank:
 * `all` receives nranks * bytes in rank order.  Collective.  timeout_ms 0: the
 * group's.  Fails with E_INVAL, E_PEER, E_TIMEOUT (both name the ranks) and
 * E_MISMATCH (the ranks gave different sizes).
 */
DCM_API DCM_MUST_USE dcm_status dcm_group_exchange(dcm_group *group,
                                                   const void *mine, void *all,
                                                   size_t bytes,
                                                   uint32_t timeout_ms);

/* ---- communicators -------------------------------------------------------- */

typedef struct dcm_comm_opts {
    size_t size;         /* sizeof(dcm_comm_opts) as the caller saw it */
    const char *backend; /* NULL: DEVCOMM_BACKEND, else the best that probes */
    const char *algo;    /* force an algorithm; NULL: DEVCOMM_ALGO, the plan */
    uint32_t timeout_ms; /* deadline of every call; 0: the group's */
    uint32_t flags;      /* none yet */
} dcm_comm_opts;

#define DCM_COMM_OPTS_INIT                                                     \
    {                                                                          \
        sizeof(dcm_comm_opts), NULL, NULL, 0, 0                                \
    }

/*
 * Make a communicator of all ranks of `group`, which must outlive it.
 * Collective; several may be made from one group.
 *
 * Fails, on all ranks alike, with E_INVAL, E_NOMEM, E_UNSUP (no backend serves
 * these ranks; dcm_errmsg() lists why for each), E_TIMEOUT, E_PEER, E_ABI.
 */
DCM_API DCM_MUST_USE dcm_status dcm_comm_new(dcm_comm **comm_p,
                                             dcm_group *group,
                                             const dcm_comm_opts *opts);

/* The same for `n` ranks that live in this thread: comms[i] of groups[i]. */
DCM_API DCM_MUST_USE dcm_status dcm_comm_new_multi(dcm_comm **comms,
                                                   dcm_group *const *groups,
                                                   int n,
                                                   const dcm_comm_opts *opts);

enum {
    DCM_SPLIT_NONE = -1
}; /* a colour: this rank gets no communicator */

/*
 * Split into one communicator a colour, ranks ordered by (key, old rank).
 * Collective over `comm`, which stays usable.  The new communicator owns its
 * group.  *comm_p is NULL for DCM_SPLIT_NONE.
 */
DCM_API DCM_MUST_USE dcm_status dcm_comm_split(dcm_comm **comm_p,
                                               dcm_comm *comm, int colour,
                                               int key,
                                               const dcm_comm_opts *opts);

/*
 * Make a communicator of the ranks that are still alive, in the old order.
 * Collective over the survivors of a failed `comm`; each learns the same set.
 * Fails with E_TIMEOUT when a living rank does not call it in time.  After
 * E_NOMEM it may be called again.
 */
DCM_API DCM_MUST_USE dcm_status dcm_comm_regroup(dcm_comm **comm_p,
                                                 dcm_comm *comm,
                                                 const dcm_comm_opts *opts);

/*
 * Leave together: returns when every rank has called it or the deadline
 * passed.  Optional; dcm_comm_free() never waits for a peer.
 */
DCM_API DCM_MUST_USE dcm_status dcm_comm_finalize(dcm_comm *comm,
                                                  uint32_t timeout_ms);
DCM_API void dcm_comm_free(dcm_comm *comm); /* local; NULL is allowed */

/*
 * Make every rank's pending and later calls on `comm` return E_ABORTED.  Any
 * thread, any time before dcm_comm_free(), signal handlers too.
 */
DCM_API void dcm_comm_abort(dcm_comm *comm);

/* OK, or the status that the communicator failed with.  Never waits. */
DCM_API dcm_status dcm_comm_check(dcm_comm *comm);

/* Deadline of the calls that follow, of this rank; 0: the default again. */
DCM_API void dcm_comm_set_timeout(dcm_comm *comm, uint32_t timeout_ms);

/* What the first failure of this communicator was, as this rank saw it. */
typedef struct dcm_failure {
    size_t size;    /* in: sizeof(dcm_failure) */
    int status;     /* dcm_status; DCM_OK: none yet */
    int rank;       /* the rank at fault; -1: none can be named */
    int pid;        /* its process id as it knows itself; 0: unknown */
    int reporter;   /* the rank that found it */
    uint64_t epoch; /* number of the operation, from 1 */
    uint64_t waited_ns;
    char op[16];       /* "all_reduce" */
    char phase[16];    /* "gather" */
    char message[256]; /* what dcm_errmsg() said */
} dcm_failure;

DCM_API void dcm_comm_failure(const dcm_comm *comm, dcm_failure *out);

typedef struct dcm_comm_info {
    size_t size; /* in: sizeof(dcm_comm_info) */
    int rank;
    int nranks;
    const char *backend;  /* lives as long as the communicator */
    size_t shared_bytes;  /* shared memory reserved now, all ranks */
    size_t reserve_bytes; /* most that this rank count can come to take */
    uint64_t operations;  /* enqueued so far by this rank */
} dcm_comm_info;

DCM_API void dcm_comm_info_get(const dcm_comm *comm, dcm_comm_info *out);
DCM_API int dcm_comm_rank(const dcm_comm *comm);
DCM_API int dcm_comm_nranks(const dcm_comm *comm);

/*
 * Write to `text` which path this all-reduce would take and why each faster one
 * is not taken: "ALGORITHM: ...".  src and dst may be NULL: memory outside any
 * arena.  Local; always ends in a zero byte.
 */
DCM_API DCM_MUST_USE dcm_status dcm_comm_explain(dcm_comm *comm, char *text,
                                                 size_t bytes, const void *src,
                                                 void *dst, size_t count,
                                                 dcm_dtype dtype, dcm_op op);

/* A call to explain; zero is the default of every field. */
typedef struct dcm_call {
    size_t size;      /* sizeof(dcm_call) as the caller saw it */
    const char *name; /* "all_gather", "send", ...: without dcm_ and _v */
    const void *src;  /* NULL, and so dst: memory outside any arena */
    void *dst;
    size_t count; /* as the function's; ignored where `counts` is given */
    dcm_dtype dtype;
    dcm_op op;
    int root;             /* of a send or recv the peer */
    size_t inner;         /* of all_gather_inner; 0: another's */
    const size_t *counts; /* of a v-variant what it sends; NULL: another's */
    const size_t *recv_counts; /* of all_to_all_v */
} dcm_call;

#define DCM_CALL_INIT                                                          \
    {                                                                          \
        sizeof(dcm_call), NULL, NULL, NULL, 0, DCM_F64, DCM_SUM, 0, 0, NULL,   \
            NULL                                                               \
    }

/* The same for any operation of a communicator. */
DCM_API DCM_MUST_USE dcm_status dcm_comm_explain_call(dcm_comm *comm,
                                                      char *text, size_t bytes,
                                                      const dcm_call *call);

/* ---- collectives ---------------------------------------------------------- */

/*
 * Combine `count` elements of all ranks, in rank order, into `dst` of all
 * ranks: every rank gets the same bits.  `src` == `dst` is in place; any other
 * overlap is E_INVAL.  Any alignment, any count, 0 included.  Collective.  On
 * the CPU it returns when dst is complete and `stream` is NULL.  On a GPU it is
 * enqueued on `stream`, may be captured in a graph, and reports a later failure by
 * the next call or dcm_comm_check().  Graphs with calls of one communicator must not
 * be replayed at once on one rank.
 *
 * E_INVAL leaves the communicator as it was; E_PEER, E_TIMEOUT, E_MISMATCH, E_BUSY
 * (such graphs were), E_ABORTED, E_NOMEM and E_UNSUP (a forced algorithm that cannot serve the call)
 * fail it for good, on all ranks.
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_reduce(dcm_comm *comm, const void *src,
                                               void *dst, size_t count,
                                               dcm_dtype dtype, dcm_op op,
                                               dcm_stream stream);

/*
 * The others.  Every rank of the communicator makes the call, with the same kind,
 * type, operator, root and counts; what is said of all_reduce about alignment,
 * errors and return holds here too.  Counts and displacements are in elements.
 * Arrays of them have one entry a rank and are read until the call returns, or
 * dcm_end() between begin and end.  Blocks of dst must not overlap.  Within one
 * machine the root of a rooted call waits until all have called.
 */

/*
 * Combine `count` elements of all ranks, in rank order, into `dst` of `root`;
 * dst is not looked at elsewhere.  In place at the root: src == dst.
 */
DCM_API DCM_MUST_USE dcm_status dcm_reduce(dcm_comm *comm, const void *src,
                                           void *dst, size_t count,
                                           dcm_dtype dtype, dcm_op op, int root,
                                           dcm_stream stream);

/*
 * Copy `count` elements from `src` of `root` to `dst` of every rank; src is not
 * looked at elsewhere.  In place at the root: src == dst.
 */
DCM_API DCM_MUST_USE dcm_status dcm_broadcast(dcm_comm *comm, const void *src,
                                              void *dst, size_t count,
                                              dcm_dtype dtype, int root,
                                              dcm_stream stream);

/*
 * Put `count` elements of every rank, in rank order, into `dst` of `root`
 * (nranks * count elements).  In place at the root: src == dst + root * count.
 */
DCM_API DCM_MUST_USE dcm_status dcm_gather(dcm_comm *comm, const void *src,
                                           void *dst, size_t count,
                                           dcm_dtype dtype, int root,
                                           dcm_stream stream);

/*
 * Give rank r the `count` elements at r * count of `src` of `root`.  In place at
 * the root: dst == src + root * count.
 */
DCM_API DCM_MUST_USE dcm_status dcm_scatter(dcm_comm *comm, const void *src,
                                            void *dst, size_t count,
                                            dcm_dtype dtype, int root,
                                            dcm_stream stream);

/*
 * Put `count` elements of every rank, in rank order, into `dst` of all ranks
 * (nranks * count elements).  In place: src == dst + rank * count.
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_gather(dcm_comm *comm, const void *src,
                                               void *dst, size_t count,
                                               dcm_dtype dtype,
                                               dcm_stream stream);

/*
 * The same along an inner dimension: src is `outer` rows of `inner` elements, dst
 * `outer` rows of nranks * inner, each row the ranks' rows side by side.  Not in
 * place.
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_gather_inner(dcm_comm *comm,
                                                     const void *src, void *dst,
                                                     size_t outer, size_t inner,
                                                     dcm_dtype dtype,
                                                     dcm_stream stream);

/*
 * The same with counts[r] elements from rank r, put at element displs[r] of dst
 * (NULL: packed).  In place: src == dst + displs[rank].
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_gather_v(
    dcm_comm *comm, const void *src, void *dst, const size_t *counts,
    const size_t *displs, dcm_dtype dtype, dcm_stream stream);

/*
 * Combine nranks * count elements of all ranks, in rank order, and give rank r the
 * `count` elements at r * count of the result.  In place: dst == src + rank * count.
 */
DCM_API DCM_MUST_USE dcm_status dcm_reduce_scatter(dcm_comm *comm,
                                                   const void *src, void *dst,
                                                   size_t count,
                                                   dcm_dtype dtype, dcm_op op,
                                                   dcm_stream stream);

/* The same with counts[r] elements for rank r, packed in src. */
DCM_API DCM_MUST_USE dcm_status dcm_reduce_scatter_v(dcm_comm *comm,
                                                     const void *src, void *dst,
                                                     const size_t *counts,
                                                     dcm_dtype dtype, dcm_op op,
                                                     dcm_stream stream);

/*
 * Give rank r the `count` elements at r * count of src; what rank s gives lies at
 * s * count of dst.  In place: src == dst.
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_to_all(dcm_comm *comm, const void *src,
                                               void *dst, size_t count,
                                               dcm_dtype dtype,
                                               dcm_stream stream);

/*
 * The same with counts of each pair's own: send_counts[r] here equals
 * recv_counts[this rank] on rank r, else E_MISMATCH there; the others may be through
 * and get it from their next call.  Displacements NULL: packed.  Not in place.
 */
DCM_API DCM_MUST_USE dcm_status dcm_all_to_all_v(
    dcm_comm *comm, const void *src, const size_t *send_counts,
    const size_t *send_displs, void *dst, const size_t *recv_counts,
    const size_t *recv_displs, dcm_dtype dtype, dcm_stream stream);

/*
 * Give `count` elements to `peer`, which calls dcm_recv() with the same count and
 * type, else E_MISMATCH.  What goes from one rank to another arrives in order; no
 * other rank takes part, and no collective's place in the order is affected.  A
 * send returns when src may be written again, which can be before, or only
 * when, the peer receives: two ranks that send to each other before they receive
 * call both between dcm_begin() and dcm_end().  So does a rank that sends to itself.
 */
DCM_API DCM_MUST_USE dcm_status dcm_send(dcm_comm *comm, const void *src,
                                         size_t count, dcm_dtype dtype,
                                         int peer, dcm_stream stream);
DCM_API DCM_MUST_USE dcm_status dcm_recv(dcm_comm *comm, void *dst,
                                         size_t count, dcm_dtype dtype,
                                         int peer, dcm_stream stream);

/* Returns when every rank has entered.  Collective. */
DCM_API DCM_MUST_USE dcm_status dcm_barrier(dcm_comm *comm, dcm_stream stream);

/*
 * Operations between begin and end are collected and run by dcm_end(): of one
 * communicator first the collectives in order, then all its sends and receives side
 * by side; those of different ones together: this is how one thread drives several
 * ranks.  Nests.  dcm_end() returns the first failure.  Calls in between check
 * their arguments and return at once.
 */
DCM_API DCM_MUST_USE dcm_status dcm_begin(void);
DCM_API DCM_MUST_USE dcm_status dcm_end(void);

/* ---- symmetric memory ----------------------------------------------------- */

/*
 * Memory of `bytes` on every rank, visible to all: an all-reduce whose buffers lie
 * in it on all ranks makes no copies, the other collectives take src from where it
 * is, on each rank whose src does.  Collective; freed before its communicator.  The memory is
 * reserved in full, zero, and of the same size on all ranks.
 */
DCM_API DCM_MUST_USE dcm_status dcm_arena_new(dcm_arena **arena_p,
                                              dcm_comm *comm, size_t bytes);
/* Local; no rank's later collectives take src from it.  NULL is allowed. */
DCM_API void dcm_arena_free(dcm_arena *arena);

/*
 * Take `bytes` from this rank's part, aligned to 128 bytes.  Local: ranks that
 * make the same calls in the same order get the same offsets.
 */
DCM_API DCM_MUST_USE dcm_status dcm_arena_alloc(dcm_arena *arena, void **ptr_p,
                                                size_t bytes);
DCM_API void dcm_arena_release(dcm_arena *arena, void *ptr);

#ifdef __cplusplus
}
#endif

#endif /* DCM_DEVCOMM_H */

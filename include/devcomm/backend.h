/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DCM_BACKEND_H
#define DCM_BACKEND_H

/*
 * The table that a backend gives the core.  Built-in and loaded ones use the
 * same; docs/backends.md tells how to write one.
 *
 * Slots are only ever appended; `size` says how many a backend knew, `abi`
 * changes if a slot changes its meaning.  Optional slots may be NULL:
 * registration copies the table and puts a stub there, so no caller ever tests
 * a slot.
 */

#include <devcomm/devcomm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCM_BACKEND_ABI   1u
#define DCM_BACKEND_ENTRY "dcm_backend_entry"

enum {
    DCM_BACKEND_WHY = 120,
    DCM_BACKEND_NAME = 16
};

/* What the core gives to a backend; valid from open to close. */
typedef struct dcm_backend_env {
    size_t size;
    dcm_group *group; /* its ranks; for dcm_group_exchange() */
    int rank;
    int nranks;
    uint32_t timeout_ms;
    const char *algo;       /* a forced algorithm, or NULL */
    struct dcmi_team *team; /* built-in backends' view of the communicator */
} dcm_backend_env;

/* X(name, value, text): every operation of a communicator. */
#define DCM_COLL_MAP(X)                                                        \
    X(ALL_REDUCE, 1, "all_reduce")                                             \
    X(BARRIER, 2, "barrier")                                                   \
    X(REDUCE, 3, "reduce")                                                     \
    X(REDUCE_SCATTER, 4, "reduce_scatter")                                     \
    X(ALL_GATHER, 5, "all_gather")                                             \
    X(BROADCAST, 6, "broadcast")                                               \
    X(GATHER, 7, "gather")                                                     \
    X(SCATTER, 8, "scatter")                                                   \
    X(ALL_TO_ALL, 9, "all_to_all")                                             \
    X(SEND, 10, "send")                                                        \
    X(RECV, 11, "recv")

typedef enum dcm_coll_kind {
#define DCM_X(name, value, text) DCM_COLL_##name = (value),
    DCM_COLL_MAP(DCM_X)
#undef DCM_X
} dcm_coll_kind;

/*
 * One collective call, checked: pointers are not NULL where this rank has
 * something to read or write there.  Blocks: `counts` NULL: one of `count`
 * elements a rank, packed.  Else counts[r] elements at element displs[r], on the
 * side where there are several (reduce_scatter: src, all_gather: dst, all_to_all:
 * src, and recv_* for dst); displs NULL: packed.  Of a send or recv, `root` is the
 * other rank.
 */
typedef struct dcm_coll {
    size_t size;
    const void *src;
    void *dst;
    size_t count;
    dcm_dtype dtype;
    dcm_op op;
    dcm_stream stream;
    dcm_coll_kind kind;
    int root;
    size_t inner; /* all_gather: elements of a row; 0: the whole block is one */
    const size_t *counts;
    const size_t *displs;
    const size_t *recv_counts;
    const size_t *recv_displs;
} dcm_coll;

typedef struct dcm_backend_ops {
    uint32_t abi;
    uint32_t size;
    const char *name; /* what DEVCOMM_BACKEND and opts->backend match */

    /*
     * Cheap, silent, local.  *score_p 0: not usable for this group, and why, in
     * one line, in `why`.  Ranks may score differently: the least counts.
     */
    dcm_status (*probe)(int *score_p, dcm_group *group, char *why,
                        size_t why_bytes);
    /* Collective; a failure of one rank must be a failure of all. */
    dcm_status (*open)(void **ctx_p, const dcm_backend_env *env);
    void (*close)(void *ctx); /* local, never waits */

    /* Hot path: no allocation, no system call, no lock, no log. */
    dcm_status (*all_reduce)(void *ctx, const dcm_coll *coll);
    dcm_status (*barrier)(void *ctx, const dcm_coll *coll);

    /* Optional from here on. */

    /* Which path a call takes, and why no faster one. */
    dcm_status (*explain)(void *ctx, char *text, size_t bytes,
                          const dcm_coll *coll);
    /* Shared memory that all ranks take now, and at most. */
    void (*footprint)(void *ctx, size_t *now_p, size_t *most_p);
    /* Symmetric memory: map `bytes` a rank; bases[r] in this process. */
    dcm_status (*arena_new)(void *ctx, void **arena_p, size_t bytes,
                            void **base_p);
    void (*arena_free)(void *ctx, void *arena);
    /* Every other collective; the same rules as all_reduce. */
    dcm_status (*collective)(void *ctx, const dcm_coll *coll);
    /*
     * Sends and receives that run side by side; those to one rank, and those from
     * one, in order.
     */
    dcm_status (*messages)(void *ctx, const dcm_coll *const *calls,
                           size_t n_calls);
    /*
     * What failed after a call had returned, on a device: fails the communicator
     * and returns its status.  Never waits.
     */
    dcm_status (*check)(void *ctx);
} dcm_backend_ops;

typedef const dcm_backend_ops *(*dcm_backend_entry_fn)(void);

/* Add a backend for the communicators made from now on; any thread. */
DCM_API DCM_MUST_USE dcm_status
dcm_backend_register(const dcm_backend_ops *ops);

/* Load a backend from a file, by its absolute path, and register it. */
DCM_API DCM_MUST_USE dcm_status dcm_backend_load(const char *path);

/*
 * Backend `i` in order of preference, probed for `group`: its name and, when it
 * is not usable, why.  E_INVAL past the last one.
 */
DCM_API DCM_MUST_USE dcm_status dcm_backend_list(size_t i, dcm_group *group,
                                                 const char **name_p,
                                                 int *score_p, char *why,
                                                 size_t why_bytes);

#ifdef __cplusplus
}
#endif

#endif /* DCM_BACKEND_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the peer backend's files share: one rank's state.
 *
 * Memory      Staging of every rank, mapped by all (symmetric.h), or in a segment
 *             of host memory; the watch and the epoch words, in this rank's device
 *             memory; the record, in pinned host memory.  The team's and the hall's pages are mapped into
 *             the device, so that kernels read the fail word and the life words.
 * Failure     A kernel that gives up writes the record; from then on this rank's
 *             kernels end at once.  The next call, or dcm_comm_check(), turns the
 *             record into the team's failure, which the other ranks' kernels see.
 * Streams     Calls of one rank follow each other: a call on another stream than
 *             the last one waits for it by an event.
 */
#ifndef DCMI_PEER_CTX_H
#define DCMI_PEER_CTX_H

#include <devcomm/backend.h>

#include <stdbool.h>

#include "backend/peer/exchange.h"
#include "backend/peer/plan.h"
#include "device/cuda/driver.h"
#include "group/team.h"
#include "memory/device.h"
#include "memory/segment.h"
#include "memory/symmetric.h"

typedef struct dcmi_peer {
    dcmi_team *team;
    int rank;
    int nranks;
    dcmi_cuda_home home;
    dcmi_peer_layout lay;
    bool is_forced;
    dcmi_peer_algo forced;
    int sharing; /* ranks on this rank's device, itself included */
    bool has_dependent_launch;
    char device_name[64];

    dcmi_cu_module module;
    dcmi_cu_function fn[DCMI_PEER_ALGOS][DCMI_PEER_WHATS];
    dcmi_cu_function fn_mover[DCMI_PEER_MOVERS];
    dcmi_cu_function fn_staged_mover[DCMI_PEER_MOVERS];
    dcmi_cu_function fn_barrier;
    dcmi_cu_function fn_probe;
    dcmi_symmetric *staging; /* NULL: it is in host memory */
    dcmi_segment *host;      /* that */
    void *host_page;         /* registered, or NULL */
    char why_staged[200];
    dcmi_device_mem *own; /* `local` where the staging is not the device's */
    dcmi_cu_ptr local;    /* watch, epochs, numbers of the first test */
    dcmk_record *record;  /* pinned */
    void *team_page;      /* registered, or NULL */
    void *hall_page;
    dcmk_args args; /* what is the same in every call */

    dcmi_cu_stream stream; /* of creation: nothing waits for the whole device */
    dcmi_cu_event event;   /* for calls that change the stream */
    dcm_stream last;
    bool has_last;

    struct dcmi_peer *next; /* close.c: of those that linger */
    dcmi_mapping *kept_team;
    dcmi_mapping *kept_hall;
} dcmi_peer;

/* In local memory. */
enum {
    DCMI_PEER_EPOCHS_AT = 4096, /* behind the watch */
    DCMI_PEER_TEST_AT = 8192,
    DCMI_PEER_TEST_COUNT = 1500,
    DCMI_PEER_COUNTERS_AT = 16384,
    DCMI_PEER_COUNTERS = 2 * DCMK_RANKS * DCMK_MESSAGE_GRID,
    DCMI_PEER_LOCAL_BYTES = DCMI_PEER_COUNTERS_AT + DCMI_PEER_COUNTERS * 8
};

/* open.c */
dcm_status dcmi_peer_open(void **ctx_p, const dcm_backend_env *env);
dcm_status dcmi_peer_probe(int *score_p, dcm_group *group, char *why,
                           size_t why_bytes);

/* peer_test.c: on fresh staging; E_UNSUP on all ranks alike. */
dcm_status dcmi_peer_test(dcmi_peer *c, const dcm_backend_env *env);

/*
 * staging.c: phase 3; on the devices, or, where that cannot be, in host memory.
 * `st`, and the error record, is what forbids the devices for this rank; `threads`
 * run at once on every rank.
 */
dcm_status dcmi_peer_make_staging(dcmi_peer *c, const dcm_backend_env *env,
                                  uint64_t threads, dcm_status st);

/* fill.c: phase 3, when the staging is mapped. */
dcm_status dcmi_peer_fill_memory(dcmi_peer *c);

/* first_test.c: phase 4; all ranks together. */
dcm_status dcmi_peer_first_test(dcmi_peer *c);

/* close.c; also frees those whose streams were busy, where they are no longer. */
void dcmi_peer_close(void *ctx);
void dcmi_peer_reap(void);

/* launch.c */
dcm_status dcmi_peer_all_reduce(void *ctx, const dcm_coll *coll);
dcm_status dcmi_peer_barrier(void *ctx, const dcm_coll *coll);
dcm_status dcmi_peer_launch(dcmi_peer *c, dcmi_cu_function fn, dcmk_args *args,
                            uint32_t grid, uint32_t threads, dcm_stream stream);

/* What every call begins with: not failed, in its context, behind the last. */
dcm_status dcmi_peer_begin(dcmi_peer *c, dcm_stream stream, const char *op,
                           bool *is_pushed_p);
dcm_status dcmi_peer_end(dcmi_peer *c, bool is_pushed, dcm_status st);
dcm_status dcmi_peer_check_pointer(const dcmi_peer *c, const void *ptr,
                                   const char *what, dcm_coll_kind kind);

/* collective.c and messages.c */
dcm_status dcmi_peer_collective(void *ctx, const dcm_coll *coll);
dcm_status dcmi_peer_messages(void *ctx, const dcm_coll *const *calls,
                              size_t n_calls);
void dcmi_peer_explain_moves(const dcmi_peer *c, char *text, size_t bytes,
                             const dcm_coll *coll);
void dcmi_peer_begin_exchange(const dcmi_peer *c, dcmk_exchange *x);
dcm_status dcmi_peer_launch_move(dcmi_peer *c, const dcmi_peer_move *s,
                                 dcmk_exchange *x, dcm_stream stream);
dcmi_peer_algo dcmi_peer_algo_of(const dcmi_peer *c, const dcm_coll *coll);

/* failure.c: OK, or the failure that a kernel or another rank has found. */
dcm_status dcmi_peer_find_failure(void *ctx);

static inline bool dcmi_peer_has_record(const dcmi_peer *c)
{
    return __atomic_load_n(&c->record->state, __ATOMIC_ACQUIRE) != 0;
}

#endif /* DCMI_PEER_CTX_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One communicator as it is seen from outside: read from copies of its segment,
 * every number of which may be wrong, since any process of the job can write
 * there.  What is in these structs is checked: ranks are below the count, texts
 * end and are printable, times are not in the future.
 */
#ifndef DCMI_INSPECT_COMM_H
#define DCMI_INSPECT_COMM_H

#include <devcomm/backend.h>

#include <stdbool.h>

#include "group/record.h"
#include "inspect/proc.h"

enum {
    DCMI_SEEN_TEXT = DCMI_RECORD_NAME + 1,
};

typedef struct dcmi_seen_op {
    uint64_t serial;   /* of this rank, from 1 */
    uint64_t number;   /* of the operation or message; 0: the library's own */
    uint64_t begun_ns; /* of dcmi_now_ns(); 0: not known */
    uint64_t count;
    int root;
    dcm_coll_kind kind;
    dcm_dtype dtype;
    dcm_op op;
    bool is_ragged;
    bool has_rows;
    bool is_over;
    dcm_status status; /* when it is over */
    char path[DCMI_SEEN_TEXT];
} dcmi_seen_op;

typedef struct dcmi_seen_wait {
    uint64_t ranks; /* 0: it does not wait, or that could not be read */
    uint64_t number;
    uint64_t since_ns;
    uint64_t looked_ns;
    uint64_t timeout_ns;
    int tid;
    char op[DCMI_SEEN_TEXT];
    char phase[DCMI_SEEN_TEXT];
} dcmi_seen_wait;

typedef struct dcmi_seen_failure {
    dcm_status status; /* DCM_OK: none */
    int culprit;       /* -1: none is named */
    int reporter;
    uint64_t number;
    uint64_t at_ns;
    uint64_t waited_ns;
    char op[DCMI_SEEN_TEXT];
    char phase[DCMI_SEEN_TEXT];
    char text[DCMI_RECORD_TEXT];
} dcmi_seen_failure;

/* How a rank's process is. */
typedef enum dcmi_life_seen {
    DCMI_SEEN_RUNS,
    DCMI_SEEN_SLEEPS,
    DCMI_SEEN_STUCK,   /* state D: in the kernel, not to be interrupted */
    DCMI_SEEN_STOPPED, /* by a signal or a debugger */
    DCMI_SEEN_DEAD,
    DCMI_SEEN_LEFT,    /* has freed its communicator */
    DCMI_SEEN_HIDDEN,  /* in another PID namespace */
    DCMI_SEEN_UNKNOWN, /* it has not written who it is */
} dcmi_life_seen;

typedef struct dcmi_seen_rank {
    int pid; /* 0: not known */
    int tid;
    uint64_t start_time;
    uint64_t pid_namespace;
    bool is_leaving; /* has called dcm_comm_finalize() */
    dcmi_life_seen life;
    dcmi_proc proc;
    dcmi_seen_wait wait;
    dcmi_seen_failure failure;
    size_t n_ops;
    dcmi_seen_op op[DCMI_RECORD_OPS]; /* the newest first */
} dcmi_seen_rank;

typedef struct dcmi_seen_comm {
    uint64_t inode;
    uint64_t now_ns; /* when it was read */
    uint64_t made_ns;
    int nranks;
    char backend[DCM_BACKEND_NAME + 1];
    char job[DCMI_RECORD_JOB];
    dcmi_seen_failure failure; /* the first, by the fail word; text: "" */
    bool is_moving;            /* some rank's calls went on between two looks */
    uint64_t moved;            /* by how many the busiest's did, in that time */
    uint64_t moved_ns;
    dcmi_seen_rank rank[DCM_MAX_RANKS];
} dcmi_seen_comm;

/* Two moments of one clock and one counter, to turn stamps into times. */
typedef struct dcmi_seen_now {
    uint64_t ns;
    uint64_t stamp;
} dcmi_seen_now;

/*
 * Read a communicator from three copies of its record, taken one after the other,
 * of `bytes` bytes each.  AGAIN: it is being made; E_ABI: another version's;
 * E_INVAL: no record.
 */
dcm_status dcmi_seen_decode(dcmi_seen_comm *comm, const void *const copies[3],
                            size_t bytes, const dcmi_seen_now *now);

/* Find out how the ranks' processes are. */
void dcmi_seen_lives(dcmi_seen_comm *comm);

/* The whole of it, from a process that has it open. */
dcm_status dcmi_seen_read(dcmi_seen_comm *comm, const dcmi_find *find);

/* A collective of the program's: numbered alike on all ranks. */
bool dcmi_seen_is_common(const dcmi_seen_op *op);

static inline bool dcmi_seen_is_message(const dcmi_seen_op *op)
{
    return op->kind == DCM_COLL_SEND || op->kind == DCM_COLL_RECV;
}

/* The newest of those; NULL: none yet. */
const dcmi_seen_op *dcmi_seen_last(const dcmi_seen_rank *rank);

/* The number of the last operation that the rank has entered; 0: none. */
uint64_t dcmi_seen_at(const dcmi_seen_rank *rank);

/* Operation `number` of a rank; NULL: not in its ring. */
const dcmi_seen_op *dcmi_seen_number(const dcmi_seen_rank *rank,
                                     uint64_t number);

/* Whether the rank is inside an operation, as far as it is known. */
bool dcmi_seen_is_inside(const dcmi_seen_rank *rank);

#endif /* DCMI_INSPECT_COMM_H */

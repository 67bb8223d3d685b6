/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a communicator: what each rank did last, what it waits for, and
 * how it saw the communicator fail.  `devcomm inspect` reads it from outside.
 *
 * Layout          Behind the boards of the team's segment: a head, then for each
 *                 rank an identity, a wait, a failure and a ring of operations.
 *                 All ranks map it, so the others keep what a killed one wrote.
 * Writers and     A rank writes its own part; rank 0 also the head.  Readers are
 * readers         other processes, which copy the segment with pread(2): they map
 *                 nothing, so they can neither write nor fault.
 * Ordering        Every store is a release store, which costs nothing on x86; no
 *                 fence, no locked instruction.  A reader takes three copies, one
 *                 after the other, and takes the words from the second.
 *                   An operation's line: serial 0, then the words, then its
 *                 serial, which no later line has again.  Where the first and the
 *                 third copy hold the same serial, the line was not written in
 *                 between: who writes it stores 0 before anything else, and the
 *                 third copy, which is later than the second, would have that 0
 *                 or a later serial.
 *                   Path, begun and end are written while the operation runs,
 *                 behind its serial.  Each is a word of its own (the path two,
 *                 written before begun): begun and end are 0 until then, and the
 *                 path counts only where `begun` was there in the first copy.
 *                   A wait has a sequence number that is odd while it is written,
 *                 judged in the same way.
 *                   Identity and failure are written once, one word of them last:
 *                 they count where the first copy has that word.
 * Time            `begun` is a cycle counter where the machine has one, read when
 *                 this rank's first data is on its way, so that the time it takes
 *                 passes while the others answer.  The head holds the counter and
 *                 the clock at the same moment, and a reader takes both again.
 * Wrap            Serials and operations have 64 bits.
 * Reset           None.
 * When a rank     in the middle of a line, its serial stays 0: that line is lost,
 * dies            and the operation before it is still there.
 *
 * Tests: tests/unit/test_record.c, tests/mp/test_inspect.c.
 */
#ifndef DCMI_RECORD_H
#define DCMI_RECORD_H

#include <devcomm/backend.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/compiler.h"
#include "os/clock.h"

#define DCMI_RECORD_MAGIC  0x6472636572636364ull /* "dccrecrd" */
#define DCMI_RECORD_LAYOUT 1u

enum {
    DCMI_RECORD_OPS = 64,   /* a rank */
    DCMI_RECORD_NAME = 16,  /* of an operation, phase or path */
    DCMI_RECORD_JOB = 288,  /* where the job met */
    DCMI_RECORD_TEXT = 256, /* why it failed */
};

/* Bits of dcmi_record_op.call beside kind, type, operator and root. */
#define DCMI_RECORD_RAGGED (1ull << 24) /* blocks of different sizes */
#define DCMI_RECORD_ROWS   (1ull << 25) /* along an inner dimension */

/* dcmi_record_op.end: 0 while it runs. */
#define DCMI_RECORD_ENDED(st) ((uint64_t)(1 - (int)(st)))

/* One operation: a cache line. */
typedef struct dcmi_record_op {
    DCMI_ALIGNED(DCMI_LINE) _Atomic uint64_t serial; /* from 1 */
    _Atomic uint64_t number; /* of the operation, or of this rank's message;
                                0: the library's own */
    _Atomic uint64_t begun;  /* dcmi_stamp(); 0: not yet */
    _Atomic uint64_t call;   /* kind, type << 8, operator << 16, root << 32 */
    _Atomic uint64_t count;  /* elements; of all this rank's blocks if ragged */
    _Atomic uint64_t path[2];
    _Atomic uint64_t end;
} dcmi_record_op;

typedef struct dcmi_record_wait {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t seq;
    _Atomic uint64_t ranks;     /* waited for; 0: none */
    _Atomic uint64_t number;    /* of the operation; 0: before the first */
    _Atomic uint64_t since_ns;  /* of dcmi_now_ns() */
    _Atomic uint64_t looked_ns; /* written alone, at every look */
    _Atomic uint64_t timeout_ns;
    _Atomic uint64_t tid; /* of the thread that waits */
    _Atomic uint64_t op[2];
    _Atomic uint64_t phase[2];
} dcmi_record_wait;

typedef struct dcmi_record_who {
    DCMI_ALIGNED(DCMI_SECTOR) uint64_t start_time; /* dcmi_start_time() */
    uint64_t pid_namespace;
    int32_t pid;
    uint32_t tid;
    _Atomic uint32_t is_written;
} dcmi_record_who;

typedef struct dcmi_record_failure {
    DCMI_ALIGNED(DCMI_SECTOR) uint64_t at_ns; /* of dcmi_now_ns() */
    uint64_t waited_ns;
    uint64_t number;
    int32_t culprit; /* -1: none can be named */
    int32_t reporter;
    char op[DCMI_RECORD_NAME];
    char phase[DCMI_RECORD_NAME];
    char text[DCMI_RECORD_TEXT];
    _Atomic int32_t status; /* written last */
} dcmi_record_failure;

typedef struct dcmi_record_rank {
    dcmi_record_who who;
    dcmi_record_wait wait;
    dcmi_record_failure failure;
    dcmi_record_op op[DCMI_RECORD_OPS]; /* serial s lies at s % OPS */
} dcmi_record_rank;

typedef struct dcmi_record {
    DCMI_ALIGNED(DCMI_SECTOR) uint64_t magic;
    uint64_t bytes;
    uint64_t made_ns;    /* dcmi_now_ns() and */
    uint64_t made_stamp; /* dcmi_stamp(), when this was made */
    uint32_t n_ranks;
    char backend[DCM_BACKEND_NAME];
    char job[DCMI_RECORD_JOB]; /* "": made without an address */
    _Atomic uint32_t layout;   /* written last */
    dcmi_record_rank rank[];
} dcmi_record;

_Static_assert(sizeof(dcmi_record_op) == 64, "one line");
_Static_assert(sizeof(dcmi_record_wait) == 128, "shared layout");
_Static_assert(sizeof(dcmi_record_who) == 128, "shared layout");
_Static_assert(sizeof(dcmi_record_failure) == 384, "shared layout");
_Static_assert(sizeof(dcmi_record_rank) == 640 + 64 * 64, "shared layout");
_Static_assert(sizeof(dcmi_record) == 384, "shared layout");

/* One rank's pen; lives inside its team. */
typedef struct dcmi_recorder {
    dcmi_record_rank *mine;
    dcmi_record_op *op; /* the last one begun */
    uint64_t serial;
    uint64_t waits_for; /* the ranks in mine->wait; 0: none */
} dcmi_recorder;

size_t dcmi_record_bytes(int nranks);

/* Into memory that is zero: rank 0's head, and every rank's identity. */
void dcmi_record_title(dcmi_record *record, int nranks, const char *backend,
                       const char *job);
void dcmi_record_open(dcmi_recorder *r, dcmi_record *record, int rank);

/* What is waited for, from a wait's slow half. */
typedef struct dcmi_record_looking {
    uint64_t ranks;
    uint64_t number;
    const char *op;
    const char *phase;
    uint64_t timeout_ns;
} dcmi_record_looking;

void dcmi_record_look(dcmi_recorder *r, const dcmi_record_looking *what);
void dcmi_record_found_slow(dcmi_recorder *r);

/* This rank waits no more. */
DCMI_INLINE void dcmi_record_found(dcmi_recorder *r)
{
    if (DCMI_UNLIKELY(r->waits_for != 0))
        dcmi_record_found_slow(r);
}

/* The operation waits or ends, and its backend has not named a path. */
void dcmi_record_no_path(dcmi_recorder *r);

void dcmi_record_fail(dcmi_recorder *r, const dcm_failure *f);

DCMI_INLINE void dcmi_record_put(_Atomic uint64_t *word, uint64_t v)
{
    atomic_store_explicit(word, v, memory_order_release);
}

/* A name of at most 16 bytes, all of which may be read. */
DCMI_INLINE void dcmi_record_put_name(_Atomic uint64_t *words, const char *name)
{
    uint64_t v[2];

    memcpy(v, name, sizeof(v));
    dcmi_record_put(&words[0], v[0]);
    dcmi_record_put(&words[1], v[1]);
}

/*
 * A backend says which path the operation takes, after it has sent off what others
 * wait for: the clock is read in the shadow of the answer.
 */
DCMI_INLINE void dcmi_record_path(dcmi_recorder *r,
                                  const char name[DCMI_RECORD_NAME])
{
    dcmi_record_put_name(r->op->path, name);
    dcmi_record_put(&r->op->begun, dcmi_stamp());
}

uint64_t dcmi_record_ragged(const dcm_coll *coll, uint64_t *call, int nranks);

DCMI_INLINE void dcmi_record_begin(dcmi_recorder *r, const dcm_coll *coll,
                                   uint64_t number, int nranks)
{
    const uint64_t serial = ++r->serial;
    dcmi_record_op *op = &r->mine->op[serial % DCMI_RECORD_OPS];
    uint64_t count = coll->count;
    uint64_t call = (uint64_t)coll->kind | (uint64_t)coll->dtype << 8 |
                    (uint64_t)coll->op << 16 |
                    (uint64_t)(uint32_t)coll->root << 32;

    if (DCMI_UNLIKELY(coll->counts != NULL || coll->inner != 0))
        count = dcmi_record_ragged(coll, &call, nranks);
    r->op = op;
    dcmi_record_put(&op->serial, 0);
    dcmi_record_put(&op->number, number);
    dcmi_record_put(&op->begun, 0);
    dcmi_record_put(&op->call, call);
    dcmi_record_put(&op->count, count);
    dcmi_record_put(&op->end, 0);
    dcmi_record_put(&op->serial, serial);
}

DCMI_INLINE void dcmi_record_end(dcmi_recorder *r, dcm_status st)
{
    dcmi_record_op *op = r->op;

    if (DCMI_UNLIKELY(atomic_load_explicit(&op->begun, memory_order_relaxed) ==
                      0))
        dcmi_record_no_path(r);
    dcmi_record_put(&op->end, DCMI_RECORD_ENDED(st));
    dcmi_record_found(r);
}

/*
 * A call to a communicator that had failed before: it tells what this rank was about
 * to do.  Only the first is kept, that the ring still holds what went before.
 */
void dcmi_record_refused(dcmi_recorder *r, const dcm_coll *coll,
                         uint64_t number, int nranks, dcm_status st);

/* The last `n` that have begun have ended together; the clock is read once. */
DCMI_INLINE void dcmi_record_end_all(dcmi_recorder *r, size_t n, dcm_status st)
{
    static const char no_name[DCMI_RECORD_NAME];
    uint64_t now = 0;

    if (n > DCMI_RECORD_OPS)
        n = DCMI_RECORD_OPS;
    for (size_t i = 0; i < n; i++) {
        dcmi_record_op *op = &r->mine->op[(r->serial - i) % DCMI_RECORD_OPS];

        if (atomic_load_explicit(&op->begun, memory_order_relaxed) == 0) {
            now = now != 0 ? now : dcmi_stamp();
            dcmi_record_put_name(op->path, no_name);
            dcmi_record_put(&op->begun, now);
        }
        dcmi_record_put(&op->end, DCMI_RECORD_ENDED(st));
    }
    dcmi_record_found(r);
}

#endif /* DCMI_RECORD_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* The queue inside: one process's end of it, and what its files share. */
#ifndef DCMI_QUEUE_H
#define DCMI_QUEUE_H

#include <devcomm/queue.h>

#include <stdbool.h>

#include "group/life.h"
#include "os/mapping.h"
#include "os/process.h"
#include "queue/layout.h"
#include "queue/remote.h"

typedef enum dcmi_queue_kind {
    DCMI_QUEUE_RECORDS = 0,
    DCMI_QUEUE_CHUNKS = 1,
} dcmi_queue_kind;

/* Which calls an end takes. */
typedef enum dcmi_queue_role {
    DCMI_QUEUE_READER = 0,
    DCMI_QUEUE_WRITER = 1,
    DCMI_QUEUE_CHUNK_READER = 2,
    DCMI_QUEUE_CHUNK_WRITER = 3,
    DCMI_QUEUE_FINISHED = 4, /* a writer's after dcm_queue_finish() */
} dcmi_queue_role;

/* What the writer knows of the process behind an entry. */
typedef struct dcmi_queue_peer {
    uint64_t who; /* the entry's word that this is about; 0: nobody */
    dcmi_process process;
    int link;                   /* connection by which it attached; -1: none */
    const dcmi_life_slot *life; /* in a group; NULL: none */
} dcmi_queue_peer;

/* The writer's unix socket, for those who cannot use /proc. */
typedef struct dcmi_queue_door {
    int listener;   /* -1: none */
    int guest;      /* connected, has not said all yet; -1: none */
    bool is_inside; /* it knew the secret */
    uint64_t guest_until_ns;
} dcmi_queue_door;

typedef struct dcmi_queue_ticket {
    unsigned char secret[16];
} dcmi_queue_ticket;

/* What a reader holds of the record that it peeks at. */
typedef struct dcmi_queue_view {
    bool is_open;
    bool is_lost;   /* its writer went away half-way */
    uint64_t bytes; /* of the record */
    uint64_t done;  /* advanced over */
    uint64_t held;  /* shown by the last peek */
    uint64_t at;    /* in the arena */
    bool is_inline;
    const unsigned char *data; /* of a record that is not in the arena */
} dcmi_queue_view;

struct dcm_queue {
    dcmi_queue_role role;
    bool is_writer;
    _Atomic bool is_cancelled;
    unsigned forks; /* of the process when it was made */
    uint64_t n;     /* records written, or read */
    uint64_t end;   /* of their bytes */
    dcmi_queue_frame *frame;
    dcmi_queue_slot *slots;
    unsigned char *arena;
    uint64_t slot_mask;
    uint64_t arena_mask;

    /* writer */
    uint64_t floor;       /* the least cursor that was read */
    uint64_t floor_bytes; /* the same of bytes */
    uint64_t reserved;    /* bytes given out; 0: none */
    uint64_t reserved_at;
    uint32_t flags;
    bool is_reserved;

    /* reader */
    int me;
    uint64_t who;
    dcmi_queue_view view;

    dcmi_queue_geometry g;
    uint64_t timeout_ns;
    uint64_t looked_ns;  /* last look at peers' processes */
    uint64_t spin_ns;    /* DEVCOMM_SPIN_US */
    int quota;           /* cores, by control group */
    uint32_t crowd_at;   /* head.joins when is_crowded was found */
    bool is_crowded;     /* more parties than cores */
    uint64_t typical_ns; /* what waits took lately */
    uint64_t began_ns;   /* this wait's first look at the clock; 0: none yet */
    uint64_t last_ns;    /* and its last one */
    int fd;
    int link; /* a reader's connection to the writer's door; -1: none */
    dcmi_mapping *mapping;
    dcmi_remote *remote;          /* the writer's; NULL: none */
    dcmi_remote_reader *link_far; /* a remote reader's; it has no segment */
    dcmi_queue_id id;
    dcmi_queue_ticket ticket;
    dcmi_process writer;
    const dcmi_life_slot *writer_life;
    dcmi_queue_door door;
    char name[48];
    dcmi_queue_peer peer[DCM_QUEUE_MAX_READERS];
};

/* ---- frame.c: the segment ------------------------------------------------- */

dcm_status dcmi_queue_geometry_make(dcmi_queue_geometry *g,
                                    dcmi_queue_kind kind, uint64_t bytes,
                                    uint64_t max_record, int nreaders);

/* Make, reserve and fill the segment of q->g; q is its writer. */
dcm_status dcmi_queue_frame_create(dcm_queue *q);

/* Map `fd`, which becomes q's also on failure, and check it against q->g, q->id. */
dcm_status dcmi_queue_frame_open(dcm_queue *q, int fd);

/* ---- handle.c: the bytes by which readers attach -------------------------- */

typedef struct dcmi_queue_passport {
    uint64_t magic;
    uint32_t layout;
    int32_t pid;
    uint64_t start_time;
    uint64_t pid_namespace;
    uint64_t host;
    uint64_t inode;
    int32_t fd;
    uint32_t reserved;
    dcmi_queue_id id;
    dcmi_queue_ticket ticket;
    dcmi_queue_geometry g;
    dcmi_remote_place remote;
} dcmi_queue_passport;

dcm_status dcmi_queue_passport_write(const dcm_queue *q, void *handle,
                                     size_t bytes);
/* Check everything that can be checked without the segment. */
dcm_status dcmi_queue_passport_read(dcmi_queue_passport *pass,
                                    const void *handle, size_t bytes);
/*
 * Open the segment that it names: `fd`, which becomes q's also on failure; when
 * that is -1 through /proc, else through the door.
 */
dcm_status dcmi_queue_passport_open(dcm_queue *q,
                                    const dcmi_queue_passport *pass, int fd,
                                    uint64_t timeout_ns);

/* ---- queue.c -------------------------------------------------------------- */

/*
 * A reader's end that has no place yet; `fd` is the segment and becomes its own
 * also on failure, or is -1: found by the handle.
 */
dcm_status dcmi_queue_open_end(dcm_queue **q_p, const void *handle,
                               size_t bytes, int fd, uint32_t timeout_ms);

/* ---- door.c: the writer's socket ------------------------------------------ */

dcm_status dcmi_queue_door_open(dcm_queue *q);
void dcmi_queue_door_close(dcm_queue *q);
/* Serve who has come; never waits. */
void dcmi_queue_door_serve(dcm_queue *q, uint64_t now);
/* A reader: get the segment's descriptor; q->link stays connected. */
dcm_status dcmi_queue_door_knock(int *fd_p, dcm_queue *q, uint64_t timeout_ns);
/* A reader that has a link: say which place it took. */
dcm_status dcmi_queue_door_tell(dcm_queue *q);

/* ---- join.c: places ------------------------------------------------------- */

/* Take the place and become counted: q->me, q->who, q->n, q->end. */
dcm_status dcmi_queue_join(dcm_queue *q, int reader, bool may_be_late);
void dcmi_queue_leave(dcm_queue *q);
/* The sleeper on this bell is gone: take its mark away. */
void dcmi_queue_unpark(dcm_queue *q, int reader);
bool dcmi_queue_is_counted(uint64_t who);
/* Places that were ever taken, below the highest; at most 63. */
int dcmi_queue_places(const dcm_queue *q);

/* ---- peers.c: the writer's look at its readers ---------------------------- */

/* Read all cursors: q->floor, q->floor_bytes. */
void dcmi_queue_scan(dcm_queue *q);

/* What is in the way: entries below both are let off. */
typedef struct dcmi_queue_need {
    uint64_t records;
    uint64_t bytes;
} dcmi_queue_need;

/* Drop the dead among those in the way, or E_PEER by policy. */
dcm_status dcmi_queue_bury(dcm_queue *q, const dcmi_queue_need *need);
/* E_TIMEOUT with the names of those in the way. */
dcm_status dcmi_queue_late(dcm_queue *q, const dcmi_queue_need *need);
bool dcmi_queue_reader_is_gone(dcm_queue *q, int reader, uint64_t who);

/* ---- write_wait.c, read_wait.c: waits of each side -------------------------- */

dcm_status dcmi_queue_writer_ready(dcm_queue *q, uint64_t timeout_ns);
dcm_status dcmi_queue_reader_ready(dcm_queue *q, uint64_t timeout_ns);

/* Wait until the readers of this host have read all there is. */
dcm_status dcmi_queue_await_read(dcm_queue *q, uint64_t timeout_ns);

/* Wait until chunk q->n is free, or is written. */
dcm_status dcmi_queue_await_free(dcm_queue *q, uint32_t timeout_ms);
dcm_status dcmi_queue_await_chunk(dcm_queue *q, uint32_t timeout_ms);

DCMI_INLINE dcmi_queue_flags *dcmi_queue_flags_of(const dcm_queue *q,
                                                  uint64_t n)
{
    return (dcmi_queue_flags *)(void *)&q->slots[n % q->g.nslots];
}

/* ---- stat.c --------------------------------------------------------------- */

/* Fill at most `n` readers; returns how many places there are. */
int dcmi_queue_describe(const dcmi_queue_frame *f, uint64_t *records_p,
                        dcm_queue_reader *readers, int n);

/* ---- wait.c --------------------------------------------------------------- */

/* `wait`: what the check gets; the rest is learned. */
dcmi_watch dcmi_queue_watch(dcm_queue *q, dcm_status (*check)(void *, bool),
                            void *wait, uint64_t timeout_ns);
/* Say to the others where this thread may run. */
void dcmi_queue_show_cpus(dcm_queue *q);
/* From every check: what time it is. */
DCMI_INLINE void dcmi_queue_wait_tick(dcm_queue *q, uint64_t now)
{
    if (q->began_ns == 0)
        q->began_ns = now;
    q->last_ns = now;
}

/* End the wait and learn from how long it took; reads no clock. */
void dcmi_queue_wait_end(dcm_queue *q, dcmi_wait *w);
dcm_status dcmi_queue_cancelled(const dcm_queue *q);
bool dcmi_queue_writer_is_gone(dcm_queue *q, uint64_t now);

/* E_INVAL unless this process may use it in this role; E_ABORTED. */
dcm_status dcmi_queue_refuse(const dcm_queue *q, dcmi_queue_role role,
                             const char *call);

extern unsigned dcmi_forks;

DCMI_INLINE dcm_status dcmi_queue_enter(const dcm_queue *q,
                                        dcmi_queue_role role, const char *call)
{
    if (DCMI_LIKELY(
            q != NULL && q->role == role && q->forks == dcmi_forks &&
            !atomic_load_explicit(&q->is_cancelled, memory_order_relaxed)))
        return DCM_OK;
    return dcmi_queue_refuse(q, role, call);
}

DCMI_INLINE void dcmi_queue_ring_readers(dcm_queue *q)
{
    dcmi_bells *bells = &q->frame->reader_bells;

    if (DCMI_UNLIKELY(
            atomic_load_explicit(&bells->n_parked, memory_order_relaxed) != 0))
        dcmi_bells_ring_slow(bells, dcmi_queue_places(q));
}

/* The slot of record q->n. */
DCMI_INLINE dcmi_queue_slot *dcmi_queue_slot_of(dcm_queue *q)
{
    return &q->slots[q->n & q->slot_mask];
}

DCMI_INLINE uint64_t dcmi_queue_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/*
 * Between a copy and the look at whether it was allowed, on both sides.
 * ThreadSanitizer knows no fences; in its runs nobody is dropped alive.
 */
DCMI_INLINE void dcmi_queue_fence(void)
{
#if !DCMI_TSAN
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* A status for contents that no honest peer writes. */
dcm_status dcmi_queue_corrupt(const dcm_queue *q, const char *what,
                              uint64_t value);

#endif /* DCMI_QUEUE_H */

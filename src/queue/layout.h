/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broadcast queue's shared memory; docs/queue.md tells it in prose.
 *
 * Layout          descriptor, the writer's words, bells, 63 reader entries; then
 *                 the slots (a power of two of them), then the arena (a power of
 *                 two of bytes), each from a page on.  Positions are counts of 64
 *                 bits: record n is in slot n % slots, byte p at p % arena.
 * Writers and     The writer writes descriptor, head, slots and arena; a reader
 * readers         its own entry.  An entry's `who` changes by compare-and-swap, by
 *                 its reader, one that takes the place over, or the writer.
 * Ordering        seq = n + 1 (release) publishes record n with its info and the
 *                 first `filled` bytes; filled (release) publishes more of them;
 *                 info is written before; head.writing is set before seq and reset
 *                 behind the last piece (release).  records, bytes (release) of an entry
 *                 hand slots and bytes back; the writer reads them (acquire) before
 *                 it overwrites.  `published` is stored behind seq, `end` behind
 *                 published: who reads `end` first and `published` next never has
 *                 an `end` beyond the record that `published` names.
 *                 A late reader: see "Joining late" in docs/queue.md.
 * Wrap            Positions do not wrap in 64 bits.
 * Reset           None: a queue ends with its writer.
 * When a peer     Known from outside this memory (peers.c).  A dead reader's entry
 * dies            becomes DROPPED, which uncounts it.  A reader looks at its own
 *                 `who` after it copied: bytes taken while it was dropped are not
 *                 delivered.  A dead writer's last record is there in full, or its
 *                 seq or filled were not stored.
 *
 * Nothing read from here is trusted: see "Hostile peers" in docs/queue.md.
 */
#ifndef DCMI_QUEUE_LAYOUT_H
#define DCMI_QUEUE_LAYOUT_H

#include <devcomm/queue.h>

#include <stdatomic.h>

#include "base/compiler.h"
#include "os/limits.h"
#include "os/wait.h"

#define DCMI_QUEUE_MAGIC  0x65756575716d6364ull /* "dcmqueue" */
#define DCMI_QUEUE_LAYOUT 1u

enum {
    DCMI_QUEUE_INLINE = 112, /* bytes in the slot */
    DCMI_QUEUE_SLOTS_LEAST = 16,
    DCMI_QUEUE_SLOTS_MOST = 1024,
    DCMI_QUEUE_ALIGN = 64, /* of records in the arena */
};

/* slot.info: the length, and where the bytes are. */
#define DCMI_QUEUE_IN_ARENA (1ull << 63)
/* slot.filled: the writer gave the record up. */
#define DCMI_QUEUE_GIVEN_UP (1ull << 63)

typedef struct dcmi_queue_geometry {
    uint64_t nslots;
    uint64_t arena_bytes;
    uint64_t slots_at;
    uint64_t arena_at;
    uint64_t total_bytes;
    uint64_t max_record;
    uint32_t nreaders;
    uint32_t kind; /* dcmi_queue_kind */
} dcmi_queue_geometry;

typedef struct dcmi_queue_id {
    uint64_t word[2]; /* random */
} dcmi_queue_id;

typedef struct dcmi_queue_descriptor {
    _Atomic uint64_t magic; /* written last */
    uint32_t layout;
    int32_t writer_pid;
    uint64_t writer_start;
    dcmi_queue_id id;
    dcmi_queue_geometry geometry;
    char name[48];
} dcmi_queue_descriptor;

typedef struct dcmi_queue_head {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t published;
    _Atomic uint64_t end;     /* of the bytes of published records */
    _Atomic uint64_t writing; /* n + 1: record n has more pieces to come */
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t used; /* bit r: place r was */
    _Atomic uint32_t joins; /* so far: more parties, perhaps more than cores */
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint32_t ready;
    _Atomic uint32_t closed;
    _Atomic uint64_t seen_ns;
    /* Processors that any of the parties may run on. */
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t cpus[DCMI_CPU_WORDS];
} dcmi_queue_head;

typedef enum dcmi_queue_entry_state {
    DCMI_ENTRY_EMPTY = 0,
    DCMI_ENTRY_EXPECTED = 1,
    DCMI_ENTRY_CLAIMED = 2, /* from EXPECTED: counted all the time */
    DCMI_ENTRY_JOINING = 3, /* late: not counted yet */
    DCMI_ENTRY_ACTIVE = 4,
    DCMI_ENTRY_LEFT = 5,
    DCMI_ENTRY_DROPPED = 6,
} dcmi_queue_entry_state;

typedef struct dcmi_queue_entry {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t records;
    _Atomic uint64_t bytes;
    _Atomic uint64_t seen_ns;
    _Atomic uint32_t is_waiting;
    /* pid, state and generation: DCMI_WHO_*. */
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t who;
    _Atomic uint64_t start_time;
    _Atomic uint64_t pid_namespace;
} dcmi_queue_entry;

#define DCMI_WHO_PID(who)   ((int)((who)&0x7fffffffu))
#define DCMI_WHO_STATE(who) ((dcmi_queue_entry_state)((who) >> 32 & 0xfu))
#define DCMI_WHO_GEN(who)   ((who) >> 36)

/* One record, or a part of it. */
typedef struct dcmi_queue_slot {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t seq;
    _Atomic uint64_t info;
    union {
        unsigned char data[DCMI_QUEUE_INLINE];
        struct {
            _Atomic uint64_t at; /* position of the first byte */
            _Atomic uint64_t filled;
        } arena;
    } u;
} dcmi_queue_slot;

/* In place of a slot in a queue of chunks; docs/queue.md, "Chunks". */
typedef struct dcmi_queue_flags {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic unsigned char written;
    _Atomic unsigned char read[DCM_QUEUE_MAX_READERS];
} dcmi_queue_flags;

typedef struct dcmi_queue_frame {
    dcmi_queue_descriptor descriptor;
    dcmi_queue_head head;
    dcmi_bells reader_bells;
    dcmi_bells writer_bells; /* bell 0 */
    dcmi_queue_entry entry[DCM_QUEUE_MAX_READERS];
} dcmi_queue_frame;

_Static_assert(sizeof(dcmi_queue_descriptor) <= 256, "shared layout");
_Static_assert(offsetof(dcmi_queue_frame, head) == 256, "shared layout");
_Static_assert(sizeof(dcmi_queue_head) == 512, "shared layout");
_Static_assert(sizeof(dcmi_queue_entry) == 256, "shared layout");
_Static_assert(sizeof(dcmi_queue_slot) == 128, "shared layout");
_Static_assert(sizeof(dcmi_queue_flags) == sizeof(dcmi_queue_slot),
               "one or the other");
_Static_assert((int)DCM_QUEUE_MAX_READERS < (int)DCM_MAX_RANKS,
               "a bell for each");

#endif /* DCMI_QUEUE_LAYOUT_H */

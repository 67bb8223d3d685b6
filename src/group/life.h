/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life words: how every rank of a host learns within milliseconds that another
 * one's process is gone, with no watcher thread.
 *
 * Layout          A slot a rank in the hall: a robust, process-shared mutex and
 *                 a state.  Where in the mutex the owner's thread id stands is
 *                 found when it is taken and written beside it, not assumed.
 * Writers and     The rank holds its mutex from dcmi_life_take() on.  Nobody else
 * readers         ever locks it: others only read its word and its state, running
 *                 GPU kernels too.  When the owning thread dies, by SIGKILL or by
 *                 exec too, the kernel sets FUTEX_OWNER_DIED in the word.
 * Ordering        A rank writes pid, start time and word offset, then the state
 *                 (release); readers read the state first (acquire).
 * Wrap, Reset     None: a slot serves one rank of one group, once.
 * When a thread   that owns slots ends while its process lives, a destructor
 * ends            marks them ORPHAN and unlocks; the next call on any thread of
 *                 that rank takes the mutex again.  While a slot is an orphan its
 *                 process is looked up by pid and start time, where the pid
 *                 namespaces are the same; elsewhere it counts as alive.
 * When a rank     frees its group from another thread than the owner, the
 * leaves          mutex cannot be unlocked and stays on the owner's robust list:
 *                 the mapping is kept until the owner ends or makes a call.
 *
 * Tests: tests/mp/test_kill.c, tests/unit/test_group_threads.c.
 */
#ifndef DCMI_LIFE_H
#define DCMI_LIFE_H

#include <devcomm/devcomm.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "os/mapping.h"

typedef enum dcmi_life_state {
    DCMI_LIFE_EMPTY = 0, /* not taken yet */
    DCMI_LIFE_ALIVE = 1,
    DCMI_LIFE_ORPHAN = 2, /* alive; its thread has ended */
    DCMI_LIFE_LEFT = 3,   /* freed its group in good order */
    DCMI_LIFE_DEAD = 4,   /* never stored: what readers conclude */
} dcmi_life_state;

typedef struct dcmi_life_slot {
    DCMI_ALIGNED(DCMI_SECTOR) union {
        pthread_mutex_t mutex;
        _Atomic uint32_t word[16];
    } u;
    _Atomic uint32_t state;
    uint32_t word_at; /* index into u.word */
    int32_t pid;
    uint32_t reserved;
    uint64_t start_time;
    uint64_t pid_namespace;
} dcmi_life_slot;

_Static_assert(sizeof(pthread_mutex_t) <= 64, "the slot holds the mutex");
_Static_assert(sizeof(dcmi_life_slot) == 128, "one sector a rank");

/* A slot that this rank holds; on the heap, shared with the owner's thread. */
typedef struct dcmi_life dcmi_life;

/* Take the slot, which lies in `mapping`, for the calling thread. */
dcm_status dcmi_life_take(dcmi_life **life_p, dcmi_life_slot *slot,
                          dcmi_mapping *mapping);

/* Say that this rank leaves, and let go of the slot and the mapping. */
void dcmi_life_leave(dcmi_life *life);

/* In a forked child: forget it, the slot is the parent's. */
void dcmi_life_forget(dcmi_life *life);

bool dcmi_life_is_orphan(const dcmi_life *life);

/* At the start of a call: the calling thread takes over an orphan. */
void dcmi_life_adopt(dcmi_life *life);

dcmi_life_state dcmi_life_look(const dcmi_life_slot *slot);

#endif /* DCMI_LIFE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hall: the shared memory in which the ranks of one host know each other.
 *
 * Layout          descriptor, bells, a life word and an exchange slot a rank;
 *                 behind them the payload: two halves of DCM_EXCHANGE_MAX bytes a
 *                 local rank, and, when there are other hosts, two halves of
 *                 what all ranks of the group sent.
 * Writers and     A rank writes its own slot and payload; the leader (local
 * readers         rank 0) also the descriptor and the part for all.
 * Ordering        Exchange number g uses half g & 1.  A rank writes its payload,
 *                 then posted[g & 1] = {g, bytes} (release); readers wait for
 *                 that word (acquire), then read.  A half is written again in
 *                 exchange g + 2: to get there the writer saw every rank's post
 *                 of g + 1, which each made after it had read all of g.
 * Wrap            g has 48 bits: at one exchange a microsecond, 8 years.
 * Reset           None.
 * When a peer     Readers watch the life word of the rank that they wait for.
 * dies            After "dead" they look at its post once more: it may have come
 *                 before the death.  So whether exchange g succeeds is the same
 *                 fact for every rank.
 *
 * Model: tests/model/test_exchange.c.
 */
#ifndef DCMI_HALL_H
#define DCMI_HALL_H

#include <devcomm/devcomm.h>

#include "group/life.h"
#include "os/wait.h"

#define DCMI_HALL_MAGIC  0x6c6c61686d636364ull /* "dccmhall" */
#define DCMI_HALL_LAYOUT 1u
#define DCMI_HALL_MEMFD  "devcomm-hall"

typedef struct dcmi_hall_slot {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t posted[2];
    _Atomic uint64_t
        posted_all[2]; /* the leader's: the part for all is there */
    int32_t status_all[2];
} dcmi_hall_slot;

typedef struct dcmi_hall {
    uint64_t magic;
    uint64_t bytes;
    uint32_t n_local;
    uint32_t n_ranks;
    int32_t creator_pid;
    _Atomic uint32_t layout; /* written last */
    dcmi_bells bells;
    dcmi_life_slot life[DCM_MAX_RANKS];
    dcmi_hall_slot slot[DCM_MAX_RANKS];
    char message_all[2][256]; /* why the leader's merge failed */
} dcmi_hall;

_Static_assert(offsetof(dcmi_hall, bells) == 128, "shared layout");
_Static_assert(offsetof(dcmi_hall, life) == 128 + 65 * 128, "shared layout");
_Static_assert(offsetof(dcmi_hall, slot) == 128 + 129 * 128, "shared layout");
_Static_assert(sizeof(dcmi_hall) == 128 + 193 * 128 + 512, "shared layout");

/* Whole pages for a hall of `n_local` of `n_ranks` ranks. */
size_t dcmi_hall_bytes(int n_local, int n_ranks);

/* Leader: write the descriptor into fresh (zero) memory. */
void dcmi_hall_init(dcmi_hall *hall, int n_local, int n_ranks);

/* Member: E_ABI or E_INVAL when the memory is not the hall of these numbers. */
dcm_status dcmi_hall_check(const dcmi_hall *hall, size_t bytes, int n_local,
                           int n_ranks);

/* Payload of local rank `local` in half `half`. */
void *dcmi_hall_payload(dcmi_hall *hall, int local, unsigned half);
/* The part for all; only where n_local < n_ranks. */
void *dcmi_hall_payload_all(dcmi_hall *hall, unsigned half);

#endif /* DCMI_HALL_H */

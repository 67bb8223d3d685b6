/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing one segment's descriptor from a leader to the other ranks of its host.
 *
 *   1. every rank that may lead opens a listener with a random name;
 *   2. the names travel with whatever exchange the ranks have;
 *   3. a member connects and sends the leader's secret; that never blocks;
 *   4. the members' success travels with another exchange, so that the leader
 *      knows how many to serve: it never waits for one that could not connect;
 *   5. the leader accepts them and sends the descriptor, the members receive it.
 *
 * Having received the descriptor proves that both run on one host.
 */
#ifndef DCMI_HANDOVER_H
#define DCMI_HANDOVER_H

#include <devcomm/devcomm.h>

#include "os/wait.h"

/* What a leader tells the others: travels in exchanges. */
typedef struct dcmi_handover_ticket {
    unsigned char secret[16];
} dcmi_handover_ticket;

typedef struct dcmi_handover {
    dcmi_handover_ticket ticket;
    int listener; /* -1: closed */
    int link;     /* a member's connection to its leader; -1: none */
} dcmi_handover;

/* Step 1; with `may_lead` false there is no listener. */
dcm_status dcmi_handover_open(dcmi_handover *h, bool may_lead);
/* Step 3, as rank `rank`. */
dcm_status dcmi_handover_connect(dcmi_handover *h,
                                 const dcmi_handover_ticket *leader, int rank);
/* Step 5, leader: serve every rank of the bit mask `ranks` with `fd`. */
dcm_status dcmi_handover_serve(dcmi_handover *h, uint64_t ranks, int fd,
                               uint64_t bytes, const dcmi_watch *watch);
/* Step 5, member. */
dcm_status dcmi_handover_receive(dcmi_handover *h, int *fd_p, uint64_t *bytes_p,
                                 const dcmi_watch *watch);
void dcmi_handover_close(dcmi_handover *h);

#endif /* DCMI_HANDOVER_H */

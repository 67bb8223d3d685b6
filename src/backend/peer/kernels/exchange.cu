/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes from every rank to every other, in lines that carry their flags: all_gather,
 * broadcast, gather, scatter and all_to_all.  What goes where is in the arguments,
 * pair by pair, and may be nothing.
 *
 * Layout          That of ll128.cu's first staging: two halves, in each a slot for
 *                 every source, in each slot the lines of what the source has for
 *                 this rank.
 * Writers and     Rank s writes slot s of every peer's staging, the half of the
 * readers         epoch's parity.  Only the owner of the staging reads it.
 * Ordering        A line validates itself (sync.cuh).  No fence, no barrier.
 * Reuse           As in ll128.cu: every rank hears from every peer in every epoch,
 *                 since a pair that has no bytes has a line nevertheless, in both
 *                 ways.  The root of a broadcast gets a line of every rank, and two
 *                 ranks that are not the root get each other's.  Which grid a rank
 *                 has does not matter: its kernel of an epoch ends when all its
 *                 blocks have, and one of them has heard from each peer.
 * Wrap            None: 48 bits of epoch.
 * Reset           None: an old line has an old flag.
 * When a peer     no line of its comes: as in ll128.cu.
 * dies
 *
 * In place is allowed where devcomm.h says so: what comes in overwrites bytes that
 * go out in all_to_all alone, unit by unit the same ones, and the warp that takes
 * a unit has pushed it before.
 *
 * Model: tests/model/test_peer_exchange.c.
 */
#include "backend/peer/kernels/exchange.cuh"

DCMK_EXCHANGE(exchange, 512, dcmk_by_epoch)

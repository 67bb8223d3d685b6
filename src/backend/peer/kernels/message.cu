/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between pairs of ranks, in lines that carry their flags: send, recv, and
 * what all_to_all_v has beyond its first piece.  No other rank takes part, and the
 * epochs are not touched: each pair counts for itself, each way.
 *
 * Layout          Staging of its own: two halves, in each a slot for every source.
 *                 In this rank's memory, for each peer and way, the number of the
 *                 next message, a word a block (as the epochs are: block b of g
 *                 reads word b and writes b, b + g ..).  In the staging, a word of
 *                 every peer that counts what it has taken of this rank's.
 * Writers and     The sender of message k (from 1) writes its slot in the receiver's
 * readers         staging, the half of k's parity, the receiver reads it.  The
 *                 receiver's kernel of message k writes k - 1 into the sender's
 *                 count of the taken, the first thing it does.
 * Ordering        A line validates itself: its flag has k.  The count is a relaxed
 *                 store: what it tells has happened in an earlier kernel of the
 *                 receiver, which has ended.
 * Reuse           Message k overwrites message k - 2.  Its sender waits until the
 *                 count is k - 2 or more: then the receiver's kernel of k - 1 has
 *                 begun, so that of k - 2 has ended, with all its reading.  So a
 *                 message of a slot's size may be under way before its receiver
 *                 calls (the first two may); the next waits.
 *                 Sender and receiver count alike although neither asks the other:
 *                 both count every message of the pair once, when it is called.
 * Wrap            None: 48 bits of messages.
 * Reset           None.  A replayed graph counts on, as with epochs.
 * When a peer     no line, or no count, of its comes: the wait gives up as in ll128.cu.
 * dies
 *
 * Sends and receives of one launch go side by side: a block pushes before it waits for
 * what comes in.  It may wait for room before; that room is made by a kernel of the
 * peer that has begun, whatever that kernel waits for.
 *
 * Model: tests/model/test_peer_exchange.c.
 */
#include "backend/peer/kernels/exchange.cuh"

DCMK_EXCHANGE(message, 512, dcmk_by_pair)

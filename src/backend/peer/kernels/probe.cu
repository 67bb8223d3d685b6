/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer test: what the algorithms take for granted of a mapping, tried on all
 * ordered pairs of ranks at once.
 *
 *   writes   a payload, then its flag with release: whoever sees the flag with
 *            acquire sees the payload; DCMK_PROBE_ROUNDS times
 *   reads    a pattern in the peer's memory, behind its first flag
 *   atomics  all peers add to one word of this rank, then say that they have
 *
 * Layout          In every rank's staging, zeros before: for every source a slot of
 *                 DCMK_PROBE_ROUNDS pieces of 1 KiB, the last 8 bytes of each its
 *                 flag; behind the slots the flags of the atomics, the pattern,
 *                 the word.
 * Writers and     Rank s writes slot s and flag s of every peer, and adds to its
 * readers         word; the pattern is its owner's.
 * Ordering        Release and acquire at system scope.
 * Reuse, Wrap     None: every piece is written once.
 * Reset           The host fills the staging anew.
 * When a peer     Every wait ends after a.timeout_ns.
 * dies
 *
 * One block of one warp; thread p speaks with rank p, and leaves what was wrong in
 * word p of a.dst.
 *
 * Model: tests/model/test_peer_kernels.c.
 */
#include "backend/peer/kernels/wait.cuh"

DCMK_FN uint32_t dcmk_probe_word(int from, int to, uint32_t round, uint32_t i)
{
    return ((uint32_t)from * 16u + (uint32_t)to + 1u) * 2654435761u ^
           (round * 60u + i) * 40503u;
}

DCMK_FN dcmk_u4 dcmk_probe_words(int from, int to, uint32_t round, uint32_t i)
{
    const uint32_t w = dcmk_probe_word(from, to, round, i);

    return dcmk_u4{w, w + 1u, ~w, w ^ 0x5a5a5a5au};
}

DCMK_FN bool dcmk_probe_differs(dcmk_u4 v, dcmk_u4 want)
{
    return ((v.x ^ want.x) | (v.y ^ want.y) | (v.z ^ want.z) |
            (v.w ^ want.w)) != 0;
}

/* False: it did not come. */
DCMK_FN bool dcmk_probe_await(const dcmk_args &a, uint64_t at, uint64_t want,
                              uint64_t start_ns)
{
    for (uint32_t polls = 1; dcmk_load64_acquire(at) != want; polls++) {
        if (polls % DCMK_GLANCE == 0 &&
            dcmk_now_ns() - start_ns >= a.timeout_ns)
            return false;
        dcmk_relax();
    }
    return true;
}

DCMK_FN uint64_t dcmk_probe_piece(const dcmk_args &a, int of, int source,
                                  uint32_t round)
{
    return a.peer[of] + a.first +
           ((uint32_t)source * DCMK_PROBE_ROUNDS + round) * DCMK_PROBE_PIECE;
}

DCMK_FN uint64_t dcmk_probe_rest(const dcmk_args &a, int of)
{
    return dcmk_probe_piece(a, of, DCMK_RANKS, 0);
}

DCMK_FN void dcmk_probe_send(const dcmk_args &a, int to, uint32_t round)
{
    const uint64_t at = dcmk_probe_piece(a, to, a.rank, round);

    DCMK_LOOP
    for (uint32_t i = 0; i < DCMK_PROBE_PIECE / 16 - 1; i++)
        dcmk_store_words(at + 16u * i, dcmk_probe_words(a.rank, to, round, i));
    dcmk_store64_release(at + DCMK_PROBE_PIECE - 8u, round + 1u);
}

DCMK_FN uint32_t dcmk_probe_receive(const dcmk_args &a, int from,
                                    uint32_t round, uint64_t start_ns)
{
    const uint64_t at = dcmk_probe_piece(a, a.rank, from, round);
    uint32_t bad = 0;

    if (!dcmk_probe_await(a, at + DCMK_PROBE_PIECE - 8u, round + 1u, start_ns))
        return DCMK_PROBE_LATE;
    DCMK_LOOP
    for (uint32_t i = 0; i < DCMK_PROBE_PIECE / 16 - 1; i++) {
        if (dcmk_probe_differs(dcmk_load_words(at + 16u * i),
                               dcmk_probe_words(from, a.rank, round, i)))
            bad = DCMK_PROBE_ORDER;
    }
    if (round == 0 &&
        dcmk_probe_differs(
            dcmk_load_words(dcmk_probe_rest(a, from) + DCMK_PROBE_PATTERN),
            dcmk_probe_words(from, from, 0, 0)))
        bad |= DCMK_PROBE_READ;
    return bad;
}

/* Pieces, atomics, and that they are done. */
DCMK_FN void dcmk_probe_send_all(const dcmk_args &a, int to)
{
    const uint64_t rest = dcmk_probe_rest(a, to);

    DCMK_LOOP
    for (uint32_t round = 0; round < DCMK_PROBE_ROUNDS; round++) {
        dcmk_probe_send(a, to, round);
        dcmk_add32(rest + DCMK_PROBE_COUNTER);
    }
    dcmk_store64_release(rest + 8u * (uint32_t)a.rank, 1);
}

DCMK_FN uint32_t dcmk_probe_receive_all(const dcmk_args &a, int from,
                                        uint64_t start_ns)
{
    uint32_t bad = 0;

    DCMK_LOOP
    for (uint32_t round = 0; round < DCMK_PROBE_ROUNDS && bad == 0; round++)
        bad = dcmk_probe_receive(a, from, round, start_ns);
    if (bad != DCMK_PROBE_LATE &&
        !dcmk_probe_await(a, dcmk_probe_rest(a, a.rank) + 8u * (uint32_t)from,
                          1, start_ns))
        bad = DCMK_PROBE_LATE;
    return bad;
}

DCMK_FN bool dcmk_probe_is_peer(const dcmk_args &a, uint32_t t)
{
    return t < (uint32_t)a.nranks && t != (uint32_t)a.rank;
}

DCMK_FN void dcmk_probe_body(const dcmk_args &a, const dcmk_block &b)
{
    const uint64_t start_ns = dcmk_now_ns();
    DCMK_PRIVATE(uint32_t, bad);

    DCMK_EACH_THREAD(b, t)
    {
        bad[DCMK_OF(t)] = 0;
        if (t == (uint32_t)a.rank)
            dcmk_store_words(dcmk_probe_rest(a, a.rank) + DCMK_PROBE_PATTERN,
                             dcmk_probe_words(a.rank, a.rank, 0, 0));
    }
    dcmk_sync(); /* the pattern comes before every thread's first flag */
    /* All is sent before anything is waited for: what is late is its sender's. */
    DCMK_EACH_THREAD(b, t)
    {
        if (dcmk_probe_is_peer(a, t))
            dcmk_probe_send_all(a, (int)t);
    }
    DCMK_EACH_THREAD(b, t)
    {
        if (dcmk_probe_is_peer(a, t))
            bad[DCMK_OF(t)] = dcmk_probe_receive_all(a, (int)t, start_ns);
    }
    dcmk_sync(); /* all have heard that all atomics are done */
    DCMK_EACH_THREAD(b, t)
    {
        if (t >= (uint32_t)a.nranks)
            continue;
        if (dcmk_load32(dcmk_probe_rest(a, a.rank) + DCMK_PROBE_COUNTER) !=
            DCMK_PROBE_ROUNDS * (uint32_t)(a.nranks - 1))
            bad[DCMK_OF(t)] |= DCMK_PROBE_ATOMIC;
        dcmk_store32(a.dst + 4u * t, bad[DCMK_OF(t)]);
    }
}

DCMK_KERNEL(dcmk_k_probe, 32, dcmk_probe_body)

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushing 16 bytes of floats that validate themselves, and waiting for them: what
 * push.cu and push_two.cu share.
 *
 * A 32-bit word of ones means "not here yet".  In every float type of up to 32
 * bits such a word is made of NaNs only, so a sender may put another NaN in its
 * place: the result is the canonical NaN either way.  Results never hold it.
 */
#ifndef DCMK_WORDS_CUH
#define DCMK_WORDS_CUH

#include "backend/peer/kernels/reduce.cuh"
#include "backend/peer/kernels/turn.cuh"

/*
 * Another NaN for each, in every type alike; where the type has more than 8 bits,
 * one that costs an instruction less.
 */
#define DCMK_OTHER_NANS 0x7fff7fffu
#define DCMK_NEAR_NANS  0xfffffffeu

template <class R> DCMK_FN uint32_t dcmk_cleared(uint32_t w)
{
    if (R::EVEN)
        return w < DCMK_NEAR_NANS ? w : DCMK_NEAR_NANS;
    return w != DCMK_NOT_HERE ? w : DCMK_OTHER_NANS;
}

template <class R> DCMK_FN dcmk_u4 dcmk_clear_of_ones(dcmk_u4 v)
{
    return dcmk_u4{dcmk_cleared<R>(v.x), dcmk_cleared<R>(v.y),
                   dcmk_cleared<R>(v.z), dcmk_cleared<R>(v.w)};
}

DCMK_FN void dcmk_reset_words(uint64_t at)
{
    dcmk_put_words(at, dcmk_u4{DCMK_NOT_HERE, DCMK_NOT_HERE, DCMK_NOT_HERE,
                               DCMK_NOT_HERE});
}

/*
 * The first threads of block 0 tell every peer which call this is, one peer each,
 * and later wait for the peers' word: a word of floats cannot say it.
 */
DCMK_FN bool dcmk_is_usher(const dcmk_args &a, const dcmk_block &b, uint32_t t)
{
    return b.index == 0 && t < (uint32_t)a.nranks && t != (uint32_t)a.rank;
}

DCMK_FN void dcmk_usher(const dcmk_args &a, const dcmk_block &b, uint32_t t,
                        uint64_t epoch)
{
    if (dcmk_is_usher(a, b, t))
        dcmk_store64(dcmk_header(a, (int)t, a.rank, epoch),
                     dcmk_flag(a, epoch));
}

/* Where words that need not be waited for are read instead: they are zeros. */
DCMK_FN uint64_t dcmk_nothing(const dcmk_args &a)
{
    return a.watch + offsetof(dcmk_watch, nothing);
}

template <class N>
DCMK_FN void dcmk_load_sources(dcmk_u4 (&r)[N::MOST - 1], const dcmk_args &a,
                               const dcmk_sources<N> &from)
{
    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        if (q < N::count(a) - 1)
            r[q] = dcmk_load_words(from.at[q]);
    }
}

/* One poll, an usher's of its header as well; whether all has come. */
template <class N>
DCMK_FN bool dcmk_poll_words(dcmk_u4 (&r)[N::MOST - 1], uint64_t *seen_p,
                             const dcmk_args &a, const dcmk_sources<N> &from,
                             uint64_t header, uint64_t flag, bool is_usher)
{
    uint32_t most = 0;

    dcmk_load_sources<N>(r, a, from);
    *seen_p = is_usher ? dcmk_load64(header) : flag;
    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        if (q < N::count(a) - 1)
            most = dcmk_larger(most, dcmk_largest(r[q]));
    }
    return most != DCMK_NOT_HERE && *seen_p == flag;
}

/* Wait for what a short wait has not seen. */
template <class N>
DCMK_FN bool dcmk_await_words_long(const dcmk_args &a, const dcmk_block &b,
                                   uint32_t t, const dcmk_sources<N> &from,
                                   uint64_t header, uint64_t flag,
                                   uint32_t phase)
{
    dcmk_long l;

    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++)
        l.at[q] = from.at[q];
    l.flag = flag;
    l.header = header;
    l.header_peer = (int)t;
    l.n = N::count(a) - 1;
    l.phase = phase;
    l.is_flags = false;
    return dcmk_wait_long(a, b.index, l);
}

/*
 * Wait for this thread's 16 bytes of every peer and, in the first hop as an usher,
 * for a peer's header.  False: gave up.
 */
template <class N>
DCMK_FN bool dcmk_await_words(dcmk_u4 (&r)[N::MOST - 1], const dcmk_args &a,
                              const dcmk_block &b, uint32_t t,
                              const dcmk_sources<N> &from, uint64_t epoch,
                              uint32_t phase)
{
    const bool is_usher = phase == DCMK_PHASE_GATHER && dcmk_is_usher(a, b, t);
    uint64_t header = is_usher ? dcmk_header(a, a.rank, (int)t, epoch) : 0;
    uint64_t flag = dcmk_flag(a, epoch);

    DCMK_KEEP(header);
    DCMK_KEEP(flag);
    DCMK_LOOP
    for (int i = 0; i < DCMK_SHORT; i++) {
        uint64_t seen;

        if (dcmk_poll_words<N>(r, &seen, a, from, header, flag, is_usher))
            return true;
        dcmk_relax();
    }
    if (!dcmk_await_words_long<N>(a, b, t, from, header, flag, phase))
        return false;
    dcmk_load_sources<N>(r, a, from);
    return true;
}

/*
 * The same with what a long wait looks at in the loop.  It takes registers, which
 * push_two.cu wants taken: its blocks then leave no room beside them for those of
 * the next kernel, which would be spread unevenly and end late.
 */
template <class N>
DCMK_FN bool dcmk_await_words_here(dcmk_u4 (&r)[N::MOST - 1],
                                   const dcmk_args &a, const dcmk_block &b,
                                   uint32_t t, const dcmk_sources<N> &from,
                                   uint64_t epoch, uint32_t phase)
{
    const bool is_usher = phase == DCMK_PHASE_GATHER && dcmk_is_usher(a, b, t);
    uint64_t header = is_usher ? dcmk_header(a, a.rank, (int)t, epoch) : 0;
    uint64_t flag = dcmk_flag(a, epoch);
    dcmk_spin spin = {};

    DCMK_KEEP(header);
    DCMK_KEEP(flag);
    for (;;) {
        dcmk_wanted want = {flag, 0, 0, 0, phase};
        uint64_t seen = flag;
        bool is_look;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            if (dcmk_poll_words<N>(r, &seen, a, from, header, flag, is_usher))
                return true;
            dcmk_relax();
        }
        if (dcmk_glance(a, spin, &is_look))
            return false;
        if (!is_look)
            continue;
        DCMK_UNROLL
        for (int q = 0; q < N::MOST - 1; q++) {
            if (q < N::count(a) - 1 && dcmk_largest(r[q]) == DCMK_NOT_HERE)
                dcmk_miss(want, dcmk_peer(a, q), 0);
        }
        if (seen != flag)
            dcmk_miss(want, (int)t, seen);
        if (dcmk_look(a, b.index, spin, want))
            return false;
    }
}

#endif /* DCMK_WORDS_CUH */

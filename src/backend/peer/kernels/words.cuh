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
#include "backend/peer/kernels/sync.cuh"

#define DCMK_NOT_HERE 0xffffffffu

/* NaNs in f32, f16, bf16, f8e4m3 and f8e5m2 alike. */
#define DCMK_OTHER_NANS 0x7fff7fffu

DCMK_FN uint32_t dcmk_cleared(uint32_t w)
{
    return w != DCMK_NOT_HERE ? w : DCMK_OTHER_NANS;
}

DCMK_FN dcmk_u4 dcmk_clear_of_ones(dcmk_u4 v)
{
    return dcmk_u4{dcmk_cleared(v.x), dcmk_cleared(v.y), dcmk_cleared(v.z),
                   dcmk_cleared(v.w)};
}

DCMK_FN bool dcmk_is_here(dcmk_u4 v)
{
    return v.x != DCMK_NOT_HERE && v.y != DCMK_NOT_HERE &&
           v.z != DCMK_NOT_HERE && v.w != DCMK_NOT_HERE;
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

/* All peers, as bits. */
DCMK_FN uint32_t dcmk_peers(const dcmk_args &a)
{
    return ((1u << a.nranks) - 1) & ~(1u << a.rank);
}

/*
 * Wait for this thread's 16 bytes of the peers in `from`, r[p] at `at` + p * slot,
 * and, in the first hop as an usher, for a peer's header.  False: gave up.
 */
template <class N>
DCMK_FN bool dcmk_await_words(dcmk_u4 (&r)[N::MOST], const dcmk_args &a,
                              const dcmk_block &b, uint32_t t, uint32_t from,
                              uint64_t at, uint64_t slot, uint64_t epoch,
                              uint32_t phase)
{
    const uint64_t flag = dcmk_flag(a, epoch);
    const bool is_usher = phase == DCMK_PHASE_GATHER && dcmk_is_usher(a, b, t);
    const uint64_t header =
        is_usher ? dcmk_header(a, a.rank, (int)t, epoch) : 0;
    dcmk_spin spin = {};

    for (;;) {
        uint64_t seen = flag;
        bool is_look;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            bool is_here = true;

            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if ((from >> p & 1u) != 0)
                    r[p] = dcmk_load_words(at + (uint64_t)p * slot);
            }
            if (is_usher)
                seen = dcmk_load64(header);
            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if ((from >> p & 1u) != 0)
                    is_here = is_here && dcmk_is_here(r[p]);
            }
            if (is_here && seen == flag)
                return true;
            dcmk_relax();
        }
        if (dcmk_glance(a, spin, &is_look))
            return false;
        if (is_look) {
            dcmk_wanted want = {flag, 0, 0, 0, phase};

            DCMK_UNROLL
            for (int p = 0; p < N::MOST; p++) {
                if ((from >> p & 1u) != 0 && !dcmk_is_here(r[p]))
                    dcmk_miss(want, p, 0);
            }
            if (seen != flag)
                dcmk_miss(want, (int)t, seen);
            if (dcmk_look(a, b.index, spin, want))
                return false;
        }
    }
}

template <class N, class R>
DCMK_FN dcmk_u4 dcmk_reduce_words(const dcmk_args &a,
                                  const dcmk_u4 (&r)[N::MOST], dcmk_u4 own)
{
    R sum;

    sum.set(a, a.rank == 0 ? own : r[0]);
    DCMK_UNROLL
    for (int p = 1; p < N::MOST; p++) {
        if (p < N::count(a))
            sum.add(p, p == a.rank ? own : r[p]);
    }
    return sum.get(a);
}

#endif /* DCMK_WORDS_CUH */

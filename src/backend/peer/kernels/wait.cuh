/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a wait looks at while it is long, and how it gives up.
 *
 * A short wait only polls.  A long one counts its polls.  Now and then it looks
 * whether this rank has given up elsewhere; more rarely at the clock, the
 * communicator's fail word, one peer's life and stage, and whether another kernel of
 * this rank has begun.  A peer that is gone may have sent what is waited for just
 * before: what is missing at the next such look is missing for good.
 */
#ifndef DCMK_WAIT_CUH
#define DCMK_WAIT_CUH

#include "backend/peer/kernels/epoch.cuh"

enum {
    DCMK_SHORT = 128, /* polls of a short wait, which looks at nothing else */
    DCMK_GLANCE = 32, /* polls between two looks at has_failed */
    DCMK_LOOK = 1024  /* and at all the rest: 0.2 ms on a GPU */
};

#define DCMK_NOT_HERE 0xffffffffu /* a word of floats (words.cuh) */

/* The largest word: all ones when one of them is not here. */
DCMK_FN uint32_t dcmk_larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

DCMK_FN uint32_t dcmk_largest(dcmk_u4 v)
{
    return dcmk_larger(dcmk_larger(v.x, v.y), dcmk_larger(v.z, v.w));
}

struct dcmk_spin {
    uint32_t polls;
    uint32_t gone; /* a bit a rank: was seen dead, has left, or mismatches */
    uint64_t start_ns;
};

/* What is waited for, as it goes into the record. */
struct dcmk_wanted {
    uint64_t flag;
    uint64_t seen; /* a flag of this epoch, but another's, of seen_peer; or 0 */
    int seen_peer;
    uint32_t missing; /* a bit a rank */
    uint32_t phase;
};

/* In a rare look: `flag` stands where `want.flag` of peer `p` is missing. */
DCMK_FN void dcmk_miss(dcmk_wanted &want, int p, uint64_t flag)
{
    want.missing |= 1u << p;
    if (flag >> DCMK_SIGN_BITS == want.flag >> DCMK_SIGN_BITS) {
        want.seen = flag;
        want.seen_peer = p;
    }
}

DCMK_FN int dcmk_first(uint32_t bits)
{
    int i = 0;

    while (i < DCMK_RANKS - 1 && (bits >> i & 1u) == 0)
        i++;
    return i;
}

DCMK_SLOW void dcmk_give_up(const dcmk_args &a, uint32_t block,
                            const dcmk_wanted &want, uint32_t cause, int peer,
                            uint64_t waited_ns)
{
    dcmk_watch *watch = (dcmk_watch *)a.watch;
    dcmk_record *record = (dcmk_record *)watch->record;

    if (dcmk_claim((uint64_t)&watch->is_claimed)) {
        record->epoch = want.flag >> DCMK_SIGN_BITS;
        record->waited_ns = waited_ns;
        record->seen = want.seen;
        record->want = want.flag;
        record->cause = cause;
        record->peer = (uint32_t)peer;
        record->phase = want.phase;
        record->block = block;
        dcmk_store32_release((uint64_t)&record->state, 1);
    }
    dcmk_store32((uint64_t)&watch->has_failed, 1);
}

/* Whether peer `p` is gone, and how. */
DCMK_FN uint32_t dcmk_gone(const dcmk_watch *watch, int p)
{
    if ((dcmk_load32(watch->life[p]) & DCMK_LIFE_DIED) != 0)
        return DCMK_CAUSE_DEAD;
    if (dcmk_load32(watch->stage[p]) == DCMK_STAGE_FREED)
        return DCMK_CAUSE_LEFT;
    return DCMK_CAUSE_NONE;
}

/*
 * The rare look; true: give up.  Inline: a call that comes back would make the
 * loop around it save what it holds in registers.
 */
DCMK_FN bool dcmk_look(const dcmk_args &a, uint32_t block, dcmk_spin &spin,
                         const dcmk_wanted &want)
{
    const dcmk_watch *watch = (const dcmk_watch *)a.watch;
    const uint64_t now = dcmk_now_ns();
    const int p = (int)(spin.polls / DCMK_LOOK % (uint32_t)a.nranks);
    const int first = dcmk_first(want.missing);
    uint32_t cause = DCMK_CAUSE_NONE;
    int peer = first;

    if (spin.start_ns == 0)
        spin.start_ns = now;
    if (dcmk_load64(watch->fail) != 0 ||
        dcmk_load32((uint64_t) &
                    ((const dcmk_record *)watch->record)->stop) != 0) {
        cause = DCMK_CAUSE_FAILED;
    } else if (a.epochs != 0 && dcmk_load64((uint64_t)&watch->turn.begun) >
                                    want.flag >> DCMK_SIGN_BITS) {
        cause = DCMK_CAUSE_OVERLAP; /* another kernel has begun (turn.cuh) */
        peer = a.rank;
    } else if (want.seen != 0) {
        cause = DCMK_CAUSE_MISMATCH;
        peer = want.seen_peer;
    } else if ((want.missing >> p & 1u) != 0 &&
               dcmk_gone(watch, p) != DCMK_CAUSE_NONE) {
        if ((spin.gone >> p & 1u) != 0) {
            cause = dcmk_gone(watch, p);
            peer = p;
        }
        spin.gone |= 1u << p;
    } else if (now - spin.start_ns >= a.timeout_ns) {
        cause = DCMK_CAUSE_LATE;
    }
    if (cause == DCMK_CAUSE_NONE)
        return false;
    dcmk_give_up(a, block, want, cause, peer, now - spin.start_ns);
    return true;
}

/*
 * After DCMK_GLANCE polls that found something missing: a glance; true: this rank
 * has given up in another block or call.  *is_look_p: it is time for a look too.
 */
DCMK_FN bool dcmk_glance(const dcmk_args &a, dcmk_spin &spin, bool *is_look_p)
{
    const dcmk_watch *watch = (const dcmk_watch *)a.watch;

    spin.polls += DCMK_GLANCE;
    *is_look_p = spin.polls % DCMK_LOOK == 0;
    return dcmk_load32((uint64_t)&watch->has_failed) != 0;
}

/*
 * Wait for a flag that `peer` stores with release.  False: gave up.
 */
DCMK_FN bool dcmk_await_flag(const dcmk_args &a, uint32_t block, int peer,
                             uint64_t at, uint64_t flag, uint32_t phase)
{
    dcmk_spin spin = {};

    for (;;) {
        dcmk_wanted want = {flag, 0, 0, 0, phase};
        uint64_t seen = dcmk_load64_acquire(at);
        bool is_look;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE && seen != flag; i++) {
            dcmk_relax();
            seen = dcmk_load64_acquire(at);
        }
        if (seen == flag)
            return true;
        if (dcmk_glance(a, spin, &is_look))
            return false;
        if (!is_look)
            continue;
        dcmk_miss(want, peer, seen);
        if (dcmk_look(a, block, spin, want))
            return false;
    }
}

/* A thread's long wait: for 16 bytes of floats, or a flag, of several peers. */
struct dcmk_long {
    uint64_t at[DCMK_RANKS]; /* of the q-th peer: the floats, or the flag */
    uint64_t flag;
    uint64_t header; /* one more flag, of header_peer; 0: none */
    int header_peer;
    int n;
    uint32_t phase;
    bool is_flags;
};

/* The flag that is there; its own where floats are, 0 where they are not. */
DCMK_FN uint64_t dcmk_long_seen(const dcmk_long &l, int q)
{
    if (l.is_flags)
        return dcmk_load64(l.at[q]);
    return dcmk_largest(dcmk_load_words(l.at[q])) != DCMK_NOT_HERE ? l.flag : 0;
}

DCMK_FN bool dcmk_long_is_over(const dcmk_long &l)
{
    bool is_over = l.header == 0 || dcmk_load64(l.header) == l.flag;

    DCMK_LOOP
    for (int q = 0; q < l.n && is_over; q++)
        is_over = dcmk_long_seen(l, q) == l.flag;
    return is_over;
}

/*
 * True: all is there, and stays.  False: gave up.  Its own function, called once and
 * not in a loop: the registers that it needs are none of those that the call's
 * kernel occupies while it waits for a short time, as it mostly does.
 */
DCMK_SLOW bool dcmk_wait_long(const dcmk_args &a, uint32_t block,
                              const dcmk_long &l)
{
    dcmk_spin spin = {};

    for (;;) {
        dcmk_wanted want = {l.flag, 0, 0, 0, l.phase};
        bool is_look;

        DCMK_LOOP
        for (int i = 0; i < DCMK_GLANCE; i++) {
            if (dcmk_long_is_over(l))
                return true;
            dcmk_relax();
        }
        if (dcmk_glance(a, spin, &is_look))
            return false;
        if (!is_look)
            continue;
        DCMK_LOOP
        for (int q = 0; q < l.n; q++) {
            const uint64_t seen = dcmk_long_seen(l, q);

            if (seen != l.flag)
                dcmk_miss(want, dcmk_peer(a, q), seen);
        }
        if (l.header != 0 && dcmk_load64(l.header) != l.flag)
            dcmk_miss(want, l.header_peer, dcmk_load64(l.header));
        if (want.missing != 0 && dcmk_look(a, block, spin, want))
            return false;
    }
}

#endif /* DCMK_WAIT_CUH */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every load, store, fence and poll on memory that ranks share, epochs, and what
 * a wait looks at while it is long.
 *
 * Lines    A line is 128 bytes: 120 of data, then a flag of 64 bits: the epoch
 *          above, the call's signature below.  Eight threads store 16 bytes each.
 *          That the line arrives as one, so that whoever sees its flag sees its
 *          data, is an axiom on a GPU: the architecture does not promise it,
 *          NVLink does it.  On the host the flag is stored with release and
 *          loaded with acquire, which gives just that.
 * Words    16 bytes that are valid when none of their 32-bit words is all ones.
 * Order    Relaxed accesses at system scope: a flag or a word validates itself
 *          and nothing else.  What this rank wrote before the kernel is ordered by
 *          the kernel's start, what it reads after by its end.
 * Epochs   A call has the epoch that its block's word holds, plus nothing: the
 *          words are all equal between kernels.  Block b of g reads word b and
 *          writes b, b + g, b + 2g ..: every word has one reader and one writer
 *          in a kernel, which are the same block.  48 bits outlast any machine
 *          (2^48 calls of 2 us are 17 years); the first epoch is 1, so that zeroed
 *          memory holds no flag.
 * Waits    Every wait counts its polls.  Now and then it looks whether this rank
 *          has given up elsewhere; more rarely at the clock, the communicator's
 *          fail word and one peer's life and stage.  A peer that is gone may have
 *          sent what is waited for just before: what is missing at the next such
 *          look is missing for good.
 */
#ifndef DCMK_SYNC_CUH
#define DCMK_SYNC_CUH

#include "backend/peer/kernels/target.h"

/* ---- memory that ranks share ---------------------------------------------- */

#if DCMK_HOST

DCMK_FN uint64_t dcmk_load64(uint64_t at)
{
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
}

DCMK_FN void dcmk_store64(uint64_t at, uint64_t v)
{
    __atomic_store_n((uint64_t *)at, v, __ATOMIC_RELAXED);
}

DCMK_FN uint32_t dcmk_load32(uint64_t at)
{
    return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
}

DCMK_FN void dcmk_store32(uint64_t at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELAXED);
}

DCMK_FN uint64_t dcmk_load64_acquire(uint64_t at)
{
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

DCMK_FN void dcmk_store64_release(uint64_t at, uint64_t v)
{
    __atomic_store_n((uint64_t *)at, v, __ATOMIC_RELEASE);
}

DCMK_FN void dcmk_store32_release(uint64_t at, uint32_t v)
{
    __atomic_store_n((uint32_t *)at, v, __ATOMIC_RELEASE);
}

/* Set a word of this rank's device to 1; whether it was 0. */
DCMK_FN bool dcmk_claim(uint64_t at)
{
    return __atomic_exchange_n((uint32_t *)at, 1u, __ATOMIC_ACQ_REL) == 0;
}

/* Four words, each by itself: nothing more is asked of them. */
DCMK_FN dcmk_u4 dcmk_load_words(uint64_t at)
{
    return dcmk_u4{dcmk_load32(at), dcmk_load32(at + 4), dcmk_load32(at + 8),
                   dcmk_load32(at + 12)};
}

DCMK_FN void dcmk_store_words(uint64_t at, dcmk_u4 v)
{
    dcmk_store32(at, v.x);
    dcmk_store32(at + 4, v.y);
    dcmk_store32(at + 8, v.z);
    dcmk_store32(at + 12, v.w);
}

/* This rank's own memory. */
DCMK_FN uint64_t dcmk_get8(uint64_t at)
{
    return *(const uint64_t *)at;
}

DCMK_FN dcmk_u4 dcmk_get16(uint64_t at)
{
    return *(const dcmk_u4 *)at;
}

DCMK_FN void dcmk_put8(uint64_t at, uint64_t v)
{
    *(uint64_t *)at = v;
}

DCMK_FN void dcmk_put16(uint64_t at, dcmk_u4 v)
{
    *(dcmk_u4 *)at = v;
}

/* Staging of this rank, ordered before the next push by the kernel's end. */
DCMK_FN void dcmk_put_words(uint64_t at, dcmk_u4 v)
{
    dcmk_store_words(at, v);
}

/* A thread's 16 bytes of a line, and the line's flag before they were read. */
struct dcmk_part {
    dcmk_u4 v;
    uint64_t flag;
};

DCMK_FN dcmk_part dcmk_load_part(uint64_t at, uint32_t lane)
{
    const uint64_t line = at - (lane & 7u) * 16u;
    dcmk_part r;

    r.flag = dcmk_load64_acquire(line + DCMK_LINE_DATA);
    r.v = dcmk_load_words(at);
    return r;
}

/* The eighth thread's last two words are the flag. */
DCMK_FN void dcmk_store_part(uint64_t at, uint32_t lane, dcmk_u4 v)
{
    if ((lane & 7u) != 7u) {
        dcmk_store_words(at, v);
        return;
    }
    dcmk_store32(at, v.x);
    dcmk_store32(at + 4, v.y);
    dcmk_store64_release(at + 8, v.z | (uint64_t)v.w << 32);
}

/* 0 when the flag is the wanted one; for threads that do not ignore it. */
DCMK_FN uint32_t dcmk_part_differs(const dcmk_part &p, uint64_t flag)
{
    return p.flag != flag;
}

DCMK_FN bool dcmk_ignores(uint32_t lane)
{
    (void)lane;
    return false;
}

DCMK_FN uint64_t dcmk_part_flag(const dcmk_part &p)
{
    return p.flag;
}

DCMK_FN void dcmk_together(void)
{
}

#else /* CUDA */

DCMK_FN uint64_t dcmk_load64(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.relaxed.sys.global.u64 %0, [%1];"
                 : "=l"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store64(uint64_t at, uint64_t v)
{
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(at), "l"(v)
                 : "memory");
}

DCMK_FN uint32_t dcmk_load32(uint64_t at)
{
    uint32_t v;

    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];"
                 : "=r"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store32(uint64_t at, uint32_t v)
{
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(at), "r"(v)
                 : "memory");
}

DCMK_FN uint64_t dcmk_load64_acquire(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.acquire.sys.global.u64 %0, [%1];"
                 : "=l"(v)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store64_release(uint64_t at, uint64_t v)
{
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(at), "l"(v)
                 : "memory");
}

DCMK_FN void dcmk_store32_release(uint64_t at, uint32_t v)
{
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(v)
                 : "memory");
}

DCMK_FN bool dcmk_claim(uint64_t at)
{
    uint32_t old;

    asm volatile("atom.acq_rel.gpu.global.exch.b32 %0, [%1], 1;"
                 : "=r"(old)
                 : "l"(at)
                 : "memory");
    return old == 0;
}

DCMK_FN dcmk_u4 dcmk_load_words(uint64_t at)
{
    dcmk_u4 v;

    asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
}

DCMK_FN void dcmk_store_words(uint64_t at, dcmk_u4 v)
{
    asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(
                     at),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

DCMK_FN uint64_t dcmk_get8(uint64_t at)
{
    uint64_t v;

    asm volatile("ld.global.u64 %0, [%1];" : "=l"(v) : "l"(at));
    return v;
}

DCMK_FN dcmk_u4 dcmk_get16(uint64_t at)
{
    dcmk_u4 v;

    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

DCMK_FN void dcmk_put8(uint64_t at, uint64_t v)
{
    asm volatile("st.global.u64 [%0], %1;" ::"l"(at), "l"(v));
}

DCMK_FN void dcmk_put16(uint64_t at, dcmk_u4 v)
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(at),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w));
}

DCMK_FN void dcmk_put_words(uint64_t at, dcmk_u4 v)
{
    dcmk_put16(at, v);
}

struct dcmk_part {
    dcmk_u4 v;
};

/* Before lines are stored: the warp stores each as one, so it must be together. */
DCMK_FN void dcmk_together(void)
{
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

DCMK_FN dcmk_part dcmk_load_part(uint64_t at, uint32_t lane)
{
    (void)lane;
    return dcmk_part{dcmk_load_words(at)};
}

DCMK_FN void dcmk_store_part(uint64_t at, uint32_t lane, dcmk_u4 v)
{
    (void)lane;
    dcmk_store_words(at, v);
}

DCMK_FN uint32_t dcmk_part_differs(const dcmk_part &p, uint64_t flag)
{
    return (p.v.z ^ (uint32_t)flag) | (p.v.w ^ (uint32_t)(flag >> 32));
}

/* The eighth thread looks for its line: ask all threads that move together. */
DCMK_FN bool dcmk_ignores(uint32_t lane)
{
    return (lane & 7u) != 7u;
}

DCMK_FN uint64_t dcmk_part_flag(const dcmk_part &p)
{
    return p.v.z | (uint64_t)p.v.w << 32;
}

#endif

/* ---- this rank's own memory ----------------------------------------------- */

/* Up to 8 bytes as a number, from where `left` bytes are left; any alignment. */
DCMK_SLOW uint64_t dcmk_read_bytes(uint64_t at, uint32_t left)
{
    const uint8_t *p = (const uint8_t *)at;
    uint64_t v = 0;

    if (left >= 8 && at % 8 == 0)
        return *(const uint64_t *)at;
    DCMK_LOOP
    for (uint32_t i = 0; i < 8 && i < left; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

DCMK_SLOW void dcmk_write_bytes(uint64_t at, uint32_t left, uint64_t v)
{
    uint8_t *p = (uint8_t *)at;

    if (left >= 8 && at % 8 == 0) {
        *(uint64_t *)at = v;
        return;
    }
    DCMK_LOOP
    for (uint32_t i = 0; i < 8 && i < left; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

DCMK_FN dcmk_u4 dcmk_u4_of(uint64_t low, uint64_t high)
{
    return dcmk_u4{(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                   (uint32_t)(high >> 32)};
}

DCMK_FN uint64_t dcmk_low(dcmk_u4 v)
{
    return v.x | (uint64_t)v.y << 32;
}

DCMK_FN uint64_t dcmk_high(dcmk_u4 v)
{
    return v.z | (uint64_t)v.w << 32;
}

/*
 * 8 or 16 bytes at `offset` of a buffer of `bytes`: zeros behind its end.  EVEN:
 * the host has made sure that buffers and sizes are multiples of what is moved.
 */
template <bool EVEN>
DCMK_FN uint64_t dcmk_read8(uint64_t base, uint32_t offset, uint32_t bytes)
{
    if (offset >= bytes)
        return 0;
    if (EVEN)
        return dcmk_get8(base + offset);
    return dcmk_read_bytes(base + offset, bytes - offset);
}

template <bool EVEN>
DCMK_FN void dcmk_write8(uint64_t base, uint32_t offset, uint32_t bytes,
                         uint64_t v)
{
    if (offset >= bytes)
        return;
    if (EVEN)
        dcmk_put8(base + offset, v);
    else
        dcmk_write_bytes(base + offset, bytes - offset, v);
}

template <bool EVEN>
DCMK_FN dcmk_u4 dcmk_read16(uint64_t base, uint32_t offset, uint32_t bytes)
{
    if (!EVEN)
        return dcmk_u4_of(dcmk_read8<false>(base, offset, bytes),
                          dcmk_read8<false>(base, offset + 8, bytes));
    return offset < bytes ? dcmk_get16(base + offset) : dcmk_u4{0, 0, 0, 0};
}

template <bool EVEN>
DCMK_FN void dcmk_write16(uint64_t base, uint32_t offset, uint32_t bytes,
                          dcmk_u4 v)
{
    if (EVEN) {
        if (offset < bytes)
            dcmk_put16(base + offset, v);
        return;
    }
    dcmk_write8<false>(base, offset, bytes, dcmk_low(v));
    dcmk_write8<false>(base, offset + 8, bytes, dcmk_high(v));
}

/* ---- epochs --------------------------------------------------------------- */

DCMK_FN uint64_t dcmk_epoch(const dcmk_args &a, const dcmk_block &b)
{
    return dcmk_get8(a.epochs + 8u * b.index);
}

/*
 * When all have pushed: the epoch words for the next call, which may be started
 * now, and waits for this one's end before it reads anything.
 */
DCMK_FN void dcmk_pushed(const dcmk_args &a, const dcmk_block &b,
                         uint64_t epoch)
{
    dcmk_sync(); /* every thread has its epoch */
    dcmk_let_next_start();
    DCMK_EACH_THREAD(b, t)
    {
        for (uint32_t w = b.index + t * b.count; w < DCMK_GRID;
             w += b.threads * b.count)
            dcmk_put8(a.epochs + 8u * w, epoch + 1);
    }
}

DCMK_FN uint64_t dcmk_flag(const dcmk_args &a, uint64_t epoch)
{
    return epoch << DCMK_SIGN_BITS | a.sign;
}

/* How many ranks a kernel is made for: just so many, or any number up to it. */
template <int RANKS> struct dcmk_just {
    static const int MOST = RANKS;

    DCMK_METHOD static int count(const dcmk_args &)
    {
        return RANKS;
    }
};

template <int RANKS> struct dcmk_up_to {
    static const int MOST = RANKS;

    DCMK_METHOD static int count(const dcmk_args &a)
    {
        return a.nranks;
    }
};

/* The d-th peer: every rank begins with another one. */
template <class N> DCMK_FN int dcmk_next(const dcmk_args &a, int d)
{
    const int n = N::count(a);

    return a.rank + d < n ? a.rank + d : a.rank + d - n;
}

/*
 * The peers in rank order, without this rank: the q-th of them.  What came from
 * them is kept so, in registers whose numbers are constants.
 */
DCMK_FN int dcmk_peer(const dcmk_args &a, int q)
{
    return q < a.rank ? q : q + 1;
}

/* Where a thread's 16 bytes of each peer lie in this rank's staging. */
template <class N> struct dcmk_sources {
    uint64_t at[N::MOST - 1];
};

template <class N>
DCMK_FN dcmk_sources<N> dcmk_sources_at(const dcmk_args &a, uint64_t at,
                                        uint32_t slot)
{
    dcmk_sources<N> s = {};

    DCMK_UNROLL
    for (int q = 0; q < N::MOST - 1; q++) {
        s.at[q] = at + (uint32_t)dcmk_peer(a, q) * slot;
        DCMK_KEEP(s.at[q]);
    }
    return s;
}

/* All ranks' 16 bytes in rank order: the peers' with this rank's put in. */
template <class N, class R>
DCMK_FN dcmk_u4 dcmk_reduce(const dcmk_args &a, const dcmk_u4 (&r)[N::MOST - 1],
                            dcmk_u4 own)
{
    R sum;

    sum.set(a, a.rank == 0 ? own : r[0]);
    DCMK_UNROLL
    for (int p = 1; p < N::MOST; p++) {
        dcmk_u4 v = p == a.rank ? own : r[p - 1];

        if (p < N::MOST - 1)
            v = p < a.rank ? r[p < N::MOST - 1 ? p : 0] : v;
        if (p < N::count(a))
            sum.add(p, v);
    }
    return sum.get(a);
}

/* The half that the calls of this epoch use. */
DCMK_FN uint32_t dcmk_half(uint32_t half, uint64_t epoch)
{
    return ((uint32_t)epoch & 1u) * half;
}

/* Offsets of what this rank pushes: in peers' staging of the first hop, of results. */
DCMK_FN uint32_t dcmk_first_out(const dcmk_args &a, uint64_t epoch)
{
    return a.first + dcmk_half(a.first_half, epoch) +
           (uint32_t)a.rank * a.first_slot;
}

DCMK_FN uint32_t dcmk_second_out(const dcmk_args &a, uint64_t epoch)
{
    return a.second + dcmk_half(a.second_half, epoch) +
           (uint32_t)a.rank * a.second_slot;
}

/* The header line of `source` in the staging of `of`: where its flag stands. */
DCMK_FN uint64_t dcmk_header(const dcmk_args &a, int of, int source,
                             uint64_t epoch)
{
    return a.peer[of] + (a.header + dcmk_half(a.header_half, epoch) +
                         (uint32_t)source * a.header_slot + DCMK_LINE_DATA);
}

/* The bytes of owner `o`'s part: a part may be short or empty. */
DCMK_FN uint32_t dcmk_part_bytes(const dcmk_args &a, int o)
{
    const uint32_t begin = (uint32_t)o * a.shard;

    if (begin >= a.bytes)
        return 0;
    return a.bytes - begin < a.shard ? a.bytes - begin : a.shard;
}

/* ---- long waits ----------------------------------------------------------- */

enum {
    DCMK_GLANCE = 32, /* polls between two looks at has_failed */
    DCMK_LOOK = 1024  /* and at all the rest: 0.2 ms on a GPU */
};

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

#endif /* DCMK_SYNC_CUH */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CPU backend's files share: the layout of its segment, the words that
 * ranks wait for, and one rank's state.
 *
 * Layout          One region a rank: mail lines, counters, channels, then the
 *                 staging ring, the result ring and the channels' pieces, which
 *                 take memory only when a message first needs them.
 * Writers and     A rank writes its own region only (and, with arenas, its shard
 * readers         of every rank's output); all ranks read all regions.
 * Epochs          Operation e of a communicator has epoch e (32 bits, from 1); send
 *                 and recv are none (message.c).
 *                 Every operation begins with each rank posting its mail line 0
 *                 of half e & 1, and no rank ends e before it has seen all peers'
 *                 line 0 of e.  Hence, while a rank is in e:
 *                   (a) every peer has ended e - 2 and earlier, and has begun
 *                       e - 1;
 *                   (b) once it has seen a peer's line of e, that peer has ended
 *                       e - 1.
 *                 By (a) the half e & 1, last used in e - 2, is free to write.
 * Ordering        Data, then the word that announces it (release); readers wait
 *                 for the word (acquire), then read.  Non-temporal stores are
 *                 fenced before the release.
 * Wrap            Words carry the epoch above a count and are compared by signed
 *                 difference; line 0 for equality of the epoch, since by (a) it
 *                 can only hold e - 2 or e.  A word that no operation posts for
 *                 2^31 epochs would seem posted, so every 2^30 each rank brings
 *                 its own up to e - 2 and clears its lines (tidy.c).  There is no
 *                 epoch 0: 2 follows the last, so that halves alternate and a
 *                 line never written is of no epoch.
 * Reset           None: epochs go on.
 * When a peer     Waits go through the team's watch.  A rank that gives up fails
 * dies            the team, and all others find the same failure.
 *
 * Model: tests/conf/test_streams_of_calls.c and test_collectives.c under TSan;
 * near the wrap, tests/unit/test_cpu_epochs.c.
 */
#ifndef DCMI_CPU_CTX_H
#define DCMI_CPU_CTX_H

#include <devcomm/backend.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "backend/cpu/drift.h"
#include "backend/cpu/reduce/reduce.h"
#include "base/compiler.h"
#include "group/team.h"
#include "memory/segment.h"

enum {
    DCMI_LINE_DATA = 56,  /* payload bytes of a mail line */
    DCMI_MAIL_LINES = 74, /* a half; 4144 bytes */
    DCMI_MAIL_BYTES = DCMI_MAIL_LINES * DCMI_LINE_DATA,
    /* Two ranks stage this before the placement is looked at again: some ms. */
    DCMI_PLACE_AGAIN = 32 * 1024 * 1024,
};

/* A cache line that carries its own flag. */
typedef struct dcmi_line {
    DCMI_ALIGNED(DCMI_LINE) unsigned char data[DCMI_LINE_DATA];
    _Atomic uint64_t
        flag; /* epoch << 32 | DCMI_MAIL_BIT | signature, or count */
} dcmi_line;

/* Flags of lines that carry a whole message; others hold a header and a count. */
#define DCMI_MAIL_BIT 0x80000000u

/* What line 0 carries for messages that are not mail. */
typedef struct dcmi_header {
    uint32_t kind;  /* kind << 16 | dtype << 8 | op */
    uint32_t arena; /* that holds src (all_reduce: and dst); 0: none */
    uint64_t count;
    uint64_t src_offset; /* within this rank's part of the arena */
    uint64_t dst_offset;
    uint32_t has_drifted; /* this rank asks for a placement probe */
    uint32_t unused;
    uint64_t shape; /* root, rows and block sizes, as one number */
} dcmi_header;

enum {
    DCMI_KIND_PROBE = 15 /* beside the kinds of dcm_coll_kind */
};

typedef struct dcmi_word {
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t v; /* epoch << 32 | count */
} dcmi_word;

enum {
    DCMI_PAIR_LINES = 16,
    DCMI_PAIR_PIECES = 4,
};

/* One rank's words of the channels to and from another; channel.c tells. */
typedef struct dcmi_pair {
    dcmi_line line[DCMI_PAIR_LINES];
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t staged;
    DCMI_ALIGNED(DCMI_SECTOR) _Atomic uint64_t taken; /* of the other's lines */
    _Atomic uint64_t drained;                         /* and pieces */
} dcmi_pair;

typedef struct dcmi_region {
    dcmi_line mail[2][DCMI_MAIL_LINES];
    dcmi_word reduced; /* pieces of this rank's shard that are in results */
    dcmi_word done;    /* pieces taken; direct: through with others' memory */
    dcmi_word ready;   /* the rings have their memory */
    dcmi_word ping;    /* of the placement probe */
    /* Bytes for each rank in this all_to_all_v, before the first count. */
    uint64_t sending[2][DCM_MAX_RANKS];
    dcmi_pair pair[]; /* one a rank */
} dcmi_region;

_Static_assert(sizeof(dcmi_line) == 64, "one cache line");
_Static_assert(sizeof(dcmi_header) <= DCMI_LINE_DATA, "fits line 0");
_Static_assert(offsetof(dcmi_region, reduced) == 2 * 74 * 64, "shared layout");
_Static_assert(sizeof(dcmi_region) == 2 * 74 * 64 + 4 * 128 + 2 * 64 * 8,
               "shared layout");

_Static_assert(sizeof(dcmi_pair) == 16 * 64 + 2 * 128, "shared layout");

typedef enum dcmi_cpu_algo {
    DCMI_ALGO_AUTO,
    DCMI_ALGO_MAIL,
    DCMI_ALGO_ONE_SHOT,
    DCMI_ALGO_TWO_SHOT,
    DCMI_ALGO_DIRECT,
} dcmi_cpu_algo;

typedef struct dcmi_cpu_arena dcmi_cpu_arena;

/* This rank's end of a channel; channel.c. */
typedef struct dcmi_end {
    uint64_t lines;        /* written or read so far */
    uint64_t lines_known;  /* last seen of `taken` */
    uint64_t pieces;       /* staged or drained so far */
    uint64_t pieces_known; /* last seen of `drained`, or of `staged` */
    size_t at;             /* bytes of the message under way */
    bool is_announced;     /* its line is written or read */
    bool is_open;          /* the pieces have their memory */
} dcmi_end;

typedef struct dcmi_cpu {
    dcmi_team *team;
    int rank;
    int nranks;
    uint32_t epoch;
    const dcmi_reduce_ops *simd;
    dcmi_segment *segment;
    dcmi_region *region[DCM_MAX_RANKS];
    size_t region_bytes; /* distance of the regions */
    size_t ring_offset;  /* of the staging ring in a region */
    size_t ring_bytes;   /* staging ring; the result ring is a quarter */
    size_t pairs_offset; /* of the channels' pieces in a region */
    size_t pair_piece;   /* bytes of a piece */
    size_t ring_at;      /* next free byte: the same on every rank */
    size_t result_at;
    bool has_rings;
    bool is_crowded; /* more ranks than cores */
    bool is_far;     /* the ranks do not share a cache: see placement.c */
    int stores;      /* DCMI_STORES_* */
    uint64_t work;   /* bytes staged since the last placement probe */
    uint32_t copies; /* into the ring, of those that are sampled */
    dcmi_drift drift;
    uint32_t trip_ns; /* last measured round trip of a flag, 0: never */
    dcmi_cpu_algo forced;
    uint32_t arenas_made;
    dcmi_cpu_arena *arenas;
    int node[DCM_MAX_RANKS]; /* where each rank ran at first; -1: one node */
    dcmi_end to[DCM_MAX_RANKS];
    dcmi_end from[DCM_MAX_RANKS];
} dcmi_cpu;

enum {
    DCMI_STORES_AUTO,
    DCMI_STORES_PLAIN,
    DCMI_STORES_STREAM
};

static inline unsigned char *dcmi_cpu_ring(const dcmi_cpu *c, int rank)
{
    return (unsigned char *)c->region[rank] + c->ring_offset;
}

static inline unsigned char *dcmi_cpu_results(const dcmi_cpu *c, int rank)
{
    return dcmi_cpu_ring(c, rank) + c->ring_bytes;
}

static inline dcmi_line *dcmi_cpu_mail(const dcmi_cpu *c, int rank)
{
    return c->region[rank]->mail[c->epoch & 1];
}

static inline uint64_t dcmi_cpu_word(const dcmi_cpu *c, uint32_t count)
{
    return (uint64_t)c->epoch << 32 | count;
}

/* ---- wait.c --------------------------------------------------------------- */

dcm_status dcmi_cpu_await_slow(dcmi_cpu *c, int rank,
                               const _Atomic uint64_t *word, uint64_t want);

/* Wait until a counter of `rank` has reached `want`. */
DCMI_INLINE dcm_status dcmi_cpu_await(dcmi_cpu *c, int rank,
                                      const _Atomic uint64_t *word,
                                      uint64_t want)
{
    const uint64_t v = atomic_load_explicit(word, memory_order_acquire);

    if (DCMI_LIKELY((int64_t)(v - want) >= 0))
        return DCM_OK;
    return dcmi_cpu_await_slow(c, rank, word, want);
}

/* The call that a mail flag tells of. */
dcmi_header dcmi_cpu_mail_header(uint64_t flag);

/* Wait until `rank`'s line 0 of this epoch counts at least `count`. */
dcm_status dcmi_cpu_await_staged(dcmi_cpu *c, int rank, uint32_t count,
                                 const dcmi_header *mine);

/*
 * Wait until `line` of `rank` carries exactly `flag`.  The message goes on to the
 * line `last`: those between are asked for in the same turns, so that they travel
 * together.
 */
dcm_status dcmi_cpu_await_line_slow(dcmi_cpu *c, int rank,
                                    const dcmi_line *line,
                                    const dcmi_line *last, uint64_t flag);

DCMI_INLINE dcm_status dcmi_cpu_await_line(dcmi_cpu *c, int rank,
                                           const dcmi_line *line,
                                           const dcmi_line *last, uint64_t flag)
{
    if (DCMI_LIKELY(atomic_load_explicit(&line->flag, memory_order_acquire) ==
                    flag))
        return DCM_OK;
    return dcmi_cpu_await_line_slow(c, rank, line, last, flag);
}

/* Set a word and wake whoever parks. */
DCMI_INLINE void dcmi_cpu_post(dcmi_cpu *c, _Atomic uint64_t *word, uint64_t v)
{
    atomic_store_explicit(word, v, memory_order_release);
    dcmi_bells_ring(&c->team->shared->bells, c->nranks);
}

/* ---- the algorithms: one file each ---------------------------------------- */

enum {
    DCMI_MAIL_NEAR = 3072, /* two ranks */
    DCMI_MAIL_FAR = 1024,
    DCMI_MAIL_EXCHANGE =
        1024, /* what is only copied gains from the ring sooner */
};

/* Bytes up to which lines that carry their flags win in all_reduce: measured. */
static inline size_t dcmi_cpu_mail_limit(const dcmi_cpu *c)
{
    return c->nranks == 2 && !c->is_far ? DCMI_MAIL_NEAR : DCMI_MAIL_FAR;
}

bool dcmi_cpu_mail_fits(const dcmi_cpu *c, const dcm_coll *coll);
dcm_status dcmi_cpu_mail_reduce(dcmi_cpu *c, const dcm_coll *coll);
dcm_status dcmi_cpu_mail_barrier(dcmi_cpu *c);

/* Every other collective; exchange.c. */
dcm_status dcmi_cpu_collective(void *ctx, const dcm_coll *coll);

/* send and recv: those of one call; message.c. */
dcm_status dcmi_cpu_messages(void *ctx, const dcm_coll *const *calls,
                             size_t n_calls);

/*
 * Send or receive as far as the channel lets, one piece at most; channel.c.
 * *moved_p and *done_p are set when something moved, and when all is done: src may
 * be written again, dst is complete.
 */
dcm_status dcmi_cpu_send_some(dcmi_cpu *c, const dcm_coll *coll, bool *moved_p,
                              bool *done_p);
dcm_status dcmi_cpu_recv_some(dcmi_cpu *c, const dcm_coll *coll, bool *moved_p,
                              bool *done_p);

/* explain.c: the path of any call but all_reduce. */
void dcmi_cpu_explain_other(const dcmi_cpu *c, char *text, size_t bytes,
                            const dcm_coll *coll);

size_t dcmi_cpu_one_shot_max(const dcmi_cpu *c);
dcm_status dcmi_cpu_one_shot(dcmi_cpu *c, const dcm_coll *coll,
                             const dcmi_header *mine);
dcm_status dcmi_cpu_two_shot(dcmi_cpu *c, const dcm_coll *coll,
                             const dcmi_header *mine);

/*
 * Waits for all headers; *served_p false: not every rank's buffers are in the
 * arena, and the caller goes on with a staged algorithm.
 */
dcm_status dcmi_cpu_direct(dcmi_cpu *c, const dcm_coll *coll,
                           const dcmi_header *mine, bool *served_p);

/* ---- staging, arena, placement -------------------------------------------- */

/* Write the header into line 0; the caller posts the line with a count. */
void dcmi_cpu_write_header(dcmi_cpu *c, const dcmi_header *mine);

/* The next `bytes` of everyone's ring, at most a quarter; staged.c tells why. */
size_t dcmi_cpu_ring_take(dcmi_cpu *c, size_t bytes);

/*
 * At the end of a message: ask for the lines that one of the same size will be
 * staged in next.  They come from the last-level cache, or from a peer that has
 * read them; nobody waits for them now.
 */
void dcmi_cpu_ring_warm(const dcmi_cpu *c, size_t bytes);

/* The next epoch; what is done once in 2^30 of them is in tidy.c. */
enum {
    DCMI_TIDY_MASK = (1 << 30) - 1,
    DCMI_TIDY_EPOCHS = 4 /* of each 2^30: both halves, and past epoch 0 */
};
void dcmi_cpu_tidy(dcmi_cpu *c);

DCMI_INLINE void dcmi_cpu_next_epoch(dcmi_cpu *c)
{
    c->epoch++;
    if (DCMI_UNLIKELY((c->epoch & DCMI_TIDY_MASK) < DCMI_TIDY_EPOCHS))
        dcmi_cpu_tidy(c);
}

/* What all_reduce, barrier and the others begin with. */
dcm_status dcmi_cpu_begin_slow(dcmi_cpu *c, const dcm_coll *coll);

DCMI_INLINE dcm_status dcmi_cpu_begin(dcmi_cpu *c, const dcm_coll *coll,
                                      const char *op, const char *phase)
{
    if (DCMI_UNLIKELY(coll->stream != NULL || c->work > DCMI_PLACE_AGAIN)) {
        const dcm_status st = dcmi_cpu_begin_slow(c, coll);

        if (st != DCM_OK)
            return st;
    }
    dcmi_cpu_next_epoch(c);
    c->team->op = op;
    c->team->phase = phase;
    return DCM_OK;
}

/* Say in the record which path the operation takes: a literal. */
#define DCMI_CPU_PATH(c, literal)                                              \
    dcmi_record_path(&(c)->team->recorder,                                     \
                     (const char[DCMI_RECORD_NAME]){literal})

/* Give the rings their memory, on every rank, once. */
dcm_status dcmi_cpu_grow(dcmi_cpu *c);

/* The arena that holds these bytes, and where in this rank's part; 0: none. */
uint32_t dcmi_cpu_arena_of(const dcmi_cpu *c, const void *at, size_t bytes,
                           uint64_t *offset_p);

/* Fill in arena and offsets when both buffers lie in one arena. */
void dcmi_cpu_arena_find(const dcmi_cpu *c, const dcm_coll *coll,
                         dcmi_header *header);
/* NULL: this rank has no such arena any longer. */
unsigned char *dcmi_cpu_arena_at(const dcmi_cpu *c, uint32_t number, int rank,
                                 uint64_t offset);
dcm_status dcmi_cpu_arena_new(void *ctx, void **arena_p, size_t bytes,
                              void **base_p);
void dcmi_cpu_arena_free(void *ctx, void *arena);
size_t dcmi_cpu_arena_total(const dcmi_cpu *c);

/* Copy into this rank's ring; placement.c tells what is timed. */
void dcmi_cpu_copy_timed(dcmi_cpu *c, void *to, const void *from, size_t bytes);

DCMI_INLINE void dcmi_cpu_copy_in(dcmi_cpu *c, void *to, const void *from,
                                  size_t bytes)
{
    if (c->is_far)
        c->simd->copy_stream(to, from, bytes);
    else if (bytes >= DCMI_DRIFT_BYTES &&
             DCMI_UNLIKELY(++c->copies % DCMI_DRIFT_EVERY == 0))
        dcmi_cpu_copy_timed(c, to, from, bytes);
    else
        c->simd->copy(to, from, bytes);
}

/* Some rank's header asks for a probe: the next operation begins with one. */
DCMI_INLINE void dcmi_cpu_heed(dcmi_cpu *c, const dcmi_header *header)
{
    if (DCMI_UNLIKELY(header->has_drifted != 0))
        c->work = DCMI_PLACE_AGAIN + 1;
}

/* Measure how far apart the ranks are; all ranks call it at the same point. */
dcm_status dcmi_cpu_place(dcmi_cpu *c);

enum {
    DCMI_WHERE_BYTES = 480
};

/*
 * "; ranks began on nodes 0,1; this rank's memory ...", for explain; "" where
 * only one node has memory.
 */
void dcmi_cpu_where(char *text, size_t bytes, const dcmi_cpu *c);

#endif /* DCMI_CPU_CTX_H */

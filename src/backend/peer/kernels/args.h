/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host gives a kernel, and what a kernel leaves for the host: plain
 * structs of fixed layout, read by C and by every target of the kernels.
 *
 * Pointers are 64-bit numbers: they are addresses of the device.
 */
#ifndef DCMK_ARGS_H
#define DCMK_ARGS_H

#include <stdint.h>

enum {
    DCMK_RANKS = 16, /* most ranks of one communicator */
    DCMK_GRID = 272, /* most blocks; an epoch word each */
    DCMK_LANES = 32, /* threads that move together */
    DCMK_LINE = 128, /* bytes that arrive together */
    DCMK_LINE_DATA = 120,
    DCMK_WARP_LINES = 512, /* what a warp moves: four lines */
    DCMK_WARP_DATA = 480,
    DCMK_SIGN_BITS = 16, /* of a flag: the call's signature; above: the epoch */
    DCMK_MESSAGE_GRID = 64, /* most blocks of messages; a word each and pair */
    DCMK_STAGED_SPAN = 4096 /* bytes of a pair that a block moves by a flag */
};

/* Why a kernel gave up; 0: it did not. */
enum {
    DCMK_CAUSE_NONE = 0,
    DCMK_CAUSE_DEAD = 1,     /* the peer's life word says so */
    DCMK_CAUSE_LEFT = 2,     /* the peer freed its communicator */
    DCMK_CAUSE_LATE = 3,     /* the deadline passed */
    DCMK_CAUSE_FAILED = 4,   /* another rank failed the communicator */
    DCMK_CAUSE_MISMATCH = 5, /* the peer called something else */
    DCMK_CAUSE_OVERLAP = 6,  /* this rank's kernels run side by side */
};

enum {
    DCMK_PHASE_GATHER = 1, /* waiting for what peers pushed at first */
    DCMK_PHASE_RESULT = 2, /* waiting for the owners' results */
    DCMK_PHASE_BARRIER = 3,
    DCMK_PHASE_BEGIN = 4,
    DCMK_PHASE_ROOM = 5, /* waiting until the receiver has taken a message */
};

/* The peer test: its pieces, and what a rank can find wrong with another. */
enum {
    DCMK_PROBE_ROUNDS = 8,
    DCMK_PROBE_PIECE = 1024, /* bytes; the last 8 are its flag */
    DCMK_PROBE_PATTERN = 512,
    DCMK_PROBE_COUNTER = 1024,
    DCMK_PROBE_BYTES = DCMK_RANKS * DCMK_PROBE_ROUNDS * DCMK_PROBE_PIECE + 4096,
    DCMK_PROBE_LATE = 1,   /* what it writes does not come */
    DCMK_PROBE_ORDER = 2,  /* a flag came before its payload */
    DCMK_PROBE_READ = 4,   /* its memory reads wrong */
    DCMK_PROBE_ATOMIC = 8, /* atomics are lost */
};

/* In memory that the host reads and writes; `state` is written last. */
typedef struct dcmk_record {
    uint64_t epoch;
    uint64_t waited_ns;
    uint64_t seen; /* the flag found in the place of the expected one */
    uint64_t want;
    uint32_t cause;
    uint32_t peer;
    uint32_t phase;
    uint32_t block;
    uint32_t state; /* 0: nothing happened; 1: the rest holds */
    uint32_t reserved[2];
    uint32_t stop; /* the host's: give up */
} dcmk_record;

#ifdef __cplusplus
#define DCMK_ALIGN16 alignas(16)
#else
#define DCMK_ALIGN16 _Alignas(16)
#endif

/*
 * Whether this rank's kernels follow each other (turn.cuh): blocks that the kernels of
 * even and of odd epochs had, and those of them that have ended.
 */
typedef struct dcmk_turn {
    DCMK_ALIGN16 uint64_t
        begun; /* kernels, which is the epoch of the last one */
    uint64_t reserved;
    uint64_t owed[2];
    uint64_t left[2];
} dcmk_turn;

/* In device memory: read when a wait is long. */
typedef struct dcmk_watch {
    uint64_t fail;              /* the communicator's fail word: not 0, stop */
    uint64_t life[DCMK_RANKS];  /* word of each rank; DCMK_LIFE_DIED: dead */
    uint64_t stage[DCMK_RANKS]; /* word of each rank; DCMK_STAGE_FREED: left */
    uint64_t record;            /* dcmk_record */
    uint32_t has_failed; /* a block of this rank gave up, earlier or now */
    uint32_t is_claimed; /* the record has its writer */
    DCMK_ALIGN16 uint64_t nothing[2]; /* zeros: words of a part that has none */
    dcmk_turn turn;
} dcmk_watch;

#define DCMK_LIFE_DIED   0x40000000u
#define DCMK_STAGE_FREED 2u

/*
 * One call.  Staging of every rank has the same layout: regions at the same offsets,
 * each of two halves by the epoch's parity, with a slot for every source rank.
 */
typedef struct dcmk_args {
    uint64_t src;
    uint64_t dst;
    uint64_t epochs; /* DCMK_GRID words of 64 bits; 0: it counts otherwise */
    uint64_t watch;
    uint64_t timeout_ns;
    uint32_t first; /* offset of the first hop's staging, and its distances */
    uint32_t first_slot;
    uint32_t first_half;
    uint32_t second; /* of the results' staging */
    uint32_t second_slot;
    uint32_t second_half;
    uint32_t header; /* of the lines whose first flags are headers */
    uint32_t header_slot;
    uint32_t header_half;
    uint32_t bytes;
    uint32_t shard; /* of an owner's part in two-shot algorithms */
    uint32_t sign;  /* DCMK_SIGN_BITS: kind, type, operator and count, hashed */
    int32_t rank;
    int32_t nranks;
    int32_t dtype;
    int32_t op;
    uint64_t peer[DCMK_RANKS]; /* staging of each rank, as this one sees it */
} dcmk_args;

/*
 * What moves between this rank and each other: out[p] goes to rank p, what comes from
 * it goes to in[p].  Where p is this rank itself: a copy, or a reduction's own part.
 * `a.first` is the staging of what arrives, `a.shard` the units of a block.
 */
typedef struct dcmk_exchange {
    dcmk_args a;
    uint64_t out[DCMK_RANKS];
    uint64_t in[DCMK_RANKS];
    uint64_t counters; /* of messages: [2][DCMK_RANKS][DCMK_MESSAGE_GRID] */
    uint64_t pitch;    /* of what comes in, from row to row */
    uint32_t out_bytes[DCMK_RANKS];
    uint32_t in_bytes[DCMK_RANKS];
    uint16_t out_sign[DCMK_RANKS];
    uint16_t in_sign[DCMK_RANKS];
    uint32_t row;   /* bytes of a row of what comes in; 0: it is whole */
    uint32_t phase; /* bytes of the first row that lie before in[] */
    uint32_t
        outs; /* the ranks that something goes to, a bit each; not this one */
    uint32_t ins;
} dcmk_exchange;

/* The block that runs. */
typedef struct dcmk_block {
    uint32_t index;
    uint32_t count;
    uint32_t threads;
} dcmk_block;

/* The host target, which tests use: a kernel of image.cu by its name, or NULL. */
enum {
    DCMK_HOST_THREADS = 1024 /* most of a block there */
};
typedef void (*dcmk_host_fn)(const dcmk_args *a, const dcmk_block *b);
#ifdef __cplusplus
extern "C"
#endif
    dcmk_host_fn
    dcmk_host_kernel(const char *name);

/* Bytes of its arguments, which begin with dcmk_args. */
#ifdef __cplusplus
extern "C"
#endif
    uint32_t
    dcmk_host_args_bytes(dcmk_host_fn fn);

#ifdef __cplusplus
#define DCMK_ASSERT(what) static_assert(what, "layout")
#else
#define DCMK_ASSERT(what) _Static_assert(what, "layout")
#endif
DCMK_ASSERT(sizeof(dcmk_record) == 64);
DCMK_ASSERT(sizeof(dcmk_watch) == 8 + 2 * 16 * 8 + 8 + 8 + 8 + 16 + 48);
DCMK_ASSERT(sizeof(dcmk_args) == 5 * 8 + 16 * 4 + 16 * 8);
DCMK_ASSERT(sizeof(dcmk_exchange) ==
            sizeof(dcmk_args) + 34 * 8 + 32 * 4 + 32 * 2 + 16);

#endif /* DCMK_ARGS_H */

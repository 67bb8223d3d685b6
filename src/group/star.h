/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The star of sockets that a group meets by; docs/bootstrap.md has the protocol
 * and what a stranger can do to it.
 *
 *   boot_star.c   the address, making and closing a star
 *   star_talk.c   the records of the handshake, and what they prove
 *   star_lead.c   rank 0: waiting for the others
 *   star_guest.c  rank 0: one that connected, until it is taken in
 *   star_join.c   the others: reaching rank 0
 *   star_merge.c  the exchange
 *
 * Records are in the byte order of the machine: a rank with another one sees the
 * magic turned round, and is refused as one of another version.
 */
#ifndef DCMI_STAR_H
#define DCMI_STAR_H

#include <stddef.h>

#include "base/sha256.h"
#include "group/boot.h"
#include "os/sock.h"
#include "os/tcp.h"

#define DCMI_STAR_MAGIC 0x64636d62u

enum {
    DCMI_STAR_VERSION = 1,
    DCMI_STAR_HOST_BYTES = 64,
    DCMI_STAR_TEXT_BYTES = 512,
    /* How long a rank waits past its deadline for rank 0's reason. */
    DCMI_STAR_GRACE_MS = 500,
};

typedef struct dcmi_star_nonce {
    uint8_t bytes[32];
} dcmi_star_nonce;

typedef struct dcmi_star_seal {
    uint8_t bytes[DCMI_SHA256_BYTES];
} dcmi_star_seal;

/* Handshake 1, to rank 0.  This record is the same in every version. */
typedef struct dcmi_star_hello {
    uint32_t magic;
    uint16_t version;
    uint16_t proof_bytes; /* sizeof(dcmi_star_proof) */
    dcmi_star_nonce nonce;
} dcmi_star_hello;

enum {
    DCMI_STAR_CHALLENGE = 1,
    DCMI_STAR_VERDICT = 2
};

/*
 * Handshake 2 and 4, from rank 0: a challenge, then a verdict.  The first 16
 * bytes are the same in every version.
 */
typedef struct dcmi_star_answer {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;
    int32_t status; /* dcm_status; DCM_AGAIN: come back later */
    uint32_t spare;
    dcmi_star_nonce nonce; /* of a challenge */
    dcmi_star_seal seal;   /* of a verdict */
    char text[DCMI_STAR_TEXT_BYTES];
} dcmi_star_answer;

/* Handshake 3, to rank 0. */
typedef struct dcmi_star_proof {
    uint32_t magic;
    int32_t rank;
    int32_t nranks;
    uint32_t generation; /* groups made before at this address and name */
    int32_t pid;
    uint32_t spare;
    uint64_t left_ns; /* until this rank gives up */
    uint8_t group[DCMI_SHA256_BYTES];
    char host[DCMI_STAR_HOST_BYTES];
    dcmi_star_seal seal;
} dcmi_star_proof;

_Static_assert(sizeof(dcmi_star_hello) == 40, "on the wire");
_Static_assert(offsetof(dcmi_star_answer, nonce) == 16, "on the wire");
_Static_assert(sizeof(dcmi_star_answer) == 592, "on the wire");
_Static_assert(offsetof(dcmi_star_proof, group) == 32, "on the wire");
_Static_assert(sizeof(dcmi_star_proof) == 160, "on the wire");

/* What both sides know in a handshake besides the records that they seal. */
typedef struct dcmi_star_talk {
    const char *token; /* "": none */
    dcmi_star_nonce joiner;
    dcmi_star_nonce leader;
} dcmi_star_talk;

void dcmi_star_seal_proof(const dcmi_star_talk *talk, dcmi_star_proof *proof);
bool dcmi_star_check_proof(const dcmi_star_talk *talk,
                           const dcmi_star_proof *proof);
void dcmi_star_seal_verdict(const dcmi_star_talk *talk,
                            dcmi_star_answer *verdict);
bool dcmi_star_check_verdict(const dcmi_star_talk *talk,
                             const dcmi_star_answer *verdict);

/* Make a text from outside safe to print: terminated, visible characters. */
void dcmi_star_clean(char *text, size_t bytes);

/* A failure from outside: one that we know. */
dcm_status dcmi_star_status(int32_t status);

typedef struct dcmi_star_member {
    int fd; /* -1: none */
    int pid;
    char host[DCMI_STAR_HOST_BYTES];
} dcmi_star_member;

typedef struct dcmi_star {
    dcmi_boot base;
    char address[DCMI_ADDRESS_BYTES]; /* as given, for messages */
    bool is_tcp;
    bool may_any; /* listen on all addresses where rank 0's is translated */
    char unix_name[DCMI_SOCK_NAME_BYTES];
    char host[256];
    uint16_t port;
    const char *token; /* the caller's; only while the star is made */
    dcmi_card *card;   /* the same; NULL: none */
    uint8_t group[DCMI_SHA256_BYTES];
    uint32_t generation;
    uint32_t seq;         /* of the last exchange */
    uint64_t earliest_ns; /* when the first accepted rank gives up (rank 0) */
    dcm_status failed;
    char failure[DCMI_STAR_TEXT_BYTES];
    dcmi_star_member member[DCM_MAX_RANKS]; /* the others have only rank 0's */
} dcmi_star;

/* The deadline of a rank that has left_ns of it left. */
uint64_t dcmi_star_until(uint64_t left_ns);
uint64_t dcmi_star_left(uint64_t deadline_ns);

/* "rank 2 (pid 81 on node7)" or "ranks 2, 5 to 8"; returns `text`. */
const char *dcmi_star_names(const dcmi_star *star, uint64_t ranks, char *text,
                            size_t bytes);

/*
 * Look rank 0's host up, again and again for a while when it is not known, and
 * check that this rank may talk to it: loopback, or a token, or allowed without.
 */
dcm_status dcmi_star_find(const dcmi_star *star, dcmi_tcp_place *place,
                          uint64_t deadline_ns);

/* Rank 0: accept ranks 1 .. nranks-1.  Tells those that came of a failure. */
dcm_status dcmi_star_lead(dcmi_star *star, uint64_t deadline_ns);

/* The others: reach rank 0 and be accepted. */
dcm_status dcmi_star_join(dcmi_star *star, uint64_t deadline_ns);

/* The boot's merge. */
dcm_status dcmi_star_merge(dcmi_boot *boot, void *all, size_t bytes,
                           const int *owner, uint64_t deadline_ns);

/*
 * Fail for good with `st` and the error record's text; rank 0 tells the others,
 * without waiting for them.  Returns `st`.
 */
dcm_status dcmi_star_fail(dcmi_star *star, dcm_status st);

void dcmi_star_drop(dcmi_star_member *member);

#endif /* DCMI_STAR_H */

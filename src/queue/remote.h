/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote readers, over ZeroMQ: a ROUTER socket at the writer, a DEALER at each
 * reader, CURVE around both where this ZeroMQ has it (beyond loopback it must).
 *
 *   reader                                writer
 *   HELLO   nonce c                       keeps nothing of it
 *           nonce s, MAC(S, c, s)         CHALLENGE; s = MAC(own key, peer, c)
 *   PROOF   nonce c, MAC(C, c, s)         computes s again, counts the reader
 *           its first record's number     WELCOME
 *           number, bytes                 DATA, as far as the window allows
 *   CREDIT  records and bytes read        opens the window
 *           records in all                BYE
 *
 * The MAC's key is made of the handle's secret and the job's token.  A stranger's
 * words take no memory at the writer; they are dropped and counted.  Data carry
 * their number: a gap is E_PEER.  The window (the ring's size, or one record)
 * bounds what is under way, so a slow reader makes the writer wait as a local
 * one does.  Readers do not reconnect: a lost connection ends them, and tells the
 * writer, whose next send fails, that they are gone.
 */
#ifndef DCMI_QUEUE_REMOTE_H
#define DCMI_QUEUE_REMOTE_H

#include <devcomm/queue.h>

#include <stdbool.h>

#include "base/sha256.h"
#include "queue/zmq.h"

enum {
    DCMI_REMOTE_MOST = 256,    /* readers of one writer */
    DCMI_REMOTE_ID_BYTES = 16, /* of the name that a ROUTER gives a peer */
    DCMI_REMOTE_HEAD = 16,     /* before the bytes of DATA */
    DCMI_REMOTE_NONCE = 32,
    DCMI_REMOTE_CURVE_BYTES =
        1024, /* the messages of CURVE's own are shorter */
};

typedef enum dcmi_remote_kind {
    DCMI_REMOTE_HELLO = 0x64710001,
    DCMI_REMOTE_CHALLENGE,
    DCMI_REMOTE_PROOF,
    DCMI_REMOTE_WELCOME,
    DCMI_REMOTE_DATA,
    DCMI_REMOTE_CREDIT,
    DCMI_REMOTE_PING, /* is ignored; its sending tells */
    DCMI_REMOTE_BYE,
    DCMI_REMOTE_FULL, /* no place is left */
} dcmi_remote_kind;

/* Every message but DATA, which begins with kind and n[0]. */
typedef struct dcmi_remote_words {
    uint32_t kind;
    uint32_t reserved;
    uint64_t n[2];
    uint8_t nonce[DCMI_REMOTE_NONCE];
    uint8_t mac[DCMI_SHA256_BYTES];
} dcmi_remote_words;

_Static_assert(sizeof(dcmi_remote_words) == 88, "on the wire");

/* What both sides prove that they have. */
typedef struct dcmi_remote_key {
    uint8_t byte[DCMI_SHA256_BYTES];
} dcmi_remote_key;

/* Where a writer listens: part of the handle. */
typedef struct dcmi_remote_place {
    uint16_t port; /* 0: no remote readers */
    uint16_t has_curve;
    char address[44];
    char curve_key[DCMI_ZMQ_KEY_CHARS];
} dcmi_remote_place;

typedef struct dcmi_remote dcmi_remote;               /* of the writer */
typedef struct dcmi_remote_reader dcmi_remote_reader; /* of a reader */

/* ---- remote.c ------------------------------------------------------------- */

void dcmi_remote_key_make(dcmi_remote_key *key, const void *secret, size_t n);
/* MAC of a letter and two nonces. */
void dcmi_remote_mac(uint8_t *mac, const dcmi_remote_key *key, char side,
                     const uint8_t *c, const uint8_t *s);
dcm_status dcmi_remote_set(const dcmi_zmq *z, void *socket, int option,
                           int value);
/* What both ends of a connection have in common. */
dcm_status dcmi_remote_tune(const dcmi_zmq *z, void *socket,
                            const char *address);

/* ---- remote_open.c, remote_peers.c, remote_write.c ------------------------- */

dcm_status dcmi_remote_open(dcm_queue *q, const char *address, int expected);
/* Say good-bye and wait until every reader has read what was before it. */
dcm_status dcmi_remote_end(dcm_queue *q, uint64_t timeout_ns);
void dcmi_remote_close(dcm_queue *q); /* never waits */
/* Take what came; never waits. */
void dcmi_remote_tend(dcm_queue *q);
/* Whether all that are expected have come. */
bool dcmi_remote_is_complete(const dcm_queue *q);
/* Wait until a record of `bytes` fits every window. */
dcm_status dcmi_remote_await(dcm_queue *q, uint64_t bytes, uint64_t timeout_ns);
/* A message of record q->n with room for `bytes`, at *to_p. */
dcm_status dcmi_remote_prepare(dcm_queue *q, dcmi_zmq_msg *msg, void **to_p,
                               uint64_t bytes);
void dcmi_remote_discard(dcm_queue *q, dcmi_zmq_msg *msg);
/* Send it to all; takes the message over. */
void dcmi_remote_send(dcm_queue *q, dcmi_zmq_msg *msg, uint64_t bytes);
/* For dcm_queue_stat(): readers written, at most `n`. */
int dcmi_remote_describe(const dcm_queue *q, dcm_queue_reader *readers, int n);
int dcmi_remote_refused(const dcm_queue *q);
const dcmi_remote_place *dcmi_remote_where(const dcm_queue *q);

/* ---- remote_read.c -------------------------------------------------------- */

dcm_status dcmi_remote_attach(dcm_queue *q, const dcmi_remote_place *place,
                              uint64_t timeout_ns);
void dcmi_remote_leave(dcm_queue *q);
/* Wait for the next record; AGAIN: none, and `is_try`. */
dcm_status dcmi_remote_begin(dcm_queue *q, const unsigned char **data_p,
                             uint64_t *bytes_p, bool is_try,
                             uint64_t timeout_ns);
/* The record is read. */
void dcmi_remote_finish(dcm_queue *q, uint64_t bytes);

#endif /* DCMI_QUEUE_REMOTE_H */

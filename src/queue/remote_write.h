/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the writer's side of remote readers share: remote_open.c
 * listens, remote_peers.c lets readers in and hears them, remote_write.c sends
 * records to them.
 */
#ifndef DCMI_QUEUE_REMOTE_WRITE_H
#define DCMI_QUEUE_REMOTE_WRITE_H

#include "queue/queue.h"
#include "queue/remote.h"

typedef struct dcmi_remote_peer {
    uint8_t id[DCMI_REMOTE_ID_BYTES];
    int id_bytes;
    uint64_t read;      /* records that it says it has read */
    uint64_t sent_cost; /* since it came */
    uint64_t read_cost;
    uint64_t seen_ns;
} dcmi_remote_peer;

struct dcmi_remote {
    const dcmi_zmq *z;
    void *ctx;
    void *socket;
    int fd;
    int expected;
    int came; /* so far */
    int refused;
    int n;
    uint64_t pinged_ns;
    uint64_t window;
    dcmi_remote_key key;
    dcmi_remote_key own; /* makes challenges */
    dcmi_remote_place place;
    dcmi_remote_peer peer[DCMI_REMOTE_MOST];
};

/* ---- remote_open.c -------------------------------------------------------- */

/* Nothing lingers: what is under way is lost, and its reader is told so. */
void dcmi_remote_tear_down(dcmi_remote *r);

/* ---- remote_peers.c ------------------------------------------------------- */

/* Send to a peer; false: it is gone. */
bool dcmi_remote_tell(const dcmi_remote *r, const uint8_t *id, int id_bytes,
                      const dcmi_remote_words *words);
/* It is no peer any more; the last one takes its place. */
void dcmi_remote_forget(dcmi_remote *r, dcmi_remote_peer *p, const char *why);
/* Who cannot be sent to any more is gone; looks now and then. */
void dcmi_remote_ping(dcmi_remote *r, uint64_t now);

#endif /* DCMI_QUEUE_REMOTE_WRITE_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DCM_QUEUE_H
#define DCM_QUEUE_H

/*
 * The broadcast queue: one writer, many readers, bytes.
 *
 * Every reader gets every record that was enqueued after it joined, once and in
 * order.  The writer waits for the slowest living reader.  A handle is used by
 * one thread at a time; dcm_queue_cancel() alone may be called from any thread
 * or signal handler.  Outputs come first, end in _p and are written only on
 * success.
 *
 * timeout_ms 0 is the default: the queue's timeout for the writer, and for a
 * reader as long as the writer lives.  docs/queue.md tells the protocol.
 */

#include <devcomm/devcomm.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    DCM_QUEUE_MAX_READERS = 63, /* on the writer's host */
    DCM_QUEUE_HANDLE_BYTES = 256,
    /* dcm_queue_attach(): */
    DCM_QUEUE_ANY = -1,    /* whichever place is free */
    DCM_QUEUE_REMOTE = -2, /* over the network, also on the writer's host */
};

enum {
    /* A dead reader makes the writer's calls fail instead of being dropped. */
    DCM_QUEUE_FAIL_ON_DEAD = 1u << 0,
    /* The writer does not wait for a reader that is a whole ring behind. */
    DCM_QUEUE_FAIL_ON_LATE = 1u << 1,
};

typedef struct dcm_queue dcm_queue;

/* Zero is the default of every field.  Fields are only ever appended. */
typedef struct dcm_queue_opts {
    size_t size;         /* sizeof(dcm_queue_opts) as the caller saw it */
    const char *name;    /* what `devcomm queue stat` calls it; NULL: "" */
    size_t bytes;        /* of the ring, a power of two is used; 0: 4 MiB */
    size_t max_record;   /* longest record; 0: 1 GiB */
    uint32_t timeout_ms; /* of the writer; 0: DEVCOMM_TIMEOUT_MS, 600000 */
    uint32_t flags;      /* DCM_QUEUE_* */
    uint32_t nremote;    /* remote readers to expect; 0: none are served */
    uint32_t reserved;
    const char *address; /* where they find the writer; NULL: 127.0.0.1 */
} dcm_queue_opts;

#define DCM_QUEUE_OPTS_INIT                                                    \
    {                                                                          \
        sizeof(dcm_queue_opts), NULL, 0, 0, 0, 0, 0, 0, NULL                   \
    }

/*
 * Make a queue and be its writer.  The writer counts `nreaders` (0 to 63)
 * readers from the start: each gets record 0 and on, whenever it attaches.
 * Fails with E_INVAL, E_NOMEM (the memory is reserved in full), E_SYS.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_create(dcm_queue **queue_p,
                                                 int nreaders,
                                                 const dcm_queue_opts *opts);

/*
 * The bytes by which readers attach, DCM_QUEUE_HANDLE_BYTES of them.  They hold
 * a secret: who has them and is the same user can attach.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_handle(const dcm_queue *queue,
                                                 void *handle, size_t bytes);

/*
 * Become reader `reader` (0 to nreaders-1, or DCM_QUEUE_ANY).  A place whose
 * reader has left or died is taken again, and gets what is enqueued from then
 * on.  On another host than the writer's it becomes a remote reader.  Fails with E_INVAL (no such handle), E_BUSY (the place is taken), E_PEER
 * (the writer is gone), E_TIMEOUT (it did not answer), E_SYS, E_ABI.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_attach(dcm_queue **queue_p,
                                                 const void *handle,
                                                 size_t bytes, int reader,
                                                 uint32_t timeout_ms);

/*
 * A queue between the ranks of a group, which must outlive it: `writer` writes,
 * every other rank reads; those of other hosts are remote readers, and want
 * opts->address of the writer.  Collective; all ranks fail alike.
 */
DCM_API DCM_MUST_USE dcm_status
dcm_queue_create_group(dcm_queue **queue_p, dcm_group *group, int writer,
                       const dcm_queue_opts *opts);

/*
 * Writer: wait until its `nreaders` have attached.  Reader: wait until the
 * writer has seen that.  Optional: no record is lost without it.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_wait_ready(dcm_queue *queue,
                                                     uint32_t timeout_ms);

/* ---- the writer ----------------------------------------------------------- */

/*
 * Send `bytes` bytes to all readers.  After E_TIMEOUT (which names the readers
 * that are late) nothing was sent.  Fails also with E_PEER (by flag), E_ABORTED
 * (cancelled), E_INVAL (longer than max_record).
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_enqueue(dcm_queue *queue,
                                                  const void *src, size_t bytes,
                                                  uint32_t timeout_ms);

typedef struct dcm_queue_part {
    const void *src;
    size_t bytes;
} dcm_queue_part;

/* One record out of several buffers. */
DCM_API DCM_MUST_USE dcm_status dcm_queue_enqueue_v(dcm_queue *queue,
                                                    const dcm_queue_part *parts,
                                                    size_t nparts,
                                                    uint32_t timeout_ms);

/*
 * Without waiting: AGAIN when there is no room.  E_UNSUP for a record longer
 * than half the ring, which needs readers that read meanwhile.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_try_enqueue(dcm_queue *queue,
                                                      const void *src,
                                                      size_t bytes);

/*
 * Room for a record of up to `bytes` bytes (at most half the ring) in the queue
 * itself: write it at *ptr_p, then commit its length.  Any other call that
 * enqueues gives the room back.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_reserve(dcm_queue *queue,
                                                  void **ptr_p, size_t bytes,
                                                  uint32_t timeout_ms);
DCM_API DCM_MUST_USE dcm_status dcm_queue_commit(dcm_queue *queue,
                                                 size_t bytes);

/*
 * The end: wait until every reader has read all that was enqueued, or is gone.
 * Nothing can be enqueued afterwards; readers get E_PEER behind the last record.
 * E_TIMEOUT names who is late.  Without it, closing is enough for the readers of
 * this host; remote ones can lose what is under way, which E_PEER tells them.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_finish(dcm_queue *queue,
                                                 uint32_t timeout_ms);

/* ---- a reader ------------------------------------------------------------- */

/*
 * Receive the next record.  A record longer than `capacity` is E_INVAL and
 * stays.  Fails also with E_PEER (the writer closed or died, after all that it
 * published was read), E_TIMEOUT (only if a time was given), E_ABORTED.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_dequeue(dcm_queue *queue,
                                                  size_t *bytes_p, void *dst,
                                                  size_t capacity,
                                                  uint32_t timeout_ms);
/* Without waiting for a record to begin: AGAIN when there is none. */
DCM_API DCM_MUST_USE dcm_status dcm_queue_try_dequeue(dcm_queue *queue,
                                                      size_t *bytes_p,
                                                      void *dst,
                                                      size_t capacity);

/* Wait for the next record and say how long it is. */
DCM_API DCM_MUST_USE dcm_status dcm_queue_next(dcm_queue *queue,
                                               size_t *bytes_p,
                                               uint32_t timeout_ms);

/*
 * Look at the next record in place: *bytes_p bytes at *ptr_p, and *left_p more
 * that are not contiguous or not there yet (0 for records of up to half the
 * ring).  It stays until advanced over; the writer waits for that.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_peek(dcm_queue *queue,
                                               const void **ptr_p,
                                               size_t *bytes_p, size_t *left_p,
                                               uint32_t timeout_ms);
/* Without waiting: AGAIN when there is nothing to look at. */
DCM_API DCM_MUST_USE dcm_status dcm_queue_try_peek(dcm_queue *queue,
                                                   const void **ptr_p,
                                                   size_t *bytes_p,
                                                   size_t *left_p);

/*
 * Be done with `bytes` of what was peeked at; behind the last one the record is
 * done.  A record given up by the writer half-way is E_ABORTED at the next peek,
 * once.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_advance(dcm_queue *queue,
                                                  size_t bytes);

/* ---- chunks of one size ----------------------------------------------------- */

/*
 * A queue of `nchunks` chunks of `chunk_bytes` bytes that are written and read in
 * place, with a flag a reader for each.  opts->bytes and max_record are not used.
 * Of the calls above it takes dcm_queue_handle(), dcm_queue_attach() and
 * dcm_queue_wait_ready(); its readers are those that it expects.
 */
DCM_API DCM_MUST_USE dcm_status
dcm_queue_create_chunks(dcm_queue **queue_p, int nreaders, size_t chunk_bytes,
                        int nchunks, const dcm_queue_opts *opts);

/*
 * The next chunk, once all readers are done with what was in it; readers get it
 * at the release.  Without a release the same chunk is acquired again.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_acquire_write(dcm_queue *queue,
                                                        void **chunk_p,
                                                        uint32_t timeout_ms);
DCM_API DCM_MUST_USE dcm_status dcm_queue_release_write(dcm_queue *queue);

/* The same for a reader: the next chunk that was written. */
DCM_API DCM_MUST_USE dcm_status dcm_queue_acquire_read(dcm_queue *queue,
                                                       const void **chunk_p,
                                                       uint32_t timeout_ms);
DCM_API DCM_MUST_USE dcm_status dcm_queue_release_read(dcm_queue *queue);

/*
 * Chunk `i` and its flags: byte 0 is whether it is written, byte 1+r whether
 * reader r is done with it.  NULL: no such chunk.
 */
DCM_API void *dcm_queue_chunk(dcm_queue *queue, int i);
DCM_API const unsigned char *dcm_queue_chunk_flags(dcm_queue *queue, int i);

/* ---- both ----------------------------------------------------------------- */

/* Make this handle's pending and later calls return E_ABORTED. */
DCM_API void dcm_queue_cancel(dcm_queue *queue);

/* What a place for a reader is, of dcm_queue_reader. */
typedef enum dcm_queue_state {
    DCM_QUEUE_NONE = 0,     /* nobody, never or no more */
    DCM_QUEUE_EXPECTED = 1, /* has not attached yet */
    DCM_QUEUE_WAITING = 2,  /* waits for a record */
    DCM_QUEUE_BUSY = 3,     /* alive, does something else */
    DCM_QUEUE_DEAD = 4,     /* its process is gone */
    DCM_QUEUE_DROPPED = 5,  /* dropped by the writer */
} dcm_queue_state;

typedef struct dcm_queue_reader {
    int reader; /* DCM_QUEUE_REMOTE: one of those */
    int pid;
    int state; /* dcm_queue_state */
    int reserved;
    uint64_t lag;     /* records behind the writer */
    uint64_t seen_ns; /* how long ago it was last seen; UINT64_MAX: never */
} dcm_queue_reader;

typedef struct dcm_queue_info {
    size_t size; /* in: sizeof(dcm_queue_info) */
    char name[48];
    int writer_pid;
    int nreaders;     /* counted from the start */
    int places;       /* in use, ever: the readers are 0 to places-1 */
    int is_alive;     /* the writer is */
    uint64_t records; /* published so far */
    size_t bytes;     /* of the ring */
    size_t max_record;
    size_t max_piece; /* contiguous: half the ring */
    int nremote;      /* remote readers now; the writer alone knows */
    int refused;      /* strangers' messages on the writer's port */
} dcm_queue_info;

/*
 * What the queue is like now; at most `n` places are written to `readers`, which
 * may be NULL.  Never waits.
 */
DCM_API DCM_MUST_USE dcm_status dcm_queue_stat(const dcm_queue *queue,
                                               dcm_queue_info *info,
                                               dcm_queue_reader *readers,
                                               int n);

/* Leave, or as the writer end the queue; local, never waits.  NULL is allowed. */
DCM_API void dcm_queue_close(dcm_queue *queue);

#ifdef __cplusplus
}
#endif

#endif /* DCM_QUEUE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* One way to hand records from a writer to one or several readers. */
#ifndef BENCH_QUEUE_CHANNEL_H
#define BENCH_QUEUE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BQ_READERS_MOST = 15
};

/*
 * `make` runs before the fork, `open_*` behind it, each in its process; all return
 * false, with errno or a message on standard error, when they fail.  Records have
 * the size that `make` was told.  A channel without broadcast has one for each
 * reader and sends as often.
 */
typedef struct bq_channel {
    const char *name;
    bool (*make)(size_t bytes, int readers);
    bool (*open_writer)(void);
    bool (*open_reader)(int reader);
    bool (*send)(const void *record);
    bool (*receive)(int reader, void *record);
    void (*end)(void); /* in the writer; names are taken away; NULL: nothing */
} bq_channel;

extern const bq_channel bq_devcomm;
extern const bq_channel bq_pipe;
extern const bq_channel bq_unix;
extern const bq_channel bq_posix_mq;
extern const bq_channel bq_zmq;
extern const bq_channel bq_boost_mq;
extern const bq_channel bq_boost_spsc;

#ifdef __cplusplus
}
#endif

#endif /* BENCH_QUEUE_CHANNEL_H */

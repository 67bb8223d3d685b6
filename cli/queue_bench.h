/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `devcomm queue bench` share; queue_cases.c says what is measured. */
#ifndef DEVCOMM_CLI_QUEUE_BENCH_H
#define DEVCOMM_CLI_QUEUE_BENCH_H

#include <devcomm/queue.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/compiler.h"

enum {
    QUEUE_SAMPLES_MOST = 20000,
    QUEUE_ROWS_MOST = 64,
};

/* Memory of the writer and all readers. */
typedef struct queue_board {
    DCMI_ALIGNED(256) _Atomic uint32_t ping;
    DCMI_ALIGNED(256) _Atomic uint32_t pong;
    DCMI_ALIGNED(256) _Atomic uint32_t arrived; /* of this step */
    DCMI_ALIGNED(256) _Atomic uint32_t step;
    _Atomic bool is_over;
    uint64_t done_ns[DCM_QUEUE_MAX_READERS];
    uint64_t sample[QUEUE_SAMPLES_MOST][DCM_QUEUE_MAX_READERS];
    unsigned char place[]; /* of max bytes */
} queue_board;

typedef struct queue_conf {
    unsigned readers;
    size_t min;
    size_t max;
    unsigned factor;
    size_t ring;
    bool is_remote;
    const char *json;
} queue_conf;

typedef struct queue_row {
    size_t bytes;
    double p50;
    double p99;
    double p999;
    double rate;
    double in_place; /* us */
    double trip;     /* us, beside this row */
} queue_row;

typedef struct queue_run {
    queue_conf c;
    queue_board *b;
    size_t board_bytes;
    unsigned char *buf;
    dcm_queue *q;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
    pid_t pid[DCM_QUEUE_MAX_READERS];
    int reader; /* -1: the writer */
    int core;
    queue_row rows[QUEUE_ROWS_MOST];
    int nrows;
} queue_run;

/* All meet; false: the bench is over. */
bool queue_meet(queue_run *x);
/* One case of the writer's, into *r; false: it failed, and this was said. */
bool queue_write_case(queue_run *x, size_t bytes, queue_row *r);
/* The same of a reader's. */
bool queue_read_case(queue_run *x, size_t bytes);

#endif /* DEVCOMM_CLI_QUEUE_BENCH_H */

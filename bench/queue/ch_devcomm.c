/* SPDX-License-Identifier: Apache-2.0 */
/* The broadcast queue, through its public calls. */
#include "channel.h"

#include <devcomm/queue.h>

#include <stdio.h>

static unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
static dcm_queue *queue;
static size_t size;

static bool is_ok(dcm_status st)
{
    if (st != DCM_OK)
        (void)fprintf(stderr, "devcomm: %s\n", dcm_errmsg());
    return st == DCM_OK;
}

static bool make(size_t bytes, int readers)
{
    size = bytes;
    return is_ok(dcm_queue_create(&queue, readers, NULL)) &&
           is_ok(dcm_queue_handle(queue, handle, sizeof(handle)));
}

static bool open_writer(void)
{
    return is_ok(dcm_queue_wait_ready(queue, 0));
}

static bool open_reader(int reader)
{
    return is_ok(dcm_queue_attach(&queue, handle, sizeof(handle), reader, 0));
}

static bool send_record(const void *record)
{
    return is_ok(dcm_queue_enqueue(queue, record, size, 0));
}

static bool receive(int reader, void *record)
{
    size_t n;

    (void)reader;
    return is_ok(dcm_queue_dequeue(queue, &n, record, size, 0));
}

const bq_channel bq_devcomm = {
    "devcomm", make, open_writer, open_reader, send_record, receive, NULL,
};

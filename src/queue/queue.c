/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: made, attached to, cancelled, closed. */
#define _GNU_SOURCE
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/err.h"
#include "base/opts.h"
#include "group/group.h"
#include "os/futex.h"
#include "os/ident.h"
#include "os/sock.h"

enum {
    DEFAULT_TIMEOUT_MS = 600000,
    DEFAULT_SPIN_US = 50,
    ALL_FLAGS = DCM_QUEUE_FAIL_ON_DEAD | DCM_QUEUE_FAIL_ON_LATE,
};

#define DEFAULT_BYTES  (4ull << 20)
#define DEFAULT_RECORD (1ull << 30)

static dcm_status queue_new(dcm_queue **q_p)
{
    dcm_queue *q;

    if (posix_memalign((void **)&q, DCMI_SECTOR, sizeof(*q)) != 0)
        return dcmi_err(DCM_E_NOMEM, "queue of %zu bytes", sizeof(*q));
    memset(q, 0, sizeof(*q));
    q->fd = -1;
    q->link = -1;
    q->me = -1;
    q->door.listener = -1;
    q->door.guest = -1;
    q->writer.fd = -1;
    for (int r = 0; r < DCM_QUEUE_MAX_READERS; r++) {
        q->peer[r].link = -1;
        q->peer[r].process.fd = -1;
    }
    dcmi_forks_watch();
    q->forks = dcmi_forks;
    dcmi_heavy_fence_join();
    *q_p = q;
    return DCM_OK;
}

static void queue_free(dcm_queue *q)
{
    for (int r = 0; r < DCM_QUEUE_MAX_READERS; r++) {
        dcmi_process_close(&q->peer[r].process);
        dcmi_close(q->peer[r].link);
    }
    /* ZeroMQ's threads are not in a forked child: there it is left alone. */
    if (q->forks == dcmi_forks && q->remote != NULL)
        dcmi_remote_close(q);
    if (q->forks == dcmi_forks && q->link_far != NULL)
        dcmi_remote_leave(q);
    dcmi_queue_door_close(q);
    dcmi_process_close(&q->writer);
    dcmi_close(q->link);
    dcmi_mapping_put(q->mapping);
    dcmi_close(q->fd);
    free(q);
}

/* What both sides read from the environment. */
static dcm_status read_waits(dcm_queue *q, uint32_t timeout_ms)
{
    bool ok = true;
    uint64_t ms = timeout_ms;
    const uint64_t spin_us =
        dcmi_env_u64(DCMI_ENV_SPIN_US, DEFAULT_SPIN_US, 1000000, &ok);

    if (ms == 0)
        ms = dcmi_env_u64(DCMI_ENV_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, UINT32_MAX,
                          &ok);
    if (!ok)
        return DCM_E_INVAL;
    if (ms == 0)
        return dcmi_err(DCM_E_INVAL, "DEVCOMM_TIMEOUT_MS is 0");
    q->timeout_ns = ms * DCMI_NS_PER_MS;
    q->spin_ns = spin_us * 1000;
    return DCM_OK;
}

static dcm_status take_opts(dcm_queue *q, const dcm_queue_opts *opts)
{
    dcm_status st;

    if ((opts->flags & ~(uint32_t)ALL_FLAGS) != 0)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_opts: unknown flags %#x",
                        opts->flags);
    if (opts->name != NULL && strlen(opts->name) >= sizeof(q->name))
        return dcmi_err(DCM_E_INVAL,
                        "queue name of %zu bytes; %zu are possible",
                        strlen(opts->name), sizeof(q->name) - 1);
    if (opts->name != NULL)
        memcpy(q->name, opts->name, strlen(opts->name));
    q->flags = opts->flags;
    st = read_waits(q, opts->timeout_ms);
    if (st == DCM_OK)
        st = dcmi_queue_door_open(q);
    if (st == DCM_OK && opts->nremote > DCMI_REMOTE_MOST)
        st = dcmi_err(DCM_E_INVAL, "queue: %u remote readers; the most is %d",
                      opts->nremote, DCMI_REMOTE_MOST);
    if (st == DCM_OK && opts->nremote > 0)
        st = dcmi_remote_open(q, opts->address, (int)opts->nremote);
    return st == DCM_OK ? dcmi_queue_frame_create(q) : st;
}

static dcm_status create(dcm_queue **q_p, dcmi_queue_role role,
                         const dcmi_queue_geometry *g,
                         const dcm_queue_opts *opts)
{
    dcm_queue *q;
    dcm_status st;

    st = queue_new(&q);
    if (st != DCM_OK)
        return st;
    q->role = role;
    q->is_writer = true;
    q->g = *g;
    dcmi_process_open(&q->writer, (int)getpid(), 0);
    q->writer.start_time = dcmi_start_time(q->writer.pid);
    st = take_opts(q, opts);
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *q_p = q;
    return DCM_OK;
}

dcm_status dcm_queue_create(dcm_queue **queue_p, int nreaders,
                            const dcm_queue_opts *opts)
{
    dcmi_queue_geometry g;
    dcm_queue_opts o;
    dcm_status st;

    if (queue_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_create: NULL argument");
    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_queue_opts");
    if (st == DCM_OK)
        st = dcmi_queue_geometry_make(
            &g, DCMI_QUEUE_RECORDS, o.bytes != 0 ? o.bytes : DEFAULT_BYTES,
            o.max_record != 0 ? o.max_record : DEFAULT_RECORD, nreaders);
    return st == DCM_OK ? create(queue_p, DCMI_QUEUE_WRITER, &g, &o) : st;
}

dcm_status dcm_queue_create_chunks(dcm_queue **queue_p, int nreaders,
                                   size_t chunk_bytes, int nchunks,
                                   const dcm_queue_opts *opts)
{
    dcmi_queue_geometry g;
    dcm_queue_opts o;
    dcm_status st;

    if (queue_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_create_chunks: NULL argument");
    if (nchunks < 1 || chunk_bytes < 1 ||
        chunk_bytes > SIZE_MAX / (size_t)nchunks)
        return dcmi_err(DCM_E_INVAL, "queue: %d chunks of %zu bytes", nchunks,
                        chunk_bytes);
    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_queue_opts");
    if (st == DCM_OK)
        st = dcmi_queue_geometry_make(&g, DCMI_QUEUE_CHUNKS,
                                      chunk_bytes * (size_t)nchunks,
                                      chunk_bytes, nreaders);
    return st == DCM_OK ? create(queue_p, DCMI_QUEUE_CHUNK_WRITER, &g, &o) : st;
}

dcm_status dcm_queue_handle(const dcm_queue *queue, void *handle, size_t bytes)
{
    const dcmi_queue_role role =
        queue != NULL && queue->is_writer ? queue->role : DCMI_QUEUE_WRITER;
    dcm_status st = dcmi_queue_enter(queue, role, "dcm_queue_handle");

    return st == DCM_OK ? dcmi_queue_passport_write(queue, handle, bytes) : st;
}

dcm_status dcmi_queue_open_end(dcm_queue **q_p, const void *handle,
                               size_t bytes, int fd, uint32_t timeout_ms)
{
    dcmi_queue_passport pass;
    dcm_queue *q;
    dcm_status st;

    st = queue_new(&q);
    if (st != DCM_OK) {
        dcmi_close(fd);
        return st;
    }
    st = dcmi_queue_passport_read(&pass, handle, bytes);
    if (st == DCM_OK) {
        q->role = pass.g.kind == DCMI_QUEUE_CHUNKS ? DCMI_QUEUE_CHUNK_READER
                                                   : DCMI_QUEUE_READER;
        q->g = pass.g;
        st = read_waits(q, timeout_ms);
    }
    if (st == DCM_OK)
        st = dcmi_queue_passport_open(q, &pass, fd, q->timeout_ns);
    else
        dcmi_close(fd);
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *q_p = q;
    return DCM_OK;
}

static dcm_status attach_far(dcm_queue **queue_p, const void *handle,
                             size_t bytes, uint32_t timeout_ms)
{
    dcmi_queue_passport pass;
    dcm_queue *q;
    dcm_status st;

    st = dcmi_queue_passport_read(&pass, handle, bytes);
    if (st == DCM_OK && pass.remote.port == 0)
        st = dcmi_err(DCM_E_UNSUP,
                      "queue: its writer (pid %d) is on another "
                      "host and serves no remote readers",
                      (int)pass.pid);
    if (st == DCM_OK)
        st = queue_new(&q);
    if (st != DCM_OK)
        return st;
    q->g = pass.g;
    q->ticket = pass.ticket;
    q->writer.pid = pass.pid;
    st = read_waits(q, timeout_ms);
    if (st == DCM_OK)
        st = dcmi_remote_attach(q, &pass.remote, q->timeout_ns);
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *queue_p = q;
    return DCM_OK;
}

/* Whether the handle's writer runs on another host. */
static bool is_far(const void *handle, size_t bytes)
{
    dcmi_queue_passport pass;

    return dcmi_queue_passport_read(&pass, handle, bytes) == DCM_OK &&
           pass.host != dcmi_host_hint();
}

dcm_status dcm_queue_attach(dcm_queue **queue_p, const void *handle,
                            size_t bytes, int reader, uint32_t timeout_ms)
{
    dcm_queue *q;
    dcm_status st;

    if (queue_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_attach: NULL argument");
    if (reader < DCM_QUEUE_REMOTE || reader >= DCM_QUEUE_MAX_READERS)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_attach: reader %d", reader);
    if (reader == DCM_QUEUE_REMOTE || is_far(handle, bytes))
        return attach_far(queue_p, handle, bytes, timeout_ms);
    st = dcmi_queue_open_end(&q, handle, bytes, -1, timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcmi_queue_join(q, reader, q->role == DCMI_QUEUE_READER);
    if (st == DCM_OK) {
        st = dcmi_queue_door_tell(q);
        if (st != DCM_OK)
            dcmi_queue_leave(q);
    }
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *queue_p = q;
    return DCM_OK;
}

dcm_status dcm_queue_wait_ready(dcm_queue *queue, uint32_t timeout_ms)
{
    dcm_status st =
        dcmi_queue_enter(queue, queue != NULL ? queue->role : DCMI_QUEUE_READER,
                         "dcm_queue_wait_ready");
    uint64_t ns;

    if (st != DCM_OK)
        return st;
    ns = timeout_ms != 0 ? timeout_ms * DCMI_NS_PER_MS : queue->timeout_ns;
    return queue->is_writer ? dcmi_queue_writer_ready(queue, ns)
                            : dcmi_queue_reader_ready(queue, ns);
}

static void show_end(dcm_queue *q)
{
    atomic_store_explicit(&q->frame->head.closed, 1, memory_order_release);
    dcmi_queue_ring_readers(q);
}

dcm_status dcm_queue_finish(dcm_queue *queue, uint32_t timeout_ms)
{
    const uint64_t start = dcmi_now_ns();
    uint64_t ns;
    uint64_t gone;
    dcm_status st;

    if (queue != NULL && queue->role == DCMI_QUEUE_FINISHED)
        st = dcmi_queue_enter(queue, DCMI_QUEUE_FINISHED, "dcm_queue_finish");
    else
        st = dcmi_queue_enter(queue, DCMI_QUEUE_WRITER, "dcm_queue_finish");
    if (st != DCM_OK)
        return st;
    ns = timeout_ms != 0 ? timeout_ms * DCMI_NS_PER_MS : queue->timeout_ns;
    queue->role = DCMI_QUEUE_FINISHED;
    show_end(queue);
    st = dcmi_queue_await_read(queue, ns);
    if (st != DCM_OK || queue->remote == NULL)
        return st;
    gone = dcmi_now_ns() - start;
    return dcmi_remote_end(queue, gone < ns ? ns - gone : 0);
}

void dcm_queue_cancel(dcm_queue *queue)
{
    dcmi_bells *bells;
    dcmi_bell *bell;

    if (queue == NULL)
        return;
    atomic_store_explicit(&queue->is_cancelled, true, memory_order_seq_cst);
    if (queue->frame == NULL)
        return; /* a remote reader looks every few milliseconds */
    bells = queue->is_writer ? &queue->frame->writer_bells
                             : &queue->frame->reader_bells;
    bell = &bells->bell[queue->is_writer ? 0 : queue->me];
    (void)atomic_fetch_add_explicit(&bell->word, 1, memory_order_release);
    dcmi_futex_wake(&bell->word);
}

void dcm_queue_close(dcm_queue *queue)
{
    if (queue == NULL)
        return;
    if (queue->forks == dcmi_forks) {
        if (queue->link_far != NULL) {
            dcmi_remote_leave(queue);
        } else if (queue->is_writer) {
            show_end(queue);
        } else {
            dcmi_queue_leave(queue);
        }
    }
    queue_free(queue);
}

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
#include "group/handover.h"
#include "group/vote.h"
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

static dcm_status take_opts(dcm_queue *q, int nreaders,
                            const dcm_queue_opts *opts)
{
    dcm_queue_opts o;
    dcm_status st;

    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_queue_opts");
    if (st != DCM_OK)
        return st;
    if ((o.flags & ~(uint32_t)ALL_FLAGS) != 0)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_opts: unknown flags %#x",
                        o.flags);
    if (o.name != NULL && strlen(o.name) >= sizeof(q->name))
        return dcmi_err(DCM_E_INVAL,
                        "queue name of %zu bytes; %zu are possible",
                        strlen(o.name), sizeof(q->name) - 1);
    if (o.name != NULL)
        memcpy(q->name, o.name, strlen(o.name));
    q->flags = o.flags;
    st = dcmi_queue_geometry_make(
        &q->g, DCMI_QUEUE_RECORDS, o.bytes != 0 ? o.bytes : DEFAULT_BYTES,
        o.max_record != 0 ? o.max_record : DEFAULT_RECORD, nreaders);
    return st == DCM_OK ? read_waits(q, o.timeout_ms) : st;
}

dcm_status dcm_queue_create(dcm_queue **queue_p, int nreaders,
                            const dcm_queue_opts *opts)
{
    dcm_queue *q;
    dcm_status st;

    if (queue_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_create: NULL argument");
    st = queue_new(&q);
    if (st != DCM_OK)
        return st;
    q->is_writer = true;
    dcmi_process_open(&q->writer, (int)getpid(), 0);
    q->writer.start_time = dcmi_start_time(q->writer.pid);
    st = take_opts(q, nreaders, opts);
    if (st == DCM_OK)
        st = dcmi_queue_door_open(q);
    if (st == DCM_OK)
        st = dcmi_queue_frame_create(q);
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *queue_p = q;
    return DCM_OK;
}

dcm_status dcm_queue_handle(const dcm_queue *queue, void *handle, size_t bytes)
{
    dcm_status st = dcmi_queue_enter(queue, true, "dcm_queue_handle");

    return st == DCM_OK ? dcmi_queue_passport_write(queue, handle, bytes) : st;
}

/* A reader's end, up to the mapped segment; `fd` -1: found by the handle. */
static dcm_status open_end(dcm_queue **q_p, const void *handle, size_t bytes,
                           int fd, uint32_t timeout_ms)
{
    dcmi_queue_passport pass;
    dcm_queue *q;
    dcm_status st;

    st = queue_new(&q);
    if (st != DCM_OK) {
        dcmi_close(fd);
        return st;
    }
    st = dcmi_queue_passport_read(&pass, handle, bytes, DCMI_QUEUE_RECORDS);
    if (st == DCM_OK) {
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

dcm_status dcm_queue_attach(dcm_queue **queue_p, const void *handle,
                            size_t bytes, int reader, uint32_t timeout_ms)
{
    dcm_queue *q;
    dcm_status st;

    if (queue_p == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_attach: NULL argument");
    if (reader < DCM_QUEUE_ANY || reader >= DCM_QUEUE_MAX_READERS)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_attach: reader %d", reader);
    st = open_end(&q, handle, bytes, -1, timeout_ms);
    if (st != DCM_OK)
        return st;
    st = dcmi_queue_join(q, reader, true);
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
    dcm_status st = dcmi_queue_enter(queue, queue != NULL && queue->is_writer,
                                     "dcm_queue_wait_ready");
    uint64_t ns;

    if (st != DCM_OK)
        return st;
    ns = timeout_ms != 0 ? timeout_ms * DCMI_NS_PER_MS : queue->timeout_ns;
    return queue->is_writer ? dcmi_queue_writer_ready(queue, ns)
                            : dcmi_queue_reader_ready(queue, ns);
}

void dcm_queue_cancel(dcm_queue *queue)
{
    dcmi_bells *bells;
    dcmi_bell *bell;

    if (queue == NULL)
        return;
    atomic_store_explicit(&queue->is_cancelled, true, memory_order_seq_cst);
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
        if (queue->is_writer) {
            atomic_store_explicit(&queue->frame->head.closed, 1,
                                  memory_order_release);
            dcmi_queue_ring_readers(queue);
        } else {
            dcmi_queue_leave(queue);
        }
    }
    queue_free(queue);
}

/* ---- in a group ----------------------------------------------------------- */

/* What the writer tells the others. */
typedef struct offer {
    dcmi_handover_ticket ticket;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
} offer;

/* Reader numbers follow the ranks, the writer left out. */
static int reader_of(int rank, int writer)
{
    return rank < writer ? rank : rank - 1;
}

static const dcmi_life_slot *life_of(const dcm_group *group, int rank)
{
    const int slot = group->slot_of[rank];

    return slot < 0 ? NULL : &group->hall->life[slot];
}

static dcm_status check_group(const dcm_group *group, int writer)
{
    if (writer < 0 || writer >= group->nranks)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_create_group: writer %d of %d "
                        "ranks",
                        writer, group->nranks);
    if (group->nhosts > 1)
        return dcmi_err(DCM_E_UNSUP, "queue: the group has %d hosts",
                        group->nhosts);
    return DCM_OK;
}

static dcm_status make_offer(dcm_queue **q_p, dcmi_handover *h, offer *mine,
                             const dcm_group *group, int writer,
                             const dcm_queue_opts *opts)
{
    dcm_queue *q;
    dcm_status st;

    st = dcm_queue_create(&q, group->nranks - 1, opts);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < group->nranks; r++) {
        if (r != writer)
            q->peer[reader_of(r, writer)].life = life_of(group, r);
    }
    *q_p = q;
    st = dcmi_handover_open(h, true);
    if (st == DCM_OK)
        st = dcm_queue_handle(q, mine->handle, sizeof(mine->handle));
    mine->ticket = h->ticket;
    return st;
}

static dcm_status hand_over(dcm_queue **q_p, dcmi_handover *h,
                            const dcm_group *group, int writer,
                            const offer *from)
{
    const uint64_t others =
        (group->nranks == 64 ? UINT64_MAX : (1ull << group->nranks) - 1) &
        ~(1ull << writer);
    dcmi_peer_wait who = {.group = group, .what = "queue: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(group, 0));
    uint64_t bytes;
    dcm_queue *q;
    dcm_status st;
    int fd;

    if (group->rank == writer)
        return dcmi_handover_serve(h, others, (*q_p)->fd, (*q_p)->g.total_bytes,
                                   &watch);
    who.ranks = 1ull << writer;
    st = dcmi_handover_receive(h, &fd, &bytes, &watch);
    if (st == DCM_OK)
        st = open_end(&q, from->handle, sizeof(from->handle), fd, 0);
    if (st != DCM_OK)
        return st;
    q->writer_life = life_of(group, writer);
    st = dcmi_queue_join(q, reader_of(group->rank, writer), false);
    if (st != DCM_OK) {
        queue_free(q);
        return st;
    }
    *q_p = q;
    return DCM_OK;
}

/* All ranks take part in every step, whatever happened to them before. */
static dcm_status create_in_group(dcm_queue **q_p, dcmi_handover *h,
                                  dcm_group *group, int writer,
                                  const dcm_queue_opts *opts)
{
    offer *all =
        group->nranks > 0 ? calloc((size_t)group->nranks, sizeof(*all)) : NULL;
    offer mine;
    dcm_status st = DCM_OK;

    memset(&mine, 0, sizeof(mine));
    if (all == NULL)
        st = dcmi_err(DCM_E_NOMEM, "queue: %d offers", group->nranks);
    if (st == DCM_OK && group->rank == writer)
        st = make_offer(q_p, h, &mine, group, writer, opts);
    st = dcmi_group_vote(group, st, 0);
    if (st == DCM_OK)
        st = dcm_group_exchange(group, &mine, all, sizeof(mine), 0);
    if (st == DCM_OK) {
        if (group->rank != writer)
            st = dcmi_handover_connect(h, &all[writer].ticket, group->rank);
        st = dcmi_group_vote(group, st, 0);
    }
    if (st == DCM_OK) {
        st = hand_over(q_p, h, group, writer, &all[writer]);
        if (st != DCM_OK) /* who was not served must not wait */
            dcmi_handover_close(h);
        st = dcmi_group_vote(group, st, 0);
    }
    free(all);
    return st;
}

dcm_status dcm_queue_create_group(dcm_queue **queue_p, dcm_group *group,
                                  int writer, const dcm_queue_opts *opts)
{
    dcmi_handover h = {.listener = -1, .link = -1};
    dcm_queue *q = NULL;
    dcm_status st;

    if (queue_p == NULL || group == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_create_group: NULL argument");
    st = dcmi_group_enter(group);
    if (st == DCM_OK)
        st = check_group(group, writer);
    if (st != DCM_OK)
        return st;
    st = create_in_group(&q, &h, group, writer, opts);
    dcmi_handover_close(&h);
    if (st != DCM_OK) {
        dcm_queue_close(q);
        return st;
    }
    *queue_p = q;
    return DCM_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a queue is like, from either end or from outside. */
#include "queue/queue.h"

#include <string.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/ident.h"

static dcm_queue_state state_of(const dcmi_queue_entry *e, uint64_t who)
{
    switch (DCMI_WHO_STATE(who)) {
    case DCMI_ENTRY_EXPECTED:
        return DCM_QUEUE_EXPECTED;
    case DCMI_ENTRY_DROPPED:
        return DCM_QUEUE_DROPPED;
    case DCMI_ENTRY_CLAIMED:
    case DCMI_ENTRY_JOINING:
    case DCMI_ENTRY_ACTIVE:
        break;
    case DCMI_ENTRY_EMPTY:
    case DCMI_ENTRY_LEFT:
    default: /* the memory may hold anything */
        return DCM_QUEUE_NONE;
    }
    if (atomic_load_explicit(&e->pid_namespace, memory_order_relaxed) ==
            dcmi_pid_namespace() &&
        DCMI_WHO_STATE(who) == DCMI_ENTRY_ACTIVE &&
        !dcmi_process_runs(
            DCMI_WHO_PID(who),
            atomic_load_explicit(&e->start_time, memory_order_relaxed)))
        return DCM_QUEUE_DEAD;
    return atomic_load_explicit(&e->is_waiting, memory_order_relaxed) != 0
               ? DCM_QUEUE_WAITING
               : DCM_QUEUE_BUSY;
}

static void describe(const dcmi_queue_frame *f, int reader, uint64_t published,
                     dcm_queue_reader *out)
{
    const dcmi_queue_entry *e = &f->entry[reader];
    const uint64_t who = atomic_load_explicit(&e->who, memory_order_acquire);
    const uint64_t n = atomic_load_explicit(&e->records, memory_order_relaxed);
    const uint64_t seen =
        atomic_load_explicit(&e->seen_ns, memory_order_relaxed);
    const uint64_t now = dcmi_now_ns();

    memset(out, 0, sizeof(*out));
    out->reader = reader;
    out->pid = DCMI_WHO_PID(who);
    out->state = (int)state_of(e, who);
    out->lag = n < published ? published - n : 0;
    out->seen_ns = seen == 0 ? UINT64_MAX : seen < now ? now - seen : 0;
}

int dcmi_queue_describe(const dcmi_queue_frame *f, uint64_t *records_p,
                        dcm_queue_reader *readers, int n)
{
    const uint64_t mask = (1ull << DCM_QUEUE_MAX_READERS) - 1;
    const uint64_t used =
        atomic_load_explicit(&f->head.used, memory_order_relaxed) & mask;
    const int places = used == 0 ? 0 : 64 - __builtin_clzll(used);
    const uint64_t published =
        atomic_load_explicit(&f->head.published, memory_order_acquire);

    for (int r = 0; readers != NULL && r < places && r < n; r++)
        describe(f, r, published, &readers[r]);
    *records_p = published;
    return places;
}

dcm_status dcm_queue_stat(const dcm_queue *queue, dcm_queue_info *info,
                          dcm_queue_reader *readers, int n)
{
    dcm_queue_info out;
    size_t size;

    if (queue == NULL || info == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_stat: NULL argument");
    memcpy(&size, &info->size, sizeof(size));
    if (size < sizeof(size_t) || size > sizeof(out))
        return dcmi_err(DCM_E_ABI,
                        "dcm_queue_info of %zu bytes; this library "
                        "has %zu",
                        size, sizeof(out));
    memset(&out, 0, sizeof(out));
    out.size = size;
    memcpy(out.name, queue->name, sizeof(out.name));
    out.writer_pid = queue->writer.pid;
    out.nreaders = (int)queue->g.nreaders;
    if (queue->frame != NULL)
        out.places =
            dcmi_queue_describe(queue->frame, &out.records, readers, n);
    else
        out.records = queue->n; /* a remote reader sees no more */
    if (queue->remote != NULL) {
        const int left = readers != NULL && n > out.places ? n - out.places : 0;

        out.nremote = dcmi_remote_describe(
            queue, left > 0 ? readers + out.places : NULL, left);
        out.refused = dcmi_remote_refused(queue);
    }
    out.is_alive =
        queue->link_far != NULL || queue->is_writer ||
        dcmi_process_runs(queue->writer.pid, queue->writer.start_time);
    out.bytes = queue->g.arena_bytes;
    out.max_record = queue->g.max_record;
    out.max_piece = queue->g.arena_bytes / 2;
    memcpy(info, &out, size);
    return DCM_OK;
}

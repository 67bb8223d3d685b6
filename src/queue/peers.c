/* SPDX-License-Identifier: Apache-2.0 */
/* The writer's look at its readers: how far they are, who is dead, who late. */
#define _GNU_SOURCE
#include "queue/queue.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/ident.h"
#include "os/sock.h"

static void forget(dcmi_queue_peer *p)
{
    dcmi_process_close(&p->process);
    dcmi_close(p->link);
    p->link = -1;
    p->who = 0;
}

/* Uncount a reader; false: its entry changed meanwhile. */
static bool drop(dcm_queue *q, int reader, uint64_t who)
{
    const uint64_t dropped =
        (who & ~(0xfull << 32)) | (uint64_t)DCMI_ENTRY_DROPPED << 32;

    if (!atomic_compare_exchange_strong_explicit(
            &q->frame->entry[reader].who, &who, dropped, memory_order_acq_rel,
            memory_order_relaxed))
        return false;
    /* Before anything is overwritten that the reader may still copy. */
    dcmi_queue_fence();
    dcmi_queue_unpark(q, reader);
    forget(&q->peer[reader]);
    return true;
}

/* The cursor of a counted reader, into both floors. */
static void take_cursor(dcm_queue *q, int reader, uint64_t who,
                        dcmi_queue_need *least)
{
    const dcmi_queue_entry *e = &q->frame->entry[reader];
    const uint64_t n = atomic_load_explicit(&e->records, memory_order_acquire);
    const uint64_t bytes =
        atomic_load_explicit(&e->bytes, memory_order_acquire);

    if (n > q->n || bytes > q->end) {
        dcmi_log(DCM_LOG_WARN,
                 "queue: reader %d (pid %d) claims record %llu, byte %llu of "
                 "%llu, %llu: dropped",
                 reader, DCMI_WHO_PID(who), (unsigned long long)n,
                 (unsigned long long)bytes, (unsigned long long)q->n,
                 (unsigned long long)q->end);
        (void)drop(q, reader, who);
        return;
    }
    if (n < least->records)
        least->records = n;
    if (bytes < least->bytes)
        least->bytes = bytes;
}

void dcmi_queue_scan(dcm_queue *q)
{
    dcmi_queue_need least = {.records = q->n, .bytes = q->end};

    /*
     * One order for all with dcmi_queue_join(): who joins without being seen here
     * sees what was published before, and begins behind it.
     */
    atomic_store_explicit(&q->frame->head.published, q->n,
                          memory_order_seq_cst);
    for (int r = dcmi_queue_places(q) - 1; r >= 0; r--) {
        const uint64_t who =
            atomic_load_explicit(&q->frame->entry[r].who, memory_order_seq_cst);

        if (dcmi_queue_is_counted(who))
            take_cursor(q, r, who, &least);
    }
    q->floor = least.records;
    q->floor_bytes = least.bytes;
}

/* Make q->peer[reader] about the process that `who` names. */
static dcmi_queue_peer *peer_of(dcm_queue *q, int reader, uint64_t who)
{
    dcmi_queue_peer *p = &q->peer[reader];
    const dcmi_queue_entry *e = &q->frame->entry[reader];
    uint64_t start;
    uint64_t space;

    if (p->who == who)
        return p;
    if (DCMI_WHO_GEN(p->who) != DCMI_WHO_GEN(who) && p->who != 0) {
        dcmi_close(p->link);
        p->link = -1;
    }
    dcmi_process_close(&p->process);
    p->who = who;
    start = DCMI_WHO_STATE(who) == DCMI_ENTRY_ACTIVE
                ? atomic_load_explicit(&e->start_time, memory_order_relaxed)
                : 0;
    space = atomic_load_explicit(&e->pid_namespace, memory_order_relaxed);
    /* 0: not written yet.  A reader of another namespace then joins again. */
    if (space == 0 || space == dcmi_pid_namespace())
        dcmi_process_open(&p->process, DCMI_WHO_PID(who), start);
    else
        p->process = (dcmi_process){.fd = -1, .is_self = true};
    return p;
}

static bool is_hung_up(int link)
{
    struct pollfd f = {.fd = link, .events = POLLRDHUP};

    return link >= 0 && poll(&f, 1, 0) > 0;
}

bool dcmi_queue_reader_is_gone(dcm_queue *q, int reader, uint64_t who)
{
    dcmi_queue_peer *p;

    if (DCMI_WHO_STATE(who) == DCMI_ENTRY_EXPECTED)
        return false;
    p = peer_of(q, reader, who);
    return dcmi_process_is_gone(&p->process) || is_hung_up(p->link) ||
           (p->life != NULL && dcmi_life_look(p->life) == DCMI_LIFE_DEAD);
}

static bool is_in_way(const dcm_queue *q, int reader, uint64_t who,
                      const dcmi_queue_need *need)
{
    const dcmi_queue_entry *e = &q->frame->entry[reader];

    return dcmi_queue_is_counted(who) &&
           (atomic_load_explicit(&e->records, memory_order_relaxed) <
                need->records ||
            atomic_load_explicit(&e->bytes, memory_order_relaxed) <
                need->bytes);
}

dcm_status dcmi_queue_bury(dcm_queue *q, const dcmi_queue_need *need)
{
    for (int r = dcmi_queue_places(q) - 1; r >= 0; r--) {
        const uint64_t who =
            atomic_load_explicit(&q->frame->entry[r].who, memory_order_acquire);

        if (!is_in_way(q, r, who, need) ||
            !dcmi_queue_reader_is_gone(q, r, who))
            continue;
        if ((q->flags & DCM_QUEUE_FAIL_ON_DEAD) != 0)
            return dcmi_err(DCM_E_PEER, "queue: reader %d (pid %d) died", r,
                            DCMI_WHO_PID(who));
        if (drop(q, r, who))
            dcmi_log(DCM_LOG_WARN, "queue: reader %d (pid %d) died: dropped", r,
                     DCMI_WHO_PID(who));
    }
    return DCM_OK;
}

static void describe(const dcm_queue *q, int reader, uint64_t who, char *text,
                     size_t bytes)
{
    const dcmi_queue_entry *e = &q->frame->entry[reader];
    const uint64_t n = atomic_load_explicit(&e->records, memory_order_relaxed);
    const uint64_t seen =
        atomic_load_explicit(&e->seen_ns, memory_order_relaxed);
    const uint64_t now = dcmi_now_ns();

    if (DCMI_WHO_STATE(who) == DCMI_ENTRY_EXPECTED)
        (void)snprintf(text, bytes, "reader %d (has not attached)", reader);
    else
        (void)snprintf(text, bytes,
                       "reader %d (pid %d, alive, %llu records behind, last "
                       "seen %llu ms ago)",
                       reader, DCMI_WHO_PID(who),
                       (unsigned long long)(n < q->n ? q->n - n : 0),
                       (unsigned long long)(seen < now
                                                ? (now - seen) / DCMI_NS_PER_MS
                                                : 0));
}

dcm_status dcmi_queue_late(dcm_queue *q, const dcmi_queue_need *need)
{
    char names[512] = "";
    char one[128];
    size_t used = 0;
    int n;

    for (int r = 0; r < dcmi_queue_places(q); r++) {
        const uint64_t who =
            atomic_load_explicit(&q->frame->entry[r].who, memory_order_acquire);

        if (!is_in_way(q, r, who, need))
            continue;
        describe(q, r, who, one, sizeof(one));
        n = snprintf(names + used, sizeof(names) - used, "%s%s",
                     used == 0 ? "" : ", ", one);
        if (n < 0 || (size_t)n >= sizeof(names) - used)
            break;
        used += (size_t)n;
    }
    return dcmi_err(DCM_E_TIMEOUT, "queue: record %llu has to wait: %s is late",
                    (unsigned long long)q->n,
                    names[0] != '\0' ? names : "a reader");
}

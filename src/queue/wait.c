/* SPDX-License-Identifier: Apache-2.0 */
/* How a queue's end waits: for how long it spins, and what it looks at. */
#define _GNU_SOURCE
#include "queue/queue.h"

#include <poll.h>

#include "base/err.h"
#include "os/clock.h"

enum {
    LOOK_NS = 1000000,
    /* Waits that usually take longer than this are not worth spinning for. */
    SHORT_NS = 250000,
    SAMPLE_MOST_NS = 1000000, /* one long idle must not count for many waits */
    LEARN_PART = 4,
    LONG_SPIN_PART = 8,
};

void dcmi_queue_show_cpus(dcm_queue *q)
{
    dcmi_queue_head *h = &q->frame->head;
    dcmi_cpuset set;

    dcmi_limits_affinity(&set);
    for (int i = 0; i < DCMI_CPU_WORDS; i++)
        (void)atomic_fetch_or_explicit(&h->cpus[i], set.word[i],
                                       memory_order_relaxed);
    q->quota = dcmi_limits_quota("");
    q->crowd_at = UINT32_MAX;
}

/* Spinning takes the core from the very party that is waited for. */
static bool is_crowded(dcm_queue *q)
{
    const dcmi_queue_head *h = &q->frame->head;
    const uint32_t joins =
        atomic_load_explicit(&h->joins, memory_order_relaxed);
    const int parties = dcmi_queue_places(q) + 1;
    dcmi_cpuset set;

    if (joins != q->crowd_at) {
        for (int i = 0; i < DCMI_CPU_WORDS; i++)
            set.word[i] =
                atomic_load_explicit(&h->cpus[i], memory_order_relaxed);
        q->is_crowded = parties > q->quota || parties > dcmi_cpuset_count(&set);
        q->crowd_at = joins;
    }
    return q->is_crowded;
}

dcmi_watch dcmi_queue_watch(dcm_queue *q, dcm_status (*check)(void *, bool),
                            void *wait, uint64_t timeout_ns)
{
    const bool is_short = q->typical_ns <= SHORT_NS;
    const uint64_t spin_ns = is_crowded(q) ? 0 : q->spin_ns;

    q->began_ns = 0;
    q->last_ns = 0;
    return (dcmi_watch){
        .check = check,
        .arg = wait,
        .bells =
            q->is_writer ? &q->frame->writer_bells : &q->frame->reader_bells,
        .rank = q->is_writer ? 0 : q->me,
        .timeout_ns = timeout_ns,
        .spin_ns = is_short ? spin_ns : spin_ns / LONG_SPIN_PART,
        .parks_soon = !is_short,
    };
}

void dcmi_queue_wait_end(dcm_queue *q, dcmi_wait *w)
{
    uint64_t ns = q->last_ns - q->began_ns;

    dcmi_wait_end(w);
    if (ns > SAMPLE_MOST_NS)
        ns = SAMPLE_MOST_NS;
    if (ns > q->typical_ns)
        q->typical_ns += (ns - q->typical_ns) / LEARN_PART;
    else
        q->typical_ns -= (q->typical_ns - ns) / LEARN_PART;
}

dcm_status dcmi_queue_cancelled(const dcm_queue *q)
{
    if (!atomic_load_explicit(&q->is_cancelled, memory_order_relaxed))
        return DCM_OK;
    return dcmi_err(DCM_E_ABORTED, "queue: cancelled");
}

bool dcmi_queue_writer_is_gone(dcm_queue *q, uint64_t now)
{
    struct pollfd f = {.fd = q->link, .events = POLLRDHUP};

    if (now - q->looked_ns < LOOK_NS)
        return q->writer.is_gone;
    q->looked_ns = now;
    if (q->link >= 0 && poll(&f, 1, 0) > 0)
        q->writer.is_gone = true;
    if (q->writer_life != NULL &&
        dcmi_life_look(q->writer_life) == DCMI_LIFE_DEAD)
        q->writer.is_gone = true;
    return dcmi_process_is_gone(&q->writer);
}

dcm_status dcmi_queue_refuse(const dcm_queue *q, dcmi_queue_role role,
                             const char *call)
{
    static const char *const ends[] = {
        "a reader", "the writer", "a reader of chunks", "the writer of chunks",
        "a writer that has finished"};

    if (q == NULL)
        return dcmi_err(DCM_E_INVAL, "%s: NULL queue", call);
    if (q->forks != dcmi_forks)
        return dcmi_err(DCM_E_INVAL,
                        "%s: this queue belongs to the process "
                        "before its fork",
                        call);
    if (q->role != role)
        return dcmi_err(DCM_E_INVAL, "%s: this end is %s", call, ends[q->role]);
    return dcmi_queue_cancelled(q);
}

dcm_status dcmi_queue_corrupt(const dcm_queue *q, const char *what,
                              uint64_t value)
{
    return dcmi_err(DCM_E_PEER, "queue: record %llu is corrupt: %s %llu",
                    (unsigned long long)q->n, what, (unsigned long long)value);
}

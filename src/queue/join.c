/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places: how a reader takes one, becomes counted, and leaves; docs/queue.md
 * ("Joining late") has the proof.
 */
#include "queue/queue.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/ident.h"

static uint64_t who_of(int pid, dcmi_queue_entry_state state, uint64_t gen)
{
    return (uint64_t)(uint32_t)pid | (uint64_t)state << 32 | gen << 36;
}

bool dcmi_queue_is_counted(uint64_t who)
{
    const dcmi_queue_entry_state state = DCMI_WHO_STATE(who);

    return state == DCMI_ENTRY_EXPECTED || state == DCMI_ENTRY_CLAIMED ||
           state == DCMI_ENTRY_ACTIVE;
}

int dcmi_queue_places(const dcm_queue *q)
{
    const uint64_t used =
        atomic_load_explicit(&q->frame->head.used, memory_order_relaxed) &
        ((1ull << DCM_QUEUE_MAX_READERS) - 1);

    return used == 0 ? 0 : 64 - __builtin_clzll(used);
}

void dcmi_queue_unpark(dcm_queue *q, int reader)
{
    dcmi_bells *bells = &q->frame->reader_bells;

    if (atomic_exchange_explicit(&bells->bell[reader].parked, 0,
                                 memory_order_relaxed) != 0)
        (void)atomic_fetch_sub_explicit(&bells->n_parked, 1,
                                        memory_order_relaxed);
}

/* Whether nobody will touch the entry any more, though it does not say so. */
static bool is_abandoned(const dcm_queue *q, int reader, uint64_t who)
{
    const dcmi_queue_entry *e = &q->frame->entry[reader];
    dcmi_process p;
    bool is_gone;

    if (atomic_load_explicit(&e->pid_namespace, memory_order_relaxed) !=
        dcmi_pid_namespace())
        return false;
    dcmi_process_open(&p, DCMI_WHO_PID(who), 0);
    is_gone = dcmi_process_is_gone(&p);
    dcmi_process_close(&p);
    return is_gone;
}

static bool is_free(const dcm_queue *q, int reader, uint64_t who)
{
    switch (DCMI_WHO_STATE(who)) {
    case DCMI_ENTRY_EMPTY:
    case DCMI_ENTRY_LEFT:
        return true;
    case DCMI_ENTRY_CLAIMED:
    case DCMI_ENTRY_JOINING:
    case DCMI_ENTRY_ACTIVE:
    case DCMI_ENTRY_DROPPED:
        return is_abandoned(q, reader, who);
    case DCMI_ENTRY_EXPECTED:
        break;
    }
    return false;
}

/* Try to take a place; false: it is another's. */
static bool claim(dcm_queue *q, int reader, dcmi_queue_entry_state from_state)
{
    dcmi_queue_entry *e = &q->frame->entry[reader];
    uint64_t who = atomic_load_explicit(&e->who, memory_order_acquire);
    const bool is_expected = DCMI_WHO_STATE(who) == DCMI_ENTRY_EXPECTED;
    uint64_t mine;

    if (is_expected != (from_state == DCMI_ENTRY_EXPECTED) ||
        (!is_expected && !is_free(q, reader, who)))
        return false;
    mine = who_of((int)getpid(),
                  is_expected ? DCMI_ENTRY_CLAIMED : DCMI_ENTRY_JOINING,
                  DCMI_WHO_GEN(who) + 1);
    if (!atomic_compare_exchange_strong_explicit(
            &e->who, &who, mine, memory_order_acq_rel, memory_order_relaxed))
        return false;
    q->me = reader;
    q->who = mine;
    return true;
}

static bool claim_any(dcm_queue *q, dcmi_queue_entry_state from, int places)
{
    for (int r = 0; r < places; r++) {
        if (claim(q, r, from))
            return true;
    }
    return false;
}

static dcm_status take_place(dcm_queue *q, int reader, bool may_be_late)
{
    const int expected = (int)q->g.nreaders;
    uint64_t who;

    if (reader == DCM_QUEUE_ANY) {
        if (claim_any(q, DCMI_ENTRY_EXPECTED, expected) ||
            (may_be_late &&
             claim_any(q, DCMI_ENTRY_EMPTY, DCM_QUEUE_MAX_READERS)))
            return DCM_OK;
        return dcmi_err(DCM_E_BUSY, "queue: all places are taken");
    }
    if (claim(q, reader, DCMI_ENTRY_EXPECTED) ||
        (may_be_late && claim(q, reader, DCMI_ENTRY_EMPTY)))
        return DCM_OK;
    who = atomic_load_explicit(&q->frame->entry[reader].who,
                               memory_order_relaxed);
    return dcmi_err(DCM_E_BUSY, "queue: reader %d is there already (pid %d)",
                    reader, DCMI_WHO_PID(who));
}

/*
 * What has been published so far.  The first look pairs with dcmi_queue_scan();
 * then `end` is read before the count, so that it is not beyond the record that
 * the count names; layout.h, "Ordering".
 */
static void look_where(dcm_queue *q)
{
    const dcmi_queue_head *h = &q->frame->head;

    (void)atomic_load_explicit(&h->published, memory_order_seq_cst);
    q->end = atomic_load_explicit(&h->end, memory_order_acquire);
    q->n = atomic_load_explicit(&h->published, memory_order_acquire);
}

static void store_cursor(dcm_queue *q)
{
    dcmi_queue_entry *e = &q->frame->entry[q->me];

    atomic_store_explicit(&e->bytes, q->end, memory_order_relaxed);
    atomic_store_explicit(&e->records, q->n, memory_order_release);
}

dcm_status dcmi_queue_join(dcm_queue *q, int reader, bool may_be_late)
{
    dcmi_queue_head *h = &q->frame->head;
    dcmi_queue_entry *e;
    uint64_t active;
    dcm_status st;
    bool is_late;

    st = take_place(q, reader, may_be_late);
    if (st != DCM_OK)
        return st;
    e = &q->frame->entry[q->me];
    is_late = DCMI_WHO_STATE(q->who) == DCMI_ENTRY_JOINING;
    dcmi_queue_unpark(q, q->me);
    atomic_store_explicit(&e->start_time, dcmi_start_time((int)getpid()),
                          memory_order_relaxed);
    atomic_store_explicit(&e->pid_namespace, dcmi_pid_namespace(),
                          memory_order_relaxed);
    atomic_store_explicit(&e->seen_ns, dcmi_now_ns(), memory_order_relaxed);
    atomic_store_explicit(&e->is_waiting, 0, memory_order_relaxed);
    dcmi_queue_show_cpus(q);
    (void)atomic_fetch_or_explicit(&h->used, 1ull << q->me,
                                   memory_order_relaxed);
    q->n = 0;
    q->end = 0;
    if (is_late) {
        look_where(q);
        store_cursor(q);
    }
    active = who_of((int)getpid(), DCMI_ENTRY_ACTIVE, DCMI_WHO_GEN(q->who));
    if (!atomic_compare_exchange_strong_explicit(&e->who, &q->who, active,
                                                 memory_order_seq_cst,
                                                 memory_order_relaxed))
        return dcmi_err(DCM_E_BUSY, "queue: lost place %d while joining",
                        q->me);
    q->who = active;
    (void)atomic_fetch_add_explicit(&h->joins, 1, memory_order_relaxed);
    if (is_late) {
        look_where(q);
        store_cursor(q);
    }
    dcmi_bells_ring(&q->frame->writer_bells, 1);
    return DCM_OK;
}

void dcmi_queue_leave(dcm_queue *q)
{
    uint64_t left =
        who_of((int)getpid(), DCMI_ENTRY_LEFT, DCMI_WHO_GEN(q->who));
    uint64_t who = q->who;

    (void)atomic_compare_exchange_strong_explicit(
        &q->frame->entry[q->me].who, &who, left, memory_order_release,
        memory_order_relaxed);
    dcmi_bells_ring(&q->frame->writer_bells, 1);
}

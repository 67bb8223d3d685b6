/* SPDX-License-Identifier: Apache-2.0 */
/* Holding, handing over and reading life words; life.h tells the protocol. */
#define _GNU_SOURCE
#include "group/life.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/ident.h"

struct dcmi_life {
    dcmi_life *next;
    dcmi_life_slot *slot;
    dcmi_mapping *mapping;
    uint32_t owner; /* thread id; 0: none */
    bool is_doomed; /* left from another thread: the owner cleans up */
    _Atomic bool is_orphan;
};

/* All slots that this process holds. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcmi_life *all;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* its destructor runs when an owner ends */
static bool has_key;

/* With the lock held: take `life` off the list and let its memory go. */
static void drop(dcmi_life *life)
{
    dcmi_life **at;

    for (at = &all; *at != life; at = &(*at)->next)
        ;
    *at = life->next;
    dcmi_mapping_put(life->mapping);
    free(life);
}

/* With the lock held: free what others doomed and only this thread can. */
static void bury(uint32_t tid)
{
    dcmi_life *next;

    for (dcmi_life *l = all; l != NULL; l = next) {
        next = l->next;
        if (l->is_doomed && l->owner == tid) {
            (void)pthread_mutex_unlock(&l->slot->u.mutex);
            drop(l);
        }
    }
}

static void owner_ends(void *unused)
{
    const uint32_t tid = dcmi_tid();

    (void)unused;
    (void)pthread_mutex_lock(&lock);
    bury(tid);
    for (dcmi_life *l = all; l != NULL; l = l->next) {
        if (l->owner != tid)
            continue;
        /* Before the unlock: a reader must never see an unexplained 0. */
        atomic_store_explicit(&l->slot->state, DCMI_LIFE_ORPHAN,
                              memory_order_release);
        l->owner = 0;
        atomic_store_explicit(&l->is_orphan, true, memory_order_relaxed);
        (void)pthread_mutex_unlock(&l->slot->u.mutex);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void fork_release(void)
{
    (void)pthread_mutex_unlock(&lock);
}

static void set_up(void)
{
    (void)pthread_atfork(fork_prepare, fork_release, fork_release);
}

/* Let this thread's end be known: owner_ends() runs then. */
static bool mark_thread(void)
{
    bool ok;

    (void)pthread_mutex_lock(&lock);
    if (!has_key)
        has_key = pthread_key_create(&key, owner_ends) == 0;
    ok = has_key;
    (void)pthread_mutex_unlock(&lock);
    return ok && pthread_setspecific(key, &key) == 0;
}

static dcm_status mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    int rc;

    rc = pthread_mutexattr_init(&attr);
    if (rc == 0)
        rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (rc == 0)
        rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (rc == 0)
        rc = pthread_mutex_init(mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    errno = rc;
    return rc == 0 ? DCM_OK : dcmi_err_sys("robust mutex");
}

/* Where the mutex keeps its owner; the lock is held by this thread. */
static dcm_status find_word(dcmi_life_slot *slot, uint32_t tid)
{
    for (uint32_t i = 0; i < DCMI_ARRAY_LEN(slot->u.word); i++) {
        const uint32_t v =
            atomic_load_explicit(&slot->u.word[i], memory_order_relaxed);

        if ((v & FUTEX_TID_MASK) == tid) {
            slot->word_at = i;
            return DCM_OK;
        }
    }
    return dcmi_err(DCM_E_UNSUP, "this libc's mutex does not hold its owner's "
                                 "thread id: no life word");
}

/*
 * Lock the slot's mutex for this thread.  Never with `lock` held: the mutex is
 * held for long, so `lock` is always the inner one.
 */
static dcm_status own(dcmi_life_slot *slot)
{
    const int rc = pthread_mutex_lock(&slot->u.mutex);

    return rc == 0 ? DCM_OK
                   : dcmi_err(DCM_E_SYS, "locking a life word: error %d", rc);
}

/* The first time: lock it, and find where it says so. */
static dcm_status own_first(dcmi_life_slot *slot)
{
    dcm_status st = mutex_init(&slot->u.mutex);

    if (st == DCM_OK)
        st = own(slot);
    if (st != DCM_OK)
        return st;
    st = find_word(slot, dcmi_tid());
    if (st != DCM_OK)
        (void)pthread_mutex_unlock(&slot->u.mutex);
    return st;
}

dcm_status dcmi_life_take(dcmi_life **life_p, dcmi_life_slot *slot,
                          dcmi_mapping *mapping)
{
    dcmi_life *life;
    dcm_status st;

    (void)pthread_once(&once, set_up);
    if (!mark_thread())
        return dcmi_err(DCM_E_NOMEM, "no thread key left for life words");
    life = calloc(1, sizeof(*life));
    if (life == NULL)
        return dcmi_err(DCM_E_NOMEM, "life word");
    life->slot = slot;

    st = own_first(slot);
    if (st != DCM_OK) {
        free(life);
        return st;
    }
    slot->pid = (int32_t)getpid();
    slot->start_time = dcmi_start_time(slot->pid);
    slot->pid_namespace = dcmi_pid_namespace();
    atomic_store_explicit(&slot->state, DCMI_LIFE_ALIVE, memory_order_release);

    life->mapping = dcmi_mapping_ref(mapping);
    life->owner = dcmi_tid();
    (void)pthread_mutex_lock(&lock);
    bury(life->owner);
    life->next = all;
    all = life;
    (void)pthread_mutex_unlock(&lock);
    *life_p = life;
    return DCM_OK;
}

void dcmi_life_leave(dcmi_life *life)
{
    const uint32_t tid = dcmi_tid();

    if (life == NULL)
        return;
    (void)pthread_mutex_lock(&lock);
    bury(tid);
    atomic_store_explicit(&life->slot->state, DCMI_LIFE_LEFT,
                          memory_order_release);
    if (life->owner != 0 && life->owner != tid) {
        life->is_doomed = true;
    } else {
        if (life->owner == tid)
            (void)pthread_mutex_unlock(&life->slot->u.mutex);
        drop(life);
    }
    (void)pthread_mutex_unlock(&lock);
}

void dcmi_life_forget(dcmi_life *life)
{
    if (life == NULL)
        return;
    (void)pthread_mutex_lock(&lock);
    drop(life);
    (void)pthread_mutex_unlock(&lock);
}

bool dcmi_life_is_orphan(const dcmi_life *life)
{
    return atomic_load_explicit(&life->is_orphan, memory_order_relaxed);
}

void dcmi_life_adopt(dcmi_life *life)
{
    if (!mark_thread() || own(life->slot) != DCM_OK)
        return; /* it stays an orphan, which others count as alive */
    (void)pthread_mutex_lock(&lock);
    life->owner = dcmi_tid();
    atomic_store_explicit(&life->is_orphan, false, memory_order_relaxed);
    atomic_store_explicit(&life->slot->state, DCMI_LIFE_ALIVE,
                          memory_order_release);
    (void)pthread_mutex_unlock(&lock);
}

dcmi_life_state dcmi_life_look(const dcmi_life_slot *slot)
{
    const uint32_t state =
        atomic_load_explicit(&slot->state, memory_order_acquire);
    uint32_t word;

    if (state != DCMI_LIFE_ALIVE && state != DCMI_LIFE_ORPHAN)
        return state == DCMI_LIFE_LEFT ? DCMI_LIFE_LEFT : DCMI_LIFE_EMPTY;
    word = atomic_load_explicit(
        &slot->u.word[slot->word_at % DCMI_ARRAY_LEN(slot->u.word)],
        memory_order_acquire);
    if ((word & FUTEX_OWNER_DIED) != 0)
        return DCMI_LIFE_DEAD;
    if (state == DCMI_LIFE_ORPHAN &&
        slot->pid_namespace == dcmi_pid_namespace() && slot->start_time != 0 &&
        !dcmi_process_runs(slot->pid, slot->start_time))
        return DCMI_LIFE_DEAD;
    return (dcmi_life_state)state;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the peer backend's part of a communicator: local, and bounded.
 *
 * Kernels of ours may be yet to run when the communicator is freed: the caller's
 * stream may have hours of other work, or wait for this thread.  Memory freed under
 * a kernel would take the whole context along.  So an event behind the last call
 * is waited for, for a while; if it does not come, the communicator lingers with
 * all that kernels look at, and goes when another is made or freed after it came.
 */
#include <pthread.h>
#include <stdlib.h>

#include "backend/peer/ctx.h"
#include "base/log.h"
#include "memory/pinned.h"

enum {
    DRAIN_NS = 2000000000,
    NAP_NS = 50000
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dcmi_peer *lingering;

/* Whether all work of this rank has ended. */
static bool is_idle(const dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;

    if (c->stream != NULL && cuda->stream_query(c->stream) == DCMI_CU_NOT_READY)
        return false;
    return !c->has_last || cuda->event_query(c->event) != DCMI_CU_NOT_READY;
}

static bool is_idle_soon(const dcmi_peer *c)
{
    const uint64_t start = dcmi_now_ns();

    while (!is_idle(c)) {
        if (dcmi_now_ns() - start >= DRAIN_NS)
            return false;
        dcmi_nap_ns(NAP_NS);
    }
    return true;
}

/*
 * Wait for this rank's own kernels, for a while: they may be about to end.  Then
 * tell them to stop; they look at the record's page.
 */
static bool drain(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;
    int is_capturing = 0;

    if (c->record == NULL)
        return true; /* it has launched nothing */
    /* A stream that is gone, or captured, holds no work of ours that runs. */
    if (c->has_last &&
        (cuda->stream_is_capturing(c->last, &is_capturing) != DCMI_CU_OK ||
         is_capturing != 0 ||
         cuda->event_record(c->event, c->last) != DCMI_CU_OK))
        c->has_last = false;
    if (!dcmi_peer_has_record(c) && is_idle_soon(c))
        return true;
    __atomic_store_n(&c->record->stop, 1, __ATOMIC_RELEASE);
    return is_idle_soon(c);
}

/* In its context. */
static void release(dcmi_peer *c)
{
    const dcmi_cuda *cuda = c->home.cuda;

    dcmi_pinned_put(cuda, c->team_page);
    dcmi_pinned_put(cuda, c->hall_page);
    dcmi_mapping_put(c->kept_team);
    dcmi_mapping_put(c->kept_hall);
    dcmi_pinned_put(cuda, c->host_page);
    dcmi_segment_free(c->host);
    dcmi_device_mem_put(c->own);
    dcmi_symmetric_free(c->staging);
    if (c->event != NULL)
        (void)cuda->event_destroy(c->event);
    if (c->stream != NULL)
        (void)cuda->stream_destroy(c->stream);
    if (c->record != NULL)
        (void)cuda->host_free(c->record);
    if (c->module != NULL)
        (void)cuda->module_unload(c->module);
}

/* Its pages of shared memory outlive the communicator. */
static void linger(dcmi_peer *c)
{
    dcmi_log(DCM_LOG_WARN,
             "rank %d: the stream of the last call still has work after %d s; "
             "the memory of the communicator stays until that has ended and "
             "another communicator is made or freed",
             c->rank, (int)(2ll * DRAIN_NS / 1000000000));
    c->kept_team = dcmi_mapping_at(c->team->shared);
    c->kept_hall = dcmi_mapping_ref(c->team->group->mapping);
    c->team = NULL;
    (void)pthread_mutex_lock(&lock);
    c->next = lingering;
    lingering = c;
    (void)pthread_mutex_unlock(&lock);
}

/* False: still busy. */
static bool go(dcmi_peer *c)
{
    int mode = DCMI_CU_CAPTURE_RELAXED;
    bool is_pushed = false;
    bool is_over;

    if (dcmi_cuda_enter(&c->home, &is_pushed) != DCM_OK) {
        free(c); /* the context is gone, and all its memory with it */
        return true;
    }
    (void)c->home.cuda->capture_mode(&mode);
    is_over = c->team == NULL ? is_idle(c) : drain(c);
    if (is_over)
        release(c);
    (void)c->home.cuda->capture_mode(&mode);
    dcmi_cuda_exit(&c->home, is_pushed);
    if (is_over) {
        dcmi_cuda_home_leave(&c->home);
        free(c);
    }
    return is_over;
}

void dcmi_peer_reap(void)
{
    dcmi_peer *c;
    dcmi_peer *busy = NULL;

    (void)pthread_mutex_lock(&lock);
    while (lingering != NULL) {
        c = lingering;
        lingering = c->next;
        if (go(c))
            continue;
        c->next = busy;
        busy = c;
    }
    lingering = busy;
    (void)pthread_mutex_unlock(&lock);
}

void dcmi_peer_close(void *ctx)
{
    dcmi_peer_reap();
    if (!go(ctx))
        linger(ctx);
}

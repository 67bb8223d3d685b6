/* SPDX-License-Identifier: Apache-2.0 */
/* Streams, a thread each, and events. */
#include "standin/standin.h"

#include <stdlib.h>
#include <time.h>

static standin_stream *streams;
static standin_event *events;
static uint64_t held;  /* holds so far */
static uint64_t freed; /* those that have been let go */

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- operations ----------------------------------------------------------- */

void standin_append(standin_op **head, standin_op **tail, standin_op *op)
{
    op->next = NULL;
    if (*head == NULL)
        *head = op;
    else
        (*tail)->next = op;
    *tail = op;
}

static void event_put(standin_event *e)
{
    if (e != NULL && --e->users == 0)
        free(e);
}

standin_op *standin_copy_op(const standin_op *op)
{
    standin_op *copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return NULL;
    *copy = *op;
    if (copy->event != NULL)
        copy->event->users++;
    return copy;
}

static void drop_one(standin_op *op)
{
    event_put(op->event);
    free(op);
}

void standin_drop(standin_op *head)
{
    while (head != NULL) {
        standin_op *next = head->next;

        drop_one(head);
        head = next;
    }
}

dcmi_cu_result standin_submit(standin_stream *s, const standin_op *op)
{
    standin_op *copy = standin_copy_op(op);

    if (copy == NULL)
        return STANDIN_NOMEM;
    if (s->graph != NULL) {
        standin_append(&s->graph->head, &s->graph->tail, copy);
    } else {
        standin_append(&s->head, &s->tail, copy);
        s->sent++;
        (void)pthread_cond_signal(&s->work);
    }
    return DCMI_CU_OK;
}

static void *stream_main(void *arg)
{
    standin_stream *s = arg;
    standin_stream **at;

    (void)pthread_mutex_lock(&standin_lock);
    while (s->head != NULL || !s->is_ending) {
        standin_op *op = s->head;

        if (op == NULL) {
            (void)pthread_cond_wait(&s->work, &standin_lock);
            continue;
        }
        (void)pthread_mutex_unlock(&standin_lock);
        op->run(op);
        (void)pthread_mutex_lock(&standin_lock);
        s->head = op->next;
        s->done++;
        drop_one(op);
        (void)pthread_cond_broadcast(&standin_moved);
    }
    for (at = &streams; *at != s; at = &(*at)->next)
        ;
    *at = s->next;
    (void)pthread_cond_broadcast(&standin_moved);
    (void)pthread_mutex_unlock(&standin_lock);
    (void)pthread_cond_destroy(&s->work);
    free(s);
    return NULL;
}

/* ---- streams -------------------------------------------------------------- */

/* With the lock held. */
static standin_stream *stream_new(standin_ctx *ctx)
{
    standin_stream *s = calloc(1, sizeof(*s));
    pthread_t t;

    if (s == NULL)
        return NULL;
    s->ctx = ctx;
    if (pthread_cond_init(&s->work, NULL) != 0 ||
        pthread_create(&t, NULL, stream_main, s) != 0) {
        free(s);
        return NULL;
    }
    (void)pthread_detach(t);
    s->next = streams;
    streams = s;
    return s;
}

standin_stream *standin_stream_of(dcmi_cu_stream stream)
{
    standin_ctx *ctx = standin_ctx_here();
    standin_stream *s = streams;

    if (ctx == NULL)
        return NULL;
    if (stream == NULL) {
        if (ctx->null_stream == NULL)
            ctx->null_stream = stream_new(ctx);
        return ctx->null_stream;
    }
    while (s != NULL && (s != stream || s->is_ending))
        s = s->next;
    return s;
}

standin_stream *standin_streams(void)
{
    return streams;
}

static bool is_there(const standin_stream *stream)
{
    const standin_stream *s = streams;

    while (s != NULL && s != stream)
        s = s->next;
    return s != NULL;
}

void standin_finish(standin_stream *s)
{
    const uint64_t sent = s->sent;

    while (is_there(s) && s->done < sent)
        (void)pthread_cond_wait(&standin_moved, &standin_lock);
}

void standin_drain(const standin_ctx *ctx)
{
    uint64_t until = 0; /* streams may come and go while one is waited for */

    for (standin_stream *s = streams; s != NULL; s = s->next)
        until += s->ctx == ctx ? s->sent - s->done : 0;
    while (until > 0) {
        standin_stream *s = streams;

        while (s != NULL && (s->ctx != ctx || s->head == NULL))
            s = s->next;
        if (s == NULL)
            return;
        until -= until < s->sent - s->done ? until : s->sent - s->done;
        standin_finish(s);
    }
}

dcmi_cu_result standin_stream_create(dcmi_cu_stream *stream_p, unsigned flags)
{
    standin_ctx *ctx = standin_ctx_here();
    standin_stream *s;

    (void)flags;
    if (ctx == NULL)
        return STANDIN_BAD_CONTEXT;
    (void)pthread_mutex_lock(&standin_lock);
    s = stream_new(ctx);
    standin_live_add(STANDIN_STREAMS, s != NULL);
    (void)pthread_mutex_unlock(&standin_lock);
    if (s == NULL)
        return STANDIN_NOMEM;
    *stream_p = s;
    return DCMI_CU_OK;
}

/* Its work goes on. */
dcmi_cu_result standin_stream_destroy(dcmi_cu_stream stream)
{
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = stream != NULL ? standin_stream_of(stream) : NULL;
    if (s != NULL) {
        s->is_ending = true;
        (void)pthread_cond_signal(&s->work);
        standin_live_add(STANDIN_STREAMS, -1);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static dcmi_cu_result look(dcmi_cu_stream stream, bool is_waiting)
{
    dcmi_cu_result r = DCMI_CU_OK;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL) {
        r = STANDIN_BAD_HANDLE;
    } else if (s->graph != NULL) {
        s->graph->is_broken = true;
        r = STANDIN_CAPTURING;
    } else if (is_waiting) {
        standin_finish(s);
    } else if (s->head != NULL) {
        r = STANDIN_BUSY;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_stream_query(dcmi_cu_stream stream)
{
    return look(stream, false);
}

dcmi_cu_result standin_stream_sync(dcmi_cu_stream stream)
{
    return look(stream, true);
}

/* ---- events --------------------------------------------------------------- */

static bool is_alive(const standin_event *event)
{
    const standin_event *e = events;

    while (e != NULL && e != event)
        e = e->next;
    return e != NULL;
}

dcmi_cu_result standin_event_create(dcmi_cu_event *event_p, unsigned flags)
{
    standin_event *e = calloc(1, sizeof(*e));

    (void)flags;
    if (e == NULL || standin_ctx_here() == NULL) {
        free(e);
        return STANDIN_BAD_CONTEXT;
    }
    e->users = 1;
    (void)pthread_mutex_lock(&standin_lock);
    e->next = events;
    events = e;
    standin_live_add(STANDIN_EVENTS, 1);
    (void)pthread_mutex_unlock(&standin_lock);
    *event_p = e;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_event_destroy(dcmi_cu_event event)
{
    standin_event **at = &events;
    dcmi_cu_result r = STANDIN_BAD_HANDLE;

    (void)pthread_mutex_lock(&standin_lock);
    while (*at != NULL && *at != event)
        at = &(*at)->next;
    if (*at != NULL) {
        *at = (*at)->next;
        event_put(event);
        standin_live_add(STANDIN_EVENTS, -1);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static void run_record(standin_op *op)
{
    (void)pthread_mutex_lock(&standin_lock);
    op->event->done = op->ticket;
    op->event->time_ns = now_ns();
    (void)pthread_mutex_unlock(&standin_lock);
}

dcmi_cu_result standin_event_record(dcmi_cu_event event, dcmi_cu_stream stream)
{
    standin_event *e = event;
    standin_op op = {.run = run_record, .event = e};
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s != NULL && is_alive(e)) {
        e->captured = s->graph != NULL ? s->graph->number : 0;
        op.ticket = s->graph != NULL ? 0 : ++e->ticket;
        r = s->graph != NULL ? DCMI_CU_OK : standin_submit(s, &op);
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static void run_wait(standin_op *op)
{
    (void)pthread_mutex_lock(&standin_lock);
    while (op->event->done < op->ticket)
        (void)pthread_cond_wait(&standin_moved, &standin_lock);
    (void)pthread_mutex_unlock(&standin_lock);
}

/* The capture of that number, if it goes on. */
static standin_graph *capture_of(uint64_t number)
{
    for (standin_stream *s = streams; s != NULL && number != 0; s = s->next) {
        if (s->graph != NULL && s->graph->number == number)
            return s->graph;
    }
    return NULL;
}

dcmi_cu_result standin_stream_wait(dcmi_cu_stream stream, dcmi_cu_event event,
                                   unsigned flags)
{
    standin_event *e = event;
    standin_op op = {.run = run_wait, .event = e};
    dcmi_cu_result r = DCMI_CU_OK;
    standin_graph *graph;
    standin_stream *s;

    (void)flags;
    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL || !is_alive(e)) {
        r = STANDIN_BAD_HANDLE;
    } else if (e->captured != 0) {
        graph = capture_of(e->captured);
        if (graph == NULL)
            r = STANDIN_INVALID;
        else if (s->graph != NULL && s->graph != graph)
            r = STANDIN_CAPTURE_OTHER;
        else
            s->graph = graph; /* the order of capture does the rest */
    } else if (s->graph != NULL) {
        s->graph->is_broken = true;
        r = STANDIN_CAPTURE_ISOLATION;
    } else {
        op.ticket = e->ticket;
        r = standin_submit(s, &op);
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

static dcmi_cu_result look_at_event(dcmi_cu_event event, bool is_waiting)
{
    standin_event *e = event;
    dcmi_cu_result r = DCMI_CU_OK;
    uint64_t ticket;

    (void)pthread_mutex_lock(&standin_lock);
    if (!is_alive(e)) {
        r = STANDIN_BAD_HANDLE;
    } else if (e->captured != 0) {
        r = STANDIN_CAPTURING;
    } else {
        ticket = e->ticket;
        while (is_waiting && e->done < ticket)
            (void)pthread_cond_wait(&standin_moved, &standin_lock);
        r = e->done < ticket ? STANDIN_BUSY : DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_event_query(dcmi_cu_event event)
{
    return look_at_event(event, false);
}

dcmi_cu_result standin_event_sync(dcmi_cu_event event)
{
    return look_at_event(event, true);
}

dcmi_cu_result standin_event_elapsed(float *ms_p, dcmi_cu_event from,
                                     dcmi_cu_event to)
{
    const standin_event *a = from;
    const standin_event *b = to;

    (void)pthread_mutex_lock(&standin_lock);
    *ms_p = (float)((double)(b->time_ns - a->time_ns) * 1e-6);
    (void)pthread_mutex_unlock(&standin_lock);
    return DCMI_CU_OK;
}

/* ---- holds ---------------------------------------------------------------- */

static void run_hold(standin_op *op)
{
    (void)pthread_mutex_lock(&standin_lock);
    while (freed < op->ticket)
        (void)pthread_cond_wait(&standin_moved, &standin_lock);
    (void)pthread_mutex_unlock(&standin_lock);
}

dcmi_cu_result standin_hold(dcmi_cu_stream stream)
{
    standin_op op = {.run = run_hold};
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    op.ticket = ++held;
    if (s != NULL)
        r = standin_submit(s, &op);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

void standin_let_go(void)
{
    (void)pthread_mutex_lock(&standin_lock);
    freed = held;
    (void)pthread_cond_broadcast(&standin_moved);
    (void)pthread_mutex_unlock(&standin_lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Captures and graphs: operations in the order in which they were captured. */
#include "standin/standin.h"

#include <stdlib.h>

static standin_graph *captures; /* that go on */
static uint64_t serial;
static STANDIN_THREAD int
    thread_mode; /* 0: the strictest, the driver's default */

/* A capture forbids calls to its own thread, one of mode 0 to every thread. */
static bool forbids(const standin_graph *g)
{
    const bool is_own = pthread_equal(g->thread, pthread_self()) != 0;

    if (thread_mode == DCMI_CU_CAPTURE_RELAXED)
        return false;
    if (is_own)
        return g->mode != DCMI_CU_CAPTURE_RELAXED;
    return thread_mode == 0 && g->mode == 0;
}

bool standin_may(void)
{
    bool may = true;

    for (standin_graph *g = captures; g != NULL; g = g->next) {
        if (!forbids(g))
            continue;
        g->is_broken = true;
        may = false;
    }
    return may;
}

dcmi_cu_result standin_capture_mode(int *mode)
{
    const int old = thread_mode;

    thread_mode = *mode;
    *mode = old;
    return DCMI_CU_OK;
}

dcmi_cu_result standin_stream_is_capturing(dcmi_cu_stream stream, int *status_p)
{
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s != NULL) {
        *status_p = s->graph != NULL;
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

dcmi_cu_result standin_capture_begin(dcmi_cu_stream stream, int mode)
{
    standin_graph *g = calloc(1, sizeof(*g));
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_stream *s;

    if (g == NULL)
        return STANDIN_NOMEM;
    (void)pthread_mutex_lock(&standin_lock);
    s = stream != NULL ? standin_stream_of(stream) : NULL;
    if (s != NULL && s->graph == NULL) {
        g->number = ++serial;
        g->thread = pthread_self();
        g->mode = mode;
        g->next = captures;
        captures = g;
        s->graph = g;
        standin_live_add(STANDIN_GRAPHS, 1);
        r = DCMI_CU_OK;
    }
    (void)pthread_mutex_unlock(&standin_lock);
    if (r != DCMI_CU_OK)
        free(g);
    return r;
}

/* With the lock held. */
static void graph_free(standin_graph *g)
{
    standin_drop(g->head);
    standin_live_add(STANDIN_GRAPHS, -1);
    free(g);
}

dcmi_cu_result standin_capture_end(dcmi_cu_stream stream,
                                   dcmi_cu_graph *graph_p)
{
    standin_graph **at = &captures;
    dcmi_cu_result r = STANDIN_BAD_HANDLE;
    standin_graph *g = NULL;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s != NULL && s->graph != NULL) {
        g = s->graph;
        r = g->is_broken ? STANDIN_CAPTURE_BROKEN : DCMI_CU_OK;
        for (s = standin_streams(); s != NULL; s = s->next)
            s->graph = s->graph == g ? NULL : s->graph;
        while (*at != g)
            at = &(*at)->next;
        *at = g->next;
        if (r != DCMI_CU_OK)
            graph_free(g);
    }
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        *graph_p = g;
    return r;
}

dcmi_cu_result standin_graph_instantiate(dcmi_cu_graph_exec *exec_p,
                                         dcmi_cu_graph graph,
                                         unsigned long long flags)
{
    const standin_graph *from = graph;
    standin_graph *g = calloc(1, sizeof(*g));
    dcmi_cu_result r = DCMI_CU_OK;

    (void)flags;
    if (g == NULL)
        return STANDIN_NOMEM;
    (void)pthread_mutex_lock(&standin_lock);
    standin_live_add(STANDIN_GRAPHS, 1);
    for (standin_op *op = from->head; op != NULL && r == DCMI_CU_OK;
         op = op->next) {
        standin_op *copy = standin_copy_op(op);

        if (copy == NULL)
            r = STANDIN_NOMEM;
        else
            standin_append(&g->head, &g->tail, copy);
    }
    if (r != DCMI_CU_OK)
        graph_free(g);
    (void)pthread_mutex_unlock(&standin_lock);
    if (r == DCMI_CU_OK)
        *exec_p = g;
    return r;
}

dcmi_cu_result standin_graph_launch(dcmi_cu_graph_exec exec,
                                    dcmi_cu_stream stream)
{
    const standin_graph *g = exec;
    dcmi_cu_result r = DCMI_CU_OK;
    standin_stream *s;

    (void)pthread_mutex_lock(&standin_lock);
    s = standin_stream_of(stream);
    if (s == NULL)
        r = STANDIN_BAD_HANDLE;
    for (standin_op *op = g->head; op != NULL && r == DCMI_CU_OK; op = op->next)
        r = standin_submit(s, op);
    (void)pthread_mutex_unlock(&standin_lock);
    return r;
}

/* Replays under way have their own copies. */
dcmi_cu_result standin_graph_destroy(dcmi_cu_graph graph)
{
    (void)pthread_mutex_lock(&standin_lock);
    graph_free(graph);
    (void)pthread_mutex_unlock(&standin_lock);
    return DCMI_CU_OK;
}

dcmi_cu_result standin_graph_exec_destroy(dcmi_cu_graph_exec exec)
{
    return standin_graph_destroy(exec);
}

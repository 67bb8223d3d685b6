/* SPDX-License-Identifier: Apache-2.0 */
/* Every collective but all_reduce and barrier: pieces of exchange.c, launched. */
#include <stdio.h>

#include "backend/peer/ctx.h"
#include "backend/peer/exchange.h"
#include "base/compiler.h"
#include "base/err.h"
#include "base/parse.h"

dcm_status dcmi_peer_launch_move(dcmi_peer *c, const dcmi_peer_move *s,
                                 dcmk_exchange *x, dcm_stream stream)
{
    const dcmi_cu_function *fn =
        c->lay.is_staged ? c->fn_staged_mover : c->fn_mover;

    return dcmi_peer_launch(c, fn[s->mover], &x->a, s->grid, s->threads,
                            stream);
}

/* What is the same in every launch of this rank. */
void dcmi_peer_begin_exchange(const dcmi_peer *c, dcmk_exchange *x)
{
    *x = (dcmk_exchange){.a = c->args};
    x->a.timeout_ns = c->team->watch.timeout_ns;
    x->counters = c->local + DCMI_PEER_COUNTERS_AT;
}

static uint64_t largest_of(const uint64_t *bytes, int n)
{
    uint64_t most = 0;

    for (int p = 0; p < n; p++)
        most = bytes[p] > most ? bytes[p] : most;
    return most;
}

static dcm_status check_pointers(const dcmi_peer *c, const dcm_coll *coll,
                                 const dcmi_peer_moves *m)
{
    dcm_status st = DCM_OK;

    if (coll->src != NULL && largest_of(m->out_bytes, c->nranks) != 0)
        st = dcmi_peer_check_pointer(c, coll->src, "src", coll->kind);
    if (st == DCM_OK && coll->dst != NULL && coll->dst != coll->src &&
        largest_of(m->in_bytes, c->nranks) != 0)
        st = dcmi_peer_check_pointer(c, coll->dst, "dst", coll->kind);
    return st;
}

/*
 * What an all_to_all of private counts has beyond its first piece.  Each rank knows
 * its own pairs alone, so not all launch as often: these go pair by pair.
 */
static dcm_status launch_rest(dcmi_peer *c, const dcm_coll *coll,
                              const dcmi_peer_moves *m)
{
    const uint64_t out = largest_of(m->out_bytes, c->nranks);
    const uint64_t in = largest_of(m->in_bytes, c->nranks);
    const uint64_t end = out > in ? out : in;
    const uint64_t most = c->lay.most_message;
    dcm_status st = DCM_OK;

    for (uint64_t at = c->lay.most_exchange; at < end && st == DCM_OK;
         at += most) {
        dcmk_exchange x;
        dcmi_peer_move s;

        dcmi_peer_begin_exchange(c, &x);
        dcmi_peer_fill_messages(&x, &c->lay);
        dcmi_peer_rest(&x, &c->lay, m, coll, at);
        s = dcmi_peer_message_shape(&x, &c->lay);
        st = dcmi_peer_launch_move(c, &s, &x, coll->stream);
    }
    return st;
}

static dcm_status launch_pieces(dcmi_peer *c, const dcm_coll *coll,
                                const dcmi_peer_moves *m)
{
    dcmk_exchange x;
    uint64_t at = 0;
    dcm_status st;

    dcmi_peer_begin_exchange(c, &x);
    dcmi_peer_fill_exchange(&x, &c->lay);
    do {
        const dcmi_peer_move s = dcmi_peer_piece(&x, &at, &c->lay, m, coll, at);

        st = dcmi_peer_launch_move(c, &s, &x, coll->stream);
    } while (st == DCM_OK && at < m->largest && !m->is_private);
    if (st == DCM_OK && m->is_private)
        st = launch_rest(c, coll, m);
    return st;
}

dcm_status dcmi_peer_collective(void *ctx, const dcm_coll *coll)
{
    dcmi_peer *c = ctx;
    bool is_pushed = false;
    dcmi_peer_moves m;
    dcm_status st;

    st =
        dcmi_peer_begin(c, coll->stream, dcmi_coll_str(coll->kind), &is_pushed);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    dcmi_peer_plan_moves(&m, coll, c->rank, c->nranks);
    st = check_pointers(c, coll, &m);
    if (DCMI_UNLIKELY(st != DCM_OK)) {
        dcmi_cuda_exit(&c->home, is_pushed);
        return st;
    }
    return dcmi_peer_end(c, is_pushed, launch_pieces(c, coll, &m));
}

/* The first launch as this rank would make it; buffers are taken as aligned. */
static dcmi_peer_move first_move(const dcmi_peer *c, const dcm_coll *coll,
                                 uint64_t *largest_p, uint64_t *most_p)
{
    const bool is_message =
        coll->kind == DCM_COLL_SEND || coll->kind == DCM_COLL_RECV;
    const uint64_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    dcmi_peer_message message = {.bytes = bytes};
    dcmk_exchange x;
    dcmi_peer_moves m;
    uint64_t next;

    dcmi_peer_begin_exchange(c, &x);
    *most_p = is_message ? c->lay.most_message : c->lay.most_exchange;
    if (is_message) {
        *largest_p = bytes;
        message.bytes = bytes < *most_p ? bytes : *most_p;
        dcmi_peer_message_out(&x, coll->root, &message);
        return dcmi_peer_message_shape(&x, &c->lay);
    }
    dcmi_peer_plan_moves(&m, coll, c->rank, c->nranks);
    *largest_p = m.largest;
    return dcmi_peer_piece(&x, &next, &c->lay, &m, coll, 0);
}

void dcmi_peer_explain_moves(const dcmi_peer *c, char *text, size_t bytes,
                             const dcm_coll *coll)
{
    uint64_t largest = 0;
    uint64_t most = 0;
    const dcmi_peer_move s = first_move(c, coll, &largest, &most);

    (void)snprintf(
        text, bytes,
        "%s%s: at most %llu bytes between two of %d ranks, %s; %llu launches of "
        "at most %llu bytes a pair, the first of %u blocks of %u threads",
        c->lay.is_staged ? "staged_" : "", dcmi_peer_mover_str(s.mover),
        (unsigned long long)largest, c->nranks, c->device_name,
        (unsigned long long)(largest == 0 ? 1 : (largest + most - 1) / most),
        (unsigned long long)most, s.grid, s.threads);
}

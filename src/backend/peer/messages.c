/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send and recv: a launch carries a piece of one message to and from each rank, side
 * by side; what does not fit, and what is to or from the same rank, follows in
 * further launches.
 */
#include "backend/peer/ctx.h"
#include "backend/peer/exchange.h"
#include "base/compiler.h"
#include "base/err.h"

enum {
    OUT,
    IN,
    WAYS
};

/* The messages of one call. */
typedef struct batch {
    dcmi_peer *c;
    const dcm_coll *const *calls;
    size_t n_calls;
    size_t next[WAYS][DCMK_RANKS]; /* call that is under way; n_calls: none */
    uint64_t at[WAYS][DCMK_RANKS]; /* bytes of it that are launched */
} batch;

static int way_of(const dcm_coll *coll)
{
    return coll->kind == DCM_COLL_SEND ? OUT : IN;
}

static const void *buffer_of(const dcm_coll *coll)
{
    return coll->kind == DCM_COLL_SEND ? coll->src : coll->dst;
}

static uint64_t bytes_of(const dcm_coll *coll)
{
    return (uint64_t)coll->count * dcm_dtype_bytes(coll->dtype);
}

/* The first message to or from `rank` at or after call `i`. */
static size_t find(const batch *b, int way, int rank, size_t i)
{
    while (i < b->n_calls &&
           (b->calls[i]->root != rank || way_of(b->calls[i]) != way))
        i++;
    return i;
}

/* The next piece to or from `rank`; false: there is none. */
static bool take_piece(batch *b, dcmi_peer_message *piece, int way, int rank)
{
    const size_t i = b->next[way][rank];
    const uint64_t most = b->c->lay.most_message;
    uint64_t *at = &b->at[way][rank];
    const dcm_coll *coll;
    uint64_t left;

    if (i == b->n_calls)
        return false;
    coll = b->calls[i];
    left = bytes_of(coll) - *at;
    piece->at = (uint64_t)(uintptr_t)buffer_of(coll) + *at;
    piece->bytes = left < most ? left : most;
    piece->sign = dcmi_peer_sign((int)DCM_COLL_SEND, coll->dtype, DCM_SUM,
                                 coll->count, *at);
    *at += piece->bytes;
    if (piece->bytes == left) {
        *at = 0;
        b->next[way][rank] = find(b, way, rank, i + 1);
    }
    return true;
}

/* A launch; false: nothing is left. */
static bool collect(batch *b, dcmk_exchange *x)
{
    bool is_any = false;
    dcmi_peer_message piece;

    for (int p = 0; p < b->c->nranks; p++) {
        if (take_piece(b, &piece, OUT, p)) {
            dcmi_peer_message_out(x, p, &piece);
            is_any = true;
        }
        if (take_piece(b, &piece, IN, p)) {
            dcmi_peer_message_in(x, p, &piece);
            is_any = true;
        }
    }
    return is_any;
}

static dcm_status launch_all(batch *b)
{
    dcmi_peer *c = b->c;
    dcm_status st = DCM_OK;

    while (st == DCM_OK) {
        dcmk_exchange x;
        dcmi_peer_move s;

        dcmi_peer_begin_exchange(c, &x);
        dcmi_peer_fill_messages(&x, &c->lay);
        if (!collect(b, &x))
            break;
        s = dcmi_peer_message_shape(&x, &c->lay);
        st = dcmi_peer_launch_move(c, &s, &x, b->calls[0]->stream);
    }
    return st;
}

/* Message k to itself and message k from itself must be alike. */
static dcm_status check_own(const batch *b)
{
    const int rank = b->c->rank;
    size_t out = find(b, OUT, rank, 0);
    size_t in = find(b, IN, rank, 0);

    while (out < b->n_calls && in < b->n_calls) {
        const dcm_coll *s = b->calls[out];
        const dcm_coll *r = b->calls[in];

        if (s->count != r->count || s->dtype != r->dtype)
            return dcmi_err(DCM_E_MISMATCH,
                            "rank %d sends itself %zu %s and awaits %zu %s",
                            rank, s->count, dcm_dtype_str(s->dtype), r->count,
                            dcm_dtype_str(r->dtype));
        out = find(b, OUT, rank, out + 1);
        in = find(b, IN, rank, in + 1);
    }
    if (out == in)
        return DCM_OK;
    return dcmi_err(DCM_E_MISMATCH, "rank %d has a %s to itself without its %s",
                    rank, out < b->n_calls ? "send" : "recv",
                    out < b->n_calls ? "recv" : "send");
}

/* The launches go on the first call's stream: before them the others', and after. */
static dcm_status join_streams(const batch *b, bool is_before)
{
    const dcmi_cuda *cuda = b->c->home.cuda;
    const dcm_stream first = b->calls[0]->stream;
    dcmi_cu_result r = DCMI_CU_OK;

    for (size_t i = 1; i < b->n_calls && r == DCMI_CU_OK; i++) {
        const dcm_stream other = b->calls[i]->stream;

        if (DCMI_LIKELY(other == first))
            continue;
        r = cuda->event_record(b->c->event, is_before ? other : first);
        if (r == DCMI_CU_OK)
            r = cuda->stream_wait(is_before ? first : other, b->c->event, 0);
    }
    if (r == DCMI_CU_OK)
        return DCM_OK;
    return dcmi_cuda_err(cuda, r, "messages on several streams");
}

static dcm_status check(const batch *b)
{
    dcm_status st = DCM_OK;

    for (size_t i = 0; i < b->n_calls && st == DCM_OK; i++) {
        const dcm_coll *coll = b->calls[i];

        if (coll->count != 0)
            st = dcmi_peer_check_pointer(
                b->c, buffer_of(coll),
                coll->kind == DCM_COLL_SEND ? "src" : "dst", coll->kind);
    }
    return st;
}

dcm_status dcmi_peer_messages(void *ctx, const dcm_coll *const *calls,
                              size_t n_calls)
{
    batch b = {.c = ctx, .calls = calls, .n_calls = n_calls};
    dcmi_peer *c = ctx;
    bool is_pushed = false;
    dcm_status st;

    st = dcmi_peer_begin(c, calls[0]->stream,
                         calls[0]->kind == DCM_COLL_SEND ? "send" : "recv",
                         &is_pushed);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    st = check(&b);
    if (DCMI_UNLIKELY(st != DCM_OK)) {
        dcmi_cuda_exit(&c->home, is_pushed);
        return st;
    }
    for (int p = 0; p < c->nranks; p++) {
        b.next[OUT][p] = find(&b, OUT, p, 0);
        b.next[IN][p] = find(&b, IN, p, 0);
    }
    st = check_own(&b);
    if (st == DCM_OK)
        st = join_streams(&b, true);
    if (st == DCM_OK)
        st = launch_all(&b);
    if (st == DCM_OK)
        st = join_streams(&b, false);
    return dcmi_peer_end(c, is_pushed, st);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sends and receives of one call, side by side over their channels (channel.c).
 *
 * Nobody waits for ever: of the messages of one call those in different directions
 * or to different ranks go on side by side, each as far as it can in its turn.  The
 * oldest message of a channel on either side meets the oldest on the other, and
 * one of both can always move: the receiver while a line or piece is there, else
 * the sender, since all is taken.
 */
#include "backend/cpu/ctx.h"
#include "base/compiler.h"

enum {
    SENDS,
    RECVS
};

/* The messages of one call. */
typedef struct batch {
    dcmi_cpu *c;
    const dcm_coll *const *calls;
    size_t n_calls;
    uint64_t pending[2];           /* ranks, a bit each, to and from */
    size_t next[2][DCM_MAX_RANKS]; /* call of each that is under way */
} batch;

static int way_of(const dcm_coll *coll)
{
    return coll->kind == DCM_COLL_SEND ? SENDS : RECVS;
}

/* The first message to or from `rank` at or after call `i`, if any. */
static void start_next(batch *b, int way, int rank, size_t i)
{
    dcmi_end *end = way == SENDS ? &b->c->to[rank] : &b->c->from[rank];

    end->at = 0;
    end->is_announced = false;
    for (; i < b->n_calls; i++) {
        if (b->calls[i]->root == rank && way_of(b->calls[i]) == way) {
            b->next[way][rank] = i;
            b->pending[way] |= 1ull << rank;
            return;
        }
    }
    b->pending[way] &= ~(1ull << rank);
}

static dcm_status start(batch *b)
{
    for (size_t i = 0; i < b->n_calls; i++) {
        const dcm_coll *coll = b->calls[i];

        if (DCMI_UNLIKELY(coll->stream != NULL))
            return dcmi_cpu_begin_slow(b->c, coll);
        if ((b->pending[way_of(coll)] >> coll->root & 1) == 0)
            start_next(b, way_of(coll), coll->root, i);
    }
    return DCM_OK;
}

/* A turn for every channel; *moved_p says whether anything moved. */
static dcm_status turn(batch *b, bool *moved_p)
{
    dcmi_cpu *c = b->c;

    for (int way = SENDS; way <= RECVS; way++) {
        for (uint64_t m = b->pending[way]; m != 0; m &= m - 1) {
            const int rank = __builtin_ctzll(m);
            const size_t i = b->next[way][rank];
            bool done = false;
            dcm_status st;

            c->team->op = way == SENDS ? "send" : "recv";
            st = way == SENDS
                     ? dcmi_cpu_send_some(c, b->calls[i], moved_p, &done)
                     : dcmi_cpu_recv_some(c, b->calls[i], moved_p, &done);
            if (DCMI_UNLIKELY(st != DCM_OK))
                return st;
            if (done)
                start_next(b, way, rank, i + 1);
        }
    }
    return DCM_OK;
}

static DCMI_COLD dcm_status give_up(batch *b, dcmi_wait *w, dcm_status st)
{
    const int who = b->c->team->who.culprit;

    dcmi_wait_end(w);
    b->c->team->waited_ns = dcmi_wait_ns(w);
    if (who >= 0)
        b->c->team->op = (b->pending[SENDS] >> who & 1) == 0 ||
                                 (b->pending[RECVS] >> who & 1) != 0
                             ? "recv"
                             : "send";
    return dcmi_team_fail(b->c->team, st, who);
}

dcm_status dcmi_cpu_messages(void *ctx, const dcm_coll *const *calls,
                             size_t n_calls)
{
    batch b; /* `next` is filled where `pending` says so */
    dcmi_team *team = ((dcmi_cpu *)ctx)->team;
    dcmi_wait w = dcmi_wait_begin(&team->watch);
    dcm_status waited = DCM_OK;
    dcm_status st;
    bool moved;

    b.c = ctx;
    b.calls = calls;
    b.n_calls = n_calls;
    b.pending[SENDS] = 0;
    b.pending[RECVS] = 0;
    st = start(&b);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    team->phase = "wait";
    for (;;) {
        moved = false;
        st = turn(&b, &moved);
        if (DCMI_UNLIKELY(st != DCM_OK) ||
            (b.pending[SENDS] | b.pending[RECVS]) == 0)
            break;
        if (moved) {
            dcmi_wait_end(&w);
            w = dcmi_wait_begin(&team->watch);
            waited = DCM_OK;
            continue;
        }
        /* A last turn after a failed wait: a post may precede a death. */
        if (DCMI_UNLIKELY(waited != DCM_OK))
            return give_up(&b, &w, waited);
        team->who.ranks = b.pending[SENDS] | b.pending[RECVS];
        waited = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    return st;
}

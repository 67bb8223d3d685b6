/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on a communicator. */
#include "inspect/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "inspect/words.h"

enum {
    STANDING_NS = 1000000000, /* from here on a wait is worth a status */
};

typedef struct view {
    const dcmi_seen_comm *c;
    uint64_t front;  /* the furthest operation that any rank has entered */
    uint64_t gone;   /* ranks: dead, or left */
    uint64_t inside; /* of an operation, and not gone */
    uint64_t waiting;
} view;

void dcmi_say(dcmi_verdict *v, bool is_bad, const char *fmt, ...)
{
    va_list ap;

    v->is_bad = v->is_bad || is_bad;
    if (v->n == DCMI_VERDICT_LINES)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(v->line[v->n++], DCMI_VERDICT_BYTES, fmt, ap);
    va_end(ap);
}

static view view_of(const dcmi_seen_comm *c)
{
    view w = {.c = c};

    for (int r = 0; r < c->nranks; r++) {
        const dcmi_seen_rank *rank = &c->rank[r];
        const uint64_t at = dcmi_seen_at(rank);
        const uint64_t bit = 1ull << r;

        w.front = at > w.front ? at : w.front;
        if (rank->life == DCMI_SEEN_DEAD || rank->life == DCMI_SEEN_LEFT)
            w.gone |= bit;
        else if (dcmi_seen_is_inside(rank))
            w.inside |= bit;
        if ((w.gone & bit) == 0 && rank->wait.ranks != 0)
            w.waiting |= bit;
    }
    return w;
}

/* Who waits for `rank`, and since when the first of them does. */
static uint64_t waiters(const view *w, int rank, uint64_t *since_p)
{
    uint64_t who = 0;

    *since_p = 0;
    for (uint64_t m = w->waiting; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);
        const dcmi_seen_wait *wait = &w->c->rank[r].wait;

        if ((wait->ranks >> rank & 1) == 0)
            continue;
        who |= 1ull << r;
        if (*since_p == 0 || wait->since_ns < *since_p)
            *since_p = wait->since_ns;
    }
    return who;
}

/* "; ranks 0 and 1 have waited for it for 12.3 s of 10 min", or nothing. */
static bool say_waiters(char text[DCMI_WORDS], const view *w, int rank)
{
    char ranks[DCMI_WORDS];
    char time[DCMI_WORDS];
    char most[DCMI_WORDS];
    uint64_t since;
    const uint64_t who = waiters(w, rank, &since);

    text[0] = '\0';
    if (who == 0)
        return false;
    (void)snprintf(
        text, DCMI_WORDS, "; %.80s %s waited for it for %.20s of %.20s",
        dcmi_say_ranks(ranks, who), (who & (who - 1)) == 0 ? "has" : "have",
        dcmi_say_since(time, since, w->c->now_ns),
        dcmi_say_time(most, w->c->rank[__builtin_ctzll(who)].wait.timeout_ns));
    return w->c->now_ns - since >= STANDING_NS;
}

/* Where a rank stands, or stood when it died: inside of what, or what was last. */
static void say_place(char text[3 * DCMI_WORDS], const view *w, int r)
{
    const dcmi_seen_rank *rank = &w->c->rank[r];
    const bool is_dead = rank->life == DCMI_SEEN_DEAD;
    const bool is_inside = dcmi_seen_is_inside(rank);
    const dcmi_seen_op *o = is_inside ? &rank->op[0] : dcmi_seen_last(rank);
    char op[DCMI_WORDS];
    char time[DCMI_WORDS];
    char ranks[DCMI_WORDS];
    char waits[DCMI_WORDS] = "";

    if (o == NULL) {
        (void)snprintf(text, 3 * DCMI_WORDS, "it %s begun no operation",
                       is_dead ? "had" : "has");
        return;
    }
    if (is_inside && rank->wait.ranks != 0)
        (void)snprintf(waits, sizeof(waits), ", where it %s for %.100s",
                       is_dead ? "waited" : "waits",
                       dcmi_say_ranks(ranks, rank->wait.ranks));
    (void)snprintf(text, 3 * DCMI_WORDS, "it %s %s %s, begun %s ago%s",
                   is_dead ? (is_inside ? "was" : "had")
                           : (is_inside ? "is" : "has"),
                   is_inside ? "inside" : "finished", dcmi_say_op(op, o),
                   dcmi_say_since(time, o->begun_ns, w->c->now_ns), waits);
}

static void judge_failure(dcmi_verdict *v, const view *w)
{
    const dcmi_seen_failure *f = &w->c->failure;
    char who[DCMI_WORDS] = "nobody in particular";
    char time[DCMI_WORDS];

    if (f->status == DCM_OK)
        return;
    if (f->culprit >= 0)
        (void)dcmi_say_rank(who, w->c, f->culprit);
    dcmi_say(v, true,
             "the communicator has failed: %s; rank %d found it in operation "
             "%" PRIu64 " and names %s",
             dcm_status_str(f->status), f->reporter, f->number, who);
    for (int r = 0; r < w->c->nranks; r++) {
        const dcmi_seen_failure *own = &w->c->rank[r].failure;

        if (own->status == DCM_OK || own->reporter != r)
            continue;
        dcmi_say(v, true, "rank %d said, %s ago: %s", r,
                 dcmi_say_since(time, own->at_ns, w->c->now_ns), own->text);
    }
}

static void judge_gone(dcmi_verdict *v, const view *w)
{
    char name[DCMI_WORDS];
    char place[3 * DCMI_WORDS];
    char who[DCMI_WORDS];

    for (int r = 0; r < w->c->nranks; r++) {
        const dcmi_seen_rank *rank = &w->c->rank[r];

        if (rank->life == DCMI_SEEN_DEAD) {
            say_place(place, w, r);
            (void)say_waiters(who, w, r);
            dcmi_say(v, true, "%s is dead: when it died %s%s",
                     dcmi_say_rank(name, w->c, r), place, who);
        } else if (rank->life == DCMI_SEEN_LEFT && say_waiters(who, w, r)) {
            dcmi_say(v, true, "%s has freed its communicator%s",
                     dcmi_say_rank(name, w->c, r), who);
        }
    }
}

static void judge_stopped(dcmi_verdict *v, const view *w)
{
    char name[DCMI_WORDS];
    char place[3 * DCMI_WORDS];
    char life[DCMI_WORDS];
    char who[DCMI_WORDS];

    for (int r = 0; r < w->c->nranks; r++) {
        if (w->c->rank[r].life != DCMI_SEEN_STOPPED)
            continue;
        say_place(place, w, r);
        (void)say_waiters(who, w, r);
        dcmi_say(v, true, "%s %s: %s%s", dcmi_say_rank(name, w->c, r),
                 dcmi_say_life(life, &w->c->rank[r]), place, who);
    }
}

/* The ranks that called the same as `rank` in operation `number`. */
static uint64_t agree_with(const view *w, int rank, uint64_t number)
{
    const dcmi_seen_op *own = dcmi_seen_number(&w->c->rank[rank], number);
    uint64_t same = 0;

    for (int r = 0; r < w->c->nranks; r++) {
        const dcmi_seen_op *o = dcmi_seen_number(&w->c->rank[r], number);

        if (o != NULL && dcmi_same_call(o, own))
            same |= 1ull << r;
    }
    return same;
}

/* One operation lined up: say who called something else than most. */
static bool judge_number(dcmi_verdict *v, const view *w, uint64_t number)
{
    char call[2][DCMI_WORDS];
    char ranks[2][DCMI_WORDS];
    uint64_t most = 0;
    uint64_t rest = 0;

    for (int r = 0; r < w->c->nranks; r++) {
        uint64_t same;

        if (dcmi_seen_number(&w->c->rank[r], number) == NULL)
            continue;
        rest |= 1ull << r;
        same = agree_with(w, r, number);
        if (__builtin_popcountll(same) > __builtin_popcountll(most))
            most = same;
    }
    rest &= ~most;
    if (rest == 0)
        return false;
    (void)dcmi_say_call(
        call[0], dcmi_seen_number(&w->c->rank[__builtin_ctzll(most)], number));
    while (rest != 0) {
        const int r = __builtin_ctzll(rest);
        const uint64_t same = agree_with(w, r, number);

        dcmi_say(
            v, true, "operation %" PRIu64 ": %s called %s where %s called %s",
            number, dcmi_say_ranks(ranks[0], same),
            dcmi_say_call(call[1], dcmi_seen_number(&w->c->rank[r], number)),
            dcmi_say_ranks(ranks[1], most), call[0]);
        rest &= ~same;
    }
    return true;
}

/* The first of the operations still in the rings that the ranks disagree on. */
static bool judge_calls(dcmi_verdict *v, const view *w)
{
    uint64_t number =
        w->front > DCMI_RECORD_OPS ? w->front - DCMI_RECORD_OPS + 1 : 1;

    for (; number != 0 && number <= w->front; number++) {
        if (judge_number(v, w, number))
            return true;
    }
    return false;
}

/* A rank that has not come to the operation that others are in. */
static void judge_late(dcmi_verdict *v, const view *w, int r)
{
    const dcmi_seen_rank *rank = &w->c->rank[r];
    const dcmi_seen_op *front = NULL;
    char name[DCMI_WORDS];
    char op[DCMI_WORDS] = "";
    char place[3 * DCMI_WORDS];
    char life[DCMI_WORDS];
    char who[DCMI_WORDS];
    bool is_bad;

    for (int i = 0; i < w->c->nranks && front == NULL; i++)
        front = dcmi_seen_number(&w->c->rank[i], w->front);
    if (front != NULL)
        (void)dcmi_say_op(op, front);
    say_place(place, w, r);
    is_bad = say_waiters(who, w, r);
    dcmi_say(v, is_bad, "%s has not entered %s: %s, and %s%s",
             dcmi_say_rank(name, w->c, r), op, place, dcmi_say_life(life, rank),
             who);
}

/* A rank inside an operation: whom it waits for, or that it works. */
static void judge_inside(dcmi_verdict *v, const view *w, int r)
{
    const dcmi_seen_rank *rank = &w->c->rank[r];
    const dcmi_seen_wait *wait = &rank->wait;
    char name[DCMI_WORDS];
    char op[DCMI_WORDS];
    char more[3][DCMI_WORDS];
    bool is_bad;

    if (wait->ranks != 0) {
        const uint64_t waited = w->c->now_ns - wait->since_ns;

        dcmi_say(v, waited >= STANDING_NS,
                 "%s has waited for %s for %s of %s in %s, phase %s",
                 dcmi_say_rank(name, w->c, r),
                 dcmi_say_ranks(more[0], wait->ranks),
                 dcmi_say_time(more[1], waited),
                 dcmi_say_time(more[2], wait->timeout_ns),
                 dcmi_say_op(op, rank->op), wait->phase);
        return;
    }
    is_bad = say_waiters(more[0], w, r);
    dcmi_say(v, is_bad, "%s works in %s, begun %s ago, and %s%s",
             dcmi_say_rank(name, w->c, r), dcmi_say_op(op, rank->op),
             dcmi_say_since(more[1], rank->op->begun_ns, w->c->now_ns),
             dcmi_say_life(more[2], rank), more[0]);
}

/* All are in the same operation: who works in it, else who waits for whom. */
static void judge_together(dcmi_verdict *v, const view *w)
{
    const size_t before = v->n;
    uint64_t since;

    for (uint64_t m = w->inside & ~w->waiting; m != 0; m &= m - 1) {
        if (waiters(w, __builtin_ctzll(m), &since) != 0)
            judge_inside(v, w, __builtin_ctzll(m));
    }
    for (uint64_t m = w->inside; m != 0 && v->n == before; m &= m - 1) {
        for (uint64_t all = m; all != 0; all &= all - 1)
            judge_inside(v, w, __builtin_ctzll(all));
    }
}

static void judge_idle(dcmi_verdict *v, const view *w)
{
    char time[DCMI_WORDS];
    char op[DCMI_WORDS];

    if (w->front == 0) {
        dcmi_say(v, false, "no rank has begun an operation");
        return;
    }
    for (int r = 0; r < w->c->nranks; r++) {
        const dcmi_seen_op *o = dcmi_seen_number(&w->c->rank[r], w->front);

        if (o == NULL)
            continue;
        dcmi_say(v, false,
                 "no rank is inside an operation: the last was %s, begun %s "
                 "ago",
                 dcmi_say_op(op, o),
                 dcmi_say_since(time, o->begun_ns, w->c->now_ns));
        return;
    }
}

/* Nothing moves: who is late, else who is inside. */
static void judge_standing(dcmi_verdict *v, const view *w, bool is_explained)
{
    bool is_any = is_explained;

    for (int r = 0; r < w->c->nranks; r++) {
        if ((w->gone >> r & 1) != 0 ||
            w->c->rank[r].life == DCMI_SEEN_STOPPED ||
            dcmi_seen_at(&w->c->rank[r]) == w->front)
            continue;
        judge_late(v, w, r);
        is_any = true;
    }
    if (w->inside == 0 && !is_any)
        judge_idle(v, w);
    else if (!is_any)
        judge_together(v, w);
}

/* While others go on, with messages: who has waited for long. */
static void judge_left_behind(dcmi_verdict *v, const view *w)
{
    for (uint64_t m = w->waiting & w->inside; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);

        if (w->c->now_ns - w->c->rank[r].wait.since_ns >= STANDING_NS)
            judge_inside(v, w, r);
    }
}

void dcmi_judge_comm(dcmi_verdict *v, const dcmi_seen_comm *comm)
{
    const view w = view_of(comm);
    char time[DCMI_WORDS];
    size_t before;
    bool is_clear;

    is_clear = judge_calls(v, &w);
    before = v->n;
    judge_gone(v, &w);
    judge_stopped(v, &w);
    judge_failure(v, &w);
    if (comm->is_moving) {
        dcmi_say(v, false,
                 "calls go on: %" PRIu64
                 " in %s; the last operation is %" PRIu64,
                 comm->moved, dcmi_say_time(time, comm->moved_ns), w.front);
        judge_left_behind(v, &w);
    } else if (!is_clear && comm->failure.status == DCM_OK)
        judge_standing(v, &w, v->n > before);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* devcomm inspect: the tables. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "inspect.h"
#include "inspect/words.h"

static void print_verdict(const dcmi_verdict *v)
{
    for (size_t i = 0; i < v->n; i++)
        (void)printf("=> %s\n", v->line[i]);
}

static const char *state_word(const dcmi_seen_op *o)
{
    return !o->is_over ? "inside" : o->status == DCM_OK ? "done" : "failed";
}

/* What a rank is in, or did last. */
static void print_rank(const dcmi_seen_comm *c, int r)
{
    const dcmi_seen_rank *rank = &c->rank[r];
    const dcmi_seen_op *o = rank->n_ops > 0 ? &rank->op[0] : NULL;
    const bool waits = rank->wait.ranks != 0 && rank->life != DCMI_SEEN_DEAD;
    char call[DCMI_WORDS];
    char bytes[DCMI_WORDS];
    char time[DCMI_WORDS];
    char whom[DCMI_WORDS];

    (void)printf("%4d %8d  %-8s ", r, rank->pid, dcmi_life_word(rank));
    if (rank->life == DCMI_SEEN_DEAD || rank->proc.state == 0)
        (void)printf("%4s ", "-");
    else
        (void)printf("%4d ", rank->proc.cpu);
    if (o == NULL && !waits) {
        (void)printf("%10s  -\n", "-");
        return;
    }
    (void)printf("%10" PRIu64 "  %-32s %9s  %-8s  %-6s ",
                 o != NULL ? o->number : 0,
                 o != NULL ? dcmi_say_call(call, o) : rank->wait.op,
                 o != NULL ? dcmi_say_bytes(bytes, o->count, o->dtype) : "-",
                 o != NULL && o->path[0] != '\0' ? o->path : "-",
                 o != NULL ? state_word(o) : "inside");
    (void)printf("%9s ago", o != NULL
                                ? dcmi_say_since(time, o->begun_ns, c->now_ns)
                                : "-");
    if (waits)
        (void)printf("  %s, %s: %s", dcmi_say_list(whom, rank->wait.ranks),
                     rank->wait.phase,
                     dcmi_say_since(time, rank->wait.since_ns, c->now_ns));
    (void)printf("\n");
}

/* When the first rank began an operation; 0: not known. */
static uint64_t first_begun(const dcmi_seen_comm *c, uint64_t number)
{
    uint64_t first = UINT64_MAX;

    for (int r = 0; r < c->nranks; r++) {
        const dcmi_seen_op *o = dcmi_seen_number(&c->rank[r], number);

        if (o != NULL && o->begun_ns != 0 && o->begun_ns < first)
            first = o->begun_ns;
    }
    return first != UINT64_MAX ? first : 0;
}

/* What a rank sent and received last. */
static void print_messages(const dcmi_seen_comm *c, int r, unsigned last)
{
    const dcmi_seen_rank *rank = &c->rank[r];
    char call[DCMI_WORDS];
    char bytes[DCMI_WORDS];
    char time[DCMI_WORDS];
    unsigned n = 0;

    for (size_t i = 0; i < rank->n_ops && n < last; i++) {
        const dcmi_seen_op *o = &rank->op[i];

        if (!dcmi_seen_is_message(o))
            continue;
        n++;
        (void)printf(
            "message %2" PRIu64 "  %4d  %-32s %9s  %-8s  %-6s %9s ago\n",
            o->number, r, dcmi_say_call(call, o),
            dcmi_say_bytes(bytes, o->count, o->dtype), o->path, state_word(o),
            dcmi_say_since(time, o->begun_ns, c->now_ns));
    }
}

/* One operation on all ranks, each with how much later than the first it began. */
static void print_ring_line(const dcmi_seen_comm *c, uint64_t number)
{
    const uint64_t begun = first_begun(c, number);
    const dcmi_seen_op *first = NULL;
    char call[DCMI_WORDS];
    char bytes[DCMI_WORDS];
    char time[DCMI_WORDS];

    for (int r = 0; r < c->nranks; r++) {
        const dcmi_seen_op *o = dcmi_seen_number(&c->rank[r], number);
        const bool is_same =
            o != NULL && first != NULL && dcmi_same_call(o, first);

        if (o == NULL)
            continue;
        if (first == NULL)
            (void)printf("%10" PRIu64, number);
        else
            (void)printf("%10s", "");
        (void)printf("  %4d  %-32s %9s  %-8s  %-6s ", r,
                     is_same ? "the same" : dcmi_say_call(call, o),
                     dcmi_say_bytes(bytes, o->count, o->dtype), o->path,
                     state_word(o));
        if (first == NULL)
            (void)printf("%9s ago", dcmi_say_since(time, begun, c->now_ns));
        else
            (void)printf("%13s", "");
        if (o->begun_ns != 0)
            (void)printf(" %+11.1f us", (double)(o->begun_ns - begun) / 1e3);
        (void)printf("\n");
        if (first == NULL)
            first = o;
    }
}

static void print_rings(const dcmi_seen_comm *c, unsigned last)
{
    uint64_t front = 0;

    for (int r = 0; r < c->nranks; r++) {
        const uint64_t at = dcmi_seen_at(&c->rank[r]);

        front = at > front ? at : front;
    }
    (void)printf("%10s  %4s  %-32s %9s  %-8s  %-6s %13s %14s\n", "operation",
                 "rank", "call", "bytes", "path", "state", "begun",
                 "after first");
    for (uint64_t n = front > last ? front - last + 1 : 1; n <= front; n++)
        print_ring_line(c, n);
    for (int r = 0; r < c->nranks; r++)
        print_messages(c, r, last);
}

static void print_comm(const inspect_report *rep, size_t at, size_t place,
                       size_t n)
{
    const dcmi_seen_comm *c = rep->sight->comms[at];
    char time[DCMI_WORDS];

    (void)printf("communicator %zu of %zu: %d ranks on %s, backend %s, made %s "
                 "ago%s%s\n",
                 place, n, c->nranks, rep->host, c->backend,
                 dcmi_say_since(time, c->made_ns, c->now_ns),
                 c->job[0] != '\0' ? ", job " : "", c->job);
    (void)printf("%4s %8s  %-8s %4s %10s  %-32s %9s  %-8s  %-6s %13s  %s\n",
                 "rank", "pid", "process", "core", "operation", "call", "bytes",
                 "path", "state", "begun", "waits for");
    for (int r = 0; r < c->nranks; r++)
        print_rank(c, r);
    if (rep->last > 0)
        print_rings(c, rep->last);
    print_verdict(&rep->comms[at]);
}

static const char *step_word(dcmi_card_step step)
{
    switch (step) {
    case DCMI_CARD_MEETING:
        return "meeting the others";
    case DCMI_CARD_BUILDING:
        return "setting up";
    case DCMI_CARD_MADE:
        return "made";
    default:
        return "unknown";
    }
}

/* Groups that form, or have no communicator yet. */
static void print_cards(const inspect_report *rep)
{
    const dcmi_sight *s = rep->sight;
    char time[DCMI_WORDS];
    bool is_first = true;

    for (size_t i = 0; i < s->n_cards; i++) {
        const dcmi_seen_card *c = &s->cards[i];

        if (!c->is_chosen)
            continue;
        if (is_first)
            (void)printf("%4s %8s  %-20s %-13s %s\n", "rank", "pid", "group",
                         "since", "job");
        is_first = false;
        (void)printf("%4d %8d  %-20s %9s     %s%s%s\n", c->rank, c->pid,
                     step_word(c->step),
                     dcmi_say_since(time, c->since_ns, s->now_ns), c->job,
                     c->name[0] != '\0' ? " " : "", c->name);
    }
}

void inspect_print(const inspect_report *rep)
{
    const dcmi_sight *s = rep->sight;
    size_t n = 0;
    size_t place = 0;

    for (size_t i = 0; i < s->n_comms; i++)
        n += s->is_chosen[i];
    if (n == 0)
        print_cards(rep);
    for (size_t i = 0; i < s->n_comms; i++) {
        if (!s->is_chosen[i])
            continue;
        if (place > 0)
            (void)printf("\n");
        print_comm(rep, i, ++place, n);
    }
    print_verdict(rep->groups);
    if (n == 0 && rep->groups->n == 0)
        (void)printf("=> the group is made; it has no communicator\n");
}

void inspect_print_jobs(const dcmi_sight *sight)
{
    inspect_job jobs[INSPECT_MOST_JOBS];
    const size_t n = inspect_jobs(jobs, sight);

    if (n == 0) {
        (void)printf("no process of this user takes part in anything of "
                     "devcomm's on this machine\n");
        return;
    }
    (void)printf("%6s %6s %14s %-8s %8s  %s\n", "ranks", "here",
                 "communicators", "state", "pid", "job");
    for (size_t i = 0; i < n; i++)
        (void)printf("%6d %6d %14d %-8s %8d  %s\n", jobs[i].nranks,
                     jobs[i].n_here, jobs[i].n_comms,
                     jobs[i].is_forming ? "forming" : "made", jobs[i].least_pid,
                     jobs[i].name[0] != '\0' ? jobs[i].name
                                             : "(none: give the pid)");
}

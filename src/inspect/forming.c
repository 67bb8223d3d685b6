/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on groups: who has not come, to the group or to an exchange. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "inspect/verdict.h"
#include "inspect/words.h"

enum {
    STANDING_NS = 1000000000
};

static bool is_same_group(const dcmi_seen_card *a, const dcmi_seen_card *b)
{
    return strcmp(a->job, b->job) == 0 && strcmp(a->name, b->name) == 0 &&
           (a->job[0] != '\0' || a->pid == b->pid);
}

static bool is_forming(const dcmi_seen_card *c)
{
    return c->is_chosen && c->step != DCMI_CARD_MADE;
}

/* Ranks of the group whose processes are on this machine, by their cards. */
static uint64_t ranks_here(const dcmi_sight *s, const dcmi_seen_card *of,
                           const dcmi_seen_card **first_p)
{
    uint64_t here = 0;

    *first_p = of;
    for (size_t i = 0; i < s->n_cards; i++) {
        const dcmi_seen_card *c = &s->cards[i];

        if (!is_forming(c) || !is_same_group(c, of))
            continue;
        here |= 1ull << c->rank;
        if (c->rank < (*first_p)->rank)
            *first_p = c;
    }
    return here;
}

static void judge_late(dcmi_verdict *v, const dcmi_sight *s,
                       const dcmi_seen_card *of, uint64_t here)
{
    char life[DCMI_WORDS];

    for (size_t i = 0; i < s->n_cards; i++) {
        const dcmi_seen_card *c = &s->cards[i];
        dcmi_seen_rank rank = {.life = DCMI_SEEN_STOPPED, .proc = c->proc};

        if (is_forming(c) && is_same_group(c, of) &&
            (c->proc.state == 'T' || c->proc.state == 't'))
            dcmi_say(v, true, "rank %d (pid %d) %s", c->rank, c->pid,
                     dcmi_say_life(life, &rank));
    }
    if (of->rank != 0)
        dcmi_say(v, false,
                 "rank 0 is not on this machine, or has not begun: "
                 "it is the one that the others reach for");
    else if ((here & ~of->come) != 0)
        dcmi_say(v, false, "%s began, but has not been taken in",
                 dcmi_say_ranks(life, here & ~of->come));
}

static void judge_group(dcmi_verdict *v, const dcmi_sight *s,
                        const dcmi_seen_card *of)
{
    const uint64_t all = UINT64_MAX >> (64 - of->nranks);
    const dcmi_seen_card *c;
    const uint64_t here = ranks_here(s, of, &c);
    const uint64_t come = c->rank == 0 ? c->come : here;
    const uint64_t waited =
        s->now_ns > c->since_ns ? s->now_ns - c->since_ns : 0;
    char come_text[DCMI_WORDS];
    char away[DCMI_WORDS];
    char time[2][DCMI_WORDS];

    if (c->step == DCMI_CARD_BUILDING) {
        dcmi_say(v, waited >= STANDING_NS,
                 "the group of %d ranks%s%s: all have met, and have been "
                 "setting up their shared memory for %s",
                 of->nranks, of->job[0] != '\0' ? " at " : "", of->job,
                 dcmi_say_time(time[0], waited));
        return;
    }
    dcmi_say(v, waited >= STANDING_NS,
             "the group of %d ranks at %s forms: %s %s come, %s %s not; they "
             "have waited for %s and give up in %s",
             of->nranks, of->job, dcmi_say_ranks(come_text, come),
             (come & (come - 1)) == 0 ? "has" : "have",
             dcmi_say_ranks(away, all & ~come),
             __builtin_popcountll(all & ~come) == 1 ? "has" : "have",
             dcmi_say_time(time[0], waited),
             dcmi_say_since(time[1], s->now_ns, c->deadline_ns));
    judge_late(v, s, c, here);
}

static int rank_of(const dcmi_sight *s, const dcmi_seen_hall *h, int slot)
{
    if (h->n_local == h->n_ranks)
        return slot;
    for (size_t i = 0; i < s->n_cards; i++) {
        if (s->cards[i].pid == h->pid[slot] && s->cards[i].nranks == h->n_ranks)
            return s->cards[i].rank;
    }
    return slot;
}

/* Ranks that others wait for in a collective step of the group itself. */
static void judge_hall(dcmi_verdict *v, const dcmi_sight *s,
                       const dcmi_seen_hall *h)
{
    uint64_t most = 0;
    uint64_t come = 0;
    uint64_t away = 0;
    char ranks[DCMI_WORDS];

    for (int i = 0; i < h->n_local; i++)
        most = h->seq[i] > most ? h->seq[i] : most;
    for (int i = 0; i < h->n_local; i++) {
        const uint64_t bit = 1ull << rank_of(s, h, i);

        if (h->seq[i] == most)
            come |= bit;
        else
            away |= bit;
    }
    if (away == 0 || !h->is_still)
        return;
    for (int i = 0; i < h->n_local; i++) {
        const int r = rank_of(s, h, i);
        dcmi_seen_rank rank = {.pid = h->pid[i]};
        char life[DCMI_WORDS];

        if ((away >> r & 1) == 0)
            continue;
        dcmi_proc_look(&rank.proc, rank.pid, 0);
        rank.life = rank.proc.state == 0     ? DCMI_SEEN_DEAD
                    : rank.proc.state == 'Z' ? DCMI_SEEN_DEAD
                    : rank.proc.state == 'T' ? DCMI_SEEN_STOPPED
                    : rank.proc.state == 't' ? DCMI_SEEN_STOPPED
                    : rank.proc.state == 'R' ? DCMI_SEEN_RUNS
                                             : DCMI_SEEN_SLEEPS;
        dcmi_say(v, true,
                 "rank %d (pid %d) has not come to exchange %" PRIu64
                 " of its group (making or splitting a communicator, an "
                 "arena), where %s %s waiting: it %s",
                 r, rank.pid, most, dcmi_say_ranks(ranks, come),
                 (come & (come - 1)) == 0 ? "is" : "are",
                 dcmi_say_life(life, &rank));
    }
}

void dcmi_judge_groups(dcmi_verdict *v, const dcmi_sight *sight)
{
    for (size_t i = 0; i < sight->n_cards; i++) {
        const dcmi_seen_card *c = &sight->cards[i];
        bool is_said = false;

        for (size_t k = 0; k < i; k++)
            is_said = is_said || (is_forming(&sight->cards[k]) &&
                                  is_same_group(&sight->cards[k], c));
        if (is_forming(c) && !is_said)
            judge_group(v, sight, c);
    }
    for (size_t i = 0; i < sight->n_halls; i++) {
        if (sight->halls[i].is_chosen)
            judge_hall(v, sight, &sight->halls[i]);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The group's exchange: an all-gather through the hall, and between hosts
 * through the leaders.  hall.h has the protocol and its proof.
 */
#include "group/group.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* What a host's leader says before the payloads cross; the size on the wire. */
typedef struct host_vote {
    int32_t status;
    uint32_t bytes;
    char text[120];
} host_vote;

_Static_assert(sizeof(host_vote) == 128, "on the wire");

/* A post: the exchange's number and the size that the rank gave. */
static uint64_t post_word(uint64_t seq, size_t bytes)
{
    return seq << 16 | bytes;
}

static bool is_posted(const dcm_group *g, const _Atomic uint64_t *post,
                      uint64_t *word_p)
{
    *word_p = atomic_load_explicit(post, memory_order_acquire);
    return *word_p >> 16 == (g->seq & (UINT64_MAX >> 16));
}

/* Take what rank `r` posted, if it has; false: not yet. */
static bool take(dcm_group *g, int r, void *all, size_t bytes, dcm_status *st_p)
{
    const unsigned half = g->seq & 1;
    const int slot = g->slot_of[r];
    uint64_t word;

    if (!is_posted(g, &g->hall->slot[slot].posted[half], &word))
        return false;
    if ((word & 0xffff) != bytes)
        *st_p = dcmi_err(DCM_E_MISMATCH,
                         "exchange: rank %d gave %u bytes, rank %d %zu", r,
                         (unsigned)(word & 0xffff), g->rank, bytes);
    else
        memcpy((char *)all + (size_t)r * bytes,
               dcmi_hall_payload(g->hall, slot, half), bytes);
    return true;
}

/* Collect the local ranks' payloads into their places in `all`. */
static dcm_status gather_local(dcm_group *g, void *all, size_t bytes,
                               uint64_t timeout_ns)
{
    dcmi_peer_wait who = {.group = g, .what = "exchange: "};
    const dcmi_watch watch = dcmi_peer_watch(&who, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status result = DCM_OK;
    dcm_status st = DCM_OK;

    for (int r = 0; r < g->nranks; r++)
        who.ranks |= (uint64_t)(g->slot_of[r] >= 0) << r;
    for (;;) {
        for (uint64_t m = who.ranks; m != 0; m &= m - 1) {
            if (take(g, __builtin_ctzll(m), all, bytes, &result))
                who.ranks &= ~(m & -m);
        }
        /* Looked at after a failed wait too: a post may precede a death. */
        if (who.ranks == 0 || st != DCM_OK)
            break;
        st = dcmi_wait_poll(&w);
    }
    dcmi_wait_end(&w);
    return who.ranks == 0 ? result : st;
}

/*
 * Leaders tell each other first whether their hosts are ready (`st`, of the
 * error record): a host that fails must not leave the others to their deadline.
 */
static dcm_status agree_with_hosts(dcm_group *g, size_t bytes, dcm_status st,
                                   uint64_t deadline_ns)
{
    host_vote votes[DCM_MAX_RANKS];
    dcm_status told;

    memset(votes, 0, sizeof(votes));
    for (int r = 0; r < g->nranks; r++) {
        if (g->leader_of[r] != g->rank)
            continue;
        votes[r].status = st;
        votes[r].bytes = (uint32_t)bytes;
        if (st != DCM_OK)
            (void)snprintf(votes[r].text, sizeof(votes[r].text), "%s",
                           dcm_errmsg());
    }
    told = g->boot->ops->merge(g->boot, votes, sizeof(host_vote), g->leader_of,
                               deadline_ns);
    if (told != DCM_OK)
        return told;
    for (int r = 0; r < g->nranks; r++) {
        const host_vote *v = &votes[r];

        if (v->status != DCM_OK)
            return dcmi_err((dcm_status)v->status, "%.*s", (int)sizeof(v->text),
                            v->text);
        if (v->bytes != bytes)
            return dcmi_err(DCM_E_MISMATCH,
                            "exchange: rank %d gave %u bytes, rank %d %zu", r,
                            v->bytes, g->rank, bytes);
    }
    return DCM_OK;
}

static dcm_status merge_hosts(dcm_group *g, void *all, size_t bytes,
                              dcm_status st, uint64_t deadline_ns)
{
    /*
     * The caller's own all-gather needs every rank and has no deadline: one
     * that is dead or late would hang it.
     */
    if (g->boot->needs_all && (st == DCM_E_PEER || st == DCM_E_TIMEOUT))
        return st;
    st = agree_with_hosts(g, bytes, st, deadline_ns);
    return st != DCM_OK ? st
                        : g->boot->ops->merge(g->boot, all, bytes, g->leader_of,
                                              deadline_ns);
}

/* The leader has all hosts' payloads, or a failure: tell the local ranks. */
static void publish_all(dcm_group *g, const void *all, size_t bytes,
                        dcm_status st)
{
    const unsigned half = g->seq & 1;
    dcmi_hall_slot *slot = &g->hall->slot[0];

    if (st == DCM_OK)
        memcpy(dcmi_hall_payload_all(g->hall, half), all,
               (size_t)g->nranks * bytes);
    else
        (void)snprintf(g->hall->message_all[half],
                       sizeof(g->hall->message_all[half]), "%s", dcm_errmsg());
    slot->status_all[half] = st;
    atomic_store_explicit(&slot->posted_all[half], post_word(g->seq, bytes),
                          memory_order_release);
    dcmi_bells_ring(&g->hall->bells, (int)g->hall->n_local);
}

static dcm_status receive_all(dcm_group *g, void *all, size_t bytes,
                              uint64_t timeout_ns)
{
    const unsigned half = g->seq & 1;
    const dcmi_hall_slot *slot = &g->hall->slot[0];
    dcmi_peer_wait who = {
        .group = g,
        .ranks = 1ull << g->leader_of[g->rank],
        .what = "exchange between hosts: ",
    };
    const dcmi_watch watch = dcmi_peer_watch(&who, timeout_ns);
    dcmi_wait w = dcmi_wait_begin(&watch);
    dcm_status st = DCM_OK;
    uint64_t word;

    while (!is_posted(g, &slot->posted_all[half], &word) && st == DCM_OK)
        st = dcmi_wait_poll(&w);
    dcmi_wait_end(&w);
    if (st != DCM_OK)
        return st;
    if (slot->status_all[half] != DCM_OK)
        return dcmi_err((dcm_status)slot->status_all[half], "%.*s",
                        (int)sizeof(g->hall->message_all[half]),
                        g->hall->message_all[half]);
    memcpy(all, dcmi_hall_payload_all(g->hall, half),
           (size_t)g->nranks * bytes);
    return DCM_OK;
}

static dcm_status exchange(dcm_group *g, const void *mine, void *all,
                           size_t bytes, uint64_t timeout_ns)
{
    const uint64_t deadline_ns = dcmi_now_ns() + timeout_ns;
    const int slot = g->slot_of[g->rank];
    const bool is_leader = g->leader_of[g->rank] == g->rank;
    unsigned half;
    dcm_status st;

    g->seq++;
    half = g->seq & 1;
    memcpy(dcmi_hall_payload(g->hall, slot, half), mine, bytes);
    atomic_store_explicit(&g->hall->slot[slot].posted[half],
                          post_word(g->seq, bytes), memory_order_release);
    dcmi_bells_ring(&g->hall->bells, (int)g->hall->n_local);

    st = gather_local(g, all, bytes, timeout_ns);
    if (g->boot == NULL)
        return st;
    if (g->boot->needs_all)
        return merge_hosts(g, all, bytes, st, deadline_ns);
    if (!is_leader)
        return st != DCM_OK ? st : receive_all(g, all, bytes, timeout_ns);
    st = merge_hosts(g, all, bytes, st, deadline_ns);
    publish_all(g, all, bytes, st);
    return st;
}

dcm_status dcm_group_exchange(dcm_group *group, const void *mine, void *all,
                              size_t bytes, uint32_t timeout_ms)
{
    static const char nothing[1];
    char none[1];
    dcm_status st;

    if (group == NULL || (bytes != 0 && (mine == NULL || all == NULL)))
        return dcmi_err(DCM_E_INVAL, "exchange: no group or no memory");
    if (bytes > DCM_EXCHANGE_MAX)
        return dcmi_err(DCM_E_INVAL, "exchange of %zu bytes; %d are possible",
                        bytes, DCM_EXCHANGE_MAX);
    st = dcmi_group_enter(group);
    if (st != DCM_OK)
        return st;
    if (group->failed != DCM_OK)
        return dcmi_err(group->failed, "an earlier exchange of this group "
                                       "failed");
    st = exchange(group, bytes != 0 ? mine : nothing, bytes != 0 ? all : none,
                  bytes, dcmi_group_timeout_ns(group, timeout_ms));
    group->failed = st;
    return st;
}

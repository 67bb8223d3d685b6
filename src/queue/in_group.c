/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue between the ranks of a group: the segment is handed over as the group's
 * own ones are, and the group's life words tell who died.
 */
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/group.h"
#include "group/handover.h"
#include "group/vote.h"

/* What the writer tells the others. */
typedef struct offer {
    dcmi_handover_ticket ticket;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
} offer;

/* Reader numbers follow the ranks, the writer left out. */
static int reader_of(int rank, int writer)
{
    return rank < writer ? rank : rank - 1;
}

static const dcmi_life_slot *life_of(const dcm_group *group, int rank)
{
    const int slot = group->slot_of[rank];

    return slot < 0 ? NULL : &group->hall->life[slot];
}

static dcm_status check_group(const dcm_group *group, int writer)
{
    if (writer < 0 || writer >= group->nranks)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_create_group: writer %d of %d "
                        "ranks",
                        writer, group->nranks);
    if (group->nhosts > 1)
        return dcmi_err(DCM_E_UNSUP, "queue: the group has %d hosts",
                        group->nhosts);
    return DCM_OK;
}

static dcm_status make_offer(dcm_queue **q_p, dcmi_handover *h, offer *mine,
                             const dcm_group *group, int writer,
                             const dcm_queue_opts *opts)
{
    dcm_queue *q;
    dcm_status st;

    st = dcm_queue_create(&q, group->nranks - 1, opts);
    if (st != DCM_OK)
        return st;
    for (int r = 0; r < group->nranks; r++) {
        if (r != writer)
            q->peer[reader_of(r, writer)].life = life_of(group, r);
    }
    *q_p = q;
    st = dcmi_handover_open(h, true);
    if (st == DCM_OK)
        st = dcm_queue_handle(q, mine->handle, sizeof(mine->handle));
    mine->ticket = h->ticket;
    return st;
}

static dcm_status hand_over(dcm_queue **q_p, dcmi_handover *h,
                            const dcm_group *group, int writer,
                            const offer *from)
{
    const uint64_t others =
        (group->nranks == 64 ? UINT64_MAX : (1ull << group->nranks) - 1) &
        ~(1ull << writer);
    dcmi_peer_wait who = {.group = group, .what = "queue: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(group, 0));
    uint64_t bytes;
    dcm_queue *q;
    dcm_status st;
    int fd;

    if (group->rank == writer)
        return dcmi_handover_serve(h, others, (*q_p)->fd, (*q_p)->g.total_bytes,
                                   &watch);
    who.ranks = 1ull << writer;
    st = dcmi_handover_receive(h, &fd, &bytes, &watch);
    if (st == DCM_OK)
        st = dcmi_queue_open_end(&q, from->handle, sizeof(from->handle), fd, 0);
    if (st != DCM_OK)
        return st;
    q->writer_life = life_of(group, writer);
    st = dcmi_queue_join(q, reader_of(group->rank, writer), false);
    if (st != DCM_OK) {
        dcm_queue_close(q);
        return st;
    }
    *q_p = q;
    return DCM_OK;
}

/* All ranks take part in every step, whatever happened to them before. */
static dcm_status create_in_group(dcm_queue **q_p, dcmi_handover *h,
                                  dcm_group *group, int writer,
                                  const dcm_queue_opts *opts)
{
    offer *all =
        group->nranks > 0 ? calloc((size_t)group->nranks, sizeof(*all)) : NULL;
    offer mine;
    dcm_status st = DCM_OK;

    memset(&mine, 0, sizeof(mine));
    if (all == NULL)
        st = dcmi_err(DCM_E_NOMEM, "queue: %d offers", group->nranks);
    if (st == DCM_OK && group->rank == writer)
        st = make_offer(q_p, h, &mine, group, writer, opts);
    st = dcmi_group_vote(group, st, 0);
    if (st == DCM_OK)
        st = dcm_group_exchange(group, &mine, all, sizeof(mine), 0);
    if (st == DCM_OK) {
        if (group->rank != writer)
            st = dcmi_handover_connect(h, &all[writer].ticket, group->rank);
        st = dcmi_group_vote(group, st, 0);
    }
    if (st == DCM_OK) {
        st = hand_over(q_p, h, group, writer, &all[writer]);
        if (st != DCM_OK) /* who was not served must not wait */
            dcmi_handover_close(h);
        st = dcmi_group_vote(group, st, 0);
    }
    free(all);
    return st;
}

dcm_status dcm_queue_create_group(dcm_queue **queue_p, dcm_group *group,
                                  int writer, const dcm_queue_opts *opts)
{
    dcmi_handover h = {.listener = -1, .link = -1};
    dcm_queue *q = NULL;
    dcm_status st;

    if (queue_p == NULL || group == NULL)
        return dcmi_err(DCM_E_INVAL, "dcm_queue_create_group: NULL argument");
    st = dcmi_group_enter(group);
    if (st == DCM_OK)
        st = check_group(group, writer);
    if (st != DCM_OK)
        return st;
    st = create_in_group(&q, &h, group, writer, opts);
    dcmi_handover_close(&h);
    if (st != DCM_OK) {
        dcm_queue_close(q);
        return st;
    }
    *queue_p = q;
    return DCM_OK;
}

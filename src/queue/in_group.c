/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue between the ranks of a group: on the writer's host the segment is handed
 * over as the group's own ones are, and the group's life words tell who died; ranks
 * of other hosts are remote readers.
 */
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/opts.h"
#include "group/group.h"
#include "group/handover.h"
#include "group/vote.h"

/* What the writer tells the others. */
typedef struct offer {
    int32_t writer; /* every rank's: who it is to be */
    dcmi_handover_ticket ticket;
    unsigned char handle[DCM_QUEUE_HANDLE_BYTES];
} offer;

static bool is_near(const dcm_group *group, int rank, int writer)
{
    return group->host_of[rank] == group->host_of[writer];
}

/* Reader numbers follow the ranks of the writer's host, the writer left out. */
static int reader_of(const dcm_group *group, int rank, int writer)
{
    int n = 0;

    for (int r = 0; r < rank; r++)
        n += r != writer && is_near(group, r, writer);
    return n;
}

/* All ranks of the writer's host but the writer. */
static uint64_t near_ranks(const dcm_group *group, int writer)
{
    uint64_t mask = 0;

    for (int r = 0; r < group->nranks; r++) {
        if (r != writer && is_near(group, r, writer))
            mask |= 1ull << r;
    }
    return mask;
}

static const dcmi_life_slot *life_of(const dcm_group *group, int rank)
{
    const int slot = group->slot_of[rank];

    return slot < 0 ? NULL : &group->hall->life[slot];
}

static dcm_status check_writer(const dcm_group *group, int writer)
{
    if (writer < 0 || writer >= group->nranks)
        return dcmi_err(DCM_E_INVAL,
                        "dcm_queue_create_group: writer %d of %d "
                        "ranks",
                        writer, group->nranks);
    return DCM_OK;
}

/* All ranks see the same offers, so all find the same. */
static dcm_status check_offers(const offer *all, int nranks)
{
    for (int r = 1; r < nranks; r++) {
        if (all[r].writer != all[0].writer)
            return dcmi_err(DCM_E_MISMATCH,
                            "dcm_queue_create_group: rank %d says that rank %d "
                            "writes, rank 0 that rank %d does",
                            r, (int)all[r].writer, (int)all[0].writer);
    }
    return DCM_OK;
}

static dcm_status make_offer(dcm_queue **q_p, dcmi_handover *h, offer *mine,
                             const dcm_group *group, int writer,
                             const dcm_queue_opts *opts)
{
    const uint64_t near = near_ranks(group, writer);
    const int n = __builtin_popcountll(near);
    dcm_queue_opts o;
    dcm_queue *q;
    dcm_status st;

    st = dcmi_opts_copy(&o, sizeof(o), opts, "dcm_queue_opts");
    if (st != DCM_OK)
        return st;
    o.size = sizeof(o);
    o.nremote = (uint32_t)(group->nranks - 1 - n);
    st = dcm_queue_create(&q, n, &o);
    if (st != DCM_OK)
        return st;
    for (uint64_t m = near; m != 0; m &= m - 1) {
        const int r = __builtin_ctzll(m);

        q->peer[reader_of(group, r, writer)].life = life_of(group, r);
    }
    *q_p = q;
    st = dcmi_handover_open(h, true);
    if (st == DCM_OK)
        st = dcm_queue_handle(q, mine->handle, sizeof(mine->handle));
    mine->ticket = h->ticket;
    return st;
}

static dcm_status receive_end(dcm_queue **q_p, dcmi_handover *h,
                              const dcm_group *group, int writer,
                              const offer *from)
{
    dcmi_peer_wait who = {
        .group = group, .ranks = 1ull << writer, .what = "queue: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(group, 0));
    uint64_t bytes;
    dcm_queue *q;
    dcm_status st;
    int fd;

    st = dcmi_handover_receive(h, &fd, &bytes, &watch);
    if (st == DCM_OK)
        st = dcmi_queue_open_end(&q, from->handle, sizeof(from->handle), fd, 0);
    if (st != DCM_OK)
        return st;
    q->writer_life = life_of(group, writer);
    st = dcmi_queue_join(q, reader_of(group, group->rank, writer), false);
    if (st != DCM_OK) {
        dcm_queue_close(q);
        return st;
    }
    *q_p = q;
    return DCM_OK;
}

/* The ranks of the writer's host get the segment. */
static dcm_status serve_near(dcm_queue **q_p, dcmi_handover *h,
                             const dcm_group *group, int writer,
                             const offer *from)
{
    dcmi_peer_wait who = {.group = group, .what = "queue: "};
    const dcmi_watch watch =
        dcmi_peer_watch(&who, dcmi_group_timeout_ns(group, 0));

    if (group->rank == writer)
        return dcmi_handover_serve(h, near_ranks(group, writer), (*q_p)->fd,
                                   (*q_p)->g.total_bytes, &watch);
    return is_near(group, group->rank, writer)
               ? receive_end(q_p, h, group, writer, from)
               : DCM_OK;
}

/* The others attach over the network, while the writer waits for them. */
static dcm_status serve_far(dcm_queue **q_p, const dcm_group *group, int writer,
                            const offer *from)
{
    const uint64_t ns = dcmi_group_timeout_ns(group, 0);

    if (group->rank == writer)
        return (*q_p)->remote != NULL ? dcmi_queue_writer_ready(*q_p, ns)
                                      : DCM_OK;
    return is_near(group, group->rank, writer)
               ? DCM_OK
               : dcm_queue_attach(q_p, from->handle, sizeof(from->handle),
                                  DCM_QUEUE_REMOTE,
                                  (uint32_t)(ns / DCMI_NS_PER_MS));
}

/* All ranks take part in every step, whatever happened to them before. */
static dcm_status create_in_group(dcm_queue **q_p, dcmi_handover *h,
                                  dcm_group *group, int writer,
                                  const dcm_queue_opts *opts)
{
    offer *all =
        group->nranks > 0 ? calloc((size_t)group->nranks, sizeof(*all)) : NULL;
    offer mine;
    dcm_status st = check_writer(group, writer);

    memset(&mine, 0, sizeof(mine));
    mine.writer = writer;
    if (st == DCM_OK && all == NULL)
        st = dcmi_err(DCM_E_NOMEM, "queue: %d offers", group->nranks);
    if (st == DCM_OK && group->rank == writer)
        st = make_offer(q_p, h, &mine, group, writer, opts);
    st = dcmi_group_vote(group, st, 0);
    if (st == DCM_OK)
        st = dcm_group_exchange(group, &mine, all, sizeof(mine), 0);
    if (st == DCM_OK)
        st = check_offers(all, group->nranks);
    if (st == DCM_OK) {
        if (group->rank != writer && is_near(group, group->rank, writer))
            st = dcmi_handover_connect(h, &all[writer].ticket, group->rank);
        st = dcmi_group_vote(group, st, 0);
    }
    if (st == DCM_OK) {
        st = serve_near(q_p, h, group, writer, &all[writer]);
        if (st != DCM_OK) /* who was not served must not wait */
            dcmi_handover_close(h);
        st = dcmi_group_vote(group, st, 0);
    }
    if (st == DCM_OK) {
        st = serve_far(q_p, group, writer, &all[writer]);
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

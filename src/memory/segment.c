/* SPDX-License-Identifier: Apache-2.0 */
/* Shared segments of a group: rank 0 makes them, the handover spreads them. */
#include "memory/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/group.h"
#include "group/handover.h"
#include "group/vote.h"
#include "os/mapping.h"
#include "os/memfd.h"
#include "os/sock.h"
#include "topo/home.h"

struct dcmi_segment {
    int fd; /* kept for reservations */
    dcmi_mapping *mapping;
    dcmi_home home; /* of the last reservation */
};

typedef struct offer {
    int32_t status;
    char message[200];
    dcmi_handover_ticket ticket;
} offer;

/* Rank 0's half of a step whose outcome the next vote tells the others. */
static dcm_status make(dcmi_segment *s, dcmi_handover *h, const char *name,
                       size_t bytes)
{
    dcm_status st;

    st = dcmi_memfd_create(&s->fd, name, bytes);
    if (st == DCM_OK)
        st = dcmi_handover_open(h, true);
    return st;
}

static dcm_status spread_offer(dcm_group *group, const dcmi_handover *h,
                               dcm_status st, offer *first, uint32_t timeout_ms)
{
    offer all[DCM_MAX_RANKS];
    offer mine;

    memset(&mine, 0, sizeof(mine));
    mine.status = st;
    mine.ticket = h->ticket;
    if (st != DCM_OK)
        (void)snprintf(mine.message, sizeof(mine.message), "%s", dcm_errmsg());
    st = dcm_group_exchange(group, &mine, all, sizeof(mine), timeout_ms);
    if (st != DCM_OK)
        return st;
    *first = all[0];
    if (first->status != DCM_OK)
        return dcmi_err((dcm_status)first->status, "rank 0: %.*s",
                        (int)sizeof(first->message), first->message);
    return DCM_OK;
}

static dcm_status hand_over(dcmi_segment *s, dcmi_handover *h, dcm_group *group,
                            size_t bytes, uint64_t timeout_ns)
{
    const bool is_leader = group->rank == 0;
    const uint64_t everyone =
        group->nranks == 64 ? UINT64_MAX : (1ull << group->nranks) - 1;
    dcmi_peer_wait who = {.group = group, .what = "handing over: "};
    const dcmi_watch watch = dcmi_peer_watch(&who, timeout_ns);
    uint64_t told = bytes;
    dcm_status st;

    if (is_leader) {
        who.ranks = everyone & ~1ull;
        st = dcmi_handover_serve(h, who.ranks, s->fd, bytes, &watch);
        if (st != DCM_OK) /* who was not served must not wait */
            dcmi_handover_close(h);
    } else {
        who.ranks = 1;
        st = dcmi_handover_receive(h, &s->fd, &told, &watch);
    }
    if (st == DCM_OK && told != bytes)
        st = dcmi_err(DCM_E_MISMATCH,
                      "segment of %llu bytes where rank %d expects %zu",
                      (unsigned long long)told, group->rank, bytes);
    if (st == DCM_OK)
        st = dcmi_mapping_get(&s->mapping, s->fd, bytes);
    return st;
}

/* `before` is what has failed here already: the others learn it on the way. */
static dcm_status create(dcmi_segment *s, dcmi_handover *h, dcm_group *group,
                         const char *name, size_t bytes, uint32_t timeout_ms,
                         dcm_status before)
{
    dcm_status st = before;
    offer first;

    if (group->rank == 0 && st == DCM_OK)
        st = make(s, h, name, bytes);
    st = spread_offer(group, h, st, &first, timeout_ms);
    if (st != DCM_OK)
        return st;
    st = before;
    if (group->rank != 0 && st == DCM_OK)
        st = dcmi_handover_connect(h, &first.ticket, group->rank);
    st = dcmi_group_vote(group, st, timeout_ms);
    if (st != DCM_OK)
        return st;
    st =
        hand_over(s, h, group, bytes, dcmi_group_timeout_ns(group, timeout_ms));
    return dcmi_group_vote(group, st, timeout_ms);
}

dcm_status dcmi_segment_new(dcmi_segment **segment_p, dcm_group *group,
                            const char *name, size_t bytes, uint32_t timeout_ms)
{
    const size_t page = dcmi_page_bytes();
    dcmi_handover h = {.listener = -1, .link = -1};
    dcmi_segment *s = calloc(1, sizeof(*s));
    dcmi_segment made = {.fd = -1, .home = {.node = -1}};
    dcm_status st = DCM_OK;

    if (s == NULL)
        st = dcmi_err(DCM_E_NOMEM, "a segment's handle");
    bytes = (bytes + page - 1) / page * page;
    st = create(&made, &h, group, name, bytes, timeout_ms, st);
    dcmi_handover_close(&h);
    if (st != DCM_OK || s == NULL) {
        dcmi_mapping_put(made.mapping);
        dcmi_close(made.fd);
        free(s);
        return dcmi_err_at(st, "segment %s", name);
    }
    *s = made;
    *segment_p = s;
    return DCM_OK;
}

void dcmi_segment_free(dcmi_segment *segment)
{
    if (segment == NULL)
        return;
    dcmi_mapping_put(segment->mapping);
    dcmi_close(segment->fd);
    free(segment);
}

void *dcmi_segment_base(const dcmi_segment *segment)
{
    return dcmi_mapping_base(segment->mapping);
}

void *dcmi_segment_at(const dcmi_segment *segment, size_t offset)
{
    return (char *)dcmi_segment_base(segment) + offset;
}

size_t dcmi_segment_bytes(const dcmi_segment *segment)
{
    return dcmi_mapping_bytes(segment->mapping);
}

dcm_status dcmi_segment_reserve(dcmi_segment *segment, size_t offset,
                                size_t bytes)
{
    dcm_status st;

    segment->home = dcmi_home_begin();
    st = dcmi_memfd_reserve(segment->fd, offset, bytes);
    dcmi_home_end(&segment->home);
    if (st == DCM_OK)
        dcmi_segment_touch(segment, offset, bytes);
    return st;
}

dcmi_home dcmi_segment_home(const dcmi_segment *segment)
{
    return segment->home;
}

void dcmi_segment_touch(const dcmi_segment *segment, size_t offset,
                        size_t bytes)
{
    dcmi_memfd_populate(dcmi_segment_at(segment, offset), bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rank 0 of a star: waiting for the others.
 *
 * All guests are served at once and none is waited for, so that one that is
 * silent, slow or talks nonsense delays nobody.  There is room for some; who
 * comes when it is full takes the place of the guest that has been there
 * longest, because ranks say what they have to say at once.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "group/star_guest.h"

enum {
    ACCEPTS_A_TURN = 16,
    GUEST_MS = 3000, /* some round trips over a bad network */
    BACKLOG = 2 * DCM_MAX_RANKS,
    FIRST_MEMBER = 1 + DCMI_STAR_MOST_GUESTS, /* in the list to poll */
};

static dcmi_star_guest *make_place(dcmi_star_reception *c)
{
    dcmi_star_guest *oldest = &c->guests[0];

    for (int i = 0; i < DCMI_STAR_MOST_GUESTS; i++) {
        dcmi_star_guest *g = &c->guests[i];

        if (g->fd < 0)
            return g;
        if (g->until_ns < oldest->until_ns)
            oldest = g;
    }
    dcmi_star_dismiss(oldest);
    return oldest;
}

static dcm_status let_in(dcmi_star_reception *c)
{
    dcmi_star_guest *g;
    dcm_status st;
    int fd;

    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        st = c->star->is_tcp ? dcmi_tcp_accept(&fd, c->listener)
                             : dcmi_unix_accept(&fd, c->listener);
        if (st == DCM_AGAIN)
            return DCM_OK;
        if (st != DCM_OK)
            return st;
        g = make_place(c);
        memset(g, 0, sizeof(*g));
        g->fd = fd;
        g->until_ns = dcmi_star_until(GUEST_MS * DCMI_NS_PER_MS);
        dcmi_star_hear(c, g); /* it may have spoken already */
    }
    return DCM_OK;
}

/* List what to wait for; returns when the first guest's time is over. */
static uint64_t list_fds(const dcmi_star_reception *c, struct pollfd *p)
{
    uint64_t until_ns = UINT64_MAX;

    p[0] = (struct pollfd){.fd = c->listener, .events = POLLIN};
    for (int i = 0; i < DCMI_STAR_MOST_GUESTS; i++) {
        const dcmi_star_guest *g = &c->guests[i];

        p[1 + i] = (struct pollfd){.fd = g->fd, .events = POLLIN};
        if (g->fd >= 0 && g->until_ns < until_ns)
            until_ns = g->until_ns;
    }
    /* Not POLLIN: members have begun their first exchange. */
    for (int r = 0; r < c->star->base.nranks; r++)
        p[FIRST_MEMBER + r] =
            (struct pollfd){.fd = c->star->member[r].fd, .events = POLLRDHUP};
    return until_ns;
}

/* Wait for something to happen, at most until `until_ns`, and see to it. */
static dcm_status turn(dcmi_star_reception *c, uint64_t until_ns)
{
    struct pollfd p[FIRST_MEMBER + DCM_MAX_RANKS];
    const int nranks = c->star->base.nranks;
    const uint64_t first_ns = list_fds(c, p);
    uint64_t gone = 0;
    char names[256];

    (void)dcmi_poll(p, (unsigned)(FIRST_MEMBER + nranks),
                    first_ns < until_ns ? first_ns : until_ns);
    for (int i = 0; i < DCMI_STAR_MOST_GUESTS; i++) {
        dcmi_star_guest *g = &c->guests[i];

        if (g->fd >= 0 && p[1 + i].revents != 0)
            dcmi_star_hear(c, g);
        if (g->fd >= 0 && dcmi_now_ns() >= g->until_ns)
            dcmi_star_dismiss(g);
    }
    for (int r = 1; r < nranks; r++) {
        if (p[FIRST_MEMBER + r].fd >= 0 && p[FIRST_MEMBER + r].revents != 0)
            gone |= 1ull << r;
    }
    if (gone != 0)
        return dcmi_err(DCM_E_PEER, "%s died or left before all had come",
                        dcmi_star_names(c->star, gone, names, sizeof(names)));
    return p[0].revents != 0 ? let_in(c) : DCM_OK;
}

static dcm_status give_up(const dcmi_star_reception *c)
{
    char names[256];
    const char *who =
        dcmi_star_names(c->star, c->missing, names, sizeof(names));

    if (c->n_refused == 0)
        return dcmi_err(DCM_E_TIMEOUT, "%s did not come to %s", who,
                        c->star->address);
    return dcmi_err(DCM_E_TIMEOUT,
                    "%s did not come to %s; refused: %u, the last: %s", who,
                    c->star->address, c->n_refused, c->refused);
}

static dcm_status receive_all(dcmi_star_reception *c, uint64_t deadline_ns)
{
    const dcmi_star *star = c->star;
    dcm_status st = DCM_OK;
    bool is_late = false;
    uint64_t until_ns;

    while (st == DCM_OK && c->missing != 0 && !is_late) {
        /* All give up with the first of them, so that all can be told why. */
        until_ns =
            deadline_ns < star->earliest_ns ? deadline_ns : star->earliest_ns;
        /* Who has come by then counts, however late we are to see it. */
        is_late = dcmi_now_ns() >= until_ns;
        st = turn(c, until_ns);
    }
    return st == DCM_OK && c->missing != 0 ? give_up(c) : st;
}

static dcm_status open_door(int *fd_p, const dcmi_star *star,
                            uint64_t deadline_ns)
{
    dcmi_tcp_place place;
    dcm_status st;

    if (!star->is_tcp)
        return dcmi_unix_listen(fd_p, star->unix_name, BACKLOG);
    st = dcmi_star_find(star, &place, deadline_ns);
    if (st != DCM_OK)
        return st;
    return dcmi_tcp_listen(fd_p, &place, star->may_any, BACKLOG);
}

dcm_status dcmi_star_lead(dcmi_star *star, uint64_t deadline_ns)
{
    dcmi_star_reception *c = calloc(1, sizeof(*c));
    dcm_status st;

    if (c == NULL)
        return dcmi_err(DCM_E_NOMEM, "bootstrap of %d ranks",
                        star->base.nranks);
    c->star = star;
    c->missing = UINT64_MAX >> (64 - star->base.nranks) & ~1ull;
    for (int i = 0; i < DCMI_STAR_MOST_GUESTS; i++)
        c->guests[i].fd = -1;

    st = open_door(&c->listener, star, deadline_ns);
    if (st == DCM_OK) {
        st = receive_all(c, deadline_ns);
        dcmi_close(c->listener);
    }
    for (int i = 0; i < DCMI_STAR_MOST_GUESTS; i++)
        dcmi_star_dismiss(&c->guests[i]);
    free(c);
    return st == DCM_OK ? DCM_OK : dcmi_star_fail(star, st);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One that connected to rank 0: its handshake, until it is a member or gone. */
#include "group/star_guest.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "os/ident.h"

void dcmi_star_dismiss(dcmi_star_guest *g)
{
    dcmi_sock_hang_up(g->fd);
    g->fd = -1;
}

/* A guest that does not take a small record at once is no rank. */
static bool answer(const dcmi_star_guest *g, const dcmi_star_answer *a)
{
    size_t n = 0;

    return dcmi_sock_try_send(g->fd, a, sizeof(*a), &n) == DCM_OK &&
           n == sizeof(*a);
}

static dcmi_star_answer blank(uint16_t kind)
{
    return (dcmi_star_answer){
        .magic = DCMI_STAR_MAGIC,
        .version = DCMI_STAR_VERSION,
        .kind = kind,
    };
}

/* `is_known`: it has proved that it belongs to the job. */
static void note_refusal(dcmi_star_reception *c, const dcmi_star_guest *g,
                         bool is_known, const char *why)
{
    const dcmi_star_proof *p = &g->in.proof;
    char peer[80] = "this host";

    c->n_refused++;
    if (c->star->is_tcp)
        (void)dcmi_tcp_peer(g->fd, peer, sizeof(peer));
    if (is_known)
        (void)snprintf(c->refused, sizeof(c->refused), "pid %d on %s: %s",
                       p->pid, p->host, why);
    else
        (void)snprintf(c->refused, sizeof(c->refused), "a process on %s: %s",
                       peer, why);
}

static void refuse(dcmi_star_guest *g, dcm_status st, const char *why)
{
    dcmi_star_answer a = blank(DCMI_STAR_VERDICT);

    a.status = st;
    (void)snprintf(a.text, sizeof(a.text), "%s", why);
    dcmi_star_seal_verdict(&g->talk, &a);
    (void)answer(g, &a);
    dcmi_star_dismiss(g);
}

static void refuse_version(dcmi_star_reception *c, dcmi_star_guest *g)
{
    dcmi_star_answer a = blank(DCMI_STAR_VERDICT);

    a.status = DCM_E_ABI;
    (void)answer(g, &a);
    note_refusal(c, g, false, "another version or byte order");
    dcmi_star_dismiss(g);
}

static void hear_hello(dcmi_star_reception *c, dcmi_star_guest *g)
{
    const dcmi_star_hello *hello = &g->in.hello;
    dcmi_star_answer a = blank(DCMI_STAR_CHALLENGE);

    if (hello->magic != DCMI_STAR_MAGIC &&
        hello->magic != __builtin_bswap32(DCMI_STAR_MAGIC)) {
        dcmi_star_dismiss(g);
        return;
    }
    if (hello->magic != DCMI_STAR_MAGIC ||
        hello->version != DCMI_STAR_VERSION ||
        hello->proof_bytes != sizeof(dcmi_star_proof)) {
        refuse_version(c, g);
        return;
    }
    g->talk.token = c->star->token;
    g->talk.joiner = hello->nonce;
    if (dcmi_random(&g->talk.leader, sizeof(g->talk.leader)) != DCM_OK) {
        dcmi_star_dismiss(g);
        return;
    }
    a.nonce = g->talk.leader;
    g->is_challenged = true;
    g->got = 0;
    if (!answer(g, &a))
        dcmi_star_dismiss(g);
}

/* Why this rank cannot be taken in; DCM_OK: it can. */
static dcm_status judge(const dcmi_star_reception *c, const dcmi_star_proof *p,
                        char *why, size_t bytes)
{
    const dcmi_star *star = c->star;
    const int n = star->base.nranks;
    char name[128];

    if (memcmp(p->group, star->group, sizeof(p->group)) != 0) {
        (void)snprintf(why, bytes, "another group meets there now");
        return DCM_AGAIN;
    }
    if (p->nranks != n) {
        (void)snprintf(why, bytes, "rank %d counts %d ranks, rank 0 %d",
                       p->rank, p->nranks, n);
        return DCM_E_INVAL;
    }
    if (p->rank < 1 || p->rank >= n) {
        (void)snprintf(why, bytes, "rank %d is not one of 1 to %d", p->rank,
                       n - 1);
        return DCM_E_INVAL;
    }
    if (p->generation != star->generation) {
        (void)snprintf(why, bytes,
                       "rank %d makes its group number %u at this address, "
                       "rank 0 number %u",
                       p->rank, p->generation + 1, star->generation + 1);
        return p->generation > star->generation ? DCM_AGAIN : DCM_E_INVAL;
    }
    if ((c->missing >> p->rank & 1) == 0) {
        (void)snprintf(
            why, bytes, "a second rank %d: %s is there already", p->rank,
            dcmi_star_names(star, 1ull << p->rank, name, sizeof(name)));
        return DCM_E_BUSY;
    }
    return DCM_OK;
}

static void take_in(dcmi_star_reception *c, dcmi_star_guest *g)
{
    const dcmi_star_proof *p = &g->in.proof;
    const uint64_t until_ns = dcmi_star_until(p->left_ns);
    dcmi_star_answer a = blank(DCMI_STAR_VERDICT);
    dcmi_star_member *m = &c->star->member[p->rank];

    dcmi_star_seal_verdict(&g->talk, &a);
    if (!answer(g, &a)) {
        dcmi_star_dismiss(g); /* it will come again, if it lives */
        return;
    }
    m->fd = g->fd;
    m->pid = p->pid;
    memcpy(m->host, p->host, sizeof(m->host));
    if (until_ns < c->star->earliest_ns)
        c->star->earliest_ns = until_ns;
    c->missing &= ~(1ull << p->rank);
    if (c->star->card != NULL)
        dcmi_card_come(c->star->card, p->rank, p->pid);
    g->fd = -1;
}

static void hear_proof(dcmi_star_reception *c, dcmi_star_guest *g)
{
    dcmi_star_proof *p = &g->in.proof;
    dcm_status st;
    char why[256];

    if (p->magic != DCMI_STAR_MAGIC) {
        dcmi_star_dismiss(g);
        return;
    }
    if (!dcmi_star_check_proof(&g->talk, p)) {
        note_refusal(c, g, false, "the tokens differ");
        refuse(g, DCM_E_INVAL, "the tokens differ");
        return;
    }
    dcmi_star_clean(p->host, sizeof(p->host));
    st = judge(c, p, why, sizeof(why));
    if (st == DCM_OK) {
        take_in(c, g);
        return;
    }
    if (st != DCM_AGAIN)
        note_refusal(c, g, true, why);
    refuse(g, st, why);
}

void dcmi_star_hear(dcmi_star_reception *c, dcmi_star_guest *g)
{
    dcm_status st;
    size_t want;
    size_t n;

    while (g->fd >= 0) {
        want = g->is_challenged ? sizeof(g->in.proof) : sizeof(g->in.hello);
        st = dcmi_sock_try_recv(g->fd, (char *)&g->in + g->got, want - g->got,
                                &n);
        if (st == DCM_AGAIN)
            return;
        if (st != DCM_OK) {
            dcmi_star_dismiss(g);
            return;
        }
        g->got += n;
        if (g->got < want)
            continue;
        if (g->is_challenged)
            hear_proof(c, g);
        else
            hear_hello(c, g);
    }
}

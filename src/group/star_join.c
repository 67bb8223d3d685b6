/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranks of a star other than 0: reaching rank 0, again and again until the
 * deadline, since it may start later, or be busy with another group.
 */
#define _GNU_SOURCE
#include "group/star.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/ident.h"

enum {
    FIRST_NAP_MS = 1,
    LAST_NAP_MS = 20
};

static dcm_status only_time(void *arg, bool expired)
{
    const dcmi_star *star = arg;

    return expired ? dcmi_err(DCM_E_TIMEOUT, "%s answers, but says nothing",
                              star->address)
                   : DCM_OK;
}

static void fill_proof(const dcmi_star *star, dcmi_star_proof *p,
                       uint64_t deadline_ns)
{
    *p = (dcmi_star_proof){
        .magic = DCMI_STAR_MAGIC,
        .rank = star->base.rank,
        .nranks = star->base.nranks,
        .generation = star->generation,
        .pid = (int32_t)getpid(),
        .left_ns = dcmi_star_left(deadline_ns),
    };
    memcpy(p->group, star->group, sizeof(p->group));
    if (gethostname(p->host, sizeof(p->host) - 1) != 0)
        (void)snprintf(p->host, sizeof(p->host), "?");
}

/* Whether it is a record of this kind and of our version. */
static dcm_status check_answer(const dcmi_star *star, const dcmi_star_answer *a,
                               uint16_t kind)
{
    if (a->magic == __builtin_bswap32(DCMI_STAR_MAGIC))
        return dcmi_err(DCM_E_ABI, "rank 0 at %s has another byte order",
                        star->address);
    if (a->magic == DCMI_STAR_MAGIC && a->version == DCMI_STAR_VERSION &&
        a->kind == kind && a->status != DCM_E_ABI)
        return DCM_OK;
    if (a->magic != DCMI_STAR_MAGIC || a->status != DCM_E_ABI)
        return dcmi_err(DCM_E_INVAL, "what listens at %s is no devcomm",
                        star->address);
    return dcmi_err(DCM_E_ABI,
                    "rank 0 at %s has version %u of the bootstrap, rank %d "
                    "version %d",
                    star->address, a->version, star->base.rank,
                    DCMI_STAR_VERSION);
}

/* Another version's answer may be shorter: look at its head first. */
static dcm_status receive_answer(const dcmi_star *star, int fd,
                                 dcmi_star_answer *a, uint16_t kind,
                                 const dcmi_watch *watch, uint64_t *start_p)
{
    const size_t head = offsetof(dcmi_star_answer, nonce);
    dcm_status st;

    st = dcmi_sock_recv(fd, a, head, NULL, watch, start_p);
    if (st == DCM_OK)
        st = check_answer(star, a, kind);
    if (st != DCM_OK)
        return st;
    return dcmi_sock_recv(fd, (char *)a + head, sizeof(*a) - head, NULL, watch,
                          start_p);
}

static dcm_status check_verdict(const dcmi_star *star,
                                const dcmi_star_talk *talk, dcmi_star_answer *a)
{
    if (!dcmi_star_check_verdict(talk, a))
        return dcmi_err(DCM_E_INVAL,
                        "who listens at %s has another token than rank %d "
                        "(DEVCOMM_TOKEN), or is no rank of this job",
                        star->address, star->base.rank);
    if (a->status == DCM_OK)
        return DCM_OK;
    dcmi_star_clean(a->text, sizeof(a->text));
    return dcmi_err(dcmi_star_status(a->status), "%s", a->text);
}

/* The four records.  E_PEER: rank 0 hung up before its verdict. */
static dcm_status shake_hands(const dcmi_star *star, int fd,
                              uint64_t deadline_ns)
{
    const dcmi_watch watch = {
        .check = only_time,
        .arg = (void *)(uintptr_t)star,
        .timeout_ns = dcmi_star_left(deadline_ns),
    };
    dcmi_star_hello hello = {
        .magic = DCMI_STAR_MAGIC,
        .version = DCMI_STAR_VERSION,
        .proof_bytes = sizeof(dcmi_star_proof),
    };
    dcmi_star_talk talk = {.token = star->token};
    dcmi_star_answer answer;
    dcmi_star_proof proof;
    uint64_t start = 0;
    dcm_status st;

    st = dcmi_random(&talk.joiner, sizeof(talk.joiner));
    if (st != DCM_OK)
        return st;
    hello.nonce = talk.joiner;
    st = dcmi_sock_send(fd, &hello, sizeof(hello), -1, &watch, &start);
    if (st == DCM_OK)
        st = receive_answer(star, fd, &answer, DCMI_STAR_CHALLENGE, &watch,
                            &start);
    if (st != DCM_OK)
        return st;

    talk.leader = answer.nonce;
    fill_proof(star, &proof, deadline_ns);
    dcmi_star_seal_proof(&talk, &proof);
    st = dcmi_sock_send(fd, &proof, sizeof(proof), -1, &watch, &start);
    if (st == DCM_OK)
        st = receive_answer(star, fd, &answer, DCMI_STAR_VERDICT, &watch,
                            &start);
    if (st != DCM_OK)
        return st;
    return check_verdict(star, &talk, &answer);
}

/* AGAIN: not now; the error record says why. */
static dcm_status try_once(dcmi_star *star, const dcmi_tcp_place *place,
                           uint64_t deadline_ns)
{
    dcm_status st;
    int fd;

    if (star->is_tcp) {
        st = dcmi_tcp_connect(&fd, place, deadline_ns);
    } else {
        st = dcmi_unix_connect(&fd, star->unix_name);
        if (st == DCM_AGAIN)
            return dcmi_err(DCM_AGAIN, "nobody listens on socket @%s",
                            star->unix_name);
    }
    if (st != DCM_OK)
        return st;
    st = shake_hands(star, fd, deadline_ns);
    if (st == DCM_OK) {
        star->member[0].fd = fd;
        return DCM_OK;
    }
    dcmi_close(fd);
    return st == DCM_E_PEER ? DCM_AGAIN : st;
}

dcm_status dcmi_star_join(dcmi_star *star, uint64_t deadline_ns)
{
    uint64_t nap_ms = FIRST_NAP_MS;
    dcmi_tcp_place place;
    uint64_t nap_until;
    dcm_status st;

    if (star->is_tcp) {
        st = dcmi_star_find(star, &place, deadline_ns);
        if (st != DCM_OK)
            return st;
    }
    for (;;) {
        st = try_once(star, &place, deadline_ns);
        if (st == DCM_OK)
            return DCM_OK;
        if (st != DCM_AGAIN && st != DCM_E_TIMEOUT)
            return dcmi_err_at(st, "rank %d cannot join", star->base.rank);
        if (st == DCM_E_TIMEOUT || dcmi_now_ns() >= deadline_ns)
            return dcmi_err_at(DCM_E_TIMEOUT, "rank %d did not reach rank 0",
                               star->base.rank);
        nap_until = dcmi_star_until(nap_ms * DCMI_NS_PER_MS);
        (void)dcmi_poll(NULL, 0,
                        nap_until < deadline_ns ? nap_until : deadline_ns);
        nap_ms = nap_ms * 2 < LAST_NAP_MS ? nap_ms * 2 : LAST_NAP_MS;
    }
}

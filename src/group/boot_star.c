/* SPDX-License-Identifier: Apache-2.0 */
/* Bootstrap over sockets: the address, making and closing a star. */
#define _GNU_SOURCE
#include "group/star.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/parse.h"
#include "os/ident.h"

enum {
    /* A container's name may become known some time after its start. */
    NAME_GRACE_MS = 30000,
    NAME_NAP_MS = 200,
};

/*
 * How many groups this process has begun at an address, under a name, as a rank
 * (several may be threads of one process).  All ranks begin the same groups in
 * the same order, so the number is the same on all.
 */
static struct {
    pthread_mutex_t lock;
    struct {
        uint64_t key;
        uint32_t begun;
    } * list;
    size_t n;
} counts = {.lock = PTHREAD_MUTEX_INITIALIZER};

static dcm_status count_group(uint32_t *generation_p, uint64_t key)
{
    dcm_status st = DCM_OK;
    void *grown;
    size_t i = 0;

    (void)pthread_mutex_lock(&counts.lock);
    while (i < counts.n && counts.list[i].key != key)
        i++;
    if (i == counts.n) {
        grown = realloc(counts.list, (i + 1) * sizeof(*counts.list));
        if (grown == NULL) {
            st = dcmi_err(DCM_E_NOMEM, "counting groups");
        } else {
            counts.list = grown;
            counts.list[i].key = key;
            counts.list[i].begun = 0;
            counts.n++;
        }
    }
    if (st == DCM_OK)
        *generation_p = counts.list[i].begun++;
    (void)pthread_mutex_unlock(&counts.lock);
    return st;
}

static dcm_status read_tcp(dcmi_star *star, const char *address)
{
    const char *host = address;
    const char *port = strrchr(address, ':');
    size_t bytes;
    uint64_t v;

    if (port == NULL || port == address)
        return dcmi_err(DCM_E_INVAL, "no port; tcp:HOST:PORT is meant");
    bytes = (size_t)(port - address);
    if (host[0] == '[' && bytes > 2 && host[bytes - 1] == ']') {
        host++;
        bytes -= 2;
    } else if (memchr(host, ':', bytes) != NULL) {
        return dcmi_err(DCM_E_INVAL, "tcp:[V6]:PORT is meant");
    }
    if (bytes >= sizeof(star->host))
        return dcmi_err(DCM_E_INVAL, "host name of %zu bytes", bytes);
    if (!dcmi_parse_u64(port + 1, UINT16_MAX, &v) || v == 0)
        return dcmi_err(DCM_E_INVAL, "\"%s\" is not a port", port + 1);
    memcpy(star->host, host, bytes);
    star->host[bytes] = '\0';
    star->port = (uint16_t)v;
    return DCM_OK;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

static void name_socket(dcmi_star *star, const char *name, const char *group)
{
    const unsigned uid = (unsigned)geteuid();
    int n;

    n = snprintf(star->unix_name, sizeof(star->unix_name),
                 "devcomm-%u-%s-%s-%" PRIu32, uid, name, group,
                 star->generation);
    if (n > 0 && (size_t)n < sizeof(star->unix_name) && is_printable(name) &&
        is_printable(group))
        return;
    (void)snprintf(star->unix_name, sizeof(star->unix_name),
                   "devcomm-%u-%016" PRIx64 "%016" PRIx64 "-%" PRIu32, uid,
                   dcmi_hash(1, name, strlen(name)),
                   dcmi_hash(2, group, strlen(group)), star->generation);
}

/* Where to meet, and what tells this group from others that meet there. */
static dcm_status read_address(dcmi_star *star, const char *address,
                               const dcmi_boot_opts *opts)
{
    const char *place = strchr(address, ':');
    const char *unix_name = "";
    dcmi_sha256 hash;
    uint64_t key;
    dcm_status st;

    if (strlen(address) >= sizeof(star->address))
        return dcmi_err(DCM_E_INVAL, "address of %zu bytes", strlen(address));
    (void)snprintf(star->address, sizeof(star->address), "%s", address);
    star->is_tcp = strncmp(address, "tcp:", 4) == 0;
    if (star->is_tcp) {
        st = read_tcp(star, place + 1);
        if (st != DCM_OK)
            return st;
    } else if (strncmp(address, "unix:", 5) == 0 && place[1] != '\0') {
        unix_name = place + 1;
    } else {
        return dcmi_err(DCM_E_INVAL,
                        "\"%s\" is neither unix:NAME nor "
                        "tcp:HOST:PORT",
                        address);
    }

    key = dcmi_hash((uint64_t)star->base.rank, address, strlen(address) + 1);
    st = count_group(&star->generation,
                     dcmi_hash(key, opts->name, strlen(opts->name)));
    if (st != DCM_OK)
        return st;
    if (!star->is_tcp)
        name_socket(star, unix_name, opts->name);
    /* Over TCP ranks may know rank 0's host by different names. */
    dcmi_sha256_init(&hash);
    dcmi_sha256_add(&hash, unix_name, strlen(unix_name) + 1);
    dcmi_sha256_add(&hash, opts->name, strlen(opts->name));
    dcmi_sha256_end(&hash, star->group);
    return DCM_OK;
}

uint64_t dcmi_star_left(uint64_t deadline_ns)
{
    const uint64_t now = dcmi_now_ns();

    return deadline_ns > now ? deadline_ns - now : 0;
}

uint64_t dcmi_star_until(uint64_t left_ns)
{
    const uint64_t now = dcmi_now_ns();

    return left_ns < UINT64_MAX - now ? now + left_ns : UINT64_MAX;
}

const char *dcmi_star_names(const dcmi_star *star, uint64_t ranks, char *text,
                            size_t bytes)
{
    const int first = ranks != 0 ? __builtin_ctzll(ranks) : 0;
    const dcmi_star_member *m = &star->member[first];
    size_t used = 0;
    int n = 0;

    if ((ranks & (ranks - 1)) == 0) {
        if (m->pid != 0)
            (void)snprintf(text, bytes, "rank %d (pid %d on %s)", first, m->pid,
                           m->host);
        else
            (void)snprintf(text, bytes, "rank %d", first);
        return text;
    }
    for (int r = first; r < DCM_MAX_RANKS; r++) {
        int last = r;

        if ((ranks >> r & 1) == 0)
            continue;
        while (last + 1 < DCM_MAX_RANKS && (ranks >> (last + 1) & 1) != 0)
            last++;
        if (last < r + 2)
            last = r; /* "2, 3" rather than "2 to 3" */
        n = snprintf(text + used, bytes - used,
                     last > r ? "%s%d to %d" : "%s%d",
                     used == 0 ? "ranks " : ", ", r, last);
        if (n < 0 || (size_t)n >= bytes - used)
            break;
        used += (size_t)n;
        r = last;
    }
    return text;
}

void dcmi_star_drop(dcmi_star_member *member)
{
    dcmi_sock_hang_up(member->fd);
    member->fd = -1;
}

dcm_status dcmi_star_find(const dcmi_star *star, dcmi_tcp_place *place,
                          uint64_t deadline_ns)
{
    const uint64_t grace = dcmi_star_until(NAME_GRACE_MS * DCMI_NS_PER_MS);
    const uint64_t until = grace < deadline_ns ? grace : deadline_ns;
    dcm_status st;

    for (;;) {
        st = dcmi_tcp_resolve(place, star->host, star->port);
        if (st != DCM_AGAIN)
            break;
        if (dcmi_now_ns() >= until)
            return DCM_E_INVAL;
        (void)dcmi_poll(NULL, 0, dcmi_star_until(NAME_NAP_MS * DCMI_NS_PER_MS));
    }
    if (st != DCM_OK || place->is_loopback || star->may_any)
        return st;
    return dcmi_err(
        DCM_E_INVAL,
        "host %s is beyond loopback and there is no token: give all "
        "ranks the same DEVCOMM_TOKEN, or allow it by "
        "DCM_GROUP_ALLOW_NO_TOKEN",
        star->host);
}

static void keep(dcmi_boot *boot, const int *owner)
{
    dcmi_star *star = (dcmi_star *)boot;

    for (int r = 0; r < boot->nranks; r++) {
        /* Rank 0 keeps the owners'; an owner keeps rank 0's. */
        if (boot->rank == 0 ? owner[r] != r : owner[boot->rank] != boot->rank)
            dcmi_star_drop(&star->member[r]);
    }
}

static void close_star(dcmi_boot *boot)
{
    dcmi_star *star = (dcmi_star *)boot;

    for (int r = 0; r < DCM_MAX_RANKS; r++)
        dcmi_star_drop(&star->member[r]);
    free(star);
}

dcm_status dcmi_boot_star(dcmi_boot **boot_p, const char *address, int rank,
                          int nranks, const dcmi_boot_opts *opts)
{
    static const dcmi_boot_ops ops = {dcmi_star_merge, keep, close_star};
    dcmi_star *star = calloc(1, sizeof(*star));
    dcm_status st;

    if (star == NULL)
        return dcmi_err(DCM_E_NOMEM, "bootstrap of %d ranks", nranks);
    star->base.ops = &ops;
    star->base.rank = rank;
    star->base.nranks = nranks;
    star->may_any = opts->token != NULL || opts->allow_no_token;
    star->token = opts->token != NULL ? opts->token : "";
    star->card = opts->card;
    star->earliest_ns = UINT64_MAX;
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        star->member[r].fd = -1;

    st = read_address(star, address, opts);
    star->base.is_one_host = !star->is_tcp;
    if (st == DCM_OK && nranks > 1)
        st = rank == 0 ? dcmi_star_lead(star, opts->deadline_ns)
                       : dcmi_star_join(star, opts->deadline_ns);
    star->token = NULL;
    star->card = NULL;
    if (st != DCM_OK) {
        close_star(&star->base);
        return st;
    }
    *boot_p = &star->base;
    return DCM_OK;
}

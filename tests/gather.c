/* SPDX-License-Identifier: Apache-2.0 */
/* The all-gather of gather.h. */
#include "gather.h"

void gather_init(gather *g, int nranks)
{
    memset(g, 0, sizeof(*g));
    die_unless(pthread_mutex_init(&g->lock, NULL) == 0);
    die_unless(pthread_cond_init(&g->changed, NULL) == 0);
    g->nranks = nranks;
}

void gather_break(gather *g)
{
    (void)pthread_mutex_lock(&g->lock);
    g->is_broken = true;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->lock);
}

/* With the lock held: wait for the others; whether the round is complete. */
static bool meet(gather *g)
{
    const unsigned round = g->round;
    struct timespec until;
    int rc = 0;

    if (++g->arrived == g->nranks) {
        g->arrived = 0;
        g->round++;
        (void)pthread_cond_broadcast(&g->changed);
        return true;
    }
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += GATHER_PATIENCE_S;
    while (g->round == round && !g->is_broken && rc == 0)
        rc = pthread_cond_timedwait(&g->changed, &g->lock, &until);
    return g->round != round;
}

static void nap_100_ms(void)
{
    const struct timespec t = {.tv_nsec = 100000000};

    (void)nanosleep(&t, NULL);
}

/* Hand the entries of round `half` back, or something else. */
static int deliver(const gather_rank *r, unsigned half, gather_deed deed,
                   unsigned char *all, size_t bytes)
{
    const gather *g = r->g;

    for (int i = 0; i < g->nranks; i++) {
        const int from = deed == GATHER_SHIFTED ? (i + 1) % g->nranks : i;

        if (g->bytes[half][from] != bytes)
            return 9; /* others sent another size */
        memcpy(all + (size_t)i * bytes, g->entry[half][from], bytes);
    }
    if (deed == GATHER_GARBAGE)
        memset(all, 0xa5, (size_t)g->nranks * bytes);
    if (deed == GATHER_ZEROS)
        memset(all, 0, (size_t)g->nranks * bytes);
    return deed == GATHER_FAIL ? 7 : 0;
}

int gather_call(void *arg, const void *mine, void *all, size_t bytes)
{
    gather_rank *r = arg;
    gather *g = r->g;
    const gather_deed deed = ++r->calls == r->at_call ? r->deed : GATHER_WELL;
    unsigned half;
    bool is_complete;
    int rc = 8;

    die_unless(bytes <= GATHER_BYTES);
    if (deed == GATHER_NAP)
        nap_100_ms();
    (void)pthread_mutex_lock(&g->lock);
    half = g->round & 1;
    memcpy(g->entry[half][r->rank], mine, bytes);
    g->bytes[half][r->rank] = bytes;
    is_complete = meet(g);
    if (is_complete)
        rc = deliver(r, half, deed, all, bytes);
    (void)pthread_mutex_unlock(&g->lock);
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far apart the ranks are: whether they share a cache.
 *
 * Rewriting a line that another core has read costs some 8 ns where both share a
 * last-level cache and over 25 ns where they do not, so staging is written with
 * ordinary stores into a ring that stays in the cache there, and with non-temporal
 * stores here.  What tells the two apart is the round trip of a flag.
 *
 *   1. in round k, rank r bounces a flag with rank r ^ (1 << k), if there is one
 *   2. every rank posts its slowest round trip in a header, reads all others'
 *      headers, and takes the slowest of all: so all ranks decide alike
 *
 * On a virtual machine the answer changes while it runs, so the probe is repeated
 * at the beginning of an operation:
 *   - after some amount of work, which all ranks have done alike;
 *   - when a rank finds that its copies into the ring have become slow (drift.h).
 *     It says so in the header of its next operation.  All ranks read all headers of
 *     an operation before they leave it, so all begin the next one with a probe.
 * Copies past the caches take the same time everywhere, so ranks that were apart and
 * have come together are found by the first rule alone.
 */
#include <string.h>

#include "backend/cpu/ctx.h"
#include "os/clock.h"

enum {
    BATCHES = 3, /* the fastest counts: others were disturbed */
    TRIPS = 24,
    /*
     * Between the classes of a Zen 4 server: 92 to 125 ns inside one cache
     * complex, 440 to 510 ns between two.
     */
    FAR_NS = 250,
};

static dcm_status bounce(dcmi_cpu *c, int peer, uint32_t *trip_ns_p,
                         uint32_t *serial)
{
    _Atomic uint64_t *mine = &c->region[c->rank]->ping.v;
    const _Atomic uint64_t *theirs = &c->region[peer]->ping.v;
    uint64_t best = UINT64_MAX;
    dcm_status st = DCM_OK;

    for (int b = 0; b < BATCHES; b++) {
        const uint64_t start = dcmi_now_ns();
        uint64_t ns;

        for (int i = 0; i < TRIPS && st == DCM_OK; i++) {
            const uint64_t word = dcmi_cpu_word(c, ++*serial);

            if (c->rank < peer)
                dcmi_cpu_post(c, mine, word);
            st = dcmi_cpu_await(c, peer, theirs, word);
            if (c->rank > peer)
                dcmi_cpu_post(c, mine, word);
        }
        if (st != DCM_OK)
            return st;
        ns = (dcmi_now_ns() - start) / TRIPS;
        best = ns < best ? ns : best;
    }
    if (best > *trip_ns_p)
        *trip_ns_p = best < UINT32_MAX ? (uint32_t)best : UINT32_MAX;
    return DCM_OK;
}

/* Everyone learns the slowest round trip of all; an operation of its own. */
static dcm_status agree(dcmi_cpu *c, uint32_t *trip_ns_p)
{
    dcmi_header mine = {.kind = DCMI_KIND_PROBE << 16,
                        .src_offset = *trip_ns_p};
    dcmi_header theirs;
    dcm_status st;

    dcmi_cpu_write_header(c, &mine);
    dcmi_cpu_post(c, &dcmi_cpu_mail(c, c->rank)->flag, dcmi_cpu_word(c, 0));
    for (int r = 0; r < c->nranks; r++) {
        st = dcmi_cpu_await_staged(c, r, 0, &mine);
        if (st != DCM_OK)
            return st;
        memcpy(&theirs, dcmi_cpu_mail(c, r)->data, sizeof(theirs));
        if (theirs.src_offset > *trip_ns_p)
            *trip_ns_p = (uint32_t)theirs.src_offset;
    }
    return DCM_OK;
}

DCMI_COLD void dcmi_cpu_copy_timed(dcmi_cpu *c, void *to, const void *from,
                                   size_t bytes)
{
    const uint64_t start = dcmi_now_ns();

    c->simd->copy(to, from, bytes);
    if (c->stores == DCMI_STORES_AUTO && !c->is_crowded)
        dcmi_drift_note(&c->drift, dcmi_now_ns() - start, bytes);
}

dcm_status dcmi_cpu_place(dcmi_cpu *c)
{
    const bool was_far = c->is_far;
    uint32_t trip_ns = 0;
    uint32_t serial = 0;
    dcm_status st = DCM_OK;

    c->work = 0;
    dcmi_drift_probe(&c->drift);
    if (c->stores != DCMI_STORES_AUTO || c->is_crowded || c->nranks == 1)
        return DCM_OK;
    dcmi_cpu_next_epoch(c);
    c->team->phase = "placement";
    for (int k = 0; 1 << k < c->nranks && st == DCM_OK; k++) {
        const int peer = c->rank ^ 1 << k;

        /* A new serial range a round: peers differ in how many they had. */
        serial = (uint32_t)k << 16;
        if (peer < c->nranks)
            st = bounce(c, peer, &trip_ns, &serial);
    }
    if (st == DCM_OK)
        st = agree(c, &trip_ns);
    if (st != DCM_OK)
        return st;
    c->trip_ns = trip_ns;
    c->is_far = trip_ns > FAR_NS;
    dcmi_drift_probed(&c->drift, c->is_far != was_far);
    return DCM_OK;
}

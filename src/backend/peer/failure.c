/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel left behind when it gave up, told to the team. */
#include "backend/peer/ctx.h"
#include "base/err.h"

static const char *phase_name(uint32_t phase)
{
    switch (phase) {
    case DCMK_PHASE_GATHER:
        return "gather";
    case DCMK_PHASE_RESULT:
        return "result";
    case DCMK_PHASE_BEGIN:
        return "begin";
    case DCMK_PHASE_ROOM:
        return "room";
    default:
        return "wait";
    }
}

/* The error record's words for the kernel's. */
static dcm_status describe(const dcmi_peer *c, const dcmk_record *r)
{
    const unsigned long long ms = r->waited_ns / DCMI_NS_PER_MS;
    char name[64];

    (void)dcmi_group_name_rank(c->team->group, (int)r->peer, name,
                               sizeof(name));
    switch (r->cause) {
    case DCMK_CAUSE_DEAD:
        return dcmi_err(DCM_E_PEER, "%s is dead", name);
    case DCMK_CAUSE_LEFT:
        return dcmi_err(DCM_E_PEER, "%s has freed its communicator", name);
    case DCMK_CAUSE_MISMATCH:
        return dcmi_err(DCM_E_MISMATCH,
                        "%s called another operation, type or count than rank "
                        "%d (signatures %04x and %04x)",
                        name, c->rank, (unsigned)(r->seen & 0xffff),
                        (unsigned)(r->want & 0xffff));
    case DCMK_CAUSE_OVERLAP:
        return dcmi_err(DCM_E_BUSY,
                        "calls of rank %d ran side by side: graphs that share "
                        "a communicator must not be replayed at once",
                        c->rank);
    case DCMK_CAUSE_FAILED:
        return dcmi_err(DCM_E_ABORTED, "ended by another rank");
    default:
        return dcmi_err(DCM_E_TIMEOUT, "%s did not come within %llu ms", name,
                        ms);
    }
}

dcm_status dcmi_peer_find_failure(void *ctx)
{
    dcmi_peer *c = ctx;
    const dcmk_record *r = c->record;
    dcm_status st;

    if (c->team->failure.status != DCM_OK || !dcmi_peer_has_record(c))
        return dcmi_team_check(c->team);
    c->team->waited_ns = r->waited_ns;
    c->team->phase = phase_name(r->phase);
    c->team->epoch = r->epoch;
    st = describe(c, r);
    return dcmi_team_fail(c->team, st, (int)r->peer);
}

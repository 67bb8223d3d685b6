/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/cpu/drift.h"

static uint32_t need_of(const dcmi_drift *d)
{
    return d->need != 0 ? d->need : DCMI_DRIFT_NEED;
}

void dcmi_drift_note(dcmi_drift *d, uint64_t ns, size_t bytes)
{
    const uint64_t cost = ns * 1000 / bytes + 1;

    if (d->least == 0 || cost < d->least)
        d->least = cost;
    d->slow = cost > 2 * d->least ? d->slow + 1 : 0;
    if (d->slow >= need_of(d))
        d->is_seen = true;
}

void dcmi_drift_probe(dcmi_drift *d)
{
    d->is_asked = d->is_seen;
    d->is_seen = false;
    d->least = 0;
    d->slow = 0;
}

void dcmi_drift_probed(dcmi_drift *d, bool is_new)
{
    if (is_new)
        d->need = DCMI_DRIFT_NEED;
    else if (d->is_asked && need_of(d) < DCMI_DRIFT_NEED_MAX)
        d->need = 2 * need_of(d);
}

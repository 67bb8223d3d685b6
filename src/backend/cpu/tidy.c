/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Once in 2^30 epochs: what ctx.h says under "Wrap".  All of it is this rank's
 * own memory.  A word may be brought up to e - 2, since every peer has ended that
 * and what came before; the lines of half e & 1 are free to write.
 */
#include "backend/cpu/ctx.h"

static void bring_up(const dcmi_cpu *c, dcmi_word *word)
{
    const uint64_t least = (uint64_t)(c->epoch - 2) << 32;
    const uint64_t v = atomic_load_explicit(&word->v, memory_order_relaxed);

    if ((int64_t)(v - least) < 0)
        atomic_store_explicit(&word->v, least, memory_order_release);
}

void dcmi_cpu_tidy(dcmi_cpu *c)
{
    dcmi_region *own = c->region[c->rank];

    if (c->epoch == 0)
        c->epoch = 2;
    bring_up(c, &own->reduced);
    bring_up(c, &own->done);
    bring_up(c, &own->ping);
    for (int i = 1; i < DCMI_MAIL_LINES; i++)
        atomic_store_explicit(&own->mail[c->epoch & 1][i].flag, 0,
                              memory_order_relaxed);
}

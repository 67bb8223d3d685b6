/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: several functions that wait for each other, run in one thread.  This
 * is how one thread drives several ranks (dcm_begin, dcm_end) with the same
 * code that otherwise blocks: every wait of the library goes through wait.c,
 * which switches to the next fiber instead of sleeping.
 */
#ifndef DCMI_FIBER_H
#define DCMI_FIBER_H

#include <devcomm/devcomm.h>

#include <stdbool.h>

typedef void (*dcmi_fiber_fn)(void *arg);

/*
 * Run fn(args[0]) .. fn(args[n-1]), taking turns at every wait, until all have
 * returned.  One function alone, or inside another fiber (where they run one
 * after the other), needs no stack of its own.  Fails with E_NOMEM before any
 * has begun.
 */
dcm_status dcmi_fiber_run(dcmi_fiber_fn fn, void *const *args, int n);

/* Whether the caller is one of several fibers: then it must not block. */
bool dcmi_fiber_active(void);

/* Let the others run. */
void dcmi_fiber_yield(void);

/* Called by a wait that ended: the round made progress, so nobody naps. */
void dcmi_fiber_progress(void);

#endif /* DCMI_FIBER_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether staging takes longer than it did: the sign that ranks which shared a
 * cache no longer do.  Rewriting lines that a core of another cache has read costs
 * three times more, and that is in the time of an ordinary copy into the ring.
 *
 * A sample is slow when it takes more than twice the least since the last probe.
 * One may be a disturbance; NEED in a row are drift.  A probe that then finds
 * nothing new doubles NEED: a program whose own data are sometimes in the cache
 * and sometimes not must not pay for that.
 */
#ifndef DCMI_CPU_DRIFT_H
#define DCMI_CPU_DRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DCMI_DRIFT_NEED = 4,
    DCMI_DRIFT_NEED_MAX = 256, /* then the probe by bytes comes first anyway */
    /* Copies so large are sampled, one in so many: 50 ns in 10 us or more. */
    DCMI_DRIFT_BYTES = 16 * 1024,
    DCMI_DRIFT_EVERY = 8,
};

/* All zero at first. */
typedef struct dcmi_drift {
    uint64_t least; /* ps a byte; 0: no sample yet */
    uint32_t slow;  /* samples in a row */
    uint32_t need;  /* 0: DCMI_DRIFT_NEED */
    bool is_seen;   /* until the next probe */
    bool is_asked;  /* drift is why the probe under way is made */
} dcmi_drift;

/* A copy of `bytes` into the ring took `ns`. */
void dcmi_drift_note(dcmi_drift *drift, uint64_t ns, size_t bytes);

/* A probe begins, and has found another placement or the same. */
void dcmi_drift_probe(dcmi_drift *drift);
void dcmi_drift_probed(dcmi_drift *drift, bool is_new);

#endif /* DCMI_CPU_DRIFT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Futexes on shared memory, and the process-wide fence that lets a publisher do
 * without one of its own.
 */
#ifndef DCMI_FUTEX_H
#define DCMI_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Sleep while *word == seen, at most `ns`; may also return early. */
void dcmi_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns);

/* Wake all sleepers on `word`. */
void dcmi_futex_wake(_Atomic uint32_t *word);

/*
 * A full memory barrier on every thread of every process that has called
 * dcmi_heavy_fence_join().  Only the side that goes to sleep pays (microseconds);
 * the publisher's side needs no fence.  False: this kernel or sandbox has no
 * such call, and the sleeper must look again by itself.
 */
bool dcmi_heavy_fence(void);

/* Let this process take part.  Once is enough; cheap to call again. */
void dcmi_heavy_fence_join(void);

#endif /* DCMI_FUTEX_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* The wall clock that every deadline is measured on. */
#ifndef DCMI_CLOCK_H
#define DCMI_CLOCK_H

#include <stdint.h>

#define DCMI_NS_PER_MS 1000000ull

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t dcmi_now_ns(void);

/* Sleep at least `ns`, less when a signal comes. */
void dcmi_nap_ns(uint64_t ns);

/* Tell the core that this is a spin loop. */
static inline void dcmi_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#endif /* DCMI_CLOCK_H */

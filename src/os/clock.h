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

/*
 * A counter for time stamps, never 0: cycles of a fixed rate where the processor
 * has a register for that, which is read three times as fast as the clock; else
 * the clock.  The same on all cores of a machine that Linux takes its time from.
 */
static inline uint64_t dcmi_stamp(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc() | 1;
#elif defined(__aarch64__)
    uint64_t v;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v | 1;
#else
    return dcmi_now_ns();
#endif
}

#endif /* DCMI_CLOCK_H */

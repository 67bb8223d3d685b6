/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock, and naps on it. */
#define _GNU_SOURCE
#include "os/clock.h"

#include <time.h>

#define NS_PER_S 1000000000ull

uint64_t dcmi_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void dcmi_nap_ns(uint64_t ns)
{
    struct timespec t = {
        .tv_sec = (time_t)(ns / NS_PER_S),
        .tv_nsec = (long)(ns % NS_PER_S),
    };

    (void)nanosleep(&t, NULL);
}

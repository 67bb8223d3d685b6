/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's futex naps, seen and lengthened: linked with
 * --wrap=dcmi_futex_wait.  With naps of a minute a wake-up that is lost shows as a
 * nap that ran out, whatever the machine's speed.
 */
#ifndef DCM_TEST_FUTEX_WRAP_H
#define DCM_TEST_FUTEX_WRAP_H

#include "support.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef enum nap_kind {
    NAP_AS_ASKED,
    NAP_NOT,
    NAP_A_MINUTE
} nap_kind;

typedef struct naps {
    atomic_int n;        /* begun */
    atomic_int ran_out;  /* nobody woke them */
    _Atomic uint64_t ns; /* what the last one asked for */
    nap_kind kind;
} naps;

static naps test_naps;

void __wrap_dcmi_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns);

void __wrap_dcmi_futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
    struct timespec t = {.tv_sec = 60};

    (void)atomic_fetch_add(&test_naps.n, 1);
    atomic_store(&test_naps.ns, ns);
    /* One lost wake-up tells: do not wait for more. */
    if (test_naps.kind == NAP_NOT || atomic_load(&test_naps.ran_out) > 0)
        return;
    if (test_naps.kind == NAP_AS_ASKED)
        t = (struct timespec){0, (long)(ns % 1000000000ull)};
    if (syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0) != 0 &&
        errno == ETIMEDOUT && test_naps.kind == NAP_A_MINUTE)
        (void)atomic_fetch_add(&test_naps.ran_out, 1);
}

#endif /* DCM_TEST_FUTEX_WRAP_H */

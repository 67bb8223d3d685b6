/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of libc that the library makes, each able to fail: linked with --wrap
 * for all that calls.txt lists as failing.  A thread that has armed itself counts
 * its own calls; threads that have not are left alone.
 */
#ifndef DCM_TEST_TORTURE_CALLS_H
#define DCM_TEST_TORTURE_CALLS_H

#include <stdbool.h>

typedef enum torture_mode {
    TORTURE_NONE,
    TORTURE_NTH,   /* the n-th call fails */
    TORTURE_NEVER, /* every call of one name fails, as where it is forbidden */
    TORTURE_INTERRUPT, /* half of the calls that a signal can end are */
    TORTURE_SHORT      /* what moves bytes moves 1 of them, or n, in turn */
} torture_mode;

/* For this thread, from now on.  `name` is for NTH and NEVER. */
void torture_arm(torture_mode mode, int n, const char *name);

/* Leave this thread alone again; the name of the call that failed, or NULL. */
const char *torture_disarm(void);

/* What strerror() says of the failure that torture_disarm() told of. */
const char *torture_reason(void);

/* Blocks that were allocated, by any thread, and not freed. */
long torture_blocks(void);

#endif /* DCM_TEST_TORTURE_CALLS_H */

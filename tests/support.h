/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all tests share: cmocka, seeds, the thinned grid, threads as ranks.
 * A failed assertion prints both values; random tests print their seed.
 */
#ifndef DCM_TEST_SUPPORT_H
#define DCM_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <devcomm/devcomm.h>

/* Sanitizer and valgrind runs ask for fewer cases. */
static inline bool test_is_thin(void)
{
    return getenv("DEVCOMM_TEST_THIN") != NULL;
}

/* DEVCOMM_TEST_SEED, or a fixed one; printed so that a failure can be rerun. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("DEVCOMM_TEST_SEED");
    const uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 20261126u;

    printf("DEVCOMM_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* xorshift64*: enough for test data. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t x = *state | 1;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

/* Assert OK and say the library's message when it is not. */
#define assert_ok(call)                                                        \
    do {                                                                       \
        const dcm_status st_ = (call);                                         \
                                                                               \
        if (st_ != DCM_OK)                                                     \
            fail_msg("%s: %s: %s", #call, dcm_status_str(st_), dcm_errmsg());  \
    } while (0)

/* Assert a status, and that the message says `text`. */
#define assert_status(call, want, text)                                        \
    do {                                                                       \
        const dcm_status st_ = (call);                                         \
                                                                               \
        if (st_ != (want) || strstr(dcm_errmsg(), (text)) == NULL)             \
            fail_msg("%s: %d (%s), not %d with \"%s\"", #call, (int)st_,       \
                     dcm_errmsg(), (int)(want), (text));                       \
    } while (0)

/* For code outside the test's own thread, where cmocka must not be used. */
#define die_unless(condition)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, \
                    dcm_errmsg());                                             \
            abort();                                                           \
        }                                                                      \
    } while (0)

typedef void (*test_rank_fn)(int rank, dcm_group *group, void *arg);

/*
 * Run fn on `nranks` threads, each with its rank's group of this process; the
 * groups are freed after all have ended.
 */
void test_run_threads(int nranks, test_rank_fn fn, void *arg);

#endif /* DCM_TEST_SUPPORT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Data for the checks of the CPU reduction, and how they report. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "reduce_checks.h"
#include "reduce_oracle.h"

static uint64_t state;

/* splitmix64 */
uint64_t data_random(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void reduce_checks_init(void)
{
    const char *text = getenv("DEVCOMM_TEST_SEED");
    struct timespec now;

    if (text != NULL) {
        state = strtoull(text, NULL, 0);
    } else {
        clock_gettime(CLOCK_REALTIME, &now);
        state = (uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec;
    }
    printf("DEVCOMM_TEST_SEED=%" PRIu64 "\n", state);
    oracle_init();
}

/* Zeros, the least and largest numbers, infinities, NaNs; no sign. */
static uint64_t special(dcm_dtype dtype, uint64_t which)
{
    static const uint64_t infinity[] = {
        [DCM_F64] = 0x7ff0000000000000u,
        [DCM_F32] = 0x7f800000u,
        [DCM_F16] = 0x7c00,
        [DCM_BF16] = 0x7f80,
        [DCM_F8E4M3] = 0x7e,
        [DCM_F8E5M2] = 0x7c,
    };
    static const int mantissa[] = {
        [DCM_F64] = 52, [DCM_F32] = 23,   [DCM_F16] = 10,
        [DCM_BF16] = 7, [DCM_F8E4M3] = 3, [DCM_F8E5M2] = 2,
    };
    const uint64_t one = (uint64_t)1 << mantissa[dtype];

    switch (which % 8) {
    case 0:
        return 0;
    case 1: /* the least number, subnormal */
        return 1;
    case 2: /* any subnormal */
        return data_random() % one;
    case 3: /* the least normal number, or next to it */
        return one + which / 8 % 3 - 1;
    case 4:
        return infinity[dtype];
    case 5: /* finite and large */
        return infinity[dtype] - 1 - which / 8 % 4;
    case 6: /* quiet or signalling */
        return infinity[dtype] + 1 + which / 8 % (one - 1);
    default:
        return oracle_canonical_nan(dtype);
    }
}

static uint64_t random_float(dcm_dtype dtype)
{
    const int bits = 8 * (int)dcm_dtype_bytes(dtype);
    const uint64_t mask = ~(uint64_t)0 >> (64 - bits);
    const uint64_t sign = (data_random() & 1) << (bits - 1);
    const uint64_t r = data_random();
    const int exponent = dtype == DCM_F64 ? 52 : dtype == DCM_F32 ? 23 : 7;
    /* The code of 1.0 for the types with a wide exponent. */
    const uint64_t one = dtype == DCM_F64   ? 0x3ff0000000000000u
                         : dtype == DCM_F32 ? 0x3f800000u
                                            : 0x3f80u;

    switch (r % 4) {
    case 0: /* any pattern; NaN is common in short types only */
        return (r >> 8 ^ data_random()) & mask;
    case 1:
        return (special(dtype, r >> 8) & (mask >> 1)) | sign;
    default: /* near each other, so that sums round and cancel */
        if (dtype != DCM_F64 && dtype != DCM_F32 && dtype != DCM_BF16)
            return ((r >> 8) & (mask >> 1) & ~((mask >> 2) + 1)) | sign;
        return ((one & ~(((uint64_t)1 << exponent) - 1)) +
                ((r >> 8) & (((uint64_t)16 << exponent) - 1))) |
               sign;
    }
}

static uint64_t random_int(void)
{
    const uint64_t r = data_random();

    switch (r % 4) {
    case 0:
        return r >> 2 & 7;
    case 1:
        return 0 - (r >> 2 & 7);
    case 2: /* the ends of the ranges of all widths */
        return (r & 4 ? 0x8000000080000080u : 0x7fffffff7fffff7fu) +
               (r >> 3 & 1);
    default:
        return data_random();
    }
}

void data_fill(dcm_dtype dtype, void *p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        oracle_put(dtype, p, i,
                   dtype <= DCM_F8E5M2 ? random_float(dtype) : random_int());
}

int data_compare(const char *what, const char *set, dcm_dtype dtype, dcm_op op,
                 const void *got, const void *want, size_t count)
{
    static int printed;
    int wrong = 0;

    if (memcmp(got, want, count * dcm_dtype_bytes(dtype)) == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t g = oracle_get(dtype, got, i);
        const uint64_t w = oracle_get(dtype, want, i);

        if (g == w)
            continue;
        wrong++;
        if (printed++ < 20)
            fprintf(stderr,
                    "%s: %s %s %s, element %zu of %zu: %#" PRIx64
                    ", not %#" PRIx64 "\n",
                    what, set, dcm_dtype_str(dtype), dcm_op_str(op), i, count,
                    g, w);
    }
    return wrong;
}

const reduce_check reduce_checks[] = {
    {"sets", check_sets},     {"examples", check_examples},
    {"codes", check_codes},   {"pairs", check_pairs},
    {"wide", check_wide},     {"division", check_division},
    {"grid", check_grid},     {"bounds", check_bounds},
    {"copies", check_copies}, {"environment", check_environment},
};
const size_t n_reduce_checks = DCMI_ARRAY_LEN(reduce_checks);

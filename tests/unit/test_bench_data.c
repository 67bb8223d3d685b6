/* SPDX-License-Identifier: Apache-2.0 */
/* Verifiable data: numbers of every type, exact patterns, judging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <devcomm/devcomm.h>

#include <math.h>
#include <string.h>

#include "bench/data.h"
#include "bench/num.h"

/* Known encodings, from the formats' definitions. */
static void test_encodings(void **state)
{
    static const struct {
        dcm_dtype dtype;
        double v;
        uint64_t bits;
    } known[] = {
        {DCM_F64, 1.0, 0x3ff0000000000000ull},
        {DCM_F64, 0x1p-1074, 1},
        {DCM_F32, -2.5, 0xc0200000u},
        {DCM_F32, 0x1p-149, 1},
        {DCM_F16, 1.0, 0x3c00},
        {DCM_F16, 65504.0, 0x7bff},
        {DCM_F16, 65520.0, 0x7c00},   /* a tie beyond the largest: Inf */
        {DCM_F16, 0x1p-24, 0x0001},   /* smallest subnormal */
        {DCM_F16, 0x1p-25, 0x0000},   /* a tie: to even */
        {DCM_F16, 0x1.8p-25, 0x0001}, /* above the tie */
        {DCM_F16, 2049.0, 0x6800},    /* a tie: to even, down */
        {DCM_F16, 2051.0, 0x6802},    /* a tie: to even, up */
        {DCM_BF16, 1.0, 0x3f80},
        {DCM_BF16, -256.0, 0xc380},
        {DCM_BF16, 257.0, 0x4380}, /* a tie: to even */
        {DCM_F8E4M3, 448.0, 0x7e},
        {DCM_F8E4M3, 1.0, 0x38},
        {DCM_F8E4M3, 0x1p-9, 0x01},
        {DCM_F8E4M3, 1000.0, 0x7e}, /* no infinity: the largest */
        {DCM_F8E4M3, -HUGE_VAL, 0xfe},
        {DCM_F8E4M3, (double)NAN, 0x7f},
        {DCM_F8E5M2, (double)NAN, 0x7e},
        {DCM_BF16, -HUGE_VAL, 0xff80},
        {DCM_F8E5M2, 57344.0, 0x7b},
        {DCM_F8E5M2, 1.0, 0x3c},
        {DCM_F8E5M2, 70000.0, 0x7c},
        {DCM_F8E5M2, -0.0, 0x80},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (dcmi_num_encode(known[i].dtype, known[i].v) != known[i].bits)
            fail_msg(
                "%s of %g is %#llx, not %#llx", dcm_dtype_str(known[i].dtype),
                known[i].v,
                (unsigned long long)dcmi_num_encode(known[i].dtype, known[i].v),
                (unsigned long long)known[i].bits);
    }
}

/* Every finite value of the small types, and back. */
static void test_round_trip(void **state)
{
    static const dcm_dtype small[] = {DCM_F16, DCM_BF16, DCM_F8E4M3,
                                      DCM_F8E5M2};

    (void)state;
    for (size_t t = 0; t < sizeof(small) / sizeof(small[0]); t++) {
        const unsigned n = 1u << (8 * dcm_dtype_bytes(small[t]));

        for (uint64_t bits = 0; bits < n; bits++) {
            const double v = dcmi_num_decode(small[t], bits);

            if (!isnan(v) && dcmi_num_encode(small[t], v) != bits)
                fail_msg("%s %#llx", dcm_dtype_str(small[t]),
                         (unsigned long long)bits);
        }
    }
}

static void test_int(void **state)
{
    (void)state;
    assert_true(dcmi_num_int(DCM_I8, 0xff) == -1);
    assert_true(dcmi_num_int(DCM_U8, 0xff) == 255);
    assert_true(dcmi_num_int(DCM_I32, 0x80000000u) == INT32_MIN);
    assert_true(dcmi_num_int(DCM_I64, UINT64_MAX) == -1);
}

static bool is_exact_step(dcm_dtype dtype, dcm_op op, double acc)
{
    return op == DCM_AVG || dcmi_num_is_exact(dtype, acc);
}

/*
 * The result of an element, with every step checked to be exact: the running
 * value in long double equals itself rounded to the type.
 */
static uint64_t exact_result(dcm_dtype dtype, dcm_op op, const uint64_t *in,
                             int n)
{
    long double acc = (long double)dcmi_num_decode(dtype, in[0]);

    for (int r = 1; r < n; r++) {
        const long double v = (long double)dcmi_num_decode(dtype, in[r]);

        if (op == DCM_PROD)
            acc *= v;
        else if (op == DCM_MIN)
            acc = v < acc ? v : acc;
        else if (op == DCM_MAX)
            acc = v > acc ? v : acc;
        else
            acc += v;
        assert_true(acc == (long double)(double)acc);
        assert_true(is_exact_step(dtype, op, (double)acc));
    }
    if (op == DCM_AVG)
        acc /= n;
    assert_true(dcmi_num_is_exact(dtype, (double)acc));
    return dcmi_num_encode(dtype, (double)acc);
}

/* The pattern as every rank would see it. */
typedef struct pattern {
    unsigned char in[DCM_MAX_RANKS][DCMI_DATA_PERIOD * 8];
    unsigned char out[DCMI_DATA_PERIOD * 8];
} pattern;

static pattern p;

static void get_pattern(const dcmi_data_spec *spec)
{
    dcmi_data *data;

    assert_int_equal(dcmi_data_new(&data, spec), DCM_OK);
    for (int r = 0; r < spec->nranks; r++)
        dcmi_data_fill(data, r, p.in[r], DCMI_DATA_PERIOD);
    dcmi_data_fill_result(data, p.out, DCMI_DATA_PERIOD);
    dcmi_data_free(data);
}

static void check_pattern(const dcmi_data_spec *spec)
{
    const size_t elem = dcm_dtype_bytes(spec->dtype);
    const bool is_float = dcmi_num_is_float(spec->dtype);
    unsigned distinct = 0;

    get_pattern(spec);
    for (size_t i = 0; i < DCMI_DATA_PERIOD; i++) {
        const uint64_t out = dcmi_num_load(spec->dtype, p.out + i * elem);
        uint64_t in[DCM_MAX_RANKS];
        uint64_t want;

        for (int r = 0; r < spec->nranks; r++)
            in[r] = dcmi_num_load(spec->dtype, p.in[r] + i * elem);
        want = is_float && !spec->is_random
                   ? exact_result(spec->dtype, spec->op, in, spec->nranks)
                   : dcmi_data_reduce(spec->dtype, spec->op, in, spec->nranks);
        if (out != want)
            fail_msg("%s %s, %d ranks, element %zu: %#llx, not %#llx",
                     dcm_dtype_str(spec->dtype), dcm_op_str(spec->op),
                     spec->nranks, i, (unsigned long long)out,
                     (unsigned long long)want);
        distinct += memcmp(p.in[0], p.in[0] + i * elem, elem) != 0;
    }
    /* Not all the same: a moved piece would not show. */
    assert_true(distinct > DCMI_DATA_PERIOD / 4);
}

static void test_data(void **state)
{
    static const int ranks[] = {1, 2, 3, 4, 5, 6, 7, 8, 64};

    (void)state;
    for (int t = 0; t < DCM_NDTYPES; t++) {
        for (int o = 0; o < DCM_NOPS; o++) {
            for (size_t n = 0; n < sizeof(ranks) / sizeof(ranks[0]); n++) {
                dcmi_data_spec spec = {(dcm_dtype)t, (dcm_op)o, ranks[n], 3,
                                       false};

                check_pattern(&spec);
                spec.is_random = true;
                check_pattern(&spec);
            }
        }
    }
}

/* Averages of integers leave no remainder, so that rounding has no say. */
static void test_data_int_avg(void **state)
{
    (void)state;
    for (int t = DCM_I8; t < DCM_NDTYPES; t++) {
        const dcm_dtype dtype = (dcm_dtype)t;
        const dcmi_data_spec spec = {dtype, DCM_AVG, 7, 1, true};
        const size_t elem = dcm_dtype_bytes(dtype);

        get_pattern(&spec);
        for (size_t i = 0; i < DCMI_DATA_PERIOD; i++) {
            int64_t sum = 0;

            for (int r = 0; r < 7; r++)
                sum += dcmi_num_int(dtype,
                                    dcmi_num_load(dtype, p.in[r] + i * elem));
            assert_true(sum ==
                        7 * dcmi_num_int(
                                dtype, dcmi_num_load(dtype, p.out + i * elem)));
        }
    }
}

static void test_data_wrong(void **state)
{
    const dcmi_data_spec spec = {DCM_F16, DCM_SUM, 3, 9, false};
    const dcmi_data_spec next = {DCM_F16, DCM_SUM, 3, 10, false};
    enum {
        COUNT = 5000
    };
    uint16_t buf[COUNT + 1];
    unsigned char *odd = (unsigned char *)buf + 1;
    dcmi_data *data;
    dcmi_data *other;

    (void)state;
    assert_int_equal(dcmi_data_new(&data, &spec), DCM_OK);
    assert_int_equal(dcmi_data_new(&other, &next), DCM_OK);
    dcmi_data_fill_result(data, odd, COUNT);
    assert_int_equal(dcmi_data_wrong(data, odd, COUNT), 0);
    assert_int_equal(dcmi_data_wrong(data, odd, 0), 0);
    odd[2 * 17] ^= 1;       /* the least bit of one element */
    odd[2 * 4999 + 1] ^= 8; /* and of the last */
    assert_int_equal(dcmi_data_wrong(data, odd, COUNT), 2);

    /* Stale data of another round, and data moved by a power of two. */
    assert_true(dcmi_data_wrong(other, odd, COUNT) > COUNT / 2);
    assert_true(dcmi_data_wrong(data, odd + 2 * 1024, COUNT - 1024) >
                COUNT / 4);

    dcmi_data_fill(data, 1, odd, COUNT);
    assert_int_equal(dcmi_data_changed(data, 1, odd, COUNT), 0);
    assert_true(dcmi_data_changed(data, 0, odd, COUNT) > 0);
    dcmi_data_free(data);
    dcmi_data_free(other);
}

static void test_data_refuses(void **state)
{
    const dcmi_data_spec bad[] = {
        {(dcm_dtype)DCM_NDTYPES, DCM_SUM, 2, 0, false},
        {DCM_F32, (dcm_op)DCM_NOPS, 2, 0, false},
        {DCM_F32, DCM_SUM, 0, 0, false},
        {DCM_F32, DCM_SUM, DCM_MAX_RANKS + 1, 0, false},
    };
    dcmi_data *data = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(dcmi_data_new(&data, &bad[i]), DCM_E_INVAL);
        assert_null(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),    cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_int),          cmocka_unit_test(test_data),
        cmocka_unit_test(test_data_int_avg), cmocka_unit_test(test_data_wrong),
        cmocka_unit_test(test_data_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Text to numbers and names, and the environment, strictly. */
#include "support.h"

#include "base/env.h"
#include "base/parse.h"

/* ---- numbers ---------------------------------------------------------------- */

typedef struct number {
    const char *text;
    uint64_t max;
    bool good;
    uint64_t v;
} number;

static void check_number(bool (*parse)(const char *, uint64_t, uint64_t *),
                         const number *n)
{
    uint64_t v = 0xdead;
    const bool good = parse(n->text, n->max, &v);

    if (good != n->good || v != (n->good ? n->v : 0xdead))
        fail_msg("\"%s\" up to %llu: %d, %llu", n->text,
                 (unsigned long long)n->max, (int)good, (unsigned long long)v);
}

static void test_parse_u64(void **state)
{
    static const number cases[] = {
        {"0", 0, true, 0},
        {"0", UINT64_MAX, true, 0},
        {"1", 0, false, 0},
        {"9", 9, true, 9},
        {"10", 9, false, 0},
        {"10", 10, true, 10},
        {"11", 10, false, 0},
        {"19", 18, false, 0},
        {"100", 99, false, 0},
        {"5", 3, false, 0},
        {"00000000000000000000000000007", 7, true, 7},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"18446744073709551615", UINT64_MAX - 1, false, 0},
        {"18446744073709551625", UINT64_MAX, false, 0},
        {"28446744073709551615", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0},
        {"4294967296", UINT32_MAX, false, 0},
        {"4294967295", UINT32_MAX, true, UINT32_MAX},
        {"", 9, false, 0},
        {" ", 9, false, 0},
        {" 1", 9, false, 0},
        {"1 ", 9, false, 0},
        {"1\n", 9, false, 0},
        {"+1", 9, false, 0},
        {"-1", UINT64_MAX, false, 0},
        {"-0", UINT64_MAX, false, 0},
        {"0x1", UINT64_MAX, false, 0},
        {"1e3", UINT64_MAX, false, 0},
        {"1.0", UINT64_MAX, false, 0},
        {"1_000", UINT64_MAX, false, 0},
        {"1k", UINT64_MAX, false, 0},
        {"\xd9\xa1", UINT64_MAX, false, 0}, /* an Arabic digit */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_number(dcmi_parse_u64, &cases[i]);
}

static void test_parse_bytes(void **state)
{
    static const number cases[] = {
        {"0", 0, true, 0},
        {"0g", 0, true, 0},
        {"7", 7, true, 7},
        {"1k", 1024, true, 1024},
        {"1K", 1024, true, 1024},
        {"1k", 1023, false, 0},
        {"2k", 2047, false, 0},
        {"3m", UINT64_MAX, true, 3 << 20},
        {"3M", UINT64_MAX, true, 3 << 20},
        {"1g", UINT64_MAX, true, 1 << 30},
        {"1G", (1 << 30) - 1, false, 0},
        {"17179869183g", UINT64_MAX, true, 17179869183ull << 30},
        {"17179869184g", UINT64_MAX, false, 0},
        {"18014398509481983k", UINT64_MAX, true, 18014398509481983ull << 10},
        {"18014398509481984k", UINT64_MAX, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551615k", UINT64_MAX, false, 0},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"", UINT64_MAX, false, 0},
        {"k", UINT64_MAX, false, 0},
        {"1kk", UINT64_MAX, false, 0},
        {"1kb", UINT64_MAX, false, 0},
        {"1 k", UINT64_MAX, false, 0},
        {"1k ", UINT64_MAX, false, 0},
        {"1t", UINT64_MAX, false, 0},
        {"1,", UINT64_MAX, false, 0},
        {"1\x0b", UINT64_MAX, false, 0},
        {"1\xeb", UINT64_MAX, false, 0},
        {"-1k", UINT64_MAX, false, 0},
        {"+1k", UINT64_MAX, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_number(dcmi_parse_bytes, &cases[i]);
}

static void test_parse_names(void **state)
{
    static const char *const no_dtypes[] = {
        "", "f", "f3", "f322", "f32 ", " f32", "bytes", "float128"};
    static const char *const no_ops[] = {"", "su", "sums", "sum ", "mean"};
    dcm_dtype dtype;
    dcm_op op;

    (void)state;
    for (int i = 0; i < DCM_NDTYPES; i++) {
        dtype = (dcm_dtype)-1;
        assert_true(dcmi_parse_dtype(dcm_dtype_str((dcm_dtype)i), &dtype));
        assert_int_equal(dtype, i);
    }
    for (int i = 0; i < DCM_NOPS; i++) {
        op = (dcm_op)-1;
        assert_true(dcmi_parse_op(dcm_op_str((dcm_op)i), &op));
        assert_int_equal(op, i);
    }
    assert_true(dcmi_parse_dtype("BF16", &dtype) && dtype == DCM_BF16);
    assert_true(dcmi_parse_dtype("bfloat16", &dtype) && dtype == DCM_BF16);
    assert_true(dcmi_parse_dtype("float", &dtype) && dtype == DCM_F32);
    assert_true(dcmi_parse_dtype("Double", &dtype) && dtype == DCM_F64);
    assert_true(dcmi_parse_op("MAX", &op) && op == DCM_MAX);

    dtype = DCM_I8;
    for (size_t i = 0; i < sizeof(no_dtypes) / sizeof(no_dtypes[0]); i++)
        assert_false(dcmi_parse_dtype(no_dtypes[i], &dtype));
    op = DCM_MIN;
    for (size_t i = 0; i < sizeof(no_ops) / sizeof(no_ops[0]); i++)
        assert_false(dcmi_parse_op(no_ops[i], &op));
    assert_int_equal(dtype, DCM_I8);
    assert_int_equal(op, DCM_MIN);
}

/* ---- environment ------------------------------------------------------------ */

static void test_env_table(void **state)
{
    (void)state;
    for (int i = 0; i < DCMI_ENV_COUNT; i++) {
        const dcmi_env_entry *e = dcmi_env_entry_of((dcmi_env)i);

        assert_int_equal(strncmp(e->name, "DEVCOMM_", 8), 0);
        assert_true(e->type[0] != '\0' && e->fallback[0] != '\0');
        assert_int_equal(e->text[strlen(e->text) - 1], '.');
        for (int k = 0; k < i; k++)
            assert_string_not_equal(e->name,
                                    dcmi_env_entry_of((dcmi_env)k)->name);
    }
}

static void test_env_str(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("DEVCOMM_ALGO"), 0);
    assert_null(dcmi_env_str(DCMI_ENV_ALGO));
    assert_int_equal(setenv("DEVCOMM_ALGO", "", 1), 0);
    assert_null(dcmi_env_str(DCMI_ENV_ALGO));
    assert_int_equal(setenv("DEVCOMM_ALGO", "mail", 1), 0);
    assert_string_equal(dcmi_env_str(DCMI_ENV_ALGO), "mail");
    assert_int_equal(unsetenv("DEVCOMM_ALGO"), 0);
}

static void test_env_u64(void **state)
{
    static const char *const bad[] = {"x", "-1", "101", "1 ", "0x1"};
    bool ok = true;

    (void)state;
    assert_int_equal(unsetenv("DEVCOMM_SPIN_US"), 0);
    assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 42);
    assert_int_equal(setenv("DEVCOMM_SPIN_US", "", 1), 0);
    assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 42);
    assert_int_equal(setenv("DEVCOMM_SPIN_US", "100", 1), 0);
    assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 100);
    assert_int_equal(setenv("DEVCOMM_SPIN_US", "0", 1), 0);
    assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 0);
    assert_true(ok);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok = true;
        assert_int_equal(setenv("DEVCOMM_SPIN_US", bad[i], 1), 0);
        assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 42);
        assert_false(ok);
        assert_non_null(strstr(dcm_errmsg(), "DEVCOMM_SPIN_US"));
        assert_non_null(strstr(dcm_errmsg(), bad[i]));
    }
    /* One flag may serve several variables: a good one does not clear it. */
    assert_int_equal(setenv("DEVCOMM_SPIN_US", "7", 1), 0);
    assert_int_equal(dcmi_env_u64(DCMI_ENV_SPIN_US, 42, 100, &ok), 7);
    assert_false(ok);
    assert_int_equal(unsetenv("DEVCOMM_SPIN_US"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_u64),   cmocka_unit_test(test_parse_bytes),
        cmocka_unit_test(test_parse_names), cmocka_unit_test(test_env_table),
        cmocka_unit_test(test_env_str),     cmocka_unit_test(test_env_u64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

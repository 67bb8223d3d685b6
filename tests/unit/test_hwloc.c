/* SPDX-License-Identifier: Apache-2.0 */
/* hwloc is opened when it is there, and its absence is said. */
#include "support.h"

#include "topology.h"

static cli_hwloc h;

static void test_missing(void **state)
{
    (void)state;
    memset(&h, 0xff, sizeof(h));
    cli_hwloc_read(&h, "libdevcomm-no-such.so.1");
    assert_int_equal(h.n, 0);
    assert_non_null(strstr(h.why, "libdevcomm-no-such.so.1"));
}

static void test_something_else(void **state)
{
    (void)state;
    cli_hwloc_read(&h, "libc.so.6");
    assert_int_equal(h.n, 0);
    assert_string_equal(h.why, "libc.so.6 lacks a function of hwloc 2");
}

static void test_here(void **state)
{
    (void)state;
    cli_hwloc_read(&h, "libhwloc.so.15");
    if (h.n == 0)
        skip();
    assert_string_equal(h.level[0].name, "Machine");
    assert_int_equal(h.level[0].count, 1);
    assert_non_null(strstr(h.level[h.n - 1].name, "NUMA"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_something_else),
        cmocka_unit_test(test_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU reduction: its rules, all sets of functions, its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reduce_checks.h"

static void test_check(void **state)
{
    const reduce_check *check = *state;

    assert_int_equal(check->run(), 0);
}

int main(void)
{
    struct CMUnitTest tests[16] = {{0}};
    static reduce_check checks[16];

    reduce_checks_init();
    for (size_t i = 0; i < n_reduce_checks; i++) {
        checks[i] = reduce_checks[i];
        tests[i] = (struct CMUnitTest){
            .name = checks[i].name,
            .test_func = test_check,
            .initial_state = &checks[i],
        };
    }
    return _cmocka_run_group_tests("reduce", tests, n_reduce_checks, NULL,
                                   NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks of test_reduce without cmocka, for a processor that it is not
 * there for: scripts/test-aarch64 links this program statically.
 */
#include <stdio.h>

#include "reduce_checks.h"

int main(void)
{
    int failed = 0;

    reduce_checks_init();
    for (size_t i = 0; i < n_reduce_checks; i++) {
        const int wrong = reduce_checks[i].run();

        printf("%s %s: %d wrong\n", wrong == 0 ? "ok  " : "FAIL",
               reduce_checks[i].name, wrong);
        fflush(stdout);
        failed += wrong != 0;
    }
    printf("%zu passed, %d failed\n", n_reduce_checks - (size_t)failed, failed);
    return failed == 0 ? 0 : 1;
}

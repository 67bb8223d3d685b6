/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of an exchange: as rank 0 hears the others, and as they hear it. */
#include "fuzz/fuzz.h"
#include "group/star.h"

enum {
    RANKS = 3
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const int owners[2][RANKS] = {{0, 1, 2}, {0, 1, 1}};
    static dcmi_star star;
    char all[RANKS][48] = {{0}};
    fuzz_input in = {data, bytes};
    const int rank = fuzz_byte(&in) % 2;
    const int *owner = owners[fuzz_byte(&in) % 2];
    const size_t each = fuzz_byte(&in) % (sizeof(all[0]) + 1);
    dcm_status st;

    memset(&star, 0, sizeof(star));
    star.base.rank = rank;
    star.base.nranks = RANKS;
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        star.member[r].fd = -1;
    if (rank == 0) {
        for (int r = 1; r < RANKS; r++)
            star.member[r].fd = fuzz_socket(&in, 32 + 2 * each);
    } else {
        star.member[0].fd = fuzz_socket(&in, in.left < 4096 ? in.left : 4096);
    }
    for (int i = 0; i < 2; i++) {
        st = dcmi_star_merge(&star.base, all, each, owner,
                             dcmi_now_ns() + DCMI_NS_PER_MS);
        fuzz_require(st == DCM_OK || star.failed == st);
    }
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        dcmi_star_drop(&star.member[r]);
    return 0;
}

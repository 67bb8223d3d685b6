/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rank 0 hears from whoever connects: hello and proof.  The seal is taken for
 * right (by --wrap), so that what lies behind it is reached.
 */
#include "base/err.h"
#include "fuzz/fuzz.h"
#include "group/star_guest.h"

bool __wrap_dcmi_star_check_proof(const dcmi_star_talk *talk,
                                  const dcmi_star_proof *proof);

bool __wrap_dcmi_star_check_proof(const dcmi_star_talk *talk,
                                  const dcmi_star_proof *proof)
{
    (void)talk;
    return (proof->spare & 1) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dcmi_star star;
    static dcmi_star_reception c;
    fuzz_input in = {data, bytes};
    const int n_guests = 1 + fuzz_byte(&in) % 3;

    memset(&star, 0, sizeof(star));
    memset(&c, 0, sizeof(c));
    star.base.nranks = 4;
    star.token = "token";
    star.earliest_ns = UINT64_MAX;
    for (int r = 0; r < DCM_MAX_RANKS; r++)
        star.member[r].fd = -1;
    c.star = &star;
    c.missing = 0xe;
    for (int g = 0; g < n_guests; g++) {
        const size_t most = sizeof(dcmi_star_hello) + sizeof(dcmi_star_proof);

        c.guests[g].fd = fuzz_socket(&in, most);
        dcmi_star_hear(&c, &c.guests[g]);
        dcmi_star_dismiss(&c.guests[g]);
    }
    for (int r = 0; r < DCM_MAX_RANKS; r++) {
        fuzz_require((star.member[r].fd >= 0) ==
                     (r > 0 && r < 4 && (c.missing >> r & 1) == 0));
        fuzz_require(memchr(star.member[r].host, '\0', DCMI_STAR_HOST_BYTES) !=
                     NULL);
        dcmi_star_drop(&star.member[r]);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a rank hears from whoever listens in rank 0's place, seals taken for right. */
#include "base/err.h"
#include "fuzz/fuzz.h"
#include "group/star.h"

static fuzz_input in;

bool __wrap_dcmi_star_check_verdict(const dcmi_star_talk *talk,
                                    const dcmi_star_answer *verdict);
dcm_status __wrap_dcmi_unix_connect(int *fd_p, const char *name);

bool __wrap_dcmi_star_check_verdict(const dcmi_star_talk *talk,
                                    const dcmi_star_answer *verdict)
{
    (void)talk;
    return (verdict->spare & 1) == 0;
}

dcm_status __wrap_dcmi_unix_connect(int *fd_p, const char *name)
{
    if (in.left == 0)
        return dcmi_err(DCM_E_SYS, "nothing more at %s", name);
    *fd_p = fuzz_socket(&in, 2 * sizeof(dcmi_star_answer));
    return DCM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dcmi_star star;
    dcm_status st;

    memset(&star, 0, sizeof(star));
    star.base.rank = 1;
    star.base.nranks = 2;
    star.token = "token";
    star.member[0].fd = -1;
    in = (fuzz_input){data, bytes};
    /* No naps between attempts: the deadline is over before the first. */
    st = dcmi_star_join(&star, dcmi_now_ns());
    fuzz_require((st == DCM_OK) == (star.member[0].fd >= 0));
    fuzz_require(st == DCM_OK || dcm_errmsg()[0] != '\0');
    dcmi_star_drop(&star.member[0]);
    return 0;
}

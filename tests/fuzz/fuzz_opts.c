/* SPDX-License-Identifier: Apache-2.0 */
/* Options structs of callers, addresses, numbers, names and rules of faults. */
#include "base/opts.h"
#include "base/parse.h"
#include "comm/fault.h"
#include "fuzz/fuzz.h"
#include "group/group.h"

static void read_struct(fuzz_input *in)
{
    dcm_group_opts ours;
    unsigned char theirs[sizeof(ours) + 64];
    size_t size;

    fuzz_take(in, theirs, sizeof(theirs));
    memcpy(&size, theirs, sizeof(size));
    if (size > sizeof(theirs) && size <= 4096)
        return; /* a caller that lies about its own memory */
    (void)dcmi_opts_copy(&ours, sizeof(ours), theirs, "options");
}

static void read_address(const char *text)
{
    const dcmi_boot_opts opts = {.name = ""};
    dcmi_boot *boot;

    /* One rank: nobody is met, the address is read all the same. */
    if (dcmi_boot_star(&boot, text, 0, 1, &opts) == DCM_OK)
        boot->ops->close(boot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_input in = {data, bytes};
    const uint8_t what = fuzz_byte(&in);
    char text[700];
    dcmi_faults faults;
    const char *backend;
    dcm_dtype dtype;
    dcm_op op;
    uint64_t v;

    if (what % 4 == 0) {
        read_struct(&in);
        return 0;
    }
    (void)fuzz_text(&in, text, sizeof(text));
    if (what % 4 == 1)
        read_address(text);
    if (what % 4 == 2 && dcmi_faults_parse(&faults, &backend, text) == DCM_OK)
        fuzz_require(faults.n <= DCMI_MOST_FAULTS);
    if (what % 4 == 3) {
        if (dcmi_parse_u64(text, what, &v))
            fuzz_require(v <= what);
        if (dcmi_parse_bytes(text, 1 << 20, &v))
            fuzz_require(v <= 1 << 20);
        (void)dcmi_parse_dtype(text, &dtype);
        (void)dcmi_parse_op(text, &op);
    }
    return 0;
}

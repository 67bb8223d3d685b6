/* SPDX-License-Identifier: Apache-2.0 */
/* The records of the rounds that build a group, of the other ranks. */
#include "fuzz/fuzz.h"
#include "group/group.h"

enum {
    RANKS = 3
};

static fuzz_input in;

static dcm_status merge(dcmi_boot *boot, void *all, size_t bytes,
                        const int *owner, uint64_t deadline_ns)
{
    char *entry = all;

    (void)deadline_ns;
    for (int r = 0; r < RANKS; r++, entry += bytes) {
        if (owner[r] == boot->rank)
            continue;
        /* Like ours, but for some bytes. */
        memcpy(entry, (char *)all + (size_t)boot->rank * bytes, bytes);
        for (int n = fuzz_byte(&in) % 16; n > 0; n--) {
            uint16_t at;

            fuzz_take(&in, &at, sizeof(at));
            entry[at % bytes] = (char)fuzz_byte(&in);
        }
    }
    return DCM_OK;
}

static void keep(dcmi_boot *boot, const int *owner)
{
    (void)boot;
    (void)owner;
}

static void end(dcmi_boot *boot)
{
    (void)boot;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const dcmi_boot_ops ops = {merge, keep, end};
    const dcmi_group_setup setup = {.name = "", .timeout_ms = 1};
    dcmi_boot boot = {.ops = &ops, .nranks = RANKS};
    dcm_group *group;
    uint8_t head;

    in = (fuzz_input){data, bytes};
    head = fuzz_byte(&in);
    boot.rank = head % RANKS;
    boot.is_one_host = (head & 0x80) != 0;
    if (dcmi_group_build(&group, &boot, &setup, dcmi_now_ns()) == DCM_OK) {
        for (int r = 0; r < RANKS; r++)
            fuzz_require(group->leader_of[r] <= r && group->host_of[r] <= r);
        dcm_group_free(group);
    }
    return 0;
}

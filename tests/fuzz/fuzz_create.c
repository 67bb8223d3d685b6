/* SPDX-License-Identifier: Apache-2.0 */
/* The other ranks' records when a communicator is made. */
#include "base/err.h"
#include "comm/comm.h"
#include "fuzz/fuzz.h"
#include "group/group.h"
#include "memory/segment.h"

enum {
    RANKS = 3
};

static fuzz_input in;

dcm_status __wrap_dcm_group_exchange(dcm_group *group, const void *mine,
                                     void *all, size_t bytes,
                                     uint32_t timeout_ms);
dcm_status __wrap_dcmi_segment_new(dcmi_segment **segment_p, dcm_group *group,
                                   const char *name, size_t bytes,
                                   uint32_t timeout_ms);

/* The others' are like ours, but for some bytes. */
dcm_status __wrap_dcm_group_exchange(dcm_group *group, const void *mine,
                                     void *all, size_t bytes,
                                     uint32_t timeout_ms)
{
    (void)timeout_ms;
    for (int r = 0; r < group->nranks; r++) {
        char *entry = (char *)all + (size_t)r * bytes;

        memcpy(entry, mine, bytes);
        if (r == group->rank)
            continue;
        for (int n = fuzz_byte(&in) % 64; n > 0; n--) {
            uint16_t at;

            fuzz_take(&in, &at, sizeof(at));
            entry[at % bytes] = (char)fuzz_byte(&in);
        }
    }
    return DCM_OK;
}

/* As far as the choice of a backend, and no farther. */
dcm_status __wrap_dcmi_segment_new(dcmi_segment **segment_p, dcm_group *group,
                                   const char *name, size_t bytes,
                                   uint32_t timeout_ms)
{
    (void)segment_p;
    (void)group;
    (void)bytes;
    (void)timeout_ms;
    return dcmi_err(DCM_E_UNSUP, "no %s here", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dcm_group group;
    static dcm_comm *comm;

    in = (fuzz_input){data, bytes};
    memset(&group, 0, sizeof(group));
    /* Of its own size, so that a sanitizer sees what reads past it. */
    group.scratch = calloc(RANKS, DCM_EXCHANGE_MAX);
    fuzz_require(group.scratch != NULL);
    group.nranks = RANKS;
    group.rank = fuzz_byte(&in) % RANKS;
    group.nhosts = 1;
    group.timeout_ms = 1;
    fuzz_require(dcmi_comm_create(&comm, &group, NULL) != DCM_OK);
    free(group.scratch);
    return 0;
}

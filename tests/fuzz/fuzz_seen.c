/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a communicator, as `devcomm inspect` finds it in another process. */
#include "fuzz/fuzz.h"
#include "group/record.h"
#include "inspect/comm.h"
#include "inspect/verdict.h"

enum {
    RANKS = 2,
    COPIES = 3
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static dcmi_seen_comm comm;
    static dcmi_verdict verdict;
    fuzz_input in = {data, bytes};
    const size_t size = dcmi_record_bytes(RANKS);
    const dcmi_seen_now now = {.ns = 1ull << 40, .stamp = 1ull << 30};
    const void *copies[COPIES];
    void *mine[COPIES];

    for (int i = 0; i < COPIES; i++) {
        fuzz_require(posix_memalign(&mine[i], 128, size) == 0);
        copies[i] = mine[i];
        if (i > 0) {
            memcpy(mine[i], mine[i - 1], size);
        } else {
            memset(mine[i], 0, size);
            dcmi_record_title(mine[i], RANKS, "cpu", "job");
        }
        for (int n = fuzz_byte(&in) % 32; n > 0; n--) {
            uint64_t v;
            uint16_t at;

            fuzz_take(&in, &at, sizeof(at));
            fuzz_take(&in, &v, sizeof(v));
            memcpy((char *)mine[i] + at % (size / sizeof(v)) * sizeof(v), &v,
                   sizeof(v));
        }
    }
    if (dcmi_seen_decode(&comm, copies, size, &now) == DCM_OK) {
        fuzz_require(comm.nranks == RANKS);
        memset(&verdict, 0, sizeof(verdict));
        dcmi_judge_comm(&verdict, &comm);
        fuzz_require(verdict.n <= DCMI_VERDICT_LINES);
    }
    for (int i = 0; i < COPIES; i++)
        free(mine[i]);
    return 0;
}

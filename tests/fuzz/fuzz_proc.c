/* SPDX-License-Identifier: Apache-2.0 */
/* /proc and /sys: each file that is opened holds the next part of the input. */
#define _GNU_SOURCE
#include <limits.h>

#include "fuzz/fuzz.h"
#include "os/ident.h"
#include "os/limits.h"
#include "topo/topo.h"

static fuzz_input in;

FILE *__wrap_fopen(const char *path, const char *mode);

FILE *__wrap_fopen(const char *path, const char *mode)
{
    size_t bytes;
    FILE *f;

    (void)path;
    (void)mode;
    if (in.left == 0)
        return NULL;
    bytes = (size_t)fuzz_byte(&in) * 8;
    bytes = bytes < in.left ? bytes : in.left;
    if (bytes == 0)
        return NULL;
    /* Only read: the cast takes nothing away. */
    f = fmemopen((void *)(uintptr_t)in.at, bytes, "r");
    in.at += bytes;
    in.left -= bytes;
    return f;
}

static void read_topo(void)
{
    static dcmi_topo topo;
    char text[32];

    dcmi_topo_read(&topo, "");
    fuzz_require(topo.nodes.n >= 0 && topo.nodes.n <= DCMI_TOPO_NODES);
    for (int cpu = -1; cpu < 8; cpu++)
        (void)dcmi_topo_home(&topo.nodes, cpu);
    (void)dcmi_topo_count(&topo, &topo.online);
    dcmi_cpuset_text(text, sizeof(text), &topo.online);
    fuzz_require(memchr(text, '\0', sizeof(text)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    in = (fuzz_input){data, bytes};
    switch (fuzz_byte(&in) % 5) {
    case 0:
        fuzz_require(dcmi_limits_quota("") > 0);
        break;
    case 1:
        (void)dcmi_limits_memory_left("");
        break;
    case 2:
        (void)dcmi_start_time(1);
        (void)dcmi_process_runs(1, 7);
        break;
    case 3:
        read_topo();
        break;
    default:
        (void)dcmi_host_hint();
        break;
    }
    in.left = 0; /* others open files too, when the input is gone */
    return 0;
}

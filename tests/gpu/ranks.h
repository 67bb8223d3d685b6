/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks on GPUs, for tests and measurements: a process a rank, rank r on device
 * r modulo the devices there are.  No test framework: these programs also run on
 * machines that have none.
 */
#ifndef DCM_TEST_GPU_RANKS_H
#define DCM_TEST_GPU_RANKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <devcomm/devcomm.h>

#include "device/cuda/driver.h"

/* Exit status of a test that cannot run here. */
enum {
    GPU_SKIP = 77,
    GPU_KILLED = 137 /* of gpu_die(), where there is no signal */
};

#define gpu_die_unless(condition)                                              \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, \
                    dcm_errmsg());                                             \
            fflush(NULL);                                                      \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

/* A driver call that must succeed. */
#define gpu_do(call) gpu_die_unless((call) == DCMI_CU_OK)

typedef struct gpu_rank {
    int rank;
    int nranks;
    const dcmi_cuda *cuda;
    dcmi_cu_device device;
    dcmi_cu_ctx ctx;
    dcmi_cu_stream stream;
    dcm_group *group;
} gpu_rank;

typedef int (*gpu_rank_fn)(gpu_rank *r, void *arg);

/* Devices of this machine, found out in a process of its own; 0: none. */
int gpu_count(void);

/* On a driver over host memory (docs/standin.md), where times mean nothing. */
static inline bool gpu_is_standin(void)
{
    return getenv("DEVCOMM_TEST_STANDIN") != NULL;
}

/*
 * Run fn in n processes; 0 when each ended with 0 but those of the bit mask
 * `killed`, which must have died of SIGKILL.  Ends them all after `seconds`.
 * DEVCOMM_TEST_OWN_PIDS: each rank is the first process of a PID namespace of its
 * own, as ranks in containers are; root may ask for it.
 */
int gpu_run(int n, gpu_rank_fn fn, void *arg, uint64_t killed,
            unsigned seconds);

/*
 * Die of SIGKILL; the first process of a PID namespace, which no signal of its own
 * reaches, ends as suddenly.
 */
void gpu_die(void);

/* In a rank: the device, its primary context, a stream.  And for its end. */
void gpu_open(gpu_rank *r);
void gpu_close(gpu_rank *r);

/* All ranks meet; the largest of their numbers. */
double gpu_max(gpu_rank *r, double mine);
void gpu_meet(gpu_rank *r);

dcmi_cu_ptr gpu_alloc(gpu_rank *r, size_t bytes);

/*
 * Memory as an allocator with expandable segments hands it out: one range of
 * addresses, a mapping of its own for every few MiB of it.  Freed with its size.
 */
dcmi_cu_ptr gpu_alloc_pieces(gpu_rank *r, size_t bytes);
void gpu_free_pieces(gpu_rank *r, dcmi_cu_ptr at, size_t bytes);

/* As a pointer that calls take. */
static inline void *gpu_at(dcmi_cu_ptr p, size_t offset)
{
    return (void *)(uintptr_t)(p + offset);
}

#endif /* DCM_TEST_GPU_RANKS_H */

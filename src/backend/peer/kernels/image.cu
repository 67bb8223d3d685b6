/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All kernels of one image.  An algorithm's body is a template over the most
 * ranks that it serves and the arithmetic; the host finds an instance by its name,
 * dcmk_k_ALGORITHM_RANKS_ARITHMETIC, and takes the least RANKS that suffices.
 */
#include "backend/peer/kernels/target.h"

#define DCMK_INSTANCE(name, body, most, threads, what, arithmetic)             \
    DCMK_FN void name##_##most##_##what(const dcmk_args &a,                    \
                                        const dcmk_block &b)                   \
    {                                                                          \
        body<most, arithmetic>(a, b);                                          \
    }                                                                          \
    DCMK_KERNEL(dcmk_k_##name##_##most##_##what, threads,                      \
                name##_##most##_##what)

#define DCMK_MAKE_FOR(name, body, most, threads)                               \
    DCMK_INSTANCE(name, body, most, threads, bf16, dcmk_sum_bf16)              \
    DCMK_INSTANCE(name, body, most, threads, f16, dcmk_sum_f16)                \
    DCMK_INSTANCE(name, body, most, threads, f32, dcmk_sum_f32)                \
    DCMK_INSTANCE(name, body, most, threads, any, dcmk_reduce_any<most>)

/* `threads` is what plan.c counts on: one block of so many fits a processor. */
#define DCMK_MAKE(name, body)                                                  \
    DCMK_MAKE_FOR(name, body, 2, 1024)                                         \
    DCMK_MAKE_FOR(name, body, 4, 1024)                                         \
    DCMK_MAKE_FOR(name, body, 8, 512)                                          \
    DCMK_INSTANCE(name, body, 16, 256, any, dcmk_reduce_any<16>)

/* Larger groups gain nothing from one shot where this one would serve. */
#define DCMK_MAKE_PAIR(name, body) DCMK_MAKE_FOR(name, body, 2, 1024)

#if DCMK_HOST
#include <string.h>

dcmk_host_entry *dcmk_host_entry::all;

extern "C" dcmk_host_fn dcmk_host_kernel(const char *name)
{
    for (dcmk_host_entry *e = dcmk_host_entry::all; e != NULL; e = e->next) {
        if (strcmp(e->name, name) == 0)
            return e->fn;
    }
    return NULL;
}
#endif

#include "backend/peer/kernels/barrier.cu"
#include "backend/peer/kernels/ll128.cu"
#include "backend/peer/kernels/ll128_two.cu"
#include "backend/peer/kernels/push.cu"
#include "backend/peer/kernels/push_two.cu"

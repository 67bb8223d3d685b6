/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All kernels of one image.  An algorithm's body is a template over the number of
 * ranks and the arithmetic; the host finds an instance by its name,
 * dcmk_k_ALGORITHM_RANKS_ARITHMETIC.  RANKS is 2, 4 or 8 for just so many, or
 * most4, most8 or most16 for any number up to it.
 */
#include "backend/peer/kernels/target.h"

#define DCMK_INSTANCE(name, body, ranks, size, threads, what, arithmetic)      \
    DCMK_FN void name##_##ranks##_##what(const dcmk_args &a,                   \
                                         const dcmk_block &b)                  \
    {                                                                          \
        body<size, arithmetic>(a, b);                                          \
    }                                                                          \
    DCMK_KERNEL(dcmk_k_##name##_##ranks##_##what, threads,                     \
                name##_##ranks##_##what)

#define DCMK_SUMS(name, body, ranks, size, threads)                            \
    DCMK_INSTANCE(name, body, ranks, size, threads, bf16, dcmk_sum_bf16)       \
    DCMK_INSTANCE(name, body, ranks, size, threads, f16, dcmk_sum_f16)         \
    DCMK_INSTANCE(name, body, ranks, size, threads, f32, dcmk_sum_f32)

#define DCMK_ANY(name, body, ranks, most, threads)                             \
    DCMK_INSTANCE(name, body, ranks, dcmk_up_to<most>, threads, any,           \
                  dcmk_reduce_any<most>)

/* `threads` is what plan.c counts on: one block of so many fits a processor. */
#define DCMK_MAKE(name, body)                                                  \
    DCMK_SUMS(name, body, 2, dcmk_just<2>, 1024)                               \
    DCMK_SUMS(name, body, 4, dcmk_just<4>, 1024)                               \
    DCMK_SUMS(name, body, 8, dcmk_just<8>, 512)                                \
    DCMK_SUMS(name, body, most8, dcmk_up_to<8>, 512)                           \
    DCMK_ANY(name, body, most4, 4, 1024)                                       \
    DCMK_ANY(name, body, most8, 8, 512)                                        \
    DCMK_ANY(name, body, most16, 16, 256)

/* Larger groups gain nothing from one shot where this one would serve. */
#define DCMK_MAKE_PAIR(name, body)                                             \
    DCMK_SUMS(name, body, 2, dcmk_just<2>, 1024)                               \
    DCMK_ANY(name, body, most4, 4, 1024)

/* Where memory is slow, arithmetic need not be fast. */
#define DCMK_MAKE_ANY(name, body)                                              \
    DCMK_ANY(name, body, most4, 4, 256)                                        \
    DCMK_ANY(name, body, most8, 8, 256)                                        \
    DCMK_ANY(name, body, most16, 16, 256)

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

extern "C" uint32_t dcmk_host_args_bytes(dcmk_host_fn fn)
{
    for (dcmk_host_entry *e = dcmk_host_entry::all; e != NULL; e = e->next) {
        if (e->fn == fn)
            return e->args_bytes;
    }
    return 0;
}
#endif

#include "backend/peer/kernels/barrier.cu"
#include "backend/peer/kernels/exchange.cu"
#include "backend/peer/kernels/ll128.cu"
#include "backend/peer/kernels/ll128_two.cu"
#include "backend/peer/kernels/message.cu"
#include "backend/peer/kernels/part.cu"
#include "backend/peer/kernels/probe.cu"
#include "backend/peer/kernels/push.cu"
#include "backend/peer/kernels/push_two.cu"
#include "backend/peer/kernels/staged.cu"
#include "backend/peer/kernels/staged_exchange.cu"

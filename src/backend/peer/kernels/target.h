/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file that knows what the kernels are compiled for.
 *
 * On a GPU a kernel's body runs once a thread.  On the host it runs once a block,
 * in one host thread, and everything between two block-wide steps is a loop over
 * the block's threads:
 *
 *     DCMK_PRIVATE(dcmk_u4, own);            a variable of every thread
 *     DCMK_EACH_THREAD(b, t) {               a phase
 *         own[DCMK_OF(t)] = ...;             `continue` ends this thread's phase
 *     }
 *     dcmk_sync();
 *
 * So every wait of a phase must end by what phases before it, of any block of any
 * rank, have done.
 */
#ifndef DCMK_TARGET_H
#define DCMK_TARGET_H

#include <stddef.h>

#include "backend/peer/kernels/args.h"

struct alignas(16) dcmk_u4 {
    uint32_t x, y, z, w;
};

#if defined(__CUDACC__) || defined(__CUDA__)

#define DCMK_HOST 0

#ifdef __clang__ /* without the vendor's headers */
#define __device__           __attribute__((device))
#define __global__           __attribute__((global))
#define __forceinline__      inline __attribute__((always_inline))
#define __launch_bounds__(n) __attribute__((launch_bounds(n)))
#define __grid_constant__
#define __noinline__ __attribute__((noinline))
#endif

#define DCMK_FN     static __device__ __forceinline__
#define DCMK_METHOD __device__ __forceinline__
#define DCMK_SLOW   static __device__ __noinline__
#define DCMK_UNROLL _Pragma("unroll")
#define DCMK_LOOP   _Pragma("unroll 1")

DCMK_FN uint32_t dcmk_thread(void)
{
    uint32_t t;

    asm("mov.u32 %0, %%tid.x;" : "=r"(t));
    return t;
}

DCMK_FN dcmk_block dcmk_block_here(void)
{
    dcmk_block b;

    asm("mov.u32 %0, %%ctaid.x;" : "=r"(b.index));
    asm("mov.u32 %0, %%nctaid.x;" : "=r"(b.count));
    asm("mov.u32 %0, %%ntid.x;" : "=r"(b.threads));
    return b;
}

/* Keep a value in a register: not to be computed again in a loop. */
#define DCMK_KEEP(x) asm volatile("" : "+l"(x))

#define DCMK_PRIVATE(type, name) type name[1]
#define DCMK_OF(t)               0
#define DCMK_EACH_THREAD(b, t)                                                 \
    for (uint32_t t = dcmk_thread(), t##_once = 1; t##_once != 0; t##_once = 0)

/* All threads of the block. */
DCMK_FN void dcmk_sync(void)
{
    asm volatile("bar.sync 0;" ::: "memory");
}

/* Of the threads that move together: is `x` true for all, for any. */
DCMK_FN bool dcmk_all(bool x)
{
    uint32_t r;

    asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0;"
                 " vote.sync.all.pred q, p, 0xffffffff;"
                 " selp.u32 %0, 1, 0, q; }"
                 : "=r"(r)
                 : "r"((uint32_t)x));
    return r != 0;
}

DCMK_FN uint32_t dcmk_any_bits(uint32_t x)
{
    uint32_t r = 0;

    DCMK_LOOP
    for (uint32_t i = 0; i < DCMK_RANKS; i++) {
        uint32_t v;

        asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0;"
                     " vote.sync.ballot.b32 %0, p, 0xffffffff; }"
                     : "=r"(v)
                     : "r"(x >> i & 1u));
        r |= (v != 0 ? 1u : 0u) << i;
    }
    return r;
}

/*
 * Dependent launch: this kernel may have been started before the one in front of
 * it has ended.  dcmk_begin() waits for that end and for its writes;
 * dcmk_let_next_start() allows the next kernel the same.
 */
DCMK_FN void dcmk_begin(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

DCMK_FN void dcmk_let_next_start(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

DCMK_FN uint64_t dcmk_now_ns(void)
{
    uint64_t t;

    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}

DCMK_FN void dcmk_relax(void)
{
}

#define DCMK_KERNEL_OF(type, name, most_threads, body)                         \
    extern "C" __global__ void __launch_bounds__(most_threads)                 \
        name(const __grid_constant__ type a)                                   \
    {                                                                          \
        body(a, dcmk_block_here());                                            \
    }

#else /* the host */

#define DCMK_HOST 1

#include <sched.h>
#include <time.h>

#define DCMK_FN     static inline
#define DCMK_METHOD inline
#define DCMK_SLOW   static
#define DCMK_UNROLL
#define DCMK_LOOP

#define DCMK_KEEP(x) (void)(x)

#define DCMK_PRIVATE(type, name) type name[DCMK_HOST_THREADS] = {}
#define DCMK_OF(t)               (t)
#define DCMK_EACH_THREAD(b, t)   for (uint32_t t = 0; t < (b).threads; t++)

DCMK_FN void dcmk_sync(void)
{
}

DCMK_FN bool dcmk_all(bool x)
{
    return x;
}

DCMK_FN uint32_t dcmk_any_bits(uint32_t x)
{
    return x;
}

DCMK_FN void dcmk_begin(void)
{
}

DCMK_FN void dcmk_let_next_start(void)
{
}

DCMK_FN uint64_t dcmk_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* More blocks than cores: whoever waits lets the others run. */
DCMK_FN void dcmk_relax(void)
{
    (void)sched_yield();
}

/* Every kernel enters itself in a list, where dcmk_host_kernel() looks. */
struct dcmk_host_entry {
    const char *name;
    dcmk_host_fn fn;
    uint32_t args_bytes;
    dcmk_host_entry *next;
    static dcmk_host_entry *all;

    dcmk_host_entry(const char *its_name, dcmk_host_fn its_fn, uint32_t bytes)
        : name(its_name), fn(its_fn), args_bytes(bytes), next(all)
    {
        all = this;
    }
};

/* The arguments of every kernel begin with dcmk_args. */
#define DCMK_KERNEL_OF(type, its_name, most_threads, body)                     \
    static void its_name(const dcmk_args *a, const dcmk_block *b)              \
    {                                                                          \
        body(*(const type *)a, *b);                                            \
    }                                                                          \
    static dcmk_host_entry its_name##_entry(#its_name, its_name, sizeof(type));

#endif

#define DCMK_KERNEL(name, most_threads, body)                                  \
    DCMK_KERNEL_OF(dcmk_args, name, most_threads, body)

#endif /* DCMK_TARGET_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which set of reduction functions this processor runs, and the few
 * instructions round them: the store fence and the floating-point state.
 */
#include <stdbool.h>
#include <string.h>

#include "backend/cpu/reduce/sets.h"
#include "base/compiler.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* Also asks whether the system saves the registers, as cpuid alone does not. */
static bool has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;

    __builtin_cpu_init();
    /* Not every compiler knows "f16c" as a name; AVX2 vouches for the system. */
    return __builtin_cpu_supports("avx2") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

static bool has_always(void)
{
    return true;
}

/* Best last. */
static const struct {
    const dcmi_reduce_ops *ops;
    bool (*has)(void);
} sets[] = {
    {&dcmi_reduce_scalar, has_always},
    {&dcmi_reduce_base, has_always},
#if defined(__x86_64__)
    {&dcmi_reduce_avx2, has_avx2},
    {&dcmi_reduce_avx512, has_avx512},
    {&dcmi_reduce_avx512bf16, has_avx512bf16},
#endif
};

const dcmi_reduce_ops *dcmi_reduce_nth(size_t i)
{
    for (size_t k = 0; k < DCMI_ARRAY_LEN(sets); k++) {
        if (!sets[k].has())
            continue;
        if (i == 0)
            return sets[k].ops;
        i--;
    }
    return NULL;
}

const dcmi_reduce_ops *dcmi_reduce_select(const char *name)
{
    const dcmi_reduce_ops *best = NULL, *ops;

    for (size_t i = 0; (ops = dcmi_reduce_nth(i)) != NULL; i++) {
        if (name == NULL || strcmp(name, ops->name) == 0)
            best = ops;
    }
    return best;
}

#if defined(__x86_64__)

void dcmi_stream_fence(void)
{
    _mm_sfence();
}

/*
 * MXCSR: rounding to nearest, all exceptions masked, FTZ and DAZ off.  Its
 * lowest six bits are flags, which arithmetic sets and which are left alone
 * while the rest is in order.
 */
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_FLAGS   0x3fu

uint32_t dcmi_fpenv_enter(void)
{
    const uint32_t old = _mm_getcsr();

    if (DCMI_UNLIKELY((old & ~MXCSR_FLAGS) != MXCSR_DEFAULT))
        _mm_setcsr(MXCSR_DEFAULT);
    return old;
}

void dcmi_fpenv_leave(uint32_t old)
{
    if (DCMI_UNLIKELY((old & ~MXCSR_FLAGS) != MXCSR_DEFAULT))
        _mm_setcsr(old);
}

#elif defined(__aarch64__)

void dcmi_stream_fence(void)
{
}

/*
 * FPCR of zeros: to nearest, no flushing, no traps, IEEE half precision.  The
 * flags live in another register.
 */
static uint32_t read_fpcr(void)
{
    uint64_t x;

    __asm__ __volatile__("mrs %0, fpcr" : "=r"(x));
    return (uint32_t)x;
}

static void write_fpcr(uint32_t x)
{
    __asm__ __volatile__("msr fpcr, %0" ::"r"((uint64_t)x) : "memory");
}

uint32_t dcmi_fpenv_enter(void)
{
    const uint32_t old = read_fpcr();

    if (DCMI_UNLIKELY(old != 0))
        write_fpcr(0);
    return old;
}

void dcmi_fpenv_leave(uint32_t old)
{
    if (DCMI_UNLIKELY(old != 0))
        write_fpcr(old);
}

#else

void dcmi_stream_fence(void)
{
}

/* No such register is known here: the caller's state is what it is. */
uint32_t dcmi_fpenv_enter(void)
{
    return 0;
}

void dcmi_fpenv_leave(uint32_t old)
{
    (void)old;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reduction of host memory: the one place where the CPU backend does
 * arithmetic.  docs/numerics.md holds the rules; scalar.c is the reference that
 * every other version equals bit for bit.
 */
#ifndef DCMI_REDUCE_H
#define DCMI_REDUCE_H

#include <devcomm/devcomm.h>

/*
 * For i in 0..count-1: dst[d][i] = finish(src[0][i] op src[1][i] op ...), in
 * the order of `src`, for every d in 0..ndst-1.  Between dcmi_fpenv_enter() and
 * dcmi_fpenv_leave(), else the caller's rounding mode shows in the result.
 *
 *  nsrc   1 .. DCM_MAX_RANKS; ndst 1 .. DCM_MAX_RANKS
 *  count  elements; any alignment of every pointer, even of the element type
 *  avg_n  what DCM_AVG divides by (the ranks), 1 or more; for other operators
 *         ignored
 *  stream bit d set: whole lines of dst[d] are written with non-temporal stores
 *         where they exist (the caller orders them with dcmi_stream_fence()).
 *         Of several such destinations those count that lie in their lines as
 *         the first one does; the others get ordinary stores.
 *
 * dst[d] may equal any src[s] exactly (element i is read from every source
 * before it is written anywhere), but no partial overlap.
 */
typedef struct dcmi_reduce_args {
    void *const *dst;
    const void *const *src;
    int ndst;
    int nsrc;
    int avg_n;
    uint64_t stream;
    size_t count;
} dcmi_reduce_args;

typedef void (*dcmi_reduce_fn)(const dcmi_reduce_args *a);

/* A set of functions for one instruction set. */
typedef struct dcmi_reduce_ops {
    const char *name; /* scalar, base, avx2, avx512, avx512bf16 */
    dcmi_reduce_fn fn[DCM_NDTYPES][DCM_NOPS]; /* none is NULL */
    /*
     * Copies without overlap; copy_stream uses non-temporal stores for whole
     * lines where they exist.
     */
    void (*copy)(void *dst, const void *src, size_t bytes);
    void (*copy_stream)(void *dst, const void *src, size_t bytes);
    /* Ask for lines that will be written: a hint, which touches nothing. */
    void (*warm)(void *at, size_t bytes);
} dcmi_reduce_ops;

/*
 * The best set that this processor runs, or the one called `name` (NULL: the
 * best).  NULL when there is no such set or the processor lacks it.
 */
const dcmi_reduce_ops *dcmi_reduce_select(const char *name);

/*
 * Set i of all compiled ones that this processor runs, the slowest first; NULL
 * past the last.
 */
const dcmi_reduce_ops *dcmi_reduce_nth(size_t i);

/* Order non-temporal stores before later stores (sfence; nothing on Arm). */
void dcmi_stream_fence(void);

/*
 * Floating-point state: results must not depend on the caller's rounding mode
 * or flush-to-zero bits.  enter() sets the default and returns the old state,
 * leave() restores it; a few cycles when nothing differs (then exception flags
 * that the arithmetic raised stay raised).  Known for x86-64 and aarch64; on
 * others both do nothing.
 */
uint32_t dcmi_fpenv_enter(void);
void dcmi_fpenv_leave(uint32_t old);

#endif /* DCMI_REDUCE_H */

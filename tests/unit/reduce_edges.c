/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands round the arithmetic of the CPU reduction: how a set is chosen,
 * that nothing is touched outside the buffers, copies, and the floating-point
 * state.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"
#include "reduce_checks.h"
#include "reduce_oracle.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static int expect(bool is_right, const char *what)
{
    if (!is_right)
        fprintf(stderr, "%s\n", what);
    return !is_right;
}

int check_sets(void)
{
    const dcmi_reduce_ops *ops, *last = NULL;
    int wrong = 0;
    size_t n;

    for (n = 0; (ops = dcmi_reduce_nth(n)) != NULL; n++) {
        last = ops;
        printf("set %s\n", ops->name);
        wrong += expect(dcmi_reduce_select(ops->name) == ops, ops->name);
        wrong += expect(ops->copy != NULL && ops->copy_stream != NULL, "copy");
        for (int type = 0; type < DCM_NDTYPES; type++)
            for (int op = 0; op < DCM_NOPS; op++)
                wrong += expect(ops->fn[type][op] != NULL, "fn");
    }
    wrong += expect(n >= 2, "there are scalar and base at least");
    wrong += expect(strcmp(dcmi_reduce_nth(0)->name, "scalar") == 0, "scalar");
    wrong += expect(strcmp(dcmi_reduce_nth(1)->name, "base") == 0, "base");
    wrong += expect(dcmi_reduce_select(NULL) == last, "the best is the last");
    wrong += expect(dcmi_reduce_nth(n + 1) == NULL, "past the last");
    wrong += expect(dcmi_reduce_select("avx") == NULL, "no such set");
    wrong += expect(dcmi_reduce_select("") == NULL, "no name");
    return wrong;
}

/* ---- between two pages that cannot be touched ------------------------------ */

enum {
    WALLED = 4
};

static unsigned char *walled[WALLED]; /* a page each */
static size_t page;

static int build_walls(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < WALLED; i++) {
        unsigned char *p =
            mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED ||
            mprotect(p + page, page, PROT_READ | PROT_WRITE) != 0)
            return -1;
        walled[i] = p + page;
    }
    return 0;
}

/* `bytes` at the lower or the upper wall of page i. */
static unsigned char *at_wall(int i, size_t bytes, bool is_upper)
{
    return walled[i] + (is_upper ? page - bytes : 0);
}

static void at_both_walls(const dcmi_reduce_ops *ops, dcm_dtype dtype,
                          dcm_op op, size_t count)
{
    const size_t bytes = count * dcm_dtype_bytes(dtype);

    for (int k = 0; k < 4; k++) {
        const void *const src[2] = {at_wall(0, bytes, k & 1),
                                    at_wall(1, bytes, k & 1)};
        void *const dst[2] = {at_wall(2, bytes, k & 1),
                              at_wall(3, bytes, k & 1)};

        ops->fn[dtype][op](&(dcmi_reduce_args){
            .dst = dst,
            .src = src,
            .ndst = 2,
            .nsrc = 2,
            .avg_n = 2,
            .stream = (k & 2) != 0 ? 3 : 0,
            .count = count,
        });
    }
}

/* A wrong access ends the program. */
int check_bounds(void)
{
    const dcmi_reduce_ops *ops;

    if (build_walls() != 0)
        return expect(false, "mmap");
    for (size_t k = 0; (ops = dcmi_reduce_nth(k)) != NULL; k++) {
        for (size_t n = 0; n < 300; n++) {
            for (int type = 0; type < DCM_NDTYPES; type++)
                for (int op = 0; op < DCM_NOPS && n * DCM_NOPS < 700; op++)
                    at_both_walls(ops, (dcm_dtype)type, (dcm_op)op, n);
            for (int up = 0; up < 2; up++) {
                ops->copy(at_wall(0, n, up), at_wall(1, n, up), n);
                ops->copy_stream(at_wall(0, n, up), at_wall(1, n, up), n);
            }
        }
    }
    for (int i = 0; i < WALLED; i++)
        munmap(walled[i] - page, 3 * page);
    return 0;
}

/* ---- copies --------------------------------------------------------------- */

enum {
    COPY_MAX = 70000,
    COPY_ROOM = COPY_MAX + 256
};

static unsigned char from[COPY_ROOM], to[COPY_ROOM], expected[COPY_ROOM];

static int copy_once(const dcmi_reduce_ops *ops, bool is_stream, size_t bytes,
                     size_t dst_at, size_t src_at)
{
    const size_t used = bytes + 128;

    memset(to, 0xa5, used);
    memset(expected, 0xa5, used);
    memcpy(expected + dst_at, from + src_at, bytes);
    (is_stream ? ops->copy_stream : ops->copy)(to + dst_at, from + src_at,
                                               bytes);
    dcmi_stream_fence();
    if (memcmp(to, expected, used) == 0)
        return 0;
    fprintf(stderr, "%s: copy of %zu bytes from +%zu to +%zu, stream %d\n",
            ops->name, bytes, src_at, dst_at, is_stream);
    return 1;
}

int check_copies(void)
{
    static const size_t longer[] = {1023, 1024, 4096, 5000, 65536, COPY_MAX};
    const dcmi_reduce_ops *ops;
    int wrong = 0;

    for (size_t i = 0; i < COPY_ROOM; i++)
        from[i] = (unsigned char)data_random();
    for (size_t k = 0; (ops = dcmi_reduce_nth(k)) != NULL; k++) {
        for (size_t n = 0; n < 700 + DCMI_ARRAY_LEN(longer); n++) {
            const size_t bytes = n < 700 ? n : longer[n - 700];

            for (int i = 0; i < 8; i++)
                wrong += copy_once(ops, i & 1, bytes, data_random() % 64,
                                   i < 2 ? 0 : data_random() % 64);
        }
    }
    return wrong;
}

/* ---- floating-point state --------------------------------------------------- */

#if defined(__x86_64__)
/* FTZ, DAZ, rounding up, all masked; invalid operation not masked. */
static const uint32_t odd_states[] = {0xdfc0, 0x1f00, 0x7f80, 0x3f80};
enum {
    STATE_FLAGS = 0x3f
};

static uint32_t state_get(void)
{
    return _mm_getcsr();
}

static void state_set(uint32_t x)
{
    _mm_setcsr(x);
}
#elif defined(__aarch64__)
/* FZ and rounding up; default NaN; alternative half precision; FZ16. */
static const uint32_t odd_states[] = {0x01400000, 0x02000000, 0x04000000,
                                      0x00c80000};
enum {
    STATE_FLAGS = 0
};

static uint32_t state_get(void)
{
    uint64_t x;

    __asm__ __volatile__("mrs %0, fpcr" : "=r"(x));
    return (uint32_t)x;
}

static void state_set(uint32_t x)
{
    __asm__ __volatile__("msr fpcr, %0" ::"r"((uint64_t)x) : "memory");
}
#endif

#if defined(__x86_64__) || defined(__aarch64__)
enum {
    STATE_COUNT = 2048
};

static unsigned char state_in[2][STATE_COUNT * 8], state_out[STATE_COUNT * 8],
    state_want[STATE_COUNT * 8];

static void run_all(const dcmi_reduce_ops *ops, dcm_dtype dtype, dcm_op op,
                    unsigned char *out)
{
    const void *const src[2] = {state_in[0], state_in[1]};
    void *const dst[1] = {out};

    ops->fn[dtype][op](&(dcmi_reduce_args){
        .dst = dst,
        .src = src,
        .ndst = 1,
        .nsrc = 2,
        .avg_n = 3,
        .count = STATE_COUNT,
    });
}

static int in_state(uint32_t odd, dcm_dtype dtype, dcm_op op)
{
    const dcmi_reduce_ops *ops;
    int wrong = 0;

    run_all(dcmi_reduce_select("scalar"), dtype, op, state_want);
    for (size_t k = 0; (ops = dcmi_reduce_nth(k)) != NULL; k++) {
        const uint32_t before = state_get();
        uint32_t old, left;

        state_set(odd);
        old = dcmi_fpenv_enter();
        run_all(ops, dtype, op, state_out);
        dcmi_fpenv_leave(old);
        left = state_get();
        state_set(before);
        wrong += expect((left ^ odd) == 0, "the state was not put back");
        wrong += data_compare("state", ops->name, dtype, op, state_out,
                              state_want, STATE_COUNT);
    }
    return wrong;
}

int check_environment(void)
{
    const uint32_t usual = state_get();
    int wrong = 0;
    uint32_t old;

    for (size_t k = 0; k < DCMI_ARRAY_LEN(odd_states); k++) {
        for (int type = 0; type < DCM_NDTYPES; type++) {
            data_fill((dcm_dtype)type, state_in[0], STATE_COUNT);
            data_fill((dcm_dtype)type, state_in[1], STATE_COUNT);
            for (int op = 0; op < DCM_NOPS; op++)
                wrong += in_state(odd_states[k], (dcm_dtype)type, (dcm_op)op);
        }
    }
    old = dcmi_fpenv_enter();
    dcmi_fpenv_leave(old);
    wrong += expect(((state_get() ^ usual) & ~(uint32_t)STATE_FLAGS) == 0,
                    "the usual state was changed");
    return wrong;
}
#else
int check_environment(void)
{
    return 0;
}
#endif

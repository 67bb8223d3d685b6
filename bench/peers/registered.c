/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What buffers that both ranks see allow: an f32 sum of two ranks with nothing
 * around it, no check of the call, no deadline, no care for a dead peer.  An
 * arena of the library is held against it in the same rounds.
 *
 * The inputs are complete when both ranks have posted `begun`; the outputs, and
 * the inputs free again, when both have posted `ended`.  Between the two:
 *
 *   one          each rank adds both inputs into its own output
 *   two          each rank adds its half of both inputs into both outputs
 *   one_stream   as one and two, outputs by non-temporal stores
 *   two_stream
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "loop.h"

enum {
    LINE = 64,
    SECTOR = 256, /* apart enough for every prefetcher */
    GRAIN = 128,  /* of the halves, and of what the loops do at once */
};

typedef struct word {
    _Alignas(SECTOR) _Atomic uint32_t v;
} word;

typedef struct meeting {
    word begun[2];
    word ended[2];
} meeting;

typedef struct registered {
    meeting *meeting; /* shared, as the buffers */
    unsigned char *src[2];
    unsigned char *dst[2];
    int rank;
    uint32_t epoch;
    bool is_two;
    bool is_stream;
} registered;

static void meet(registered *g, word *words)
{
    _Atomic uint32_t *mine = &words[g->rank].v;
    _Atomic uint32_t *peer = &words[1 - g->rank].v;

    atomic_store_explicit(mine, g->epoch, memory_order_release);
    while ((int32_t)(atomic_load_explicit(peer, memory_order_acquire) -
                     g->epoch) < 0)
        continue;
}

#if defined(__AVX512F__)

enum {
    STEP = LINE
};
typedef __m512 vec;

static void put(unsigned char *at, vec v, bool is_stream)
{
    if (is_stream)
        _mm512_stream_ps((float *)(void *)at, v);
    else
        _mm512_storeu_ps((float *)(void *)at, v);
}

static vec get(const unsigned char *at)
{
    return _mm512_loadu_ps((const float *)(const void *)at);
}

static void fence(void)
{
    _mm_sfence();
}

#else

enum {
    STEP = 16
};
typedef float vec __attribute__((vector_size(16)));

static void put(unsigned char *at, vec v, bool is_stream)
{
#if defined(__SSE__)
    if (is_stream) {
        _mm_stream_ps((float *)(void *)at, v);
        return;
    }
#else
    (void)is_stream;
#endif
    memcpy(at, &v, sizeof(v));
}

static vec get(const unsigned char *at)
{
    vec v;

    memcpy(&v, at, sizeof(v));
    return v;
}

static void fence(void)
{
#if defined(__SSE__)
    _mm_sfence();
#endif
}

#endif

/*
 * dst[0] and, unless NULL, dst[1] = a + b; whole steps, then floats.  Inlined
 * with constants, so that each mode is a loop of its own.
 */
static inline __attribute__((always_inline)) void
add(unsigned char *const dst[2], const unsigned char *a, const unsigned char *b,
    size_t bytes, bool is_stream)
{
    size_t i = 0;

    for (; i + 2 * STEP <= bytes; i += 2 * STEP) {
        const vec low = get(a + i) + get(b + i);
        const vec high = get(a + i + STEP) + get(b + i + STEP);

        put(dst[0] + i, low, is_stream);
        put(dst[0] + i + STEP, high, is_stream);
        if (dst[1] != NULL) {
            put(dst[1] + i, low, is_stream);
            put(dst[1] + i + STEP, high, is_stream);
        }
    }
    for (; i < bytes; i += sizeof(float)) {
        float x;
        float y;

        memcpy(&x, a + i, sizeof(x));
        memcpy(&y, b + i, sizeof(y));
        x += y;
        memcpy(dst[0] + i, &x, sizeof(x));
        if (dst[1] != NULL)
            memcpy(dst[1] + i, &x, sizeof(x));
    }
    if (is_stream)
        fence();
}

static void reduce(const registered *g, size_t at, size_t bytes)
{
    const unsigned char *a = g->src[0] + at;
    const unsigned char *b = g->src[1] + at;
    unsigned char *own = g->dst[g->rank] + at;
    unsigned char *peer = g->dst[1 - g->rank] + at;

    if (g->is_two && g->is_stream)
        add((unsigned char *[]){own, peer}, a, b, bytes, true);
    else if (g->is_two)
        add((unsigned char *[]){own, peer}, a, b, bytes, false);
    else if (g->is_stream)
        add((unsigned char *[]){own, NULL}, a, b, bytes, true);
    else
        add((unsigned char *[]){own, NULL}, a, b, bytes, false);
}

static void run(void *arg, const bp_call *b)
{
    registered *g = arg;
    const size_t bytes = b->count * sizeof(float);
    size_t half = bytes;

    if (g->is_two)
        half = (bytes / 2 + GRAIN - 1) / GRAIN * GRAIN;
    if (half > bytes)
        half = bytes;
    g->epoch++;
    meet(g, g->meeting->begun);
    if (!g->is_two || g->rank == 0)
        reduce(g, 0, half);
    else
        reduce(g, half, bytes - half);
    meet(g, g->meeting->ended);
}

int main(int argc, char **argv)
{
    registered g = {.epoch = 0};
    bp_driver driver = {.arg = &g, .run = run};
    bp_plan plan;
    bp_loop *loop;

    bp_parse(&plan, "registered", argc, argv);
    if (plan.nranks != 2 || plan.op != BP_ALL_REDUCE || plan.dtype != BP_F32)
        bp_fail("registered: all_reduce of f32 on 2 ranks only");
    plan.is_rewritten = 1;
    g.is_two = strncmp(plan.variant, "two", 3) == 0;
    g.is_stream = strstr(plan.variant, "_stream") != NULL;
    g.meeting = bp_pages(sizeof(*g.meeting), 1);
    for (int r = 0; r < 2; r++) {
        g.src[r] = bp_pages(plan.max_bytes, 1);
        g.dst[r] = bp_pages(plan.max_bytes, 1);
    }
    g.rank = bp_fork(plan.nranks);
    loop = bp_open(&plan, g.rank);
    driver.src = g.src[g.rank];
    driver.dst = g.dst[g.rank];
    bp_run(loop, &driver);
    return bp_join(g.rank);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: what an all-reduce of two ranks cannot beat on this machine, as it
 * is placed at this moment, put together from the moves that it must make.
 *
 *   exchange   each rank stores a line and reads the peer's
 *   mail       exchange of as many lines as the message needs, added on
 *              arrival; to 4 KiB, and only where a line is one store (AVX-512)
 *   one shot   exchange + add what the peer just wrote to own data
 *   two shots  2 exchanges + add half of it + read the half that the peer added
 *   stream     from 16 MiB: both ranks copy the message by non-temporal stores.
 *              That is the least traffic, 4 bytes a byte in all: each rank
 *              reads half of both inputs and writes half of both outputs.
 *
 * The floor is the least of them, from 16 MiB the last.  Only one rank reads at
 * a time in the shots; real code, where both do, can come near but not there.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "loop.h"

enum {
    MIB = 1024 * 1024,
    LINE = 64,
    LINE_DATA = 56,
    MAIL_MAX = 4096, /* bytes of a message */
    MAIL_LINES = 80,
    SHOT_MAX = 4 * MIB,
    RUNS = 9,
    ROUNDS = 1000, /* exchanges a run */
    STREAM_RUNS = 7,
    TIMER_RUNS = 101,
};

typedef float vec __attribute__((vector_size(LINE), aligned(LINE)));

typedef struct floor_state {
    bp_loop *loop;
    int rank;
    unsigned char *mail; /* shared: [rank][half][line] */
    unsigned char *wire; /* shared: what rank 0 writes and rank 1 reads */
    unsigned char *src;  /* private */
    unsigned char *dst;
    uint64_t epoch;
    double timer_us; /* one reading of the clock */
} floor_state;

typedef struct parts {
    double exchange;
    double mail;
    double one_shot;
    double two_shot;
    double stream;
} parts;

static double slowest(floor_state *f, double us)
{
    double all[2];

    (void)bp_all_gather(f->loop, &us, all, sizeof(us));
    return all[0] > all[1] ? all[0] : all[1];
}

/* ---- lines --------------------------------------------------------------- */

#if defined(__AVX512F__)

static unsigned char *line_of(const floor_state *f, int rank, size_t i)
{
    const size_t half = (size_t)rank * 2 + (f->epoch & 1);

    return f->mail + (half * MAIL_LINES + i) * LINE;
}

static void exchange(floor_state *f, size_t lines)
{
    const __m512i flag = _mm512_set1_epi64((long long)++f->epoch);

    for (size_t i = 0; i < lines; i++) {
        const __m512i own = _mm512_loadu_si512(f->src + i * LINE_DATA);

        _mm512_store_si512(line_of(f, f->rank, i),
                           _mm512_mask_mov_epi64(own, 0x80, flag));
    }
    for (size_t i = 0; i < lines; i++) {
        const volatile __m512i *peer =
            (const volatile __m512i *)(const void *)line_of(f, 1 - f->rank, i);
        const __m512 own = _mm512_loadu_ps(f->src + i * LINE_DATA);
        __m512i got;

        do {
            got = *peer;
        } while (_mm512_mask_cmpneq_epi64_mask(0x80, got, flag) != 0);
        _mm512_mask_storeu_epi64(
            f->dst + i * LINE_DATA, 0x7f,
            _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(got), own)));
    }
}

#else

/* A flag beside the line: what machines without one-store lines must do. */
static void exchange(floor_state *f, size_t lines)
{
    _Atomic uint64_t *mine = (_Atomic uint64_t *)(void *)(f->mail);
    _Atomic uint64_t *peer = mine;

    (void)lines;
    f->epoch++;
    mine += (size_t)f->rank * 32;
    peer += (size_t)(1 - f->rank) * 32;
    atomic_store_explicit(mine, f->epoch, memory_order_release);
    while (atomic_load_explicit(peer, memory_order_acquire) < f->epoch)
        continue;
}

#endif

static double time_exchange(floor_state *f, size_t lines)
{
    double us[RUNS];

    for (int k = 0; k < RUNS; k++) {
        double start;

        bp_barrier(f->loop);
        start = bp_now_us();
        for (int i = 0; i < ROUNDS; i++)
            exchange(f, lines);
        us[k] = (bp_now_us() - start) / ROUNDS;
    }
    return slowest(f, bp_median(us, RUNS));
}

static double time_mail(floor_state *f, size_t bytes)
{
#if defined(__AVX512F__)
    if (bytes <= MAIL_MAX)
        return time_exchange(f, (bytes + LINE_DATA - 1) / LINE_DATA);
#endif
    (void)f;
    (void)bytes;
    return -1;
}

/* ---- shots --------------------------------------------------------------- */

/* To the next whole line; sizes below one are a line. */
static size_t lines_of(size_t bytes)
{
    return (bytes + LINE - 1) / LINE;
}

static void write_wire(const floor_state *f, size_t bytes, float value)
{
    const size_t n = lines_of(bytes);
    vec *wire = (vec *)(void *)f->wire;

    for (size_t i = 0; i < n; i++)
        wire[i] = (vec){0} + value;
}

static void add_wire(const floor_state *f, size_t bytes)
{
    const size_t n = lines_of(bytes);
    const vec *wire = (const vec *)(const void *)f->wire;
    const vec *src = (const vec *)(const void *)f->src;
    vec *dst = (vec *)(void *)f->dst;

    for (size_t i = 0; i < n; i++)
        dst[i] = wire[i] + src[i];
}

static void read_wire(const floor_state *f, size_t bytes)
{
    const size_t n = lines_of(bytes);
    const vec *wire = (const vec *)(const void *)f->wire;
    vec sum[4] = {{0}, {0}, {0}, {0}};
    size_t i = 0;

    for (; i + 4 <= n; i += 4) {
        for (size_t k = 0; k < 4; k++)
            sum[k] += wire[i + k];
    }
    for (; i < n; i++)
        sum[0] += wire[i];
    *(volatile vec *)(void *)f->dst = sum[0] + sum[1] + sum[2] + sum[3];
}

/* What rank 1 needs for data that rank 0 has just written. */
static double time_wire(floor_state *f, size_t bytes,
                        void (*take)(const floor_state *, size_t))
{
    const int runs = bytes <= MIB ? 101 : 15;
    double us[101];
    double p50;

    for (int k = 0; k < runs; k++) {
        double start;

        bp_barrier(f->loop);
        if (f->rank == 0)
            write_wire(f, bytes, (float)k);
        bp_barrier(f->loop);
        start = bp_now_us();
        if (f->rank == 1)
            take(f, bytes);
        us[k] = bp_now_us() - start;
    }
    p50 = bp_median(us, runs) - f->timer_us;
    return slowest(f, f->rank == 1 && p50 > 0 ? p50 : 0);
}

/* ---- stream -------------------------------------------------------------- */

static void copy_stream(const floor_state *f, size_t bytes)
{
#if defined(__AVX512F__)
    for (size_t i = 0; i < bytes; i += LINE)
        _mm512_stream_si512((__m512i *)(void *)(f->dst + i),
                            _mm512_load_si512(f->src + i));
    _mm_sfence();
#elif defined(__AVX__)
    for (size_t i = 0; i < bytes; i += 32)
        _mm256_stream_ps((float *)(void *)(f->dst + i),
                         _mm256_load_ps((const float *)(void *)(f->src + i)));
    _mm_sfence();
#else
    memcpy(f->dst, f->src, bytes);
#endif
}

static double time_stream(floor_state *f, size_t bytes)
{
    double us[STREAM_RUNS];

    for (int k = 0; k < STREAM_RUNS; k++) {
        double start;

        bp_barrier(f->loop);
        start = bp_now_us();
        copy_stream(f, bytes);
        us[k] = slowest(f, bp_now_us() - start);
    }
    return bp_median(us, STREAM_RUNS);
}

/* ---- all of it ----------------------------------------------------------- */

static double least(const parts *p)
{
    const double all[] = {p->mail, p->one_shot, p->two_shot, p->stream};
    double min = -1;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] >= 0 && (min < 0 || all[i] < min))
            min = all[i];
    }
    return min;
}

static parts measure(floor_state *f, size_t bytes)
{
    parts p = {-1, -1, -1, -1, -1};

    p.exchange = time_exchange(f, 1);
    if (bytes > SHOT_MAX) {
        p.stream = time_stream(f, bytes);
        return p;
    }
    p.mail = time_mail(f, bytes);
    p.one_shot = p.exchange + time_wire(f, bytes, add_wire);
    p.two_shot = 2 * p.exchange + time_wire(f, bytes / 2, add_wire) +
                 time_wire(f, bytes / 2, read_wire);
    return p;
}

static void row(floor_state *f, size_t bytes)
{
    const double before = bp_probe(f->loop);
    const parts p = measure(f, bytes);
    const double after = bp_probe(f->loop);

    if (f->rank != 0)
        return;
    (void)printf("{\"peer\": \"floor\", \"variant\": \"model\", "
                 "\"dtype\": \"f32\", \"bytes\": %zu, \"ranks\": 2, "
                 "\"p50_us\": %.4f, \"min_us\": %.4f, "
                 "\"trip_before_ns\": %.0f, \"trip_after_ns\": %.0f, "
                 "\"wrong\": 0, \"exchange_us\": %.4f, \"mail_us\": %.4f, "
                 "\"one_shot_us\": %.4f, \"two_shot_us\": %.4f, "
                 "\"stream_us\": %.4f}\n",
                 bytes, least(&p), least(&p), before, after, p.exchange, p.mail,
                 p.one_shot, p.two_shot, p.stream);
    (void)fflush(stdout);
}

static double timer_cost(void)
{
    double us[TIMER_RUNS];

    for (int k = 0; k < TIMER_RUNS; k++) {
        const double start = bp_now_us();

        us[k] = bp_now_us() - start;
    }
    return bp_median(us, TIMER_RUNS);
}

int main(int argc, char **argv)
{
    floor_state f = {0};
    bp_plan plan;

    bp_parse(&plan, "floor", argc, argv);
    if (plan.nranks != 2)
        bp_fail("the floor is of 2 ranks");
    f.mail = bp_pages((size_t)4 * MAIL_LINES * LINE, 1);
    f.wire = bp_pages(SHOT_MAX, 1);
    f.rank = bp_fork(plan.nranks);
    f.loop = bp_open(&plan, f.rank);
    f.src = bp_pages(plan.max_bytes + BP_PAGE, 0);
    f.dst = bp_pages(plan.max_bytes + BP_PAGE, 0);
    f.timer_us = timer_cost();
    for (int i = 0; bp_size(i) != 0; i++) {
        if (bp_size(i) >= plan.min_bytes && bp_size(i) <= plan.max_bytes)
            row(&f, bp_size(i));
    }
    return bp_join(f.rank);
}

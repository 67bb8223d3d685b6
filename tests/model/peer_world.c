/* SPDX-License-Identifier: Apache-2.0 */
#include "model/peer_world.h"

void world_new(world *w, int n, uint64_t epoch, bool is_staged)
{
    memset(w, 0, sizeof(*w));
    w->n = n;
    w->timeout_ns = 60000000000u;
    if (is_staged)
        dcmi_peer_lay_out_staged(&w->lay, n, THREADS);
    else
        dcmi_peer_lay_out(&w->lay, n, THREADS);
    w->lay.block = BLOCK;
    w->want = malloc(1 << 20);
    assert_non_null(w->want);
    assert_int_equal(pthread_barrier_init(&w->barrier, NULL, (unsigned)n), 0);
    for (int r = 0; r < n; r++) {
        rank_state *s = &w->rank[r];

        s->staging = aligned_alloc(4096, w->lay.bytes);
        s->src = aligned_alloc(64, 1 << 20);
        s->dst = aligned_alloc(64, 1 << 20);
        assert_non_null(s->staging);
        assert_non_null(s->src);
        assert_non_null(s->dst);
        memset(s->staging, 0, w->lay.words_at);
        memset(s->staging + w->lay.words_at, 0xff,
               w->lay.bytes - w->lay.words_at);
        for (int i = 0; i < DCMK_GRID; i++)
            s->epochs[i] = epoch;
        s->watch.turn.begun = epoch - 1;
        for (int i = 0; i < 2 * DCMK_RANKS * DCMK_MESSAGE_GRID; i++)
            s->counters[i] = epoch;
        for (int p = 0; p < n; p++) {
            const uint64_t taken = epoch - 1;

            memcpy(s->staging + w->lay.taken.at +
                       (uint64_t)p * w->lay.taken.slot,
                   &taken, sizeof(taken));
        }
        s->watch.fail = address(&w->fail);
        s->watch.record = address(&s->record);
        for (int p = 0; p < n; p++) {
            s->watch.life[p] = address(&w->life[p]);
            s->watch.stage[p] = address(&w->stage[p]);
        }
    }
}

void world_free(world *w)
{
    for (int r = 0; r < w->n; r++) {
        free(w->rank[r].staging);
        free(w->rank[r].src);
        free(w->rank[r].dst);
    }
    free(w->want);
    (void)pthread_barrier_destroy(&w->barrier);
}

typedef struct rank_arg {
    world *w;
    int rank;
    void (*fn)(world *w, int rank, void *arg);
    void *arg;
} rank_arg;

static void *rank_main(void *arg)
{
    const rank_arg *a = arg;

    a->fn(a->w, a->rank, a->arg);
    return NULL;
}

void run(world *w, void (*fn)(world *w, int rank, void *arg), void *arg)
{
    pthread_t threads[MOST];
    rank_arg args[MOST];

    for (int r = 0; r < w->n; r++) {
        args[r] = (rank_arg){w, r, fn, arg};
        assert_int_equal(pthread_create(&threads[r], NULL, rank_main, &args[r]),
                         0);
    }
    for (int r = 0; r < w->n; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

typedef struct launch {
    dcmk_host_fn fn;
    const dcmk_args *args;
    dcmk_block block;
} launch;

static void *block_main(void *arg)
{
    const launch *l = arg;

    l->fn(l->args, &l->block);
    return NULL;
}

void run_grid(const world *w, const char *name, const dcmk_args *args,
              uint32_t grid, uint32_t threads)
{
    const dcmk_host_fn fn = dcmk_host_kernel(name);
    launch l[8];
    pthread_t t[8];

    die_unless(fn != NULL);
    for (uint32_t b = 0; b < grid; b++) {
        const launch one = {fn, args, {b, grid, threads}};

        if (!w->is_parallel || grid > 8) {
            (void)block_main((void *)(uintptr_t)&one);
            continue;
        }
        l[b] = one;
        die_unless(pthread_create(&t[b], NULL, block_main, &l[b]) == 0);
    }
    for (uint32_t b = 0; b < grid && w->is_parallel && grid <= 8; b++)
        die_unless(pthread_join(t[b], NULL) == 0);
}

void common_args(world *w, int rank, dcmk_args *a)
{
    rank_state *s = &w->rank[rank];

    a->epochs = address(s->epochs);
    a->watch = address(&s->watch);
    a->timeout_ns = w->timeout_ns;
    a->rank = rank;
    for (int p = 0; p < w->n; p++)
        a->peer[p] = address(w->rank[p].staging);
}

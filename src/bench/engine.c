/* SPDX-License-Identifier: Apache-2.0 */
/* The sweep: communicator, buffers, and one row after the other. */
#include "bench/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "bench/measure.h"
#include "bench/ops.h"
#include "bench/pin.h"

enum {
    PAGE_BYTES = 4096
};

static const char *const op_names[] = {
#define DCMI_X(id, name) [DCMI_BENCH_##id] = (name),
    DCMI_BENCH_MAP(DCMI_X)
#undef DCMI_X
};

const char *dcmi_bench_op_str(dcmi_bench_op op)
{
    return (unsigned)op < DCMI_BENCH_COUNT ? op_names[op] : NULL;
}

double dcmi_bench_bus_factor(dcmi_bench_op op, int nranks)
{
    const double moved = (double)(nranks - 1) / (double)nranks;

    switch (op) {
    case DCMI_BENCH_ALL_REDUCE:
        return 2.0 * moved;
    case DCMI_BENCH_BROADCAST:
    case DCMI_BENCH_REDUCE:
    case DCMI_BENCH_SENDRECV:
        return 1.0;
    case DCMI_BENCH_ALL_GATHER:
    case DCMI_BENCH_ALL_TO_ALL:
    case DCMI_BENCH_EXCHANGE:
    case DCMI_BENCH_GATHER:
    case DCMI_BENCH_REDUCE_SCATTER:
    case DCMI_BENCH_SCATTER:
        return moved;
    case DCMI_BENCH_BARRIER:
    case DCMI_BENCH_COUNT:
    default:
        return 0.0;
    }
}

size_t dcmi_bench_next_count(const dcmi_bench_opts *opts, size_t elem_bytes,
                             size_t count)
{
    /* Small sizes may give the same count twice: it is taken once. */
    for (size_t bytes = opts->min_bytes; bytes <= opts->max_bytes;
         bytes *= opts->factor) {
        if (bytes / elem_bytes > count)
            return bytes / elem_bytes;
        if (bytes > SIZE_MAX / opts->factor)
            break;
    }
    return 0;
}

dcm_status dcmi_bench_agree(dcmi_bench *b, dcm_status st, uint64_t value,
                            uint64_t *max_p, uint64_t *sum_p)
{
    dcmi_vote mine = {.status = st, .value = value};
    uint64_t max = 0;
    uint64_t sum = 0;
    dcm_status sent;

    if (st != DCM_OK)
        (void)snprintf(mine.message, sizeof(mine.message), "%s", dcm_errmsg());
    sent = dcm_group_exchange(b->group, &mine, b->votes, sizeof(mine), 0);
    if (sent != DCM_OK)
        return st != DCM_OK ? dcmi_err(st, "%s", mine.message) : sent;

    for (int r = 0; r < b->nranks; r++) {
        dcmi_vote *v = &b->votes[r];

        v->message[sizeof(v->message) - 1] = '\0';
        if (v->status != DCM_OK)
            return dcmi_err((dcm_status)v->status, "rank %d: %s", r,
                            v->message);
        max = v->value > max ? v->value : max;
        sum += v->value;
    }
    if (max_p != NULL)
        *max_p = max;
    if (sum_p != NULL)
        *sum_p = sum;
    return DCM_OK;
}

static dcm_status take_block(dcmi_bench *b, void **block_p, void **buf_p)
{
    const size_t bytes = b->opts->max_bytes + 2 * (size_t)PAGE_BYTES;
    void *block = NULL;
    dcm_status st = DCM_OK;

    if (b->arena != NULL)
        st = dcm_arena_alloc(b->arena, &block, bytes);
    else if (posix_memalign(&block, PAGE_BYTES, bytes) != 0)
        st = dcmi_err(DCM_E_NOMEM, "a buffer of %zu bytes", bytes);
    if (st != DCM_OK)
        return st;
    /* Touched here, by its rank, and never for the first time when timed. */
    memset(block, 0, bytes);
    *block_p = block;
    *buf_p = (char *)block + PAGE_BYTES;
    return DCM_OK;
}

static void give_block(dcmi_bench *b, void *block)
{
    if (b->arena == NULL)
        free(block);
    else if (block != NULL)
        dcm_arena_release(b->arena, block);
}

static dcm_status take_buffers(dcmi_bench *b)
{
    dcm_status st = DCM_OK;

    if (b->opts->op == DCMI_BENCH_BARRIER)
        return DCM_OK;
    if (b->opts->use_arena)
        /* Alignment of both blocks may cost some bytes each. */
        st = dcm_arena_new(&b->arena, b->comm,
                           2 * (b->opts->max_bytes + 3 * (size_t)PAGE_BYTES));
    if (st == DCM_OK)
        st = take_block(b, &b->dst_block, &b->dst);
    if (st == DCM_OK && !b->opts->is_in_place)
        st = take_block(b, &b->src_block, &b->src);
    if (b->opts->is_in_place)
        b->src = b->dst;
    return dcmi_bench_agree(b, st, 0, NULL, NULL);
}

/* Communicator and buffers; again after a refused call, which may end it. */
static dcm_status open_comm(dcmi_bench *b)
{
    const dcm_comm_opts co = {
        .size = sizeof(co),
        .backend = b->opts->backend,
        .algo = b->opts->algo,
        .timeout_ms = b->opts->timeout_ms,
    };
    const dcm_status st = dcm_comm_new(&b->comm, b->group, &co);

    return st == DCM_OK ? take_buffers(b) : st;
}

static void close_comm(dcmi_bench *b)
{
    give_block(b, b->src_block);
    give_block(b, b->dst_block);
    dcm_arena_free(b->arena);
    dcm_comm_free(b->comm);
    b->src_block = NULL;
    b->dst_block = NULL;
    b->arena = NULL;
    b->comm = NULL;
}

static void row_key(const dcmi_bench *b, dcmi_row *row, dcm_dtype dtype,
                    dcm_op redop, size_t count)
{
    const bool is_typed = dcmi_bench_is_typed(b->opts->op);

    memset(row, 0, sizeof(*row));
    (void)snprintf(row->op, sizeof(row->op), "%s",
                   dcmi_bench_op_str(b->opts->op));
    (void)snprintf(row->dtype, sizeof(row->dtype), "%s",
                   is_typed ? dcm_dtype_str(dtype) : "none");
    (void)snprintf(row->redop, sizeof(row->redop), "%s",
                   dcmi_bench_reduces(b->opts->op) ? dcm_op_str(redop)
                                                   : "none");
    (void)snprintf(row->memory, sizeof(row->memory), "%s",
                   b->arena != NULL ? "arena" : "private");
    row->count = count;
    row->bytes = is_typed ? count * dcm_dtype_bytes(dtype) : 0;
    row->is_in_place = is_typed && b->opts->is_in_place;
    row->nranks = b->nranks;
    row->ping_ns = -1.0;
    row->ping_after_ns = -1.0;
}

typedef struct sweep {
    dcmi_bench *b;
    const dcmi_bench_sink *sink;
    size_t done;
    size_t total;
    bool is_dry;     /* only count the rows */
    bool wants_stop; /* rank 0 has been told to */
    bool is_stopped; /* all know it */
} sweep;

/* Rank 0 may have been told to stop: all learn it before the next row. */
static dcm_status share_stop(sweep *s)
{
    uint64_t is_stopped;
    dcm_status st =
        dcmi_bench_agree(s->b, DCM_OK, s->wants_stop, &is_stopped, NULL);

    if (st == DCM_OK)
        s->is_stopped = is_stopped != 0;
    return st;
}

static dcm_status one_row(sweep *s, dcm_dtype dtype, dcm_op redop, size_t count)
{
    const bool is_told = s->b->rank == 0;
    dcmi_row row;
    dcm_status st;

    if (s->is_dry) {
        s->total++;
        return DCM_OK;
    }
    st = share_stop(s);
    if (st != DCM_OK || s->is_stopped)
        return st;
    row_key(s->b, &row, dtype, redop, count);
    if (is_told && s->sink->progress != NULL)
        s->sink->progress(s->sink->arg, s->done, s->total, &row);
    st = dcmi_bench_measure(s->b, &row, dtype, redop);
    if (st == DCM_OK && row.status != DCM_OK) {
        close_comm(s->b);
        st = open_comm(s->b);
    }
    s->done++;
    if (st == DCM_OK && is_told)
        s->wants_stop = !s->sink->row(s->sink->arg, &row);
    return st;
}

static dcm_status sweep_sizes(sweep *s, dcm_dtype dtype, dcm_op redop)
{
    const size_t elem = dcm_dtype_bytes(dtype);
    dcm_status st = DCM_OK;
    size_t count = 0;
    size_t last = 0;

    while (st == DCM_OK && !s->is_stopped) {
        size_t whole;

        count = dcmi_bench_next_count(s->b->opts, elem, count);
        if (count == 0)
            break;
        /* Small sizes may give the same blocks. */
        whole = dcmi_bench_whole(s->b->opts->op, s->b->nranks, count);
        if (whole * elem > dcmi_bench_most(s->b->opts->op, s->b->nranks))
            break;
        if (whole != last)
            st = one_row(s, dtype, redop, whole);
        last = whole;
    }
    return st;
}

static dcm_status sweep_all(sweep *s)
{
    const dcmi_bench_opts *o = s->b->opts;
    dcm_status st = DCM_OK;

    if (o->op == DCMI_BENCH_BARRIER)
        return one_row(s, DCM_F32, DCM_SUM, 0);
    for (int t = 0; t < o->ndtypes; t++) {
        const int nredops = dcmi_bench_reduces(o->op) ? o->nredops : 1;

        for (int r = 0; r < nredops && st == DCM_OK; r++)
            st = sweep_sizes(s, o->dtypes[t], o->redops[r]);
    }
    return st;
}

/* Bind this rank to a core of its own among the ranks of its host. */
static int pin(const dcmi_bench *b, const dcmi_cpuset *allowed)
{
    const int host = dcm_group_host_of(b->group, b->rank);
    int before = 0;
    int here = 0;
    int core;

    for (int r = 0; r < b->nranks; r++) {
        if (dcm_group_host_of(b->group, r) != host)
            continue;
        before += r < b->rank;
        here++;
    }
    core = b->opts->no_pin ? -1 : dcmi_pin_pick(allowed, before, here, "");
    return core >= 0 && dcmi_pin_thread(core) ? core : -1;
}

static dcm_status describe(dcmi_bench *b, int core, size_t total,
                           const dcmi_bench_sink *sink)
{
    dcmi_bench_setup setup = {.nranks = b->nranks, .nrows = total};
    dcm_comm_info info = {.size = sizeof(info)};
    int32_t mine = core;
    int32_t all[DCM_MAX_RANKS];
    dcm_status st = dcm_group_exchange(b->group, &mine, all, sizeof(mine), 0);

    if (st != DCM_OK || b->rank != 0 || sink->start == NULL)
        return st;
    for (int r = 0; r < b->nranks; r++)
        setup.core_of[r] = all[r];
    dcm_comm_info_get(b->comm, &info);
    setup.nhosts = dcm_group_nhosts(b->group);
    setup.backend = info.backend;
    setup.shared_bytes = info.shared_bytes;
    sink->start(sink->arg, &setup);
    return DCM_OK;
}

static dcm_status open_bench(dcmi_bench *b)
{
    const size_t n = (size_t)b->nranks;
    dcm_status st;

    b->votes = calloc(n, sizeof(*b->votes));
    b->ns = calloc(DCMI_BENCH_SAMPLES, sizeof(*b->ns));
    b->chunk = calloc(n, DCMI_BENCH_CHUNK * sizeof(*b->chunk));
    if (b->votes == NULL || b->ns == NULL || b->chunk == NULL)
        return dcmi_err(DCM_E_NOMEM, "the measuring engine");
    st = open_comm(b);
    return st == DCM_OK ? dcmi_probe_new(&b->probe, b->group) : st;
}

static void close_bench(dcmi_bench *b)
{
    close_comm(b);
    dcmi_probe_free(b->probe);
    free(b->chunk);
    free(b->ns);
    free(b->votes);
}

dcm_status dcmi_bench_run(dcm_group *group, const dcmi_bench_opts *opts,
                          const dcmi_bench_sink *sink)
{
    dcmi_bench b = {
        .opts = opts,
        .group = group,
        .rank = dcm_group_rank(group),
        .nranks = dcm_group_nranks(group),
    };
    sweep s = {.b = &b, .sink = sink, .is_dry = true};
    dcmi_cpuset allowed;
    dcm_status st;
    int core;

    if (opts->factor < 2 || opts->min_bytes == 0)
        return dcmi_err(DCM_E_INVAL, "a sweep from %zu bytes by factor %u",
                        opts->min_bytes, opts->factor);
    (void)sweep_all(&s);
    s.is_dry = false;

    dcmi_limits_affinity(&allowed);
    core = pin(&b, &allowed);
    st = open_bench(&b);
    if (st == DCM_OK)
        st = describe(&b, core, s.total, sink);
    if (st == DCM_OK)
        st = sweep_all(&s);
    if (st == DCM_OK)
        /* Leave together, so that no rank takes another's end for a death. */
        st = dcm_comm_finalize(b.comm, 0);
    close_bench(&b);
    if (core >= 0)
        dcmi_pin_restore(&allowed);
    return st;
}

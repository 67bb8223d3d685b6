/* SPDX-License-Identifier: Apache-2.0 */
/* One table: how the blocks of each operation move. */
#include "bench/ops.h"

#include "base/compiler.h"

enum {
    ROOT = 0,
    RESULT = -1, /* a block that holds the reduction, not one rank's input */
};

/* Who has blocks on a side. */
typedef enum side {
    NOBODY,
    ONE,      /* every rank one */
    ONE_ROOT, /* the root alone one */
    ALL,      /* every rank one a rank */
    ALL_ROOT, /* the root alone one a rank */
} side;

/* Whose input block `k` of this rank is. */
static int own(int rank, int k, int n)
{
    (void)k;
    (void)n;
    return rank;
}

static int of_block(int rank, int k, int n)
{
    (void)rank;
    (void)n;
    return k;
}

static int of_both(int rank, int k, int n)
{
    return (rank + k) % n;
}

static int of_root(int rank, int k, int n)
{
    (void)rank;
    (void)k;
    (void)n;
    return ROOT;
}

/* Whose message comes from the rank before. */
static int of_last(int rank, int k, int n)
{
    (void)k;
    return (rank + n - 1) % n;
}

static int of_all(int rank, int k, int n)
{
    (void)rank;
    (void)k;
    (void)n;
    return RESULT;
}

static const struct {
    side src;
    side dst;
    int (*src_of)(int rank, int k, int n);
    int (*dst_of)(int rank, int k, int n);
} moves[] = {
    [DCMI_BENCH_ALL_REDUCE] = {ONE, ONE, own, of_all},
    [DCMI_BENCH_BARRIER] = {NOBODY, NOBODY, own, own},
    [DCMI_BENCH_ALL_GATHER] = {ONE, ALL, own, of_block},
    [DCMI_BENCH_ALL_TO_ALL] = {ALL, ALL, of_both, of_both},
    [DCMI_BENCH_BROADCAST] = {ONE_ROOT, ONE, own, of_root},
    [DCMI_BENCH_GATHER] = {ONE, ALL_ROOT, own, of_block},
    [DCMI_BENCH_REDUCE] = {ONE, ONE_ROOT, own, of_all},
    [DCMI_BENCH_REDUCE_SCATTER] = {ALL, ONE, own, of_all},
    [DCMI_BENCH_SCATTER] = {ALL_ROOT, ONE, of_block, own},
    [DCMI_BENCH_EXCHANGE] = {ONE, ALL, own, of_block},
    [DCMI_BENCH_SENDRECV] = {ONE, ONE, own, of_last},
};

_Static_assert(DCMI_ARRAY_LEN(moves) == DCMI_BENCH_COUNT, "one line each");

bool dcmi_bench_is_typed(dcmi_bench_op op)
{
    return moves[op].src != NOBODY;
}

bool dcmi_bench_reduces(dcmi_bench_op op)
{
    return moves[op].dst_of == of_all;
}

bool dcmi_bench_may_alias(dcmi_bench_op op)
{
    return op == DCMI_BENCH_ALL_REDUCE;
}

static bool is_cut(dcmi_bench_op op)
{
    return moves[op].src >= ALL || moves[op].dst >= ALL;
}

size_t dcmi_bench_whole(dcmi_bench_op op, int nranks, size_t count)
{
    const size_t n = (size_t)nranks;

    if (!is_cut(op) || count == 0)
        return count;
    return count < n ? n : count / n * n;
}

size_t dcmi_bench_most(dcmi_bench_op op, int nranks)
{
    return op == DCMI_BENCH_EXCHANGE ? (size_t)nranks * DCM_EXCHANGE_MAX
                                     : SIZE_MAX;
}

static int blocks(side s, const dcmi_bench *b)
{
    if ((s == ONE_ROOT || s == ALL_ROOT) && b->rank != ROOT)
        return 0;
    return s == NOBODY ? 0 : s >= ALL ? b->nranks : 1;
}

static size_t block_count(const dcmi_bench *b, size_t count)
{
    return is_cut(b->opts->op) ? count / (size_t)b->nranks : count;
}

size_t dcmi_bench_dst_count(const dcmi_bench *b, size_t count)
{
    return block_count(b, count) * (size_t)blocks(moves[b->opts->op].dst, b);
}

/* To the next rank and from the one before, side by side. */
static dcm_status send_and_receive(const dcmi_bench *b, size_t n,
                                   dcm_dtype dtype)
{
    dcm_status st = dcm_begin();

    if (st == DCM_OK)
        st = dcm_send(b->comm, b->src, n, dtype, (b->rank + 1) % b->nranks,
                      NULL);
    if (st == DCM_OK)
        st = dcm_recv(b->comm, b->dst, n, dtype, of_last(b->rank, 0, b->nranks),
                      NULL);
    return st == DCM_OK ? dcm_end() : st;
}

dcm_status dcmi_bench_call(const dcmi_bench *b, size_t count, dcm_dtype dtype,
                           dcm_op redop)
{
    const size_t n = block_count(b, count);

    switch (b->opts->op) {
    case DCMI_BENCH_BARRIER:
        return dcm_barrier(b->comm, NULL);
    case DCMI_BENCH_ALL_GATHER:
        return dcm_all_gather(b->comm, b->src, b->dst, n, dtype, NULL);
    case DCMI_BENCH_ALL_TO_ALL:
        return dcm_all_to_all(b->comm, b->src, b->dst, n, dtype, NULL);
    case DCMI_BENCH_BROADCAST:
        return dcm_broadcast(b->comm, b->src, b->dst, n, dtype, ROOT, NULL);
    case DCMI_BENCH_GATHER:
        return dcm_gather(b->comm, b->src, b->dst, n, dtype, ROOT, NULL);
    case DCMI_BENCH_REDUCE:
        return dcm_reduce(b->comm, b->src, b->dst, n, dtype, redop, ROOT, NULL);
    case DCMI_BENCH_REDUCE_SCATTER:
        return dcm_reduce_scatter(b->comm, b->src, b->dst, n, dtype, redop,
                                  NULL);
    case DCMI_BENCH_SCATTER:
        return dcm_scatter(b->comm, b->src, b->dst, n, dtype, ROOT, NULL);
    case DCMI_BENCH_EXCHANGE:
        return dcm_group_exchange(b->group, b->src, b->dst,
                                  n * dcm_dtype_bytes(dtype), 0);
    case DCMI_BENCH_SENDRECV:
        return send_and_receive(b, n, dtype);
    case DCMI_BENCH_ALL_REDUCE:
    case DCMI_BENCH_COUNT:
    default:
        return dcm_all_reduce(b->comm, b->src, b->dst, n, dtype, redop, NULL);
    }
}

dcm_status dcmi_bench_explain(const dcmi_bench *b, char *text, size_t bytes,
                              size_t count, dcm_dtype dtype, dcm_op redop)
{
    const bool is_message = b->opts->op == DCMI_BENCH_SENDRECV;
    const dcm_call call = {
        .size = sizeof(call),
        .name = is_message ? "send" : dcmi_bench_op_str(b->opts->op),
        .src = b->src,
        .dst = b->dst,
        .count = block_count(b, count),
        .dtype = dtype,
        .op = redop,
        .root = is_message ? (b->rank + 1) % b->nranks : ROOT,
    };

    return dcm_comm_explain_call(b->comm, text, bytes, &call);
}

void dcmi_bench_fill(const dcmi_bench *b, const dcmi_data *data, size_t count,
                     dcm_dtype dtype)
{
    const size_t n = block_count(b, count);
    const size_t bytes = n * dcm_dtype_bytes(dtype);

    for (int k = 0; k < blocks(moves[b->opts->op].src, b); k++)
        dcmi_data_fill(data, moves[b->opts->op].src_of(b->rank, k, b->nranks),
                       (char *)b->src + (size_t)k * bytes, n);
}

uint64_t dcmi_bench_wrong(const dcmi_bench *b, const dcmi_data *data,
                          size_t count, dcm_dtype dtype)
{
    const size_t n = block_count(b, count);
    const size_t bytes = n * dcm_dtype_bytes(dtype);
    uint64_t wrong = 0;

    for (int k = 0; k < blocks(moves[b->opts->op].dst, b); k++) {
        const int of = moves[b->opts->op].dst_of(b->rank, k, b->nranks);
        const char *at = (const char *)b->dst + (size_t)k * bytes;

        wrong += of == RESULT ? dcmi_data_wrong(data, at, n)
                              : dcmi_data_changed(data, of, at, n);
    }
    return wrong;
}

uint64_t dcmi_bench_changed(const dcmi_bench *b, const dcmi_data *data,
                            size_t count, dcm_dtype dtype)
{
    const size_t n = block_count(b, count);
    const size_t bytes = n * dcm_dtype_bytes(dtype);
    uint64_t wrong = 0;

    for (int k = 0; k < blocks(moves[b->opts->op].src, b); k++)
        wrong += dcmi_data_changed(
            data, moves[b->opts->op].src_of(b->rank, k, b->nranks),
            (const char *)b->src + (size_t)k * bytes, n);
    return wrong;
}

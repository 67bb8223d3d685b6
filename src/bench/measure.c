/* SPDX-License-Identifier: Apache-2.0 */
/* One row: verify, warm up, time, verify; engine.h has the steps. */
#include "bench/measure.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "bench/num.h"
#include "bench/ops.h"
#include "os/clock.h"

enum {
    POISON = 0xa5,
    SAMPLE_NS = 20000,   /* of many small operations: 200 clock readings */
    OPS_MAX = 250,       /* of a sample */
    SAMPLES_MIN = 15,    /* whatever the time */
    SAMPLES_AUTO = 1000, /* more say nothing new */
    WARM_NS = 2000000,
    WARM_OPS = 2000,
    ROW_MS = 100,
    STAGGER_NS = 1000000, /* a late rank of the barrier's check */
    BARRIER_ROUNDS = 8,
};

/* The operation of a row. */
typedef struct call {
    dcmi_bench *b;
    dcmi_row *row;
    dcm_dtype dtype;
    dcm_op redop;
} call;

static dcm_status run_op(const call *c)
{
    return dcmi_bench_call(c->b, c->row->count, c->dtype, c->redop);
}

/* `n` operations; *ns_p: how long all took. */
static dcm_status run_ops(const call *c, unsigned n, uint64_t *ns_p)
{
    const uint64_t start = dcmi_now_ns();
    dcm_status st = DCM_OK;

    for (unsigned i = 0; i < n && st == DCM_OK; i++)
        st = run_op(c);
    *ns_p = dcmi_now_ns() - start;
    return st;
}

static dcm_status new_data(const call *c, dcmi_data **data_p)
{
    const dcmi_data_spec spec = {
        .dtype = c->dtype,
        .op = c->redop,
        .nranks = c->b->nranks,
        .seed = ++c->b->seed,
        .is_random = c->b->opts->is_random,
    };

    return dcmi_data_new(data_p, &spec);
}

static size_t dst_bytes(const call *c)
{
    return dcmi_bench_dst_count(c->b, c->row->count) *
           dcm_dtype_bytes(c->dtype);
}

/* Input of this rank, and an output that holds nothing right. */
static void put_data(const call *c, const dcmi_data *data)
{
    const dcmi_bench *b = c->b;

    memset((char *)b->dst - DCMI_BENCH_GUARD, POISON,
           dst_bytes(c) + 2 * (size_t)DCMI_BENCH_GUARD);
    dcmi_bench_fill(b, data, c->row->count, c->dtype);
}

static uint64_t broken_guards(const call *c)
{
    const unsigned char *before =
        (const unsigned char *)c->b->dst - DCMI_BENCH_GUARD;
    const unsigned char *behind =
        (const unsigned char *)c->b->dst + dst_bytes(c);
    uint64_t broken = 0;

    for (int i = 0; i < DCMI_BENCH_GUARD; i++)
        broken += (uint64_t)(before[i] != POISON) + (behind[i] != POISON);
    return broken;
}

/* Elements of this rank that are not as they must be after put_data(). */
static uint64_t count_wrong(const call *c, const dcmi_data *data)
{
    const dcmi_bench *b = c->b;
    uint64_t wrong = dcmi_bench_wrong(b, data, c->row->count, c->dtype);

    if (b->src != b->dst)
        wrong += dcmi_bench_changed(b, data, c->row->count, c->dtype);
    return wrong + broken_guards(c);
}

/*
 * Every rank in turn comes late; nobody may leave before it came.  The clock is
 * one only inside a host.
 */
static dcm_status verify_barrier(const call *c, uint64_t *wrong_p)
{
    dcmi_bench *b = c->b;
    const bool is_one_host = dcm_group_nhosts(b->group) == 1;
    const int rounds = b->nranks < BARRIER_ROUNDS ? b->nranks : BARRIER_ROUNDS;
    uint64_t wrong = 0;

    for (int i = 0; i < rounds; i++) {
        uint64_t last_in;
        uint64_t in;
        uint64_t out;
        dcm_status st;

        if (i == b->rank)
            dcmi_nap_ns(STAGGER_NS);
        in = dcmi_now_ns();
        st = run_op(c);
        out = dcmi_now_ns();
        st = dcmi_bench_agree(b, st, in, &last_in, NULL);
        if (st != DCM_OK)
            return st;
        wrong += is_one_host && out < last_in;
    }
    *wrong_p = wrong;
    return DCM_OK;
}

/* Fresh data, one operation, compare; adds to the row's wrong elements. */
static dcm_status verify(const call *c)
{
    dcmi_data *data = NULL;
    uint64_t wrong = 0;
    dcm_status st;

    if (c->b->opts->op == DCMI_BENCH_BARRIER) {
        st = verify_barrier(c, &wrong);
    } else {
        st = new_data(c, &data);
        if (st == DCM_OK)
            put_data(c, data);
        st = dcmi_bench_agree(c->b, st, 0, NULL, NULL);
        if (st == DCM_OK)
            st = run_op(c);
        if (st == DCM_OK)
            wrong = count_wrong(c, data);
        dcmi_data_free(data);
    }
    st = dcmi_bench_agree(c->b, st, wrong, NULL, &wrong);
    if (st == DCM_OK)
        c->row->wrong += wrong;
    return st;
}

/*
 * In place every operation works on the last one's result: take values that
 * stay as they are, so that no infinity or subnormal comes up on the way.
 */
static void put_steady(const call *c)
{
    const size_t elem = dcm_dtype_bytes(c->dtype);
    const uint64_t one =
        dcmi_num_is_float(c->dtype) ? dcmi_num_encode(c->dtype, 1.0) : 1;
    char *at = c->b->dst;

    memset(at, 0, c->row->bytes);
    if (c->redop != DCM_PROD)
        return;
    for (size_t i = 0; i < c->row->count; i++)
        dcmi_num_store(c->dtype, at + i * elem, one);
}

/* Warm up and find out how long an operation takes, the same on all ranks. */
static dcm_status warm_up(const call *c, uint64_t *op_ns_p)
{
    static const unsigned rounds[] = {2, 8, 64};
    uint64_t op_ns = 0;
    uint64_t ns;
    dcm_status st;

    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        st = run_ops(c, rounds[i], &ns);
        st = dcmi_bench_agree(c->b, st, ns, &ns, NULL);
        if (st != DCM_OK)
            return st;
        op_ns = ns / rounds[i] + 1;
        if (ns > WARM_NS)
            break;
    }
    ns = WARM_NS / op_ns < WARM_OPS ? WARM_NS / op_ns : WARM_OPS;
    st = run_ops(c, (unsigned)ns, &ns);
    *op_ns_p = op_ns;
    return dcmi_bench_agree(c->b, st, 0, NULL, NULL);
}

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

static void plan_samples(const call *c, uint64_t op_ns)
{
    const dcmi_bench_opts *o = c->b->opts;
    const uint64_t budget =
        (o->row_ms != 0 ? o->row_ms : ROW_MS) * DCMI_NS_PER_MS;
    const uint64_t ops = clamp(SAMPLE_NS / op_ns, 1, OPS_MAX);

    c->row->ops_per_sample = (unsigned)ops;
    c->row->samples =
        (unsigned)(o->iters != 0 ? clamp(o->iters, 1, DCMI_BENCH_SAMPLES)
                                 : clamp(budget / (ops * op_ns), SAMPLES_MIN,
                                         SAMPLES_AUTO));
}

static dcm_status take_samples(const call *c)
{
    dcmi_bench *b = c->b;
    dcm_status st = DCM_OK;

    for (unsigned i = 0; i < c->row->samples && st == DCM_OK; i++) {
        st = dcm_barrier(b->comm, NULL);
        if (st == DCM_OK)
            st = run_ops(c, c->row->ops_per_sample, &b->ns[i]);
    }
    return dcmi_bench_agree(b, st, 0, NULL, NULL);
}

/* b->ns becomes the slowest rank's time, sample by sample. */
static dcm_status slowest(dcmi_bench *b, unsigned samples)
{
    for (unsigned from = 0; from < samples; from += DCMI_BENCH_CHUNK) {
        const unsigned left = samples - from;
        const unsigned n = left < DCMI_BENCH_CHUNK ? left : DCMI_BENCH_CHUNK;
        const dcm_status st = dcm_group_exchange(
            b->group, b->ns + from, b->chunk, n * sizeof(*b->ns), 0);

        if (st != DCM_OK)
            return st;
        for (unsigned i = 0; i < n * (unsigned)b->nranks; i++) {
            if (b->chunk[i] > b->ns[from + i % n])
                b->ns[from + i % n] = b->chunk[i];
        }
    }
    return DCM_OK;
}

static void sum_up(const call *c)
{
    static const double ns_per_us = 1000.0;
    double us[DCMI_BENCH_SAMPLES];
    dcmi_row *row = c->row;

    for (unsigned i = 0; i < row->samples; i++) {
        us[i] = (double)c->b->ns[i] / ns_per_us / (double)row->ops_per_sample;
        dcmi_hist_add(&row->hist, us[i]);
    }
    row->us = dcmi_stats_of(us, row->samples);
    if (row->us.p50 > 0.0)
        row->algbw_gbps = (double)row->bytes / (row->us.p50 * ns_per_us);
    row->busbw_gbps =
        row->algbw_gbps * dcmi_bench_bus_factor(c->b->opts->op, row->nranks);
}

static dcm_status probe(dcmi_bench *b, double *ns_p)
{
    /* Together, or one of the two waits in vain. */
    dcm_status st = dcmi_bench_agree(b, DCM_OK, 0, NULL, NULL);

    if (st == DCM_OK)
        *ns_p = dcmi_probe_run(b->probe);
    return st;
}

static dcm_status time_it(const call *c)
{
    const bool is_typed = dcmi_bench_is_typed(c->b->opts->op);
    const bool is_known = is_typed && c->b->src != c->b->dst;
    dcmi_data *data = NULL;
    uint64_t wrong = 0;
    uint64_t op_ns;
    dcm_status st = is_known ? new_data(c, &data) : DCM_OK;

    if (st == DCM_OK && is_known)
        put_data(c, data);
    else if (is_typed)
        put_steady(c);
    st = dcmi_bench_agree(c->b, st, 0, NULL, NULL);
    if (st == DCM_OK)
        st = warm_up(c, &op_ns);
    if (st == DCM_OK) {
        plan_samples(c, op_ns);
        st = take_samples(c);
    }
    if (st == DCM_OK)
        st = slowest(c->b, c->row->samples);
    if (st == DCM_OK && is_known)
        wrong = count_wrong(c, data);
    dcmi_data_free(data);
    st = dcmi_bench_agree(c->b, st, wrong, NULL, &wrong);
    if (st != DCM_OK)
        return st;
    c->row->wrong += wrong;
    sum_up(c);
    return is_known ? DCM_OK : verify(c);
}

static void name_path(const call *c)
{
    dcm_comm_info info = {.size = sizeof(info)};
    char text[1024];

    dcm_comm_info_get(c->b->comm, &info);
    (void)snprintf(c->row->backend, sizeof(c->row->backend), "%s",
                   info.backend != NULL ? info.backend : "none");
    if (dcmi_bench_explain(c->b, text, sizeof(text), c->row->count, c->dtype,
                           c->redop) != DCM_OK)
        (void)snprintf(text, sizeof(text), "-");
    /* An explanation begins with the algorithm's name. */
    (void)snprintf(c->row->algorithm, sizeof(c->row->algorithm), "%.*s",
                   (int)strcspn(text, ":"), text);
}

dcm_status dcmi_bench_measure(dcmi_bench *b, dcmi_row *row, dcm_dtype dtype,
                              dcm_op redop)
{
    const call c = {.b = b, .row = row, .dtype = dtype, .redop = redop};
    dcm_status st = probe(b, &row->ping_ns);

    if (st != DCM_OK)
        return st;
    name_path(&c);
    st = verify(&c);
    if (st == DCM_E_UNSUP || st == DCM_E_INVAL) {
        /* Refused by all ranks alike; the communicator is as it was. */
        row->status = st;
        (void)snprintf(row->message, sizeof(row->message), "%s", dcm_errmsg());
        return DCM_OK;
    }
    if (st == DCM_OK)
        st = time_it(&c);
    if (st == DCM_OK)
        st = probe(b, &row->ping_after_ns);
    return st;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a call: plan, arguments, launch.  No allocation, no wait. */
#include "backend/peer/ctx.h"
#include "base/err.h"
#include "base/parse.h"

dcmi_peer_algo dcmi_peer_algo_of(const dcmi_peer *c, const dcm_coll *coll)
{
    if (c->is_forced)
        return c->forced;
    return dcmi_peer_choose(&c->lay, coll->dtype,
                            coll->count * dcm_dtype_bytes(coll->dtype));
}

/* A call that waits for a piece of host memory would end in a fault. */
dcm_status dcmi_peer_check_pointer(const dcmi_peer *c, const void *ptr,
                                   const char *what, dcm_coll_kind kind)
{
    unsigned type = 0;
    const dcmi_cu_result r = c->home.cuda->pointer_attribute(
        &type, DCMI_CU_POINTER_TYPE, (dcmi_cu_ptr)(uintptr_t)ptr);

    if (DCMI_LIKELY(r == DCMI_CU_OK))
        return DCM_OK;
    return dcmi_err(DCM_E_INVAL,
                    "%s: %s %p is memory that the device cannot reach",
                    dcmi_coll_str(kind), what, ptr);
}

/* The call before this one was on another stream: this one comes after it. */
static DCMI_COLD dcm_status change_stream(dcmi_peer *c, dcm_stream stream)
{
    const dcmi_cuda *cuda = c->home.cuda;
    int now = 0;
    int before = 0;
    dcmi_cu_result r;

    r = cuda->stream_is_capturing(stream, &now);
    if (r == DCMI_CU_OK)
        r = cuda->stream_is_capturing(c->last, &before);
    /* Between a graph under capture and work outside it there is no event. */
    if (r == DCMI_CU_OK && (now != 0) == (before != 0)) {
        r = cuda->event_record(c->event, c->last);
        if (r == DCMI_CU_OK)
            r = cuda->stream_wait(stream, c->event, 0);
    }
    if (r != DCMI_CU_OK)
        return dcmi_cuda_err(cuda, r,
                             "ordering a call behind one on another "
                             "stream");
    return DCM_OK;
}

dcm_status dcmi_peer_launch(dcmi_peer *c, dcmi_cu_function fn, dcmk_args *args,
                            uint32_t grid, uint32_t threads, dcm_stream stream)
{
    dcmi_cu_launch_attr attr = {
        .id = DCMI_CU_DEPENDENT_LAUNCH,
        .value = {.is_allowed = 1},
    };
    const dcmi_cu_launch how = {
        .grid = {grid, 1, 1},
        .block = {threads, 1, 1},
        .stream = stream,
        .attrs = &attr,
        .n_attrs = c->has_dependent_launch ? 1 : 0,
    };
    void *params[1] = {args};
    const dcmi_cu_result r = c->home.cuda->launch(&how, fn, params, NULL);

    if (DCMI_LIKELY(r == DCMI_CU_OK))
        return DCM_OK;
    return dcmi_cuda_err(c->home.cuda, r, "launching %u blocks of %u threads",
                         grid, threads);
}

dcm_status dcmi_peer_begin(dcmi_peer *c, dcm_stream stream, const char *op,
                           bool *is_pushed_p)
{
    dcm_status st;

    if (DCMI_UNLIKELY(dcmi_peer_has_record(c)))
        return dcmi_peer_find_failure(c);
    c->team->op = op;
    c->team->phase = "launch";
    st = dcmi_cuda_enter(&c->home, is_pushed_p);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    if (DCMI_UNLIKELY(c->has_last && c->last != stream))
        st = change_stream(c, stream);
    if (DCMI_UNLIKELY(st != DCM_OK))
        dcmi_cuda_exit(&c->home, *is_pushed_p);
    c->last = stream;
    c->has_last = true;
    return st;
}

/* A launch that fails leaves this rank out of step with the others. */
dcm_status dcmi_peer_end(dcmi_peer *c, bool is_pushed, dcm_status st)
{
    dcmi_cuda_exit(&c->home, is_pushed);
    if (DCMI_LIKELY(st == DCM_OK))
        return DCM_OK;
    return dcmi_team_fail(c->team, st, c->rank);
}

static uint32_t align_of(const void *src, const void *dst)
{
    const uintptr_t both = (uintptr_t)src | (uintptr_t)dst;

    return both % 16 == 0 ? 16 : both % 8 == 0 ? 8 : 1;
}

/* Piece after piece, each as much as one launch carries. */
static dcm_status launch_pieces(dcmi_peer *c, const dcm_coll *coll,
                                dcmi_peer_algo algo)
{
    const uint64_t bytes = coll->count * dcm_dtype_bytes(coll->dtype);
    const uint64_t most = c->lay.most[algo];
    const uint32_t align = align_of(coll->src, coll->dst);
    dcmk_args a = c->args;
    uint64_t at = 0;
    dcm_status st;

    a.timeout_ns = c->team->watch.timeout_ns;
    do {
        const uint64_t part = bytes - at < most ? bytes - at : most;
        const dcmi_peer_shape shape = dcmi_peer_shape_of(
            &c->lay, algo, coll->dtype, coll->op, part, align);

        a.src = (uint64_t)(uintptr_t)coll->src + at;
        a.dst = (uint64_t)(uintptr_t)coll->dst + at;
        a.sign = dcmi_peer_sign((int)coll->kind, coll->dtype, coll->op,
                                coll->count, at);
        dcmi_peer_fill(&a, &c->lay, &shape, coll->dtype, coll->op, part);
        st = dcmi_peer_launch(c, c->fn[algo][shape.what], &a, shape.grid,
                              shape.threads, coll->stream);
        at += part;
    } while (st == DCM_OK && at < bytes);
    return st;
}

dcm_status dcmi_peer_all_reduce(void *ctx, const dcm_coll *coll)
{
    dcmi_peer *c = ctx;
    const dcmi_peer_algo algo = coll->count != 0   ? dcmi_peer_algo_of(c, coll)
                                : c->lay.is_staged ? DCMI_PEER_STAGED
                                                   : DCMI_PEER_LL128;
    bool is_pushed = false;
    dcm_status st;

    st = dcmi_peer_begin(c, coll->stream, "all_reduce", &is_pushed);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    if (coll->count != 0) {
        st = dcmi_peer_check_pointer(c, coll->src, "src", coll->kind);
        if (st == DCM_OK && coll->src != coll->dst)
            st = dcmi_peer_check_pointer(c, coll->dst, "dst", coll->kind);
        if (DCMI_UNLIKELY(st != DCM_OK)) {
            dcmi_cuda_exit(&c->home, is_pushed);
            return st;
        }
    }
    if (DCMI_UNLIKELY(!dcmi_peer_serves(&c->lay, algo, coll->dtype)))
        st = dcmi_err(DCM_E_UNSUP,
                      "algorithm %s cannot serve %zu %s on %d "
                      "ranks",
                      dcmi_peer_algo_name(algo), coll->count,
                      dcm_dtype_str(coll->dtype), c->nranks);
    else
        st = launch_pieces(c, coll, algo);
    return dcmi_peer_end(c, is_pushed, st);
}

dcm_status dcmi_peer_barrier(void *ctx, const dcm_coll *coll)
{
    dcmi_peer *c = ctx;
    const dcmi_peer_shape shape = {.algo = DCMI_PEER_LL128};
    dcmk_args a = c->args;
    bool is_pushed = false;
    dcm_status st;

    st = dcmi_peer_begin(c, coll->stream, "barrier", &is_pushed);
    if (DCMI_UNLIKELY(st != DCM_OK))
        return st;
    dcmi_peer_fill(&a, &c->lay, &shape, DCM_U8, DCM_SUM, 0);
    a.timeout_ns = c->team->watch.timeout_ns;
    a.sign = dcmi_peer_sign((int)DCM_COLL_BARRIER, DCM_U8, DCM_SUM, 0, 0);
    st = dcmi_peer_launch(c, c->fn_barrier, &a, 1, DCMK_LANES, coll->stream);
    return dcmi_peer_end(c, is_pushed, st);
}

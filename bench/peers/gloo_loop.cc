/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gloo over TCP on the loopback, which is its only transport without RDMA.
 * Variants:
 *   ring         the functions gloo::allreduce(), ring, as torch uses it,
 *                gloo::allgather() and gloo::broadcast()
 *   bcube_busy   the older class AllreduceBcube, in place, polling
 *   hd_busy      the older classes AllreduceHalvingDoubling and
 *                ReduceScatterHalvingDoubling, in place, polling
 * The polling ones hang at 64 MiB: `run` asks them for 16 MiB at most, and the
 * time limit of the loop ends what hangs anyway.
 *
 * Gloo has no bf16; the ring takes a function of ours, the classes do not.
 */
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/allreduce_bcube.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/broadcast.h>
#include <gloo/config.h>
#include <gloo/math.h>
#include <gloo/reduce_scatter.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "data.h"
#include "loop.h"

namespace {

struct State {
    std::shared_ptr<gloo::rendezvous::Context> context;
    std::unique_ptr<gloo::Algorithm> old; /* of this size's buffer */
    std::string variant;
};

void prepare(void *arg, const bp_call *b)
{
    State &s = *static_cast<State *>(arg);
    const std::vector<float *> buffers = {static_cast<float *>(b->dst)};
    const int n = static_cast<int>(b->count);

    if (s.variant == "ring")
        return;
    if (b->dtype != BP_F32)
        bp_fail("gloo %s: f32 only", s.variant.c_str());
    s.old.reset();
    if (b->op == BP_REDUCE_SCATTER)
        s.old.reset(new gloo::ReduceScatterHalvingDoubling<float>(
            s.context, buffers, n * s.context->size,
            std::vector<int>(s.context->size, n)));
    else if (b->op != BP_ALL_REDUCE)
        bp_fail("gloo %s has no such operation", s.variant.c_str());
    else if (s.variant == "bcube_busy")
        s.old.reset(new gloo::AllreduceBcube<float>(s.context, buffers, n));
    else
        s.old.reset(
            new gloo::AllreduceHalvingDoubling<float>(s.context, buffers, n));
}

void add_bf16(void *out, const void *a, const void *b, size_t count)
{
    bp_bf16_add(static_cast<uint16_t *>(out), static_cast<const uint16_t *>(a),
                static_cast<const uint16_t *>(b), count);
}

template <typename T>
void ring(State &s, const void *src, void *dst, size_t count,
          gloo::AllreduceOptions::Func add)
{
    gloo::AllreduceOptions options(s.context);

    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setInput(const_cast<T *>(static_cast<const T *>(src)), count);
    options.setOutput(static_cast<T *>(dst), count);
    options.setReduceFunction(add);
    gloo::allreduce(options);
}

template <typename T> void gather(State &s, const bp_call *b)
{
    gloo::AllgatherOptions options(s.context);

    options.setInput(const_cast<T *>(static_cast<const T *>(b->src)), b->count);
    options.setOutput(static_cast<T *>(b->dst), b->count * s.context->size);
    gloo::allgather(options);
}

template <typename T> void broadcast(State &s, const bp_call *b)
{
    gloo::BroadcastOptions options(s.context);

    options.setOutput(static_cast<T *>(b->dst), b->count);
    options.setRoot(b->root);
    gloo::broadcast(options);
}

void run(void *arg, const bp_call *b)
{
    State &s = *static_cast<State *>(arg);
    const bool is_f32 = b->dtype == BP_F32;

    if (s.old)
        s.old->run();
    else if (b->op == BP_ALL_GATHER)
        is_f32 ? gather<float>(s, b) : gather<uint16_t>(s, b);
    else if (b->op == BP_BROADCAST)
        is_f32 ? broadcast<float>(s, b) : broadcast<uint16_t>(s, b);
    else if (b->op == BP_REDUCE_SCATTER)
        bp_fail("gloo has no function for reduce_scatter");
    else if (is_f32)
        ring<float>(
            s, b->src, b->dst, b->count,
            static_cast<void (*)(void *, const void *, const void *, size_t)>(
                &gloo::sum<float>));
    else
        ring<uint16_t>(s, b->src, b->dst, b->count, add_bf16);
}

std::string version()
{
    return "Gloo " + std::to_string(GLOO_VERSION_MAJOR) + "." +
           std::to_string(GLOO_VERSION_MINOR) + "." +
           std::to_string(GLOO_VERSION_PATCH);
}

std::string folder_of(const std::string &path)
{
    const size_t slash = path.rfind('/');

    return slash == std::string::npos ? "." : path.substr(0, slash);
}

void connect(State &s, const bp_plan &plan, int rank)
{
    gloo::rendezvous::FileStore store(folder_of(plan.board));
    gloo::transport::tcp::attr attr("127.0.0.1");
    auto device = gloo::transport::tcp::CreateDevice(attr);

    s.context = std::make_shared<gloo::rendezvous::Context>(rank, plan.nranks);
    s.context->connectFullMesh(store, device);
    if (s.variant == "ring")
        return;
    for (int r = 0; r < plan.nranks; r++) {
        if (r != rank)
            s.context->getPair(r)->setSync(true, true);
    }
}

} /* namespace */

int main(int argc, char **argv)
{
    bp_driver driver = {};
    State state;
    bp_plan plan;
    int rank;

    bp_parse(&plan, "gloo", argc, argv);
    state.variant = plan.variant;
    plan.is_in_place = state.variant != "ring";
    rank = bp_fork(plan.nranks);
    try {
        /* Before this thread is pinned: Gloo's own thread shall float. */
        connect(state, plan, rank);
        bp_loop *loop = bp_open(&plan, rank);

        bp_about(loop, version().c_str());
        driver.arg = &state;
        driver.prepare = prepare;
        driver.run = run;
        bp_run(loop, &driver);
        state.old.reset();
    } catch (const std::exception &e) {
        bp_fail("gloo: %s", e.what());
    }
    return bp_join(rank);
}

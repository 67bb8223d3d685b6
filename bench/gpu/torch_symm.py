#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All-reduce of bf16 by torch's symmetric memory, measured as loop.c measures.

    torch_symm.py [-n RANKS] [-o FILE.json]

A graph of back-to-back calls is replayed; the median of replays of the largest time
of the ranks, in microseconds a call.  Without multicast: one-shot and two-shot.
Exit status 77: no torch, or not enough GPUs.
"""

import argparse
import json
import os
import statistics
import sys

os.environ["TORCH_SYMM_MEM_DISABLE_MULTICAST"] = "1"
os.environ["NCCL_NVLS_ENABLE"] = "0"

REPLAYS = 21
SIZES = [1024 << i for i in range(13)]
ALGORITHMS = ("one_shot_all_reduce", "two_shot_all_reduce_")


def measure(call, ops, torch, dist):
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        call()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(ops):
                call()
        times = []
        for _ in range(REPLAYS):
            dist.barrier()
            torch.cuda.synchronize()
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda._sleep(200_000)  # holds the stream while the graph is launched
            call()  # the ranks start together
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            us = torch.tensor([1e3 * begin.elapsed_time(end) / ops], device="cuda")
            dist.all_reduce(us, dist.ReduceOp.MAX)
            times.append(us.item())
    return statistics.median(times)


def rank_main(rank, args, port):
    import torch
    import torch.distributed as dist
    import torch.distributed._symmetric_memory as symm

    torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=args.n
    )
    group = dist.group.WORLD.group_name
    rows = []
    for size in SIZES:
        row = {"bytes": size}
        buffer = symm.empty(size // 2, dtype=torch.bfloat16, device="cuda")
        symm.rendezvous(buffer, group)
        for name in ALGORITHMS:
            op = getattr(torch.ops.symm_mem, name)
            buffer.fill_(1)
            torch.cuda.synchronize()
            dist.barrier()
            out = op(buffer, "sum", group)
            torch.cuda.synchronize()
            row[name + "_wrong"] = int((out != args.n).sum())
            dist.barrier()
            buffer.fill_(0)  # sums stay what they are
            ops = 100 if size <= 1 << 20 else 50
            row[name + "_us"] = round(
                measure(lambda: op(buffer, "sum", group), ops, torch, dist), 3
            )
        rows.append(row)
        if rank == 0:
            print(" ".join(str(v) for v in row.values()), flush=True)
    if rank == 0 and args.o:
        with open(args.o, "w") as f:
            json.dump(
                {"torch": torch.__version__, "ranks": args.n, "rows": rows}, f, indent=1
            )
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=2)
    parser.add_argument("-o")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("no torch: skipped")
        return 77
    if torch.cuda.device_count() < args.n:
        print("not enough GPUs: skipped")
        return 77
    torch.multiprocessing.spawn(rank_main, (args, 29500 + os.getpid() % 1000), args.n)
    return 0


if __name__ == "__main__":
    sys.exit(main())

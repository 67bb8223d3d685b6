#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MessageQueue beside a queue of the usual design in Python.

The yardstick: chunks of one size in shared memory, a byte a reader and one for
"written", each looked at through a view of its own, polled with sched_yield, objects
pickled into the chunk.

    python3 bench/python/queue.py       one writer, one reader, a processor each

Latency is half of a round trip through two queues; throughput is objects a second as
the reader counts them.  Each is the best of three, in turn.
"""
import argparse
import json
import os
import pickle
import time
from contextlib import contextmanager
from multiprocessing import shared_memory

import numpy as np
from devcomm.device_communicators.shm_broadcast import MessageQueue

CHUNK, CHUNKS = 10 << 20, 10


class Yardstick:
    """One end of the ring; the reader's is made by fork."""

    def __init__(self):
        self.memory = shared_memory.SharedMemory(
            create=True, size=(CHUNK + 2) * CHUNKS)
        self.at = 0

    @contextmanager
    def data(self, i):
        with memoryview(self.memory.buf[i * CHUNK:(i + 1) * CHUNK]) as view:
            yield view

    @contextmanager
    def metadata(self, i):
        at = CHUNK * CHUNKS + 2 * i
        with memoryview(self.memory.buf[at:at + 2]) as view:
            yield view

    def wait(self, begin):
        os.sched_yield()
        if time.monotonic() - begin > 60:
            print("no block available")

    @contextmanager
    def write(self):
        begin = time.monotonic()
        while True:
            with self.metadata(self.at) as flags:
                if flags[0] and sum(flags[1:]) != 1:
                    self.wait(begin)
                    continue
                flags[0] = 0
                with self.data(self.at) as chunk:
                    yield chunk
                for reader in range(1, 2):
                    flags[reader] = 0
                flags[0] = 1
                self.at = (self.at + 1) % CHUNKS
                return

    @contextmanager
    def read(self):
        begin = time.monotonic()
        while True:
            with self.metadata(self.at) as flags:
                if not flags[0] or flags[1]:
                    self.wait(begin)
                    continue
                with self.data(self.at) as chunk:
                    yield chunk
                flags[1] = 1
                self.at = (self.at + 1) % CHUNKS
                return

    def enqueue(self, obj):
        data = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
        with self.write() as chunk:
            chunk[0] = 0
            chunk[1:1 + len(data)] = data

    def dequeue(self):
        with self.read() as chunk:
            return pickle.loads(chunk[1:])

    def reader(self):
        return self

    def close(self):
        self.memory.close()
        try:
            self.memory.unlink()
        except FileNotFoundError:
            pass


class Ours:
    def __init__(self):
        self.queue = MessageQueue(1, 1, None, CHUNK, CHUNKS)
        self.enqueue = self.queue.enqueue
        self.close = self.queue.close

    def reader(self):
        return MessageQueue.create_from_handle(self.queue.export_handle(), 0)


def child(body):
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid


def pin(cpu):
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[cpu % len(cpus)]})


def latency(kind, obj, n):
    there, back = kind(), kind()

    def echo():
        pin(1)
        inbox = there.reader()
        for _ in range(n):
            back_end.enqueue(inbox.dequeue())
        time.sleep(0.2)  # the other end reads the last one

    # The child writes `back`: its writer's end must be made there.
    if kind is Ours:
        return latency_ours(obj, n)
    back_end = back
    pid = child(echo)
    inbox = back.reader()
    result = round_trips(there, inbox, obj, n)
    os.waitpid(pid, 0)
    there.close()
    back.close()
    return result


def latency_ours(obj, n):
    there = Ours()
    read, write = os.pipe()

    def echo():
        pin(1)
        inbox = MessageQueue.create_from_handle(handle, 0)
        back = MessageQueue(1, 1, None, CHUNK, CHUNKS)
        os.write(write, pickle.dumps(back.export_handle()))
        for _ in range(n):
            back.enqueue(inbox.dequeue())
        back._queue.finish()

    handle = there.queue.export_handle()
    pid = child(echo)
    inbox = MessageQueue.create_from_handle(pickle.loads(os.read(read, 65536)),
                                            0)
    result = round_trips(there, inbox, obj, n)
    os.waitpid(pid, 0)
    there.close()
    inbox.close()
    return result


def round_trips(out, inbox, obj, n):
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        out.enqueue(obj)
        inbox.dequeue()
        times.append((time.perf_counter() - begin) / 2)
    times.sort()
    return times[n // 2]


def throughput(kind, obj, n):
    q = kind()
    read, write = os.pipe()

    def take():
        pin(1)
        inbox = q.reader()
        inbox.dequeue()
        begin = time.perf_counter()
        for _ in range(n):
            got = inbox.dequeue()
        os.write(write, json.dumps(time.perf_counter() - begin).encode())
        assert len(got) == len(obj)

    pid = child(take)
    for _ in range(n + 1):
        q.enqueue(obj)
    seconds = json.loads(os.read(read, 100))
    os.waitpid(pid, 0)
    q.close()
    return n / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0,
                        help="of the numbers of objects")
    scale = parser.parse_args().scale
    pin(0)
    cases = [("100 B", b"x" * 100, 20000, 3000),
             ("10 KB", b"x" * 10000, 10000, 3000),
             ("10 KB np", np.zeros(10000, "u1"), 10000, 3000),
             ("10 MB np", np.zeros(10_000_000, "u1"), 60, 40)]
    print(f"{'object':10}{'':12}{'yardstick':>12}{'devcomm':>12}{'ratio':>8}")
    for name, obj, many, trips in cases:
        many, trips = (max(2, int(n * scale)) for n in (many, trips))
        rates, times = ([], []), ([], [])
        for _ in range(3):
            for i, kind in enumerate((Yardstick, Ours)):
                rates[i].append(throughput(kind, obj, many))
                times[i].append(latency(kind, obj, trips))
        old, new = (max(r) for r in rates)
        print(f"{name:10}{'objects/s':12}{old:12.0f}{new:12.0f}{new / old:8.1f}")
        old, new = (min(t) * 1e6 for t in times)
        print(f"{name:10}{'latency us':12}{old:12.1f}{new:12.1f}"
              f"{old / new:8.1f}", flush=True)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""MessageQueue and ShmRingBuffer, and what goes wrong elsewhere."""
import logging
import os
import pickle
import threading
import time

import devcomm
import numpy as np
import pytest
from devcomm import Group
from devcomm.device_communicators import shm_broadcast
from devcomm.device_communicators.shm_broadcast import (Handle, MessageQueue,
                                                        ShmRingBuffer)
from support import Process, processes, script, together


def queue(n=1, chunk=1 << 16, chunks=4, **more):
    w = MessageQueue(n, n, None, chunk, chunks, **more)
    handle = pickle.loads(pickle.dumps(w.export_handle()))
    return w, [MessageQueue.create_from_handle(handle, r) for r in range(n)]


def test_objects():
    w, readers = queue(3, 1 << 20)
    w.wait_until_ready()
    for obj in (None, 1, "text", {"a": [1, (2.5, b"x")]}, {3, 4}, "x" * 100000,
                [np.arange(5), {"deep": np.ones((300, 300))}]):
        w.enqueue(obj)
        for r in readers:
            got = r.dequeue(timeout=10)
            assert pickle.dumps(got) == pickle.dumps(obj)


def test_random_arrays_between_processes():
    """Sizes around chunk and ring, from a writer that is not the first rank."""
    def body(rank, n, place):
        rng = np.random.default_rng(20261127)
        with Group.meet(place, rank, n) as group:
            q = MessageQueue.create_from_process_group(group, 40 << 10, 2, 2)
            for _ in range(500):
                want = rng.integers(0, 1 << 40, rng.integers(1, 10000))
                got = q.broadcast_object(want if rank == 2 else None)
                assert (got == want).all()
            q.close()
        return True

    assert processes(4, body) == [True] * 4


def test_buffers_are_owned():
    w, (r,) = queue(1, 1 << 20)
    a = np.arange(100000.0)
    w.enqueue({"a": a, "b": a[:10]})
    w.enqueue(a + 1)
    first, second = r.dequeue(), r.dequeue()
    w.enqueue(a * 0)
    assert (first["a"] == a).all() and (first["b"] == a[:10]).all()
    assert (second == a + 1).all()
    first["a"][0] = 5  # writable, as what was sent
    assert first["a"].flags.writeable and second.ctypes.data % 16 == 0


def test_large_record_that_was_peeked_at():
    w, (r,) = queue(1, 1 << 12, 2)
    a = np.random.default_rng(2).integers(0, 255, 100000, "u1")

    def read():
        with pytest.raises(KeyError), r.acquire_read():
            raise KeyError
        return r.dequeue()

    assert (together([lambda: w.enqueue(a), read])[1] == a).all()
    w.enqueue(1)
    assert r.dequeue() == 1


def test_ten_megabytes_through_a_small_ring():
    w, (r,) = queue(1, 1 << 12, 2)
    a = np.random.default_rng(1).integers(0, 255, 10 << 20, "u1")

    def read_late():
        time.sleep(0.5)  # longer than a turn of the writer's wait
        return r.dequeue(timeout=30)

    got = together([lambda: w.enqueue(a), read_late])
    assert (got[1] == a).all()
    assert w._queue.stat().records == 1  # it was not begun again


def test_chunk_in_place():
    w, (r,) = queue()
    with pytest.raises(KeyError), w.acquire_write():
        raise KeyError
    with w.acquire_write() as chunk:
        assert len(chunk) == w.max_chunk_bytes
        chunk[0] = 0
        data = pickle.dumps({"in": "place"})
        chunk[1:1 + len(data)] = data
    w.enqueue([1, 2])
    with pytest.raises(KeyError), r.acquire_read() as record:
        raise KeyError
    assert r.dequeue() == {"in": "place"}
    with r.acquire_read() as record:
        assert record[0] == 0 and pickle.loads(record[1:]) == [1, 2]
    w.enqueue("next")
    assert r.dequeue() == "next"


def test_roles():
    w, (r,) = queue()
    with pytest.raises(devcomm.InvalidArgument, match="reader"):
        r.enqueue(1)
    with pytest.raises(devcomm.InvalidArgument, match="writer"):
        w.dequeue(timeout=1)
    with pytest.raises(devcomm.InvalidArgument), r.acquire_write():
        pass
    with pytest.raises(devcomm.InvalidArgument), w.acquire_read(timeout=1):
        pass


def test_broadcast_object_between_threads_of_a_group():
    groups = Group.threads(3)

    def rank(i):
        with MessageQueue.create_from_process_group(groups[i], 1 << 16, 4
                                                    ) as q:
            return [q.broadcast_object(("step", s) if i == 0 else None)
                    for s in range(3)]

    want = [("step", s) for s in range(3)]
    assert together([lambda i=i: rank(i) for i in range(3)]) == [want] * 3


class Stateless:
    """A stateless group of threads: the caller's own all-gather of objects."""

    def __init__(self, rank, barrier, slots):
        self.rank, self.world_size = rank, len(slots)
        self.barrier, self.slots = barrier, slots

    def all_gather_obj(self, obj):
        self.slots[self.rank] = pickle.dumps(obj)
        self.barrier.wait(30)
        all_ = [pickle.loads(s) for s in self.slots]
        self.barrier.wait(30)
        return all_


def test_stateless_group():
    barrier, slots = threading.Barrier(2), [None] * 2

    def rank(i):
        pg = Stateless(i, barrier, slots)
        with MessageQueue.create_from_process_group(pg, 4096, 2, 1) as q:
            return q.broadcast_object("hi" if i == 1 else None)

    assert together([lambda: rank(0), lambda: rank(1)]) == ["hi"] * 2
    with pytest.raises(TypeError, match="none of devcomm.Group"):
        MessageQueue.create_from_process_group(object(), 4096, 2)


def test_remote_readers():
    w = MessageQueue(3, 1, [5], 1 << 16, 4, "127.0.0.1")
    handle = w.export_handle()
    assert handle.connect_ip == "127.0.0.1" and "local readers [5]" in repr(
        handle)
    assert handle.secret.hex()[:8] not in repr(handle)
    ranks = (5, 6, 7)

    def read(rank):
        r = MessageQueue.create_from_handle(handle, rank)
        r.wait_until_ready()
        return [len(r.dequeue()) for _ in range(50)]

    def write():
        w.wait_until_ready()
        for i in range(50):
            w.enqueue(np.zeros(i * 1000))
        w._queue.finish(timeout=30)

    got = together([write] + [lambda r=r: read(r) for r in ranks])
    assert got[1:] == [[i * 1000 for i in range(50)]] * 3


# ---- the reference's pitfalls, by their numbers in its description ----------


def test_pitfall_1_a_dead_writer_or_reader_hangs_nobody():
    def write(send):
        w = MessageQueue(1, 1)
        os.write(send, pickle.dumps(w.export_handle()))
        w.enqueue("only")
        time.sleep(1000)

    read, send = os.pipe()
    writer = Process(write, send)
    r = MessageQueue.create_from_handle(pickle.loads(os.read(read, 4096)), 0)
    assert r.dequeue() == "only"
    writer.kill()
    with pytest.raises(devcomm.PeerLost):
        r.dequeue()


def test_pitfalls_1_and_39_a_slow_reader_is_named_a_dead_one_is_dropped():
    w = MessageQueue(2, 2, None, 1 << 12, 2)
    handle = w.export_handle()
    seen, said = os.pipe()

    def sleep():
        r = MessageQueue.create_from_handle(handle, 1)
        r.dequeue()
        os.write(said, b"x")
        time.sleep(1000)

    fast = MessageQueue.create_from_handle(handle, 0)
    slow = Process(sleep)
    w.enqueue("first")
    os.read(seen, 1)
    got = [fast.dequeue()]
    with pytest.raises(devcomm.Timeout, match="reader 1"):
        while True:
            w.enqueue(b"x" * 1000, timeout=0.1)
            got.append(fast.dequeue())
    assert got[0] == "first" and got[-1] == b"x" * 1000
    slow.kill()
    for i in range(20):
        w.enqueue(i, timeout=10)
        assert fast.dequeue(timeout=10) == i


def test_pitfall_17_publication_is_ordered():
    """The bytes are there when the flag is: fences are the C library's."""
    w, (r,) = queue(1, 1 << 12, 2)

    def write():
        for i in range(20000):
            w.enqueue((i, -i))

    def read():
        return all(r.dequeue() == (i, -i) for i in range(20000))

    assert together([write, read])[1]


def test_pitfalls_26_and_29_memory_is_reserved_and_leaves_with_its_users():
    before = set(os.listdir("/dev/shm"))
    holder = Process(lambda: (MessageQueue(1, 1), time.sleep(1000)))
    w, _ = queue()
    assert set(os.listdir("/dev/shm")) == before
    holder.kill()
    assert set(os.listdir("/dev/shm")) == before
    with pytest.raises(devcomm.Error):
        MessageQueue(1, 1, None, 1 << 60, 2)


def test_pitfall_30_an_idle_reader_uses_no_processor():
    w, (r,) = queue()
    waiting = threading.Thread(target=r.dequeue)
    waiting.start()
    while w._queue.stat().readers[0].state != devcomm.ReaderState.WAITING:
        time.sleep(0.01)
    begin = time.process_time()
    time.sleep(0.5)
    used = time.process_time() - begin
    w.enqueue(0)
    waiting.join()
    print(f"an idle reader used {used * 1000:.1f} ms in 500 ms")
    assert used < 0.25  # polling takes all of it


def test_pitfall_31_a_slow_remote_reader_misses_nothing():
    w = MessageQueue(1, 0, None, 1 << 12, 2, "127.0.0.1")
    handle = w.export_handle()
    began = threading.Event()

    def read():
        r = MessageQueue.create_from_handle(handle, 0)
        r.wait_until_ready()
        began.wait(30)
        return [r.dequeue(timeout=30) for _ in range(3000)]

    def write():
        w.wait_until_ready()
        with pytest.raises(devcomm.Timeout):
            for n in range(3000):  # more than ZeroMQ holds by itself
                w.enqueue(n, timeout=0.2)
        began.set()
        for i in range(n, 3000):
            w.enqueue(i)
        w._queue.finish(timeout=30)

    assert together([write, read])[1] == list(range(3000))


class Evil:
    ran = False

    def __reduce__(self):
        return (Evil.run, ())

    @staticmethod
    def run():
        Evil.ran = True


def test_pitfall_32_only_who_holds_the_secret_and_plain_data():
    w, _ = queue(plain_data=True)
    forged = Handle("127.0.0.1", [0], 0, 1 << 16, False, bytes(256))
    with pytest.raises(devcomm.InvalidArgument):
        MessageQueue.create_from_handle(forged, 0)
    for obj in (Evil(), np.ones(3), print, devcomm, object()):
        with pytest.raises(TypeError, match="is not plain data"):
            w.enqueue(obj)
    w, (r,) = queue()
    r.plain_data = True  # whatever the writer says
    for obj in (Evil(), print):
        w.enqueue(obj)
        with pytest.raises(pickle.UnpicklingError, match="not plain data"):
            r.dequeue()
    w.enqueue(np.ones(1000))
    with pytest.raises(pickle.UnpicklingError, match="not plain data"):
        r.dequeue()
    assert not Evil.ran
    plain = {"a": [1, 2.5, None, True, (b"x", "y")], "s": {1}, "c": 1j,
             "f": frozenset([2]), "b": bytearray(b"z")}
    w.enqueue(plain)
    assert r.dequeue() == plain
    w, (r,) = queue(plain_data=True)
    w.enqueue(plain)
    assert r.dequeue() == plain


def test_pitfall_34_the_size_of_a_chunk_is_no_boundary():
    w, (r,) = queue(1, 1 << 12, 2)
    for n in range(4080, 4110):
        w.enqueue(b"x" * n)
        assert r.dequeue() == b"x" * n


def test_pitfall_38_a_reader_that_comes_late_loses_nothing():
    w = MessageQueue(1, 1, None, 1 << 16, 4)
    for obj in ("small", b"y" * 300, "last"):
        w.enqueue(obj)
    r = MessageQueue.create_from_handle(w.export_handle(), 0)
    assert [r.dequeue() for _ in range(3)] == ["small", b"y" * 300, "last"]
    # One that comes again in the same place is in step.
    r.close()
    r = MessageQueue.create_from_handle(w.export_handle(), 0)
    w.enqueue("again")
    assert r.dequeue() == "again"


class Slow:
    entered = threading.Event()
    leave = threading.Event()

    def __reduce__(self):
        return (Slow.load, ())

    @staticmethod
    def load():
        Slow.entered.set()
        assert Slow.leave.wait(30)
        return "slow"


class Failing:
    def __reduce__(self):
        return (int, ("not a number",))


def test_pitfall_40_unpickling_holds_nobody_up():
    w, (r,) = queue(1, 1 << 12, 2)
    w.enqueue(Failing())
    w.enqueue("behind")
    with pytest.raises(ValueError, match="not a number"):
        r.dequeue()
    assert r.dequeue() == "behind"

    def write():
        w.enqueue(Slow())
        assert Slow.entered.wait(30)
        # The whole ring is free: were the record still held, this would not fit.
        ring = w._queue.stat().bytes
        while w._queue.try_enqueue(b"\0" + pickle.dumps(b"z" * 1000)):
            pass
        n = w._queue.stat().records
        Slow.leave.set()
        return ring // 1100 <= n

    assert together([write, r.dequeue]) == [True, "slow"]


def test_pitfall_41_who_is_no_reader_is_told():
    w = MessageQueue(1, 1)
    with pytest.raises(ValueError, match="rank 7 is no reader"):
        MessageQueue.create_from_handle(w.export_handle(), 7)
    nobody = MessageQueue(0, 0)
    nobody.enqueue("into the void")
    with pytest.raises(ValueError, match="not 2 different ones"):
        MessageQueue(2, 2, [1, 1])
    with pytest.raises(ValueError, match="3 local readers of 2"):
        MessageQueue(2, 3)


def test_pitfall_42_an_address_that_is_not_this_hosts_is_an_error():
    with pytest.raises(devcomm.Error, match="192.0.2.7"):
        MessageQueue(1, 0, None, 1 << 12, 2, "192.0.2.7")


def test_warnings_at_intervals(monkeypatch, caplog):
    monkeypatch.setattr(shm_broadcast, "RINGBUFFER_WARNING_INTERVAL", 0.3)
    w, (r,) = queue()
    with caplog.at_level(logging.WARNING), pytest.raises(devcomm.Timeout):
        r.dequeue(timeout=1.2)
    said = [x.getMessage() for x in caplog.records]
    assert 1 <= len(said) <= 4 and "no block available" in said[0]


@pytest.mark.parametrize("value,want", [("7", 7), ("", 60), ("soon", 60)])
def test_interval_of_the_environment(value, want):
    out = script("from devcomm.device_communicators import shm_broadcast as s\n"
                 "print(s.RINGBUFFER_WARNING_INTERVAL)",
                 SGLANG_RINGBUFFER_WARNING_INTERVAL=value)
    assert out.strip() == str(want)


# ---- the ring ---------------------------------------------------------------


def test_ring_in_place():
    ring = ShmRingBuffer(2, 1000, 3)
    a, b = (pickle.loads(pickle.dumps(ring)) for _ in range(2))
    assert ring.is_creator and not a.is_creator
    for i in range(7):
        with ring.get_metadata(i % 3) as flags:
            assert len(flags) == 3 and bytes(flags) in (b"\0\0\0", b"\1\1\1")
        with ring.acquire_write(timeout=10) as chunk:
            chunk[:4] = i.to_bytes(4, "little")
        assert bytes(ring.get_metadata(i % 3)) == b"\1\0\0"
        for r in (a, b):
            with r.acquire_read(timeout=10) as chunk:
                assert int.from_bytes(chunk[:4], "little") == i
        with a.get_data(i % 3) as data:
            assert len(data) == 1000 and data[0] == i
    with pytest.raises(IndexError, match="no chunk 3"):
        ring.get_data(3)


def test_ring_by_hand():
    """A program that sets the flags itself, as the reference's queue does."""
    ring = ShmRingBuffer(1, 64, 2)
    reader = pickle.loads(pickle.dumps(ring))
    with ring.get_data(1) as data, ring.get_metadata(1) as flags:
        data[:5] = b"hello"
        flags[1] = 0
        flags[0] = 1
    with reader.get_metadata(1) as flags:
        assert flags[0] == 1 and flags[1] == 0
        with reader.get_data(1) as data:
            assert bytes(data[:5]) == b"hello"
        flags[1] = 1
    assert ring.get_metadata(1)[1] == 1


def test_ring_that_is_gone():
    ring = ShmRingBuffer(1, 64, 2)
    data = pickle.dumps(ring)
    ring.__del__()
    left = pickle.loads(data)  # as on another host: no error until it is used
    with pytest.raises(devcomm.Error):
        left.get_data(0)


def test_an_array_over_the_ring_outlives_it():
    ring = ShmRingBuffer(0, 4096, 2)
    a = np.frombuffer(ring.get_data(0), "u1")
    del ring
    assert int(a.sum()) == 0

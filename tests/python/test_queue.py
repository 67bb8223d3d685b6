# SPDX-License-Identifier: Apache-2.0
"""The queue of bytes: its writer and readers as threads and processes."""
import os
import threading
import time

import devcomm
import pytest
from devcomm import Group, Queue, ReaderState
from devcomm.queue import HANDLE_BYTES
from support import Process, script, together


@pytest.fixture
def pair():
    with Queue.create(1, name="pair", bytes=1 << 16) as w:
        with Queue.attach(w.handle(), 0) as r:
            yield w, r


def test_records(pair):
    w, r = pair
    for record in (b"", b"x", b"y" * 200, b"z" * 20000):
        w.enqueue(record)
        assert r.dequeue(timeout=10) == record
    w.enqueue_parts([b"ab", bytearray(b"cd"), memoryview(b"ef")])
    assert r.next() == 6 and r.dequeue() == b"abcdef"
    assert r.try_dequeue() is None
    assert w.try_enqueue(b"q") and r.try_dequeue() == b"q"
    while w.try_enqueue(b"r" * 1000):
        pass
    assert len(r.dequeue()) == 1000


def test_longer_than_the_ring(pair):
    w, r = pair
    big = os.urandom(1 << 20)
    got = together([lambda: w.enqueue(big), r.dequeue])
    assert got[1] == big


def test_dequeue_into(pair):
    w, r = pair
    w.enqueue(b"12345")
    with pytest.raises(devcomm.InvalidArgument):
        r.dequeue_into(bytearray(3))
    room = bytearray(8)
    assert r.dequeue_into(room) == 5 and room == b"12345\0\0\0"


def test_in_place(pair):
    w, r = pair
    with w.reserve(100) as room:
        room[:] = b"a" * 100
    with pytest.raises(KeyError), w.reserve(100):
        raise KeyError
    w.enqueue(b"second")
    with pytest.raises(KeyError), r.peek():
        raise KeyError
    with r.peek(timeout=10) as record:
        assert record == b"a" * 100
        with pytest.raises(TypeError):
            record[0] = 1
    assert r.dequeue() == b"second"
    with pytest.raises(ValueError, match="released"):
        record[0]


def test_chunks():
    with Queue.create_chunks(1, 1000, 3) as w:
        r = Queue.attach(w.handle(), 0)
        for i in range(10):
            with pytest.raises(KeyError), w.acquire_write(1000) as chunk:
                chunk[0] = 99
                raise KeyError
            with w.acquire_write(1000) as chunk:
                chunk[:] = bytes([i]) * 1000
            with r.acquire_read(1000) as chunk:
                assert chunk == bytes([i]) * 1000
        with pytest.raises(devcomm.Timeout):
            r.acquire_read(1000, timeout=0.01).__enter__()
        r.close()


def test_timeouts_name_who_is_late(pair):
    w, r = pair
    with pytest.raises(devcomm.Timeout):
        r.dequeue(timeout=0.01)
    with pytest.raises(devcomm.Timeout, match="reader 0"):
        while True:
            w.enqueue(b"x" * 10000, timeout=0.05)


def test_stat(pair):
    w, r = pair
    w.enqueue(b"x")
    i = w.stat()
    assert (i.name, i.records, i.nreaders, i.writer_pid) == (
        "pair", 1, 1, os.getpid())
    assert i.readers[0].lag == 1 and i.readers[0].state in (
        ReaderState.BUSY, ReaderState.WAITING)
    assert r.stat().is_alive and len(w.handle()) == HANDLE_BYTES


def test_end(pair):
    w, r = pair
    w.enqueue(b"last")
    done = threading.Thread(target=w.finish)
    done.start()
    assert r.dequeue() == b"last"
    done.join()
    with pytest.raises(devcomm.PeerLost):
        r.dequeue()
    w.close()
    with pytest.raises(devcomm.Closed, match="queue"):
        w.enqueue(b"x")


def test_close_ends_another_threads_wait(pair):
    w, r = pair
    ended = []

    def wait():
        try:
            r.dequeue()
        except (devcomm.Aborted, devcomm.Closed) as e:
            ended.append(e)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while w.stat().readers[0].state != ReaderState.WAITING:
        pass
    r.close()
    waiting.join(10)
    assert ended


def test_close_ends_a_stream(pair):
    w, r = pair
    ended = []

    def write():
        try:
            w.enqueue(bytes(1 << 20))
        except devcomm.Aborted as e:
            ended.append(e)

    writing = threading.Thread(target=write)
    writing.start()
    assert r.next() == 1 << 20  # it has begun, and the ring is full soon
    w.close()
    writing.join(10)
    assert ended


def test_dead_writer():
    def write(send):
        with Queue.create(1) as w:
            os.write(send, w.handle())
            w.enqueue(b"before")
            time.sleep(1000)

    read, send = os.pipe()
    writer = Process(write, send)
    r = Queue.attach(os.read(read, HANDLE_BYTES), 0)
    assert r.dequeue() == b"before"
    writer.kill()
    with pytest.raises(devcomm.PeerLost):
        r.dequeue()


def test_interrupt():
    """Ctrl-C ends a reader's wait."""
    out = script("""
import os, signal, threading
from devcomm import Queue
w = Queue.create(1)
r = Queue.attach(w.handle())
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    r.dequeue()
except KeyboardInterrupt:
    print("seen")
""")
    assert out.strip() == "seen"


def test_of_a_group():
    groups = Group.threads(3)

    def rank(i):
        with Queue.of_group(groups[i], 1) as q:
            if i == 1:
                q.enqueue(b"hello")
                q.finish()
                return None
            return q.dequeue()

    assert together([lambda i=i: rank(i) for i in range(3)]) == [
        b"hello", None, b"hello"]


def test_a_forks_child_frees_nothing(pair):
    w, r = pair
    waiting = threading.Thread(target=r.dequeue)
    waiting.start()
    while w.stat().readers[0].state != ReaderState.WAITING:
        pass

    def let_go():
        w.close()
        r.close()  # the thread that is in its call is not here

    Process(let_go).result()
    w.enqueue(b"still here")
    waiting.join(10)
    assert not waiting.is_alive()
    w.enqueue(b"and here")
    assert r.dequeue() == b"and here"

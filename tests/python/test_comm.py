# SPDX-License-Identifier: Apache-2.0
"""Groups, communicators and all collectives, between threads and processes."""
import os
import threading
import time

import devcomm
import numpy as np
import pytest
from devcomm import Comm, Group
from support import Process, address, processes, script, threads, together


def test_version_is_the_librarys():
    assert devcomm.__version__ == ".".join(map(str, devcomm.version()))
    assert devcomm.version() >= (0, 1, 0)


def test_import_does_not_import_torch_or_numpy():
    out = script("import sys, devcomm, devcomm.device_communicators\n"
                 "print([m for m in ('torch', 'numpy') if m in sys.modules])")
    assert out.strip() == "[]"


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "u1", "i4", "u4",
                                   "i8", "u8"])
def test_all_reduce_types(dtype):
    def body(comm):
        x = np.arange(37, dtype=dtype) + comm.rank
        out = np.empty_like(x)
        assert comm.all_reduce(x, out) is out
        assert comm.all_reduce(x) is x
        return x, out

    expect = (3 * np.arange(37) + 3).astype(dtype)
    for x, out in threads(3, body):
        assert (out == expect).all() and (x == expect).all()


@pytest.mark.parametrize("op,expect", [("sum", 6), ("prod", 6), ("min", 1),
                                       ("max", 3), ("avg", 2)])
def test_operators(op, expect):
    def body(comm):
        return comm.all_reduce(np.array([comm.rank + 1.0]), op=op)[0]

    assert threads(3, body) == [expect] * 3
    assert threads(3, lambda c: c.all_reduce(
        np.array([c.rank + 1.0]), op=devcomm.Op[op.upper()])[0]) == [expect] * 3


def test_bf16_in_integers():
    def body(comm):
        x = np.array([0x3F80, 0x4000], "u2")  # 1 and 2
        comm.all_reduce(x, dtype="bf16")
        return x.tolist()

    assert threads(2, body) == [[0x4000, 0x4080]] * 2


def test_other_collectives():
    n = 3

    def body(comm):
        r = comm.rank
        one = np.array([10 * r, 10 * r + 1], "i4")
        all_ = np.concatenate([[10 * q, 10 * q + 1] for q in range(n)])
        got = {}
        got["gather"] = comm.gather(one, np.zeros(2 * n, "i4"), root=1)
        got["all_gather"] = comm.all_gather(one, np.zeros(2 * n, "i4"))
        got["inner"] = comm.all_gather_inner(one, np.zeros(2 * n, "i4"), 1)
        got["scatter"] = comm.scatter(
            np.arange(2 * n, dtype="i4") if r == 2 else None,
            np.zeros(2, "i4"), root=2)
        got["broadcast"] = comm.broadcast(one.copy(), root=1)
        got["reduce"] = comm.reduce(one.copy(), root=2)
        got["reduce_scatter"] = comm.reduce_scatter(
            np.arange(2 * n, dtype="i4") * (r + 1), np.zeros(2, "i4"))
        got["all_to_all"] = comm.all_to_all(
            np.arange(n, dtype="i4") + 10 * r, np.zeros(n, "i4"))
        v = np.full(r, r, "i4")
        got["all_gather_v"] = comm.all_gather_v(v, np.zeros(3, "i4"),
                                                [0, 1, 2])
        got["displaced"] = comm.all_gather_v(v, np.zeros(5, "i4"), [0, 1, 2],
                                             [0, 4, 1])
        got["reduce_scatter_v"] = comm.reduce_scatter_v(
            np.arange(3, dtype="i4"), np.zeros(r, "i4"), [0, 1, 2])
        got["all_to_all_v"] = comm.all_to_all_v(
            np.full(3, r, "i4"), np.zeros(3 * r, "i4"), [0, 1, 2], [r] * n)
        comm.barrier()
        assert (all_ == got["all_gather"]).all()
        return got

    got = threads(n, body)
    assert got[0]["gather"] is None and got[2]["gather"] is None
    assert got[1]["gather"].tolist() == [0, 1, 10, 11, 20, 21]
    assert got[0]["reduce"] is None
    assert got[2]["reduce"].tolist() == [30, 33]
    for r in range(n):
        assert got[r]["inner"].tolist() == [0, 10, 20, 1, 11, 21]
        assert got[r]["scatter"].tolist() == [2 * r, 2 * r + 1]
        assert got[r]["broadcast"].tolist() == [10, 11]
        assert got[r]["reduce_scatter"].tolist() == [12 * r, 12 * r + 6]
        assert got[r]["all_to_all"].tolist() == [r, 10 + r, 20 + r]
        assert got[r]["all_gather_v"].tolist() == [1, 2, 2]
        assert got[r]["displaced"].tolist() == [0, 2, 2, 0, 1]
        assert got[r]["reduce_scatter_v"].tolist() == [
            [], [0], [3, 6]][r]
        assert got[r]["all_to_all_v"].tolist() == [
            q for q in range(n) for _ in range(r)]


def test_messages():
    def body(comm):
        peer = 1 - comm.rank
        mine, theirs = np.full(9, comm.rank, "f4"), np.empty(9, "f4")
        with devcomm.batch():
            comm.send(mine, peer)
            comm.recv(theirs, peer)
        return theirs.tolist()

    assert threads(2, body) == [[1.0] * 9, [0.0] * 9]


def test_several_ranks_in_one_thread():
    groups = Group.threads(3)
    comms = Comm.several(groups, backend="cpu")
    data = [np.full(5, r + 1, "i8") for r in range(3)]
    with devcomm.batch():
        for comm, x in zip(comms, data):
            comm.all_reduce(x)
    assert all((x == 6).all() for x in data)
    with pytest.raises(KeyError), devcomm.batch():
        comms[0].all_reduce(data[0])  # not run, so nobody waits for it
        raise KeyError
    assert (data[0] == 6).all()
    with devcomm.batch():
        for comm in comms:
            comm.barrier()
    for thing in comms + groups:
        thing.close()


def test_prepared_call():
    def body(comm):
        x, out = np.zeros(4, "f4"), np.zeros(4, "f4")
        call = comm.prepare_all_reduce(x, out)
        seen = []
        for i in range(5):
            x[:] = i + comm.rank
            call()
            seen.append(out[0])
        comm.close()
        with pytest.raises(devcomm.Closed, match="this communicator is closed"):
            call()
        return seen

    assert threads(2, body) == [[1, 3, 5, 7, 9]] * 2


def test_processes():
    def body(rank, n, place):
        with Group.meet(place, rank, n) as group, Comm(group) as comm:
            assert (group.rank, group.nranks, group.nhosts) == (rank, n, 1)
            assert group.host_of(n - 1) == 0
            parts = group.exchange(bytes([rank, 7]))
            x = comm.all_reduce(np.full(1000, rank, "f4"))
            comm.finalize()
            return parts, float(x[999])

    assert processes(3, body) == [([b"\0\7", b"\1\7", b"\2\7"], 3.0)] * 3


def test_group_of_the_environment():
    def body(rank, n, place):
        os.environ.update(DEVCOMM_RANK=str(rank), DEVCOMM_NRANKS=str(n),
                          DEVCOMM_ADDR=place)
        with Group.from_env() as group:
            return group.rank, group.nranks

    assert processes(2, body) == [(0, 2), (1, 2)]


def test_own_all_gather():
    barrier, slots = threading.Barrier(2), [None, None]

    def gather(rank):
        def fn(mine):
            slots[rank] = mine
            barrier.wait(30)
            all_ = list(slots)
            barrier.wait(30)
            return all_
        return fn

    def body(rank):
        with Group.by(gather(rank), rank, 2) as group:
            return group.exchange(b"%d" % rank)

    assert together([lambda: body(0), lambda: body(1)]) == [[b"0", b"1"]] * 2


def test_own_all_gather_that_raises():
    def fn(mine):
        raise KeyError("lost")

    with pytest.raises(devcomm.Error) as e:
        Group.by(fn, 0, 2)
    assert isinstance(e.value.__cause__, KeyError)
    with pytest.raises(devcomm.Error) as e:
        Group.by(lambda mine: [mine], 0, 2)
    assert "1 parts" in str(e.value.__cause__)


def test_split():
    def body(comm):
        with comm.split(comm.rank % 2, -comm.rank) as half:
            x = half.all_reduce(np.array([comm.rank]))
            return half.rank, half.nranks, int(x[0])

    assert threads(4, body) == [(1, 2, 2), (1, 2, 4), (0, 2, 2), (0, 2, 4)]
    assert threads(2, lambda c: c.split(None) is None) == [True, True]


def test_a_killed_rank_is_named_and_the_others_go_on():
    def body(rank, n, place):
        group = Group.meet(place, rank, n)
        comm = Comm(group)
        comm.barrier()
        if rank == 1:
            time.sleep(1000)
        with pytest.raises(devcomm.PeerLost) as e:
            while True:
                comm.all_reduce(np.ones(3))
        with pytest.raises(devcomm.PeerLost):
            comm.check()
        with comm.regroup() as rest:
            left = float(rest.all_reduce(np.ones(1))[0])
        return e.value.rank, e.value.op, e.value.pid, str(e.value), left

    place = address()
    ranks = [Process(body, r, 3, place) for r in range(3)]
    time.sleep(0.3)
    ranks[1].kill()
    for r in (0, 2):
        rank, op, pid, message, left = ranks[r].result()
        assert (rank, op, pid, left) == (1, "all_reduce", ranks[1].pid, 2.0)
        assert "rank 1" in message


def test_deadline_and_abort():
    told = threading.Event()

    def late(comm):
        if comm.rank == 0:
            comm.set_timeout(0.05)
            with pytest.raises(devcomm.Timeout) as e:
                comm.barrier()
            assert isinstance(e.value, TimeoutError)
            told.set()
            return e.value.rank
        assert told.wait(30)
        return 1

    assert threads(2, late) == [1, 1]

    def abort(comm):
        if comm.rank == 0:
            threading.Timer(0.05, comm.abort).start()
        with pytest.raises(devcomm.Aborted):
            comm.barrier() if comm.rank == 0 else time.sleep(0.01)
            while True:
                comm.barrier()
        return True

    assert threads(2, abort) == [True, True]


def test_mismatch():
    def body(comm):
        with pytest.raises(devcomm.RanksDiffer):
            comm.all_reduce(np.zeros(4 + comm.rank, "f4"))
            comm.barrier()
        return True

    assert threads(2, body) == [True, True]


def test_another_thread_is_refused():
    refused = threading.Event()

    def body(comm):
        if comm.rank == 1:
            assert refused.wait(30)
            comm.barrier()
            return None
        waiting = threading.Thread(target=comm.barrier)
        waiting.start()
        # What is wrong with it is seen only by a call that is let in.
        bad = comm.prepare_broadcast(np.ones(1), root=9)
        while True:
            try:
                bad()
            except devcomm.Busy as e:
                message = str(e)
                break
            except devcomm.InvalidArgument:
                pass
        with pytest.raises(devcomm.Busy):
            comm.close()
        refused.set()
        waiting.join()
        return message

    assert "another thread" in threads(2, body)[0]


def test_refusals():
    def body(comm):
        x = np.ones(6, "f4")
        with pytest.raises(ValueError, match="not contiguous"):
            comm.all_reduce(x[::2])
        with pytest.raises(ValueError, match="dst has 3 elements, 6"):
            comm.all_reduce(x, np.ones(3, "f4"))
        with pytest.raises(TypeError, match="src is f32, dst is f64"):
            comm.all_reduce(x, np.ones(6))
        with pytest.raises(ValueError, match="read-only"):
            comm.all_reduce(b"abc")
        with pytest.raises(ValueError, match="operators"):
            comm.all_reduce(x, op="xor")
        with pytest.raises(ValueError, match="none of the types"):
            comm.all_reduce(np.ones(2, "c8"))
        with pytest.raises(ValueError, match="byte order"):
            comm.all_reduce(np.ones(2, ">f4"))
        with pytest.raises(TypeError, match="has none of data_ptr"):
            comm.all_reduce(object())
        with pytest.raises(devcomm.InvalidArgument, match="rank"):
            comm.broadcast(x, root=9)
        with pytest.raises(ValueError, match="above 0"):
            comm.set_timeout(0)
        assert comm.all_reduce(x)[0] == 1  # nothing failed it
        return comm.explain("all_reduce", x), comm.info()

    text, info = threads(1, body)[0]
    assert ":" in text and info.backend == "cpu" and info.nranks == 1


def test_arena():
    def body(comm):
        with comm.arena(1 << 16) as arena:
            block = arena.alloc((3, 4), "f32")
            x = np.asarray(block)
            x[:] = comm.rank
            del block
            comm.all_reduce(x)
            bf16 = arena.alloc(5, "bf16")
            assert np.asarray(bf16).dtype == np.uint16
        with pytest.raises(devcomm.Closed):
            arena.alloc(1)
        comm.close()
        x += 1  # the memory is there as long as the array is
        return x.tolist()

    assert threads(2, body) == [[[2.0] * 4] * 3] * 2


def test_closing_in_any_order():
    def body(comm):
        return True

    groups = Group.threads(1)
    comm = Comm(groups[0])
    groups[0].close()
    with pytest.raises(devcomm.Closed, match="group"):
        Comm(groups[0])
    assert comm.all_reduce(np.ones(1))[0] == 1
    comm.close()
    comm.close()
    with pytest.raises(devcomm.Closed, match="communicator"):
        comm.barrier()
    assert repr(comm) == "<devcomm.Comm, closed>"


def test_a_forks_child_frees_nothing():
    began = threading.Event()

    def body(comm):
        if comm.rank == 1:
            assert began.wait(30)
            comm.barrier()
            return comm.all_reduce(np.ones(1))[0]
        waiting = threading.Thread(target=comm.barrier)
        waiting.start()
        bad = comm.prepare_broadcast(np.ones(1), root=9)
        while True:  # until the thread is in its call
            try:
                bad()
            except devcomm.Busy:
                break
            except devcomm.InvalidArgument:
                pass

        def let_go():
            comm.close()
            return repr(comm)

        assert Process(let_go).result() == "<devcomm.Comm, closed>"
        began.set()
        waiting.join()
        return comm.all_reduce(np.ones(1))[0]

    assert threads(2, body) == [2, 2]


def test_log():
    seen = []
    devcomm.log_to(lambda level, text: seen.append((level, text)), 3)
    threads(2, lambda c: None)
    devcomm.log_to(None)
    assert all(level in (1, 2, 3) for level, _ in seen)


def test_overhead_of_a_prepared_call():
    """Reported; the figure is in docs/python.md."""
    groups = Group.threads(1)
    with Comm(groups[0]) as comm:
        call = comm.prepare_all_reduce(np.ones(1, "f4"))
        call()
        best = min(_time(call) for _ in range(5))
    print(f"a prepared all_reduce of one rank: {best * 1e9:.0f} ns")


def _time(call, n=20000):
    begin = time.perf_counter()
    for _ in range(n):
        call()
    return (time.perf_counter() - begin) / n

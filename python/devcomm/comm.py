# SPDX-License-Identifier: Apache-2.0
"""Communicators: the collectives."""
from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Sequence, TypeVar

from devcomm._call import Maker, failure, pointer
from devcomm._life import Owner, milliseconds
from devcomm._native import ffi, lib
from devcomm._prepare import Prepares
from devcomm._tensor import view
from devcomm._types import to_op
from devcomm.arena import Arena
from devcomm.errors import CLASSES, Error, check, closed, in_use, text
from devcomm.group import Group

T = TypeVar("T")


class CommInfo(NamedTuple):
    rank: int
    nranks: int
    backend: str
    shared_bytes: int   # shared memory reserved now, all ranks
    reserve_bytes: int  # most that this rank count can come to take
    operations: int     # enqueued so far by this rank


def _options(backend: str | None, algo: str | None, timeout: float | None
             ) -> tuple[Any, Any]:
    keep = [ffi.new("char[]", s.encode()) if s is not None else ffi.NULL
            for s in (backend, algo)]
    opts = ffi.new("dcm_comm_opts *", [
        ffi.sizeof("dcm_comm_opts"), *keep, milliseconds(timeout), 0])
    return opts, keep


def _free(box: Any) -> None:
    comm, box.comm = box.comm, ffi.NULL
    lib.dcm_comm_free(comm)


class Comm(Prepares):
    """A communicator of all ranks of a group.  Making it is collective.

    Tensors are whatever has data_ptr(), an array interface, the buffer protocol or
    DLPack, contiguous.  Each call is made by every rank in the same order, by one
    thread at a time, and lets other Python threads run.  On the CPU it returns
    when dst is complete; on a GPU it is enqueued on the stream.
    """

    def __init__(self, group: Group, *, backend: str | None = None,
                 algo: str | None = None, timeout: float | None = None
                 ) -> None:
        opts, _keep = _options(backend, algo, timeout)
        out = ffi.new("dcm_comm **")
        with group.alone():
            check(lib.dcm_comm_new(out, group.owner.raw, opts))
        self._take(out[0], group.owner)

    def _take(self, raw: Any, parent: Owner | None) -> None:
        self._box = ffi.new("dcmpy_comm *", {"comm": raw})
        self._owner = Owner(self._box, _free, parent)
        self._is_closed = False
        self._maker = Maker(self._box, int(lib.dcm_comm_rank(raw)),
                            int(lib.dcm_comm_nranks(raw)))

    @classmethod
    def _of(cls, raw: Any, parent: Owner | None) -> Comm:
        comm = cls.__new__(cls)
        comm._take(raw, parent)
        return comm

    @classmethod
    def several(cls, groups: Sequence[Group], *, backend: str | None = None,
                algo: str | None = None, timeout: float | None = None
                ) -> list[Comm]:
        """For ranks that live in one thread, which then uses batch()."""
        opts, _keep = _options(backend, algo, timeout)
        out = ffi.new("dcm_comm *[]", max(1, len(groups)))
        raws = ffi.new("dcm_group *[]", [g.owner.raw for g in groups])
        check(lib.dcm_comm_new_multi(out, raws, len(groups), opts))
        return [cls._of(out[i], g.owner) for i, g in enumerate(groups)]

    # -- what it is

    @property
    def owner(self) -> Owner:
        """For what is made of the communicator."""
        if self._is_closed:
            closed("communicator")
        return self._owner

    @property
    def raw(self) -> Any:
        """The dcm_comm."""
        return self.owner.raw.comm

    @property
    def rank(self) -> int:
        return self._maker.rank

    @property
    def nranks(self) -> int:
        return self._maker.nranks

    def info(self) -> CommInfo:
        i = ffi.new("dcm_comm_info *", {"size": ffi.sizeof("dcm_comm_info")})
        lib.dcm_comm_info_get(self.raw, i)
        return CommInfo(i.rank, i.nranks, text(i.backend), i.shared_bytes,
                        i.reserve_bytes, i.operations)

    def explain(self, name: str, src: object, dst: object = None, *,
                op: object = "sum", root: int = 0, dtype: object = None
                ) -> str:
        """Which path the operation `name` would take with src's count as its
        count, and why each faster one is not taken."""
        s = view(src, dtype)
        d = s if dst is None else view(dst, dtype)
        chars = ffi.new("char[]", name.encode())
        call = ffi.new("dcm_call *", {
            "size": ffi.sizeof("dcm_call"), "name": chars, "src": pointer(s),
            "dst": pointer(d), "count": s.elements, "dtype": int(s.dtype),
            "op": int(to_op(op)), "root": root})
        out = ffi.new("char[]", 4096)
        check(lib.dcm_comm_explain_call(self.raw, out, 4096, call))
        return text(out)

    # -- its life

    def split(self, colour: int | None, key: int = 0, *,
              backend: str | None = None, algo: str | None = None,
              timeout: float | None = None) -> Comm | None:
        """One communicator a colour, ordered by (key, rank); None for None."""
        opts, _keep = _options(backend, algo, timeout)
        out = ffi.new("dcm_comm **")
        self._in_turn(lambda raw: lib.dcm_comm_split(
            out, raw, lib.DCM_SPLIT_NONE if colour is None else colour, key,
            opts))
        return None if out[0] == ffi.NULL else Comm._of(out[0], None)

    def regroup(self, *, backend: str | None = None, algo: str | None = None,
                timeout: float | None = None) -> Comm:
        """One of the ranks that still live, after a failure."""
        opts, _keep = _options(backend, algo, timeout)
        out = ffi.new("dcm_comm **")
        self._in_turn(lambda raw: lib.dcm_comm_regroup(out, raw, opts))
        return Comm._of(out[0], None)

    def arena(self, nbytes: int) -> Arena:
        """Symmetric memory of `nbytes` on every rank.  Collective."""
        out = ffi.new("dcm_arena **")
        self._in_turn(lambda raw: lib.dcm_arena_new(out, raw, nbytes))
        return Arena(out[0], self.owner, self.info().backend == "cpu")

    def finalize(self, *, timeout: float | None = None) -> None:
        """Leave together: returns when every rank has called it."""
        self._in_turn(lambda raw: lib.dcm_comm_finalize(
            raw, milliseconds(timeout)))

    def abort(self) -> None:
        """End every rank's calls with Aborted.  From any thread."""
        lib.dcm_comm_abort(self.raw)

    def check(self) -> None:
        """Raise what the communicator failed with, if it has.  Never waits."""
        status = int(lib.dcm_comm_check(self.raw))
        if status:
            raise self._failure(status)

    def set_timeout(self, seconds: float | None) -> None:
        """Deadline of this rank's later calls; None: the default again."""
        lib.dcm_comm_set_timeout(self.raw, milliseconds(seconds))

    def _failure(self, status: int) -> Error:
        error = failure(self._box, status)
        if not error.args[0]:  # another thread's: the record has the words
            error = CLASSES[status]("the communicator failed before")
        return error

    def _in_turn(self, call: Any) -> None:
        """Run a call that nothing prepares, with no other beside it."""
        status = lib.dcmpy_enter(self._box)
        if status:
            raise failure(self._box, status)
        try:
            status = call(self._box.comm)
        finally:
            lib.dcmpy_leave(self._box)
        if status:
            raise failure(self._box, status)

    def close(self) -> None:
        """Local, waits for nobody; what was made of it is freed first.

        Raises Busy while another thread is in one of its calls: abort() ends that.
        """
        if self._is_closed or self._owner.is_foreign:
            self._is_closed = True
            return
        status = lib.dcmpy_enter(self._box)
        if status == lib.DCMPY_IN_USE:
            in_use("communicator")
        self._is_closed = True
        if status == 0:
            lib.dcmpy_leave(self._box)
        self._owner.release()

    def __enter__(self) -> Comm:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_is_closed"):
            self.close()

    def __repr__(self) -> str:
        if self._is_closed:
            return "<devcomm.Comm, closed>"
        i = self.info()
        return f"<devcomm.Comm, rank {i.rank} of {i.nranks}, {i.backend}>"

    # -- collectives; each returns the tensor that holds the result

    def all_reduce(self, src: T, dst: T | None = None, op: object = "sum", *,
                   dtype: object = None, stream: object = None) -> T:
        """The same bits on every rank, summed in rank order."""
        self.prepare_all_reduce(src, dst, op, dtype=dtype, stream=stream)()
        return src if dst is None else dst

    def reduce(self, src: T, dst: T | None = None, op: object = "sum",
               root: int = 0, *, dtype: object = None, stream: object = None
               ) -> T | None:
        """The result at the root, None elsewhere."""
        self.prepare_reduce(src, dst, op, root, dtype=dtype, stream=stream)()
        if self.rank != root:
            return None
        return src if dst is None else dst

    def broadcast(self, src: T, dst: T | None = None, root: int = 0, *,
                  dtype: object = None, stream: object = None) -> T:
        """`src` alone is sent by the root and filled elsewhere."""
        self.prepare_broadcast(src, dst, root, dtype=dtype, stream=stream)()
        return src if dst is None else dst

    def gather(self, src: object, dst: T | None = None, root: int = 0, *,
               dtype: object = None, stream: object = None) -> T | None:
        self.prepare_gather(src, dst, root, dtype=dtype, stream=stream)()
        return dst if self.rank == root else None

    def scatter(self, src: object, dst: T, root: int = 0, *,
                dtype: object = None, stream: object = None) -> T:
        self.prepare_scatter(src, dst, root, dtype=dtype, stream=stream)()
        return dst

    def all_gather(self, src: object, dst: T, *, dtype: object = None,
                   stream: object = None) -> T:
        self.prepare_all_gather(src, dst, dtype=dtype, stream=stream)()
        return dst

    def all_gather_inner(self, src: object, dst: T, inner: int, *,
                         dtype: object = None, stream: object = None) -> T:
        """Rows of `inner` elements, put side by side."""
        self.prepare_all_gather_inner(src, dst, inner, dtype=dtype,
                                      stream=stream)()
        return dst

    def all_gather_v(self, src: object, dst: T, counts: Sequence[int],
                     displs: Sequence[int] | None = None, *,
                     dtype: object = None, stream: object = None) -> T:
        self.prepare_all_gather_v(src, dst, counts, displs, dtype=dtype,
                                  stream=stream)()
        return dst

    def reduce_scatter(self, src: object, dst: T, op: object = "sum", *,
                       dtype: object = None, stream: object = None) -> T:
        self.prepare_reduce_scatter(src, dst, op, dtype=dtype,
                                    stream=stream)()
        return dst

    def reduce_scatter_v(self, src: object, dst: T, counts: Sequence[int],
                         op: object = "sum", *, dtype: object = None,
                         stream: object = None) -> T:
        self.prepare_reduce_scatter_v(src, dst, counts, op, dtype=dtype,
                                      stream=stream)()
        return dst

    def all_to_all(self, src: T, dst: T | None = None, *,
                   dtype: object = None, stream: object = None) -> T:
        self.prepare_all_to_all(src, dst, dtype=dtype, stream=stream)()
        return src if dst is None else dst

    def all_to_all_v(self, src: object, dst: T, send_counts: Sequence[int],
                     recv_counts: Sequence[int],
                     send_displs: Sequence[int] | None = None,
                     recv_displs: Sequence[int] | None = None, *,
                     dtype: object = None, stream: object = None) -> T:
        self.prepare_all_to_all_v(src, dst, send_counts, recv_counts,
                                  send_displs, recv_displs, dtype=dtype,
                                  stream=stream)()
        return dst

    def send(self, src: object, peer: int, *, dtype: object = None,
             stream: object = None) -> None:
        self.prepare_send(src, peer, dtype=dtype, stream=stream)()

    def recv(self, dst: T, peer: int, *, dtype: object = None,
             stream: object = None) -> T:
        self.prepare_recv(dst, peer, dtype=dtype, stream=stream)()
        return dst

    def barrier(self, *, stream: object = None) -> None:
        """Returns when every rank has entered."""
        self.prepare_barrier(stream=stream)()

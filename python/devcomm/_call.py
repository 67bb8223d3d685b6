# SPDX-License-Identifier: Apache-2.0
"""Calls of a communicator, prepared: looked at once, run often."""
from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Sequence

from devcomm._native import ffi, lib
from devcomm._tensor import View, stream_of, view
from devcomm._types import Op, to_op
from devcomm.errors import CLASSES, Error, closed, from_status, in_use, text

_run = lib.dcmpy_run


class _Batches(threading.local):
    calls: list[Call] | None = None


_batches = _Batches()


def failure(box: Any, status: int) -> Error:
    """The exception for `status`, with what the communicator's record says."""
    if status == lib.DCMPY_CLOSED:
        closed("communicator")
    if status == lib.DCMPY_IN_USE:
        in_use("communicator")
    error = from_status(status)
    record = ffi.new("dcm_failure *", {"size": ffi.sizeof("dcm_failure")})
    lib.dcm_comm_failure(box.comm, record)
    if record.status != status:
        return error
    error.rank = int(record.rank) if record.rank >= 0 else None
    error.pid = int(record.pid) or None
    error.op = text(record.op)
    error.phase = text(record.phase)
    error.epoch = int(record.epoch)
    return error


class Call:
    """One operation with its arguments; calling it runs it.

    It keeps the tensors.  They must not be resized; their contents are free to
    change between runs.
    """

    __slots__ = ("_box", "_keep", "_raw")

    def __init__(self, box: Any, kind: int, keep: Any, **fields: Any) -> None:
        self._box = box
        self._keep = keep
        self._raw = ffi.new("dcmpy_call *", {"owner": box, "kind": kind,
                                             **fields})

    def __call__(self) -> None:
        if _batches.calls is not None:
            _batches.calls.append(self)
            return
        status = _run(self._raw)
        if status:
            raise failure(self._box, status)

    def run_in_batch(self) -> int:
        return int(_run(self._raw))

    def failed(self) -> Error | None:
        """The exception, if the communicator has failed."""
        if self._box.comm == ffi.NULL:
            return None
        status = int(lib.dcm_comm_check(self._box.comm))
        return failure(self._box, status) if status in CLASSES else None


class batch:
    """Operations within run together, when the `with` ends: how two ranks send to
    each other, and how one thread drives several ranks.

    When the body raises, none of them is run.  Those of one communicator keep
    their order; sends and receives come last, side by side.
    """

    def __enter__(self) -> batch:
        self._outer = _batches.calls
        _batches.calls = []
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> None:
        calls = _batches.calls or []
        _batches.calls = self._outer
        if kind is not None:
            return
        if self._outer is not None:
            self._outer.extend(calls)
            return
        _run_together(calls)


def _run_together(calls: list[Call]) -> None:
    status = lib.dcm_begin()
    if status:
        raise from_status(status)
    first: Error | None = None
    for c in calls:
        status = c.run_in_batch()
        if status and first is None:
            first = failure(c._box, status)
    status = lib.dcm_end()
    if first is not None:
        raise first
    if status:
        plain = from_status(status)
        for c in calls:
            known = c.failed()
            if known is not None and known.status == status:
                raise known
        raise plain


def pointer(v: View | None) -> Any:
    return ffi.NULL if v is None else ffi.cast("void *", v.address)


def sizes(values: Sequence[int] | None, nranks: int, what: str) -> Any:
    """An array for C; NULL for None."""
    if values is None:
        return ffi.NULL
    if len(values) != nranks:
        raise ValueError(f"{len(values)} {what} for {nranks} ranks")
    return ffi.new("size_t[]", list(values))


def same(src: View, dst: View) -> None:
    if src.dtype != dst.dtype:
        raise TypeError(f"src is {src.dtype.name.lower()}, "
                        f"dst is {dst.dtype.name.lower()}")


def holds(v: View, count: int, what: str) -> None:
    if v.elements < count:
        raise ValueError(f"{what} has {v.elements} elements, {count} are "
                         "needed")


class Maker:
    """Looks at tensors for calls of one communicator."""

    __slots__ = ("box", "nranks", "rank")

    def __init__(self, box: Any, rank: int, nranks: int) -> None:
        self.box = box
        self.rank = rank
        self.nranks = nranks

    def simple(self, kind: int, src: object, dst: object, *,
               dtype: object, stream: object, op: object = Op.SUM,
               root: int = 0, src_times: int = 1, dst_times: int = 1,
               by: str = "src") -> Call:
        """A call with one count: that of `by`, divided by that one's times.

        src or dst None: this rank has none.
        """
        cuda = stream_of(stream, src, dst)
        s = None if src is None else view(src, dtype, stream=cuda)
        d = None if dst is None else view(dst, dtype, writable=True,
                                          stream=cuda)
        one = s if by == "src" else d
        times = src_times if by == "src" else dst_times
        if one is None:
            raise ValueError(f"{by} is needed")
        if one.elements % times:
            raise ValueError(f"{by} has {one.elements} elements, which do not "
                             f"divide among {times} ranks")
        count = one.elements // times
        if s is not None and d is not None:
            same(s, d)
        if s is not None:
            holds(s, count * src_times, "src")
        if d is not None:
            holds(d, count * dst_times, "dst")
        return Call(self.box, kind, (s, d), src=pointer(s), dst=pointer(d),
                    count=count, dtype=int(one.dtype), op=int(to_op(op)),
                    root=root, stream=ffi.cast("void *", cuda))

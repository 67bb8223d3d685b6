# SPDX-License-Identifier: Apache-2.0
"""comm.prepare_*: every operation of a communicator as an object to call."""
from __future__ import annotations

from typing import Sequence

from devcomm._call import Call, Maker, holds, pointer, same, sizes
from devcomm._native import ffi, lib
from devcomm._tensor import stream_of, view
from devcomm._types import to_op


class Prepares:
    """The part of Comm that looks at arguments.

    `dst` None is in place.  `dtype` overrides what the arrays say of themselves
    (bf16 in numpy's uint16).  `stream` is for device tensors: a number, or an
    object of torch or cupy; None is torch's current one for torch's tensors.
    """

    _maker: Maker

    def prepare_all_reduce(self, src: object, dst: object = None,
                           op: object = "sum", *, dtype: object = None,
                           stream: object = None) -> Call:
        return self._maker.simple(
            lib.DCMPY_ALL_REDUCE, src, src if dst is None else dst, op=op,
            dtype=dtype, stream=stream)

    def prepare_reduce(self, src: object, dst: object = None,
                       op: object = "sum", root: int = 0, *,
                       dtype: object = None, stream: object = None) -> Call:
        if self._maker.rank != root:
            dst = None
        elif dst is None:
            dst = src
        return self._maker.simple(lib.DCMPY_REDUCE, src, dst, op=op,
                                  root=root, dtype=dtype, stream=stream)

    def prepare_broadcast(self, src: object, dst: object = None,
                          root: int = 0, *, dtype: object = None,
                          stream: object = None) -> Call:
        """`src` alone is sent by the root and filled elsewhere."""
        if dst is None:
            dst = src
        return self._maker.simple(
            lib.DCMPY_BROADCAST, src if self._maker.rank == root else None,
            dst, root=root, dtype=dtype, stream=stream, by="dst")

    def prepare_gather(self, src: object, dst: object = None, root: int = 0,
                       *, dtype: object = None, stream: object = None) -> Call:
        m = self._maker
        if m.rank == root and dst is None:
            raise ValueError("the root of a gather needs dst")
        return m.simple(
            lib.DCMPY_GATHER, src, dst if m.rank == root else None, root=root,
            dtype=dtype, stream=stream, dst_times=m.nranks)

    def prepare_scatter(self, src: object, dst: object, root: int = 0, *,
                        dtype: object = None, stream: object = None) -> Call:
        m = self._maker
        if m.rank == root and src is None:
            raise ValueError("the root of a scatter needs src")
        return m.simple(
            lib.DCMPY_SCATTER, src if m.rank == root else None, dst, root=root,
            dtype=dtype, stream=stream, src_times=m.nranks, by="dst")

    def prepare_all_gather(self, src: object, dst: object, *,
                           dtype: object = None, stream: object = None
                           ) -> Call:
        return self._maker.simple(
            lib.DCMPY_ALL_GATHER, src, dst, dtype=dtype, stream=stream,
            dst_times=self._maker.nranks)

    def prepare_all_gather_inner(self, src: object, dst: object, inner: int,
                                 *, dtype: object = None,
                                 stream: object = None) -> Call:
        """Rows of `inner` elements, put side by side."""
        m = self._maker
        cuda = stream_of(stream, src, dst)
        s = view(src, dtype, stream=cuda)
        d = view(dst, dtype, writable=True, stream=cuda)
        same(s, d)
        if inner < 1 or s.elements % inner:
            raise ValueError(f"src has {s.elements} elements, which are no rows "
                             f"of {inner}")
        holds(d, s.elements * m.nranks, "dst")
        return Call(m.box, lib.DCMPY_ALL_GATHER_INNER, (s, d), src=pointer(s),
                    dst=pointer(d), count=s.elements // inner, inner=inner,
                    dtype=int(s.dtype), stream=ffi.cast("void *", cuda))

    def prepare_all_gather_v(self, src: object, dst: object,
                             counts: Sequence[int],
                             displs: Sequence[int] | None = None, *,
                             dtype: object = None, stream: object = None
                             ) -> Call:
        m = self._maker
        cuda = stream_of(stream, src, dst)
        s = view(src, dtype, stream=cuda)
        d = view(dst, dtype, writable=True, stream=cuda)
        same(s, d)
        c = sizes(counts, m.nranks, "counts")
        at = sizes(displs, m.nranks, "displacements")
        holds(s, counts[m.rank], "src")
        holds(d, _end(counts, displs), "dst")
        return Call(m.box, lib.DCMPY_ALL_GATHER_V, (s, d, c, at),
                    src=pointer(s), dst=pointer(d), counts=c, displs=at,
                    dtype=int(s.dtype), stream=ffi.cast("void *", cuda))

    def prepare_reduce_scatter(self, src: object, dst: object,
                               op: object = "sum", *, dtype: object = None,
                               stream: object = None) -> Call:
        return self._maker.simple(
            lib.DCMPY_REDUCE_SCATTER, src, dst, op=op, dtype=dtype,
            stream=stream, src_times=self._maker.nranks)

    def prepare_reduce_scatter_v(self, src: object, dst: object,
                                 counts: Sequence[int], op: object = "sum",
                                 *, dtype: object = None,
                                 stream: object = None) -> Call:
        m = self._maker
        cuda = stream_of(stream, src, dst)
        s = view(src, dtype, stream=cuda)
        d = view(dst, dtype, writable=True, stream=cuda)
        same(s, d)
        c = sizes(counts, m.nranks, "counts")
        holds(s, sum(counts), "src")
        holds(d, counts[m.rank], "dst")
        return Call(m.box, lib.DCMPY_REDUCE_SCATTER_V, (s, d, c),
                    src=pointer(s), dst=pointer(d), counts=c,
                    dtype=int(s.dtype), op=int(to_op(op)),
                    stream=ffi.cast("void *", cuda))

    def prepare_all_to_all(self, src: object, dst: object = None, *,
                           dtype: object = None, stream: object = None
                           ) -> Call:
        n = self._maker.nranks
        return self._maker.simple(
            lib.DCMPY_ALL_TO_ALL, src, src if dst is None else dst,
            dtype=dtype, stream=stream, src_times=n, dst_times=n)

    def prepare_all_to_all_v(self, src: object, dst: object,
                             send_counts: Sequence[int],
                             recv_counts: Sequence[int],
                             send_displs: Sequence[int] | None = None,
                             recv_displs: Sequence[int] | None = None, *,
                             dtype: object = None, stream: object = None
                             ) -> Call:
        m = self._maker
        cuda = stream_of(stream, src, dst)
        s = view(src, dtype, stream=cuda)
        d = view(dst, dtype, writable=True, stream=cuda)
        same(s, d)
        keep = (sizes(send_counts, m.nranks, "send counts"),
                sizes(send_displs, m.nranks, "send displacements"),
                sizes(recv_counts, m.nranks, "receive counts"),
                sizes(recv_displs, m.nranks, "receive displacements"))
        holds(s, _end(send_counts, send_displs), "src")
        holds(d, _end(recv_counts, recv_displs), "dst")
        return Call(m.box, lib.DCMPY_ALL_TO_ALL_V, (s, d, keep),
                    src=pointer(s), dst=pointer(d), counts=keep[0],
                    displs=keep[1], recv_counts=keep[2], recv_displs=keep[3],
                    dtype=int(s.dtype), stream=ffi.cast("void *", cuda))

    def prepare_send(self, src: object, peer: int, *, dtype: object = None,
                     stream: object = None) -> Call:
        return self._maker.simple(lib.DCMPY_SEND, src, None, root=peer,
                                  dtype=dtype, stream=stream)

    def prepare_recv(self, dst: object, peer: int, *, dtype: object = None,
                     stream: object = None) -> Call:
        return self._maker.simple(lib.DCMPY_RECV, None, dst, root=peer,
                                  dtype=dtype, stream=stream, by="dst")

    def prepare_barrier(self, *, stream: object = None) -> Call:
        return Call(self._maker.box, lib.DCMPY_BARRIER, None,
                    stream=ffi.cast("void *", stream_of(stream)))


def _end(counts: Sequence[int], displs: Sequence[int] | None) -> int:
    """How many elements blocks of these sizes reach over."""
    if displs is None:
        return sum(counts)
    return max((d + c for c, d in zip(counts, displs) if c), default=0)

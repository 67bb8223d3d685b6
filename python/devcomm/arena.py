# SPDX-License-Identifier: Apache-2.0
"""Symmetric memory."""
from __future__ import annotations

from types import TracebackType
from typing import Any, Sequence

from devcomm._life import Owner
from devcomm._native import ffi, lib
from devcomm._types import DType, to_dtype
from devcomm.errors import check, closed

_TYPESTR = {DType.F64: "<f8", DType.F32: "<f4", DType.F16: "<f2",
            DType.I8: "|i1", DType.U8: "|u1", DType.I32: "<i4",
            DType.U32: "<u4", DType.I64: "<i8", DType.U64: "<u8"}


class Block:
    """A piece of an arena, as an array that numpy (or, on a GPU, torch and cupy)
    takes without a copy; the memory stays as long as one of them holds it.

    Types that array interfaces do not know (bf16, the 8-bit floats) are shown as
    unsigned integers of their size.
    """

    def __init__(self, arena: Owner, address: Any, shape: tuple[int, ...],
                 dtype: DType, is_host: bool) -> None:
        self.shape = shape
        self.dtype = dtype
        self.address = int(ffi.cast("uintptr_t", address))
        self._owner = Owner((arena.raw, address), _release, arena)
        typestr = _TYPESTR.get(dtype, f"<u{dtype.nbytes}")
        facts: dict[str, Any] = {
            "shape": shape, "typestr": typestr, "strides": None, "version": 3,
            "data": (self.address, False)}
        if is_host:
            self.__array_interface__ = facts
        else:
            self.__cuda_array_interface__ = facts

    def __del__(self) -> None:
        if hasattr(self, "_owner"):
            self._owner.release()


def _release(pair: tuple[Any, Any]) -> None:
    lib.dcm_arena_release(*pair)


class Arena:
    """Made by Comm.arena().  Collectives on tensors in it make no copies.

    Ranks that allocate the same sizes in the same order get the same places.
    """

    def __init__(self, raw: Any, comm: Owner, is_host: bool) -> None:
        self._owner = Owner(raw, lib.dcm_arena_free, comm)
        self._is_host = is_host
        self._is_closed = False

    def alloc(self, shape: int | Sequence[int], dtype: object = "u8") -> Block:
        """A block of this shape; local.  It is given back when it is dropped."""
        if self._is_closed:
            closed("arena")
        t = to_dtype(dtype)
        extents = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = t.nbytes
        for extent in extents:
            nbytes *= extent
        out = ffi.new("void **")
        check(lib.dcm_arena_alloc(self._owner.raw, out, nbytes))
        return Block(self._owner, out[0], extents, t, self._is_host)

    def close(self) -> None:
        """Freed once no block of it is held any more."""
        self._is_closed = True
        self._owner.release()

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_is_closed"):
            self.close()

# SPDX-License-Identifier: Apache-2.0
"""Objects as records of a queue.

    byte 0   0: a pickle from byte 1 on
             1: the head below, the pickle, and the buffers that are not in it,
                each at a multiple of 16

    head     u32 1, u32 number of buffers, u64 bytes of the pickle, u64 bytes
             of each buffer

A buffer goes from where the object has it into the queue, and from there into memory
of the new object's: one copy on either side.
"""
from __future__ import annotations

import io
import pickle
import struct
from typing import Any

_ALIGN = 16
_SMALL = 32 << 10  # below this a second copy is cheaper than a part of its own
_HEAD = struct.Struct("<IIQ")


class _PlainPickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if obj is complex or type(obj) is complex:
            return NotImplemented
        raise TypeError(f"a {type(obj).__name__} is not plain data: None, bool, "
                        "numbers, str, bytes, and lists, tuples, dicts and "
                        "sets of them")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError(
            f"{module}.{name} is not plain data, and this queue admits nothing "
            "else")


def encode(obj: Any, is_plain: bool) -> tuple[Any, list[Any]]:
    """A pickle, and the parts of a record around it; none, if it is all."""
    if is_plain:
        out = io.BytesIO()
        _PlainPickler(out, 5).dump(obj)
        return out.getvalue(), []
    buffers: list[pickle.PickleBuffer] = []

    def stays_inside(buffer: pickle.PickleBuffer) -> bool:
        if memoryview(buffer).nbytes < _SMALL:
            return True
        buffers.append(buffer)
        return False

    data = pickle.dumps(obj, 5, buffer_callback=stays_inside)
    return data, _parts(data, buffers) if buffers else []


def _parts(data: bytes, buffers: list[pickle.PickleBuffer]) -> list[Any]:
    raws = [b.raw() for b in buffers]
    head = _HEAD.pack(1, len(raws), len(data)) + struct.pack(
        f"<{len(raws)}Q", *(r.nbytes for r in raws))
    parts: list[Any] = [head, data, _pad(len(head) + len(data))]
    for r in raws:
        parts += [r, _pad(r.nbytes)]
    return parts


def _pad(nbytes: int) -> bytes:
    return b"\0" * (-nbytes % _ALIGN)


def decode(record: bytes | bytearray, is_plain: bool) -> Any:
    """The object; its buffers are parts of `record`, which must not be reused."""
    whole = memoryview(record)
    if record[:1] == b"\0":
        return load(whole[1:], None, is_plain)
    if len(record) < _HEAD.size or record[0] != 1:
        raise pickle.UnpicklingError(
            f"a record of {len(record)} bytes that is no object")
    _, n, length = _HEAD.unpack_from(record)
    at = _HEAD.size + 8 * n
    sizes = struct.unpack_from(f"<{n}Q", record, _HEAD.size)
    data = whole[at:at + length]
    at += length
    buffers = []
    for size in sizes:
        at += -at % _ALIGN
        if at + size > len(record):
            raise pickle.UnpicklingError("a buffer ends behind its record")
        buffers.append(whole[at:at + size])
        at += size
    return load(data, buffers, is_plain)


def load(data: Any, buffers: list[memoryview] | None, is_plain: bool) -> Any:
    if is_plain:
        return _PlainUnpickler(io.BytesIO(data), buffers=buffers).load()
    return pickle.loads(data, buffers=buffers)

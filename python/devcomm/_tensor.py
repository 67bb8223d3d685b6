# SPDX-License-Identifier: Apache-2.0
"""What lies behind an array or tensor, whichever library it is of.

No library is imported: an object is asked by the first of these that it has:
data_ptr() (torch), __cuda_array_interface__, __array_interface__, the buffer
protocol, __dlpack__.
"""
from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from devcomm._native import ffi
from devcomm._types import DTYPES, DType, to_dtype


class View(NamedTuple):
    address: int
    elements: int  # of dtype
    dtype: DType
    is_device: bool
    is_readonly: bool
    keep: object  # what the memory belongs to

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.nbytes


_KINDS = {"f": "float", "i": "int", "u": "uint", "b": "uint"}
_FORMATS = {"f": "float", "d": "float", "e": "float",
            "b": "int", "h": "int", "i": "int", "l": "int", "q": "int",
            "B": "uint", "H": "uint", "I": "uint", "L": "uint", "Q": "uint",
            "c": "uint", "?": "uint"}


def _contiguous(shape: Any, strides: Any, itemsize: int) -> bool:
    if strides is None:
        return True
    expect = itemsize
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent == 0:
            return True
        if extent != 1 and stride != expect:
            return False
        expect *= extent
    return True


def _product(shape: Any) -> int:
    n = 1
    for extent in shape:
        n *= int(extent)
    return n


def _refuse_gaps(obj: object, shape: Any) -> None:
    raise ValueError(
        f"a {type(obj).__name__} of shape {tuple(shape)} is not contiguous; "
        "copy it first")


def _of_torch(obj: Any) -> View:
    if not obj.is_contiguous():
        _refuse_gaps(obj, obj.shape)
    name = str(obj.dtype).rpartition(".")[2]
    return View(obj.data_ptr(), obj.numel(), to_dtype(name),
                str(obj.device) != "cpu", False, obj)


def _of_interface(obj: Any, facts: Any, is_device: bool) -> View:
    kind, size = facts["typestr"][1], int(facts["typestr"][2:])
    if facts["typestr"][0] == ">":
        raise ValueError("this array is not in the machine's byte order")
    shape, strides = facts["shape"], facts.get("strides")
    if not _contiguous(shape, strides, size):
        _refuse_gaps(obj, shape)
    name = f"{_KINDS[kind]}{8 * size}" if kind in _KINDS else str(obj.dtype)
    address, readonly = facts["data"]
    return View(int(address), _product(shape), to_dtype(name), is_device,
                bool(readonly), obj)


def _of_buffer(obj: Any) -> View:
    m = memoryview(obj)
    if not m.c_contiguous:
        _refuse_gaps(obj, m.shape)
    name = DTYPES.get(_FORMATS.get(m.format[-1:], "") + str(8 * m.itemsize))
    if name is None:
        raise ValueError(f"elements of the format '{m.format}' are none of "
                         "the types that devcomm has")
    raw = ffi.from_buffer(m.cast("B") if m.nbytes else b"")
    return View(int(ffi.cast("uintptr_t", raw)), m.nbytes // m.itemsize, name,
                False, m.readonly, (raw, m))


_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_capsule.restype = ctypes.c_void_p
_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]
_CPU, _PINNED = 1, (3, 11)  # device types that the host reaches
_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "uint"}


def _of_dlpack(obj: Any, stream: int | None) -> View:
    device = obj.__dlpack_device__()[0]
    is_device = device != _CPU and device not in _PINNED
    capsule = obj.__dlpack__(stream=stream) if is_device else obj.__dlpack__()
    # Not consumed: the capsule frees what it holds when it goes.
    t = ffi.cast("dcmpy_dltensor *", _capsule(capsule, b"dltensor"))
    shape = [t.shape[i] for i in range(t.ndim)]
    size = t.bits // 8
    if t.strides != ffi.NULL and not _contiguous(
            shape, [t.strides[i] * size for i in range(t.ndim)], size):
        _refuse_gaps(obj, shape)
    if t.lanes != 1 or t.code not in _CODES:
        raise ValueError(f"elements of DLPack code {t.code} with {t.lanes} "
                         "lanes are none of the types that devcomm has")
    address = int(ffi.cast("uintptr_t", t.data)) + int(t.byte_offset)
    return View(address, _product(shape), to_dtype(_CODES[t.code] + str(t.bits)),
                is_device, False, capsule)


def _look(obj: Any, stream: int | None) -> View:
    if hasattr(obj, "data_ptr") and hasattr(obj, "is_contiguous"):
        return _of_torch(obj)
    facts = getattr(obj, "__cuda_array_interface__", None)
    if facts is not None:
        return _of_interface(obj, facts, True)
    facts = getattr(obj, "__array_interface__", None)
    if facts is not None:
        return _of_interface(obj, facts, False)
    try:
        return _of_buffer(obj)
    except TypeError:
        pass
    if hasattr(obj, "__dlpack__"):
        return _of_dlpack(obj, stream)
    raise TypeError(f"a {type(obj).__name__} has none of data_ptr(), "
                    "__cuda_array_interface__, __array_interface__, the buffer "
                    "protocol and __dlpack__")


def view(obj: object, dtype: object = None, *, writable: bool = False,
         stream: int | None = None) -> View:
    """`obj` as contiguous elements, of `dtype` instead of its own if given."""
    if dtype is None:
        v = _look(obj, stream)
    else:
        wanted = to_dtype(dtype)
        v = _raw(obj, stream)
        if v.nbytes % wanted.nbytes:
            raise ValueError(f"{v.nbytes} bytes are no whole number of "
                             f"{wanted.name.lower()}")
        v = v._replace(elements=v.nbytes // wanted.nbytes, dtype=wanted)
    if writable and v.is_readonly:
        raise ValueError(f"this {type(obj).__name__} is read-only")
    return v


def _raw(obj: Any, stream: int | None) -> View:
    """The same for a type that only the caller knows: numpy's uint16, say."""
    facts = getattr(obj, "__array_interface__", None)
    if facts is None or hasattr(obj, "data_ptr"):
        try:
            return _look(obj, stream)
        except ValueError:
            return _of_buffer(memoryview(obj).cast("B"))
    size = int(facts["typestr"][2:])
    if not _contiguous(facts["shape"], facts.get("strides"), size):
        _refuse_gaps(obj, facts["shape"])
    return View(int(facts["data"][0]), _product(facts["shape"]) * size,
                DType.U8, False, bool(facts["data"][1]), obj)


def stream_of(stream: Any, *tensors: object) -> int:
    """The stream's address; by default torch's current one, for its tensors."""
    if stream is None:
        for t in tensors:
            if getattr(t, "is_cuda", False):
                return _torch_stream(t)
        return 0
    if isinstance(stream, int):
        return stream
    for name in ("cuda_stream", "ptr", "handle"):
        value = getattr(stream, name, None)
        if value is not None:
            return int(value)
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    raise TypeError(f"a {type(stream).__name__} is not a stream")


def _torch_stream(tensor: Any) -> int:
    import sys

    torch: Any = sys.modules.get("torch")
    if torch is None:
        return 0
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)

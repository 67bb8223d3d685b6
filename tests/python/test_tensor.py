# SPDX-License-Identifier: Apache-2.0
"""Every way in which an array says where its memory is."""
import array

import numpy as np
import pytest
from devcomm import DType
from devcomm._tensor import stream_of, view


class DlpackAlone:
    def __init__(self, a):
        self.a = a

    def __dlpack__(self, **kw):
        return self.a.__dlpack__(**kw)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


class LikeTorch:
    """What devcomm asks of a torch tensor."""

    def __init__(self, a, dtype, device="cpu", contiguous=True):
        self.a, self.dtype, self.device = a, f"torch.{dtype}", device
        self.contiguous, self.shape = contiguous, a.shape
        self.is_cuda = device.startswith("cuda")

    def data_ptr(self):
        return self.a.ctypes.data

    def numel(self):
        return self.a.size

    def is_contiguous(self):
        return self.contiguous


def test_numpy():
    a = np.zeros((2, 3), "f4")
    v = view(a, writable=True)
    assert (v.address, v.elements, v.dtype) == (a.ctypes.data, 6, DType.F32)
    assert v.nbytes == 24 and not v.is_device
    assert view(np.zeros((0, 3), "i8")).elements == 0
    assert view(np.float64(1)).elements == 1


def test_contiguity():
    a = np.zeros((4, 6), "f4")
    assert view(a[1:3]).address == a.ctypes.data + 24
    assert view(a[:1, ::1]).elements == 6
    assert view(np.zeros((3, 1, 2))[:, ::-1]).elements == 6
    for bad in (a[:, :3], a.T, a[::-1], np.broadcast_to(np.ones(1), (3,))):
        with pytest.raises(ValueError, match="is not contiguous"):
            view(bad)
        with pytest.raises(ValueError, match="contiguous"):
            view(bad, "u8")


def test_buffers():
    v = view(bytearray(10), writable=True)
    assert (v.elements, v.dtype) == (10, DType.U8)
    assert view(array.array("d", [1, 2])).dtype == DType.F64
    assert view(array.array("l", [1])).dtype == DType.I64
    assert view(memoryview(bytearray(8)).cast("H").cast("B").cast("I")
                ).dtype == DType.U32
    assert view(bytearray()).elements == 0
    with pytest.raises(ValueError, match="read-only"):
        view(b"xx", writable=True)
    with pytest.raises(ValueError, match="contiguous"):
        view(memoryview(bytearray(8))[::2])


@pytest.mark.parametrize("t", ["f8", "f4", "f2", "i1", "u1", "i4", "u4", "i8"])
def test_dlpack(t):
    a = np.arange(12, dtype=t).reshape(3, 4)
    v = view(DlpackAlone(a))
    assert (v.address, v.elements) == (a.ctypes.data, 12)
    assert v.dtype == view(a).dtype
    with pytest.raises(ValueError, match="contiguous"):
        view(DlpackAlone(a[:, 1:]))
    assert view(DlpackAlone(a[1:])).address == a[1:].ctypes.data


def test_dlpack_keeps_the_memory():
    v = view(DlpackAlone(np.full(1000, 7, "i4")))
    other = [np.full(1000, 8, "i4") for _ in range(10)]
    import ctypes
    assert ctypes.c_int32.from_address(v.address + 3996).value == 7
    del other


def test_torch_alike():
    a = np.zeros(8, "u2")
    v = view(LikeTorch(a, "bfloat16"))
    assert (v.address, v.elements, v.dtype) == (a.ctypes.data, 8, DType.BF16)
    assert view(LikeTorch(a, "float16", "cuda:1")).is_device
    with pytest.raises(ValueError, match="contiguous"):
        view(LikeTorch(a, "float16", contiguous=False))
    with pytest.raises(ValueError, match="none of the types"):
        view(LikeTorch(a, "complex64"))


def test_cuda_array_interface():
    class Device:
        __cuda_array_interface__ = {
            "shape": (2, 2), "typestr": "<f2", "strides": (4, 2),
            "data": (0x1000, False), "version": 3}

    v = view(Device())
    assert (v.address, v.elements, v.dtype) == (0x1000, 4, DType.F16)
    assert v.is_device


def test_dtype_given():
    a = np.zeros(8, "u2")
    assert view(a, "bf16").elements == 8
    assert view(a, DType.F32).elements == 4
    assert view(np.zeros(4, "c8"), "f32").elements == 8
    with pytest.raises(ValueError, match="no whole number"):
        view(np.zeros(3, "u1"), "f32")


def test_streams():
    class Torch:
        cuda_stream = 17

    class Protocol:
        def __cuda_stream__(self):
            return 0, 18

    assert stream_of(Torch()) == 17 and stream_of(Protocol()) == 18
    assert stream_of(5) == 5 and stream_of(None, np.ones(1)) == 0
    with pytest.raises(TypeError):
        stream_of("main")

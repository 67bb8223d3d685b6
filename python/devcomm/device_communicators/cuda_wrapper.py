# SPDX-License-Identifier: Apache-2.0
"""The CUDA runtime by ctypes, which a program may use beside its own binding.

By ctypes and not through libdevcomm: the interface takes any runtime's path and
gives ctypes objects, and the C library itself needs no runtime, so it has none to
offer.  ctypes lets other threads run during a call.
"""
from __future__ import annotations

import ctypes
import os
from typing import Any, Dict, Optional

from devcomm.errors import DeviceError, NotSupported, OutOfMemory

cudaError_t = ctypes.c_int
cudaMemcpyKind = ctypes.c_int

_INFERRED = 4  # a memcpy's kind: by the pointers
_LAZY_PEER = 1  # the flag of cudaIpcOpenMemHandle
_OUT_OF_MEMORY = 2
# Newest first.
_SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")


class cudaIpcMemHandle_t(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 64)]


_POINTER = ctypes.c_void_p
_FUNCTIONS: Dict[str, Any] = {
    "cudaSetDevice": [ctypes.c_int],
    "cudaDeviceSynchronize": [],
    "cudaDeviceReset": [],
    "cudaGetErrorString": [cudaError_t],
    "cudaMalloc": [ctypes.POINTER(_POINTER), ctypes.c_size_t],
    "cudaFree": [_POINTER],
    "cudaMemset": [_POINTER, ctypes.c_int, ctypes.c_size_t],
    "cudaMemcpy": [_POINTER, _POINTER, ctypes.c_size_t, cudaMemcpyKind],
    "cudaIpcGetMemHandle": [ctypes.POINTER(cudaIpcMemHandle_t), _POINTER],
    "cudaIpcOpenMemHandle": [ctypes.POINTER(_POINTER), cudaIpcMemHandle_t,
                             ctypes.c_uint],
    "cudaIpcCloseMemHandle": [_POINTER],
}


def find_loaded_library(lib_name: str) -> Optional[str]:
    """The path of a library that this process has loaded, by the start of its file's
    name: "libcudart" finds libcudart.so.13 and libcudart-1234abcd.so.12.  None:
    there is none."""
    with open("/proc/self/maps", encoding="utf-8",
              errors="surrogateescape") as maps:
        for line in maps:
            at = line.find("/")
            if at < 0:
                continue
            path = line[at:].rstrip("\n")
            file = os.path.basename(path.replace(" (deleted)", ""))
            if file.rpartition(".so")[0].startswith(lib_name):
                return path
    return None


def _open(so_file: Optional[str]) -> tuple[str, Any]:
    loaded = so_file or find_loaded_library("libcudart")
    if loaded is not None:
        return loaded, ctypes.CDLL(loaded)
    why: list[str] = []
    for name in _SONAMES:
        try:
            return name, ctypes.CDLL(name)
        except OSError as e:
            why.append(str(e))
    raise NotSupported("this process has loaded no CUDA runtime, and none is "
                       "found: " + "; ".join(why))


class CudaRTLibrary:
    """The runtime at `so_file`; None: the one that the process has, else one that
    is found by its name.  A call that fails raises DeviceError or OutOfMemory."""

    # By path, so that a library is opened and looked through once.
    path_to_library_cache: Dict[str, Any] = {}
    path_to_dict_mapping: Dict[str, Dict[str, Any]] = {}

    def __init__(self, so_file: Optional[str] = None) -> None:
        path = so_file
        if path is None or path not in self.path_to_dict_mapping:
            path, library = _open(so_file)
            if path not in self.path_to_dict_mapping:
                self.path_to_dict_mapping[path] = self._resolve(path, library)
                self.path_to_library_cache[path] = library
        self.lib = self.path_to_library_cache[path]
        self.funcs = self.path_to_dict_mapping[path]

    @staticmethod
    def _resolve(path: str, library: Any) -> Dict[str, Any]:
        found = {}
        for name, arguments in _FUNCTIONS.items():
            try:
                # An object of its own: the library's is anybody's to change.
                call = ctypes.CFUNCTYPE(
                    ctypes.c_char_p if name == "cudaGetErrorString"
                    else cudaError_t, *arguments)((name, library))
            except AttributeError:
                raise NotSupported(f"{path} has no {name}") from None
            found[name] = call
        return found

    def CUDART_CHECK(self, result: int) -> None:
        if result == 0:
            return
        kind = OutOfMemory if result == _OUT_OF_MEMORY else DeviceError
        raise kind(f"CUDART error: {self.cudaGetErrorString(result)}")

    def cudaGetErrorString(self, error: int) -> str:
        text = self.funcs["cudaGetErrorString"](error)
        return (text or b"").decode("utf-8", "replace")

    def cudaSetDevice(self, device: int) -> None:
        self.CUDART_CHECK(self.funcs["cudaSetDevice"](device))

    def cudaDeviceSynchronize(self) -> None:
        self.CUDART_CHECK(self.funcs["cudaDeviceSynchronize"]())

    def cudaDeviceReset(self) -> None:
        self.CUDART_CHECK(self.funcs["cudaDeviceReset"]())

    def cudaMalloc(self, size: int) -> ctypes.c_void_p:
        pointer = ctypes.c_void_p()
        self.CUDART_CHECK(self.funcs["cudaMalloc"](ctypes.byref(pointer),
                                                   size))
        return pointer

    def cudaFree(self, devPtr: ctypes.c_void_p) -> None:
        self.CUDART_CHECK(self.funcs["cudaFree"](devPtr))

    def cudaMemset(self, devPtr: ctypes.c_void_p, value: int, count: int
                   ) -> None:
        self.CUDART_CHECK(self.funcs["cudaMemset"](devPtr, value, count))

    def cudaMemcpy(self, dst: ctypes.c_void_p, src: ctypes.c_void_p,
                   count: int) -> None:
        self.CUDART_CHECK(self.funcs["cudaMemcpy"](dst, src, count,
                                                   _INFERRED))

    def cudaIpcGetMemHandle(self, devPtr: ctypes.c_void_p
                            ) -> cudaIpcMemHandle_t:
        handle = cudaIpcMemHandle_t()
        self.CUDART_CHECK(self.funcs["cudaIpcGetMemHandle"](
            ctypes.byref(handle), devPtr))
        return handle

    def cudaIpcOpenMemHandle(self, handle: cudaIpcMemHandle_t
                             ) -> ctypes.c_void_p:
        pointer = ctypes.c_void_p()
        self.CUDART_CHECK(self.funcs["cudaIpcOpenMemHandle"](
            ctypes.byref(pointer), handle, _LAZY_PEER))
        return pointer

    def cudaIpcCloseMemHandle(self, devPtr: ctypes.c_void_p) -> None:
        self.CUDART_CHECK(self.funcs["cudaIpcCloseMemHandle"](devPtr))

# SPDX-License-Identifier: Apache-2.0
"""The few calls of NVML that are needed, by ctypes; opened when first wanted."""
from __future__ import annotations

import ctypes
from typing import Any, Union

_NVLINK = 2  # NVML_P2P_CAPS_INDEX_NVLINK
_OK = 0


class NvmlError(RuntimeError):
    """NVML is not there, or a call of it failed."""


def _call(name: str, *arguments: Any) -> None:
    try:
        function = getattr(ctypes.CDLL("libnvidia-ml.so.1"), name)
    except (OSError, AttributeError) as e:
        raise NvmlError(f"NVML: {e}") from None
    result = function(*arguments)
    if result != _OK:
        raise NvmlError(f"NVML: {name} failed with {result}")


def start() -> None:
    _call("nvmlInit_v2")


def stop() -> None:
    _call("nvmlShutdown")


def device(which: Union[int, str]) -> ctypes.c_void_p:
    """By number, or by UUID as CUDA_VISIBLE_DEVICES may have it."""
    handle = ctypes.c_void_p()
    if isinstance(which, str):
        _call("nvmlDeviceGetHandleByUUID", which.encode(),
              ctypes.byref(handle))
    else:
        _call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(which),
              ctypes.byref(handle))
    return handle


def are_linked(a: ctypes.c_void_p, b: ctypes.c_void_p) -> bool:
    """Whether NVLink joins them."""
    status = ctypes.c_int(-1)
    _call("nvmlDeviceGetP2PStatus", a, b, _NVLINK, ctypes.byref(status))
    return status.value == _OK

# SPDX-License-Identifier: Apache-2.0
"""Device communicators between the processors of one machine.

    from devcomm import Comm, Group

    with Group.from_env() as group, Comm(group) as comm:
        comm.all_reduce(array)

docs/python.md tells the rest.
"""
from __future__ import annotations

from typing import Any, Callable

from devcomm._call import Call, batch
from devcomm._native import ffi, lib
from devcomm._types import DType, Op
from devcomm.arena import Arena, Block
from devcomm.comm import Comm, CommInfo
from devcomm.errors import (Aborted, Busy, Closed, DeviceError, Error,
                            InvalidArgument, NotReady, NotSupported,
                            OutOfMemory, PeerLost, RanksDiffer,
                            SystemCallFailed, Timeout, VersionMismatch, text)
from devcomm.group import Group
from devcomm.queue import Queue, QueueInfo, Reader, ReaderState

__all__ = [
    "Aborted", "Arena", "Block", "Busy", "Call", "Closed", "Comm", "CommInfo",
    "DType", "DeviceError", "Error", "Group", "InvalidArgument", "NotReady",
    "NotSupported", "Op", "OutOfMemory", "PeerLost", "Queue", "QueueInfo",
    "RanksDiffer", "Reader", "ReaderState", "SystemCallFailed", "Timeout",
    "VersionMismatch", "batch", "log_to", "version",
]


def version() -> tuple[int, int, int]:
    """The C library's."""
    n = int(lib.dcm_version())
    return n // 10000, n // 100 % 100, n % 100


if int(lib.dcm_version()) != lib.DCMPY_VERSION:
    raise ImportError("devcomm was built for version "
                      f"{lib.DCMPY_VERSION} of libdevcomm, and found "
                      f"{lib.dcm_version()}")

__version__ = ".".join(map(str, version()))

_log: Callable[[int, str], object] | None = None


@ffi.def_extern()
def dcmpy_log(arg: Any, level: int, message: Any) -> None:
    if _log is not None:
        _log(level, text(message))


def log_to(fn: Callable[[int, str], object] | None, level: int = 2) -> None:
    """Hand the library's messages to fn(level, text): 1 errors, 2 warnings too, 3
    information too.  From any thread.  None: nowhere."""
    global _log
    _log = fn
    lib.dcm_log_set(ffi.NULL if fn is None else lib.dcmpy_log, ffi.NULL, level)

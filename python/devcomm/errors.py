# SPDX-License-Identifier: Apache-2.0
"""Exceptions: one class a status of the C library, with its message."""
from __future__ import annotations

from typing import NoReturn

from devcomm._native import ffi, lib


class Error(RuntimeError):
    """A call of the C library failed.

    `status` is its dcm_status.  After a failed collective `rank` is the rank at
    fault, `pid` its process, `op`, `phase` and `epoch` say which call failed and
    where; None where nothing is known.
    """

    status = 0
    rank: int | None = None
    pid: int | None = None
    op: str | None = None
    phase: str | None = None
    epoch: int | None = None


class NotReady(Error):
    status = lib.DCM_AGAIN


class InvalidArgument(Error, ValueError):
    status = lib.DCM_E_INVAL


class OutOfMemory(Error, MemoryError):
    status = lib.DCM_E_NOMEM


class NotSupported(Error, NotImplementedError):
    status = lib.DCM_E_UNSUP


class SystemCallFailed(Error):
    status = lib.DCM_E_SYS


class DeviceError(Error):
    status = lib.DCM_E_DEVICE


class PeerLost(Error):
    status = lib.DCM_E_PEER


class Timeout(Error, TimeoutError):
    status = lib.DCM_E_TIMEOUT


class VersionMismatch(Error):
    status = lib.DCM_E_ABI


class Busy(Error):
    status = lib.DCM_E_BUSY


class RanksDiffer(Error):
    status = lib.DCM_E_MISMATCH


class Aborted(Error):
    status = lib.DCM_E_ABORTED


class Closed(InvalidArgument):
    """The Python object was closed."""


CLASSES: dict[int, type[Error]] = {
    c.status: c
    for c in (NotReady, InvalidArgument, OutOfMemory, NotSupported,
              SystemCallFailed, DeviceError, PeerLost, Timeout,
              VersionMismatch, Busy, RanksDiffer, Aborted)
}


def text(chars: object) -> str:
    """A C string; "" for NULL."""
    if chars == ffi.NULL:
        return ""
    return str(ffi.string(chars).decode("utf-8", "replace"))


def from_status(status: int) -> Error:
    """The exception for this thread's last failure."""
    message = text(lib.dcm_errmsg()) or text(lib.dcm_status_str(status))
    return CLASSES.get(status, Error)(message)


def check(status: int) -> None:
    if status != 0:
        raise from_status(status)


def closed(what: str) -> NoReturn:
    raise Closed(f"this {what} is closed")


def in_use(what: str) -> NoReturn:
    raise Busy(f"this {what} is being used by another thread; "
               "it takes one call at a time")

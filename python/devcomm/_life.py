# SPDX-License-Identifier: Apache-2.0
"""Who frees what, and when.

A C object is freed once, after all that was made of it, in the process that made
it; whether Python's close() or its garbage collector asks first does not matter.
"""
from __future__ import annotations

import os
import threading
from typing import Any, Callable

# Reentrant: the collector may run inside.
_lock = threading.RLock()


def _renew() -> None:
    """Another thread may have held the lock that a fork's child got."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)


class Owner:
    """A C object, its parent, and how many were made of it."""

    __slots__ = ("_children", "_free", "_is_free", "_is_unwanted", "_parent",
                 "_pid", "raw")

    def __init__(self, raw: Any, free: Callable[[Any], object],
                 parent: Owner | None = None) -> None:
        self.raw = raw
        self._free = free
        self._parent = parent
        self._children = 0
        self._is_unwanted = False
        self._is_free = False
        self._pid = os.getpid()
        if parent is not None:
            with _lock:
                parent._children += 1

    @property
    def is_foreign(self) -> bool:
        """It was made by the process of which this is a fork's child."""
        return os.getpid() != self._pid

    def release(self) -> None:
        """Free the object, now or after the last that was made of it."""
        with _lock:
            self._is_unwanted = True
            self._free_if_last()

    def _free_if_last(self) -> None:
        if not self._is_unwanted or self._children or self._is_free:
            return
        self._is_free = True
        # A fork's child must leave its parent's objects alone.
        if not self.is_foreign:
            self._free(self.raw)
        if self._parent is not None:
            self._parent._children -= 1
            self._parent._free_if_last()


def milliseconds(seconds: float | None) -> int:
    """A time limit for C; None: its default, which is 0 there."""
    if seconds is None:
        return 0
    if not seconds > 0:
        raise ValueError(f"a time limit of {seconds} s is not above 0")
    return min(max(1, round(seconds * 1000)), 0xFFFFFFFF)

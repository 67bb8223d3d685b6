# SPDX-License-Identifier: Apache-2.0
"""Groups: who the ranks are."""
from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Callable, Sequence

from devcomm._life import Owner, milliseconds
from devcomm._native import ffi, lib
from devcomm.errors import check, closed, from_status, in_use

AllGather = Callable[[bytes], Sequence[bytes]]


class _Gatherer:
    """The caller's own all-gather, and the exception that it raised."""

    def __init__(self, gather: AllGather, nranks: int) -> None:
        self.gather = gather
        self.nranks = nranks
        self.error: BaseException | None = None

    def __call__(self, mine: bytes) -> bytes:
        parts = list(self.gather(mine))
        if len(parts) != self.nranks or any(
                len(p) != len(mine) for p in parts):
            raise ValueError(
                f"the all-gather gave {len(parts)} parts of "
                f"{sorted({len(p) for p in parts})} bytes for {self.nranks} "
                f"ranks with {len(mine)} each")
        return b"".join(parts)


@ffi.def_extern(error=1)
def dcmpy_all_gather(arg: Any, mine: Any, all_p: Any, nbytes: int) -> int:
    gatherer = ffi.from_handle(arg)
    try:
        result = gatherer(bytes(ffi.buffer(mine, nbytes)))
    except BaseException as e:  # handed to whoever called the library
        gatherer.error = e
        return 1
    ffi.memmove(all_p, result, len(result))
    return 0


def _options(name: str | None, token: str | None, host: str | None,
             timeout: float | None, allow_no_token: bool) -> tuple[Any, Any]:
    keep = [ffi.new("char[]", s.encode()) if s is not None else ffi.NULL
            for s in (name, token, host)]
    flags = lib.DCM_GROUP_ALLOW_NO_TOKEN if allow_no_token else 0
    opts = ffi.new("dcm_group_opts *", [
        ffi.sizeof("dcm_group_opts"), *keep, milliseconds(timeout), flags])
    return opts, keep


class Group:
    """Ranks that know each other; communicators are made of it.

    Made by one of the class methods; each is called by every rank.  Closing it, or
    leaving its `with`, frees it after the communicators made of it.
    """

    def __init__(self, raw: Any, gatherer: Any = None) -> None:
        self._owner = Owner(raw, lib.dcm_group_free)
        self._lock = threading.Lock()
        self._gatherer = gatherer
        self._is_closed = False

    @classmethod
    def from_env(cls, *, name: str | None = None, token: str | None = None,
                 host: str | None = None, timeout: float | None = None,
                 allow_no_token: bool = False) -> Group:
        """By what the launcher left in the environment (docs/launchers.md)."""
        opts, _keep = _options(name, token, host, timeout, allow_no_token)
        out = ffi.new("dcm_group **")
        check(lib.dcm_group_new_env(out, opts))
        return cls(out[0])

    @classmethod
    def meet(cls, address: str, rank: int, nranks: int, *,
             name: str | None = None, token: str | None = None,
             host: str | None = None, timeout: float | None = None,
             allow_no_token: bool = False) -> Group:
        """At "unix:NAME" (one host) or "tcp:HOST:PORT" (rank 0 listens)."""
        opts, _keep = _options(name, token, host, timeout, allow_no_token)
        out = ffi.new("dcm_group **")
        check(lib.dcm_group_new(out, address.encode(), rank, nranks, opts))
        return cls(out[0])

    @classmethod
    def by(cls, all_gather: AllGather, rank: int, nranks: int, *,
           name: str | None = None, token: str | None = None,
           host: str | None = None, timeout: float | None = None,
           allow_no_token: bool = False) -> Group:
        """By an all-gather of the caller's: bytes to one bytes a rank, in order.

        It needs a time limit of its own.  What it raises is raised here.
        """
        opts, _keep = _options(name, token, host, timeout, allow_no_token)
        gatherer = _Gatherer(all_gather, nranks)
        handle = ffi.new_handle(gatherer)
        out = ffi.new("dcm_group **")
        st = lib.dcm_group_new_fn(out, rank, nranks, lib.dcmpy_all_gather,
                                  handle, opts)
        if st != 0:
            raise from_status(st) from gatherer.error
        return cls(out[0], (gatherer, handle))

    @classmethod
    def threads(cls, nranks: int, *, name: str | None = None,
                timeout: float | None = None) -> list[Group]:
        """All ranks of a group within this process: one for each thread."""
        opts, _keep = _options(name, None, None, timeout, False)
        out = ffi.new("dcm_group *[]", max(nranks, 1))
        check(lib.dcm_group_new_local(out, nranks, opts))
        return [cls(out[i]) for i in range(nranks)]

    @property
    def owner(self) -> Owner:
        """For what is made of the group."""
        if self._is_closed:
            closed("group")
        return self._owner

    @property
    def rank(self) -> int:
        return int(lib.dcm_group_rank(self.owner.raw))

    @property
    def nranks(self) -> int:
        return int(lib.dcm_group_nranks(self.owner.raw))

    @property
    def nhosts(self) -> int:
        return int(lib.dcm_group_nhosts(self.owner.raw))

    def host_of(self, rank: int) -> int:
        """The number of the host that `rank` is on."""
        host = int(lib.dcm_group_host_of(self.owner.raw, rank))
        if host < 0:
            raise ValueError(f"there is no rank {rank} in {self.nranks} ranks")
        return host

    def exchange(self, mine: bytes, *, timeout: float | None = None
                 ) -> list[bytes]:
        """All-gather up to 4096 bytes, as many on every rank.  Collective."""
        n = len(mine)
        all_p = ffi.new("char[]", max(1, n * self.nranks))
        with self.alone():
            check(lib.dcm_group_exchange(self.owner.raw, ffi.from_buffer(mine),
                                         all_p, n, milliseconds(timeout)))
        whole = bytes(ffi.buffer(all_p, n * self.nranks))
        return [whole[i * n:(i + 1) * n] for i in range(self.nranks)]

    def alone(self) -> Alone:
        """For a call on the group: no other thread's beside it."""
        return Alone(self._lock, "group")

    def close(self) -> None:
        self._is_closed = True
        self._owner.release()

    def __enter__(self) -> Group:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_is_closed"):
            self.close()

    def __repr__(self) -> str:
        if self._is_closed:
            return "<devcomm.Group, closed>"
        return f"<devcomm.Group, rank {self.rank} of {self.nranks}>"


class Alone:
    """Holds a lock; refuses, and never waits, when another thread does."""

    __slots__ = ("_lock", "_what")

    def __init__(self, lock: Any, what: str) -> None:
        self._lock = lock
        self._what = what

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            in_use(self._what)

    def __exit__(self, *exc: object) -> None:
        self._lock.release()

# SPDX-License-Identifier: Apache-2.0
"""The broadcast queue: one writer, many readers, bytes."""
from __future__ import annotations

import enum
import threading
import time
import weakref
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from devcomm._life import Owner, milliseconds
from devcomm._native import ffi, lib
from devcomm.errors import (InvalidArgument, check, closed, from_status,
                            in_use, text)
from devcomm.group import Alone, Group

ANY = int(lib.DCM_QUEUE_ANY)
REMOTE = int(lib.DCM_QUEUE_REMOTE)
HANDLE_BYTES = int(lib.DCM_QUEUE_HANDLE_BYTES)

# A wait is made of turns, so that Python sees signals (Ctrl-C) between them.
_TURN_MS = 200
_TIMEOUT = int(lib.DCM_E_TIMEOUT)


def _nothing(_raw: Any) -> None:
    """A view has nothing of its own to free."""


class ReaderState(enum.IntEnum):
    NONE = lib.DCM_QUEUE_NONE
    EXPECTED = lib.DCM_QUEUE_EXPECTED
    WAITING = lib.DCM_QUEUE_WAITING
    BUSY = lib.DCM_QUEUE_BUSY
    DEAD = lib.DCM_QUEUE_DEAD
    DROPPED = lib.DCM_QUEUE_DROPPED


class Reader(NamedTuple):
    reader: int
    pid: int
    state: ReaderState
    lag: int             # records behind the writer
    seen: float | None   # seconds since it was last seen; None: never


class QueueInfo(NamedTuple):
    name: str
    writer_pid: int
    nreaders: int
    is_alive: bool
    records: int
    bytes: int
    max_record: int
    max_piece: int
    nremote: int
    refused: int
    readers: list[Reader]


def _options(keep: list[Any], name: str | None, nbytes: int, max_record: int,
             timeout: float | None, fail_on_dead: bool, fail_on_late: bool,
             nremote: int, address: str | None) -> Any:
    chars = [ffi.new("char[]", s.encode()) if s is not None else ffi.NULL
             for s in (name, address)]
    keep.extend(chars)
    flags = ((lib.DCM_QUEUE_FAIL_ON_DEAD if fail_on_dead else 0) |
             (lib.DCM_QUEUE_FAIL_ON_LATE if fail_on_late else 0))
    return ffi.new("dcm_queue_opts *", {
        "size": ffi.sizeof("dcm_queue_opts"), "name": chars[0],
        "bytes": nbytes, "max_record": max_record,
        "timeout_ms": milliseconds(timeout), "flags": flags,
        "nremote": nremote, "address": chars[1]})


class Queue:
    """One end of a queue.  Every reader gets every record, once and in order.

    A time limit of None is the queue's default for the writer, and for a reader as
    long as the writer lives.  One thread at a time uses an end; cancel() and
    close() may come from any.
    """

    def __init__(self, raw: Any, parent: Owner | None = None) -> None:
        self._raw = raw
        self._owner = Owner(raw, lib.dcm_queue_close, parent)
        self._lock = threading.RLock()
        self.alone = Alone(self._lock, "queue")
        self._acquire, self._release = self._lock.acquire, self._lock.release
        self._is_closed = False
        self.is_peeked = False  # at a record that is not done with
        self._held: list[memoryview] = []
        self._length = ffi.new("size_t *")

    # -- making one

    @classmethod
    def create(cls, nreaders: int, *, name: str | None = None, bytes: int = 0,
               max_record: int = 0, timeout: float | None = None,
               fail_on_dead: bool = False, fail_on_late: bool = False,
               nremote: int = 0, address: str | None = None) -> Queue:
        """Make a queue and be its writer; it counts on `nreaders` readers."""
        keep: list[Any] = []
        opts = _options(keep, name, bytes, max_record, timeout, fail_on_dead,
                        fail_on_late, nremote, address)
        out = ffi.new("dcm_queue **")
        check(lib.dcm_queue_create(out, nreaders, opts))
        return cls(out[0])

    @classmethod
    def create_chunks(cls, nreaders: int, chunk_bytes: int, nchunks: int, *,
                      name: str | None = None, timeout: float | None = None
                      ) -> Queue:
        """One of chunks of one size, written and read in place."""
        keep: list[Any] = []
        opts = _options(keep, name, 0, 0, timeout, False, False, 0, None)
        out = ffi.new("dcm_queue **")
        check(lib.dcm_queue_create_chunks(out, nreaders, chunk_bytes, nchunks,
                                          opts))
        return cls(out[0])

    @classmethod
    def attach(cls, handle: bytes, reader: int = ANY, *,
               timeout: float | None = None) -> Queue:
        """Become a reader: number `reader`, ANY, or REMOTE."""
        out = ffi.new("dcm_queue **")
        check(lib.dcm_queue_attach(out, ffi.from_buffer(handle), len(handle),
                                   reader, milliseconds(timeout)))
        return cls(out[0])

    @classmethod
    def of_group(cls, group: Group, writer: int = 0, *,
                 name: str | None = None, bytes: int = 0, max_record: int = 0,
                 timeout: float | None = None, fail_on_dead: bool = False,
                 fail_on_late: bool = False, nremote: int = 0,
                 address: str | None = None) -> Queue:
        """`writer` writes, all other ranks read.  Collective."""
        keep: list[Any] = []
        opts = _options(keep, name, bytes, max_record, timeout, fail_on_dead,
                        fail_on_late, nremote, address)
        out = ffi.new("dcm_queue **")
        with group.alone():
            check(lib.dcm_queue_create_group(out, group.owner.raw, writer,
                                             opts))
        return cls(out[0], group.owner)

    def handle(self) -> bytes:
        """What readers attach by.  It holds a secret: who has it can attach."""
        out = ffi.new("unsigned char[]", HANDLE_BYTES)
        check(lib.dcm_queue_handle(self.raw, out, HANDLE_BYTES))
        return bytes(ffi.buffer(out))

    @property
    def raw(self) -> Any:
        """The dcm_queue."""
        if self._is_closed:
            closed("queue")
        return self._raw

    # -- waiting

    def first_turn(self, call: Callable[..., Any], data: Any, n: int) -> int:
        """call(queue, data, n, ms): what it returns."""
        if not self._acquire(False):
            in_use("queue")
        try:
            if self._held:
                self._drop_views()
            if self._is_closed:
                closed("queue")
            return call(self._raw, data, n, _TURN_MS)  # type: ignore[no-any-return]
        finally:
            self._release()

    def in_turns(self, call: Callable[[Any, int], Any],
                 timeout: float | None, tell: Callable[[float], None] | None
                 = None) -> None:
        """call(queue, ms) until it is done: both sides may be asked again after
        E_TIMEOUT, as nothing was sent or received then; not a writer of a record
        longer than half the ring, which it would begin again.  tell(seconds) is
        called between the turns."""
        with self.alone:
            if self._held:
                self._drop_views()
            status = _TIMEOUT
            if timeout is None:
                status = call(self.raw, _TURN_MS)
                if status == 0:
                    return
            begin = time.monotonic()
            while status == _TIMEOUT:
                waited = time.monotonic() - begin
                left = _TURN_MS
                if timeout is not None:
                    left = min(left, milliseconds(max(timeout - waited, 0.001)))
                status = call(self.raw, left)
                waited = time.monotonic() - begin
                if timeout is not None and waited >= timeout:
                    break
                if tell is not None and status == _TIMEOUT:
                    tell(waited)
            check(status)

    def once(self, call: Callable[[Any, int], Any], timeout: float | None
              ) -> None:
        with self.alone:
            self._drop_views()
            check(call(self.raw, milliseconds(timeout)))

    def wait_ready(self, *, timeout: float | None = None) -> None:
        """Wait until all expected readers are there.  No record needs it."""
        self.once(lib.dcm_queue_wait_ready, timeout)

    # -- the writer

    def enqueue(self, record: Any, *, timeout: float | None = None) -> None:
        """Send bytes (or a contiguous buffer) to all readers."""
        data = ffi.from_buffer(record)
        self.once(lambda q, ms: lib.dcm_queue_enqueue(q, data, len(data), ms),
                   timeout)

    def enqueue_parts(self, parts: Sequence[Any], *,
                      timeout: float | None = None) -> None:
        """One record out of several buffers."""
        data = [ffi.from_buffer(p) for p in parts]
        array = ffi.new("dcm_queue_part[]",
                        [(ffi.cast("void *", d), len(d)) for d in data])
        self.once(lambda q, ms: lib.dcm_queue_enqueue_v(q, array, len(data),
                                                         ms), timeout)

    def try_enqueue(self, record: Any) -> bool:
        """Without waiting: False when there is no room."""
        data = ffi.from_buffer(record)
        with self.alone:
            self._drop_views()
            status = lib.dcm_queue_try_enqueue(self.raw, data, len(data))
        if status != lib.DCM_AGAIN:
            check(status)
        return bool(status == 0)

    @contextmanager
    def reserve(self, nbytes: int, *, timeout: float | None = None
                ) -> Iterator[memoryview]:
        """Room for a record in the queue itself, at most half the ring.  It is sent
        when the body ends, and given back if that raises."""
        out = ffi.new("void **")
        self.once(lambda q, ms: lib.dcm_queue_reserve(q, out, nbytes, ms),
                   timeout)
        room = self._hold(out[0], nbytes, True)
        yield room
        with self.alone:
            self._drop_views()
            check(lib.dcm_queue_commit(self.raw, nbytes))

    def finish(self, *, timeout: float | None = None) -> None:
        """The end: wait until every reader has read all, or is gone."""
        self.once(lib.dcm_queue_finish, timeout)

    # -- a reader

    def next(self, *, timeout: float | None = None) -> int:
        """Wait for the next record; how long it is."""
        self.in_turns(lambda q, ms: lib.dcm_queue_next(q, self._length, ms),
                       timeout)
        return int(self._length[0])

    def dequeue(self, *, timeout: float | None = None) -> bytearray:
        """Receive the next record."""
        if self.is_peeked:
            return self._rest(timeout)
        while True:
            record = bytearray(self.next(timeout=timeout))
            try:
                del record[self.dequeue_into(record):]
                return record
            except InvalidArgument:
                # The writer may have given that one up; the next is longer.
                if self.next(timeout=timeout) <= len(record):
                    raise

    def _rest(self, timeout: float | None) -> bytearray:
        """What is left of a record that was peeked at."""
        record, left = bytearray(), ffi.new("size_t *", 1)
        out = ffi.new("void **")
        while left[0]:
            self.in_turns(lambda q, ms: lib.dcm_queue_peek(
                q, out, self._length, left, ms), timeout)
            record += ffi.buffer(out[0], self._length[0])
            check(lib.dcm_queue_advance(self.raw, self._length[0]))
        self.is_peeked = False
        return record

    def dequeue_into(self, buffer: Any, *, timeout: float | None = None
                     ) -> int:
        """Receive it into `buffer`; its length.  A longer one stays."""
        with ffi.from_buffer(buffer, require_writable=True) as data:
            self.in_turns(lambda q, ms: lib.dcm_queue_dequeue(
                q, self._length, data, len(data), ms), timeout)
        return int(self._length[0])

    def try_dequeue(self) -> bytearray | None:
        """Without waiting for a record to begin; None when there is none."""
        empty = ffi.new("char[1]")
        with self.alone:
            self._drop_views()
            status = lib.dcm_queue_try_dequeue(self.raw, self._length, empty,
                                               0)
        if status == lib.DCM_AGAIN:
            return None
        if status == 0:
            return bytearray()
        if status != lib.DCM_E_INVAL:
            raise from_status(status)
        return self.dequeue()

    @contextmanager
    def peek(self, *, timeout: float | None = None) -> Iterator[memoryview]:
        """The next record in place, or the contiguous part of it that is there.
        When the body ends the reader is done with that; it stays if that raises."""
        out, left = ffi.new("void **"), ffi.new("size_t *")
        self.in_turns(lambda q, ms: lib.dcm_queue_peek(
            q, out, self._length, left, ms), timeout)
        n = int(self._length[0])
        self.is_peeked = True
        yield self._hold(out[0], n, False)
        with self.alone:
            self._drop_views()
            check(lib.dcm_queue_advance(self.raw, n))
        self.is_peeked = bool(left[0])

    # -- chunks

    @contextmanager
    def acquire_write(self, nbytes: int, *, timeout: float | None = None
                      ) -> Iterator[memoryview]:
        """The next chunk, of `nbytes`, to write; readers get it when the body
        ends.  If that raises, the same chunk is acquired again."""
        out = ffi.new("void **")
        self.in_turns(lambda q, ms: lib.dcm_queue_acquire_write(q, out, ms),
                       timeout)
        yield self._hold(out[0], nbytes, True)
        with self.alone:
            self._drop_views()
            check(lib.dcm_queue_release_write(self.raw))

    @contextmanager
    def acquire_read(self, nbytes: int, *, timeout: float | None = None
                     ) -> Iterator[memoryview]:
        """The next chunk that was written."""
        out = ffi.new("void **")
        self.in_turns(lambda q, ms: lib.dcm_queue_acquire_read(q, out, ms),
                       timeout)
        yield self._hold(out[0], nbytes, False)
        with self.alone:
            self._drop_views()
            check(lib.dcm_queue_release_read(self.raw))

    # -- both

    def view(self, address: Any, nbytes: int, *, writable: bool
             ) -> memoryview:
        """A view of the queue's memory, which stays mapped, and the queue open, as
        long as any view or array made of it lives."""
        room = ffi.buffer(address, nbytes)
        hold = Owner(None, _nothing, self._owner)
        weakref.finalize(room, hold.release).atexit = False
        v = memoryview(room)
        return v if writable else v.toreadonly()

    def _hold(self, address: Any, nbytes: int, writable: bool) -> memoryview:
        v = self.view(address, nbytes, writable=writable)
        self._held.append(v)
        return v

    def _drop_views(self) -> None:
        """End the views of the last place; an array over one stays as it is."""
        while self._held:
            try:
                self._held.pop().release()
            except BufferError:
                pass

    def cancel(self) -> None:
        """End this end's pending and later calls with Aborted."""
        lib.dcm_queue_cancel(self.raw)

    def stat(self) -> QueueInfo:
        """What the queue is like now.  Never waits."""
        n = int(lib.DCM_QUEUE_MAX_READERS)
        i = ffi.new("dcm_queue_info *", {"size": ffi.sizeof("dcm_queue_info")})
        readers = ffi.new("dcm_queue_reader[]", n)
        check(lib.dcm_queue_stat(self.raw, i, readers, n))
        return QueueInfo(
            text(i.name), i.writer_pid, i.nreaders, bool(i.is_alive),
            i.records, i.bytes, i.max_record, i.max_piece, i.nremote,
            i.refused,
            [Reader(r.reader, r.pid, ReaderState(r.state), r.lag,
                    None if r.seen_ns == 2**64 - 1 else r.seen_ns / 1e9)
             for r in readers[0:min(n, i.places)]])

    def close(self) -> None:
        """Leave, or as the writer end the queue; local.  A call that another
        thread is in ends with Aborted first."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._owner.is_foreign:
            return  # a thread that is not here may hold the lock
        lib.dcm_queue_cancel(self._raw)
        with self._lock:
            self._drop_views()
            self._owner.release()

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, kind: type[BaseException] | None,
                 error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_length"):
            self.close()


__all__ = ["ANY", "HANDLE_BYTES", "REMOTE", "Queue", "QueueInfo", "Reader",
           "ReaderState"]

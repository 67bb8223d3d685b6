# SPDX-License-Identifier: Apache-2.0
"""One writer, many readers, Python objects: over the C queue (docs/queue.md).

Where the reference waits for ever these raise: when the writer has died, and when a
reader keeps the writer waiting longer than a time limit, naming it.
"""
from __future__ import annotations

import base64
import logging
import os
import socket
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

from devcomm._native import ffi, lib
from devcomm.device_communicators._groups import group_of
from devcomm.device_communicators._objects import decode, encode
from devcomm.errors import from_status
from devcomm.queue import ANY, REMOTE, Queue

logger = logging.getLogger(__name__)

_RING_MOST = 32 << 20  # bytes reserved, unless a chunk needs more
_IN_ONE_CALL = 64 << 10
_TOO_LONG = int(lib.DCM_E_INVAL)
_TIMEOUT = int(lib.DCM_E_TIMEOUT)
_send, _take = lib.dcmpy_send, lib.dcmpy_take


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return max(1, int(text)) if text.strip() else default
    except ValueError:
        logger.warning("%s=%s is not a whole number: %d is used", name, text,
                       default)
        return default


RINGBUFFER_WARNING_INTERVAL = _whole_number(
    "SGLANG_RINGBUFFER_WARNING_INTERVAL", 60)


class _Patience:
    """Warns at each interval of a wait."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._next = RINGBUFFER_WARNING_INTERVAL

    def __call__(self, waited: float) -> None:
        if waited >= self._next:
            self._next += RINGBUFFER_WARNING_INTERVAL
            logger.warning("%s: no block available for %.0f s", self._who,
                           waited)


def _own_address() -> str:
    """Where readers on other hosts find this one."""
    for name in ("SGLANG_HOST_IP", "HOST_IP"):
        if os.environ.get(name):
            return os.environ[name]
    for family, far in ((socket.AF_INET, "192.0.2.1"),
                        (socket.AF_INET6, "2001:db8::1")):
        try:
            # Nothing is sent: the route's own address is asked for.
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.connect((far, 9))
                return str(s.getsockname()[0])
        except OSError:
            continue
    raise RuntimeError("this host has no address that others reach: give "
                       "connect_ip, or set SGLANG_HOST_IP")


class ShmRingBuffer:
    """`max_chunks` chunks of `max_chunk_bytes` bytes, and flags for each.

    Pickled by its name, which holds a secret.  Who unpickles it, or gives `name`,
    becomes one of the readers at the first use, and raises then if the ring is not
    of this host or its writer is gone.
    """

    def __init__(self, n_reader: int, max_chunk_bytes: int, max_chunks: int,
                 name: Optional[str] = None) -> None:
        self.n_reader = n_reader
        self.max_chunk_bytes = max_chunk_bytes
        self.max_chunks = max_chunks
        self.is_creator = name is None
        self._queue: Queue | None = None
        if name is None:
            self._queue = Queue.create_chunks(n_reader, max_chunk_bytes,
                                              max_chunks)
            handle = self._queue.handle()
            name = base64.urlsafe_b64encode(handle).decode()
        self.name = name

    @property
    def _ring(self) -> Queue:
        if self._queue is None:
            self._queue = Queue.attach(base64.urlsafe_b64decode(self.name),
                                       ANY)
        return self._queue

    def __reduce__(self) -> Any:
        return (type(self), (self.n_reader, self.max_chunk_bytes,
                             self.max_chunks, self.name))

    def __del__(self) -> None:
        queue = getattr(self, "_queue", None)
        if queue is not None:
            queue.close()

    def get_data(self, current_idx: int) -> memoryview:
        """Chunk `current_idx`; also for `with`."""
        ring = self._ring
        at = lib.dcm_queue_chunk(ring.raw, current_idx)
        return self._view(ring, at, self.max_chunk_bytes, current_idx)

    def get_metadata(self, current_idx: int) -> memoryview:
        """Its flags: byte 0 whether it is written, byte 1+r whether reader r is
        done with it.  acquire_write() and acquire_read() set them, with the
        fences that a program which sets them itself does not have."""
        ring = self._ring
        at = lib.dcm_queue_chunk_flags(ring.raw, current_idx)
        return self._view(ring, at, 1 + self.n_reader, current_idx)

    def _view(self, ring: Queue, at: Any, nbytes: int, i: int) -> memoryview:
        if at == ffi.NULL:
            raise IndexError(f"there is no chunk {i} among {self.max_chunks}")
        return ring.view(ffi.cast("void *", at), nbytes, writable=True)

    def acquire_write(self, *, timeout: float | None = None) -> Any:
        """For `with`: the next chunk, once all readers are done with it."""
        return self._ring.acquire_write(self.max_chunk_bytes, timeout=timeout)

    def acquire_read(self, *, timeout: float | None = None) -> Any:
        """For `with`: the next chunk that was written."""
        return self._ring.acquire_read(self.max_chunk_bytes, timeout=timeout)


class Handle:
    """What a reader needs.  It can be pickled and sent, and holds a secret."""

    # The reference's handle has these; here the secret's bytes say it all.
    buffer: ShmRingBuffer | None = None
    local_subscribe_port: int | None = None
    remote_subscribe_port: int | None = None

    def __init__(self, connect_ip: str, local_reader_ranks: List[int],
                 n_remote_reader: int, max_chunk_bytes: int, plain_data: bool,
                 secret: bytes) -> None:
        self.connect_ip = connect_ip
        self.local_reader_ranks = local_reader_ranks
        self.n_remote_reader = n_remote_reader
        self.max_chunk_bytes = max_chunk_bytes
        self.plain_data = plain_data
        self.secret = secret

    def __repr__(self) -> str:
        return (f"<Handle of {self.connect_ip}, local readers "
                f"{self.local_reader_ranks}, {self.n_remote_reader} remote>")


def _ring_bytes(max_chunk_bytes: int, max_chunks: int) -> int:
    """A chunk is half the ring at most, as it is written and read in place."""
    for name, value in (("max_chunk_bytes", max_chunk_bytes),
                        ("max_chunks", max_chunks)):
        if value < 1:
            raise ValueError(f"{name} is {value}, which is below 1")
    wanted = min(max_chunk_bytes * max_chunks, _RING_MOST)
    return max(wanted, 2 * max_chunk_bytes)


class MessageQueue:
    """The writer's end, or by create_from_handle() a reader's.

    `plain_data` admits None, bool, numbers, str, bytes and containers of them: then
    nothing that arrives can run code.  Otherwise whoever holds the handle is trusted
    as pickle trusts.
    """

    def __init__(self, n_reader: int, n_local_reader: int,
                 local_reader_ranks: Optional[List[int]] = None,
                 max_chunk_bytes: int = 10 << 20, max_chunks: int = 10,
                 connect_ip: Optional[str] = None, *,
                 plain_data: bool = False, timeout: float | None = None
                 ) -> None:
        n_remote = n_reader - n_local_reader
        if n_local_reader < 0 or n_remote < 0:
            raise ValueError(f"{n_local_reader} local readers of {n_reader}")
        ranks = (list(range(n_local_reader)) if local_reader_ranks is None
                 else list(local_reader_ranks))
        if len(set(ranks)) != n_local_reader:
            raise ValueError(f"local_reader_ranks {ranks} are not "
                             f"{n_local_reader} different ones")
        if n_remote and connect_ip is None:
            connect_ip = _own_address()
        queue = Queue.create(
            n_local_reader, bytes=_ring_bytes(max_chunk_bytes, max_chunks),
            nremote=n_remote, address=connect_ip if n_remote else None,
            timeout=timeout)
        self._take(queue, True, Handle(
            connect_ip or "127.0.0.1", ranks, n_remote, max_chunk_bytes,
            plain_data, queue.handle()))

    def _take(self, queue: Queue, is_writer: bool, handle: Handle) -> None:
        self._queue = queue
        self._handle = handle
        self._scratch = bytearray(0 if is_writer else _IN_ONE_CALL)
        self._into = ffi.from_buffer("char[]", self._scratch)
        self._length = ffi.new("size_t *")
        self._max_piece = queue.stat().max_piece
        self.is_writer = is_writer
        self.max_chunk_bytes = handle.max_chunk_bytes
        self.plain_data = handle.plain_data

    def export_handle(self) -> Handle:
        return self._handle

    @staticmethod
    def create_from_handle(handle: Handle, rank: int, *,
                           plain_data: bool = False,
                           timeout: float | None = None) -> MessageQueue:
        """The end of reader `rank`; `plain_data` asks for it whatever the writer
        said."""
        if rank in handle.local_reader_ranks:
            place = handle.local_reader_ranks.index(rank)
        elif handle.n_remote_reader:
            place = REMOTE
        else:
            raise ValueError(
                f"rank {rank} is no reader of this queue: its readers are "
                f"{handle.local_reader_ranks}, and none is remote")
        end = MessageQueue.__new__(MessageQueue)
        end._take(Queue.attach(handle.secret, place, timeout=timeout), False,
                  handle)
        end.plain_data = handle.plain_data or plain_data
        return end

    @staticmethod
    def create_from_process_group(
            pg: Any, max_chunk_bytes: int, max_chunks: int,
            writer_rank: int = 0, *, plain_data: bool = False,
            timeout: float | None = None) -> MessageQueue:
        """Between the ranks of a group.  Collective; all ranks fail alike."""
        group = group_of(pg)
        n, home = group.nranks, group.host_of(writer_rank)
        local = [r for r in range(n)
                 if r != writer_rank and group.host_of(r) == home]
        n_remote = n - 1 - len(local)
        is_writer = group.rank == writer_rank
        queue = Queue.of_group(
            group, writer_rank,
            bytes=_ring_bytes(max_chunk_bytes, max_chunks), nremote=n_remote,
            address=_own_address() if n_remote and is_writer else None,
            timeout=timeout)
        end = MessageQueue.__new__(MessageQueue)
        end._take(queue, is_writer, Handle(
            "127.0.0.1", local, n_remote, max_chunk_bytes, plain_data,
            queue.handle() if is_writer else b""))
        end.wait_until_ready()
        return end

    def wait_until_ready(self, *, timeout: float | None = None) -> None:
        """Collective over the writer and its readers."""
        self._queue.in_turns(lib.dcm_queue_wait_ready,
                             _limit() if timeout is None else timeout)

    @contextmanager
    def acquire_write(self, *, timeout: float | None = None
                      ) -> Iterator[memoryview]:
        """A chunk of max_chunk_bytes in the queue itself; readers get all of it
        when the body ends, and nothing if that raises.  With byte 0 zero and a
        pickle behind it, it is what dequeue() takes."""
        with self._queue.reserve(
                self.max_chunk_bytes,
                timeout=_limit() if timeout is None else timeout) as chunk:
            yield chunk

    @contextmanager
    def acquire_read(self, *, timeout: float | None = None
                     ) -> Iterator[memoryview]:
        """The next record in place; the same again if the body raises."""
        with self._queue.peek(timeout=timeout) as record:
            yield record

    def enqueue(self, obj: Any, *, timeout: float | None = None) -> None:
        """Send an object to all readers.  Raises Timeout, naming the readers that
        are late, when one keeps the ring full; nothing was sent then."""
        data, parts = encode(obj, self.plain_data)
        if parts:
            raws = [ffi.from_buffer(p) for p in parts]
            array = ffi.new("dcm_queue_part[]", [
                (ffi.cast("void *", r), len(r)) for r in raws])
            self._send(lambda q, ms: lib.dcm_queue_enqueue_v(
                q, array, len(raws), ms), sum(map(len, raws)), timeout)
            return
        n = len(data)
        if timeout is None and n < self._max_piece:
            # Nearly always there is room at once.
            status = self._queue.first_turn(_send, data, n)
            if status == 0:
                return
            if status != _TIMEOUT:
                raise from_status(status)
        self._send(lambda q, ms: _send(q, data, n, ms), n + 1, timeout)

    def _send(self, call: Any, nbytes: int, timeout: float | None) -> None:
        limit = _limit() if timeout is None else timeout
        if nbytes > self._max_piece:
            # It streams; what is given up half-way begins again.
            self._queue.once(call, limit)
        else:
            self._queue.in_turns(call, limit,
                                 _Patience("MessageQueue.enqueue"))

    def dequeue(self, *, timeout: float | None = None) -> Any:
        """The next object.  It is taken out of the queue before it is unpickled:
        that may take its time, or raise, and holds nobody up."""
        queue = self._queue
        if timeout is not None or queue.is_peeked:
            return self._dequeue_slowly(timeout)
        with queue.alone:
            n = queue.first_turn(_take, self._into, _IN_ONE_CALL)
            record = self._scratch[:max(n, 0)]
        if n < 0:
            if n != _TIMEOUT and n != _TOO_LONG:
                raise from_status(n)
            return self._dequeue_slowly(None)
        return decode(record, self.plain_data)

    def _dequeue_slowly(self, timeout: float | None) -> Any:
        self._queue.in_turns(
            lambda q, ms: lib.dcm_queue_next(q, self._length, ms), timeout,
            _Patience("MessageQueue.dequeue"))
        return decode(self._queue.dequeue(timeout=timeout), self.plain_data)

    def broadcast_object(self, obj: Any = None, *,
                         timeout: float | None = None) -> Any:
        """The writer sends `obj`; every end returns it."""
        if not self.is_writer:
            return self.dequeue(timeout=timeout)
        self.enqueue(obj, timeout=timeout)
        return obj

    def close(self) -> None:
        """Leave; as the writer end the queue: readers get what was sent first."""
        self._queue.close()

    def __enter__(self) -> MessageQueue:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _limit() -> float:
    """How long a writer waits for a reader at most, in seconds."""
    return _whole_number("DEVCOMM_TIMEOUT_MS", 600000) / 1000

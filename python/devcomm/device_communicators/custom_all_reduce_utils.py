# SPDX-License-Identifier: Apache-2.0
"""Whether GPUs really reach each other's memory, and what joins them."""
from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import json
import logging
import multiprocessing
import os
import queue as queues
import subprocess
import sys
import time
from pathlib import Path
from typing import (Any, Callable, Dict, List, Optional, Sequence, TypeVar,
                    Union, cast)

from devcomm.device_communicators import _nvml
from devcomm.device_communicators.cuda_wrapper import CudaRTLibrary
from devcomm.errors import DeviceError

logger = logging.getLogger(__name__)

_BYTES = 1024
_STEP_S = 60.0  # for one step of the other process
_ALL_S = 300.0  # for all pairs
_FIRST, _SECOND = 1, 2  # what the producer writes, and the consumer

F = TypeVar("F", bound=Callable[..., Any])


def update_environment_variables(envs: Dict[str, str]) -> None:
    for name, value in envs.items():
        if os.environ.get(name, value) != value:
            logger.warning("%s changes from %s to %s", name, os.environ[name],
                           value)
        os.environ[name] = value


def _see(devices: Optional[str]) -> None:
    if devices is not None:
        update_environment_variables({"CUDA_VISIBLE_DEVICES": devices})


def _is_all(cuda: CudaRTLibrary, memory: ctypes.c_void_p, value: int) -> bool:
    back = (ctypes.c_ubyte * _BYTES)()
    cuda.cudaMemcpy(ctypes.cast(back, ctypes.c_void_p), memory, _BYTES)
    return bytes(back) == bytes([value]) * _BYTES


def producer(batch_src: Sequence[int], producer_queue: Any,
             consumer_queue: Any, result_queue: Any,
             cuda_visible_devices: Optional[str] = None) -> None:
    """For each source: memory of that device, which the consumer opens and writes;
    whether what it wrote is there goes to result_queue.  Waits a minute at most."""
    _see(cuda_visible_devices)
    cuda = CudaRTLibrary()
    for src in batch_src:
        cuda.cudaSetDevice(src)
        memory = cuda.cudaMalloc(_BYTES)
        cuda.cudaMemset(memory, _FIRST, _BYTES)
        cuda.cudaDeviceSynchronize()
        producer_queue.put(cuda.cudaIpcGetMemHandle(memory))
        is_open = consumer_queue.get(timeout=_STEP_S)
        if is_open:
            producer_queue.put(0)
            consumer_queue.get(timeout=_STEP_S)
            is_open = _is_all(cuda, memory, _SECOND)
        result_queue.put(is_open)
        # The consumer is done with it: no mapping outlives the memory.
        consumer_queue.get(timeout=_STEP_S)
        cuda.cudaFree(memory)
        cuda.cudaDeviceReset()


def consumer(batch_tgt: Sequence[int], producer_queue: Any,
             consumer_queue: Any, result_queue: Any,
             cuda_visible_devices: Optional[str] = None) -> None:
    """The other side of producer()."""
    _see(cuda_visible_devices)
    cuda = CudaRTLibrary()
    for tgt in batch_tgt:
        cuda.cudaSetDevice(tgt)
        handle = producer_queue.get(timeout=_STEP_S)
        is_open = True
        try:
            memory = cuda.cudaIpcOpenMemHandle(handle)
        except DeviceError:
            is_open = False
        consumer_queue.put(is_open)
        if is_open:
            cuda.cudaMemset(memory, _SECOND, _BYTES)
            cuda.cudaDeviceSynchronize()
            producer_queue.get(timeout=_STEP_S)
            consumer_queue.put(0)
            is_open = _is_all(cuda, memory, _SECOND)
            cuda.cudaIpcCloseMemHandle(memory)
        result_queue.put(is_open)
        consumer_queue.put(0)
        cuda.cudaDeviceReset()


def can_actually_p2p(batch_src: Sequence[int], batch_tgt: Sequence[int]
                     ) -> List[bool]:
    """For each pair whether one device's process writes the other's memory; tried,
    as drivers claim what does not work.  A pair whose test dies cannot."""
    if len(batch_src) != len(batch_tgt):
        raise ValueError(f"{len(batch_src)} sources for {len(batch_tgt)} "
                         "targets")
    results: List[bool] = []
    while len(results) < len(batch_src):
        n = len(results)
        found = _try_pairs(batch_src[n:], batch_tgt[n:])
        results += found
        if len(results) < len(batch_src):
            logger.warning("the test of devices %d and %d died: they count as "
                           "not reaching each other", batch_src[len(results)],
                           batch_tgt[len(results)])
            results.append(False)
    return results


def _try_pairs(sources: Sequence[int], targets: Sequence[int]) -> List[bool]:
    """The results up to the first pair whose processes die."""
    mp = multiprocessing.get_context("spawn")
    to_consumer, to_producer, answers = mp.Queue(), mp.Queue(), mp.Queue()
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    children = [
        mp.Process(target=side, daemon=True, args=(
            list(batch), to_consumer, to_producer, answers, devices))
        for side, batch in ((producer, sources), (consumer, targets))]
    for child in children:
        child.start()
    results: List[bool] = []
    try:
        for src, tgt in zip(sources, targets):
            pair = [_answer(answers, children) for _ in range(2)]
            if None in pair:
                return results
            if pair[0] != pair[1]:
                logger.warning("the sides of devices %d and %d differ: they "
                               "count as not reaching each other", src, tgt)
            results.append(bool(pair[0] and pair[1]))
        for child in children:
            child.join(_STEP_S)
        return results
    finally:
        for child in children:
            child.kill()
            child.join()


def _answer(answers: Any, children: Sequence[Any]) -> Optional[bool]:
    """The next answer; None: a child has died, or time is up."""
    until = time.monotonic() + _STEP_S
    is_last = False
    while True:
        try:
            return bool(answers.get(timeout=0.05))
        except queues.Empty:
            if is_last or time.monotonic() > until:
                return None
            # What it said before it died may still be under way.
            is_last = any(c.exitcode not in (None, 0) for c in children)


def _cache_file() -> Path:
    """One for each boot, driver and set of devices, so that it is never stale."""
    facts = [os.environ.get("CUDA_VISIBLE_DEVICES", "")]
    for name in ("/proc/sys/kernel/random/boot_id",
                 "/proc/driver/nvidia/version"):
        try:
            facts.append(Path(name).read_text())
        except OSError:
            facts.append("")
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root, "devcomm", f"gpu_p2p_{name}.json")


def _test_all() -> Dict[str, bool]:
    """All pairs, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True,
        timeout=_ALL_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError("the test of peer access failed: " + done.stderr)
    return cast(Dict[str, bool], json.loads(done.stdout.splitlines()[-1]))


def _keep(path: Path, pairs: Dict[str, bool]) -> None:
    """Written whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        part.write_text(json.dumps(pairs, indent=4))
        os.replace(part, path)
    except OSError as e:
        logger.warning("%s is not kept, so the next process tests again: %s",
                       path, e)
        part.unlink(missing_ok=True)


_cache: Optional[Dict[str, bool]] = None


def _pairs() -> Dict[str, bool]:
    """From the file, or tested by the first process that comes; the others wait."""
    path = _cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_suffix(".lock"), "w")
    except OSError as e:
        logger.warning("no file beside %s, so every process tests: %s", path, e)
        return _test_all()
    until = time.monotonic() + _ALL_S
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"another process holds {path} locked for "
                        f"{_ALL_S:.0f} s") from None
                time.sleep(0.02)
        try:
            return cast(Dict[str, bool], json.loads(path.read_text()))
        except (OSError, ValueError):
            pairs = _test_all()
            _keep(path, pairs)
            return pairs


def gpu_p2p_access_check(src: int, tgt: int) -> bool:
    """Whether device `src` reaches `tgt`, as tested once a boot.  Local."""
    global _cache
    if _cache is None:
        _cache = _pairs()
    try:
        return _cache[f"{src}->{tgt}"]
    except KeyError:
        raise ValueError(f"there is no pair of devices {src} and {tgt}: "
                         f"{sorted(_cache)}") from None


def with_nvml_context(fn: F) -> F:
    """NVML is open while `fn` runs."""

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _nvml.start()
        try:
            return fn(*args, **kwargs)
        finally:
            _nvml.stop()

    return cast(F, wrapped)


def is_full_nvlink(physical_device_ids: List[Union[int, str]],
                   world_size: int) -> bool:
    """Whether NVLink joins all pairs of these devices (numbers or UUIDs)."""
    try:
        return _all_linked(physical_device_ids[:world_size])
    except _nvml.NvmlError as e:
        logger.warning("whether NVLink joins devices %s is not known: %s",
                       physical_device_ids, e)
        return False


@with_nvml_context
def _all_linked(devices: Sequence[Union[int, str]]) -> bool:
    handles = [_nvml.device(d) for d in devices]
    return all(_nvml.are_linked(a, b)
               for i, a in enumerate(handles) for b in handles[i + 1:])


def is_weak_contiguous(inp: Any) -> bool:
    """Whether its elements fill one block of memory, in whatever order."""
    if callable(getattr(inp, "stride", None)):  # torch
        steps, one = inp.stride(), 1
    else:
        steps, one = inp.strides, inp.itemsize
    extents = [(int(step), int(n)) for step, n in zip(steps, inp.shape)
               if n != 1]
    if any(n == 0 for _, n in extents):
        return True
    for step, n in sorted(extents):
        if step != one:
            return False
        one *= n
    return True


def _main() -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        raise DeviceError("the driver does not count its devices")
    pairs = [(a, b) for a in range(count.value) for b in range(count.value)]
    found = can_actually_p2p([a for a, _ in pairs], [b for _, b in pairs])
    print(json.dumps({f"{a}->{b}": ok for (a, b), ok in zip(pairs, found)}))


if __name__ == "__main__":
    _main()

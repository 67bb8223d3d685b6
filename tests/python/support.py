# SPDX-License-Identifier: Apache-2.0
"""Ranks for tests: threads, and processes that a test can lose."""
from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import devcomm

LIMIT = 60  # seconds; nothing here should come near it
_number = itertools.count()


def address() -> str:
    return f"unix:pytest-{os.getpid()}-{next(_number)}"


def threads(n, body, *, limit=LIMIT):
    """body(comm) on n ranks that are threads; their results in rank order."""
    groups = devcomm.Group.threads(n, timeout=limit)

    def rank(i):
        with groups[i] as group, devcomm.Comm(group, backend="cpu") as comm:
            return body(comm)

    return together([lambda i=i: rank(i) for i in range(n)], limit)


def together(bodies, limit=LIMIT):
    """All at once, a thread each.  Raises what the first of them raised."""
    results = [None] * len(bodies)
    errors = []

    def one(i):
        try:
            results[i] = bodies[i]()
        except BaseException as e:
            errors.append(e)

    running = [threading.Thread(target=one, args=(i,), daemon=True)
               for i in range(len(bodies))]
    for t in running:
        t.start()
    for t in running:
        t.join(limit)
        if t.is_alive() and not errors:
            raise AssertionError(f"a thread does not end in {limit} s")
    if errors:
        raise errors[0]
    return results


class Process:
    """A child that runs body(*args) and sends back what it returns."""

    def __init__(self, body, *args):
        self._read, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            self._ended = False
            return
        os.close(self._read)
        try:
            signal.alarm(LIMIT)
            answer = ("value", body(*args))
        except BaseException as e:
            answer = ("error", f"{type(e).__name__}: {e}\n"
                      + traceback.format_exc())
        with os.fdopen(write, "wb") as f:
            f.write(pickle.dumps(answer))
        os._exit(0)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def end(self):
        if not self._ended:
            os.waitpid(self.pid, 0)
            self._ended = True

    def result(self):
        with os.fdopen(self._read, "rb") as f:
            data = f.read()
        self.end()
        if not data:
            raise AssertionError("the child ended without a word")
        kind, value = pickle.loads(data)
        if kind == "error":
            raise AssertionError(f"the child raised {value}")
        return value


def processes(n, body, *args):
    """body(rank, n, address, *args) in n processes; results in rank order."""
    place = address()
    started = [Process(body, r, n, place, *args) for r in range(n)]
    return [p.result() for p in started]


def script(text, **env):
    """Runs Python text in a fresh interpreter; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True,
        timeout=LIMIT, env={**os.environ, **env}, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    return done.stdout

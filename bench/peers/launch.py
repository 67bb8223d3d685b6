# SPDX-License-Identifier: Apache-2.0
"""Starting one program: its board, its session, its time limit."""

import json
import os
import shutil
import signal
import subprocess
import tempfile

BOARD_BYTES = 1 << 20  # more than the programs map


def can_boost():
    """Whether the system lets a process raise its priority."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def environment(setting, folder):
    env = dict(os.environ, TMPDIR=folder)
    env.update(setting.env)
    if os.geteuid() == 0:
        env["OMPI_ALLOW_RUN_AS_ROOT"] = "1"
        env["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return env


def end(process):
    """End a program that is past its limit, with all that it started."""
    for sig, wait_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            return
        try:
            process.wait(wait_s)
            return
        except subprocess.TimeoutExpired:
            continue


def run(setting, programs, budget_ms, limit_s, log):
    """The rows that the program printed, and None or what went wrong."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="bench-peers-", dir=shm)
    board = os.path.join(folder, "board")
    output = os.path.join(folder, "output")
    failure = None
    try:
        with open(board, "wb") as f:
            f.truncate(BOARD_BYTES)
        words = setting.arguments(programs, board, budget_ms, limit_s)
        log.write("\n$ %s\n" % " ".join(words))
        log.flush()
        with open(output, "wb") as out:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env=environment(setting, folder), start_new_session=True)
            try:
                process.wait(limit_s + 10)
            except subprocess.TimeoutExpired:
                end(process)
        if process.returncode != 0:
            failure = "ended with status %s" % process.returncode
        return rows(output), failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(path):
    found = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if not line.startswith("{"):
                continue
            try:
                found.append(json.loads(line))
            except ValueError:  # a line cut off by the time limit
                continue
    return found

# SPDX-License-Identifier: Apache-2.0
"""The machine, the date and the versions that figures belong to."""

import datetime
import os
import platform
import shutil
import subprocess

# Whose version is not in what the programs print.
DEBIAN = ("openmpi-bin", "mpich", "libgloo-dev", "libucx0")


def field(path, name):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return "?"


def says(*words):
    if shutil.which(words[0]) is None:
        return ""
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def text(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return "?"


def processor():
    cpu = "/proc/cpuinfo"
    name = field(cpu, "model name")
    family = field(cpu, "cpu family")
    model = field(cpu, "model")
    flags = field(cpu, "flags").split()
    virtual = ", a virtual machine" if "hypervisor" in flags else ""
    wide = [f for f in ("avx2", "avx512f", "avx512_bf16") if f in flags]
    return "%s (family %s, model %s; %s)%s" % (
        name, family, model, " ".join(wide) or "no AVX2", virtual)


def commit(root):
    name = says("git", "-C", root, "rev-parse", "--short", "HEAD")
    # Not what a run writes itself: figures of an earlier one do not count.
    if name and says("git", "-C", root, "status", "--porcelain", "--", "src",
                     "include", "bench", ":(exclude)bench/results",
                     ":(exclude)*.md"):
        name += "+dirty"
    return name


def describe(root):
    kib = field("/proc/meminfo", "MemTotal").split()[0]
    packages = {}
    for p in DEBIAN:
        version = says("dpkg-query", "-W", "-f", "${Version}", p)
        if version:
            packages[p] = version
    release = "?"
    for line in text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            release = line.split("=", 1)[1].strip('"')
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": int(kib) >> 20 if kib.isdigit() else 0,
        "kernel": "%s %s" % (platform.system(), platform.release()),
        "system": release,
        "libc": " ".join(platform.libc_ver()),
        "huge_pages": text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "date": now.strftime("%Y-%m-%d"),
        "commit": commit(root),
        "packages": packages,
        "versions": {},
    }

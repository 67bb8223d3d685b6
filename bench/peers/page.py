# SPDX-License-Identifier: Apache-2.0
"""Placement classes, medians, and the page that shows them."""

import json
import os
import statistics

import settings

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = (  # name, round trip of a flag below, what it means
    ("smt", 75, "two threads of one core"),
    ("ccx", 250, "two cores that share a cache"),
    ("xcd", float("inf"), "two chiplets"),
)
ARENA_MARK = 1.3  # against the bare protocol
OTHER_MARK = 1.0  # against the best of Open MPI and MPICH
CROWDED_MARK = 1.1  # "within noise" of Open MPI
KIB, MIB = 1 << 10, 1 << 20


def mark(place, size):
    """The most of the best peer's time that devcomm may take."""
    if size > MIB:
        return 0.7
    return 0.75 if place == "xcd" and size <= KIB else 0.6


def class_of(row):
    """The placement that both probes agree on, or None."""
    names = []
    for key in ("trip_before_ns", "trip_after_ns"):
        trip = row[key]
        if trip <= 0:
            return None
        names.append(next(c[0] for c in CLASSES if trip < c[1]))
    return names[0] if names[0] == names[1] else None


class Cells:
    """Medians by (place, peer, variant, dtype, ranks, bytes) of one operation.

    Samples without an operation are of the time when there was one only.
    """

    def __init__(self, samples, op):
        lists = {}
        self.op = op
        samples = [row for row in samples
                   if row.get("op", "all_reduce") == op]
        self.seen = {c[0]: 0 for c in CLASSES}
        self.moved = 0
        self.wrong = 0
        for row in samples:
            place = class_of(row)
            self.wrong += row["wrong"]
            if place is None:
                self.moved += 1
                continue
            self.seen[place] += 1
            key = (place, row["peer"], row["variant"], row["dtype"],
                   row["ranks"], row["bytes"])
            lists.setdefault(key, []).append(row["p50_us"])
        self.values = lists
        self.sizes = sorted({row["bytes"] for row in samples})

    def get(self, *key):
        """Median and number of samples; None when there is none."""
        v = self.values.get(key)
        return (statistics.median(v), len(v)) if v else None

    def best(self, place, peers, dtype, ranks, size):
        """(us, samples, peer, variant) of the fastest, or None.

        A setting with one sample only wins where none has more: the least of
        many single samples is luck.
        """
        found = []
        for key in self.values:
            if (key[0], key[3], key[4], key[5]) == (place, dtype, ranks, size) \
                    and key[1] in peers:
                us, n = self.get(*key)
                found.append((us, n, key[1], key[2]))
        many = [f for f in found if f[1] > 1]
        return min(many or found, default=None)

    def has(self, place, ranks, dtype):
        return any(k[0] == place and k[4] == ranks and k[3] == dtype
                   for k in self.values)


def size_text(size):
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return "%d %s" % (size // unit, name)
    return "%d B" % size


def us_text(cell):
    if cell is None:
        return "–"
    us = cell[0]
    if us >= 1000:
        return "%.0f" % us
    return "%.1f" % us if us >= 10 else "%.3f" % us if us < 1 else "%.2f" % us


def ratio_of(a, b):
    return a[0] / b[0] if a and b else None


def ratio_text(ratio, limit=None):
    if ratio is None:
        return "–"
    text = "%.2f" % ratio
    return "**%s**" % text if limit is not None and ratio > limit else text


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return lines + [""]


class Section:
    """The table of one placement and one type, two ranks."""

    PEERS = ("openmpi", "mpich", "gloo")

    def __init__(self, cells, place, dtype):
        self.cells, self.place, self.dtype = cells, place, dtype
        self.to_peer = {}  # bytes: ratio
        self.to_floor = {}

    def row(self, size):
        def cell(peer, variant, dtype=self.dtype):
            return self.cells.get(self.place, peer, variant, dtype, 2, size)

        own, arena = cell("devcomm", "private"), cell("devcomm", "arena")
        floor = cell("floor", "model", "f32")
        best = [self.cells.best(self.place, (p,), self.dtype, 2, size)
                for p in self.PEERS]
        peer = self.cells.best(self.place, self.PEERS, self.dtype, 2, size)
        if own is None and peer is None:
            return None
        limit = mark(self.place, size)
        to_peer, to_floor = ratio_of(own, peer), ratio_of(own, floor)
        if to_peer is not None:
            self.to_peer[size] = to_peer
        if to_floor is not None:
            self.to_floor[size] = to_floor
        return [size_text(size), us_text(own), us_text(arena)] + [
            us_text(b) for b in best] + [
            "%s %s" % peer[2:] if peer else "–", ratio_text(to_peer, limit),
            "%.2f" % limit, us_text(floor), ratio_text(to_floor),
            samples_text(own, peer, floor)]

    def lines(self):
        head = ["size", "devcomm, private", "devcomm, arena", "Open MPI",
                "MPICH", "Gloo", "best peer", "to best peer", "mark", "floor",
                "to floor", "samples"]
        out = ["### %s, 2 ranks, µs" % self.dtype, ""]
        rows = [r for r in map(self.row, self.cells.sizes) if r is not None]
        if not rows:
            return []
        return out + table(head, rows) + self.summary()

    def summary(self):
        missed = ["%s (%.2f)" % (size_text(s), r)
                  for s, r in sorted(self.to_peer.items())
                  if r > mark(self.place, s)]
        out = []
        if self.to_peer:
            out.append("- Marks missed: %s." % (", ".join(missed) or "none"))
        for name, ratios in (("the best peer", self.to_peer),
                             ("the floor", self.to_floor)):
            if ratios:
                worst = max(ratios, key=ratios.get)
                out.append("- Worst ratio to %s: %.2f at %s." % (
                    name, ratios[worst], size_text(worst)))
        return out + [""]


def samples_text(*found):
    return " / ".join(str(c[1]) if c else "0" for c in found)


def arena_lines(cells, place):
    """Arena buffers, rewritten, beside the bare protocol on such buffers."""
    rows = []
    for size in cells.sizes:
        own = cells.get(place, "devcomm", "rewritten", "f32", 2, size)
        bare = cells.best(place, ("registered",), "f32", 2, size)
        if own is None and bare is None:
            continue
        floor = cells.get(place, "floor", "model", "f32", 2, size)
        rows.append([size_text(size), us_text(own), us_text(bare),
                     bare[3] if bare else "–",
                     ratio_text(ratio_of(own, bare), ARENA_MARK),
                     "%.1f" % ARENA_MARK, us_text(floor),
                     ratio_text(ratio_of(own, floor)),
                     samples_text(own, bare, floor)])
    if not rows:
        return []
    return ["### f32, 2 ranks, arena buffers that are rewritten, µs", ""] + \
        table(["size", "devcomm", "bare protocol", "its mode", "to bare",
               "mark", "floor", "to floor", "samples"], rows)


def other_lines(cells, place):
    """The table of an operation other than all_reduce."""
    rows = []
    missed = []
    for size in cells.sizes:
        own, fresh, arena = (
            cells.get(place, "devcomm", v, "f32", 2, size)
            for v in ("private", "private_rewritten", "rewritten"))
        best = [cells.best(place, (p,), "f32", 2, size)
                for p in Section.PEERS]
        peer = cells.best(place, ("openmpi", "mpich"), "f32", 2, size)
        if own is None and peer is None:
            continue
        ratio = ratio_of(own, peer)
        if ratio is not None and ratio > OTHER_MARK:
            missed.append("%s (%.2f)" % (size_text(size), ratio))
        rows.append([size_text(size), us_text(own), us_text(fresh),
                     us_text(arena)] + [us_text(b) for b in best] +
                    ["%s %s" % peer[2:] if peer else "–",
                     ratio_text(ratio, OTHER_MARK), samples_text(own, peer)])
    if not rows:
        return []
    return ["### %s, f32, 2 ranks, µs" % cells.op, ""] + table(
        ["size", "devcomm, private", "private, rewritten", "arena, rewritten",
         "Open MPI", "MPICH", "Gloo", "best MPI", "to best MPI", "samples"], rows) + \
        ["- Marks missed: %s." % (", ".join(missed) or "none"), ""]


def crowded_lines(cells, place):
    ranks = settings.CROWDED
    rows = []
    for size in cells.sizes:
        own = cells.get(place, "devcomm", "private", "f32", ranks, size)
        arena = cells.get(place, "devcomm", "arena", "f32", ranks, size)
        peer = cells.best(place, ("openmpi",), "f32", ranks, size)
        if own or peer:
            rows.append([size_text(size), us_text(own), us_text(arena),
                         us_text(peer), peer[3] if peer else "–",
                         ratio_text(ratio_of(own, peer), CROWDED_MARK),
                         samples_text(own, peer)])
    return ["### f32, %d ranks on 2 cores, µs" % ranks, ""] + \
        table(["size", "devcomm, private", "devcomm, arena", "Open MPI",
               "setting", "to Open MPI", "samples"], rows)


def place_lines(by_op, place, meaning):
    cells = by_op["all_reduce"]
    out = ["## Placement %s: %s" % (place, meaning), ""]
    for dtype in ("f32", "bf16"):
        if cells.has(place, 2, dtype):
            out += Section(cells, place, dtype).lines()
    out += arena_lines(cells, place)
    if cells.has(place, settings.CROWDED, "f32"):
        out += crowded_lines(cells, place)
    for op in settings.OTHER_OPS:
        out += other_lines(by_op[op], place)
    return out


def text_of(name):
    try:
        with open(os.path.join(HERE, name), encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def head_lines(head, by_op):
    packages = ", ".join("%s %s" % p for p in sorted(head["packages"].items()))
    versions = ", ".join(sorted(head["versions"].values()))
    seen = ", ".join("%s %d" % (c[0], n) for c in CLASSES
                     for n in [sum(x.seen[c[0]] for x in by_op.values())]
                     if n > 0)
    out = ["| | |", "|---|---|"]
    facts = [
        ("date", head["date"]),
        ("processor", "%s, %d cores" % (head["processor"], head["cores"])),
        ("memory", "%d GiB; huge pages: %s" % (
            head["memory_gib"], head["huge_pages"])),
        ("system", "%s, %s, %s" % (
            head["system"], head["kernel"], head["libc"])),
        ("versions", versions),
        ("packages", packages or "–"),
        ("devcomm commit", head["commit"] or "not known"),
        ("priority", "raised (ranks and their sessions at nice -20)"
         if head["boosted"] else "not raised: the system refused"),
        ("rounds", "%d complete, settings in random order%s" % (
            head.get("rounds", 0),
            "; short samples (--quick)" if head["quick"] else "")),
        ("samples by placement", "%s; %d dropped because the machine moved" % (
            seen or "none", sum(x.moved for x in by_op.values()))),
        ("wrong elements", str(sum(x.wrong for x in by_op.values()))),
    ]
    out += ["| %s | %s |" % f for f in facts] + [""]
    for peer, why in sorted(head["left_out"].items()):
        out.append("- Left out: %s (%s)." % (peer, why))
    for name, why in sorted(head["failures"].items()):
        out.append("- %s: %s; what it printed before counts." % (name, why))
    return out + [""]


def setting_lines():
    where = {}
    for s in settings.settings():
        if s.peer in ("devcomm", "floor", "registered") or s.dtype != "f32":
            continue
        key = (s.peer, s.variant, "%d ranks" % s.ranks, s.command())
        where.setdefault(key, []).append(s.op)
    rows = [[peer, variant, "%s: %s" % (ranks, ", ".join(ops)),
             "`%s`" % command]
            for (peer, variant, ranks, command), ops in where.items()]
    return ["## Settings", ""] + table(
        ["library", "setting", "where", "command, without the options of the "
         "loop"], rows)


def write(page_path, json_path, head, samples):
    """Writes both files; 1 when a result was wrong."""
    by_op = {op: Cells(samples, op)
             for op in ("all_reduce",) + settings.OTHER_OPS}
    lines = [text_of("page-head.md"), ""] + head_lines(head, by_op)
    remarks = text_of("remarks.md")
    if remarks:
        lines += [remarks, ""]
    for name, _, meaning in CLASSES:
        if any(cells.seen[name] for cells in by_op.values()):
            lines += place_lines(by_op, name, meaning)
    lines += setting_lines()
    for path in (page_path, json_path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(page_path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines).rstrip() + "\n")
    with open(json_path, "w", encoding="utf-8") as f:
        f.write(as_json(head, by_op))
    print("wrote %s and %s" % (page_path, json_path))
    return 1 if any(cells.wrong for cells in by_op.values()) else 0


def as_json(head, by_op):
    """One cell a line, so that two runs can be compared by diff."""
    names = ("placement", "peer", "variant", "dtype", "ranks", "bytes")
    rows = []
    for op, cells in by_op.items():
        for key in sorted(cells.values):
            v = cells.values[key]
            row = dict({"op": op}, **dict(zip(names, key)))
            row.update(samples=len(v), min_us=min(v), max_us=max(v),
                       p50_us=round(statistics.median(v), 4))
            rows.append("  " + json.dumps(row))
    return '{"machine": %s,\n "cells": [\n%s\n ]\n}\n' % (
        json.dumps(head, indent=2), ",\n".join(rows))

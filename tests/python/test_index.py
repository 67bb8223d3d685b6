# SPDX-License-Identifier: Apache-2.0
"""The reference interface, name by name: data/index.tsv has all 115 functions.

data/not_yet.txt lists those that are not there.  A listed one that exists fails, as
does one that is missing and not listed.
"""
import importlib
import inspect
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


def rows():
    lines = (DATA / "index.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def not_yet():
    lines = (DATA / "not_yet.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def label(row):
    module, class_, _, name, _ = row
    return ".".join([module] + [class_] * (class_ != "-") + [name])


def find(row):
    """The function as it lies in its class or module, or None."""
    module, class_, _, name, _ = row
    try:
        m = importlib.import_module(f"devcomm.device_communicators.{module}")
    except ModuleNotFoundError:
        return None
    home = m if class_ == "-" else getattr(m, class_, None)
    return None if home is None else vars(home).get(name)


def kind_of(found, class_):
    if isinstance(found, staticmethod):
        return "static"
    if isinstance(found, classmethod):
        return "class"
    if isinstance(found, property):
        return "property"
    made_by = getattr(found, "__wrapped__", None)
    returns = getattr(found, "__annotations__", {}).get("return")
    if inspect.isgeneratorfunction(made_by) or returns == "memoryview":
        return "context"
    return "function" if class_ == "-" else "method"


def test_the_index_is_whole():
    assert len(rows()) == 115 and len({label(r) for r in rows()}) == 115
    modules = {r[0] for r in rows()}
    assert len(modules) == 12
    assert len(set(not_yet())) == len(not_yet())
    assert set(not_yet()) <= {label(r) for r in rows()}


@pytest.mark.parametrize("row", rows(), ids=label)
def test_function(row):
    _, class_, kind, name, parameters = row
    found = find(row)
    if label(row) in not_yet():
        assert found is None, f"{label(row)} exists: strike it off not_yet.txt"
        pytest.skip("not yet")
    assert found is not None, f"{label(row)} is missing"
    assert kind_of(found, class_) == kind
    fn = found.__func__ if kind in ("static", "class") else found
    have = list(inspect.signature(fn).parameters.values())
    if class_ != "-" and kind != "static":
        have = have[1:]
    want = [] if parameters == "-" else parameters.split()
    assert [p.name for p in have[:len(want)]] == want
    for p in have[len(want):]:
        assert p.default is not p.empty or p.kind == p.VAR_KEYWORD, p

# SPDX-License-Identifier: Apache-2.0
"""The examples run as their first lines say."""
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("n", [1, 3])
def test_hello(n):
    out = subprocess.run(
        ["devcomm", "run", "-n", str(n), sys.executable,
         EXAMPLES / "hello.py"],
        check=True, capture_output=True, text=True, timeout=60).stdout
    total = n * (n + 1) // 2
    for r in range(n):
        assert f"rank {r} of {n}: {total}" in out

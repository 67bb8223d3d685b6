# SPDX-License-Identifier: Apache-2.0
import faulthandler
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def limit():
    """A test that hangs shows where, and ends the run."""
    faulthandler.dump_traceback_later(
        60, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()

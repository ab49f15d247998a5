"""An index that comes from a stranger: nothing outside of it changes, nothing hangs, nothing takes a GiB.

`python tests/fuzz/stranger_driver.py FOLDER STEP OFFSET` repeats what a test has found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stranger_driver import NAMED

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


def run(folder: Path, step: int, offset: int) -> dict:
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("stranger_driver.py")), str(folder)]
    done = subprocess.run(
        [*command, str(step), str(offset)], env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    *problems, summary = map(json.loads, done.stdout.splitlines())
    assert problems == []
    return summary


def test_some_of_what_a_stranger_may_give(tmp_path):
    assert run(tmp_path, 0, 0)["cases"] == len(NAMED)


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(4))
def test_all_of_what_a_stranger_may_give(tmp_path, offset):
    outcomes = run(tmp_path, 4, offset)["outcomes"]
    assert outcomes["StoreDamagedError"] > 100
    assert outcomes["done"] > 100

"""Starts `child.py`, watches it, and tells which seed broke which target; survives the crash of a child."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

NOISY = {"tiff"}  # libtiff tells stderr of damaged fax codes, and Pillow has no way to stop it
BUSY = 20.0  # seconds of CPU on one input: it hangs; by the clock a busy machine would hang, too
SILENCE = 900.0  # seconds without a word of the child, which may sleep for ever
HERE = Path(__file__).parent
Job = tuple[str, int, int]  # target, first seed, how many


@dataclass
class Report:
    """inputs: how many were run. outcomes: how they ended, by target. failures: what broke the rule, with seeds."""

    inputs: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def fuzz(jobs: Sequence[Job]) -> Report:
    """Run all jobs in one child; after a crash or a hang in another, from the next seed on."""
    report, left = Report(), list(jobs)
    while left:
        left = _run_child(left, report)
    return report


def _run_child(jobs: list[Job], report: Report) -> list[Job]:
    """What is left to do after the child ended."""
    reading, writing = os.pipe()
    words = [str(word) for job in jobs for word in job]
    # One arena and one thread: what a thread merely reserves would count against the limit of addresses.
    environment = os.environ | {
        "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path[1:]]),
    }  # fmt: skip
    with tempfile.TemporaryFile() as noise:
        command = [sys.executable, "-W", "error", str(HERE / "child.py"), str(writing), *words]
        child = subprocess.Popen(command, pass_fds=[writing], env=environment, stdout=noise, stderr=noise)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            at, hung = _listen(pipe, child.pid, report)
        if hung:
            child.kill()
        status = child.wait()
        noise.seek(0)
        said = noise.read()[-2000:].decode("utf-8", "backslashreplace")
    if at is None:
        if status:
            raise AssertionError(f"the child ended with {status} before or after its work: {said}")
        if said and not any(name in NOISY for name, _, _ in jobs):
            report.failures.append(f"{jobs}: something was printed: {said}")
        return []
    name, seed = at
    ended = f"no answer in {BUSY:.0f} s of CPU" if hung else f"the process ended with {status}"
    report.failures.append(f"{name} seed {seed}: {ended}; it said {said!r}")
    place = next(i for i, job in enumerate(jobs) if job[0] == name and job[1] <= seed < job[1] + job[2])
    rest = jobs[place][1] + jobs[place][2] - (seed + 1)
    return ([(name, seed + 1, rest)] if rest else []) + jobs[place + 1 :]


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _listen(pipe, pid: int, report: Report) -> tuple[tuple[str, int] | None, bool]:
    """The input that was being worked on when the child fell silent or ended (None: none), and whether it hangs."""
    at: tuple[str, int] | None = None
    pending = b""
    heard, used = time.monotonic(), 0.0
    while True:
        ready, _, _ = select.select([pipe], [], [], 1.0)
        if not ready:
            if time.monotonic() - heard > SILENCE or (at is not None and _cpu(pid) - used > BUSY):
                return at, True
            continue
        heard, used = time.monotonic(), _cpu(pid)
        data = pipe.read(65536)
        if not data:
            return at, False
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "seed" in message:
                at = (message["target"], message["seed"])
                report.inputs += 1
                continue
            assert at is not None
            report.outcomes.setdefault(at[0], Counter())[message["outcome"]] += 1
            if message["problem"]:
                report.failures.append(f"{at[0]} seed {at[1]}: {message['problem']}")
            at = None


if __name__ == "__main__":  # python runner.py TARGET FIRST COUNT: look at one target
    name, first, count = sys.argv[1:]
    result = fuzz([(name, int(first), int(count))])
    sys.stdout.write("\n".join([*result.failures, str(result.inputs), str(result.outcomes)]) + "\n")

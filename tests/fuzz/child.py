"""Run as a program: feeds damaged files to a target and reports each on a pipe, under limits of memory and time.

    child.py REPORT_FD TARGET FIRST COUNT [TARGET FIRST COUNT …]

One line of JSON before each input, so that a crash names its seed, and one after it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

MEMORY = 1 << 30  # bytes above what the process has before the first input
SECONDS = 10.0  # of CPU, so that a busy machine does not count as a hang
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class",
             "socket.connect", "sqlite3.enable_load_extension", "sqlite3.load_extension"}  # fmt: skip
NO_MEMORY = re.compile(r"bad_alloc|allocate|out of memory|memory alloc", re.IGNORECASE)

ran: list[str] = []


def _hook(event: str, args: tuple[object, ...]) -> None:
    if event in FORBIDDEN:
        ran.append(event)


def _status(key: str) -> int:
    """A size in bytes from /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{key}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def _limit_memory() -> None:
    most = _status("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__cause__ or error.__context__)]


def _problem(error: Exception) -> str:
    """What is wrong with how an input was refused, or ""."""
    from vpmsearch.errors import VpmsearchError

    if any(isinstance(link, MemoryError) or NO_MEMORY.search(str(link)) for link in _chain(error)):
        return f"more than {MEMORY} bytes: {error!r}"[:500]
    if not isinstance(error, VpmsearchError):
        import traceback

        return f"{type(error).__name__}: {error}"[:300] + " " + "|".join(traceback.format_tb(error.__traceback__)[-2:])
    text = str(error)
    if not text or len(text) > 1000 or not text.isprintable():
        return f"not one clear line: {text!r}"[:500]
    return ""


def _one(run, path: Path) -> tuple[str, str]:
    """(outcome, problem) of one input."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again at what is held now
    before, start = _status("VmRSS"), time.process_time()
    try:
        run(path)
        outcome, problem = "taken", ""
    except Exception as error:
        outcome, problem = type(error).__name__, _problem(error)
        del error
    seconds, peak = time.process_time() - start, _status("VmHWM") - before
    if ran:
        problem = f"code ran: {ran[:3]}"
    if seconds > SECONDS:
        problem = problem or f"{seconds:.0f} s of CPU"
    if peak > MEMORY:
        problem = problem or f"a peak of {peak >> 20} MiB"
    return outcome, problem


def main() -> None:
    """Do what the command line says."""
    import targets

    jobs = [(sys.argv[i], int(sys.argv[i + 1]), int(sys.argv[i + 2])) for i in range(2, len(sys.argv), 3)]
    with os.fdopen(int(sys.argv[1]), "w", buffering=1) as report, tempfile.TemporaryDirectory() as folder:
        samples = {}
        for name, _, _ in jobs:  # each once as it is: what is loaded late is loaded now, and the samples are good
            target = targets.TARGETS[name]
            samples[name] = target.samples()
            for number, sample in enumerate(samples[name]):
                path = Path(folder, f"{name}-{number}{target.suffix}")
                path.write_bytes(sample)
                target.run(path)
        sys.addaudithook(_hook)
        _limit_memory()
        for name, first, count in jobs:
            target = targets.TARGETS[name]
            path = Path(folder, f"input{target.suffix}")
            for seed in range(first, first + count):
                report.write(json.dumps({"target": name, "seed": seed}) + "\n")
                path.write_bytes(target.damage(samples[name], seed))
                outcome, problem = _one(target.run, path)
                report.write(json.dumps({"outcome": outcome, "problem": problem}) + "\n")


if __name__ == "__main__":
    main()

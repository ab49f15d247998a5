"""What a figure was measured on, and how it is kept: every benchmark's output is a run as docs/results.md wants it."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vpmsearch.system.revision import source_revision

REVISION = source_revision()
"""Of the code that measures: read when it is loaded, as the checkout may change while a long run goes on."""
_SECRET = re.compile(r"(://[^:/?#@]*:)[^/?#@]*(?=@)|(password=)[^&\s]*")
_ABSOLUTE = re.compile(r"(^|=)(/[^\s?&]*)")


def machine() -> dict[str, Any]:
    """Processor, cores, threads, GPU, Python and torch."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def as_typed(arguments: Sequence[str]) -> str:
    """A command line to be shown: of an absolute path the last name alone, no password."""

    def shown(text: str) -> str:
        text = _SECRET.sub(lambda found: f"{found[1] or found[2]}…", text)
        return _ABSOLUTE.sub(lambda found: f"{found[1]}{Path(found[2]).name}", text)

    return shlex.join(map(shown, arguments))


def run_of(command: str, values: dict[str, Any], seed: int) -> dict[str, Any]:
    """What was measured (`values` has "rows") with what it takes to measure it again."""
    return {"command": command, "revision": REVISION, "machine": machine(), "seed": seed} | values


def save(run: dict[str, Any], path: Path) -> None:
    """As JSON, a line each row: so that a later run shows as what changed."""
    parts = []
    for key, value in run.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            text = f"[\n{lines}\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def report(rows: list[dict[str, Any]], output: Path | None, seed: int = 0) -> None:
    """Print the rows as a table, then the run as one line of JSON; save it where asked."""
    columns = list(rows[0])
    print("  ".join(columns))
    for row in rows:
        values = (row[column] for column in columns)
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
        print("  ".join(cell.rjust(len(column)) for cell, column in zip(cells, columns, strict=True)))
    script = Path(sys.argv[0])
    run = run_of(as_typed(["python", f"benchmarks/{script.name}", *sys.argv[1:]]), {"rows": rows}, seed)
    print(json.dumps(run))
    if output is not None:
        save(run, output)

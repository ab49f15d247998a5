"""What a figure was measured on, for every benchmark's output."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from vpmsearch.training.trainer import source_revision


def machine() -> dict[str, Any]:
    """Processor, cores, GPU, Python and torch, and the source revision."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "revision": source_revision(),
    }


def report(rows: list[dict[str, Any]], output: Path | None) -> None:
    """Print the rows as a table, then one line of JSON; save the JSON where asked."""
    columns = list(rows[0])
    print("  ".join(columns))
    for row in rows:
        values = (row[column] for column in columns)
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
        print("  ".join(cell.rjust(len(column)) for cell, column in zip(cells, columns, strict=True)))
    text = json.dumps({"machine": machine(), "rows": rows})
    print(text)
    if output is not None:
        output.write_text(text + "\n")

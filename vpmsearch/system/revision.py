"""The revision of vpmsearch that runs. Weights, results and benchmarks record it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vpmsearch.version import VERSION


def source_revision() -> str:
    """The version of vpmsearch, and the commit if it runs from a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # installed; a repository in a folder above is another project's
        return VERSION
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return VERSION
    return f"{VERSION}+{found}"

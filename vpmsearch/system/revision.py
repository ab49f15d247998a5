"""Which revision of vpmsearch runs: what weights, results and benchmarks are marked with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vpmsearch.version import VERSION


def source_revision() -> str:
    """Version of vpmsearch, and its commit where it runs from a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # installed: a repository further up is somebody else's
        return VERSION
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return VERSION
    return f"{VERSION}+{found}"

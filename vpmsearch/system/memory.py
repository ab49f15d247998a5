"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OF_PROCESS = Path("/proc/self/cgroup")


def memory_bytes(groups: Path = _CGROUPS, of_process: Path = _OF_PROCESS) -> int | None:
    """Bytes of the machine's memory, or of the smallest limit that a container sets; None if nobody tells.

    Args:
        groups: where Linux shows control groups, of version 1 or 2. of_process: the file that names this
            process's own.
    """
    known = [limit for limit in (_machine(), *_limits(groups, of_process)) if limit is not None]
    return min(known, default=None)


def _machine() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # the system does not tell
        return None


def _limits(groups: Path, of_process: Path) -> list[int | None]:
    """The limits of this process's group and of all groups around it.

    A line of `of_process` is `number:controllers:path`. Version 2 has one line without controllers. In a container the
    path may begin outside what is mounted, so the mounted root is read, too.
    """
    try:
        lines = of_process.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    places = [(groups, "memory.max"), (groups / "memory", "memory.limit_in_bytes")]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = [part for part in path.split("/") if part not in ("", "..")]
        of_version_1 = "memory" in controllers.split(",")
        if controllers and not of_version_1:
            continue
        root, file = (groups / "memory", "memory.limit_in_bytes") if of_version_1 else (groups, "memory.max")
        places += [(root.joinpath(*names[: depth + 1]), file) for depth in range(len(names))]
    return [_limit(folder / file) for folder, file in places]


def _limit(path: Path) -> int | None:
    """The number in a file; None if there is none, or "max"."""
    try:
        return max(int(path.read_text()), 0)
    except (OSError, ValueError):
        return None

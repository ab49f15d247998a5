"""Run as a child process: does what the tests ask in forks that may be killed (see fork_server.py).

sequence    a seeded sequence of commits, removals, compactions, upgrades, every promise noted in a journal
act         one operation of operations.py, with a fault or a limit on the size of files
copy        a snapshot or a restoration that waits to be killed before a file
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fork_server import serve
from operations import OPERATIONS, prepare
from promises import Journal, read_state
from sequence import Sequence

import vpmsearch.store.migrations  # noqa: F401  Alembic, imported once instead of in each fork
from vpmsearch.store import GalleryStore, restore
from vpmsearch.store.folder import copies


def run_sequence(beat: Callable[[], object], index: str, journal: str, seed: int, steps: int) -> None:
    """Begin a sequence, or go on with it."""
    Sequence(Path(index), Journal(Path(journal)), seed, steps, beat).run()


def act(beat: Callable[[], object], index: str, operation: str, limit: int) -> None:
    """One operation while no file may grow beyond `limit` bytes; what is open or pending is so before."""
    with OPERATIONS[operation](Path(index)) as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        beat()
        run()


def copy(beat: Callable[[], object], index: str, target: str, restoring: bool, files: int) -> None:
    """Copy so many files and then wait for the end."""
    real, done = copies._copy_file, []

    def copied(*arguments: Any) -> None:
        if len(done) == files:
            beat()
            signal.pause()
        done.append(real(*arguments))

    copies._copy_file = copied
    if restoring:
        restore(index, target)
    else:
        GalleryStore.open(index).snapshot_to(target)


def warm_up() -> None:
    """Do everything once, so that no fork has to begin with what is only needed once: SQLAlchemy's statements, say."""
    with TemporaryDirectory() as folder:
        for operation in ("later_commit", "compaction", "upgrading"):
            index = Path(folder) / operation
            prepare(operation, index)
            with OPERATIONS[operation](index) as run:
                run()
            read_state(index)


if __name__ == "__main__":
    warm_up()
    serve({"sequence": run_sequence, "act": act, "copy": copy})

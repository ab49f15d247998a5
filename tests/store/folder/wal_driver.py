"""Run as a child process: commits to an index beside readers that refresh, and says how large SQLite's log became.

    python wal_driver.py FOLDER COMMITS IMAGES READERS

IMAGES are in the index before, under paths as long as people have them. Prints JSON: bytes of the catalog and the most
bytes that its log had after a commit.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import vpmsearch.store.folder.migrate  # noqa: F401  Alembic, which creating an index needs
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

INFO = ModelInfo((2, 1), 2, "wal")
EACH = 20


def features(n: int) -> RegionFeatures:
    """Anything."""
    return RegionFeatures(np.full((n, 2), 0.5, np.float32), np.ones((n, 2, 2), np.float32))


def read(folder: Path, number: int) -> None:
    """Refresh until the writer is done; what a view says must stay what it said."""
    with GalleryStore.open(folder / "index") as store:
        while not (folder / "stop").exists():
            view = store.snapshot
            first = view.records(np.array([0]))
            store.refresh()
            assert view.records(np.array([0])) == first
            assert len(store.snapshot) >= len(view)
            time.sleep(0.02 * (number + 1))


def main() -> int:
    folder, commits, images, readers = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    path = folder / "index" / "catalog.sqlite3"
    store = GalleryStore.create(folder / "index", INFO)
    with store.writer() as writer:
        names = [ImageRecord(f"gallery/camera/{'x' * 100}/{i}.jpg", pid=i % 50, camid=i % 4) for i in range(images)]
        writer.add(names, features(images))
        writer.commit()
        children = []
        for number in range(readers):
            child = os.fork()
            if child == 0:
                try:
                    read(folder, number)
                except BaseException as error:
                    print(repr(error), file=sys.stderr)
                    os._exit(1)
                os._exit(0)
            children.append(child)
        largest, wal = 0, path.with_name(f"{path.name}-wal")
        for commit in range(commits):
            writer.add([ImageRecord(f"{commit}/{i}.jpg") for i in range(EACH)], features(EACH))
            # Anywhere in the catalog, so that each commit changes many of its pages.
            writer.remove(np.random.default_rng(commit).integers(1, images + 1, EACH).tolist())
            writer.commit()
            largest = max(largest, wal.stat().st_size if wal.exists() else 0)
    (folder / "stop").touch()
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps({"catalog": path.stat().st_size, "largest": largest}))
    return int(any(failed))


if __name__ == "__main__":
    sys.exit(main())

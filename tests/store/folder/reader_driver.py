"""Run as a child process: one writer and some readers, each a process, on one index.

    python reader_driver.py FOLDER SEED STEPS READERS PAUSE

The writer notes its states in FOLDER/journal; reader i notes in FOLDER/answers-i, a line of JSON each, when it asked,
when it had the answer, and the digest of all matches with their distances. The exit status is 1 when one has failed.
Readers pause so many seconds between two searches: the writer needs a processor too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from promises import INFO, Journal, features_of
from sequence import Sequence

import vpmsearch.store.migrations  # noqa: F401  Alembic, which creating an index needs
from vpmsearch.errors import StoreNotFoundError
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.types import RegionFeatures

QUERIES = RegionFeatures.concatenate([features_of(f"query {number}", INFO) for number in range(4)])
ALL = 1_000_000  # more matches than there are images
Answer = tuple[int, str, int | None, float]  # id, path, pid, distance


def digest_of(answer: Iterable[Answer]) -> str:
    """Of a ranking: distances to the last bit."""
    return hashlib.sha256(json.dumps([list(match) for match in answer]).encode()).hexdigest()[:20]


def write(folder: Path, seed: int, steps: int) -> None:
    """Commit, remove and compact, as a sequence does."""
    Sequence(folder / "index", Journal(folder / "journal"), seed, steps, lambda: None).run()


def read(folder: Path, number: int, pause: float) -> None:
    """Search until the writer is done, and once more."""
    query = QUERIES[[number % len(QUERIES)]]
    with _opened(folder / "index") as store, (folder / f"answers-{number}").open("w") as notes:
        engine = SearchEngine(store)
        last = False
        while not last:
            last = (folder / "stop").exists()
            began = time.monotonic()
            engine.refresh()
            ended = time.monotonic()
            exact = engine.search(query, k=ALL, exact=True)[0].matches
            usual = engine.search(query, k=10)[0].matches
            assert usual == exact[:10]  # of one view, whatever was committed between the two
            answer = [(match.image_id, match.path, match.pid, match.distance) for match in exact]
            line = {"began": began, "ended": ended, "digest": digest_of(answer), "matches": len(answer)}
            notes.write(json.dumps(line) + "\n")
            time.sleep(pause)


def _opened(index: Path) -> GalleryStore:
    """Readers start before there is an index; what they find is nothing, or one that is whole."""
    while True:
        try:
            return GalleryStore.open(index)
        except StoreNotFoundError:
            time.sleep(0.005)


def forked(act: Callable[[], None]) -> int:
    """Do something in a process of its own; its number."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def statuses(children: Iterable[int]) -> Iterator[int]:
    """Wait for processes; their exit statuses."""
    for child in children:
        yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> int:
    folder, seed, steps, readers, pause = Path(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])
    torch.set_num_threads(1)
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208  a fork copies no other thread
    children = [forked(lambda number=number: read(folder, number, pause)) for number in range(readers)]
    failed = any(statuses([forked(lambda: write(folder, seed, steps))]))
    (folder / "stop").touch()
    return int(any([*statuses(children), failed]))


if __name__ == "__main__":
    sys.exit(main())

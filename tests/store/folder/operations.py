"""The operations that the proofs interrupt: each opens what it needs and gives the call to be interrupted.

The call may be repeated while what it needs is open, and the whole operation afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from promises import INFO, features_of

from vpmsearch.store import GalleryStore, compact, upgrade
from vpmsearch.types import ImageRecord, RegionFeatures

OLD_INDEX = Path(__file__).parents[2] / "data_files" / "index-0001"  # of the first revision
Opened = AbstractContextManager[Callable[[], object]]


def _images(start: int, stop: int, version: int = 0) -> tuple[list[ImageRecord], RegionFeatures]:
    records = [ImageRecord(f"{i:03}.jpg", f"{i}@{version}", i % 4, i % 2) for i in range(start, stop)]
    return records, RegionFeatures.concatenate([features_of(record.content_hash) for record in records])


@contextmanager
def create(index: Path) -> Iterator[Callable[[], object]]:
    """Make an empty index."""
    yield lambda: GalleryStore.create(index, INFO).close()


@contextmanager
def first_commit(index: Path) -> Iterator[Callable[[], object]]:
    """Thirty images into an empty index."""
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.add(*_images(0, 30))
        yield writer.commit


@contextmanager
def later_commit(index: Path) -> Iterator[Callable[[], object]]:
    """New images, changed ones, removed ones and a rejected file in one commit."""
    with GalleryStore.open(index) as store, store.writer() as writer:
        changed = [f"{i:03}.jpg" for i in range(5, 8)]
        writer.remove(store.find(paths=["000.jpg", "035.jpg", *changed]))
        writer.add(*_images(5, 8, version=1))
        writer.add(*_images(100, 110))
        writer.reject("note.txt", "no image")
        yield writer.commit


@contextmanager
def remove(index: Path) -> Iterator[Callable[[], object]]:
    """A commit that adds nothing."""
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.remove(store.find(pids=[1]))
        yield writer.commit


@contextmanager
def relabelling(index: Path) -> Iterator[Callable[[], object]]:
    """Other labels and another path, and then new files of labels: all of a writer's life."""

    def act() -> None:
        with GalleryStore.open(index) as store, store.writer() as writer:
            for number, image_id in enumerate(store.find(pids=[2])):
                writer.update(image_id, ImageRecord(f"moved/{number}.jpg", pid=17, camid=3))
            writer.commit()

    yield act


@contextmanager
def compaction(index: Path) -> Iterator[Callable[[], object]]:
    """All segments into one, without what was removed."""
    yield lambda: compact(index)


@contextmanager
def upgrading(index: Path) -> Iterator[Callable[[], object]]:
    """From the first revision to the newest."""
    yield lambda: upgrade(index)


OPERATIONS: dict[str, Callable[[Path], Opened]] = {
    function.__name__: function
    for function in (create, first_commit, later_commit, remove, relabelling, compaction, upgrading)
}


def prepare(operation: str, index: Path) -> None:
    """Make the index that an operation starts from."""
    if operation == "upgrading":
        shutil.copytree(OLD_INDEX, index, dirs_exist_ok=True)
    elif operation != "create":
        GalleryStore.create(index, INFO).close()
        if operation != "first_commit":
            _fill(index)


def _fill(index: Path) -> None:
    """Three commits, 50 images, four of them removed."""
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.add(*_images(0, 30))
        writer.commit()
        writer.add(*_images(30, 54))
        writer.reject("other.txt", "no image either")
        writer.commit()
        writer.remove(store.find(paths=["001.jpg", "002.jpg", "040.jpg", "041.jpg"]))
        writer.commit()

"""A disk with no room left: the index is read, and what makes room works or says what it needs.

On a real file system of 8 MiB where a test may mount one; where not, the free bytes are made up.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vpmsearch.errors import DiskFullWarning, StoreError
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore, compact, verify
from vpmsearch.store.folder import compaction, sqlite
from vpmsearch.types import ImageRecord, RegionFeatures

MODEL = {"num_regions": (6, 1), "embedding_dim": 16, "fingerprint": "ab" * 32}
pytestmark = pytest.mark.filterwarnings("ignore::vpmsearch.errors.DiskFullWarning")


def features(count: int, seed: int = 0) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    return RegionFeatures(np.full((count, 6), 1 / 6, np.float32), rng.normal(size=(count, 6, 16)).astype(np.float32))


def add(store: GalleryStore, name: str, count: int) -> None:
    with store.writer() as writer:
        writer.add([ImageRecord(f"/{name}/{i}.jpg", f"{i:032x}") for i in range(count)], features(count))
        writer.commit()


def fill(disk: Path) -> Path:
    """Take all the room there is; the file that has it."""
    path = disk / "others" / "film.mkv"
    path.parent.mkdir(exist_ok=True)
    with path.open("ab", buffering=0) as file:
        for step in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * step)
            except OSError:
                continue
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets tests mount nothing")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def answers(index: Path) -> tuple[int, list[str], bool]:
    """What every way to read an index says of it: images, the nearest of one query, whether it is sound."""
    with GalleryStore.open(index) as store:
        (result,) = SearchEngine(store).search(features(1), 3)
        assert store.stats().images == len(store.snapshot) == len(store.live_files())
        return len(store.snapshot), [match.path for match in result.matches], verify(index).ok


def left_by_a_kill(index: Path) -> None:
    """A commit that is in SQLite's log alone, as its writer was killed."""
    child = os.fork()
    if not child:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = GalleryStore.open(index)
            reader = sqlite3.connect(index / "catalog.sqlite3")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM image").fetchone()  # so that the log is not emptied
            add(store, "later", 50)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (index / "catalog.sqlite3-wal").stat().st_size > 0


@pytest.mark.parametrize("log", ["empty", "left by a kill", "left, and without SQLite's index of it"])
def test_an_index_on_a_full_disk_is_read(disk: Path, log: str):
    index = disk / "index"
    with GalleryStore.create(index, MODEL) as store:
        add(store, "g", 100)
    if log != "empty":
        left_by_a_kill(index)
    if log.endswith("of it"):
        (index / "catalog.sqlite3-shm").unlink()
    film = fill(disk)
    found = answers(index)
    assert found == (100 if log == "empty" else 150, found[1], True)
    assert found[1][0] == "/g/0.jpg"
    if log != "left by a kill":  # then SQLite has all that it needs
        with pytest.warns(DiskFullWarning, match=r"full: the index is read as from a read-only folder"):
            GalleryStore.open(index).close()
    film.unlink()
    assert answers(index) == found
    with GalleryStore.open(index) as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        add(store, "after", 5)
    assert answers(index)[::2] == (found[0] + 5, True)


def test_removing_says_what_it_needs_and_then_works(disk: Path):
    index = disk / "index"
    with GalleryStore.create(index, MODEL) as store:
        add(store, "g", 100)
    film = fill(disk)
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.remove([1, 2, 3])
        with pytest.raises(StoreError, match=r"is full \(0 bytes free\).*free some MB"):
            writer.commit()
    assert answers(index)[::2] == (100, True)
    with pytest.raises(StoreError, match=r"needs about 2\.\d MB on its disk.* 0 bytes are free.*no image is lost"):
        compact(index)
    assert answers(index)[::2] == (100, True)
    os.truncate(film, film.stat().st_size - (1 << 20))
    with GalleryStore.open(index) as store, store.writer() as writer:
        assert writer.remove(range(1, 91)) == 90
        writer.commit()
    film.unlink()
    report = compact(index)
    assert (report.images, report.removed) == (10, 90)
    assert answers(index)[::2] == (10, True)


def test_where_there_is_no_room_for_all_each_segment_makes_room_for_the_next(disk: Path):
    """What stays of three segments is 1.2 MiB; 2 MiB are wanted beside that, and 2.6 MiB are free."""
    index = disk / "index"
    with GalleryStore.create(index, MODEL) as store:
        for name, count in (("a", 1001), ("b", 1000), ("c", 999)):
            add(store, name, count)
    with GalleryStore.open(index) as store, store.writer() as writer:
        writer.remove(range(1, 3001, 2))
        writer.commit()
    film = fill(disk)
    os.truncate(film, film.stat().st_size - (2 << 20) - (600 << 10))
    with GalleryStore.open(index) as store:
        found = compaction._found(index, store._catalog)
    assert 1 << 20 < found.needed([1, 2, 3]) < 3 << 19
    report = compact(index)
    assert (report.images, report.removed) == (1500, 1500)
    assert report.bytes_after < report.bytes_before * 0.65
    assert answers(index)[::2] == (1500, True)
    with GalleryStore.open(index) as store:
        assert store.stats().segments == 3
        assert store.snapshot.image_ids.tolist() == list(range(2, 3001, 2))
        assert store.stats().removed == 0


def test_an_index_that_grows_until_the_disk_is_full(disk: Path):
    index, committed = disk / "index", 0
    with GalleryStore.create(index, MODEL) as store:
        for number in range(100):
            try:
                add(store, f"g{number}", 1000)
            except StoreError as error:
                assert re.search("[Nn]o space|full", str(error))  # noqa: PT017 (until there is no room)
                break
            committed += 1000
    assert 1000 <= committed < 50_000
    assert answers(index)[::2] == (committed, True)
    assert sorted(entry.name for entry in (index / "segments").iterdir() if entry.name.startswith(".tmp")) == []


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, the file system says that it has no room."""

    def none(path: object) -> os.statvfs_result:
        values = list(os_statvfs(path))
        values[4] = 0  # f_bavail
        return os.statvfs_result(values)

    os_statvfs = os.statvfs
    return lambda: monkeypatch.setattr(os, "statvfs", none)


def test_without_room_nothing_is_made_beside_the_catalog(tmp_path: Path, no_room: Callable[[], None]):
    """As on a full disk, also where nothing can be mounted: SQLite would begin with two files of its own."""
    index = tmp_path / "index"
    with GalleryStore.create(index, MODEL) as store:
        add(store, "g", 20)
    no_room()
    before = sorted(path.name for path in index.iterdir())
    with pytest.warns(DiskFullWarning):
        store = GalleryStore.open(index)
    with store:
        assert len(store.snapshot) == 20
        assert sorted(path.name for path in index.iterdir()) == before
    assert verify(index).ok
    left_by_a_kill(index)
    (index / "catalog.sqlite3-shm").unlink()
    with pytest.warns(DiskFullWarning), GalleryStore.open(index) as store:
        assert len(store.snapshot) == 70


def test_a_copy_of_the_catalog_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "index"
    with GalleryStore.create(index, MODEL) as store:
        add(store, "g", 20)
    left_by_a_kill(index)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    connection = sqlite._connected_to_copy(index / "catalog.sqlite3", foreign_keys=True)
    assert list(temporary.iterdir()) == []
    assert connection.execute("SELECT count(*) FROM image").fetchone() == (70,)
    connection.close()


def test_a_compaction_may_be_tried(tmp_path: Path):
    index = tmp_path / "index"
    with GalleryStore.create(index, MODEL) as store:
        add(store, "a", 1000)
        add(store, "b", 500)
        with store.writer() as writer:
            writer.remove(range(1, 901))
            writer.commit()
    files = {path: path.read_bytes() for path in sorted(index.rglob("*")) if path.is_file()}
    tried = compact(index, dry_run=True)
    assert {path: path.read_bytes() for path in sorted(index.rglob("*")) if path.is_file()} == files
    done = compact(index)
    assert (tried.dry_run, done.dry_run) == (True, False)
    for name in ("images", "removed", "bytes_before", "erased", "readers", "copies"):
        assert getattr(tried, name) == getattr(done, name)
    assert tried.bytes_after == pytest.approx(done.bytes_after, rel=0.2)

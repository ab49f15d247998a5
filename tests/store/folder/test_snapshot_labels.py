"""A snapshot's labels are in memory: what they say, and that nobody's log or catalog has to wait for a reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from drawn_records import FIRST, images, passes, questions, stored
from fork_server import ONE_THREAD
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.store import GalleryStore
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.label_column import Labels
from vpmsearch.store.folder.labels import COLUMNS, ImageLabels
from vpmsearch.store.folder.locking import holders
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter


@given(images(), st.data())
def test_labels_give_back_what_was_stored_and_filter_as_a_loop_does(records, data):
    rows = [stored(record, number) for number, record in enumerate(records)]
    assert len(COLUMNS) == 9
    labels = ImageLabels.of([rows[:5], [], rows[5:]])
    assert [labels.record(row) for row in range(len(rows))] == records
    wanted, paths = data.draw(questions(records))
    assert labels.select(wanted, paths).tolist() == [passes(record, wanted, paths) for record in records]


def test_labels_may_be_words():
    labels = Labels.of(["lobby", None, 7, "lobby", "porch"], "camid", int, str)
    assert labels.among(["lobby", 7]).tolist() == [True, False, True, True, False]
    assert labels.among({"nowhere", 7}).tolist() == [False, False, True, False, False]  # None is never meant


@given(
    values=st.lists(st.sampled_from([None, 0, 1, -3, 2**63 - 1, -(2**63), "1", "lobby"]), max_size=12),
    wanted=st.lists(st.sampled_from([0, 1, -3, 5, 2**63 - 1, 2**70, "1", "lobby", "nowhere", True, 0.5]), max_size=6),
)
def test_labels_are_looked_up_as_python_compares_them(values, wanted):
    found = Labels.of(values, "pid", int, str).among(wanted)
    assert found.tolist() == [value is not None and value in wanted for value in values]


def test_labels_by_words_and_numbers():
    labels = Labels.of(["lobby", None, 7, "lobby", "porch"], "camid", int, str)
    assert [labels.at(row) for row in range(5)] == ["lobby", None, 7, "lobby", "porch"]
    assert labels.present(np.array([True, True, False, True, False])) == {"lobby"}


@pytest.mark.parametrize("column", range(1, 9))
@pytest.mark.parametrize("strange", [b"\xff", 1.5, 2**62 + 0.0, "'", "2024-05-01", "2024-13-01 00:00:00.000000"])
def test_a_value_of_another_type_is_refused(column, strange):
    row: list[object] = list(stored(ImageRecord("a", "00" * 16, 1, 2, FIRST, 3, 4), 1))
    if isinstance(strange, str) and column in (1, 2):
        strange = None
    if isinstance(strange, str) and column in (3, 4):  # a word may be that, but not this
        strange = {"'": "7", "2024-05-01": "two\nlines"}.get(strange, " lobby")
    if isinstance(strange, bytes) and column == 2:
        strange = 3
    row[column] = strange
    with pytest.raises((TypeError, ValueError), match=COLUMNS[column]):
        ImageLabels.of([[row]])


def test_a_view_holds_no_transaction(filled, make_features, make_records):
    view = filled.snapshot
    other = GalleryStore.open(filled.path)
    with other.writer() as writer:
        writer.add(make_records(5, start=200), make_features(5))
        writer.commit()
    assert other.snapshot is not None
    assert Catalog(filled.path / "catalog.sqlite3").truncate_wal(0)  # refused as long as anybody reads
    assert len(view) == 48


def test_relabelled_images_are_seen_after_a_refresh_and_not_before(filled):
    view = filled.snapshot
    assert view.records_of([3])[0].pid == 2
    other = GalleryStore.open(filled.path)
    with other.writer() as writer:
        writer.update(3, ImageRecord("renamed", pid=99, camid=8))
        writer.commit()
    assert view.records_of([3])[0].pid == 2
    assert filled.refresh()
    now = filled.snapshot
    assert now.records_of([3])[0] == ImageRecord("renamed", "hash2", 99, 8, None, 64, 128)
    assert filled.find(pids=[99]) == [3]
    assert now.open_segments[1] is view.open_segments[1]  # only what was said of them has changed
    with other.writer() as writer:
        writer.remove([4])
        writer.commit()
    filled.refresh()
    assert filled.snapshot.parts[1].labels is now.parts[1].labels  # nobody was relabelled, so nothing is read again


def test_another_index_at_the_same_path_is_another(tmp_path, filled, make_features):
    """Restored and gone another way: same ids, same number of commits, other images."""
    filled.snapshot_to(tmp_path / "copy")
    for folder, name in ((filled.path, "here"), (tmp_path / "copy", "there")):
        with GalleryStore.open(folder) as store, store.writer() as writer:
            writer.add([ImageRecord(f"{name}.jpg", pid=1)], make_features(1))
            writer.update(1, ImageRecord(f"{name}-1.jpg"))
            writer.commit()
    filled.refresh()
    assert [record.path for record in filled.snapshot.records_of([1, 51])] == ["here-1.jpg", "here.jpg"]
    shutil.rmtree(filled.path)
    (tmp_path / "copy").rename(filled.path)
    filled.refresh()
    assert [record.path for record in filled.snapshot.records_of([1, 51])] == ["there-1.jpg", "there.jpg"]


def log_of(folder: Path, commits: int, images: int, readers: int) -> dict[str, int]:
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("wal_driver.py")), str(folder)]
    numbers = map(str, (commits, images, readers))
    done = subprocess.run(
        [*command, *numbers], env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_the_log_stays_small_beside_readers_that_refresh(tmp_path):
    found = log_of(tmp_path, 1000, 20_000, 4)
    assert found["catalog"] > 8 << 20
    assert found["largest"] < 8 << 20


# where the folder cannot be written to --------------------------------------------------------------------------------


@pytest.fixture
def looked_at(filled):
    """An index, and a way to open it as somebody who may only read there while root writes to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two people")
    filled.close()
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    copy = shutil.copytree(filled.path, root / "index")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield copy
    os.seteuid(0)
    shutil.rmtree(root)


def as_nobody(act):
    os.seteuid(65534)
    try:
        return act()
    finally:
        os.seteuid(0)


def test_a_view_of_a_folder_that_cannot_be_written_outlives_anothers_commits(looked_at, make_features, make_records):
    store = as_nobody(lambda: GalleryStore.open(looked_at))
    view = store.snapshot
    before = view.records(np.arange(48))
    for start in range(100, 400, 100):
        with GalleryStore.open(looked_at) as other, other.writer() as writer:
            writer.add(make_records(100, start=start), make_features(100))
            writer.remove(range(start // 100, start // 100 + 3))
            writer.commit()
    assert as_nobody(lambda: view.records(np.arange(48))) == before
    assert as_nobody(lambda: view.select(SearchFilter(pids=(1,))).sum()) == len([r for r in before if r.pid == 1])
    assert as_nobody(store.refresh)
    assert as_nobody(lambda: len(store.snapshot)) == 348 - 5
    assert as_nobody(lambda: store.verify().problems) == ()


def test_a_catalog_that_changes_while_it_is_read_is_read_again(looked_at, make_features, make_records):
    """Nobody's locks keep it from that, and what is read then makes no sense."""
    catalog = Catalog(looked_at / "catalog.sqlite3")
    seen = []

    def look(reader):
        first = len(reader.found_all())
        if not seen:  # once: a commit, and its pages moved into the file that is being read
            os.seteuid(0)
            with GalleryStore.open(looked_at) as other, other.writer() as writer:
                writer.add(make_records(2000, start=100), make_features(2000))
                writer.commit()
            os.seteuid(65534)
        seen.append(first)
        return first, len(reader.labels(1))

    assert as_nobody(lambda: catalog.ask(look)) == (2048, 30)
    assert seen == [48, 2048]


def test_who_has_a_file_mapped_is_told_from_who_has_anothers(tmp_path):
    """A number (inode) that a deleted file had is given to the next file, which may be of the same name."""
    place = tmp_path / "segments" / "1"
    place.mkdir(parents=True)
    path = place / "embeddings.h5"
    path.write_bytes(b"x" * 4096)
    number, end = path.stat().st_ino, "segments/1/embeddings.h5"
    mapped = np.memmap(path, mode="r")
    assert holders([(number, end)], deleted=False) == (os.getpid(),)
    assert holders([(number, end)], deleted=True) == ()
    assert holders([(number, "segments/2/embeddings.h5"), (number + 1, end)], deleted=False) == ()
    path.unlink()
    assert holders([(number, end)], deleted=True) == (os.getpid(),)
    assert holders([(number, end)], deleted=False) == ()
    del mapped
    assert holders([(number, end)], deleted=True) == ()


def test_a_reader_sees_the_index_that_came_to_be_at_its_path(tmp_path):
    """The same files with other labels, then another model: nothing of the old index is kept."""
    features = RegionFeatures(np.full((2, 2), 0.5, np.float32), np.ones((2, 2, 4), np.float32))

    def build(pid, fingerprint):
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        with GalleryStore.create(tmp_path / "index", ModelInfo(2, 4, fingerprint)) as made, made.writer() as writer:
            writer.add([ImageRecord(f"{pid}/{i}", pid=pid) for i in range(2)], features)
            writer.commit()

    build(1, "a")
    with GalleryStore.open(tmp_path / "index") as reader:
        for pid, fingerprint in ((2, "a"), (2, "b"), (3, "b")):
            build(pid, fingerprint)
            assert reader.refresh()
            assert {record.pid for record in reader.snapshot.records_of(reader.find())} == {pid}
            assert reader.model_info.fingerprint == fingerprint

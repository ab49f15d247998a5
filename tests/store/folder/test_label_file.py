"""The files of labels say what the catalog says, or they are not used."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from drawn_records import images, passes, questions, stored
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import StoreDamagedError, StoreError
from vpmsearch.store import GalleryStore, compact, repair, restore, verify
from vpmsearch.store.folder import catalog, checksums, label_file, label_keeping
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.checksums import FileSum, digest
from vpmsearch.store.folder.label_file import LABELS_NAME, LEFT
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.tables import open_engine
from vpmsearch.store.folder.texts import Paths, Texts
from vpmsearch.types import ImageRecord, RegionFeatures, SearchFilter

# the arrays ------------------------------------------------------------------------------------------------------


def of_rows(records, ids=None):
    rows = [stored(record, image_id) for image_id, record in zip(ids or range(len(records)), records, strict=True)]
    return ImageLabels.of([rows])


def answers(labels: ImageLabels, kept, wanted: SearchFilter, paths: list[str]) -> list[object]:
    """What every method says."""
    return [
        [labels.record(row) for row in range(len(labels))],
        labels.select(wanted, paths).tolist(),
        labels.ids.tolist(),
        labels.paths.texts.chosen(kept),
        labels.paths.ends(kept),
        labels.hashes.chosen(kept),
        labels.pids.present(kept),
        labels.camids.present(kept),
        labels.attributes.names(kept),
        labels.captured_at.tolist(),
        labels.sizes.tolist(),
    ]


@given(images(), st.data())
def test_a_file_says_what_the_catalog_says(tmp_path_factory, records, data):
    folder = tmp_path_factory.mktemp("segment")
    from_catalog = of_rows(records)
    written = label_file.write(folder, from_catalog)
    assert written == label_file.file_sum_of(from_catalog)
    assert written == checksums.file_sum(folder / LABELS_NAME)
    from_file = label_file.read(folder, written)
    assert from_file is not None
    wanted, paths = data.draw(questions(records))
    kept = np.array([data.draw(st.booleans()) for _ in records], np.bool_)
    found = answers(from_file, kept, wanted, paths)
    assert found == answers(from_catalog, kept, wanted, paths)
    left = [record for record, keep in zip(records, kept, strict=True) if keep]
    assert found[:2] == [records, [passes(record, wanted, paths) for record in records]]
    assert found[3:6] == [
        [record.path for record in left],
        (min(r.path for r in left), max(r.path for r in left)) if left else None,
        [record.content_hash for record in left],
    ]
    assert found[6:9] == [
        {record.pid for record in left} - {None},
        {record.camid for record in left} - {None},
        {name for record in left for name in record.attributes},
    ]


@given(images(), st.integers(1, 5))
def test_the_file_depends_on_nothing_but_the_labels(records, step):
    """A commit makes it of records, `verify` of rows that come block by block: their checksums are compared."""
    rows = [stored(record, number) for number, record in enumerate(records)]
    whole = label_file.file_sum_of(ImageLabels.of([rows]))
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    assert label_file.file_sum_of(ImageLabels.of(blocks)) == whole
    assert label_file.file_sum_of(ImageLabels.of_records(range(len(records)), records)) == whole


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=20), st.data())
def test_paths_are_found_as_a_loop_finds_them(values, data):
    paths = Paths(Texts.of(values))
    some = st.sampled_from(values) if values else st.just("")
    prefix = data.draw(some.map(lambda value: value[:2]) | st.text(max_size=2) | st.just("\ud800"))
    asked = data.draw(st.lists(some | st.text(max_size=3), max_size=5))
    assert paths.starting_with(prefix).tolist() == [value.startswith(prefix) for value in values]
    assert paths.among(asked).tolist() == [value in asked for value in values]
    assert list(paths.texts) == values
    assert paths.order.tolist() == sorted(range(len(values)), key=lambda row: values[row].encode())
    cut = data.draw(st.integers(0, len(values)))
    assert list(Texts.joined([Texts.of(values[:cut]), Texts.of([]), Texts.of(values[cut:])])) == values


def one_of_each() -> list[ImageRecord]:
    time = datetime(2024, 5, 1, 3, 4, 5, 678, tzinfo=UTC)
    return [
        ImageRecord("a/ä.jpg", "00ff" * 8, 7, "lobby", time, 64, 128, attributes={"site": "north"}),
        ImageRecord("a/b.jpg", "odd", "alice", 2, None, 3, 4),
        ImageRecord("c.jpg", "", None, None, None, 0, 0, attributes={"site": "süd", "x": "1"}),
    ]


def test_damage_of_any_byte_is_found(tmp_path):
    written = label_file.write(tmp_path, of_rows(one_of_each()))
    path = tmp_path / LABELS_NAME
    data = path.read_bytes()
    for at in range(len(data)):
        for damaged in (data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], data[:at]):
            path.write_bytes(damaged)
            assert label_file.read(tmp_path, written) is None, at
    path.write_bytes(data + b"\0")
    assert label_file.read(tmp_path, written) is None
    path.unlink()
    assert label_file.read(tmp_path, written) is None
    os.mkfifo(path)  # opening it would wait
    assert label_file.read(tmp_path, written) is None


def test_whatever_a_stranger_writes_there_is_refused_or_answered(tmp_path):
    """With the right checksum: the arrays of a stranger's file may hold anything."""
    label_file.write(tmp_path, of_rows(one_of_each()))
    path = tmp_path / LABELS_NAME
    data = path.read_bytes()
    wanted = SearchFilter((7, "alice"), (2, "lobby"), path_prefix="a", where={"site": "north"})
    used = 0
    for at in range(len(data)):
        for value in {data[at] ^ 1, data[at] ^ 0x80, 0, 0x7F, 0xFF} - {data[at]}:
            damaged = data[:at] + bytes([value]) + data[at + 1 :]
            path.write_bytes(damaged)
            found = label_file.read(tmp_path, FileSum(LABELS_NAME, len(damaged), digest(damaged)))
            if found is None:
                continue
            used += 1
            with contextlib.suppress(StoreDamagedError):  # of attributes, which are parsed when asked for
                answers(found, np.ones(3, np.bool_), wanted, ["c.jpg"])
    assert used > 100  # another name, size, time …


@pytest.mark.parametrize(
    ("number", "values"),
    [
        (0, np.array([-1, 0, 1], "<i8")),  # an id
        (1, np.array([0, 5, 4, 16], "<i8")),  # where paths begin
        (1, np.array([0, 3, 9, 16], "<i8")),  # within a character
        (1, np.array([0, 8, 15, 2**62], "<i8")),
        (3, np.array([0, 1, 1], "<i4")),  # no order of three
        (3, np.array([0, 1, 3], "<i4")),
        (9, np.array([0, 1, -2], "<i4")),  # whose pid
        (9, np.array([0, 2, -1], "<i4")),
        (15, np.array([10**17] * 3, "<i8") * 10),  # the year 33658
        (15, np.array([-(10**17)] * 3, "<i8") * 10),
        (0, np.array([0, 1], "<i8")),  # of other images than the rest
    ],
)
def test_impossible_arrays_are_refused(tmp_path, number, values):
    labels = of_rows(one_of_each())
    arrays = list(label_file._arrays(np.frombuffer(b"".join(label_file._chunks(labels)), np.uint8)))
    arrays[number] = values
    with pytest.raises(ValueError):  # noqa: PT011  each by a message of its own
        label_file._labels(iter(arrays))


def test_a_large_file_is_mapped_and_outlives_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(label_file, "_IN_MEMORY", 0)
    records = one_of_each()
    labels = label_file.read(tmp_path, label_file.write(tmp_path, of_rows(records)))
    base = labels.paths.texts.data
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert not base.flags.writeable
    (tmp_path / LABELS_NAME).unlink()
    assert [labels.record(row) for row in range(3)] == records


# an index --------------------------------------------------------------------------------------------------------


def listed(folder: Path) -> dict[int, FileSum]:
    return Catalog(folder / "catalog.sqlite3").ask(Reader.label_files)


def contents(store: GalleryStore):
    view = store.snapshot
    return view.image_ids.tolist(), view.records(np.arange(len(view))), store.live_files(), view.counts()


def without_files(folder: Path) -> None:
    """As an index is that an earlier vpmsearch of this revision has written."""
    with open_engine(folder / "catalog.sqlite3", write=True).begin() as connection:
        connection.exec_driver_sql("DELETE FROM segment_file WHERE name = ?", (LABELS_NAME,))
        connection.exec_driver_sql("DELETE FROM checksum WHERE name = 'labelled'")
        catalog._sum_segments(connection)
    for path in folder.glob(f"segments/*/{LABELS_NAME}"):
        path.unlink()


@pytest.fixture
def rows_read(monkeypatch):
    """The rows of SQLite that readers have fetched."""
    counted = [0]
    real = Reader._blocks

    def blocks(self, statement):
        found = real(self, statement)
        original = found.__enter__

        def counting():
            for block in original():
                counted[0] += len(block)
                yield block

        found.__enter__ = counting  # type: ignore[method-assign]
        return _Entered(found, counting)

    monkeypatch.setattr(Reader, "_blocks", blocks)
    return counted


class _Entered:
    """A context manager with another `__enter__`, which Python looks up in the class."""

    def __init__(self, real, enter):
        self._real, self._enter = real, enter

    def __enter__(self):
        return self._enter()

    def __exit__(self, *raised):
        return self._real.__exit__(*raised)


def test_opening_reads_no_row_an_image(store, make_features, make_records, rows_read):
    with store.writer() as writer:
        writer.add(make_records(700), make_features(700))
        writer.commit()
    rows_read[0] = 0
    with GalleryStore.open(store.path) as opened:
        first = contents(opened)
    assert rows_read[0] < 100
    without_files(store.path)
    with GalleryStore.open(store.path) as opened:
        assert contents(opened) == first
    assert rows_read[0] > 700


def test_an_index_without_them_gets_them_from_its_next_writer(filled):
    filled.close()
    without_files(filled.path)
    with GalleryStore.open(filled.path) as store:
        before = contents(store)
        assert verify(filled.path).ok
        assert list(filled.path.glob(f"segments/*/{LABELS_NAME}")) == []  # no reader writes
        with store.writer():
            pass
    assert set(listed(filled.path)) == {1, 2}
    assert verify(filled.path).ok
    with GalleryStore.open(filled.path) as store:
        assert contents(store) == before


def test_changed_labels_outdate_the_file_of_their_segment_alone(filled):
    old = listed(filled.path)
    with GalleryStore.open(filled.path) as other, other.writer() as writer:
        writer.update(3, ImageRecord("renamed", pid=99, camid="lobby"))
        writer.commit()
        assert listed(filled.path) == {2: old[2]}
        assert (filled.path / "segments" / "1" / LABELS_NAME).exists()  # says what was
        assert verify(filled.path).ok
        view = filled.snapshot
        assert filled.refresh()
        assert filled.snapshot.records_of([3])[0].path == "renamed"
        assert filled.snapshot.parts[2].labels is view.parts[2].labels
        assert filled.snapshot.open_segments[1] is view.open_segments[1]
    now = listed(filled.path)
    assert now[2] == old[2]
    assert now[1] != old[1]
    with GalleryStore.open(filled.path) as store:
        assert store.snapshot.records_of([3])[0] == ImageRecord("renamed", "hash2", 99, "lobby", None, 64, 128)
        assert store.find(pids=[99]) == [3]
    assert verify(filled.path).ok


def test_removal_leaves_the_files_as_they_are(filled):
    old = listed(filled.path)
    with filled.writer() as writer:
        writer.remove([1, 31])
        writer.commit()
    assert listed(filled.path) == old
    assert 1 not in filled.find()


def test_compaction_leaves_nothing_of_removed_or_renamed_images(filled):
    with filled.writer() as writer:
        writer.update(3, ImageRecord("after.jpg"))
        writer.remove([4])
        writer.commit()
    filled.compact()
    (number,) = listed(filled.path)
    data = b"".join(path.read_bytes() for path in filled.path.rglob("*") if path.is_file())
    assert b"cam2/0002.jpg" not in data
    assert b"cam0/0003.jpg" not in data
    assert b"after.jpg" in (filled.path / "segments" / str(number) / LABELS_NAME).read_bytes()
    assert verify(filled.path).ok


def test_labels_that_an_older_vpmsearch_changes_are_seen(filled, monkeypatch):
    """It knows of no files: it changes rows and `relabelled`, and lists the files on."""

    def as_before(connection, changed):
        checksums.put(connection, checksums.RELABELLED, 12345)

    with monkeypatch.context() as older:
        older.setattr(catalog, "_forget_labels", as_before)
        older.setattr("vpmsearch.store.folder.writer.complete", lambda *_: None)
        with GalleryStore.open(filled.path) as other, other.writer() as writer:
            writer.update(3, ImageRecord("renamed", pid=99))
            writer.commit()
    assert listed(filled.path) == {}
    for opened in (filled, GalleryStore.open(filled.path)):
        opened.refresh()
        assert opened.snapshot.records_of([3])[0].pid == 99
    assert verify(filled.path).ok
    with monkeypatch.context() as killed:  # before it came to the files
        killed.setattr("vpmsearch.store.folder.writer.complete", lambda *_: None)
        with filled.writer() as writer:
            writer.update(4, ImageRecord("renamed too", pid=98))
            writer.commit()
    assert listed(filled.path) == {}
    assert verify(filled.path).ok
    with filled.writer():
        pass
    assert set(listed(filled.path)) == {1, 2}
    with GalleryStore.open(filled.path) as store:
        assert [record.pid for record in store.snapshot.records_of([3, 4])] == [99, 98]
    assert verify(filled.path).ok


@pytest.mark.parametrize("moment", ["before", "temporary", "after"])
def test_a_writer_that_dies_between_a_change_and_the_file(filled, monkeypatch, moment):
    """What it leaves is no damage, is not believed, and goes with the next writer."""
    real = label_file.write

    def dying(folder, labels):
        if moment == "temporary":
            (folder / f"{LEFT}x1y2.bin").write_bytes(b"half")
        if moment == "after":
            real(folder, labels)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(label_keeping.label_file, "write", dying)
        writer = filled.writer()
        writer.__enter__()
        writer.update(3, ImageRecord("renamed", pid=99))
        writer.commit()
        with pytest.raises(KeyboardInterrupt):
            writer.__exit__()
    assert set(listed(filled.path)) == {2}
    assert verify(filled.path).ok
    with GalleryStore.open(filled.path) as store:
        assert store.find(pids=[99]) == [3]
        with store.writer():
            pass
    assert set(listed(filled.path)) == {1, 2}
    assert list(filled.path.glob(f"segments/*/{LEFT}*")) == []
    assert verify(filled.path).ok


def test_a_disk_too_full_for_the_file_does_not_undo_the_change(filled, monkeypatch):
    def full(folder, labels):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(label_keeping.label_file, "write", full)
        with filled.writer() as writer:
            writer.update(3, ImageRecord("renamed", pid=99))
            writer.commit()
        assert filled.find(pids=[99]) == [3]
        (filled.path / "segments" / "2" / LABELS_NAME).unlink()
        with pytest.raises(StoreError, match=r"labels\.bin cannot be written \(No space left"):
            repair(filled.path)
    assert repair(filled.path).ok


def test_a_folder_that_cannot_be_written_opens_by_its_files(filled, rows_read):
    if os.geteuid() != 0:
        pytest.skip("only root can be two people")
    before = contents(filled)
    filled.close()
    for parent in filled.path.parents:
        if parent.owner() == "root" and parent != Path(parent.root):
            parent.chmod(parent.stat().st_mode | 0o555)
    for path in [filled.path, *filled.path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    names = sorted(filled.path.rglob("*"))
    os.seteuid(65534)
    try:
        rows_read[0] = 0
        with GalleryStore.open(filled.path) as store:
            assert contents(store) == before
        assert rows_read[0] < 48
    finally:
        os.seteuid(0)
    assert sorted(filled.path.rglob("*")) == names


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "link", "folder"])
def test_a_damaged_file_is_reported_mended_and_never_needed(filled, tmp_path, damage):
    before = contents(filled)
    filled.close()
    path = filled.path / "segments" / "1" / LABELS_NAME
    data = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 4]) + data[-2:])
    elif damage == "cut":
        path.write_bytes(data[:-8])
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        path.mkdir()
    with GalleryStore.open(filled.path) as store:
        assert contents(store) == before
        if damage != "folder":
            assert store.snapshot_to(tmp_path / "copy") == 48
            assert verify(tmp_path / "copy").ok
            assert set(listed(tmp_path / "copy")) == {1, 2}
    (problem,) = verify(filled.path).problems
    assert str(path) in problem
    assert "verify --repair" in problem
    if damage == "folder":  # whose it is nobody knows
        with pytest.raises(StoreError, match=r"labels\.bin cannot be written"):
            repair(filled.path)
        return
    assert repair(filled.path).ok
    assert path.read_bytes() == data
    assert not path.is_symlink()


def test_a_file_that_says_other_things_than_the_catalog_is_found(filled):
    """Its checksum is right: a catalog of another copy, say."""
    filled.close()
    with Catalog(filled.path / "catalog.sqlite3").read() as reader:
        labels = reader.labels(1)
    wrong = dataclasses.replace(labels, camids=labels.pids, pids=labels.camids)
    Catalog(filled.path / "catalog.sqlite3").note_labels(1, label_file.write(filled.path / "segments" / "1", wrong))
    (problem,) = verify(filled.path).problems
    assert "does not say what the catalog says" in problem
    assert repair(filled.path).ok


def test_a_file_of_other_images_is_refused(filled):
    filled.close()
    with Catalog(filled.path / "catalog.sqlite3").read() as reader:
        labels = reader.labels(1)
    wrong = dataclasses.replace(labels, ids=labels.ids + 1000)
    Catalog(filled.path / "catalog.sqlite3").note_labels(1, label_file.write(filled.path / "segments" / "1", wrong))
    with pytest.raises(StoreDamagedError, match="other images"):
        GalleryStore.open(filled.path)
    assert repair(filled.path).ok
    GalleryStore.open(filled.path).close()


def test_copies_have_files_of_their_own_labels(filled, tmp_path, monkeypatch):
    """Labels change while the copy is made: the file that is there then is not the one that the catalog lists."""
    from vpmsearch.store.folder import copies

    real = copies._copy_labels
    changed = []

    def late(source, target, written):
        if not changed:
            changed.append(True)
            with GalleryStore.open(filled.path) as other, other.writer() as writer:
                writer.update(3, ImageRecord("renamed", pid=99))
                writer.commit()
        real(source, target, written)

    monkeypatch.setattr(copies, "_copy_labels", late)
    filled.snapshot_to(tmp_path / "copy")
    assert filled.find(pids=[99]) == [3]
    for folder in (tmp_path / "copy", tmp_path / "restored"):
        assert set(listed(folder)) == {1, 2}
        assert verify(folder).ok
        with GalleryStore.open(folder) as store:
            assert store.find(pids=[99]) == []
            assert store.snapshot.records_of([3])[0].path == "cam2/0002.jpg"
        if not (tmp_path / "restored").exists():
            restore(folder, tmp_path / "restored")


def test_an_older_index_is_opened_and_copied_without_them(tmp_path):
    old = shutil.copytree(Path(__file__).parents[2] / "data_files" / "index-0002", tmp_path / "index")
    with GalleryStore.open(old) as store:
        before = contents(store)
    assert list(old.glob(f"segments/*/{LABELS_NAME}")) == []
    from vpmsearch.store import upgrade

    upgrade(old)
    assert listed(old)
    assert verify(old).ok
    without_files(old)
    assert upgrade(old) == ("0003", "0003")
    assert listed(old)
    compact(old)
    assert len(listed(old)) == 1
    with GalleryStore.open(old) as store:
        assert contents(store)[:3] == before[:3]


def test_readers_beside_a_writer_see_all_of_a_change_or_none(filled):
    """Two readers refresh while a writer gives all images the labels of round after round."""
    seen: list[list[int]] = [[], []]
    errors: list[BaseException] = []
    done = threading.Event()

    def read(number: int) -> None:
        try:
            with GalleryStore.open(filled.path) as store:
                while not done.is_set():
                    store.refresh()
                    view = store.snapshot
                    rounds = {record.width and record.camid for record in view.records(np.arange(len(view)))}
                    assert len(rounds) == 1, rounds
                    seen[number].append(int(rounds.pop()))
        except BaseException as error:
            errors.append(error)

    def relabel(number: int) -> None:
        with GalleryStore.open(filled.path) as store, store.writer() as writer:
            for image_id, record in zip(store.find(), store.snapshot.records(np.arange(48)), strict=True):
                writer.update(image_id, dataclasses.replace(record, camid=number))
            writer.commit()

    relabel(100)
    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    for number in range(101, 113):
        relabel(number)
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert all(numbers == sorted(numbers) and numbers for numbers in seen)


def test_a_catalog_may_list_anything(filled):
    """A size or digest of another kind, as a stranger may write."""
    before = contents(filled)
    filled.close()
    for column, value in (("size", 2**62), ("size", -1), ("digest", b""), ("size", 0)):
        with sqlite3.connect(filled.path / "catalog.sqlite3") as connection:
            connection.execute(f"UPDATE segment_file SET {column} = ? WHERE name = ?", (value, LABELS_NAME))
        connection.close()
        with GalleryStore.open(filled.path) as store:
            assert contents(store) == before


def test_the_first_commit_has_its_file(store):
    features = RegionFeatures(np.full((2, 6), 1 / 6, np.float32), np.ones((2, 6, 8), np.float32))
    with store.writer() as writer:
        writer.add([ImageRecord("b", pid="x"), ImageRecord("a", captured_at=datetime(2024, 1, 1))], features)
        writer.commit()
        assert set(listed(store.path)) == {1}
        assert verify(store.path).ok

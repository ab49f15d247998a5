"""Checksums, repair, merging, copies, and what stays of a person who asked to be forgotten."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.commands import care
from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.store import GalleryStore, compact, repair, restore, upgrade, verify
from vpmsearch.store.contract import Gallery
from vpmsearch.store.folder import tables
from vpmsearch.store.folder.rewriting import MERGED, due, rewrite
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures

OLD_INDEX = Path(__file__).parents[2] / "data_files" / "index-0001"


def contents(path):
    """Everything a user can get out of an index."""
    with GalleryStore.open(path) as store:
        view = store.snapshot
        rows = np.arange(len(view))
        return (
            dict(zip(view.image_ids.tolist(), view.records(rows), strict=True)),
            view.visibility.tobytes(),
            view.embeddings(rows).tobytes(),
            store.rejected(),
        )


def answers(path):
    """What every region index finds, with all distances."""
    with GalleryStore.open(path) as store:
        view = store.snapshot
        queries = np.eye(view.model_info.embedding_dim, dtype=np.float32)[:2]
        found = [view.search_region(region, queries, len(view) or 1) for region in range(view.model_info.p)]
        return [(ids.tolist(), distances.tolist()) for region in found for ids, distances in region]


# checksums --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("segment", "flips"), [("1", 1), pytest.param("*", 20, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_a_segment_is_found(filled, segment, flips):
    """Any bit of any file: seeded samples of each, ends included. The short form looks at one of two segments."""
    filled.close()
    rng = np.random.default_rng(0)
    files = sorted((filled.path / "segments").glob(f"{segment}/*.*"))
    assert len(files) == (9 if segment == "1" else 18)
    for path in files:
        data = path.read_bytes()
        for at in {0, len(data) - 1, *rng.integers(len(data), size=flips).tolist()}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])
            report = verify(filled.path)
            assert len(report.problems) == 1, (path, at)
            assert str(path) in report.problems[0]
        path.write_bytes(data)
    assert verify(filled.path).ok


@pytest.mark.parametrize("flips", [15, pytest.param(600, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_the_catalog_is_found_or_harmless(filled, flips):
    """Most of SQLite's file is room that nobody reads; where a flip changes what is read, it is found."""
    filled.compact()  # into one file, no WAL
    filled.close()
    expected = contents(filled.path)
    path = filled.path / "catalog.sqlite3"
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    found = 0
    for at in rng.permutation(len(data))[:flips].tolist():
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])
        try:
            sound = verify(filled.path).ok
        except StoreError:  # another revision, say
            sound = False
        if sound:
            assert contents(filled.path) == expected, at
        found += not sound
    assert found >= flips // 15
    path.write_bytes(data)
    assert verify(filled.path).ok


def test_a_lost_tombstone_is_found(filled):
    filled.close()
    with sqlite3.connect(filled.path / "catalog.sqlite3") as connection:
        connection.execute("UPDATE image SET removed_at = NULL WHERE id = 7")
    connection.close()
    assert "table image" in verify(filled.path).problems[0]


# repair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["region_0.faiss"], ["images.bin"], ["region_1.faiss", "region_5.faiss"]])
@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_what_follows_from_the_embeddings_is_built_anew(filled, names, how):
    filled.close()
    expected, found = contents(filled.path), answers(filled.path)
    for name in names:
        path = filled.path / "segments" / "2" / name
        path.unlink()
        if how == "garbage":
            path.write_bytes(b"\0" * 100)
    report = verify(filled.path)
    assert len(report.problems) == len(names)
    assert all("--repair" in problem for problem in report.problems)
    assert repair(filled.path).ok
    assert verify(filled.path).ok
    assert contents(filled.path) == expected
    assert answers(filled.path) == found
    assert repair(filled.path).ok  # nothing to do
    assert sorted(path.name for path in (filled.path / "segments").iterdir()) == ["1", "3"]


def test_damaged_embeddings_are_not_passed_on(filled):
    """Neither compact nor repair nor a snapshot makes damage look sound."""
    filled.close()
    place = filled.path / "segments" / "1"
    data = bytearray((place / "embeddings.h5").read_bytes())
    data[-1] ^= 1  # the exponent of a number: finite still
    (place / "embeddings.h5").write_bytes(data)
    (place / "region_2.faiss").unlink()
    before = verify(filled.path)
    assert len(before.problems) == 2
    assert repair(filled.path) == before
    with pytest.raises(StoreDamagedError, match="checksum"):
        compact(filled.path)
    with pytest.raises(StoreDamagedError):
        restore(filled.path, filled.path.parent / "copy")
    assert verify(filled.path) == before
    assert not (filled.path.parent / "copy").exists()


@pytest.mark.parametrize("lost", ["embeddings.h5", "images.bin", None], ids=["embeddings", "scores", "folder"])
def test_files_of_removed_images_need_not_be_there(filled, lost):
    """Nobody needs the files of a segment whose images are all removed: compact goes on where they are lost."""
    with filled.writer() as writer:
        assert writer.remove(range(1, 31)) == 29  # all of the first segment; 7 is removed already
        writer.commit()
    kept = filled.snapshot.embeddings(np.arange(19))
    filled.close()
    place = filled.path / "segments" / "1"
    if lost is None:
        shutil.rmtree(place)
    else:
        (place / lost).unlink()
    report = compact(filled.path)
    assert (report.images, report.removed) == (19, 31)
    assert verify(filled.path).ok
    assert sorted(path.name for path in (filled.path / "segments").iterdir()) == ["3"]
    with GalleryStore.open(filled.path) as store:
        np.testing.assert_array_equal(store.snapshot.embeddings(np.arange(19)), kept)


def test_stats_says_what_it_looks_at(filled):
    """Sizes are compared, bytes are not: that is what `verify` is for, and the help says so."""
    place = filled.path / "segments" / "1" / "embeddings.h5"
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    assert filled.stats().images == 48
    assert not filled.verify().ok
    place.write_bytes(data[:-1])
    with pytest.raises(StoreDamagedError, match="bytes instead of"):
        filled.stats()
    for words in (GalleryStore.stats.__doc__, Gallery.stats.__doc__, care.stats.__doc__):
        assert "`verify`" in words


def test_a_damaged_row_is_not_passed_on(filled, tmp_path):
    """The files hold what the catalog held: neither a merge nor a copy may write the damage into them."""
    filled.close()
    with sqlite3.connect(filled.path / "catalog.sqlite3") as connection:
        connection.execute("UPDATE visibility SET scores = zeroblob(24) WHERE image_id = 5")
    connection.close()
    before = contents(filled.path)
    with GalleryStore.open(filled.path) as store:
        with pytest.raises(StoreDamagedError, match="checksum"):
            store.compact()
        with pytest.raises(StoreDamagedError, match="checksum"):
            store.snapshot_to(tmp_path / "copy")
        with pytest.raises(StoreDamagedError, match="different things"):
            rewrite(store.path, store._catalog, [1, 2], 3)
    assert contents(filled.path) == before
    assert not (tmp_path / "copy").exists()


def test_repair_after_a_killed_writer(filled):
    filled.close()
    shutil.copytree(filled.path / "segments" / "2", filled.path / "segments" / "3")  # not yet in the catalog
    (filled.path / "segments" / "1" / "region_0.faiss").unlink()
    assert repair(filled.path).ok


def test_a_reason_with_a_nul_is_only_text(store):
    with store.writer() as writer:
        for _ in range(2):
            writer.reject("/n\0ul.jpg", "a \0 in it")
            writer.commit()
        assert store.verify().ok
        assert len(store.rejected()) == 1
        writer.accept("/n\0ul.jpg")
        writer.commit()
    assert store.rejected() == []
    assert store.verify().ok


# merging ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5000), max_size=60))
def test_merging_goes_on_until_no_size_has_many_segments(sizes):
    segments = dict(enumerate(sizes, start=1))
    rounds = 0
    while old := due(segments):
        assert len(old) >= MERGED
        assert len({len(np.base_repr(segments[number], MERGED)) for number in old}) == 1
        number_of_new = max(segments) + 1
        segments[number_of_new] = sum(segments.pop(number) for number in old)
        rounds += 1
    assert sum(segments.values()) == sum(sizes)
    digits = [len(np.base_repr(images, MERGED)) for images in segments.values()]
    assert all(digits.count(n) < MERGED for n in digits)
    assert rounds <= len(sizes)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_small_segments_are_merged_and_nothing_changes(tmp_path, make_features, make_records, dtype):
    info = ModelInfo((3, 1), 4, "f")
    with (
        GalleryStore.create(tmp_path / "merged", info, embedding_dtype=dtype) as merged,
        GalleryStore.create(tmp_path / "whole", info, embedding_dtype=dtype) as whole,
    ):
        with merged.writer() as writer, whole.writer() as all_at_once:
            for i in range(20):
                features, records = make_features(3, 3, 4, seed=i), make_records(3, start=3 * i)
                writer.add(records, features)
                all_at_once.add(records, features)
                if i % 5 == 4:
                    writer.remove([3 * i])
                    all_at_once.remove([3 * i])
                writer.commit()
            all_at_once.commit()
        assert merged.stats().segments < MERGED
        assert len(list((merged.path / "segments").iterdir())) == merged.stats().segments
        assert merged.verify().ok
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert answers(tmp_path / "merged") == answers(tmp_path / "whole")


def test_a_commit_is_visible_before_its_merge(store, make_features, make_records, monkeypatch):
    seen = []

    def rewrite(folder, *_):
        with GalleryStore.open(folder) as other:
            seen.append(len(other.snapshot))
        raise StoreError("the disk is full")

    monkeypatch.setattr("vpmsearch.store.folder.writer.rewrite", rewrite)
    with store.writer() as writer:
        for i in range(MERGED + 1):
            writer.add(make_records(1, start=i), make_features(1, seed=i))
            writer.commit()
    assert seen == [MERGED, MERGED + 1]  # tried again, and the failure is not the commit's
    assert store.verify().ok


def test_a_view_outlives_the_merge_of_its_segments(store, make_features, make_records):
    with store.writer() as writer:
        for i in range(MERGED - 1):
            writer.add(make_records(2, start=2 * i), make_features(2, seed=i))
            writer.commit()
        view = store.snapshot
        before = view.embeddings(np.arange(len(view)))
        writer.add(make_records(2, start=100), make_features(2, seed=100))
        writer.commit()
    assert store.stats().segments == 1
    np.testing.assert_array_equal(view.embeddings(np.arange(len(view))), before)
    np.testing.assert_array_equal(store.snapshot.embeddings(np.arange(len(before))), before)


# copies -----------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_an_index_and_can_be_restored(filled, tmp_path, make_features, make_records):
    expected, found = contents(filled.path), answers(filled.path)
    assert filled.snapshot_to(tmp_path / "copies" / "monday") == 48
    with filled.writer() as writer:
        writer.add(make_records(3, start=200), make_features(3))
        writer.commit()
    assert contents(tmp_path / "copies" / "monday") == expected
    shutil.rmtree(filled.path / "segments")
    filled.close()
    assert restore(tmp_path / "copies" / "monday", tmp_path / "restored") == 48
    assert verify(tmp_path / "restored").ok
    assert contents(tmp_path / "restored") == expected
    assert answers(tmp_path / "restored") == found
    with GalleryStore.open(tmp_path / "restored") as store, store.writer() as writer:
        assert writer.add(make_records(1, start=300), make_features(1)) == [51]
        writer.commit()


@pytest.mark.parametrize("holds", ["a file", "an index"])
def test_a_copy_goes_into_an_empty_folder_only(filled, tmp_path, holds):
    target = tmp_path / "there"
    if holds == "a file":
        target.mkdir()
        (target / "notes.txt").touch()
    else:
        filled.snapshot_to(target)
    before = sorted(target.rglob("*"))
    with pytest.raises(StoreError, match=r"not empty|an index already"):
        filled.snapshot_to(target)
    with pytest.raises(StoreError, match=r"not empty|an index already"):
        restore(filled.path, target)
    assert sorted(target.rglob("*")) == before
    with pytest.raises(StoreNotFoundError, match="no snapshot"):
        restore(tmp_path / "nowhere", tmp_path / "new")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_a_snapshot_in_the_midst_of_a_merge(filled, tmp_path, monkeypatch):
    """A segment vanishes between reading its name and copying it: look again."""
    from vpmsearch.store.folder import copies

    real, calls = copies._copy_file, []

    def compact_first(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            compact(filled.path, wait_seconds=0)
        return real(*arguments)

    monkeypatch.setattr(copies, "_copy_file", compact_first)
    filled.snapshot_to(tmp_path / "copy")
    monkeypatch.undo()
    assert verify(tmp_path / "copy").ok
    assert contents(tmp_path / "copy") == contents(filled.path)
    assert [path.name for path in (tmp_path / "copy" / "segments").iterdir()] == ["3"]


def test_copies_that_are_being_written_are_left_alone(filled, tmp_path, monkeypatch):
    from vpmsearch.store.folder import copies

    real, calls = copies._copy_file, []

    def another_first(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            filled.snapshot_to(tmp_path / "copies" / "tuesday")
        return real(*arguments)

    monkeypatch.setattr(copies, "_copy_file", another_first)
    filled.snapshot_to(tmp_path / "copies" / "monday")
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["monday", "tuesday"]
    for name in ("monday", "tuesday"):
        assert verify(tmp_path / "copies" / name).ok
        assert contents(tmp_path / "copies" / name) == contents(filled.path)


def test_what_is_restored_knows_its_snapshot(filled, tmp_path):
    filled.snapshot_to(tmp_path / "copy")
    filled.close()
    restore(tmp_path / "copy", tmp_path / "new")
    with GalleryStore.open(tmp_path / "new") as store:
        with store.writer() as writer:
            writer.remove([1])
            writer.commit()
        assert store.compact().copies == (str(tmp_path / "copy"),)


def test_an_open_store_does_not_mix_what_was_restored_with_what_was_there(
    filled, tmp_path, make_features, make_records
):
    """Segment ids begin again where the snapshot ended, with other images in them."""
    with GalleryStore.create(tmp_path / "x", filled.model_info) as store:
        with store.writer() as writer:
            writer.add(make_records(2), make_features(2))
            writer.commit()
            store.snapshot_to(tmp_path / "copy")
            writer.add(make_records(2, start=10), make_features(2, seed=1))
            writer.commit()
        assert len(store.snapshot) == 4
        (tmp_path / "x").rename(tmp_path / "old")
        restore(tmp_path / "copy", tmp_path / "x")
        new = make_features(2, seed=2)
        with GalleryStore.open(tmp_path / "x") as other, other.writer() as writer:
            writer.add(make_records(2, start=20), new)
            writer.commit()
        store.refresh()
        np.testing.assert_array_equal(store.snapshot.embeddings(np.array([2, 3])), new.embeddings)


# being forgotten --------------------------------------------------------------------------------------------------


@pytest.fixture
def with_alice(store, make_features, make_records):
    """Alice is one of 40; her embedding and visibility are bytes that nothing else has."""
    features = RegionFeatures(np.full((1, 6), 0.123, np.float32), np.full((1, 6, 8), 12.345, np.float32))
    with store.writer() as writer:
        writer.add(make_records(20), make_features(20))
        (alice,) = writer.add([ImageRecord("secret/alice.jpg", "a1" * 16, 4711, 3)], features)
        writer.commit()
        writer.add(make_records(19, start=20), make_features(19, seed=1))
        writer.reject("secret/alice-blurred.jpg", "damaged")
        writer.commit()
    return store, alice


TRACES = (b"alice.jpg", bytes.fromhex("a1" * 16), np.float32(12.345).tobytes(), np.float32(0.123).tobytes())


def traces(folder):
    return {
        (path.name, trace)
        for path in folder.rglob("*")
        if path.is_file()
        for trace in TRACES
        if trace in path.read_bytes()
    }


def test_after_compact_nothing_of_a_removed_person_is_left(with_alice):
    store, alice = with_alice
    assert {trace for _, trace in traces(store.path)} == set(TRACES)
    with store.writer() as writer:
        writer.remove([alice])
        writer.accept("secret/alice-blurred.jpg")
        writer.commit()
    report = store.compact()
    assert (report.removed, report.readers, report.copies) == (1, (), ())
    assert traces(store.path) == set()
    assert store.verify().ok


HOLD = """
import sys
from vpmsearch.store import GalleryStore
with GalleryStore.open(sys.argv[1]) as store:
    print(len(store.snapshot), flush=True)
    sys.stdin.read()
"""


def test_compact_names_the_processes_that_keep_removed_people_alive(with_alice):
    store, alice = with_alice
    command = [sys.executable, "-c", HOLD, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:  # its end closes stdin
        assert reader.stdout.readline()
        with store.writer() as writer:
            writer.remove([alice])
            writer.commit()
        report = store.compact(wait_seconds=0)
        assert (report.readers, report.erased) == ((reader.pid,), False)
    assert store.compact().erased
    assert traces(store.path) == set()


def test_copies_that_hold_removed_people_are_named_and_purged(with_alice, tmp_path):
    store, alice = with_alice
    for name in ("stays a copy", "in use", "another index"):
        store.snapshot_to(tmp_path / name)
    with GalleryStore.open(tmp_path / "in use") as other, other.writer() as writer:
        writer.remove([1])  # it goes its own way
        writer.commit()
    shutil.rmtree(tmp_path / "another index")
    GalleryStore.create(tmp_path / "another index", store.model_info).close()
    backup = store.path / "catalog.sqlite3.backup-0001"
    shutil.copy(store.path / "catalog.sqlite3", backup)
    assert store.compact().copies == ()  # they hold nothing that the index does not hold
    with store.writer() as writer:
        writer.remove([alice])
        writer.commit()
    copies = {str(backup), str(tmp_path / "stays a copy")}
    in_use = str(tmp_path / "in use")
    assert set(store.compact().copies) == {*copies, in_use}
    (tmp_path / "stays a copy" / "notes.txt").write_text("mine")
    by_hand = shutil.copytree(store.path, tmp_path / "by hand")
    assert compact(by_hand, purge_backups=True).purged == (str(by_hand / backup.name),)  # it made no snapshots
    report = store.compact(purge_backups=True)
    assert (set(report.purged), report.copies) == (copies, (in_use,))
    assert not backup.exists()
    assert [path.name for path in (tmp_path / "stays a copy").iterdir()] == ["notes.txt"]
    assert verify(tmp_path / "in use").ok
    assert verify(tmp_path / "another index").ok
    assert store.compact(purge_backups=True).purged == ()
    assert store.verify().ok


# old indexes ------------------------------------------------------------------------------------------------------


def test_an_index_of_the_first_revision_is_upgraded_and_searched(tmp_path):
    path = tmp_path / "index"
    shutil.copytree(OLD_INDEX, path)
    with np.load(OLD_INDEX.with_name("index-0001-expected.npz")) as expected:  # noqa: TID251 (ours, no pickles)
        ids, visibility, embeddings = expected["ids"], expected["visibility"], expected["embeddings"]
    assert upgrade(path) == ("0001", "0003")
    assert verify(path).ok
    with GalleryStore.open(path) as store:
        view = store.snapshot
        np.testing.assert_array_equal(view.image_ids, ids)
        np.testing.assert_array_equal(view.visibility, visibility)
        np.testing.assert_array_equal(view.embeddings(np.arange(len(view))), embeddings)
        for row in range(len(view)):
            region = int(view.visibility[row].argmax())
            assert view.search_region(region, embeddings[row, region][None], 1)[0][0].tolist() == [row]
        assert store.rejected() == [("gallery/bad.jpg", "damaged")]
        hashes = [digest for _, digest in store.live_files().values()]
        assert {len(digest) for digest in hashes} == {32}  # shortened, as `content_hash` is
        with store.writer() as writer:  # 8, the last, was removed: never given again
            features = RegionFeatures(visibility[:1], embeddings[:1])
            assert writer.add([ImageRecord("new.jpg")], features) == [9]
            writer.commit()
        assert store.verify().ok
    with tables.open_engine(path / "catalog.sqlite3").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.METADATA) == []


OLDER_INDEX = OLD_INDEX.with_name("index-0002")


def test_an_index_of_the_second_revision_is_read_as_it_is_and_upgraded_to_be_changed(tmp_path):
    """Its labels are numbers and nothing has attributes; a folder that cannot be written to stays searchable."""
    path = tmp_path / "index"
    shutil.copytree(OLDER_INDEX, path)
    catalog = (path / "catalog.sqlite3").read_bytes()
    before, found = contents(path), answers(path)
    records = list(before[0].values())
    assert [(record.pid, record.camid) for record in records[:3]] == [(0, 0), (2, 0), (3, 1)]
    assert not any(record.attributes for record in records)
    with GalleryStore.open(path) as store:
        assert store.verify().ok
        assert store.find(pids=[3]) == [4]
        assert store.find(where={"site": "north"}) == []
        with pytest.raises(StoreVersionError, match="vpmsearch upgrade"), store.writer():
            pass
    assert (path / "catalog.sqlite3").read_bytes() == catalog
    assert upgrade(path) == ("0002", "0003")
    assert verify(path).ok
    assert (contents(path), answers(path)) == (before, found)
    with GalleryStore.open(path) as store, store.writer() as writer:
        writer.update(1, ImageRecord("gallery/000.jpg", pid="007", camid="1e3", attributes={"site": "north"}))
        writer.commit()
        store.refresh()
        assert store.find(pids=["007"]) == store.find(camids=["1e3"]) == store.find(where={"site": "north"}) == [1]
        assert store.find(pids=[7]) == []
        assert store.verify().ok


@pytest.mark.parametrize("work", ["compact", "repair", "snapshot", "restore"])
def test_what_would_change_an_index_of_the_second_revision_is_refused_before_the_work(tmp_path, monkeypatch, work):
    path, target = tmp_path / "index", tmp_path / "copy"
    shutil.copytree(OLDER_INDEX, path)
    if work == "repair":
        damaged = next(path.glob("segments/*/region_0.faiss"))
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")  # it opens, and is not what was written
    before = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    def too_late(*args, **kwargs):
        raise AssertionError("the work has begun")

    for module, name in (("rewriting", "write_segment"), ("copies", "_copy_segments")):
        monkeypatch.setattr(f"vpmsearch.store.folder.{module}.{name}", too_late)
    with pytest.raises(StoreVersionError, match=f"vpmsearch upgrade --index {path}`"):
        {
            "compact": lambda: compact(path),
            "repair": lambda: repair(path),
            "snapshot": lambda: GalleryStore.open(path).snapshot_to(target),
            "restore": lambda: restore(path, target),
        }[work]()
    after = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name in before}
    assert after == before
    assert not target.exists()


def test_hashes_take_half_the_room_and_come_back(store, make_features):
    hashes = ["0f" * 16, "no hash", "", "ABCD", "abc", "ab" * 32]
    records = [ImageRecord(str(i), text) for i, text in enumerate(hashes)]
    with store.writer() as writer:
        writer.add(records, make_features(len(hashes)))
        writer.commit()
    assert [record.content_hash for record in store.snapshot.records(np.arange(len(hashes)))] == hashes
    with sqlite3.connect(store.path / "catalog.sqlite3") as connection:
        (size,) = connection.execute("SELECT length(content_hash) FROM image WHERE id = 1").fetchone()
    connection.close()
    assert size == 16

"""What a user of the store sees: round trips, filters, removal, stats, verify, compact."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from vpmsearch.errors import (
    FeatureError,
    ModelError,
    ModelMismatchError,
    StoreDamagedError,
    StoreError,
    StoreNotFoundError,
)
from vpmsearch.store import INDEX_TYPES, GalleryStore, compact, repair, restore, verify
from vpmsearch.store.folder.catalog import sum_all
from vpmsearch.store.folder.tables import open_engine
from vpmsearch.types import (
    MAX_EMBEDDING_DIM,
    MAX_REGIONS,
    ImageRecord,
    ModelInfo,
    RegionFeatures,
    SearchFilter,
)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("grid", [(6, 1), (3, 2), (1, 1)])
def test_round_trip_over_segments(tmp_path, make_features, make_records, grid, dtype):
    p = grid[0] * grid[1]
    info = ModelInfo(grid, 5, "f")
    features = [make_features(n, p, 5, seed=n) for n in (4, 1, 9)]
    records = [make_records(len(part), start=100 * i) for i, part in enumerate(features)]
    with GalleryStore.create(tmp_path / "index", info, embedding_dtype=dtype) as store, store.writer() as writer:
        for part, names in zip(features, records, strict=True):
            writer.add(names, part)
            assert writer.pending == len(part)
            writer.commit()
            assert writer.pending == 0
    everything = RegionFeatures.concatenate(features)
    with GalleryStore.open(tmp_path / "index") as store:
        view = store.snapshot
        assert store.model_info == info
        assert (store.embedding_dtype, store.index_type) == (dtype, "auto")
        assert view.image_ids.tolist() == list(range(1, 15))
        np.testing.assert_array_equal(view.visibility, everything.visibility)
        np.testing.assert_array_equal(view.visible, everything.visibility >= 1 / (2 * p))
        order = np.random.default_rng(0).permutation(14)[:10]
        stored = everything.embeddings.astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(view.embeddings(order), stored[order])
        assert view.embeddings(order).dtype == np.float32
        assert view.records(order) == [[*records[0], *records[1], *records[2]][row] for row in order]
        assert view.embeddings(np.array([3, 3])).shape == (2, p, 5)
        assert store.stats().segments == 3
        assert store.verify() == verify(store.path)
        assert store.verify().ok


def oracle(view, features, region, query, allowed):
    """(distance, row) of every allowed row in which the region is visible, ascending, by a plain float64 loop."""
    found = []
    for row in range(len(view)):
        if allowed[row] and features.visibility[row, region] >= view.model_info.threshold:
            pairs = zip(query.tolist(), features.embeddings[row, region].tolist(), strict=True)
            found.append((math.sqrt(sum((a - b) ** 2 for a, b in pairs)), row))
    return sorted(found)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", INDEX_TYPES)
def test_search_region(tmp_path, make_features, make_records, info, kind, masked):
    features = make_features(60)
    with GalleryStore.create(tmp_path / "index", info, index_type=kind) as store:
        with store.writer() as writer:
            for start in (0, 20, 40):
                writer.add(make_records(20, start), features[start : start + 20])
                writer.commit()
            writer.remove([3, 21, 22, 60])
            writer.commit()
        view = store.snapshot
        for part in view.open_segments.values():
            for index in part.regions:
                index.masked = masked
        kept = features[np.setdiff1d(np.arange(60), [2, 20, 21, 59])]
        queries = make_features(3, seed=9).embeddings
        some = np.random.default_rng(1).random(len(view)) < 0.3
        for region in (0, 5):
            for allowed in (None, some, np.zeros(len(view), bool)):
                limits = np.ones(len(view), bool) if allowed is None else allowed
                for k in (1, 7, 100):
                    results = view.search_region(region, queries[:, region], k, allowed)
                    for query, (rows, distances) in zip(queries[:, region], results, strict=True):
                        expected = oracle(view, kept, region, query, limits)[:k]
                        assert rows.tolist() == [row for _, row in expected]
                        np.testing.assert_allclose(distances, [distance for distance, _ in expected], rtol=1e-5)


def test_search_region_refuses_nonsense(filled):
    view = filled.snapshot
    good = np.zeros((1, 8), np.float32)
    for region in (-1, 6):
        with pytest.raises(StoreError, match="region"):
            view.search_region(region, good, 1)
    with pytest.raises(StoreError, match="at least 1"):
        view.search_region(0, good, 0)
    with pytest.raises(StoreError, match="allowed"):
        view.search_region(0, good, 1, np.ones(3, bool))
    with pytest.raises(FeatureError, match="queries"):
        view.search_region(0, np.zeros((1, 7), np.float32), 1)
    with pytest.raises(FeatureError, match="finite"):
        view.search_region(0, np.full((1, 8), np.nan, np.float32), 1)
    assert view.search_region(0, good[:0], 3) == []
    for rows in ([-1], [48], [[0]]):
        with pytest.raises(StoreError, match="rows"):
            view.embeddings(np.array(rows))
    with pytest.raises(StoreError, match="image 7 "):
        view.rows(np.array([6, 7]))
    with pytest.raises(StoreError, match="image 51 "):
        view.rows(np.array([51]))
    assert view.rows(np.array([50, 1])).tolist() == [47, 0]
    assert view.rows(np.array([], np.int64)).tolist() == []


def test_empty_store(store):
    view = store.snapshot
    assert len(view) == 0
    assert view.visibility.shape == (0, 6)
    assert view.select(SearchFilter(pids=(1,))).shape == (0,)
    assert view.embeddings(np.array([], np.int64)).shape == (0, 6, 8)
    assert view.records(np.array([], np.int64)) == []
    (rows, distances), _ = view.search_region(0, np.zeros((2, 8), np.float32), 5)
    assert len(rows) == len(distances) == 0
    with store.writer() as writer:
        assert writer.add([], RegionFeatures(np.empty((0, 6)), np.empty((0, 6, 8)))) == []
        writer.commit()
    assert store.stats().segments == 0
    assert store.compact().images == 0
    assert store.verify().ok


def test_select_and_find(tmp_path, make_features):
    hours = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in range(6)]
    records = [ImageRecord(f"a%_{i}", pid=i % 2, camid=i % 3, captured_at=hours[i]) for i in range(6)]
    records += [ImageRecord("A%_0"), ImageRecord("b", pid=-1)]
    with GalleryStore.create(tmp_path / "i", {"num_regions": 6, "embedding_dim": 8, "fingerprint": "f"}) as store:
        with store.writer() as writer:
            writer.add(records, make_features(8))
            writer.commit()
            writer.remove([2])
            writer.commit()
        view = store.snapshot

        def ids(**conditions):
            return view.image_ids[view.select(SearchFilter(**conditions))].tolist()

        assert ids() == [1, 3, 4, 5, 6, 7, 8]
        assert view.select(None).all()
        assert ids(pids=(1,)) == [4, 6]
        assert ids(pids=(np.int64(1), 0), camids=(2,)) == [3, 6]
        assert ids(captured_after=hours[2]) == [3, 4, 5, 6]
        assert ids(captured_before=hours[2]) == [1]
        assert ids(captured_after=datetime(2024, 1, 1, 3), captured_before=hours[5]) == [4, 5]
        assert ids(pids=tuple(range(100_000))) == [1, 3, 4, 5, 6]  # more than SQLite takes variables
        assert store.find() == ids()
        assert store.find(paths=["a%_0", "b", "none"]) == [1, 8]
        assert store.find(prefix="a%") == [1, 3, 4, 5, 6]  # neither a wildcard nor blind to case
        assert store.find(pids=[-1]) == [8]
        assert store.find(camids=[0], before=hours[3]) == [1]
        assert store.find(after=hours[5]) == [6]


def test_create_and_open_refuse(tmp_path, info):
    with pytest.raises(StoreNotFoundError, match="vpmsearch index"):
        GalleryStore.open(tmp_path / "none")
    with pytest.raises(StoreNotFoundError, match="vpmsearch index"):
        verify(tmp_path)
    with pytest.raises(StoreError, match="unknown index type"):
        GalleryStore.create(tmp_path / "x", info, index_type="annoy")
    with pytest.raises(StoreError, match="embedding_dtype"):
        GalleryStore.create(tmp_path / "x", info, embedding_dtype="float64")
    with pytest.raises(ModelError, match="unknown model_info"):
        GalleryStore.create(tmp_path / "x", {"regions": 6})
    assert not (tmp_path / "x").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        GalleryStore.create(tmp_path / "full", info)
    with pytest.raises(StoreError, match="can be created"):
        GalleryStore.create(tmp_path / "full" / "thesis.txt" / "x", info)
    GalleryStore.create(tmp_path / "once", info).close()
    with pytest.raises(StoreError, match="already"):
        GalleryStore.create(tmp_path / "once", info)


def test_a_create_that_failed_can_be_repeated(tmp_path, info, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(StoreError, match="No space left"):
            GalleryStore.create(tmp_path / "index", info)
    with pytest.raises(StoreNotFoundError):
        GalleryStore.open(tmp_path / "index")
    (tmp_path / "index" / ".new-catalog.sqlite3").write_bytes(b"what a killed process leaves")
    (tmp_path / "index" / "segments").mkdir()
    GalleryStore.create(tmp_path / "index", info).close()
    assert verify(tmp_path / "index").ok


def test_check_model(store, info):
    store.check_model(info)
    store.check_model(dataclasses.replace(info, input_size=(0, 0), weights="elsewhere.safetensors"))
    others = {"fingerprint": "sha256:beef", "num_regions": (3, 2), "embedding_dim": 9, "input_size": (256, 128)}
    for name, value in others.items():
        with pytest.raises(ModelMismatchError) as caught:
            store.check_model(dataclasses.replace(info, **{name: value}))
        assert str(value) in str(caught.value)
        assert str(getattr(info, name)) in str(caught.value)


def test_closed_stores_say_so(store):
    view = store.snapshot
    store.close()
    assert len(view) == 0
    assert view.select(SearchFilter(pids=(1,))).shape == (0,)
    for use in (lambda: store.snapshot, store.refresh, store.writer, store.live_files, store.stats, store.compact):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_stats(filled):
    with filled.writer() as writer:
        writer.reject("broken.jpg", "cannot be decoded")
        writer.commit()
    stats = filled.stats()
    view = filled.snapshot
    assert (stats.images, stats.removed, stats.rejected, stats.segments) == (48, 2, 1, 2)
    assert (stats.identities, stats.cameras) == (5, 3)
    assert stats.region_images == [int((view.visibility[:, i] >= 1 / 12).sum()) for i in range(6)]
    np.testing.assert_allclose(stats.region_visibility, view.visibility.mean(axis=0), rtol=1e-5)
    assert stats.bytes_on_disk["total"] == sum(p.stat().st_size for p in filled.path.rglob("*") if p.is_file())
    assert stats.bytes_on_disk["embeddings"] > 50 * 6 * 8 * 4
    assert stats.region_index_types == [["flat"]] * 6
    assert json.loads(json.dumps(dataclasses.asdict(stats)))["model"]["fingerprint"] == "sha256:feed"


def test_compact(filled, make_features, make_records):
    view = filled.snapshot
    before = {path: (*entry, record) for (path, entry), record in zip(
        sorted(filled.live_files().items()), sorted(view.records(np.arange(48)), key=lambda r: r.path), strict=True
    )}  # fmt: skip
    query = make_features(1, seed=3).embeddings[:, 0]
    answer = view.search_region(0, query, 48)[0]
    embeddings = view.embeddings(np.arange(48))
    report = filled.compact()
    assert (report.images, report.removed) == (48, 2)
    assert [path.name for path in (filled.path / "segments").iterdir()] == ["3"]
    assert filled.stats().removed == 0
    assert filled.verify() == verify(filled.path)
    assert filled.verify().ok
    for snapshot in (view, filled.snapshot):  # the one from before reads files that are gone from the folder
        np.testing.assert_array_equal(snapshot.embeddings(np.arange(48)), embeddings)
        np.testing.assert_array_equal(snapshot.search_region(0, query, 48)[0][0], answer[0])
        assert [r for *_, r in before.values()] == sorted(snapshot.records(np.arange(48)), key=lambda r: r.path)
    with filled.writer() as writer:  # ids 7, 40 and those of the end are never given again
        assert writer.remove([50]) == 1
        writer.commit()
    filled.compact()
    with filled.writer() as writer:
        assert writer.add(make_records(1, start=99), make_features(1)) == [51]
        writer.commit()
    assert [path.name for path in sorted((filled.path / "segments").iterdir())] == ["4", "5"]
    assert filled.verify().ok


def test_compact_erases_what_was_removed(store, make_features):
    with store.writer() as writer:
        writer.add([ImageRecord("secret/alice.jpg"), ImageRecord("kept.jpg")], make_features(2))
        writer.commit()
        writer.remove([1])
        writer.commit()
    store.compact()
    store.close()
    for path in store.path.rglob("*"):
        assert path.is_dir() or b"alice" not in path.read_bytes()
    wal = store.path / "catalog.sqlite3-wal"
    assert not wal.exists() or wal.stat().st_size == 0


def test_compact_in_small_blocks(filled, monkeypatch):
    embeddings = filled.snapshot.embeddings(np.arange(48))
    monkeypatch.setattr("vpmsearch.store.folder.rewriting._BLOCK_BYTES", 1000)
    filled.compact()
    np.testing.assert_array_equal(filled.snapshot.embeddings(np.arange(48)), embeddings)


def rewrite_h5(path, **arrays):
    with h5py.File(path, "r") as file:
        content = {name: file[name][:] for name in file} | arrays
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values


DAMAGE = {
    "h5 gone": lambda place: (place / "embeddings.h5").unlink(),
    "h5 garbage": lambda place: (place / "embeddings.h5").write_bytes(b"x" * 100),
    "h5 cut": lambda place: os.truncate(place / "embeddings.h5", 5000),
    "h5 of another shape": lambda place: rewrite_h5(
        place / "embeddings.h5", embedding=np.zeros((30, 6, 7), np.float32)
    ),
    "h5 of another dtype": lambda place: rewrite_h5(
        place / "embeddings.h5", embedding=np.zeros((30, 6, 8), np.float16)
    ),
    "h5 with other ids": lambda place: rewrite_h5(place / "embeddings.h5", image_id=np.arange(30)),
    "h5 in another order": lambda place: rewrite_h5(place / "embeddings.h5", image_id=np.arange(30, 0, -1)),
    "h5 not finite": lambda place: rewrite_h5(
        place / "embeddings.h5", embedding=np.full((30, 6, 8), np.inf, np.float32)
    ),
    "faiss gone": lambda place: (place / "region_3.faiss").unlink(),
    "faiss garbage": lambda place: (place / "region_3.faiss").write_bytes(b"garbage"),
    "faiss of another region": lambda place: shutil.copy(place / "region_0.faiss", place / "region_3.faiss"),
    "faiss of another segment": lambda place: shutil.copy(
        place.parent / "2" / "region_3.faiss", place / "region_3.faiss"
    ),
    "segment gone": shutil.rmtree,
    "stranger in the segment": lambda place: (place / "notes.txt").touch(),
    "stranger among the segments": lambda place: (place.parent / "copy of 1").mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_damage(filled, damage):
    DAMAGE[damage](filled.path / "segments" / "1")
    report = verify(filled.path)
    assert not report.ok
    assert report.images == 48
    assert len(report.problems) == 1
    assert any(remedy in report.problems[0] for remedy in ("restore", "vpmsearch verify --repair", "move it away"))
    if "faiss" in damage:
        filled.close()
        assert repair(filled.path).ok
        assert verify(filled.path).ok
        with GalleryStore.open(filled.path) as store:
            assert len(store.snapshot) == 48
    else:
        assert repair(filled.path) == report  # nothing here that could be built anew


@pytest.mark.parametrize("damage", ["h5 gone", "h5 garbage", "h5 with other ids", "faiss garbage", "segment gone"])
def test_damaged_files_are_refused_at_open(filled, damage):
    DAMAGE[damage](filled.path / "segments" / "1")
    with pytest.raises(StoreDamagedError, match="segments/1"):
        GalleryStore.open(filled.path)
    if "faiss" not in damage:
        with pytest.raises(StoreDamagedError):
            compact(filled.path)
        assert (filled.path / "segments" / "2").is_dir()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, "half"])
def test_damaged_catalogs(filled, content):
    filled.close()
    path = filled.path / "catalog.sqlite3"
    path.write_bytes(path.read_bytes()[:8192] if content == "half" else content)
    with pytest.raises(StoreDamagedError, match=r"catalog\.sqlite3"):
        GalleryStore.open(filled.path)
    report = filled.verify()
    assert not report.ok
    assert "catalog.sqlite3" in report.problems[0]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM visibility WHERE image_id = 5", "visibility"),
        ("UPDATE visibility SET scores = x'00' WHERE image_id = 5", "visibility"),
        ("UPDATE visibility SET scores = x'" + "0000c0ff" * 6 + "' WHERE image_id = 5", "outside"),
        ("UPDATE visibility SET scores = zeroblob(24) WHERE image_id = 5", "does not say"),
        ("UPDATE image SET row = row + 100 WHERE id = 5", "rows of segment"),
        ("UPDATE segment SET images = 31 WHERE id = 1", "segment"),
        ("UPDATE image SET segment_id = 77, row = 0 WHERE id = 5", "dangling"),
        ("DELETE FROM model", "model"),
        ("UPDATE model SET min_visibility = 7", "impossible"),
    ],
)
def test_verify_finds_a_catalog_that_contradicts_the_files(filled, statement, words):
    import sqlite3

    filled.close()
    path = filled.path / "catalog.sqlite3"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    table = statement.replace("DELETE FROM ", "UPDATE ").split()[1].replace("visibility", "image")
    report = verify(filled.path)
    assert not report.ok
    if "row = " not in statement:  # where an image is is compared with the segment instead
        assert any(f"table {table} are not those" in problem for problem in report.problems)
    with open_engine(path, write=True).begin() as connection:  # and when somebody has put the checksums right
        sum_all(connection)
    report = verify(filled.path)
    assert not report.ok
    assert words in report.problems[0]


HOSTILE = {
    "a row from the end": "UPDATE image SET row = row - 30 WHERE segment_id = 1",
    "a file elsewhere": "UPDATE segment_file SET name = '../../../stolen.txt' WHERE name = 'region_0.faiss'",
    "a file at the root": "UPDATE segment_file SET name = '/etc/passwd' WHERE name = 'region_0.faiss'",
    "the folder itself": "UPDATE segment_file SET name = '..' WHERE name = 'region_0.faiss'",
    "a name that is none": "UPDATE segment_file SET name = x'ff' WHERE name = 'region_0.faiss'",
    "millions of regions": "UPDATE model SET regions_high = 1000000, regions_wide = 1000000, min_visibility = 0",
    "half a region": "UPDATE model SET regions_high = 5.5",
    "numbers beyond count": "UPDATE model SET embedding_dim = 9223372036854775807",
    "a text for a number": "UPDATE model SET embedding_dim = 'many'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_catalog_cannot_lead_out_of_its_index(filled, tmp_path, name):
    """Its checksums are put right, as whoever writes it can: nothing outside is read, written or counted."""
    filled.close()
    path = filled.path / "catalog.sqlite3"
    (filled.path.parent / "stolen.txt").write_text("mine")
    with open_engine(path, write=True).begin() as connection:
        connection.exec_driver_sql(HOSTILE[name])
        sum_all(connection)
    assert not verify(filled.path).ok
    uses = [lambda: compact(filled.path)]
    if name != "a row from the end":  # of which nobody else wants to know
        uses += [lambda: GalleryStore.open(filled.path), lambda: restore(filled.path, tmp_path / "copies" / "new")]
    for use in uses:
        with pytest.raises(StoreDamagedError, match=r"catalog\.sqlite3"):
            use()
    assert {entry.name for entry in tmp_path.iterdir()} <= {"copies", filled.path.name, "stolen.txt"}
    assert not list(tmp_path.glob("copies/*"))


@pytest.mark.parametrize(
    ("grid", "dim"),
    [((MAX_REGIONS + 1, 1), 8), ((2, MAX_REGIONS), 8), (6, MAX_EMBEDDING_DIM + 1), (0, 8), (6, -1), (6, 8.0), ("6", 8)],
)
def test_models_that_no_index_takes(tmp_path, grid, dim):
    with pytest.raises(ModelError):
        GalleryStore.create(tmp_path / "index", {"num_regions": grid, "embedding_dim": dim, "fingerprint": "f"})
    assert not (tmp_path / "index").exists()


def test_a_model_at_the_limits():
    info = ModelInfo((np.int64(MAX_REGIONS // 2), 2), np.int64(MAX_EMBEDDING_DIM), "f")
    assert (info.p, info.embedding_dim) == (MAX_REGIONS, MAX_EMBEDDING_DIM)


@pytest.fixture
def unprivileged(filled):
    """The index in a folder that this process may only read, and holds for the block as nobody if it is root."""
    root = Path(tempfile.mkdtemp())
    copy = root / "index"
    filled.close()
    shutil.copytree(filled.path, copy)
    root.chmod(0o755)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield copy
    if was_root:
        os.seteuid(0)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(root)


def test_a_read_only_folder_is_searchable(unprivileged):
    with GalleryStore.open(unprivileged) as store:
        assert len(store.snapshot.search_region(0, np.zeros((1, 8), np.float32), 5)[0][0]) == 5
        assert not store.refresh()
        assert store.verify().ok
        assert store.stats().images == 48
        with pytest.raises(StoreError, match="cannot be written"), store.writer():
            pass
        with pytest.raises(StoreError, match="cannot be written"):
            store.compact()
    assert not list(unprivileged.glob("*-wal"))


def test_no_snapshot_among_the_segments(filled):
    with pytest.raises(StoreError, match="is inside"):
        filled.snapshot_to(filled.path / "segments" / "2026")
    assert not (filled.path / "segments" / "2026").exists()

"""Commits: what they check, who sees them when, and what is left when they fail."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from vpmsearch.errors import FeatureError, StoreError, StoreLockedError
from vpmsearch.store import GalleryStore, verify
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures


def test_one_writer_at_a_time(store, info, make_features, make_records):
    other = GalleryStore.open(store.path)
    with store.writer() as writer:
        with pytest.raises(StoreLockedError, match=str(store.path)), other.writer():
            pass
        with pytest.raises(StoreLockedError):
            store.compact()
        writer.add(make_records(1), make_features(1))
        writer.commit()
    with other.writer() as writer:
        assert writer.add(make_records(1, start=1), make_features(1)) == [2]
    with pytest.raises(StoreError, match=r"with store\.writer"):
        writer.commit()
    with pytest.raises(StoreError, match=r"with store\.writer"):
        store.writer().add([], make_features(0))


def test_readers_keep_their_snapshot(filled, make_features, make_records):
    reader = GalleryStore.open(filled.path)
    view = reader.snapshot
    assert not reader.refresh()
    with filled.writer() as writer:
        writer.add(make_records(5, start=200), make_features(5))
        writer.commit()
        writer.remove([1])
        writer.commit()
    filled.compact()
    assert len(reader.snapshot) == 48
    assert view.records(np.array([0]))[0].path == "cam0/0000.jpg"
    assert view.select(None).sum() == 48
    assert reader.refresh()
    assert not reader.refresh()
    assert len(reader.snapshot) == 52
    assert len(view) == 48
    assert view.embeddings(np.array([0])).shape == (1, 6, 8)
    # A store sees the commits of its own writers without being told.
    assert len(filled.snapshot) == 52


def test_refresh_sees_each_kind_of_commit(filled):
    reader = GalleryStore.open(filled.path)
    for act in (lambda w: w.remove([2]), lambda w: w.reject("x.jpg", "broken"), lambda w: w.reject("x.jpg", "still")):
        with filled.writer() as writer:
            act(writer)
            writer.commit()
        assert reader.refresh()
        assert not reader.refresh()
    known = reader.snapshot.open_segments
    with filled.writer() as writer:
        writer.remove([3])
        writer.commit()
    assert reader.refresh()
    assert all(reader.snapshot.open_segments[number] is files for number, files in known.items())


def test_an_abandoned_writer_leaves_nothing(filled, make_features, make_records):
    before = sorted(filled.path.rglob("*"))

    def give_up():
        with filled.writer() as writer:
            writer.add(make_records(3, start=100), make_features(3))
            writer.remove([1, 2])
            writer.reject("x", "y")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert sorted(filled.path.rglob("*")) == before
    assert len(filled.live_files()) == 48
    assert filled.rejected() == []
    with filled.writer() as writer:
        writer.commit()
    assert filled.stats().segments == 2


def test_remove_reject_and_replace(filled, make_features):
    with filled.writer() as writer:
        assert writer.remove([1, 1, 7, 999, -3, 2**70]) == 1
        assert writer.remove([1]) == 0
        ids = writer.add([ImageRecord("new"), ImageRecord("newer")], make_features(2))
        assert writer.remove([ids[0]]) == 1  # pending
        assert writer.pending == 1
        writer.reject("bad.jpg", "cannot be\udcffdecoded")
        writer.reject("later.jpg", "a reason")
        writer.commit()
        assert filled.rejected() == [("bad.jpg", r"cannot be\udcffdecoded"), ("later.jpg", "a reason")]
        old, _ = filled.live_files()["newer"]
        assert old == ids[1]
        writer.remove([old])
        (new,) = writer.add([ImageRecord("newer", "changed")], make_features(1))
        writer.add([ImageRecord("later.jpg")], make_features(1))
        writer.reject("later.jpg", "indexed after all")
        writer.reject("bad.jpg", "a new reason")
        writer.commit()
    assert filled.live_files()["newer"] == (new, "changed")
    assert filled.rejected() == [("bad.jpg", "a new reason")]
    assert "new" not in filled.live_files()
    assert filled.verify().ok


def test_removing_all_that_is_pending_commits_no_segment(store, make_features, make_records):
    with store.writer() as writer:
        writer.remove(writer.add(make_records(2), make_features(2)))
        writer.commit()
    assert store.stats().segments == 0
    assert not list((store.path / "segments").iterdir())


def test_features_and_records_are_checked(store, make_features, make_records):
    bad = make_features(2)
    bad.embeddings[1, 0, 0] = np.nan
    high = RegionFeatures(np.full((1, 6), 1.5, np.float32), np.zeros((1, 6, 8), np.float32))
    with store.writer() as writer:
        for features, words in [
            (make_features(3), "2 records"),
            (make_features(2, p=5), "6 regions"),
            (make_features(2, d=9), "8 numbers"),
            (bad, "finite"),
        ]:
            with pytest.raises(FeatureError, match=words):
                writer.add(make_records(2), features)
        with pytest.raises(FeatureError, match="above 1"):
            writer.add(make_records(1), high)
        for record in (
            ImageRecord(""),
            ImageRecord("\udcff"),
            ImageRecord("a", pid=2**63),
            ImageRecord("a", camid=-(2**64)),
        ):
            with pytest.raises(StoreError, match=r"path|64 bits"):
                writer.add([record], make_features(1))
        with pytest.raises(StoreError, match="twice"):
            writer.add([ImageRecord("a"), ImageRecord("a")], make_features(2))
        assert writer.pending == 0
        assert writer.add([ImageRecord("a", pid=np.int64(3), width=np.int32(5))], make_features(1)) == [1]
        writer.commit()
        writer.add([ImageRecord("a")], make_features(1))
        with pytest.raises(StoreError, match="already holds"):
            writer.commit()
    assert store.snapshot.records(np.array([0])) == [ImageRecord("a", pid=3, width=5)]
    assert store.find(pids=[3]) == [1]
    assert store.verify().ok


def test_float16_refuses_what_it_cannot_hold(tmp_path, info, make_records):
    features = RegionFeatures(np.full((1, 6), 1 / 6, np.float32), np.full((1, 6, 8), 7e4, np.float32))
    store = GalleryStore.create(tmp_path / "half", info, embedding_dtype="float16")
    with store.writer() as writer, pytest.raises(FeatureError, match="float16"):
        writer.add(make_records(1), features)


def test_numbers_whose_squares_are_infinite_are_refused(tmp_path, info, make_records):
    features = RegionFeatures(np.full((1, 6), 1 / 6, np.float32), np.full((1, 6, 8), 3e19, np.float32))
    store = GalleryStore.create(tmp_path / "large", info)
    with store.writer() as writer, pytest.raises(FeatureError, match=r"beyond 1e\+17"):
        writer.add(make_records(1), features)


def contents(store):
    view = GalleryStore.open(store.path).snapshot
    return view.image_ids.tolist(), view.embeddings(np.arange(len(view))).tolist(), store.rejected()


def break_fsync(patch):
    calls = iter(range(1000))
    real = os.fsync

    def fail(handle):
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        real(handle)

    patch.setattr(os, "fsync", fail)


def break_rename(patch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    patch.setattr(Path, "rename", fail)


def break_apply(patch):
    def fail(*_):
        raise RuntimeError("something\nunforeseen")

    patch.setattr(Catalog, "apply", fail)


@pytest.mark.parametrize("failure", [break_fsync, break_rename, break_apply])
def test_a_failed_commit_changes_nothing_and_can_be_repeated(filled, make_features, make_records, monkeypatch, failure):
    before, files = contents(filled), sorted(filled.path.rglob("segments/**/*"))
    with filled.writer() as writer:
        ids = writer.add(make_records(4, start=100), make_features(4))
        writer.remove([1])
        with monkeypatch.context() as patch:
            failure(patch)
            with pytest.raises(StoreError, match="nothing was committed") as caught:
                writer.commit()
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is not None
        assert sorted(filled.path.rglob("segments/**/*")) == files
        assert contents(filled) == before
        assert filled.verify().ok
        writer.commit()
    assert contents(filled)[0] == [*(i for i in before[0] if i != 1), *ids]
    assert filled.verify().ok


def test_a_failed_sql_commit_changes_nothing(filled, make_features, make_records):
    before, files = contents(filled), sorted(filled.path.rglob("segments/**/*"))

    def fail(_):
        raise OSError(28, "No space left on device")

    with filled.writer() as writer:
        writer.add(make_records(4, start=100), make_features(4))
        event.listen(Engine, "commit", fail)
        try:
            with pytest.raises(StoreError, match="No space left"):
                writer.commit()
            with pytest.raises(StoreLockedError):
                filled.compact()
        finally:
            event.remove(Engine, "commit", fail)
    assert contents(filled) == before
    assert sorted(filled.path.rglob("segments/**/*")) == files
    event.listen(Engine, "commit", fail)
    try:
        with pytest.raises(StoreError, match="was not rewritten"):
            filled.compact()
    finally:
        event.remove(Engine, "commit", fail)
    assert contents(filled) == before
    assert sorted(filled.path.rglob("segments/**/*")) == files
    assert filled.verify().ok


@pytest.mark.parametrize(
    ("limit", "place"),
    [(10_000, "embeddings.py"), (36_000, "region_index.py"), (60_000, "label_file.py"), (120_000, "catalog.py")],
)
def test_a_full_disk(tmp_path, make_features, make_records, limit, place):
    """Real writes that fail: no file may grow beyond a limit that first the one, then the next does not keep."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = GalleryStore.create(tmp_path / "index", ModelInfo((1, 1), 8, "f"), embedding_dtype="float16")
    with store.writer() as writer:
        writer.add(make_records(1000), make_features(1000, p=1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(StoreError) as caught:
                writer.commit()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "\n" not in str(caught.value)
        frames = traceback.extract_tb(caught.value.__cause__.__traceback__)
        assert place in {Path(frame.filename).name for frame in frames}
        assert not list((store.path / "segments").iterdir())
        assert contents(store)[0] == []
        writer.commit()
    assert len(store.snapshot) == 1000
    assert store.verify().ok


KILLED = """
import os, signal, sys
from vpmsearch.store import GalleryStore
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.types import ImageRecord, RegionFeatures
import numpy as np
Catalog.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with GalleryStore.open(sys.argv[1]).writer() as writer:
    writer.add([ImageRecord("killed")], RegionFeatures(np.full((1, 6), 1 / 6), np.zeros((1, 6, 8))))
    writer.commit()
"""


def test_a_killed_writer_leaves_no_lock_and_no_damage(filled, make_features):
    before = contents(filled)
    run = subprocess.run([sys.executable, "-c", KILLED, str(filled.path)], timeout=120, check=False)
    assert run.returncode == -signal.SIGKILL
    left = filled.path / "segments" / "3"
    assert left.is_dir()
    (filled.path / "segments" / ".tmp-4-0123abcd").mkdir()
    assert verify(filled.path).ok
    assert contents(filled) == before
    with filled.writer() as writer:
        assert not left.exists()
        assert not list((filled.path / "segments").glob(".tmp*"))
        writer.add([ImageRecord("killed")], make_features(1))
        writer.commit()
    assert len(filled.snapshot) == 49
    assert filled.verify().ok


def test_threads_search_one_snapshot_while_another_commits(filled, make_features, make_records):
    view = filled.snapshot
    query = make_features(2, seed=4).embeddings[:, 0]
    expected = view.search_region(0, query, 10)
    problems = []

    def search():
        for _ in range(20):
            rows, _ = view.search_region(0, query, 10)[0]
            if rows.tolist() != expected[0][0].tolist() or len(view.records(rows)) != 10:
                problems.append(rows)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    with filled.writer() as writer:
        for number in range(3):
            writer.add(make_records(2, start=100 + 2 * number), make_features(2))
            writer.commit()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(filled.snapshot) == 54


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 7), unique=True, max_size=4)),
        st.tuples(st.just("remove"), st.lists(st.integers(1, 20), max_size=4)),
        st.tuples(st.sampled_from(["commit", "leave", "compact"]), st.just([])),
    ),
    max_size=12,
)


@settings(max_examples=settings.default.max_examples // 2)
@given(actions=ACTIONS)
def test_any_sequence_agrees_with_a_dict(tmp_path_factory, actions):
    """The model: image id -> (path, embeddings), changed at a commit; paths replaced as the indexer does."""
    info = ModelInfo((2, 1), 3, "f")
    rng = np.random.default_rng(0)
    committed: dict[int, tuple[str, float]] = {}
    highest = 0
    with GalleryStore.create(tmp_path_factory.mktemp("any") / "index", info) as store:
        writer = store.writer()
        writer.__enter__()
        working = dict(committed)
        for action, numbers in actions:
            if action == "add":
                paths = [f"{number}.jpg" for number in numbers]
                replaced = [image_id for image_id, (path, _) in working.items() if path in paths]
                assert writer.remove(replaced) == len(replaced)
                values = rng.normal(size=(len(paths), 2, 3)).astype(np.float32)
                visibility = np.tile(np.array([[0.9, 0.1]], np.float32), (len(paths), 1))
                ids = writer.add([ImageRecord(path) for path in paths], RegionFeatures(visibility, values))
                working = {i: entry for i, entry in working.items() if i not in replaced}
                working |= {i: (path, value[0, 0]) for i, path, value in zip(ids, paths, values, strict=True)}
            elif action == "remove":
                assert writer.remove(numbers) == len(set(numbers) & working.keys())
                working = {i: entry for i, entry in working.items() if i not in numbers}
            elif action == "commit":
                writer.commit()
                assert all(i in committed or i > highest for i in working)  # new ids are larger than any before
                highest = max([highest, *working])
                committed = dict(working)
            else:
                writer.__exit__(None, None, None)
                if action == "compact":
                    assert store.compact().images == len(committed)
                writer.__enter__()
                working = dict(committed)
            view = store.snapshot
            assert view.image_ids.tolist() == sorted(committed)
            found = view.search_region(0, np.zeros((1, 3), np.float32), 100)[0][0]
            assert sorted(view.image_ids[found].tolist()) == sorted(committed)
            assert len(view.search_region(1, np.zeros((1, 3), np.float32), 100)[0][0]) == 0
        writer.__exit__(None, None, None)
        assert {path: i for path, (i, _) in store.live_files().items()} == {p: i for i, (p, _) in committed.items()}
        embeddings = store.snapshot.embeddings(np.arange(len(committed)))
        assert embeddings[:, 0, 0].tolist() == [committed[i][1] for i in sorted(committed)]
        assert store.verify().ok


@pytest.mark.parametrize("module", ["moment", "verify"])
def test_a_compaction_in_the_midst_of_opening(filled, monkeypatch, module):
    """The segments vanish after their names were read: look again, and see no damage."""
    name = {"moment": "open_segment", "verify": "open_embeddings"}[module]
    path = f"vpmsearch.store.folder.{module}.{name}"
    real = getattr(sys.modules[f"vpmsearch.store.folder.{module}"], name)
    calls = []

    def compact_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            filled.compact()
        return real(*arguments)

    filled.close()
    filled = GalleryStore.open(filled.path)
    monkeypatch.setattr(path, compact_first)
    if module == "moment":
        with GalleryStore.open(filled.path) as store:
            assert len(store.snapshot) == 48
    else:
        assert verify(filled.path).ok
    assert len(calls) > 1

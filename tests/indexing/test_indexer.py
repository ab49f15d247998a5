"""index_gallery: what is new, changed, relabelled, gone, damaged, and what an interruption leaves."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_weights import picture, write_pictures, write_weights

from vpmsearch.data.datasets import LabelledImage, read_gallery
from vpmsearch.data.images import load_image
from vpmsearch.errors import ModelMismatchError, StoreError, StoreLockedError
from vpmsearch.indexing import pace
from vpmsearch.indexing import run as indexing_run
from vpmsearch.indexing.dry_run import NoWriter
from vpmsearch.indexing.indexer import IndexReport, index_gallery, look_at_gallery
from vpmsearch.indexing.run import GalleryRun
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.model.weights import LoadedWeights, read_weights
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore, GalleryWriter, Snapshot, verify
from vpmsearch.store.folder import segments as store_segments

CPU = torch.device("cpu")


class CountingModel(torch.nn.Module):
    """Counts the images that were embedded; `fail_after` many raises."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.images, self.fail_after = model, 0, None
        self.num_regions, self.embedding_dim = model.num_regions, model.embedding_dim
        self.error: BaseException = RuntimeError("the machine is tired")

    def forward(self, images: torch.Tensor) -> VpmOutput:
        self.images += len(images)
        if self.fail_after is not None and self.images > self.fail_after:
            raise self.error
        return self.model(images)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> LoadedWeights:
    return read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone=tiny))


@pytest.fixture
def extractor(weights: LoadedWeights) -> Extractor:
    extractor = Extractor(weights, CPU, batch_size=2)
    extractor.runtime.model = CountingModel(weights.model)
    return extractor


@pytest.fixture
def store(tmp_path: Path, weights: LoadedWeights) -> Iterator[GalleryStore]:
    with GalleryStore.create(tmp_path / "index", weights.info) as store:
        yield store


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "gallery", 5)
    return tmp_path / "gallery"


Run = Callable[..., IndexReport]


@pytest.fixture
def run(store: GalleryStore, extractor: Extractor) -> Run:
    """Index a folder, or a list of labelled images, and check that progress and counts add up."""

    def run(images: Path | list[LabelledImage], **settings) -> IndexReport:
        listed = read_gallery("folder", images) if isinstance(images, Path) else images
        extractor.model.images = 0
        told: list[int] = []
        report = index_gallery(store, extractor, listed, on_progress=told.append, **settings)
        assert sum(told) == len(listed)
        with GalleryStore.open(store.path) as reopened:
            assert len(reopened.snapshot) == report.images == len(store.snapshot)
        assert verify(store.path).ok
        return report

    return run


def counts(report: IndexReport) -> dict[str, int]:
    names = ("indexed", "replaced", "unchanged", "relabelled", "kept_labels", "moved", "duplicates", "pruned", "dead")
    values = {name: getattr(report, name) for name in names} | {"rejected": len(report.rejected)}
    return {name: value for name, value in values.items() if value}


def paths_of(store: GalleryStore) -> list[str]:
    return sorted(os.path.basename(path) for path in store.live_files())  # noqa: PTH119


def embedding_of(store: GalleryStore, path: Path) -> np.ndarray:
    store.refresh()
    image_id, _ = store.live_files()[str(path)]
    return store.snapshot.embeddings(store.snapshot.rows(np.array([image_id])))[0]


# what is embedded and what is not ---------------------------------------------------------------------------------


def test_new_images_are_found_as_themselves(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    report = run(gallery)
    assert counts(report) == {"indexed": 5}
    assert extractor.model.images == 5
    assert report.seconds >= 0
    features = extractor.extract_images([load_image(path) for path in sorted(gallery.iterdir())])
    results = SearchEngine(store).search(features, 1)
    assert [Path(result.matches[0].path) for result in results] == sorted(gallery.iterdir())
    assert max(result.matches[0].distance for result in results) < 1e-4
    record = store.snapshot.records(np.array([0]))[0]
    assert (record.width, record.height, len(record.content_hash)) == (32, 64, 32)
    assert (record.pid, record.camid, record.captured_at) == (None, None, None)


def test_what_is_unchanged_is_not_embedded_again(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    run(gallery)
    before = store.live_files()
    report = run(gallery)
    assert counts(report) == {"unchanged": 5}
    assert extractor.model.images == 0
    assert store.live_files() == before
    picture(77).save(gallery / "new.png")
    (gallery / "000.png").touch()  # a new date is no change
    assert counts(run(gallery)) == {"indexed": 1, "unchanged": 5}
    assert extractor.model.images == 1


def test_changed_bytes_replace_the_image(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    run(gallery)
    changed = gallery / "002.png"
    old_id, old_embedding = store.live_files()[str(changed)][0], embedding_of(store, changed)
    picture(50).save(changed)
    assert counts(run(gallery)) == {"indexed": 1, "replaced": 1, "unchanged": 4}
    assert extractor.model.images == 1
    assert store.live_files()[str(changed)][0] > old_id  # ids are not used again
    assert np.abs(embedding_of(store, changed) - old_embedding).max() > 1e-3
    assert len(paths_of(store)) == 5


def test_new_labels_keep_the_embedding(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    paths = sorted(gallery.iterdir())
    taken = datetime(2024, 5, 1, 12)
    run([LabelledImage(path, 7, 1, taken) for path in paths])
    before, ids = embedding_of(store, paths[0]), store.live_files()
    aware = taken.replace(tzinfo=UTC)  # the same moment
    assert counts(run([LabelledImage(path, 7, 1, aware) for path in paths])) == {"unchanged": 5}
    relabelled = [LabelledImage(paths[0], 8, 1, taken), LabelledImage(paths[1], 7, 2, taken)]
    relabelled += [LabelledImage(paths[2], 7, 1, datetime(2024, 5, 2)), LabelledImage(paths[3], None, 1, taken)]
    report = run([*relabelled, LabelledImage(paths[4], 7, 1, taken)])
    assert counts(report) == {"relabelled": 3, "unchanged": 2, "kept_labels": 1}
    assert str(report.labels) == "pid: 1 changed; camid: 1 changed; captured_at: 1 changed"
    assert extractor.model.images == 0
    np.testing.assert_array_equal(embedding_of(store, paths[0]), before)
    assert store.live_files() == ids
    records = {Path(record.path): record for record in store.snapshot.records(np.arange(5))}
    found = [(records[path].pid, records[path].camid, records[path].captured_at.day) for path in paths]
    assert found == [(8, 1, 1), (7, 2, 1), (7, 1, 2), (7, 1, 1), (7, 1, 1)]


def labels_of(store: GalleryStore) -> dict[str, tuple[int | None, int | None, datetime | None]]:
    store.refresh()
    records = store.snapshot.records(np.arange(len(store.snapshot)))
    return {os.path.basename(r.path): (r.pid, r.camid, r.captured_at) for r in records}  # noqa: PTH119


def test_a_source_without_labels_leaves_labels_alone(run: Run, store: GalleryStore, gallery: Path):
    """README's own sequence: a folder, a list with labels, the folder again."""
    paths, taken = sorted(gallery.iterdir()), datetime(2024, 5, 1, tzinfo=UTC)
    run(gallery)
    report = run([LabelledImage(path, 3, 1, taken) for path in paths])
    assert str(report.labels) == "pid: 5 given; camid: 5 given; captured_at: 5 given"
    before = labels_of(store)
    assert set(before.values()) == {(3, 1, taken)}
    assert counts(run(gallery)) == {"unchanged": 5, "kept_labels": 5}
    assert labels_of(store) == before
    only_pids = [LabelledImage(path, 4 if path is paths[0] else None) for path in paths]
    assert counts(run(only_pids)) == {"relabelled": 1, "unchanged": 4, "kept_labels": 5}
    assert labels_of(store) == before | {"000.png": (4, 1, taken)}


def test_a_changed_file_keeps_the_labels_of_its_path(run: Run, store: GalleryStore, gallery: Path):
    """They were given to the path by a list; the next run of a folder knows no better."""
    run([LabelledImage(path, 3, 1) for path in sorted(gallery.iterdir())])
    picture(50).save(gallery / "002.png")
    assert counts(run(gallery)) == {"indexed": 1, "replaced": 1, "unchanged": 4, "kept_labels": 4}
    assert labels_of(store)["002.png"] == (3, 1, None)
    picture(51).save(gallery / "002.png")
    run([LabelledImage(gallery / "002.png", 8)])
    assert labels_of(store)["002.png"] == (8, 1, None)


def test_labels_are_taken_away_when_that_is_asked_for(run: Run, store: GalleryStore, gallery: Path):
    paths = sorted(gallery.iterdir())
    run([LabelledImage(path, 3, 1) for path in paths])
    picture(50).save(gallery / "002.png")
    report = run([LabelledImage(path, 3) for path in paths[:4]], clear_labels=True)
    assert counts(report) == {"relabelled": 3, "indexed": 1, "replaced": 1}
    assert str(report.labels) == "camid: 3 taken away"
    assert labels_of(store) == {
        **dict.fromkeys(("000.png", "001.png", "002.png", "003.png"), (3, None, None)),
        "004.png": (3, 1, None),  # not named
    }


def test_many_new_labels_are_committed_as_they_come(
    run: Run, store: GalleryStore, extractor: Extractor, gallery: Path, monkeypatch: pytest.MonkeyPatch
):
    run(gallery)
    monkeypatch.setattr(pace, "COMMIT_IMAGES", 2)
    held = []
    real = GalleryStore.writer

    def watched(store: GalleryStore, **options):
        writer = real(store, **options)
        commit = writer.commit
        monkeypatch.setattr(writer, "commit", lambda: (held.append(writer.pending), commit()))
        return writer

    monkeypatch.setattr(GalleryStore, "writer", watched)
    assert counts(run([LabelledImage(path, 1) for path in sorted(gallery.iterdir())])) == {"relabelled": 5}
    assert max(held) == 2  # never more in memory


def test_labels_are_looked_up_many_at_once(
    run: Run, store: GalleryStore, gallery: Path, monkeypatch: pytest.MonkeyPatch
):
    run(gallery)
    write_pictures(gallery, 9)
    picture(50).save(gallery / "002.png")
    run(gallery)
    monkeypatch.setattr(indexing_run, "LOOKED_UP", 3)
    looks: list[int] = []
    real = Snapshot.records_of
    monkeypatch.setattr(Snapshot, "records_of", lambda view, ids: (looks.append(len(ids)), real(view, ids))[1])
    picture(51).save(gallery / "004.png")
    images = [LabelledImage(path, 7 if path.stem == "006" else None) for path in sorted(gallery.iterdir())]
    assert counts(run(images)) == {"unchanged": 7, "relabelled": 1, "indexed": 1, "replaced": 1}
    assert sorted(look for look in looks if look) == [1, 2, 3, 3]  # 1: the changed file
    assert [r.pid for r in store.snapshot.records(np.arange(9)) if r.path.endswith("006.png")] == [7]


def test_a_path_named_twice_counts_once(run: Run, extractor: Extractor, gallery: Path, monkeypatch):
    monkeypatch.chdir(gallery)
    twice = [LabelledImage(Path("000.png")), LabelledImage(gallery / "000.png"), LabelledImage(Path("./001.png"))]
    assert counts(run(twice)) == {"indexed": 2}
    assert extractor.model.images == 2


def test_equal_files_under_two_names_are_two_images(run: Run, gallery: Path):
    shutil.copy(gallery / "000.png", gallery / "copy.png")
    assert counts(run(gallery)) == {"indexed": 6, "duplicates": 1}


def test_a_duplicate_that_comes_later_is_not_embedded_again(
    run: Run, store: GalleryStore, extractor: Extractor, gallery: Path
):
    run(gallery)
    shutil.copy(gallery / "000.png", gallery / "copy.png")
    assert counts(run(gallery)) == {"indexed": 1, "unchanged": 5, "duplicates": 1}
    assert extractor.model.images == 0
    copied = embedding_of(store, gallery / "copy.png")
    np.testing.assert_array_equal(copied, embedding_of(store, gallery / "000.png"))
    assert store.live_files()[str(gallery / "copy.png")][0] == 6


def test_a_gallery_that_moved_is_known_again(
    run: Run, store: GalleryStore, extractor: Extractor, tmp_path: Path, gallery: Path
):
    """Another disk, another path in a container: ids, labels and embeddings stay, and no dead path is left."""
    run([LabelledImage(path, 7, 3) for path in sorted(gallery.iterdir())])
    before = {Path(path).name: known for path, known in store.live_files().items()}
    place = tmp_path / "new" / "disk"
    place.parent.mkdir()
    gallery.rename(place)
    assert counts(run(place, prune_below=place)) == {"moved": 5, "kept_labels": 5}
    assert extractor.model.images == 0
    assert store.live_files() == {str(place / name): known for name, known in before.items()}
    assert set(labels_of(store).values()) == {(7, 3, None)}
    place.rename(gallery)  # and back
    assert counts(run(gallery)) == {"moved": 5, "kept_labels": 5}
    assert store.live_files() == {str(gallery / name): known for name, known in before.items()}


def test_what_died_after_its_copy_was_indexed_is_told_and_pruned(
    run: Run, store: GalleryStore, tmp_path: Path, gallery: Path
):
    """Copied, both indexed, then the old disk is taken away: the copies get what was known of the old ones."""
    run([LabelledImage(path, 7, 3) for path in sorted(gallery.iterdir())])
    copied = Path(shutil.copytree(gallery, tmp_path / "copied"))
    (copied / "000.png").write_bytes(b"unreadable")
    assert counts(run(copied)) == {"indexed": 4, "duplicates": 4, "rejected": 1}
    shutil.rmtree(gallery)
    paths = sorted(copied.iterdir())
    assert counts(run(copied)) == {"unchanged": 4, "dead": 4, "rejected": 1}
    report = run([LabelledImage(path, 9 if path.stem == "004" else None) for path in paths], prune_below=copied)
    assert counts(report) == {"unchanged": 3, "relabelled": 1, "pruned": 4, "rejected": 1}
    assert sorted(Path(path).name for path in report.pruned_paths) == ["001.png", "002.png", "003.png", "004.png"]
    left = store.live_files()
    assert sorted(left) == sorted(
        [str(gallery / "000.png"), *map(str, paths[1:])]
    )  # the one without a living copy stays
    assert labels_of(store) == {
        **dict.fromkeys(("000.png", "001.png", "002.png", "003.png"), (7, 3, None)),
        "004.png": (9, 3, None),
    }


def test_a_dry_run_says_what_a_run_does_and_changes_nothing(
    run: Run, store: GalleryStore, extractor: Extractor, tmp_path: Path, gallery: Path
):
    run([LabelledImage(path, 7) for path in sorted(gallery.iterdir())])
    picture(50).save(gallery / "000.png")  # changed
    (gallery / "001.png").unlink()  # vanished
    (gallery / "002.png").rename(gallery / "moved.png")
    shutil.copy(gallery / "003.png", gallery / "copy.png")
    (gallery / "empty.png").touch()
    (gallery / "text.png").write_text("no picture")
    picture(51).save(gallery / "new.png")
    images = [LabelledImage(path, 8 if path.stem == "004" else None) for path in sorted(gallery.iterdir())]
    state, before = store.snapshot.state, store.live_files()
    told = look_at_gallery(store, images, prune_below=gallery)
    store.refresh()
    assert (store.snapshot.state, store.live_files(), store.rejected()) == (state, before, [])
    done = run(images, prune_below=gallery)
    assert counts(told) == counts(done)
    assert counts(done) == {"indexed": 3, "replaced": 1, "unchanged": 1, "relabelled": 1, "kept_labels": 2,
                            "moved": 1, "duplicates": 1, "pruned": 1, "rejected": 2}  # fmt: skip
    assert told.pruned_paths == done.pruned_paths == [str(gallery / "001.png")]
    assert told.labels == done.labels
    assert [Path(path).name for path in told.equal[0]] == ["copy.png", "003.png"]


def test_what_is_new_comes_first(store: GalleryStore, extractor: Extractor, gallery: Path):
    """So that a run which is killed again and again gets on."""
    index_gallery(store, extractor, read_gallery("folder", gallery))
    picture(60).save(gallery / "000.png")
    picture(61).save(gallery / "zzz.png")
    run = GalleryRun(store, NoWriter(), read_gallery("folder", gallery), lambda n: None)
    assert [request.path.name for request in run.requests()] == ["zzz.png", "000.png"]


def test_new_bytes_under_a_known_name_are_not_the_old_embedding(
    store: GalleryStore, extractor: Extractor, gallery: Path
):
    """The batch with the changed file is taken before the new file of the same bytes is asked for."""
    images = [LabelledImage(path) for path in sorted(gallery.iterdir())]
    index_gallery(store, extractor, images)
    picture(60).save(gallery / "000.png")
    shutil.copy(gallery / "000.png", gallery / "zzz.png")
    run = GalleryRun(store, store.writer().__enter__(), [*images, LabelledImage(gallery / "zzz.png")], lambda n: None)
    for request in run.requests():
        (batch,) = extractor.extract([request])
        run.take(batch)
    run.commit()
    run.writer.__exit__()
    np.testing.assert_array_equal(embedding_of(store, gallery / "zzz.png"), embedding_of(store, gallery / "000.png"))


def test_a_damaged_embedding_is_not_copied(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    run(gallery)
    path = store.path / "segments" / "1" / "embeddings.h5"
    sound = path.read_bytes()
    shutil.copy(gallery / "000.png", gallery / "copy.png")
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    images = [LabelledImage(image) for image in sorted(gallery.iterdir())]
    report = index_gallery(store, extractor, images)
    path.write_bytes(sound)
    assert counts(report) == {"indexed": 1, "unchanged": 5, "duplicates": 1}
    np.testing.assert_allclose(
        embedding_of(store, gallery / "copy.png"), embedding_of(store, gallery / "000.png"), rtol=1e-5, atol=1e-6
    )


def test_a_moved_file_keeps_its_image_id(run: Run, store: GalleryStore, extractor: Extractor, gallery: Path):
    run([LabelledImage(path, 7) for path in sorted(gallery.iterdir())])
    before = store.live_files()
    shutil.copy(gallery / "003.png", gallery / "copy.png")
    (gallery / "003.png").rename(gallery / "moved.png")
    (gallery / "sub").mkdir()
    (gallery / "004.png").rename(gallery / "sub" / "004.png")
    report = run(gallery)
    assert counts(report) == {"indexed": 1, "unchanged": 3, "moved": 2, "duplicates": 1, "kept_labels": 5}
    assert extractor.model.images == 0
    after = store.live_files()
    moved = {path for path, known in after.items() if known == before[str(gallery / "003.png")]}
    assert moved in ({str(gallery / "moved.png")}, {str(gallery / "copy.png")})  # the first that is met
    assert after[str(gallery / "sub" / "004.png")] == before[str(gallery / "004.png")]
    assert str(gallery / "003.png") not in after
    assert len(after) == 6
    view = store.snapshot
    assert [record.pid for record in view.records(np.arange(6))] == [7] * 5 + [None]
    assert counts(run(gallery, prune_below=gallery)) == {"unchanged": 6, "kept_labels": 5}


@pytest.mark.parametrize("name", ["größe 写真 🙂.png", "line\nbreak.png", "quo'te\"%s.png", " lead.png"])
def test_any_text_is_a_name(run: Run, store: GalleryStore, gallery: Path, name: str):
    picture(9).save(gallery / name)
    assert counts(run(gallery)) == {"indexed": 6}
    assert str(gallery / name) in store.live_files()
    (gallery / name).write_bytes(b"damaged")
    assert counts(run(gallery)) == {"unchanged": 5, "rejected": 1}
    picture(10).save(gallery / name)
    assert counts(run(gallery)) == {"indexed": 1, "replaced": 1, "unchanged": 5}
    assert store.rejected() == []


# what is gone -----------------------------------------------------------------------------------------------------


def test_what_vanished_goes_with_prune_only(run: Run, store: GalleryStore, tmp_path: Path, gallery: Path):
    (other,) = write_pictures(tmp_path / "gallery 2", 1, first=40)  # its name begins alike
    run([LabelledImage(path) for path in [*sorted(gallery.iterdir()), other]])
    (gallery / "001.png").unlink()
    assert counts(run(gallery)) == {"unchanged": 4}
    assert len(paths_of(store)) == 6
    assert counts(run(gallery, prune_below=gallery)) == {"unchanged": 4, "pruned": 1}
    assert paths_of(store) == ["000.png", "002.png", "003.png", "004.png", "040.png"]
    write_pictures(gallery, 2)
    assert counts(run(gallery, prune_below=gallery)) == {"indexed": 1, "unchanged": 4}


def test_prune_takes_relative_folders(run: Run, store: GalleryStore, tmp_path: Path, gallery: Path, monkeypatch):
    run(gallery)
    (gallery / "001.png").unlink()
    monkeypatch.chdir(tmp_path)
    assert counts(run(Path("gallery"), prune_below=Path("gallery"))) == {"unchanged": 4, "pruned": 1}


def test_prune_keeps_what_is_only_not_listed(run: Run, store: GalleryStore, gallery: Path):
    """A shorter list, or a search by another layout, is no reason to forget a photograph that is still there."""
    run(gallery)
    some = [LabelledImage(path) for path in sorted(gallery.iterdir())[:2]]
    assert counts(run(some, prune_below=gallery)) == {"unchanged": 2}
    assert len(paths_of(store)) == 5


def test_prune_keeps_what_cannot_be_read_just_now(run: Run, store: GalleryStore, gallery: Path):
    run(gallery)
    (gallery / "001.png").write_bytes(b"half")
    assert counts(run(gallery, prune_below=gallery)) == {"unchanged": 4, "rejected": 1}
    assert "001.png" in paths_of(store)


def test_prune_forgets_rejected_files_that_vanished(run: Run, store: GalleryStore, tmp_path: Path, gallery: Path):
    bad, elsewhere = gallery / "bad.png", tmp_path / "bad.png"
    surrogate = Path(os.fsdecode(os.fsencode(gallery) + b"/caf\xe9.png"))
    for path in (bad, elsewhere, surrogate):
        path.write_bytes(b"no picture")
    everything = [LabelledImage(path) for path in [*sorted(gallery.iterdir()), elsewhere]]
    assert counts(run(everything, prune_below=gallery)) == {"indexed": 5, "rejected": 3}
    assert len(store.rejected()) == 3
    bad.unlink()
    surrogate.unlink()
    run(gallery, prune_below=gallery)
    assert [path for path, _ in store.rejected()] == [str(elsewhere)]


# what is rejected -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
def test_rejected_files_are_noted_until_they_are_mended(
    run: Run, store: GalleryStore, tmp_path: Path, gallery: Path, monkeypatch, relative: bool
):
    monkeypatch.chdir(tmp_path)
    folder = Path("gallery") if relative else gallery
    bad = gallery / "bad.png"
    bad.write_bytes((gallery / "000.png").read_bytes()[:100])
    report = run(folder)
    assert counts(report) == {"indexed": 5, "rejected": 1}
    assert report.rejected[0].path == folder / "bad.png"
    ((path, reason),) = store.rejected()
    assert path == str(bad)
    assert "truncated" in reason
    bad.write_bytes(b"")
    assert counts(run(folder)) == {"unchanged": 5, "rejected": 1}
    assert [(path, "empty" in reason) for path, reason in store.rejected()] == [(str(bad), True)]
    picture(60).save(bad)
    assert counts(run(folder)) == {"indexed": 1, "unchanged": 5}
    assert store.rejected() == []


def test_an_image_damaged_for_a_while_stays_and_the_note_goes(run: Run, store: GalleryStore, gallery: Path):
    run(gallery)
    victim = gallery / "003.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:90])
    assert counts(run(gallery)) == {"unchanged": 4, "rejected": 1}
    assert len(paths_of(store)) == 5
    assert [path for path, _ in store.rejected()] == [str(victim)]
    victim.write_bytes(whole)
    assert counts(run(gallery)) == {"unchanged": 5}
    assert store.rejected() == []


def test_a_name_that_is_no_text_is_rejected_with_a_reason(run: Run, store: GalleryStore, gallery: Path):
    shutil.copy(gallery / "000.png", os.fsencode(gallery) + b"/caf\xe9.png")
    report = run(gallery)
    assert counts(report) == {"indexed": 5, "rejected": 1}
    ((path, reason),) = store.rejected()
    assert path.endswith("caf\\udce9.png")
    assert "UTF-8" in reason
    assert "rename" in reason


def test_only_bad_files(run: Run, store: GalleryStore, tmp_path: Path):
    (tmp_path / "gallery").mkdir()
    for name in ("a.png", "b.jpg"):
        (tmp_path / "gallery" / name).write_bytes(b"no picture")
    report = run(tmp_path / "gallery")
    assert (counts(report), report.images) == ({"rejected": 2}, 0)
    assert len(store.rejected()) == 2


# what goes wrong --------------------------------------------------------------------------------------------------


def test_other_weights_are_refused_before_anything_is_done(
    store: GalleryStore, extractor: Extractor, tmp_path: Path, gallery: Path
):
    other = read_weights(write_weights(tmp_path / "other.safetensors", seed=1))
    with pytest.raises(ModelMismatchError) as caught:
        index_gallery(store, Extractor(other, CPU), read_gallery("folder", gallery))
    assert other.fingerprint in str(caught.value)
    assert extractor.weights.fingerprint in str(caught.value)
    assert store.live_files() == {}


@pytest.mark.parametrize("error", [RuntimeError("the machine is tired"), KeyboardInterrupt()])
def test_an_interrupted_run_keeps_what_is_done_and_the_next_completes(
    run: Run, store: GalleryStore, extractor: Extractor, gallery: Path, error: BaseException
):
    (gallery / "000a.png").write_bytes(b"bad")
    extractor.model.fail_after, extractor.model.error = 3, error
    with pytest.raises(type(error)):
        index_gallery(store, extractor, read_gallery("folder", gallery))
    done = store.live_files()
    assert 0 < len(done) < 5
    assert len(store.rejected()) == 1
    assert verify(store.path).ok
    extractor.model.fail_after = None
    assert counts(run(gallery)) == {"indexed": 5 - len(done), "unchanged": len(done), "rejected": 1}
    assert extractor.model.images == 5 - len(done)
    assert set(done.items()) <= set(store.live_files().items())


@pytest.mark.parametrize(("name", "value"), [("COMMIT_IMAGES", 2), ("LOST_SECONDS", 0.0)])
def test_others_see_what_is_done_while_the_run_goes_on(
    store: GalleryStore, extractor: Extractor, gallery: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
):
    monkeypatch.setattr(pace, name, value)
    seen = []

    def look(_: int) -> None:
        with GalleryStore.open(store.path) as other:
            seen.append(len(other.snapshot))

    index_gallery(store, extractor, read_gallery("folder", gallery), on_progress=look)
    assert seen == [0, 2, 4]
    assert len(store.snapshot) == 5


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stops_the_run_and_keeps_earlier_commits(
    run: Run, store: GalleryStore, extractor: Extractor, gallery: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pace, "COMMIT_IMAGES", 2)
    real, calls = store_segments.write_region, []

    def filling_up(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) > 6 + 3:  # in the midst of the second segment
            no_space()
        real(*args, **kwargs)

    monkeypatch.setattr(store_segments, "write_region", filling_up)
    with pytest.raises(StoreError, match="No space left"):
        index_gallery(store, extractor, read_gallery("folder", gallery))
    monkeypatch.setattr(store_segments, "write_region", real)
    assert paths_of(store) == ["000.png", "001.png"]
    assert verify(store.path).ok
    assert sorted(entry.name for entry in (store.path / "segments").iterdir()) == ["1"]
    assert counts(run(gallery)) == {"indexed": 3, "unchanged": 2}


def test_space_freed_in_time_saves_the_last_batches(
    store: GalleryStore, extractor: Extractor, gallery: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pace, "COMMIT_IMAGES", 4)
    real, calls = store_segments.write_region, []

    def once(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            no_space()
        real(*args, **kwargs)

    monkeypatch.setattr(store_segments, "write_region", once)
    with pytest.raises(StoreError, match="No space left"):
        index_gallery(store, extractor, read_gallery("folder", gallery))
    assert len(paths_of(store)) == 4
    assert verify(store.path).ok


def test_one_writer_at_a_time(store: GalleryStore, extractor: Extractor, gallery: Path):
    with GalleryStore.open(store.path) as other, other.writer(), pytest.raises(StoreLockedError):
        index_gallery(store, extractor, read_gallery("folder", gallery))
    assert store.live_files() == {}


def test_what_others_committed_meanwhile_is_known(store: GalleryStore, extractor: Extractor, gallery: Path):
    with GalleryStore.open(store.path) as other:
        index_gallery(other, extractor, read_gallery("folder", gallery))
    report = index_gallery(store, extractor, read_gallery("folder", gallery))  # this handle has an older view
    assert (report.unchanged, report.indexed, report.images) == (5, 0, 5)


def test_a_stop_amid_changed_files_loses_no_image(run: Run, store: GalleryStore, gallery: Path, monkeypatch):
    """What replaces an image is pending before the image goes."""
    run([LabelledImage(path, pid=3) for path in sorted(gallery.iterdir())])
    before = store.live_files()
    for path, other in zip(
        sorted(gallery.iterdir()), write_pictures(gallery.parent / "others", 5, first=9), strict=True
    ):
        path.write_bytes(other.read_bytes())

    def stopped(self, image_ids):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt, StoreError):
        patched.setattr(GalleryWriter, "remove", stopped)
        run(gallery)
    store.refresh()
    assert store.live_files() == before
    assert {record.pid for record in store.snapshot.records(np.arange(5))} == {3}


def test_pruning_gives_the_living_what_every_dead_twin_knew(run: Run, store: GalleryStore, tmp_path: Path):
    """Two dead copies of one living photograph, also where the dead are below the pruned folder."""
    first, second, third = (tmp_path / "gallery" / name for name in ("a.png", "b.png", "c.png"))
    write_pictures(tmp_path / "gallery", 1)
    (path,) = (tmp_path / "gallery").iterdir()
    data = path.read_bytes()
    path.unlink()
    for copy in (first, second, third):
        copy.write_bytes(data)
    run([LabelledImage(first, pid=1), LabelledImage(second, camid=2), LabelledImage(third)])
    first.unlink()
    second.unlink()
    run(tmp_path / "gallery", prune_below=tmp_path / "gallery")
    (record,) = store.snapshot.records(np.arange(1))
    assert (record.path, record.pid, record.camid) == (str(third), 1, 2)

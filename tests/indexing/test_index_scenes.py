"""People inside photographs and films, indexed without crops: as their crops as files would be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_weights import write_weights

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.data.datasets import LabelledImage, read_gallery
from vpmsearch.data.images import load_image
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.store import GalleryStore


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Extractor:
    path = write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone=tiny)
    return Extractor(read_weights(path), torch.device("cpu"), batch_size=4)


@pytest.fixture
def store(tmp_path: Path, extractor: Extractor) -> Iterator[GalleryStore]:
    with GalleryStore.create(tmp_path / "index", extractor.weights.info) as store:
        yield store


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def boxes(frames: Path, *rows: str) -> list[LabelledImage]:
    path = frames.parent / "boxes.csv"
    path.write_text("path,x,y,w,h\n" + "\n".join(rows) + "\n")
    return read_boxes(frames, path)


ROWS = [f"{number}.png,{x},{y},20,40" for number in range(3) for x, y in ((0, 0), (30, 10), (95, 35), (-10, 5))]


def test_features_are_those_of_the_same_crops_as_files(
    tmp_path: Path, frames: Path, store: GalleryStore, extractor: Extractor
) -> None:
    people = boxes(frames, *ROWS)
    report = index_gallery(store, extractor, people)
    assert (report.indexed, len(report.rejected)) == (12, 0)
    crops = tmp_path / "crops"
    crops.mkdir()
    for place, image in enumerate(people):
        load_image(image.path).save(crops / f"{place:02d}.png")
    with GalleryStore.create(tmp_path / "other", extractor.weights.info) as other:
        index_gallery(other, extractor, read_gallery("folder", crops))
        ours, theirs = (each.snapshot.features_of(each.snapshot.image_ids) for each in (store, other))
        assert np.array_equal(ours.visibility, theirs.visibility)
        assert np.array_equal(ours.embeddings, theirs.embeddings)
    record = store.snapshot.records_of(store.snapshot.image_ids[2:3])[0]
    assert (record.width, record.height) == (20, 40)
    assert record.path == f"{frames / '0.png'}#xywh=95,35,20,40"


def test_runs_again_do_nothing_and_prune_what_the_list_lacks(
    frames: Path, store: GalleryStore, extractor: Extractor
) -> None:
    index_gallery(store, extractor, boxes(frames, *ROWS))
    again = index_gallery(store, extractor, boxes(frames, *ROWS), prune_below=frames)
    assert (again.unchanged, again.indexed, again.pruned) == (12, 0, 0)
    fewer = boxes(frames, *ROWS[1:4], "0.png,50,2,20,40")  # of the first scene alone
    kept = index_gallery(store, extractor, fewer)
    assert (kept.unchanged, kept.indexed, kept.pruned, kept.images) == (3, 1, 0, 13)
    pruned = index_gallery(store, extractor, fewer, prune_below=frames)
    # The scenes that this list does not name keep all their people.
    assert pruned.pruned_paths == [f"{frames / '0.png'}#xywh=0,0,20,40"]
    (frames / "2.png").unlink()
    gone = index_gallery(store, extractor, fewer, prune_below=frames)
    assert (gone.pruned, gone.images) == (4, 8)


def test_a_moved_gallery_keeps_its_embeddings(frames: Path, store: GalleryStore, extractor: Extractor) -> None:
    index_gallery(store, extractor, boxes(frames, *ROWS))
    before = {
        record.path.rpartition("/")[2]: (record.content_hash, image_id)
        for image_id in store.snapshot.image_ids.tolist()
        for record in store.snapshot.records_of([image_id])
    }
    moved = frames.with_name("moved")
    shutil.move(frames, moved)
    report = index_gallery(store, extractor, boxes(moved, *ROWS))
    assert (report.moved, report.indexed) == (12, 0)
    after = {
        record.path.rpartition("/")[2]: (record.content_hash, image_id)
        for image_id in store.snapshot.image_ids.tolist()
        for record in store.snapshot.records_of([image_id])
    }
    assert before == after


def test_a_changed_scene_is_embedded_anew_and_a_damaged_one_rejected(
    frames: Path, store: GalleryStore, extractor: Extractor
) -> None:
    index_gallery(store, extractor, boxes(frames, *ROWS))
    Image.new("RGB", (120, 80), (9, 99, 9)).save(frames / "1.png")
    (frames / "2.png").write_bytes(b"no image")
    report = index_gallery(store, extractor, boxes(frames, *ROWS))
    assert (report.replaced, report.unchanged, len(report.rejected), report.images) == (4, 4, 4, 12)


def test_people_of_a_film(tmp_path: Path, store: GalleryStore, extractor: Extractor) -> None:
    pytest.importorskip("av")
    from drawn_film import write_film

    film = write_film(tmp_path / "film.mp4", list(range(40)), options={"bf": "2", "g": "12"})
    path = tmp_path / "det.txt"
    path.write_text(
        "".join(f"{frame},{who},{1 + 20 * who},1,60,90,1\n" for frame in range(40, 0, -3) for who in (0, 1))
    )
    people = read_boxes(film, path)
    assert index_gallery(store, extractor, people).indexed == len(people) == 28
    records = store.snapshot.records_of(store.snapshot.image_ids)
    alone = extractor.extract_images([load_image(record.path) for record in records])  # each sought for itself
    found = store.snapshot.features_of(store.snapshot.image_ids)
    assert np.array_equal(found.embeddings, alone.embeddings)
    assert index_gallery(store, extractor, people).unchanged == 28

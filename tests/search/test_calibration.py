"""Distances as false-match rates: what the numbers mean, that they hold open-set, and the file they are kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_weights import write_pictures, write_weights

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError, StoreDamagedError
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.search import calibration
from vpmsearch.search.calibration import (
    BOXES,
    MATCH,
    NO_MATCH,
    UNSURE,
    Calibration,
    _is_stranger,
    _nearest_strangers,
    _probes,
    calibrate,
    load_calibration,
)
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.store.calibration_file import FILE_NAME
from vpmsearch.types import ImageRecord, Match, ModelInfo, RegionFeatures

HUNDRED = tuple(float(i) for i in range(1, 101))


def made(*distances: tuple[float, ...]) -> Calibration:
    return Calibration("abc", 0.1, 500, True, distances)


def test_the_rate_is_the_share_of_strangers_at_least_as_near():
    known = made(HUNDRED)
    assert known.false_match_rate(1, 0.5) == 0
    assert known.false_match_rate(1, 5) == 0.05
    assert known.false_match_rate(1, 50.5) == 0.5
    assert known.false_match_rate(1, 1e9) == 1


@pytest.mark.parametrize(
    ("distance", "verdict"),
    [(0.0, MATCH), (5.0, MATCH), (5.9, MATCH), (6.0, UNSURE), (25.5, UNSURE), (26.0, NO_MATCH), (None, NO_MATCH)],
)
def test_verdicts(distance, verdict):
    assert made(HUNDRED).verdict(1, distance) == verdict


def test_each_number_of_regions_has_rates_of_its_own_and_few_distances_borrow():
    known = made(HUNDRED, tuple(10 * x for x in HUNDRED), (7.0,) * 5)
    assert known.false_match_rate(1, 10) == 0.1
    assert known.false_match_rate(2, 10) == 0.01
    assert known.false_match_rate(3, 10) == pytest.approx((1 + 5) / 105)  # its five and its neighbour's hundred


@pytest.mark.parametrize(
    ("image_id", "pid", "stranger"),
    [(1, 5, False), (2, 5, False), (3, 6, True), (4, None, True), (5, -1, False), (6, 0, True)],
)
def test_who_is_a_stranger(image_id, pid, stranger):
    assert _is_stranger(Match(image_id, "", pid, None, 1.0, ()), 1, 5) is stranger


def test_without_a_pid_only_the_image_itself_is_left_out():
    assert not _is_stranger(Match(1, "", None, None, 1.0, ()), 1, None)
    assert _is_stranger(Match(2, "", 5, None, 1.0, ()), 1, None)
    assert _is_stranger(Match(2, "", 0, None, 1.0, ()), 1, 0)  # two of the distractors


def test_the_file_comes_back_as_it_was_written(tmp_path: Path):
    known = made(HUNDRED, ())
    known.save(tmp_path)
    assert load_calibration(tmp_path, "abc", 0.1) == known
    assert load_calibration(tmp_path, "other", 0.1) is None
    assert load_calibration(tmp_path, "abc", 0.2) is None
    assert load_calibration(tmp_path / "nowhere", "abc", 0.1) is None
    assert load_calibration(str(tmp_path), "abc", 0.1) == known


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = made(HUNDRED).save(tmp_path)
    whole = path.read_text()
    other = json.loads(whole)
    other["calibration"] = other["calibration"].replace("100.0", "1.0")
    for text in ("", "{}", "[]", "null", whole[:-20], json.dumps(other), json.dumps(json.loads(whole) | {"format": 2})):
        path.write_text(text)
        with pytest.raises(StoreDamagedError, match="vpmsearch calibrate"):
            load_calibration(tmp_path, "abc", 0.1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory, tiny):
    """120 pictures of 40 pids; and the extractor."""
    folder = tmp_path_factory.mktemp("calibrated")
    extractor = Extractor(read_weights(write_weights(folder / "tiny.safetensors", backbone=tiny)), torch.device("cpu"))
    paths = write_pictures(folder / "gallery", 120)
    images = [LabelledImage(path, pid=1 + i // 3, camid=1) for i, path in enumerate(paths)]
    with GalleryStore.create(folder / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, images)
        yield SearchEngine(store), extractor


def test_strangers_do_not_match_at_the_rate_that_is_asked_for(engine):
    """Calibrated on half of the images, measured on the other half: both are searched for without their own people."""
    told = []
    known = calibrate(*engine, probes=60, seed=0, on_progress=told.append)
    assert sum(told) == 60 * len(BOXES)
    assert (known.images, known.labelled) == (120, True)
    held_out = calibrate(*engine, probes=120, seed=0)
    rates = [
        known.false_match_rate(number + 1, distance)
        for number, distances in enumerate(held_out.distances)
        for distance in distances
    ]
    assert len(rates) == 120 * len(BOXES)
    assert 0.02 < np.mean(np.array(rates) <= 0.05) < 0.10


@pytest.mark.parametrize("own_images", [1, 3, 64])
def test_many_at_once_as_one_after_the_other(engine, monkeypatch, own_images):
    """Also where the ranks that are looked at first are all of the query's own person."""
    monkeypatch.setattr(calibration, "OWN_IMAGES", own_images)
    searching, snapshot = engine[0], engine[0].snapshot
    rows = np.arange(0, 120, 7)
    queries = RegionFeatures(snapshot.visibility[rows], snapshot.embeddings(rows))
    owners = [(int(snapshot.image_ids[row]), 1 + row // 3) for row in rows]
    expected = []
    for place, (image_id, pid) in enumerate(owners):
        everybody = searching.search(queries[place : place + 1], 120, exact=True)[0].matches
        expected.append(next(m.distance for m in everybody if m.pid != pid and m.image_id != image_id))
    assert _nearest_strangers(searching, queries, owners) == expected
    nobody = [(int(snapshot.image_ids[rows[0]]), 1)]
    monkeypatch.setattr(calibration, "_is_stranger", lambda *_: False)
    assert _nearest_strangers(searching, queries[:1], nobody) == [None]


@pytest.mark.parametrize(("pids", "expected"), [([7, 0, -1], {7}), ([0], {0}), ([None, 0], {None})])
def test_probes_are_of_known_people_where_there_are_any(tmp_path, pids, expected):
    info = ModelInfo((2, 1), 4, "w")
    records = [ImageRecord(f"{i}.jpg", f"hash {i}", pid=pids[i % len(pids)]) for i in range(30)]
    rng = np.random.default_rng(0)
    features = RegionFeatures(np.full((30, 2), 0.5, np.float32), rng.normal(size=(30, 2, 4)).astype(np.float32))
    with GalleryStore.create(tmp_path / "index", info) as store:
        with store.writer() as writer:
            writer.add(records, features)
            writer.commit()
        probes = _probes(SearchEngine(store), 10, 0)
        assert {record.pid for _, record in probes} == expected
        assert len({image_id for image_id, _ in probes}) == 10
        assert _probes(SearchEngine(store), 10, 1) != probes
        every = _probes(SearchEngine(store), 100, 0)  # the others make up what is missing
        assert sorted(image_id for image_id, _ in every) == list(range(1, 31))
        first = [record.pid in expected for _, record in every]
        assert first == sorted(first, reverse=True)


def test_too_small_a_gallery(engine):
    with pytest.raises(DataError, match="too few images"):
        calibrate(*engine, probes=3)


def test_unlabelled_galleries_say_so(engine, tmp_path):
    extractor = engine[1]
    images = [LabelledImage(path) for path in write_pictures(tmp_path / "gallery", 20)]
    with GalleryStore.create(tmp_path / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, images)
        known = calibrate(SearchEngine(store), extractor)
        assert not known.labelled
        known.save(store.path)
        assert (store.path / FILE_NAME).exists()
        assert store.verify().ok
    assert replace(known, labelled=True) != known

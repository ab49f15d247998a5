"""The experiment: who counts as a stranger, what it promises without pids, and when it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_weights import write_pictures, write_weights

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import ExtractedBatch, Extractor, Seen
from vpmsearch.model.weights import read_weights
from vpmsearch.search import calibration
from vpmsearch.search.calibration import (
    BOXES,
    NOBODY,
    OWN,
    STRANGER,
    UNKNOWN,
    _kind,
    _lists,
    _nearest_unknown,
    calibrate,
    draw_probes,
)
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.itself import Source, search_others
from vpmsearch.search.pairs import Answers, choose_pairs
from vpmsearch.search.verdict import LIKENESS, MATCH, NO_MATCH, PAIRS, PIDS, load_calibration, notice_of
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, Match, ModelInfo, RegionFeatures

P, D = 4, 16
SHOWN = {None: slice(0, P), 0.5: slice(0, P // 2)}


class People:
    """A world of people who look alike in part, and an extractor that sees them: whole, or the regions of a part.

    Args:
        count: people. noise: of an image, where people differ by 1. clothes: how many there are; some wear the same.
    """

    def __init__(self, count: int, seed: int = 0, noise: float = 0.55, clothes: int = 12) -> None:
        self._rng = np.random.default_rng(seed)
        worn = self._rng.normal(size=(clothes, P, D))[self._rng.integers(clothes, size=count)]
        self._looks = 0.7 * worn + self._rng.normal(size=(count, P, D))
        self._noise = noise
        self.info = ModelInfo((P, 1), D, "people")
        self.images: dict[str, RegionFeatures] = {}
        self.pids: dict[str, int] = {}

    def photograph(self, pid: int) -> str:
        """A new image of somebody; its name."""
        seen = self._looks[pid] + self._noise * self._rng.normal(size=(P, D)) * self._rng.uniform(0.5, 1.5)
        name = f"{pid}-{len(self.images)}.jpg"
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        self.images[name] = RegionFeatures(np.full((1, P), 1 / P, np.float32), seen[None].astype(np.float32))
        self.pids[name] = pid
        return name

    def features(self, name: str, box=None) -> RegionFeatures:
        whole = self.images[name.removeprefix("copy of ")]
        if box is None:
            return whole
        top, bottom = round(P * box.top), round(P * box.bottom)
        visibility = np.zeros((1, P), np.float32)
        visibility[0, top:bottom] = 1 / (bottom - top)
        jitter = 0.2 * np.random.default_rng(len(name)).normal(size=whole.embeddings.shape).astype(np.float32)
        return RegionFeatures(visibility, whole.embeddings + jitter)

    def extract(self, requests):
        for request in requests:
            name = str(request.path)
            seen = [Seen(request.position, request.path, name, 1, 1)]
            yield ExtractedBatch(seen, self.features(name, request.box), [])

    def index(self, path, names, pids=None) -> GalleryStore:
        store = GalleryStore.create(path, self.info)
        records = [
            ImageRecord(name, name, pid=None if pids is None else pids(self.pids[name], i), camid=None)
            for i, name in enumerate(names)
        ]
        with store.writer() as writer:
            writer.add(records, RegionFeatures.concatenate([self.images[name] for name in names]))
            writer.commit()
        store.refresh()
        return store


def rates(people: People, engine, known, names) -> dict[str, float]:
    """What is answered to new photographs, whole and halves, of present and absent people."""
    right, missed, absent, false, found = 0, 0, 0, 0, 0
    present = {people.pids[record.path] for record in engine.snapshot.records_of(engine.snapshot.image_ids)}
    asked = [name for name in names for _ in BOXES[:3]]
    queries = RegionFeatures.concatenate([people.features(name, box) for name in names for box in BOXES[:3]])
    results = engine.search(queries, 1, exact=True)
    for name, shown, result in zip(asked, (queries.visibility > 0).sum(axis=1).tolist(), results, strict=True):
        (best,) = result.matches
        verdict = known.verdict(shown, best.distance)
        if people.pids[name] not in present:
            absent, false = absent + 1, false + (verdict == MATCH)
        elif people.pids[best.path] == people.pids[name]:
            right, missed, found = right + 1, missed + (verdict == NO_MATCH), found + (verdict == MATCH)
    return {"missed": missed / right, "false": false / absent, "found": found / right}


def world(tmp_path, least, most, pids=None, count=90, seed=0):
    """A gallery in which people occur so often, and photographs of them and of as many others."""
    people = People(2 * count, seed)
    rng = np.random.default_rng(seed)
    gallery = [people.photograph(pid) for pid in range(count) for _ in range(rng.integers(least, most + 1))]
    queries = [people.photograph(pid) for pid in range(2 * count)]
    store = people.index(tmp_path / f"{least}-{most}-{seed}", gallery, pids)
    return people, SearchEngine(store), queries


@pytest.mark.parametrize(("least", "most"), [(4, 6), pytest.param(2, 20, marks=pytest.mark.slow)])
def test_without_pids_what_is_right_is_kept_and_what_is_absent_is_no_match(tmp_path, least, most):
    """At most 10 % of right first answers are "no match", at most 5 % of absent people "match"."""
    people, engine, queries = world(tmp_path, least, most)
    known = calibrate(engine, people, probes=60)
    assert (known.basis, known.labelled, known.identities) == (LIKENESS, False, 0)
    found = rates(people, engine, known, queries)
    assert found["missed"] <= 0.10
    assert found["false"] <= 0.05
    assert found["found"] > 0.1


@pytest.mark.slow
def test_pids_and_answers_make_more_certain(tmp_path):
    people, engine, queries = world(tmp_path, 2, 20)
    blind = rates(people, engine, calibrate(engine, people, probes=120), queries)
    records = engine.snapshot.records_of(engine.snapshot.image_ids)
    pid_of = {i: people.pids[r.path] for i, r in zip(engine.snapshot.image_ids.tolist(), records, strict=True)}
    pairs = choose_pairs(engine, 150, seed=1)
    same = {(min(pair), max(pair)): pid_of[pair[0]] == pid_of[pair[1]] for pair in pairs}
    known = calibrate(engine, people, probes=120, answers=Answers(same, tuple(dict.fromkeys(p[0] for p in pairs))))
    assert (known.basis, known.labelled) == (PAIRS, False)
    answered = rates(people, engine, known, queries)
    people, labelled, queries = world(tmp_path, 2, 20, pids=lambda pid, i: pid + 1, seed=1)
    known = calibrate(labelled, people, probes=120)
    assert (known.basis, known.labelled) == (PIDS, True)
    certain = rates(people, labelled, known, queries)
    for found in (blind, answered, certain):
        assert found["missed"] <= 0.10
    assert max(blind["false"], answered["false"]) <= 0.05
    assert certain["false"] <= 0.10  # 5 %, as 90 people of it tell
    assert blind["found"] < answered["found"]
    assert blind["found"] < certain["found"]


@pytest.mark.slow
def test_a_mixed_gallery_uses_the_pids_there_are(tmp_path):
    """Half of the people have pids: their images are searched for, and images without pids stay unknown."""
    people, engine, queries = world(tmp_path, 2, 12, pids=lambda pid, i: pid + 1 if pid % 2 else None)
    probes, unlabelled = draw_probes(engine, 100, 0)
    assert all(probe.known for probe in probes)
    without = sum(r.pid is None for r in engine.snapshot.records_of(engine.snapshot.image_ids))
    assert unlabelled == pytest.approx(without, abs=1)
    known = calibrate(engine, people, probes=150)
    assert (known.basis, known.labelled, known.identities) == (LIKENESS, False, 45)
    found = rates(people, engine, known, queries)
    assert found["missed"] <= 0.10
    assert found["false"] <= 0.08  # 5 %, as 90 absent people of it tell


def test_too_few_images_without_pids_are_refused_with_what_would_do(tmp_path):
    people, engine, _ = world(tmp_path, 2, 3, count=40)
    assert len(engine.snapshot) < 300
    with pytest.raises(DataError, match=r"300 images or more; or pids of some people.* or some pairs that you answer"):
        calibrate(engine, people)
    people, engine, _ = world(tmp_path, 1, 1, pids=lambda pid, i: pid + 1, count=5)
    with pytest.raises(DataError, match="too few images with files"):
        calibrate(engine, people)


def test_where_nobody_occurs_twice_it_never_says_no_match(tmp_path):
    people, engine, _ = world(tmp_path, 1, 1, pids=lambda pid, i: pid + 1)
    known = calibrate(engine, people, probes=20)
    assert not any(known.own)
    assert NO_MATCH not in {known.verdict(4, distance) for distance in np.linspace(0, 9, 50)}


def test_it_notices_what_came_after_it(tmp_path):
    people, engine, _ = world(tmp_path, 4, 6)
    store = engine.store
    store.keep_calibration(calibrate(engine, people, probes=20).values())
    info = store.model_info
    known = load_calibration(store, info.fingerprint, info.threshold)
    assert notice_of(store, known) == ""
    ids = store.snapshot.image_ids.tolist()
    with store.writer() as writer:
        for image_id, record in zip(ids, store.snapshot.records_of(ids), strict=True):
            writer.update(image_id, replace(record, pid=people.pids[record.path]))
        writer.commit()
    store.refresh()
    assert "labels came after it" in notice_of(store, load_calibration(store, info.fingerprint, info.threshold))
    with store.writer() as writer:
        writer.remove(ids[: len(ids) // 2])
        writer.commit()
    store.refresh()
    assert notice_of(store, known) != ""


def match(image_id, pid, camid=None):
    return Match(image_id, "", pid, camid, 1.0, ())


@pytest.mark.parametrize(
    ("probe", "other", "kind"),
    [
        ((5, None), (5, None), OWN),
        ((5, 1), (5, 2), OWN),
        ((5, 1), (5, None), OWN),
        ((5, 1), (5, 1), NOBODY),  # lies nearer than what one searches with
        ((5, 1), (6, 1), STRANGER),
        ((5, 1), (0, 1), STRANGER),  # a distractor
        ((0, 1), (5, 1), STRANGER),
        ((0, 1), (0, 2), UNKNOWN),  # two distractors: nobody knows
        ((5, 1), (None, 1), UNKNOWN),
        ((None, 1), (5, 1), UNKNOWN),
        ((None, None), (None, None), UNKNOWN),
        ((5, 1), (-1, 1), NOBODY),
        ((None, 1), (-1, 1), NOBODY),
    ],
)
def test_who_an_image_shows(probe, other, kind):
    assert _kind(ImageRecord("a", "", *probe), match(1, *other)) == kind


def test_the_nearest_stranger_lies_within_what_is_certain():
    rng = np.random.default_rng(0)
    distances = np.sort(rng.normal(1, 0.1, 5000))[:96]
    drawn = np.array([_nearest_unknown(distances, 5000, rng) for _ in range(2000)])
    assert distances[0] <= drawn.min() <= drawn.max() <= distances[19]
    # Of a list of strangers alone the median of the nearest is where half of a person is to be expected.
    truth = np.array([rng.normal(1, 0.1, 5000).min() for _ in range(300)])
    free = np.array([_nearest_unknown(np.append(0.0, distances[1:]), 5000, rng) for _ in range(2000)])
    assert np.median(free) == pytest.approx(np.median(truth), abs=0.02)
    assert _nearest_unknown(distances[:59], 5000, rng) == distances[0], "too short a list"
    assert _nearest_unknown(distances, 299, rng) == distances[0], "too small a gallery"
    same = np.full(96, 0.5)
    assert _nearest_unknown(same, 5000, rng) == 0.5


@pytest.fixture(scope="module")
def engine(tmp_path_factory, tiny):
    """120 pictures of 40 pids; and the extractor."""
    folder = tmp_path_factory.mktemp("calibrated")
    extractor = Extractor(read_weights(write_weights(folder / "tiny.safetensors", backbone=tiny)), torch.device("cpu"))
    paths = write_pictures(folder / "gallery", 120)
    images = [LabelledImage(path, pid=1 + i // 3, camid=1 + i % 3) for i, path in enumerate(paths)]
    with GalleryStore.create(folder / "index", extractor.weights.info) as store:
        index_gallery(store, extractor, images)
        yield SearchEngine(store), extractor


def test_strangers_do_not_match_at_the_rate_that_is_asked_for(engine):
    """Calibrated on half of the images, measured on the other half: both are searched for without their own people."""
    told, seconds = [], []
    known = calibrate(*engine, probes=40, seed=0, on_progress=told.append, on_estimate=seconds.append)
    assert sum(told) == 40 * len(BOXES)
    assert len(seconds) == 1
    assert seconds[0] > 0
    assert (known.images, known.labelled, known.identities) == (120, True, 40)
    held_out = calibrate(*engine, probes=70, seed=0)
    measured = [
        known.false_match_rate(number + 1, distance)
        for number, distances in enumerate(held_out.distances)
        for distance in distances
    ]
    assert len(measured) == 70 * len(BOXES)
    assert 0.02 < np.mean(np.array(measured) <= 0.05) < 0.10


@pytest.mark.parametrize("ranks", [1, 3, 96])
def test_many_at_once_as_one_after_the_other(engine, monkeypatch, ranks):
    """Also where the ranks that are looked at first are all of the query's own person."""
    monkeypatch.setattr(calibration, "RANKS", ranks)
    searching, snapshot = engine[0], engine[0].snapshot
    rows = np.arange(0, 120, 7)
    queries = RegionFeatures(snapshot.visibility[rows], snapshot.embeddings(rows))
    every = {probe.image_id: probe for probe in draw_probes(searching, 200, 0)[0]}
    probes = [every[int(snapshot.image_ids[row])] for row in rows]
    for place, (item, probe) in enumerate(zip(_lists(searching, queries, probes, None), probes, strict=True)):
        (found,) = search_others(searching, queries[place : place + 1], [probe.source], 120, exact=True)
        expected = next(m.distance for m in found.result.matches if m.pid != probe.record.pid)
        assert item.stranger[0] == expected
        assert not item.unknown.size


@pytest.mark.parametrize(
    ("pids", "count", "expected"),
    [
        ([7, 0, -1], 200, {7}),
        ([7, 0, -1], 30, {7, 0}),
        ([0], 30, {0}),
        ([None, 0], 30, {None, 0}),
        ([None, 3], 90, {3}),
    ],
)
def test_probes_are_of_known_people_where_there_are_enough(tmp_path, pids, count, expected):
    rng = np.random.default_rng(0)
    records = [ImageRecord(f"{i}.jpg", f"hash {i}", pid=pids[i % len(pids)]) for i in range(count)]
    features = RegionFeatures(np.full((count, 2), 0.5, np.float32), rng.normal(size=(count, 2, 4)).astype(np.float32))
    with GalleryStore.create(tmp_path / "index", ModelInfo((2, 1), 4, "w")) as store:
        with store.writer() as writer:
            writer.add(records, features)
            writer.commit()
        searching = SearchEngine(store)
        some, unlabelled = draw_probes(searching, 15, 0)
        assert len({probe.image_id for probe in some}) == 15
        assert {probe.record.pid for probe in some} <= expected
        assert unlabelled == sum(record.pid is None for record in records)
        assert [p.image_id for p in draw_probes(searching, 15, 1)[0]] != [p.image_id for p in some]
        every = draw_probes(searching, 1000, 0)[0]
        assert {probe.record.pid for probe in every} == expected
        assert [p.known for p in every] == sorted((p.known for p in every), reverse=True)
        first = [int(store.snapshot.image_ids[-1]), int(store.snapshot.image_ids[0])]
        asked = [probe.image_id for probe in draw_probes(searching, 15, 0, first)[0]]
        assert asked[:2] == first
        assert len(set(asked)) == 15


def test_the_image_itself_and_its_copies_are_no_strangers(tmp_path):
    """A gallery of everybody twice, once copied: copies are the query itself."""
    people, engine, _ = world(tmp_path, 4, 6)
    names = [record.path for record in engine.snapshot.records_of(engine.snapshot.image_ids)]
    plain = calibrate(engine, people, probes=20)
    with engine.store.writer() as writer:
        for name in names:
            writer.add([ImageRecord(f"copy of {name}", name)], people.images[name])
        writer.commit()
    engine.refresh()
    copied = calibrate(engine, people, probes=20)
    assert min(map(min, filter(None, copied.own))) > 0.5 * min(map(min, filter(None, plain.own)))
    assert Source.of("x").contents == {"x"}

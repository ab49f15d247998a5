"""Pairs that a person answers: which are asked, the file, and what follows from the answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from vpmsearch.errors import DataError
from vpmsearch.search.engine import SearchEngine
from vpmsearch.search.pairs import Sample, choose_pairs, fit, read_answers, write_pairs
from vpmsearch.store import GalleryStore
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """100 images."""
    rng = np.random.default_rng(0)
    features = RegionFeatures(np.full((100, 2), 0.5, np.float32), rng.normal(size=(100, 2, 4)).astype(np.float32))
    with GalleryStore.create(tmp_path_factory.mktemp("pairs") / "index", ModelInfo((2, 1), 4, "w")) as store:
        with store.writer() as writer:
            writer.add([ImageRecord(f"größe, {i}.jpg", f"hash {i}") for i in range(100)], features)
            writer.commit()
        yield SearchEngine(store)


def filled_in(path: Path, said) -> Path:
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *([*row[:2], said(i)] for i, row in enumerate(rows[1:]))])
    return path


def test_pairs_are_near_and_of_two_images_each_once(engine):
    pairs = choose_pairs(engine, 90, seed=1)
    assert pairs == choose_pairs(engine, 90, seed=1) != choose_pairs(engine, 90, seed=2)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) > 80
    assert all(len(set(pair)) == 2 for pair in pairs)
    ranks = []
    found = engine.search(engine.snapshot.features_of([image_id for image_id, _ in pairs]), 100, exact=True)
    for (image_id, other), result in zip(pairs, found, strict=True):
        ranks.append([m.image_id for m in result.matches if m.image_id != image_id].index(other))
    assert max(ranks) < 40
    assert np.mean(np.array(ranks) < 7) > 0.4, "nearer ones more often"


def test_the_file_is_written_once_and_its_answers_are_read(engine, tmp_path):
    pairs = choose_pairs(engine, 100)
    path = tmp_path / "deep" / "pairs.csv"
    with pytest.raises(DataError, match="there is no folder"):
        write_pairs(path, engine, pairs)
    path.parent.mkdir()
    write_pairs(path, engine, pairs)
    with pytest.raises(DataError, match="may hold answers"):
        write_pairs(path, engine, pairs)
    with pytest.raises(DataError, match=r"0 answers, 0 of them yes; a calibration needs 60, 15 of either"):
        read_answers(path, engine.store)
    words = ["yes", " No ", "SAME", "not same", "", "?"]
    answers = read_answers(filled_in(path, lambda i: words[i % 6]), engine.store)
    expected = {frozenset(p): i % 2 == 0 for i, p in enumerate(pairs) if i % 6 < 4}
    assert {frozenset(pair): said for pair, said in answers.same.items()} == expected
    assert answers.probes == tuple(p[0] for i, p in enumerate(pairs) if i % 6 < 4)
    by_id = [f"{a},{b},{'yes' if i % 2 else 'no'}" for i, (a, b) in enumerate(pairs)]
    (tmp_path / "ids.csv").write_text("\n".join(["image,other,same", *by_id]))
    assert len(read_answers(tmp_path / "ids.csv", engine.store).same) == len(pairs)
    first, other = pairs[0]
    assert answers.of(first, other) is answers.of(other, first) is True
    assert answers.of(first, first) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "has not the columns image, other, same"),
        ("image,other,same\nx.jpg,y.jpg,maybe\n", "line 2: same is 'maybe'; write yes or no"),
        ('image,other,same\nx.jpg,"größe, 1.jpg",yes\n', "line 2: x.jpg and größe, 1.jpg are not two images"),
        ('image,other,same\n"größe, 1.jpg","größe, 1.jpg",yes\n', "are not two images"),
        ("image,other,same\nx.jpg\n", "0 answers"),
        ("", "has not the columns"),
        (b"image,other,same\n\xff\xfe,a,yes\n", "no CSV file in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_understood(engine, tmp_path, text, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_answers(path, engine.store)
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(tmp_path / "nowhere.csv", engine.store)


def test_the_curve_is_the_one_that_drew_the_answers():
    rng = np.random.default_rng(3)
    truth = {3: (0.5, 30.0), 6: (0.7, 30.0)}
    samples = []
    for visible, (middle, slope) in truth.items():
        for distance in rng.uniform(0.2, 1.0, 3000):
            likely = 1 / (1 + np.exp(slope * (distance - middle)))
            samples.append(Sample(visible, distance, bool(rng.random() < likely)))
    curve = fit(samples)
    for visible, (middle, slope) in truth.items():
        assert curve.middle[visible] == pytest.approx(middle, abs=0.01)
        assert curve.slope == pytest.approx(-slope, rel=0.1)
        assert curve.same(visible, np.array([middle]))[0] == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(curve.same(1, np.array([0.5])), curve.same(3, np.array([0.5])))
    assert curve.same(6, np.array([0.0, 1e9])) == pytest.approx([1, 0], abs=1e-6)


def test_answers_from_which_nothing_follows():
    rng = np.random.default_rng(0)
    swapped = [Sample(6, distance, bool(distance > 0.5)) for distance in rng.random(200)]
    with pytest.raises(DataError, match="no nearer than others"):
        fit(swapped)
    with pytest.raises(DataError, match="100 answers, 100 of them yes"):
        fit([Sample(6, 0.1, True)] * 100)
    apart = fit([Sample(6, distance, bool(distance < 0.5)) for distance in rng.random(200)])
    assert np.isfinite([apart.slope, *apart.middle.values()]).all(), "kinds that do not overlap have no best slope"

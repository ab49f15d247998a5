"""Evaluation protocols against the oracle's full matrix, and the rows they print."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import visibility_weighted_distance
from tiny_weights import picture, write_weights

from vpmsearch.data.crops import STRATEGIES, CropBox, region_labels, sample_crop
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError, ModelError
from vpmsearch.evaluation.features import extract_labelled, indexed_gallery, queries_to_see, query_crops
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.metrics import RankMetrics, evaluate_rank
from vpmsearch.evaluation.protocols import evaluate_model, visible_set_f1
from vpmsearch.evaluation.ranked import rank
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.store import GalleryStore
from vpmsearch.types import RegionFeatures

# of `evaluate --json`
KEYS = ["gamma", "crop", "weighting", "matcher", "candidates", "reciprocal", "expand", "own_camera"]
KEYS += ["rank1", "rank3", "rank5", "rank10"]
KEYS += ["map", "map_trapezoid", "minp", "rank1_interval", "map_interval", "visible_f1", "queries", "gallery"]
GAIN_KEYS = ["rank1_gain", "rank1_gain_interval", "map_gain", "map_gain_interval"]


def labelled(n: int, p: int, d: int, seed: int) -> LabelledFeatures:
    """Features about half of whose regions are faint; pids −1 (junk), 0 (distractor) and 1 to 3."""
    rng = np.random.default_rng(seed)
    visibility = rng.dirichlet(np.full(p, 0.4), n).astype(np.float32).reshape(n, p)
    visibility[visibility < 0.02] = 0
    features = RegionFeatures(visibility, rng.normal(size=(n, p, d)).astype(np.float32))
    return LabelledFeatures(features, rng.integers(-1, 4, n), rng.integers(0, 3, n))


def as_queries(given: LabelledFeatures) -> LabelledFeatures:
    return LabelledFeatures(given.features, np.abs(given.pids) % 3 + 1, given.camids)


def oracle_matrix(
    query: RegionFeatures, gallery: RegionFeatures, min_visibility: float, uniform: bool = False
) -> np.ndarray:
    """(Q, G) of Eq. 4 in float64 loops; a visibility below the threshold is 0, or all are 1."""
    q_weights, g_weights = (
        np.ones_like(side.visibility)
        if uniform
        else np.where(side.visibility >= np.float32(min_visibility), side.visibility, 0)
        for side in (query, gallery)
    )
    return visibility_weighted_distance(query.embeddings, q_weights, gallery.embeddings, g_weights)


def assert_same(found: RankMetrics, expected: RankMetrics) -> None:
    np.testing.assert_allclose(found.cmc, expected.cmc)
    for name in ("mean_ap", "mean_ap_trapezoid", "mean_inp", "num_valid_queries"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


# rank -------------------------------------------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(4, 30), st.integers(1, 6), st.integers(1, 5)),
    min_visibility=st.sampled_from([0.0, 1 / 12, 0.3]),
    weighting=st.sampled_from(["visibility", "uniform"]),
    seed=st.integers(0, 2**16),
)
def test_rank_is_evaluate_rank_of_the_full_matrix(shape, min_visibility, weighting, seed):
    num_queries, size, p, d = shape
    query, gallery = as_queries(labelled(num_queries, p, d, seed)), labelled(size, p, d, seed + 1)
    matrix = oracle_matrix(query.features, gallery.features, min_visibility, weighting == "uniform")
    labels = (query.pids, gallery.pids, query.camids, gallery.camids)
    try:
        expected = evaluate_rank(matrix, *labels)
    except DataError:  # no query has anything to find
        with pytest.raises(DataError, match="relevant"):
            rank(query, gallery, min_visibility=min_visibility, weighting=weighting).result()
        return
    assert_same(rank(query, gallery, min_visibility=min_visibility, weighting=weighting).result(), expected)


def test_uniform_weighting_is_the_mean_distance_whatever_is_visible():
    query, gallery = as_queries(labelled(12, 6, 4, 3)), labelled(30, 6, 4, 4)
    gaps = query.features.embeddings[:, None].astype(np.float64) - gallery.features.embeddings[None]
    means = np.linalg.norm(gaps, axis=3).mean(axis=2)  # (Q, G, p, d) -> (Q, G)
    expected = evaluate_rank(means, query.pids, gallery.pids, query.camids, gallery.camids)
    assert_same(rank(query, gallery, min_visibility=0.3, weighting="uniform").result(), expected)


def test_weightings_differ_where_visibility_does():
    query, gallery = as_queries(labelled(12, 6, 4, 5)), labelled(30, 6, 4, 6)
    by_visibility = rank(query, gallery, min_visibility=0).result()
    uniform = rank(query, gallery, min_visibility=0, weighting="uniform").result()
    assert by_visibility.mean_ap != uniform.mean_ap


# crops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_crops_are_decided_by_seed_and_position_alone(strategy: str):
    many = query_crops(40, strategy, 0.6, seed=3)
    assert query_crops(40, strategy, 0.6, seed=3) == many
    assert query_crops(11, strategy, 0.6, seed=3) == many[:11]
    assert all(box.area == pytest.approx(0.6) for box in many)
    if strategy in ("bilateral", "random"):
        assert query_crops(40, strategy, 0.6, seed=4) != many
        assert len(set(many)) > 1


def test_bilateral_keeps_the_top_or_the_bottom():
    boxes = query_crops(60, "bilateral", 0.5, seed=0)
    tops = boxes.count(CropBox(bottom=0.5))
    assert tops + boxes.count(CropBox(top=0.5)) == 60
    assert 15 < tops < 45


def test_whole_queries_have_no_box():
    assert query_crops(3, "top", 1.0, seed=0) == [None, None, None]
    assert query_crops(0, "top", 0.5, seed=0) == []


@pytest.mark.parametrize(("strategy", "gamma"), [("middle", 0.5), ("top", 0.0), ("top", 1.5), ("top", math.nan)])
def test_crops_that_cannot_be(strategy: str, gamma: float):
    with pytest.raises(DataError):
        query_crops(2, strategy, gamma, seed=0)


# evaluate_model ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Extractor:
    weights = read_weights(write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors", backbone=tiny))
    return Extractor(weights, torch.device("cpu"), batch_size=4)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Three identities, a query of each in camera 1 and two gallery images of each in camera 2, and a distractor."""
    folder = tmp_path_factory.mktemp("people")
    images = []
    for seed, (pid, camid) in enumerate([(1, 1), (2, 1), (3, 1), *[(1 + i % 3, 2) for i in range(6)], (0, 2)]):
        path = folder / f"{seed}.png"
        picture(pid * 100 if seed % 2 else seed, 32, 80).save(path)
        images.append(LabelledImage(path, pid, camid))
    return images[:3], images[3:]


def test_rows_have_the_keys_of_the_contract(extractor, people):
    told: list[int] = []
    rows = list(
        evaluate_model(
            extractor, *people, gammas=(0.5, 1.0), weightings=("visibility", "uniform"), on_progress=told.append
        )
    )
    assert [(row.gamma, row.weighting) for row in rows] == [
        (0.5, "visibility"), (0.5, "uniform"), (1.0, "visibility"), (1.0, "uniform"),
    ]  # fmt: skip
    assert sum(told) == 7 + 2 * 3
    for row in rows:
        values = row.to_json()
        assert list(values) == KEYS + (GAIN_KEYS if row.weighting == "visibility" else [])
        assert (values["crop"], values["queries"], values["gallery"]) == ("bilateral", 3, 7)
        fractions = [values[key] for key in ("rank1", "rank3", "rank5", "rank10", "map", "map_trapezoid", "minp")]
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in fractions)
        assert values["rank1"] <= values["rank3"] <= values["rank5"] <= values["rank10"] == 1
        assert type(values["queries"]) is int


def test_figures_are_those_of_the_features(extractor, people):
    (row,) = evaluate_model(extractor, *people, gammas=(0.5,), crops=("top",))
    query = extract_labelled(extractor, people[0], [CropBox(bottom=0.5)] * 3)
    gallery = extract_labelled(extractor, people[1])
    matrix = oracle_matrix(query.features, gallery.features, 1 / 12)
    labels = ([1, 2, 3], [1, 2, 3, 1, 2, 3, 0], [1] * 3, [2] * 7)
    assert_same(row.metrics, evaluate_rank(matrix, *labels))


def test_what_strategies_cut_alike_is_seen_once(extractor, people):
    """Bilateral queries are cut as top or bottom ones are, and whole queries are whole for all."""
    told: list[int] = []
    both = {"gammas": (0.6, 1.0), "weightings": ("visibility", "uniform")}
    rows = list(
        evaluate_model(extractor, *people, crops=("top", "bilateral", "bottom"), on_progress=told.append, **both)
    )
    assert sum(told) == 7 + 2 * 3 + 3
    assert queries_to_see(3, (0.6, 1.0), ("top", "bilateral", "bottom"), 0) == 2 * 3 + 3
    assert [row.crop for row in rows] == ["top", "top", "bilateral", "bilateral", "bottom", "bottom"] * 2
    for crop in ("top", "bilateral", "bottom"):
        alone = list(evaluate_model(extractor, *people, crops=(crop,), **both))
        together = [row for row in rows if row.crop == crop]
        for one, other in zip(alone, together, strict=True):
            assert_same(one.metrics, other.metrics)
            assert one.visible_f1 == other.visible_f1
            np.testing.assert_allclose(one.per_query.ap, other.per_query.ap, rtol=1e-6)


def test_what_visibility_adds_is_the_difference_of_the_rows(extractor, people):
    weightings = ("visibility", "uniform")
    by_visibility, uniform = evaluate_model(extractor, *people, gammas=(0.5,), weightings=weightings)
    assert uniform.gain is None
    gain = by_visibility.gain
    assert gain.mean_ap == pytest.approx(by_visibility.metrics.mean_ap - uniform.metrics.mean_ap)
    assert gain.rank1 == pytest.approx(by_visibility.metrics.cmc[0] - uniform.metrics.cmc[0])
    assert gain.mean_ap_interval.low <= gain.mean_ap <= gain.mean_ap_interval.high
    (alone,) = evaluate_model(extractor, *people, gammas=(0.5,))
    assert alone.gain is None
    assert set(alone.to_json()) == set(KEYS)


@pytest.mark.parametrize("least", [0.0, 1 / 12, 0.2])
@pytest.mark.parametrize(("grid", "map_size"), [((6, 1), (16, 8)), ((3, 2), (8, 4)), ((4, 1), (4, 2))])
def test_visible_set_f1_counts_regions(grid, map_size, least):
    """Against counting pixel by pixel what a crop shows of each region."""
    rng = np.random.default_rng(5)
    p = grid[0] * grid[1]
    boxes = [None, *(sample_crop(STRATEGIES[i % 6], 0.3 + 0.05 * i, rng) for i in range(12))]
    visibility = rng.dirichlet(np.full(p, 0.5), len(boxes)).astype(np.float32)
    hits = wrong = 0
    for box, row in zip(boxes, visibility, strict=True):
        labels = region_labels(box or CropBox(), grid, map_size)
        for region in range(p):
            share = sum(int(label == region) for label in labels.flat) / labels.size
            true, seen = share >= least and share > 0, row[region] >= least and row[region] > 0
            hits, wrong = hits + (true and seen), wrong + (true != seen)
    assert hits
    assert wrong
    found = visible_set_f1(visibility, boxes, grid, map_size, least)
    assert found == pytest.approx(2 * hits / (2 * hits + wrong))
    assert visible_set_f1(visibility[:0], [], grid, map_size, least) == 0


def test_min_visibility_is_the_one_given(extractor, people):
    (row,) = evaluate_model(extractor, *people, min_visibility=0)
    query, gallery = (extract_labelled(extractor, images) for images in people)
    matrix = oracle_matrix(query.features, gallery.features, 0)
    assert_same(row.metrics, evaluate_rank(matrix, query.pids, gallery.pids, query.camids, gallery.camids))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gallery_may_come_from_an_index(extractor, people, tmp_path: Path, dtype: str):
    query, gallery = people
    other = tmp_path / "other.png"
    picture(99).save(other)
    with GalleryStore.create(tmp_path / "index", extractor.weights.info, embedding_dtype=dtype) as store:
        with pytest.raises(DataError, match="of the gallery's 7 images 7 are not in the index"):
            indexed_gallery(store.snapshot, gallery)
        index_gallery(store, extractor, [LabelledImage(other), *reversed(gallery)])
        found = indexed_gallery(store.snapshot, gallery)
        strange = tmp_path / "strange.png"
        picture(98).save(strange)
        with pytest.raises(DataError, match=r"of the gallery's 8 images 1 are not in the index .*strange"):
            indexed_gallery(store.snapshot, [*gallery, LabelledImage(strange, 1, 1)])
        # The same images under other paths: found by their content.
        copies = [LabelledImage(tmp_path / f"copy{i}.png", each.pid, each.camid) for i, each in enumerate(gallery)]
        for copy, each in zip(copies, gallery, strict=True):
            shutil.copy(each.path, copy.path)
        again = indexed_gallery(store.snapshot, copies)
        np.testing.assert_array_equal(again.features.embeddings, found.features.embeddings)
        with pytest.raises(DataError, match=r"other\.png has no pid"):
            indexed_gallery(store.snapshot, [*gallery, LabelledImage(other)])
        with pytest.raises(DataError, match="no images"):
            indexed_gallery(store.snapshot, [])
    seen = extract_labelled(extractor, gallery)
    assert found.pids.tolist() == seen.pids.tolist()
    assert found.camids.tolist() == seen.camids.tolist()
    np.testing.assert_allclose(found.features.embeddings, seen.features.embeddings, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.features.visibility, seen.features.visibility, rtol=0, atol=1e-5)
    told: list[int] = []
    (row,) = evaluate_model(extractor, query, found, gammas=(0.5,), on_progress=told.append)
    assert (sum(told), row.gallery) == (3, 7)
    assert_same(row.metrics, rank(extract_labelled(extractor, query, query_crops(3, "bilateral", 0.5, 0)), found,
                                  min_visibility=1 / 12).result())  # fmt: skip


@pytest.mark.parametrize("value", [-0.1, 1.0, 7.0, math.nan])
def test_min_visibility_that_cannot_be_is_refused_first(extractor, people, value: float):
    told: list[int] = []
    with pytest.raises(ModelError, match="min_visibility"):
        list(evaluate_model(extractor, *people, min_visibility=value, on_progress=told.append))
    assert told == []


@pytest.mark.parametrize("wrong", [{"gammas": (1.0, 0.0)}, {"crops": ("top", "middle")}])
def test_settings_that_cannot_be_are_refused_before_the_long_work(extractor, people, wrong):
    told: list[int] = []
    with pytest.raises(DataError):
        list(evaluate_model(extractor, *people, on_progress=told.append, **wrong))
    assert told == []


def test_nothing_is_left_out_silently(extractor, people, tmp_path: Path):
    query, gallery = people
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    for images, words in (
        ([*query, LabelledImage(bad, 1, 1)], r"bad\.png.*not an image"),
        ([*query, LabelledImage(tmp_path / "gone.png", 1, 1)], r"gone\.png.*no such file"),
        ([*query, replace(query[0], pid=None)], "no pid"),
        ([*query, replace(query[0], camid=None)], "no camid"),
        ([], "no images"),
    ):
        with pytest.raises(DataError, match=words):
            list(evaluate_model(extractor, images, gallery))
        with pytest.raises(DataError, match=words):
            list(evaluate_model(extractor, query, images))

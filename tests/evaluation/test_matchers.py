"""DSR and SFR against least squares, pixel by pixel."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch

from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.matchers import (
    RIDGE,
    WINDOWS,
    candidate_distances,
    nearest_candidates,
    reconstruction_distances,
    reconstructor,
    reordered,
    second_moments,
    spatial_features,
)
from vpmsearch.evaluation.matching import check_matcher
from vpmsearch.evaluation.metrics import RankAccumulator
from vpmsearch.evaluation.ranked import rank_matched
from vpmsearch.types import RegionFeatures


def plain_features(feature_map, windows):
    """Every window of every size, one after the other."""
    d, height, width = feature_map.shape
    pixels = []
    for side in windows:
        for y in range(height - side + 1):
            for x in range(width - side + 1):
                mean = np.zeros(d)
                for dy, dx in np.ndindex(side, side):
                    mean += feature_map[:, y + dy, x + dx] / side**2
                pixels.append(mean / np.linalg.norm(mean))
    return np.array(pixels)


def plain_distance(query, gallery, ridge):
    """Each pixel's own ridge regression on the gallery's pixels, as an ordinary least squares problem."""
    total = 0.0
    dictionary = np.vstack([gallery.T, np.sqrt(ridge) * np.eye(len(gallery))])  # (d + M, M)
    for pixel in query:
        weights, *_ = np.linalg.lstsq(dictionary, np.concatenate([pixel, np.zeros(len(gallery))]), rcond=None)
        total += float(((pixel - gallery.T @ weights) ** 2).sum())
    return total / len(query)


def maps(n, d, height, width, seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d, height, width))).float()


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize(("d", "height", "width"), [(5, 4, 3), (30, 4, 3), (8, 2, 2)])
@pytest.mark.parametrize("ridge", [RIDGE, 0.5])
def test_distances_match_least_squares(name, d, height, width, ridge):
    """More pixels than numbers, and fewer."""
    windows = [side for side in WINDOWS[name] if side <= min(height, width)]
    query, gallery = maps(3, d, height, width, 0), maps(2, d, height, width, 1)
    asked, among = (spatial_features(side, WINDOWS[name]) for side in (query, gallery))
    for image in range(2):
        found = reconstruction_distances(second_moments(asked), reconstructor(among[image], ridge))
        dictionary = plain_features(gallery[image].double().numpy(), windows)
        for row in range(3):
            pixels = plain_features(query[row].double().numpy(), windows)
            np.testing.assert_allclose(asked[row], pixels, atol=1e-6)
            assert found[row].item() == pytest.approx(plain_distance(pixels, dictionary, ridge), rel=1e-4, abs=1e-5)


def test_an_image_and_its_parts_are_rebuilt_from_it():
    whole = maps(1, 40, 4, 4, 2)
    among = reconstructor(spatial_features(whole, (1,))[0])
    part = spatial_features(whole[:, :, 2:], (1,))
    other = spatial_features(maps(1, 40, 2, 4, 3), (1,))
    assert reconstruction_distances(second_moments(part), among).item() == pytest.approx(0, abs=1e-4)
    assert 0.3 < reconstruction_distances(second_moments(other), among).item() <= 1


def test_pixels_of_zeros_cost_nothing():
    blank = spatial_features(torch.zeros(1, 4, 2, 2), (1,))
    assert torch.equal(blank, torch.zeros(1, 4, 4))
    assert reconstruction_distances(second_moments(blank), reconstructor(blank[0])).item() == 0


def test_each_query_meets_its_own_candidates():
    query, gallery = spatial_features(maps(4, 9, 3, 2, 4), (1,)), spatial_features(maps(6, 9, 3, 2, 5), (1,))
    candidates = np.array([[0, 5], [5, 2], [-1, -1], [3, -1]])
    needed = sorted({0, 2, 3, 5})
    found = candidate_distances(second_moments(query), candidates, ((i, gallery[i]) for i in needed))
    for row, place in np.ndindex(4, 2):
        image = candidates[row, place]
        if image < 0:
            assert found[row, place] == np.inf
        else:
            expected = plain_distance(query[row].double().numpy(), gallery[image].double().numpy(), RIDGE)
            assert found[row, place] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert candidate_distances(second_moments(query[:0]), candidates[:0], ()).shape == (0, 2)
    # An image that is one query's candidate as often as there are queries is not everybody's.
    twice = candidate_distances(second_moments(query[:2]), np.array([[-1, -1], [3, 3]]), [(3, gallery[3])])
    expected = plain_distance(query[1].double().numpy(), gallery[3].double().numpy(), RIDGE)
    np.testing.assert_allclose(twice, [[np.inf, np.inf], [expected, expected]], rtol=1e-4)


def test_candidates_come_first_and_the_rest_stays():
    distances = np.array([[0.3, 0.1, np.inf, 0.2, 0.1], [np.inf, np.inf, 5.0, np.inf, 4.0]])
    candidates = nearest_candidates(distances, 3)
    np.testing.assert_array_equal(candidates, [[1, 4, 3], [4, 2, -1]])
    matched = np.array([[0.9, 0.2, 0.5], [1.0, 0.0, np.inf]])
    result = reordered(distances, candidates, matched)
    np.testing.assert_array_equal(np.argsort(result, axis=1, kind="stable"), [[4, 3, 1, 0, 2], [2, 4, 0, 1, 3]])
    assert np.isinf(result[1, [0, 1, 3]]).all()
    assert nearest_candidates(distances, 99).shape == (2, 5)
    equal = reordered(distances, candidates, np.ones_like(matched))
    np.testing.assert_array_equal(np.argsort(equal, axis=1, kind="stable")[0], [1, 4, 3, 0, 2])


def test_unknown_matchers():
    check_matcher("sfr")
    with pytest.raises(DataError, match="unknown matcher 'swm'; choose one of dsr, sfr, amc-swm, mtrc"):
        check_matcher("swm")


@pytest.mark.parametrize("count", [1, 4, 99, None])
def test_ranks_with_a_matcher_are_those_of_the_reordered_rows(count):
    """From features to metrics: the candidates by D, then the rest by Eq. 4; None is the matcher alone."""
    rng = np.random.default_rng(6)

    def side(n):
        visibility = rng.dirichlet(np.ones(2), n).astype(np.float32)
        visibility[rng.random((n, 2)) < 0.3] = 0
        features = RegionFeatures(visibility, rng.normal(size=(n, 2, 5)).astype(np.float32))
        return LabelledFeatures(features, rng.integers(-1, 4, n), rng.integers(0, 2, n))

    query, gallery = side(9), side(30)
    query = LabelledFeatures(query.features, np.abs(query.pids), query.camids)
    pixels = [spatial_features(maps(n, 7, 3, 2, seed), (1,)) for n, seed in ((9, 7), (30, 8))]
    asked: list[int] = []

    def match(rows):
        assert rows.shape == (1, 9, min(count or 99, (gallery.pids != -1).sum()))
        wanted = np.unique(rows[rows >= 0])
        asked.extend(wanted.tolist())
        return candidate_distances(second_moments(pixels[0]), rows[0], ((i, pixels[1][i]) for i in wanted))[None]

    found = rank_matched(query, gallery, match, candidates=count, min_visibility=0)
    assert all(gallery.pids[row] != -1 for row in asked)
    features = [a for s in (query, gallery) for a in (s.features.embeddings, s.features.visibility)]
    matrix = oracles.visibility_weighted_distance(*features)
    unseen = 0
    for row in range(9):
        own = (gallery.pids == query.pids[row]) & (gallery.camids == query.camids[row])
        matrix[row, own | (gallery.pids == -1)] = np.inf
        order = [image for image in np.argsort(matrix[row], kind="stable") if np.isfinite(matrix[row, image])]
        if count is None:
            unseen += int((~own & (gallery.pids != -1)).sum()) - len(order)
            order = np.flatnonzero(~own & (gallery.pids != -1)).tolist()
        d = pixels[0][row].double().numpy(), pixels[1].double().numpy()
        first = sorted(order[:count], key=lambda image: plain_distance(d[0], d[1][image], RIDGE))
        for place, image in enumerate([*first, *order[len(first) :]]):
            matrix[row, image] = place
    expected = RankAccumulator(gallery.pids, gallery.camids)
    expected.update(matrix, query.pids, query.camids)
    np.testing.assert_allclose(found.ap, expected.per_query().ap)
    np.testing.assert_array_equal(found.first_hit_rank, expected.per_query().first_hit_rank)
    assert count is not None or unseen, "some images share no region with a query"

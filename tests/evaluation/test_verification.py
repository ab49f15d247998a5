"""FNMR at FMR against a walk through every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import visibility_weighted_distance

from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.ranked import pair_errors
from vpmsearch.evaluation.verification import PairErrors
from vpmsearch.types import RegionFeatures

INF = np.inf


def plain_fnmr(genuine, impostors, level):
    """The smallest FNMR of any threshold whose FMR is at most the level: pairs match below it."""
    best = 1.0
    for threshold in [*sorted(set(genuine) | set(impostors)), INF]:
        if sum(distance < threshold for distance in impostors) <= level * len(impostors) + 1e-9:
            best = min(best, sum(not distance < threshold for distance in genuine) / len(genuine))
    return best


@given(
    genuine=st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.9, INF]), min_size=1, max_size=12),
    impostors=st.lists(st.sampled_from([0.1, 0.2, 0.4, 0.6, 1.0, INF]), min_size=1, max_size=30),
    blocks=st.integers(1, 4),
)
def test_every_threshold_was_tried(genuine, impostors, blocks):
    levels = (0.01, 0.1, 0.29, 0.5, 0.9)
    errors = PairErrors(levels, np.array([1]), np.full(len(impostors), 2))
    assert errors.impostors == len(impostors)
    values = np.array([*genuine, *impostors])
    own = np.arange(len(values)) < len(genuine)
    for some in np.array_split(np.random.default_rng(0).permutation(len(values)), blocks):
        errors.update(values[None, some], own[None, some], ~own[None, some])
    found = errors.fnmr()
    assert found == {level: pytest.approx(plain_fnmr(genuine, impostors, level)) for level in levels}
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_pairs_are_those_of_the_protocol():
    rng = np.random.default_rng(1)

    def side(n):
        visibility = rng.dirichlet(np.ones(3), n).astype(np.float32)
        visibility[rng.random((n, 3)) < 0.3] = 0
        features = RegionFeatures(visibility, rng.normal(size=(n, 3, 4)).astype(np.float32))
        return LabelledFeatures(features, rng.integers(-1, 5, n), rng.integers(0, 2, n))

    query, gallery = side(20), side(60)
    query = LabelledFeatures(query.features, np.abs(query.pids) + 1, query.camids)
    sides = [array for s in (query, gallery) for array in (s.features.embeddings, s.features.visibility)]
    matrix = visibility_weighted_distance(*sides)
    assert np.isinf(matrix).any()
    genuine, impostors = [], []
    for row, column in np.ndindex(matrix.shape):
        pid = gallery.pids[column]
        if pid == query.pids[row] and gallery.camids[column] != query.camids[row]:
            genuine.append(matrix[row, column])
        elif pid not in (-1, query.pids[row]):
            impostors.append(matrix[row, column])
    found = pair_errors(query, gallery, (0.01, 0.2), min_visibility=0)
    assert found == {level: pytest.approx(plain_fnmr(genuine, impostors, level)) for level in (0.01, 0.2)}


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, float("nan")])
def test_levels_that_cannot_be(level):
    with pytest.raises(DataError, match="false-match rate"):
        PairErrors((level,), np.array([1]), np.array([2]))


def test_without_pairs():
    with pytest.raises(DataError, match="two people"):
        PairErrors((0.1,), np.array([1]), np.array([1, -1]))
    with pytest.raises(DataError, match="one person"):
        PairErrors((0.1,), np.array([1]), np.array([2])).fnmr()

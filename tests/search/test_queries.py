"""Regions by name, queries of some regions, and several photographs as one query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import FeatureError
from vpmsearch.search.queries import only_regions, parse_regions, region_names, together
from vpmsearch.types import RegionFeatures


def features(n: int, p: int = 6, d: int = 4, seed: int = 0) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    return RegionFeatures(
        rng.dirichlet(np.ones(p), n).astype(np.float32), rng.normal(size=(n, p, d)).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ((6, 1), "head torso torso legs legs legs"),
        ((3, 2), "head head torso torso legs legs"),
        ((2, 1), "torso legs"),
        ((4, 1), "head torso legs legs"),
        ((8, 1), "head torso torso torso legs legs legs legs"),
        ((1, 2), "body body"),
    ],
)
def test_names(grid, names):
    assert region_names(grid) == tuple(names.split())


@given(st.integers(1, 40), st.integers(1, 4))
def test_names_go_downwards(rows, columns):
    names = region_names((rows, columns))
    assert len(names) == rows * columns
    order = {"head": 0, "torso": 1, "legs": 2, "body": 0}
    assert sorted(names, key=order.__getitem__) == list(names)


@pytest.mark.parametrize(
    ("text", "regions"),
    [("", None), (" ", None), ("0,1", (0, 1)), ("legs", (3, 4, 5)), (" Head, 5,0 ", (0, 5)), ("torso,head", (0, 1, 2))],
)
def test_regions_as_people_write_them(text, regions):
    assert parse_regions(text, (6, 1)) == regions


@pytest.mark.parametrize("text", ["6", "-1", "arm", "0,,1", ",", "1.0", "٣", "9" * 5000, "body"])
def test_no_such_region(text):
    with pytest.raises(FeatureError, match="0 to 5, and head, torso, legs"):
        parse_regions(text, (6, 1))


def test_only_regions_leaves_the_others_unseen_and_its_input_alone():
    given_features = features(3)
    before = given_features.visibility.copy()
    kept = only_regions(given_features, (1, 4))
    assert (kept.visibility[:, [0, 2, 3, 5]] == 0).all()
    assert (kept.visibility[:, [1, 4]] == before[:, [1, 4]]).all()
    assert (kept.embeddings == given_features.embeddings).all()
    assert (given_features.visibility == before).all()
    assert only_regions(given_features, None) is given_features


@pytest.mark.parametrize("regions", [(), (6,), (-1,), (0, 99)])
def test_only_regions_that_exist(regions):
    with pytest.raises(FeatureError, match="some of 0 to 5"):
        only_regions(features(1), regions)


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 99))
def test_together_takes_each_region_from_where_most_of_it_is_seen(n, p, seed):
    several = features(n, p, seed=seed)
    one, sources = together(several)
    assert len(one) == 1
    for region in range(p):
        best = max(range(n), key=lambda row: several.visibility[row, region])
        assert sources[region] == best
        assert one.visibility[0, region] == several.visibility[best, region]
        assert (one.embeddings[0, region] == several.embeddings[best, region]).all()


def test_together_of_one_is_itself_and_of_none_is_refused():
    single = features(1)
    one, sources = together(single)
    assert (one.visibility == single.visibility).all()
    assert (one.embeddings == single.embeddings).all()
    assert set(sources) == {0}
    with pytest.raises(FeatureError, match="at least one photograph"):
        together(features(0))

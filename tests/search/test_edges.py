"""The edges of a search, the same for every way of searching: flat and approximate lists, filters by FAISS and by mask.

docs/search.md says what is expected; here it is held against Eq. 4 in float64.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import visibility_weighted_distance

from vpmsearch.errors import FeatureError
from vpmsearch.search import engine as search
from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore
from vpmsearch.store.folder import index_building
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter

N, P, D = 300, 2, 4
COPIES, BLIND, REMOVED = range(10, 20), 20, {5, 12, 299}  # image ids; image i is row i − 1
WAYS = [
    ("flat", "cpu", False),
    ("flat", "cpu", True),
    ("ivf-sq8", "cpu", False),
    ("ivf-sq8", "cpu", True),
    ("ivf-pqfs", "cpu", False),
    pytest.param(("flat", "cuda", True), marks=pytest.mark.gpu),
    pytest.param(("ivf-sq8", "cuda", True), marks=pytest.mark.gpu),
]


def make_gallery() -> RegionFeatures:
    rng = np.random.default_rng(0)
    visibility = rng.dirichlet([0.6, 0.6], N).astype(np.float32)
    embeddings = rng.normal(size=(N, P, D)).astype(np.float32)
    for image_id in COPIES:
        visibility[image_id - 1], embeddings[image_id - 1] = 0.5, embeddings[COPIES[0] - 1]
    visibility[BLIND - 1] = 0
    return RegionFeatures(visibility, embeddings)


GALLERY = make_gallery()


@pytest.fixture(scope="module", params=WAYS, ids=str)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    kind, device, masked = request.param
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    path = tmp_path_factory.mktemp("edges") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_building, "choose_type", lambda asked, n, d: asked if n >= 100 else "flat")
        patch.setattr(search, "SCAN_BELOW", 0)
        info = ModelInfo((P, 1), D, "w", min_visibility=0)
        with GalleryStore.create(path, info, index_type=kind) as store, store.writer() as writer:
            for rows in (slice(0, 260), slice(260, N)):
                records = [ImageRecord(f"{i}.jpg", camid=i % 4) for i in range(N)[rows]]
                writer.add(records, GALLERY[rows])
                writer.commit()
            writer.remove(REMOVED)
            writer.commit()
        with GalleryStore.open(path, device=device) as store:
            for segment in store.snapshot.open_segments.values():
                for index in segment.regions:
                    index.masked = masked  # as where an index is on a GPU
            yield SearchEngine(store)


def expected(query: RegionFeatures, ids: set[int]) -> dict[int, float]:
    """Distances of the images that are results at all."""
    distances = visibility_weighted_distance(
        query.embeddings, query.visibility, GALLERY.embeddings, GALLERY.visibility
    )[0]
    return {i: distances[i - 1] for i in sorted(ids - REMOVED) if distances[i - 1] < math.inf}


def a_query(seed: int) -> RegionFeatures:
    rng = np.random.default_rng(seed)
    visibility = np.array([[[1, 0], [0.5, 0.5]][seed % 2]], np.float32)
    return RegionFeatures(visibility, rng.normal(size=(1, P, D)).astype(np.float32))


@pytest.mark.parametrize("exact", [False, True])
def test_more_asked_for_than_there_is(engine, exact):
    for seed in (0, 1):
        result = engine.search(a_query(seed), 10 * N, exact)[0]
        right = expected(a_query(seed), set(range(1, N + 1)))
        assert {match.image_id for match in result.matches} == set(right)
        assert len(result.matches) == len(right)
        assert BLIND not in right
        for match in result.matches:
            assert match.distance == pytest.approx(right[match.image_id], rel=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_copies_come_by_image_id(engine, exact):
    result = engine.search(GALLERY[COPIES[0] - 1 : COPIES[0]], 5, exact)[0]
    assert [(match.image_id, match.distance) for match in result.matches] == [(i, 0.0) for i in (10, 11, 13, 14, 15)]


@pytest.mark.parametrize("camids", [(), (3,), (0, 1)])
def test_removed_and_filtered_images_never_come_back(engine, camids):
    allowed = {i for i in range(1, N + 1) if not camids or (i - 1) % 4 in camids}
    for seed in range(6):
        query = a_query(seed)
        found = engine.search(query, 7, filter=SearchFilter(camids=camids))[0].matches
        exact = engine.search(query, 7, True, filter=SearchFilter(camids=camids))[0].matches
        right = expected(query, allowed)
        assert len(found) == len(exact) == 7
        assert {match.image_id for match in found} <= set(right)
        for match, nearest in zip(exact, sorted(right.values()), strict=False):
            assert match.distance == pytest.approx(nearest, rel=1e-5)


def test_who_sees_nothing_finds_nothing(engine):
    query = RegionFeatures(np.zeros((1, P), np.float32), a_query(0).embeddings)
    for exact in (False, True):
        assert engine.search(query, 5, exact)[0].matches == ()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(engine, value):
    query = a_query(0)
    query.embeddings[0, 1, 2] = value
    with pytest.raises(FeatureError, match="finite"):
        engine.search(query)

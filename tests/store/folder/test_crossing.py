"""An index searches alike whatever it was written with, and whatever it has gone through since."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from vpmsearch.search.engine import SearchEngine
from vpmsearch.store import GalleryStore, compact, restore, upgrade, verify
from vpmsearch.types import ModelInfo, RegionFeatures

IMAGES, QUERIES, P = 18, 3, 6
HALF = 2.0**-11  # the largest relative error of a float16


def oracle(query, gallery, info):
    """Eq. 4 of each query and image in float64, by plain loops; inf where no region is shared."""
    found = np.full((len(query), len(gallery)), math.inf)
    for q in range(len(query)):
        for g in range(len(gallery)):
            pairs = zip(query.visibility[q].tolist(), gallery.visibility[g].tolist(), strict=True)
            # A smaller visibility counts as 0, as float32, in which it is stored.
            limit = float(np.float32(info.threshold))
            weights = [a * b if min(a, b) >= limit else 0.0 for a, b in pairs]
            if any(weights):
                differences = query.embeddings[q].astype(np.float64) - gallery.embeddings[g].astype(np.float64)
                distances = [math.hypot(*row) for row in differences.tolist()]
                found[q, g] = sum(w * d for w, d in zip(weights, distances, strict=True)) / sum(weights)
    return found


def answers(path, queries):
    """Image ids and distances of every result, nearest first, by both ways to search, which must agree."""
    with GalleryStore.open(path) as store:
        engine = SearchEngine(store)
        found, exact = (engine.search(queries, k=2 * IMAGES, exact=exact) for exact in (False, True))
    assert [result.matches for result in found] == [result.matches for result in exact]
    return [[(match.image_id, match.distance) for match in result.matches] for result in found]


@pytest.mark.parametrize(
    ("dtype", "grid", "d"),
    [
        ("float16", (6, 1), 2048),
        ("float32", (3, 2), 128),
        *(
            pytest.param(dtype, grid, d, marks=pytest.mark.slow)
            for dtype, grid, d in product(("float16", "float32"), ((6, 1), (3, 2)), (128, 2048))
            if (dtype, grid, d) not in {("float16", (6, 1), 2048), ("float32", (3, 2), 128)}
        ),
    ],
)
def test_whatever_it_was_written_with(tmp_path, make_features, make_records, next_version, dtype, grid, d):
    path = tmp_path / "index"
    gallery, queries = make_features(IMAGES, P, d), make_features(QUERIES, P, d, seed=1)
    with GalleryStore.create(path, ModelInfo(grid, d, "f"), embedding_dtype=dtype) as store:
        info = store.model_info
        with store.writer() as writer:
            for start in range(0, IMAGES, 6):
                writer.add(make_records(6, start), gallery[start : start + 6])
                writer.commit()
    stored = RegionFeatures(gallery.visibility, gallery.embeddings.astype(dtype).astype(np.float32))
    expected, given = oracle(queries, stored, info), oracle(queries, gallery, info)
    error = (
        HALF * float(np.linalg.norm(gallery.embeddings, axis=2).max())
        if dtype == "float16"
        else 1e-5 * given.max(where=np.isfinite(given), initial=0)
    )
    first = answers(path, queries)
    for query, found in enumerate(first):
        ids, distances = (np.array(column) for column in zip(*found, strict=True))
        shared = np.flatnonzero(np.isfinite(expected[query]))
        assert ids.tolist() == (shared[np.argsort(expected[query][shared])] + 1).tolist()
        np.testing.assert_allclose(distances, expected[query][ids - 1], rtol=1e-5)
        np.testing.assert_allclose(distances, given[query][ids - 1], atol=error, rtol=0)
        # As a ranking of what was given, it errs only where distances are nearer than the dtype can tell.
        np.testing.assert_allclose(given[query][ids - 1], np.sort(given[query][shared]), atol=2 * error, rtol=0)
    restore(path, tmp_path / "restored")
    next_version()
    for index in (path, tmp_path / "restored"):
        assert upgrade(index) == ("0003", "0004")
        assert answers(index, queries) == first
    compact(path)
    assert answers(path, queries) == first
    assert verify(path).ok

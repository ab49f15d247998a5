"""Matchers on images' maps: kept once, in blocks, in bounds, and what is said where there is no room."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
import torch
from test_matchers import maps
from test_sparse_matchers import alike, scaled

from vpmsearch.errors import DataError
from vpmsearch.evaluation import matching
from vpmsearch.evaluation.matchers import (
    WINDOWS,
    reconstruction_distances,
    reconstructor,
    second_moments,
    spatial_features,
)
from vpmsearch.evaluation.matching import MATCHERS, KeptMaps, matched_maps
from vpmsearch.evaluation.sparse_matchers import sparse_distances

CANDIDATES = np.array([[[0, 5, -1], [8, 2, 5], [-1, -1, -1]], [[5, 0, 8], [-1, 2, -1], [0, 2, 5]]])


def kept(gallery, log=None):
    def see(rows):
        if log is not None:
            log.extend(rows.tolist())
        return (gallery[row] for row in rows)

    return KeptMaps(see)


@pytest.mark.parametrize("room", [1, 2 * 4 * 12**2, 2**20])
@pytest.mark.parametrize("name", MATCHERS)
def test_matched_maps(name, room, monkeypatch: pytest.MonkeyPatch):
    """Two galleries of candidates, missing ones among them, and queries in blocks of 1, 2 and all."""
    monkeypatch.setattr(matching, "_MOMENT_BYTES", room)
    query, gallery = alike(3, 12, 3, 2, 10), alike(9, 12, 3, 2, 11)
    seen: list[int] = []
    with kept(gallery, seen) as store:
        found = matched_maps(name, iter(query), store, CANDIDATES)
        np.testing.assert_array_equal(np.isinf(found), CANDIDATES < 0)
        for draw in (0, 1):
            alone = matched_maps(name, iter(query), store, CANDIDATES[draw, None])
            np.testing.assert_allclose(alone[0], found[draw], atol=1e-6)
        assert seen == [0, 2, 5, 8], "each image once"
        more = matched_maps(name, iter(query), store, np.where(CANDIDATES == 8, 7, CANDIDATES))
        assert seen == [0, 2, 5, 8, 7]
        assert more[0, 1, 0] != found[0, 1, 0]
        nobody = matched_maps(name, iter(query), store, np.full((1, 3, 2), -1))
        assert np.isinf(nobody).all()
        assert matched_maps(name, (), store, np.empty((1, 0, 2), np.int64)).shape == (1, 0, 2)
    among = gallery[[8, 2, 5]]
    if name in WINDOWS:
        moments = second_moments(spatial_features(query[1:2], WINDOWS[name]))
        images = spatial_features(among, WINDOWS[name])
        expected = np.array([reconstruction_distances(moments, reconstructor(image)).item() for image in images])
    else:
        expected = sparse_distances(name, query[1], scaled(among)).numpy()
    np.testing.assert_allclose(found[0, 1], expected, atol=1e-3)  # float16 in between


def test_an_image_that_is_drawn_often_is_compared_once(monkeypatch: pytest.MonkeyPatch):
    sizes = []
    real = reconstruction_distances

    def spy(moments, image):
        sizes.append(len(moments))
        return real(moments, image)

    monkeypatch.setattr("vpmsearch.evaluation.matchers.reconstruction_distances", spy)
    query, gallery = alike(2, 6, 2, 2, 0), alike(2, 6, 2, 2, 1)
    draws = np.array([[[0], [0]], [[0], [0]], [[0], [1]]])
    with kept(gallery) as store:
        found = matched_maps("dsr", iter(query), store, draws)
    assert sizes == [2, 1]
    np.testing.assert_array_equal(found[0], found[1])
    assert found[2, 0] == found[0, 0]
    assert found[2, 1] != found[0, 1]


@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 1e6])
def test_kept_maps_of_any_size(size):
    gallery = size * maps(2, 5, 3, 2, 0)
    gallery[:, :, 0, 0] *= 1e-3  # a pixel far shorter than the others
    with kept(gallery) as store:
        store.keep(np.array([1, 0]))
        found = store.maps(np.array([0, 1, 0]))
    assert torch.isfinite(found).all()
    np.testing.assert_allclose(scaled(found), scaled(gallery[[0, 1, 0]].double()), atol=1e-3)


def test_too_many_candidates_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matching, "_CANDIDATE_BYTES", 2 * 4 * 6 * 2 * 2)
    gallery = alike(3, 6, 2, 2, 0)
    with kept(gallery) as store:
        assert np.isfinite(matched_maps("mtrc", iter(gallery[:1]), store, np.array([[[0, 1]]]))).all()
        with pytest.raises(DataError, match=r"3 candidates compete for a query by mtrc.*fewer --candidates"):
            matched_maps("mtrc", iter(gallery[:1]), store, np.array([[[0, 1, 2]]]))
        assert np.isfinite(matched_maps("dsr", iter(gallery[:1]), store, np.array([[[0, 1, 2]]]))).all()


def test_no_room_is_said(monkeypatch: pytest.MonkeyPatch):
    def full(*what):
        raise OSError(28, "No space left on device")

    gallery = alike(1, 4, 1, 1, 0)
    one = np.array([0])
    with kept(gallery) as store, monkeypatch.context() as patch:
        patch.setattr(store, "_file", type("Full", (), {"seek": full, "write": full, "close": lambda self: None})())
        with pytest.raises(DataError, match=r"the 1 feature maps of the gallery, .* GB.*No space left.*TMPDIR"):
            store.keep(one)
    with monkeypatch.context() as patch, kept(gallery) as store:
        patch.setattr(matching.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 7}))
        with pytest.raises(DataError, match=r"find no room.*0\.0 GB are free.*TMPDIR"):
            store.keep(one)  # 4 numbers of 2 bytes
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(DataError, match=r"find no room in .*No space left.*TMPDIR"):
        kept(gallery)


def test_what_fails_while_seeing_is_not_blamed_on_the_disk():
    def see(rows):
        yield from alike(1, 4, 1, 1, 0)
        raise OSError(5, "Input/output error")

    with KeptMaps(see) as store, pytest.raises(OSError, match="Input/output error"):
        store.keep(np.array([0, 1]))

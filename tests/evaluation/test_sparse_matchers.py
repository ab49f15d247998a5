"""MTRC and AMC+SWM against plain loops: coordinate descent until nothing moves, and every window by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_matchers import maps

from vpmsearch.evaluation.sparse_matchers import (
    PENALTY,
    SPARSE,
    ambiguities,
    coding_distances,
    sparse_codes,
    sparse_distances,
    window_distances,
)

STEPS = 1000
"""For few numbers a pixel, where ADMM is slow."""


def plain_codes(gram, products, penalties):
    """argmin ½xᵀGx − bᵀx + Σ penalty |x|, one number after the other, until none moves."""
    codes = np.zeros(len(products))
    for _ in range(20_000):
        moved = 0.0
        for a in range(len(codes)):
            if gram[a, a] == 0:
                continue
            pull = products[a] - gram[a] @ codes + gram[a, a] * codes[a]
            found = math.copysign(max(abs(pull) - penalties[a], 0), pull) / gram[a, a]
            moved, codes[a] = max(moved, abs(found - codes[a])), found
        if moved < 1e-11:
            return codes
    raise AssertionError("coordinate descent does not end")


def plain_ambiguities(columns, owners, count):
    found = []
    for column, owner in zip(columns, owners, strict=True):
        likest = [
            max([0.0, *(float(column @ other) for other, its in zip(columns, owners, strict=True) if its == image)])
            for image in range(count)
            if image != owner
        ]
        found.append(sum(min(value, 1.0) for value in likest) / len(likest) if likest else 0.0)
    return np.array(found)


def plain_coding(pixels, images, ambiguous, penalty, nearest):
    """D_c of every image: (N, d), (k, M, d), float64."""
    columns, owners = images.reshape(-1, images.shape[2]), np.repeat(np.arange(len(images)), images.shape[1])
    total = np.zeros(len(images))
    for pixel in pixels:
        cosines = columns @ pixel
        chosen = sorted(range(len(columns)), key=lambda a: -cosines[a])[:nearest]
        some, whose = columns[chosen], owners[chosen]
        penalties = np.full(len(chosen), penalty)
        if ambiguous:
            penalties = penalties * (1 + plain_ambiguities(some, whose, len(images)))
        codes = plain_codes(some @ some.T, cosines[chosen], penalties)
        for image in range(len(images)):
            own = whose == image
            total[image] += ((pixel - some[own].T @ codes[own]) ** 2).sum()
    return total / len(pixels)


def plain_windows(query, gallery):
    """SWM of a map (d, h, w) and one of pixels of length 1, every size and place."""
    d, height, width = gallery.shape
    best = math.inf
    for tall in {max(1, round(share * height)) for share in (0.5, 0.75, 1)}:
        for wide in {max(1, round(share * width)) for share in (0.5, 0.75, 1)}:
            window = np.zeros((d, tall, wide))
            for y, x in np.ndindex(tall, wide):
                rows, columns = (
                    slice(i * side // size, -(-(i + 1) * side // size))
                    for i, side, size in ((y, query.shape[1], tall), (x, query.shape[2], wide))
                )
                mean = query[:, rows, columns].reshape(d, -1).mean(axis=1)
                window[:, y, x] = mean / np.linalg.norm(mean)
            for top in range(height - tall + 1):
                for left in range(width - wide + 1):
                    part = gallery[:, top : top + tall, left : left + wide]
                    best = min(best, float(1 - (part * window).sum() / (tall * wide)))
    return best


def alike(n, d, height, width, seed, common=0.7):
    """Maps as a network gives them: no number below 0, pixels much alike."""
    return maps(n, d, height, width, seed).relu() + common


def scaled(feature_maps):
    return F.normalize(feature_maps, dim=1)


def columns_of(feature_maps):
    return scaled(feature_maps).flatten(2).transpose(1, 2)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_ambiguities_in_blocks(count, monkeypatch: pytest.MonkeyPatch):
    """Of 7 pixels with 6 columns each, 3 pixels at a time."""
    monkeypatch.setattr("vpmsearch.evaluation.sparse_matchers.AT_ONCE", 3 * 6 * count)
    columns = F.normalize(maps(7, 6, 4, 1, 8).flatten(2), dim=2)  # (7, 6, 4)
    owners = torch.from_numpy(np.random.default_rng(9).integers(0, count, (7, 6)))
    found = ambiguities(columns @ columns.transpose(1, 2), owners, count)
    expected = [plain_ambiguities(some.numpy(), its.tolist(), count) for some, its in zip(columns, owners, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("ambiguous", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "m", "d", "nearest"), [(1, 1, 1, 1, 64), (4, 3, 4, 6, 5), (5, 4, 6, 30, 64), (3, 1, 5, 8, 3)]
)
def test_coding_matches_coordinate_descent(n, k, m, d, nearest, ambiguous):
    """More columns than numbers, and fewer; all of them, and the nearest."""
    pixels, images = columns_of(maps(1, d, n, 1, 0))[0], columns_of(alike(k, d, m, 1, 1))
    found = coding_distances(pixels, images, ambiguous=ambiguous, nearest=nearest, steps=STEPS)
    expected = plain_coding(pixels.double().numpy(), images.double().numpy(), ambiguous, PENALTY, nearest)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("common", [0.0, 0.7])
def test_steps_are_enough_for_a_model_s_pixels(common):
    pixels, images = columns_of(alike(1, 128, 3, 1, 0, common))[0], columns_of(alike(6, 128, 5, 3, 1, common))
    found = coding_distances(pixels, images, ambiguous=True)
    expected = plain_coding(pixels.double().numpy(), images.double().numpy(), True, PENALTY, 64)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_codes_of_columns_that_are_much_alike():
    """64 columns of cosine 0.9 and more: what is left over is coordinate descent's, and so is the objective."""
    columns = columns_of(alike(64, 128, 1, 1, 2, common=3.0))[:, 0].double()
    pixel = F.normalize(columns[:3].sum(dim=0) + 0.2 * columns_of(maps(1, 128, 1, 1, 3))[0, 0].double(), dim=0)
    gram, products, penalties = columns @ columns.T, columns @ pixel, torch.full((64,), PENALTY, dtype=torch.float64)
    assert gram.min() > 0.85
    codes = sparse_codes(gram[None], products[None], penalties[None])[0].numpy()
    expected = plain_codes(gram.numpy(), products.numpy(), penalties.numpy())

    def objective(x):
        return 0.5 * x @ gram.numpy() @ x - products.numpy() @ x + PENALTY * np.abs(x).sum()

    assert objective(expected) - 1e-12 <= objective(codes) < objective(expected) + 1e-5
    np.testing.assert_allclose(columns.T.numpy() @ codes, columns.T.numpy() @ expected, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (4, 2), (5, 4)])
def test_windows_match_loops(height, width):
    query, gallery = alike(1, 7, height, width, 4)[0], scaled(alike(3, 7, height, width, 5))
    found = window_distances(query, gallery)
    expected = [plain_windows(query.double().numpy(), image.double().numpy()) for image in gallery]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    upper = alike(1, 7, 4, 4, 6)
    half = F.interpolate(upper[:, :, :2], scale_factor=(2, 1))  # the upper half, stretched to the whole
    assert window_distances(half[0], scaled(upper)).item() == pytest.approx(0, abs=1e-6)


@given(
    name=st.sampled_from(SPARSE),
    k=st.integers(1, 6),
    d=st.integers(8, 40),
    size=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    seed=st.integers(0, 2**16),
    common=st.sampled_from([0.0, 0.5]),
)
def test_candidates_keep_their_distances_in_any_order_and_an_image_is_nearest_to_itself(name, k, d, size, seed, common):
    gallery = alike(k, d, *size, seed, common) + 0.01
    found = sparse_distances(name, gallery[0], scaled(gallery))
    assert found.shape == (k,)
    assert (found >= 0).all()
    assert (found[0] <= found).all()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(k))
    again = sparse_distances(name, gallery[0], scaled(gallery)[order])
    np.testing.assert_allclose(again, found[order], atol=1e-4)


@pytest.mark.parametrize("name", SPARSE)
def test_images_that_are_equal_are_as_far(name):
    gallery = alike(3, 20, 3, 2, 8).double()
    found = sparse_distances(name, alike(1, 20, 3, 2, 9)[0].double(), scaled(gallery[[0, 1, 1, 2]]))
    assert found[1].item() == pytest.approx(found[2].item(), abs=1e-9)
    blank = torch.zeros(20, 3, 2, dtype=torch.float64)
    nothing = sparse_distances(name, blank, scaled(gallery))  # rebuilt at no cost, like no window
    np.testing.assert_allclose(nothing, [1.0 if name == "amc-swm" else 0.0] * 3, atol=1e-6)
    assert sparse_distances(name, blank, scaled(gallery[:0])).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ambiguous_pixels_count_for_less(dtype):
    """Two pixels that everybody has, and one of one image alone: with s the first are rebuilt worse."""
    street, coat, other = torch.eye(3, dtype=dtype)
    images = torch.stack([torch.stack([street, coat]), torch.stack([street, other]), torch.stack([street, other])])
    plain, weighed = (coding_distances(street[None], images, ambiguous=flag) for flag in (False, True))
    assert (weighed > plain + 0.01).all()
    plain, weighed = (coding_distances(coat[None], images, ambiguous=flag) for flag in (False, True))
    torch.testing.assert_close(weighed, plain)
    assert weighed.dtype == dtype
    assert weighed[0] < 0.02 < 0.98 < weighed[1]

"""Eq. 1-7, the agreement of two views and the neighbours' likelihood, and their properties.

Compared with plain loops in float64: tests/oracles.py.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from vpmsearch.equations import (
    listed_distance,
    neighbour_loss,
    region_distances,
    region_embeddings,
    region_label_loss,
    region_probabilities,
    region_selective_triplet_loss,
    region_visibility,
    view_consistency_loss,
    visibility_weighted_distance,
    visible_identity_loss,
)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = list(TOLERANCE)
SEEDS = st.integers(0, 2**32 - 1)


def normal(*shape, seed=0, dtype=torch.float32, scale=1.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, shape)).to(dtype)


def shares(n, p, seed=0, dtype=torch.float32, zeros=0.0):
    """(n, p) visibilities; a share `zeros` of them is exactly 0."""
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.full(p, 0.5), n).reshape(n, p)
    values[rng.random((n, p)) < zeros] = 0
    return torch.from_numpy(values).to(dtype)


def exact(tensor):
    """The tensor's values as float64, without gradients."""
    return tensor.detach().double().numpy()


def assert_close(actual, expected, dtype=torch.float32, absolute=0.0):
    np.testing.assert_allclose(exact(actual), expected, rtol=TOLERANCE[dtype], atol=absolute)


# ---------------------------------------------------------------------------------------------------- Eq. 1, 2, 3


def test_mixed_precision_does_not_round_the_sums_of_eq_3():
    feature_map, probabilities = torch.randn(3, 5, 6, 4), torch.rand(3, 4, 6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = region_embeddings(feature_map, probabilities)
    expected = oracles.region_embeddings(exact(feature_map), exact(probabilities))
    np.testing.assert_allclose(embeddings.double().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 6, 4, 2), (1, 1, 1, 1), (3, 12, 2, 5)])
def test_locating_and_pooling_agree_with_the_loops(shape, dtype):
    batch, p, h, w = shape
    logits, feature_map = normal(*shape, dtype=dtype, scale=3), normal(batch, 7, h, w, seed=1, dtype=dtype)
    probabilities = region_probabilities(logits)
    assert probabilities.dtype == dtype
    tiny = TOLERANCE[dtype] / 10
    assert_close(probabilities, oracles.region_probabilities(exact(logits)), dtype, tiny)
    assert_close(probabilities.double().sum(dim=1), np.ones((batch, h, w)), dtype)
    visibility = region_visibility(probabilities)
    assert visibility.dtype == dtype
    assert visibility.shape == (batch, p)
    assert_close(visibility, oracles.region_visibility(exact(probabilities)), dtype)
    assert_close(visibility.double().sum(dim=1), np.full(batch, h * w), dtype)
    embeddings = region_embeddings(feature_map, probabilities)
    assert embeddings.dtype == dtype
    assert embeddings.shape == (batch, p, 7)
    assert_close(embeddings, oracles.region_embeddings(exact(feature_map), exact(probabilities)), dtype, tiny)


def test_locating_and_pooling_of_an_empty_batch():
    probabilities = region_probabilities(torch.zeros(0, 6, 4, 2))
    assert probabilities.shape == (0, 6, 4, 2)
    assert region_visibility(probabilities).shape == (0, 6)
    assert region_embeddings(torch.zeros(0, 5, 4, 2), probabilities).shape == (0, 6, 5)


def test_probabilities_survive_huge_logits():
    logits = torch.tensor([1e4, -1e4, 0.0]).view(1, 3, 1, 1)
    assert region_probabilities(logits).flatten().tolist() == [1, 0, 0]
    assert region_probabilities(torch.full((1, 3, 2, 2), 3e38)).flatten().tolist() == pytest.approx([1 / 3] * 12)


@given(SEEDS, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_an_embedding_lies_among_the_pixels(seed, p, h, w):
    """Eq. 3 is a mean: within each channel's range over the pixels of T."""
    feature_map = normal(2, 3, h, w, seed=seed, dtype=torch.float64, scale=10)
    probabilities = region_probabilities(normal(2, p, h, w, seed=seed, dtype=torch.float64, scale=30))
    embeddings = region_embeddings(feature_map, probabilities)
    low, high = feature_map.flatten(2).amin(dim=2), feature_map.flatten(2).amax(dim=2)
    assert (embeddings >= low[:, None] - 1e-9).all()
    assert (embeddings <= high[:, None] + 1e-9).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_region_without_pixels_has_a_finite_embedding(dtype):
    probabilities = torch.zeros(2, 3, 4, 2, dtype=dtype)
    probabilities[:, 0] = 1
    feature_map = normal(2, 5, 4, 2, dtype=dtype).requires_grad_()
    probabilities.requires_grad_()
    embeddings = region_embeddings(feature_map, probabilities)
    assert_close(embeddings, oracles.region_embeddings(exact(feature_map), exact(probabilities)), dtype, 1e-2)
    assert (embeddings[:, 1:] == 0).all()
    embeddings.square().sum().backward()
    assert feature_map.grad.isfinite().all()
    assert probabilities.grad.isfinite().all()


@pytest.mark.parametrize("tiny", [1e-30, 1e-38, 1e-42, 1e-45])
def test_an_all_but_empty_region_spoils_no_gradient(tiny):
    """What the softmax leaves of a region far from likely: its mean is right, and a gradient of 0 stays 0."""
    probabilities = torch.full((1, 2, 4, 2), tiny)
    probabilities[:, 0] = 1
    probabilities.requires_grad_()
    feature_map = normal(1, 3, 4, 2)
    embeddings = region_embeddings(feature_map, probabilities)
    assert_close(embeddings[0, 1], exact(feature_map)[0].mean(axis=(1, 2)), absolute=1e-6)
    embeddings[:, 0].sum().backward()
    assert probabilities.grad.isfinite().all()
    assert (probabilities.grad[:, 1] == 0).all()


def test_gradients_of_locating_and_pooling():
    logits = normal(2, 3, 2, 2, dtype=torch.float64).requires_grad_()
    feature_map = normal(2, 4, 2, 2, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: region_visibility(region_probabilities(x)), logits)
    assert torch.autograd.gradcheck(lambda t, x: region_embeddings(t, region_probabilities(x)), (feature_map, logits))


# ---------------------------------------------------------------------------------------------------- D_i and Eq. 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("q", "g", "p", "d"), [(3, 4, 6, 8), (1, 1, 1, 1), (2, 3, 2, 0), (5, 2, 12, 33), (30, 28, 1, 4), (2, 2, 2, 1100)]
)
def test_distances_agree_with_the_loops(q, g, p, d, dtype):
    query, gallery = normal(q, p, d, dtype=dtype), normal(g, p, d, seed=1, dtype=dtype)
    distances = region_distances(query, gallery)
    assert distances.dtype == dtype
    assert_close(distances, oracles.region_distances(exact(query), exact(gallery)), dtype)
    q_visibility, g_visibility = shares(q, p, 2, dtype, zeros=0.3), shares(g, p, 3, dtype, zeros=0.3)
    weighted = visibility_weighted_distance(query, q_visibility, gallery, g_visibility)
    expected = oracles.visibility_weighted_distance(
        exact(query), exact(q_visibility), exact(gallery), exact(g_visibility)
    )
    assert weighted.dtype == dtype
    assert_close(weighted, expected, dtype)


@pytest.mark.parametrize(("q", "g"), [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("p", [0, 1, 6])
def test_distances_of_nothing(q, g, p):
    query, gallery = torch.zeros(q, p, 4), torch.zeros(g, p, 4)
    assert region_distances(query, gallery).shape == (q, g, p)
    assert visibility_weighted_distance(query, torch.ones(q, p), gallery, torch.ones(g, p)).shape == (q, g)


def test_images_without_regions_share_none():
    distances = visibility_weighted_distance(
        torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(3, 0, 4), torch.zeros(3, 0)
    )
    assert distances.shape == (2, 3)
    assert distances.isposinf().all()


@pytest.mark.parametrize("d", [1, 16, 256, 2048])
@pytest.mark.parametrize("norm", [10.0, 30.0])
def test_nearly_equal_embeddings_keep_their_digits(d, norm):
    """‖a‖² + ‖b‖² − 2ab is 24 % off here. Enough images for torch.cdist to prefer that form where it may."""
    base = normal(1, 2, d, dtype=torch.float64)
    base = base / base.norm(dim=2, keepdim=True) * norm
    steps = normal(60, 2, d, seed=1, dtype=torch.float64)
    near = base + steps / steps.norm(dim=2, keepdim=True) * 1e-3
    query, gallery = near[:30].float(), near[30:].float()
    visibility = shares(30, 2)
    expected = oracles.region_distances(exact(query[:6]), exact(gallery[:6]))
    assert_close(region_distances(query, gallery)[:6, :6], expected)
    expected = oracles.visibility_weighted_distance(
        exact(query[:6]), exact(visibility[:6]), exact(gallery[:6]), exact(visibility[:6])
    )
    assert_close(visibility_weighted_distance(query, visibility, gallery, visibility)[:6, :6], expected)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.9999999, 1e-3, 7e8])
def test_long_sums_of_equal_terms_keep_their_digits(value):
    """Rounding goes one way when every term is the same."""
    query, gallery = torch.zeros(1, 1, 2048), torch.full((1, 1, 2048), value)
    distance = visibility_weighted_distance(query, torch.ones(1, 1), gallery, torch.ones(1, 1))
    assert_close(distance, oracles.region_distances(exact(query), exact(gallery))[:, :, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_embeddings_are_at_distance_zero(dtype):
    query = normal(30, 6, 300, dtype=dtype, scale=2)
    visibility = shares(30, 6, dtype=dtype) + 0.01
    assert (visibility_weighted_distance(query, visibility, query.clone(), visibility).diagonal() == 0).all()
    assert (region_distances(query, query.clone()).diagonal() == 0).all()


def test_no_shared_region_is_infinitely_far():
    query, gallery = normal(1, 2, 4), normal(3, 2, 4, seed=1)
    visibility = torch.tensor([[0.0, 1], [1, 0], [0, 0]])
    distances = visibility_weighted_distance(query, torch.tensor([[1.0, 0]]), gallery, visibility)
    assert distances.tolist() == [[math.inf, pytest.approx(oracles.euclidean(query[0, 0], gallery[1, 0])), math.inf]]
    assert visibility_weighted_distance(query, torch.zeros(1, 2), gallery, visibility).isposinf().all()


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan, "largest"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_an_unshared_region_holds_does_not_matter(poison, dtype):
    poison = torch.finfo(dtype).max if poison == "largest" else poison
    query, gallery = normal(2, 3, 4, dtype=dtype), normal(2, 3, 4, seed=1, dtype=dtype)
    q_visibility = torch.tensor([[0.5, 0.5, 0], [1, 0, 0]], dtype=dtype)
    g_visibility = torch.tensor([[0.2, 0.8, 0], [0, 0.5, 0.5]], dtype=dtype)
    clean = visibility_weighted_distance(query, q_visibility, gallery, g_visibility)
    query[:, 2], query[1, 1], gallery[1, 0] = poison, poison, poison
    q_visibility.requires_grad_()
    distances = visibility_weighted_distance(query, q_visibility, gallery, g_visibility)
    assert torch.equal(distances, clean)
    assert distances.tolist()[1][1] == math.inf
    distances[distances.isfinite()].sum().backward()
    assert q_visibility.grad.isfinite().all()


@pytest.mark.parametrize("factor", [192, 1 / 192, 1e-30, 1e30])
def test_only_the_ratio_of_visibilities_matters(factor):
    query, gallery = normal(4, 6, 8), normal(5, 6, 8, seed=1)
    q, g = shares(4, 6, 2, zeros=0.3), shares(5, 6, 3, zeros=0.3)
    expected = oracles.visibility_weighted_distance(exact(query), exact(q), exact(gallery), exact(g))
    for q_scaled, g_scaled in [(q * factor, g), (q, g * factor), (q * factor, g * factor)]:
        assert_close(visibility_weighted_distance(query, q_scaled, gallery, g_scaled), expected)


@given(SEEDS, st.lists(st.sampled_from([0.0, 1e-38, 1e-30, 1e-20, 0.5, 1.0, 192.0]), min_size=8, max_size=8))
def test_tiny_visibilities_do_not_underflow(seed, values):
    """A region all but invisible in both images still counts where it is the only one that they share."""
    q_visibility, g_visibility = torch.tensor(values).view(2, 1, 4)
    query, gallery = normal(1, 4, 3, seed=seed), normal(1, 4, 3, seed=seed + 1)
    expected = oracles.visibility_weighted_distance(
        exact(query), exact(q_visibility), exact(gallery), exact(g_visibility)
    )
    assert_close(visibility_weighted_distance(query, q_visibility, gallery, g_visibility), expected)


@given(SEEDS, st.integers(1, 6), st.integers(1, 9))
def test_a_distance_lies_between_those_of_the_shared_regions(seed, p, d):
    query, gallery = normal(3, p, d, seed=seed), normal(4, p, d, seed=seed + 1)
    q, g = shares(3, p, seed, zeros=0.4), shares(4, p, seed + 1, zeros=0.4)
    distances = visibility_weighted_distance(query, q, gallery, g)
    each = region_distances(query, gallery)
    shared = (q[:, None] > 0) & (g[None] > 0)  # (Q, G, p)
    low = each.masked_fill(~shared, math.inf).amin(dim=2)
    high = each.masked_fill(~shared, -math.inf).amax(dim=2)
    found = shared.any(dim=2)
    assert (distances.isposinf() == ~found).all()
    assert (distances[found] >= low[found]).all()
    assert (distances[found] <= high[found]).all()


@given(SEEDS)
def test_neither_sides_nor_the_order_of_regions_matter(seed):
    query, gallery = normal(5, 6, 8, seed=seed), normal(4, 6, 8, seed=seed + 1)
    q, g = shares(5, 6, seed, zeros=0.3), shares(4, 6, seed + 1, zeros=0.3)
    distances = visibility_weighted_distance(query, q, gallery, g)
    torch.testing.assert_close(visibility_weighted_distance(gallery, g, query, q), distances.T, rtol=1e-6, atol=0)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(6))
    permuted = visibility_weighted_distance(query[:, order], q[:, order], gallery[:, order], g[:, order])
    torch.testing.assert_close(permuted, distances, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("d", [3, 257, 600])
def test_a_pair_has_the_same_distance_in_any_block(d, dtype):
    """To the last bit, so that exact search, re-ranking and evaluation agree; also beyond cdist's switch at 25 rows."""
    query, gallery = normal(37, 3, d, dtype=dtype), normal(53, 3, d, seed=1, dtype=dtype)
    q, g = shares(37, 3, 2, dtype), shares(53, 3, 3, dtype, zeros=0.2)
    whole = visibility_weighted_distance(query, q, gallery, g)
    for q_step, g_step in [(1, 53), (37, 1), (26, 7), (5, 31)]:
        for i in range(0, 37, q_step):
            for j in range(0, 53, g_step):
                rows, columns = slice(i, i + q_step), slice(j, j + g_step)
                block = visibility_weighted_distance(query[rows], q[rows], gallery[columns], g[columns])
                assert torch.equal(block, whole[rows, columns])
    picked = torch.tensor([52, 3, 3, 17])
    assert torch.equal(visibility_weighted_distance(query, q, gallery[picked], g[picked]), whole[:, picked])


class LargestResult(TorchDispatchMode):
    """Remembers the most numbers that any operation's result held."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("d", [1, 5, 300])
def test_lists_have_the_distances_of_the_matrix(d, dtype):
    query, gallery = normal(3, 4, d, seed=1), normal(7, 4, d, seed=2).to(dtype)
    q, g = shares(3, 4, 3, zeros=0.4), shares(7, 4, 4, zeros=0.4)
    listed = torch.tensor([[0, 6, 3], [1, 1, 2], [5, 4, 0]])
    expected = visibility_weighted_distance(query, q, gallery, g).gather(1, listed)
    assert torch.equal(listed_distance(query, q, gallery[listed], g[listed]), expected)
    assert listed_distance(query, q, gallery[listed[:, :0]], g[listed[:, :0]]).shape == (3, 0)


def test_no_tensor_of_all_differences_is_built():
    q, g, p, d = 48, 64, 6, 96
    query, gallery = normal(q, p, d), normal(g, p, d, seed=1)
    with LargestResult() as largest:
        visibility_weighted_distance(query, shares(q, p), gallery, shares(g, p))
    assert 0 < largest.numbers <= max(q * g, g * p * d)


@pytest.mark.parametrize("d", [7, 256, 1100])
def test_pairs_in_a_batch_have_the_distances_of_the_matrix(d):
    """(n, 1, p, d) against (n, 1, p, d), to the last bit."""
    query, gallery = normal(5, 3, d, seed=1), normal(8, 3, d, seed=2)
    q_visibility, g_visibility = shares(5, 3, seed=3, zeros=0.4), shares(8, 3, seed=4, zeros=0.4)
    matrix = visibility_weighted_distance(query, q_visibility, gallery, g_visibility)
    assert torch.isinf(matrix).any()
    rows, columns = torch.cartesian_prod(torch.arange(5), torch.arange(8)).T
    pairs = (query[rows, None], q_visibility[rows, None], gallery[columns, None], g_visibility[columns, None])
    assert torch.equal(visibility_weighted_distance(*pairs).reshape(5, 8), matrix)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from Linux's /proc")
def test_no_memory_for_all_differences_is_taken():
    """Within operations too: (Q, G, p, d) float32 would be 590 MB here, the (Q, G) tensors are 1 MB each."""
    q, g, p, d = 300, 400, 6, 512
    query, gallery = normal(q, p, d), normal(g, p, d, seed=1)
    q_visibility, g_visibility = shares(q, p), shares(g, p)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        pytest.skip("the peak of memory cannot be reset here")
    before = peak_megabytes("VmRSS")
    visibility_weighted_distance(query, q_visibility, gallery, g_visibility)
    assert peak_megabytes("VmHWM") - before < 100


def peak_megabytes(entry):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(entry))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("d", [8, 1100])
def test_gradients_are_finite_where_embeddings_coincide(d):
    query = normal(3, 4, d).requires_grad_()
    gallery = query.detach().clone().requires_grad_()
    visibility = shares(3, 4).requires_grad_()
    visibility_weighted_distance(query, visibility, gallery, visibility).sum().backward()
    region_distances(query, query).sum().backward()
    for leaf in (query, gallery, visibility):
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("d", [513, 1100])
def test_gradients_of_long_embeddings(d):
    """Where a distance is put together from runs: those of the formula as it stands in the paper."""
    query, gallery = normal(3, 2, d, dtype=torch.float64), normal(2, 2, d, seed=1, dtype=torch.float64)
    q, g = shares(3, 2, dtype=torch.float64), shares(2, 2, 1, dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (query, q, gallery, g)]
    found = torch.autograd.grad(visibility_weighted_distance(*leaves).square().sum(), leaves)
    weights = q[:, None] * g[None]  # (Q, G, p)
    each = (query[:, None] - gallery[None]).square().sum(dim=3).sqrt()
    expected = torch.autograd.grad(((weights * each).sum(dim=2) / weights.sum(dim=2)).square().sum(), leaves)
    torch.testing.assert_close(found, expected)


def test_gradients_of_the_distance():
    leaves = (normal(1, 2, 3), shares(1, 2) + 0.1, normal(2, 2, 3, seed=1), shares(2, 2, 1) + 0.1)
    leaves = tuple(leaf.double().requires_grad_() for leaf in leaves)
    assert torch.autograd.gradcheck(visibility_weighted_distance, leaves)
    assert torch.autograd.gradcheck(region_distances, (leaves[0], leaves[2]))


# ---------------------------------------------------------------------------------------------------- Eq. 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(3, 6, 4, 2), (1, 1, 2, 2), (2, 12, 1, 3)])
def test_label_loss_agrees_with_the_loop(shape, reduction, dtype):
    batch, p, h, w = shape
    logits = normal(*shape, dtype=dtype, scale=2)
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, p, (batch, h, w)))
    loss = region_label_loss(logits, labels, reduction)
    assert loss.shape == ()
    assert_close(loss, oracles.region_label_loss(exact(logits), labels.numpy(), reduction), dtype, 1e-12)
    assert_close(region_label_loss(logits, labels.int(), reduction), exact(loss), dtype)


def test_label_loss_is_the_mean_unless_told():
    logits, labels = normal(2, 3, 4, 2), torch.zeros(2, 4, 2, dtype=torch.int64)
    assert region_label_loss(logits, labels) == region_label_loss(logits, labels, "mean")
    torch.testing.assert_close(region_label_loss(logits, labels, "sum"), region_label_loss(logits, labels) * 8)
    with pytest.raises(ValueError, match="reduction"):
        region_label_loss(logits, labels, "none")


def test_label_loss_of_a_sum_beyond_half_precision_is_finite():
    logits = torch.zeros(1, 2, 40, 40, dtype=torch.float16)
    logits[:, 1] = 60
    assert region_label_loss(logits, torch.zeros(1, 40, 40, dtype=torch.int64), "sum").item() == pytest.approx(96000)


def test_gradients_of_the_label_loss():
    logits = normal(2, 3, 2, 2, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
    for reduction in ("mean", "sum"):
        assert torch.autograd.gradcheck(lambda x, how=reduction: region_label_loss(x, labels, how), logits)


# ---------------------------------------------------------------------------------------------------- Eq. 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("batch", "p", "identities"), [(4, 6, 5), (1, 1, 1), (2, 12, 33)])
def test_identity_loss_agrees_with_the_loop(batch, p, identities, label_smoothing, dtype):
    rng = np.random.default_rng(0)
    logits = normal(batch, p, identities, dtype=dtype, scale=2)
    targets, visible = (
        torch.from_numpy(rng.integers(0, identities, batch)),
        torch.from_numpy(rng.random((batch, p)) < 0.6),
    )
    loss = visible_identity_loss(logits, targets, visible, label_smoothing)
    expected = oracles.visible_identity_loss(exact(logits), targets, visible.numpy(), label_smoothing)
    assert loss.shape == ()
    assert_close(loss, expected, dtype, 1e-12)


def test_identity_loss_ignores_what_is_not_visible():
    logits, targets = normal(3, 4, 5), torch.tensor([0, 4, 2])
    visible = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    expected = oracles.visible_identity_loss(exact(logits), targets, visible.numpy())
    logits[~visible] = math.nan
    logits.requires_grad_()
    loss = visible_identity_loss(logits, targets, visible)
    assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[~visible] == 0).all()
    assert (logits.grad[visible] != 0).all()


def test_gradients_of_the_identity_loss():
    logits = normal(3, 2, 4, dtype=torch.float64).requires_grad_()
    targets, visible = torch.tensor([0, 3, 1]), torch.tensor([[True, False], [True, True], [False, False]])
    for smoothing in (0.0, 0.2):
        assert torch.autograd.gradcheck(lambda x, s=smoothing: visible_identity_loss(x, targets, visible, s), logits)


# ---------------------------------------------------------------------------------------------------- Eq. 7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("margin", [1.0, 0.0, 0.3, None])
@settings(max_examples=settings.default.max_examples // 2)
@given(seed=SEEDS, batch=st.integers(1, 9), p=st.integers(1, 4))
def test_triplet_loss_agrees_with_the_loop(margin, dtype, seed, batch, p):
    rng = np.random.default_rng(seed)
    embeddings = normal(batch, p, 5, seed=seed, dtype=dtype)
    pids, visible = torch.from_numpy(rng.integers(0, 3, batch)), torch.from_numpy(rng.random((batch, p)) < 0.6)
    loss = region_selective_triplet_loss(embeddings, pids, visible, margin)
    expected = oracles.region_selective_triplet_loss(exact(embeddings), pids.tolist(), visible.tolist(), margin)
    assert loss.shape == ()
    assert_close(loss, expected, dtype, absolute=TOLERANCE[dtype] * 10)


@pytest.mark.parametrize(
    ("pids", "visible"),
    [
        ([0, 1, 2], [[1, 1]] * 3),  # no positives
        ([5, 5, 5], [[1, 1]] * 3),  # no negatives
        ([0, 0, 1], [[1, 0], [0, 1], [1, 1]]),  # the positive shares no region
        ([0, 0, 1], [[1, 0], [1, 0], [0, 1]]),  # the negative shares no region
        ([0, 0, 1], [[0, 0]] * 3),
        ([0], [[1, 1]]),
    ],
)
@pytest.mark.parametrize("margin", [1.0, None])
def test_without_a_triplet_the_loss_is_zero_and_back_propagates(pids, visible, margin):
    embeddings = normal(len(pids), 2, 4).requires_grad_()
    loss = region_selective_triplet_loss(
        embeddings, torch.tensor(pids), torch.tensor(visible, dtype=torch.bool), margin
    )
    assert loss.item() == 0
    loss.backward()
    assert (embeddings.grad == 0).all()


def test_the_hardest_are_mined_among_those_that_share_a_region():
    """Anchor 0: positive 1 at distance 2, negative 2 at 5; image 3 is nearer but shows another region."""
    embeddings = torch.tensor([[0.0, 0], [2, 0], [5, 0], [1, 0]]).view(4, 2, 1)
    visible = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=torch.bool)
    loss = region_selective_triplet_loss(embeddings, torch.tensor([0, 0, 1, 1]), visible, margin=4.0)
    # Anchors 0 and 1 are valid: (2 − 5 + 4), (2 − 3 + 4). Anchors 2 and 3 share no region with their positive.
    assert loss.item() == pytest.approx((1 + 3) / 2)


@pytest.mark.parametrize("margin", [1.0, None])
def test_gradients_are_finite_where_all_embeddings_coincide(margin):
    embeddings = torch.ones(6, 3, 600, requires_grad=True)
    visible = torch.ones(6, 3, dtype=torch.bool)
    loss = region_selective_triplet_loss(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), visible, margin)
    assert loss.item() == pytest.approx(1.0 if margin else math.log(2))
    loss.backward()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_the_triplet_loss_ignores_what_is_not_visible(poison):
    embeddings, pids = normal(4, 3, 5), torch.tensor([0, 0, 1, 1])
    visible = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 1, 0]], dtype=torch.bool)
    clean = region_selective_triplet_loss(embeddings, pids, visible)
    embeddings[~visible] = poison
    embeddings.requires_grad_()
    loss = region_selective_triplet_loss(embeddings, pids, visible)
    assert torch.equal(loss, clean)
    loss.backward()
    assert (embeddings.grad[~visible] == 0).all()
    assert embeddings.grad.isfinite().all()


def test_gradients_of_the_triplet_loss():
    embeddings = normal(6, 2, 3, dtype=torch.float64).requires_grad_()
    pids, visible = torch.tensor([0, 0, 1, 1, 2, 2]), shares(6, 2) > 0.1
    for margin in (1.0, None):
        assert torch.autograd.gradcheck(
            lambda x, m=margin: region_selective_triplet_loss(x, pids, visible, m), embeddings
        )


# ---------------------------------------------------------------------------------------------------- two views


def drawn_visible(batch, p, seed, share=0.6):
    return torch.from_numpy(np.random.default_rng(seed).random((batch, p)) < share)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize(("batch", "p", "d"), [(5, 6, 8), (1, 1, 1), (2, 12, 33), (3, 2, 1100), (2, 3, 0), (2, 0, 4)])
def test_view_consistency_agrees_with_the_loop(batch, p, d, share, dtype):
    whole, cut = normal(batch, p, d, dtype=dtype, scale=3), normal(batch, p, d, seed=1, dtype=dtype)
    visible = drawn_visible(batch, p, 2, share)
    loss = view_consistency_loss(whole, cut, visible)
    assert loss.shape == ()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # To float32's tolerance from half precision too: that is what it is computed in.
    assert_close(loss, oracles.view_consistency_loss(exact(whole), exact(cut), visible.tolist()), loss.dtype, 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 9))
def test_view_consistency_lies_between_0_and_4_and_sides_do_not_matter(dtype, seed, batch, p, d):
    whole, visible = normal(batch, p, d, seed=seed, dtype=dtype), drawn_visible(batch, p, seed)
    for cut in (normal(batch, p, d, seed=seed + 1, dtype=dtype), -whole):
        loss = view_consistency_loss(whole, cut, visible)
        assert 0 <= loss.item() <= 4 * (1 + 1e-6)
        assert torch.equal(view_consistency_loss(cut, whole, visible), loss)


@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.sampled_from([1e-8, 1e-3, 1.0, 192.0, 1e8]))
def test_view_consistency_sees_directions_only(seed, p, d, factor):
    """Every region may have a length of its own."""
    whole, cut, visible = normal(3, p, d, seed=seed), normal(3, p, d, seed=seed + 1), drawn_visible(3, p, seed)
    lengths = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, (2, 3, p, 1))).float() * factor
    scaled = view_consistency_loss(whole * lengths[0], cut * lengths[1], visible)
    torch.testing.assert_close(scaled, view_consistency_loss(whole, cut, visible), rtol=1e-5, atol=1e-6)


@given(SEEDS, st.integers(1, 5), st.integers(1, 9))
def test_equal_views_agree_and_opposite_ones_are_at_4(seed, p, d):
    whole, visible = normal(3, p, d, seed=seed), drawn_visible(3, p, seed)
    whole.requires_grad_()
    loss = view_consistency_loss(whole, whole.detach().clone(), visible)
    assert loss.item() == 0
    loss.backward()
    assert (whole.grad == 0).all()
    shown = visible.any(dim=1).float().mean().item()  # an image without regions counts as 0
    assert view_consistency_loss(whole, -3 * whole, visible).item() == pytest.approx(4 * shown, rel=1e-6)


def test_every_image_counts_alike_however_much_it_shows():
    whole = torch.ones(2, 4, 3)
    cut = torch.stack([-whole[0], whole[1]])
    assert view_consistency_loss(whole, cut, torch.tensor([[True] + [False] * 3, [True] * 4])).item() == pytest.approx(
        2
    )
    assert view_consistency_loss(whole, cut, torch.tensor([[True] * 4, [False] * 4])).item() == pytest.approx(2)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_view_consistency_ignores_what_is_not_visible(poison, dtype):
    whole, cut = normal(3, 4, 5, dtype=dtype), normal(3, 4, 5, seed=1, dtype=dtype)
    visible = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    clean = view_consistency_loss(whole, cut, visible)
    whole[~visible], cut[~visible] = poison, poison
    whole.requires_grad_()
    cut.requires_grad_()
    loss = view_consistency_loss(whole, cut, visible)
    assert torch.equal(loss, clean)
    loss.backward()
    for view in (whole, cut):
        assert view.grad.isfinite().all()
        assert (view.grad[~visible] == 0).all()
        assert (view.grad[visible] != 0).any(dim=1).all()


def test_views_without_a_shared_region_agree_and_back_propagate():
    whole, cut = normal(2, 3, 4).requires_grad_(), torch.full((2, 3, 4), math.nan, requires_grad=True)
    loss = view_consistency_loss(whole, cut, torch.zeros(2, 3, dtype=torch.bool))
    assert loss.item() == 0
    loss.backward()
    assert (whole.grad == 0).all()
    assert (cut.grad == 0).all()


def test_a_visible_region_of_zeros_keeps_gradients_finite():
    """Eq. 3 gives zeros where C_i = 0; they have no direction."""
    whole, cut = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    whole[0, 1], cut[1, 2] = 0, 0
    whole[1, 0], cut[1, 0] = 0, 0
    whole.requires_grad_()
    cut.requires_grad_()
    visible = torch.ones(2, 3, dtype=torch.bool)
    loss = view_consistency_loss(whole, cut, visible)
    assert_close(loss, oracles.view_consistency_loss(exact(whole), exact(cut), visible.tolist()))
    loss.backward()
    assert whole.grad.isfinite().all()
    assert cut.grad.isfinite().all()


def test_gradients_of_view_consistency():
    whole, cut = (normal(3, 2, 4, seed=seed, dtype=torch.float64).requires_grad_() for seed in (0, 1))
    visible = torch.tensor([[True, False], [True, True], [False, False]])
    assert torch.autograd.gradcheck(lambda a, b: view_consistency_loss(a, b, visible), (whole, cut))


# ---------------------------------------------------------------------------------------------------- neighbours


def ranked(batch, count, seed=0, dtype=torch.float32, scale=1.0, out_of_reach=0.2):
    """Distances of a batch to `count` images, and who is a positive and who a negative; some are neither."""
    rng = np.random.default_rng(seed)
    distances = torch.from_numpy(rng.uniform(0, scale, (batch, count))).to(dtype)
    kinds = torch.from_numpy(rng.choice(3, (batch, count), p=[0.3, 0.5, 0.2]))
    distances[torch.from_numpy(rng.random((batch, count)) < out_of_reach)] = math.inf
    return distances, kinds == 0, kinds == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [0.03, 1.0, 50.0])
@pytest.mark.parametrize("out_of_reach", [0.0, 0.6])
@pytest.mark.parametrize(("batch", "count"), [(5, 40), (1, 2), (3, 1), (7, 3), (0, 4), (4, 0), (0, 0)])
def test_neighbour_loss_agrees_with_the_loop(batch, count, out_of_reach, temperature, dtype):
    distances, positive, negative = ranked(batch, count, dtype=dtype, out_of_reach=out_of_reach)
    loss = neighbour_loss(distances, positive, negative, temperature)
    assert loss.shape == ()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = oracles.neighbour_loss(exact(distances), positive.tolist(), negative.tolist(), temperature)
    assert_close(
        loss, expected, loss.dtype, 1e-7
    )  # of a certain neighbour −log P is a difference of nearly equal numbers


@pytest.mark.parametrize(("distance", "dtype"), [(300.0, torch.float32), (300.0, torch.float16), (1e6, torch.float32)])
def test_neighbour_loss_of_large_distances_keeps_its_digits(distance, dtype):
    """Embeddings as pooled are hundreds apart; over a small temperature that is more than float16 holds."""
    distances = (distance + torch.tensor([[0.0, 1.0, 2.0, 4.0]]) * distance / 300).to(dtype)
    positive = torch.tensor([[False, True, False, False]])
    for temperature in (1e-3, 0.03, 1.0):
        loss = neighbour_loss(distances, positive, ~positive, temperature)
        expected = oracles.neighbour_loss(exact(distances), positive.tolist(), (~positive).tolist(), temperature)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@given(SEEDS, st.integers(1, 5), st.integers(1, 9), st.sampled_from([0.01, 0.3, 5.0]))
def test_neighbour_loss_is_positive_and_the_order_of_images_does_not_matter(seed, batch, count, temperature):
    distances, positive, negative = ranked(batch, count, seed)
    loss = neighbour_loss(distances, positive, negative, temperature)
    assert loss.item() >= 0
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(batch))
    shuffled = (tensor[rows][:, order] for tensor in (distances, positive, negative))
    torch.testing.assert_close(neighbour_loss(*shuffled, temperature), loss, rtol=1e-5, atol=1e-6)


@given(SEEDS, st.integers(1, 4), st.integers(2, 9), st.sampled_from([1e-3, 1.0, 192.0]))
def test_neighbour_loss_sees_differences_over_the_temperature(seed, batch, count, factor):
    """From any zero, and in any unit if the temperature has it too."""
    distances, positive, negative = ranked(batch, count, seed, torch.float64)
    loss = neighbour_loss(distances, positive, negative, 0.1)
    moved = neighbour_loss(distances + 3, positive, negative, 0.1)
    torch.testing.assert_close(moved, loss, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(neighbour_loss(distances * factor, positive, negative, 0.1 * factor), loss)


@given(SEEDS, st.integers(1, 9), st.integers(1, 9))
def test_neighbours_all_alike_are_a_matter_of_chance(seed, positives, negatives):
    count = positives + negatives
    distances, positive = torch.full((2, count), 0.7), torch.arange(count).expand(2, count) < positives
    loss = neighbour_loss(distances, positive, ~positive, 0.05)
    assert loss.item() == pytest.approx(math.log(count), rel=1e-5)


def test_a_nearer_positive_and_a_farther_negative_lower_the_neighbour_loss():
    distances, positive, negative = ranked(6, 30, dtype=torch.float64)
    distances.requires_grad_()
    neighbour_loss(distances, positive, negative, 0.1).backward()
    rows = (distances.detach() < math.inf) & (distances.grad != 0).any(dim=1, keepdim=True)
    assert rows.any(dim=1).all()
    assert (distances.grad[rows & negative] < 0).all()
    # One that is likelier than the positives' mean share is pushed off too: their mean gradient is what must be right.
    pulled = torch.where(positive & rows, distances.grad, 0).sum(dim=1)
    assert (pulled > 0).all()
    assert torch.allclose(distances.grad.sum(dim=1), torch.zeros(6, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("poison", [math.inf, math.nan, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_neighbour_loss_ignores_who_is_left_out(poison, dtype):
    distances, positive, negative = ranked(5, 30, dtype=dtype, out_of_reach=0.2)
    clean = neighbour_loss(distances, positive, negative, 0.1)
    left_out = ~(positive | negative)
    distances[left_out] = poison
    distances.requires_grad_()
    loss = neighbour_loss(distances, positive, negative, 0.1)
    assert torch.equal(loss, clean)
    loss.backward()
    assert distances.grad.isfinite().all()
    unreachable = left_out | (distances.detach() == math.inf)
    assert (distances.grad[unreachable] == 0).all()
    assert (distances.grad[~unreachable & negative] != 0).any()


def test_a_distance_that_is_none_is_not_passed_over():
    """A diverged model must be seen in its loss."""
    distances, positive, negative = ranked(2, 8, out_of_reach=0.0)
    distances[0, positive[0].nonzero()[0]] = math.nan
    assert neighbour_loss(distances, positive, negative, 0.1).isnan()


@pytest.mark.parametrize("missing", ["positive", "negative", "both"])
def test_images_without_a_positive_or_a_negative_within_reach_are_no_neighbour_loss(missing):
    distances, positive, negative = ranked(3, 12, out_of_reach=0.0)
    whole = neighbour_loss(distances[1:], positive[1:], negative[1:], 0.1)
    distances[0, positive[0] if missing == "positive" else negative[0]] = math.inf
    if missing == "both":
        distances[0] = math.inf
    distances.requires_grad_()
    loss = neighbour_loss(distances, positive, negative, 0.1)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6), "the mean is over the others"
    alone = neighbour_loss(distances[:1], positive[:1], negative[:1], 0.1)
    assert alone.item() == 0
    (loss + alone).backward()
    assert (distances.grad[0] == 0).all()
    assert distances.grad.isfinite().all()


def test_gradients_of_neighbours():
    distances, positive, negative = ranked(4, 9, dtype=torch.float64, out_of_reach=0.0)
    distances.requires_grad_()
    assert torch.autograd.gradcheck(lambda d: neighbour_loss(d, positive, negative, 0.2), (distances,))


# ---------------------------------------------------------------------------------------------------- nothing to see


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_losses_of_an_empty_batch_are_zero_and_back_propagate(dtype):
    locator = torch.zeros(0, 6, 4, 2, dtype=dtype, requires_grad=True)
    classifier = torch.zeros(0, 6, 5, dtype=dtype, requires_grad=True)
    nobody, nothing = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 6, dtype=torch.bool)
    losses = [
        region_label_loss(locator, torch.zeros(0, 4, 2, dtype=torch.int64)),
        visible_identity_loss(classifier, nobody, nothing),
        region_selective_triplet_loss(classifier, nobody, nothing),
        view_consistency_loss(classifier, classifier, nothing),
        neighbour_loss(classifier[:, :, 0], nothing, nothing, 0.1),
    ]
    for loss in losses:
        assert loss.item() == 0
        assert loss.dtype == torch.float32
        loss.backward()


def test_nothing_visible_is_no_identity_loss():
    logits = normal(2, 3, 4).requires_grad_()
    loss = visible_identity_loss(logits, torch.tensor([0, 1]), torch.zeros(2, 3, dtype=torch.bool), 0.1)
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()

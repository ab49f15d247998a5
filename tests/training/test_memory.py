"""The memory of the gallery against plain loops over Eq. 4 (tests/oracles.py)."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch

import vpmsearch.training.memory as module
from vpmsearch.errors import ModelError
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.training.memory import GalleryMemory

# Eight images: identity 3 was seen by one camera alone.
TARGETS = np.array([0, 0, 0, 1, 1, 2, 2, 3])
CAMIDS = np.array([0, 1, 1, 0, 1, 0, 1, 0])


class LoopMemory:
    """What the memory should be: image -> (embeddings, visibility), and a ranking as evaluation makes it."""

    def __init__(self, targets, camids, p):
        self.targets, self.camids, self.p, self.seen = targets, camids, p, {}

    def rank(self, embeddings, visibility, indices, temperature):
        visibility = np.where(visibility >= 1 / (2 * self.p), visibility, 0)
        known = sorted(self.seen)
        distances = np.full((len(indices), len(known)), math.inf)
        if known:
            gallery, seen = (np.array([self.seen[i][part] for i in known]) for part in (0, 1))
            distances = oracles.visibility_weighted_distance(embeddings, visibility, gallery, seen)
        positive, negative = [], []
        for image in indices:
            alike = [self.targets[i] == self.targets[image] for i in known]
            other_camera = [self.camids[i] != self.camids[image] for i in known]
            positive.append([a and b for a, b in zip(alike, other_camera, strict=True)])
            negative.append([not a for a in alike])
        for row, image in enumerate(indices[: len(indices) // 2]):
            kept = np.clip(embeddings[row], -65504, 65504).astype(np.float16).astype(np.float64)
            self.seen[int(image)] = kept, visibility[row]
        return oracles.neighbour_loss(distances, positive, negative, temperature)


def seen(embeddings, visibility):
    """A model's output; what the memory has no use for is left empty."""
    nothing = torch.zeros(len(embeddings), 0)
    return VpmOutput(nothing, nothing, nothing, visibility, embeddings)


def drawn(indices, p=4, d=5, seed=0, scale=1.0, dtype=torch.float32):
    """Whole and cut images, in that order, and which they are."""
    rng = np.random.default_rng(seed)
    shown = np.tile(indices, 2)
    embeddings = torch.from_numpy(rng.normal(0, scale, (len(shown), p, d))).to(dtype)
    visibility = torch.from_numpy(rng.dirichlet(np.full(p, 0.5), len(shown)).reshape(len(shown), p)).float()
    return embeddings, visibility, torch.from_numpy(shown)


def memory(p=4, d=5):
    return GalleryMemory(TARGETS, CAMIDS, p, d)


def plain(tensor):
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize(("p", "d", "scale", "dtype"), [
    (4, 5, 1.0, torch.float32), (6, 16, 1.0, torch.float32), (1, 1, 1.0, torch.float32), (3, 64, 100.0, torch.float32),
    (4, 5, 1.0, torch.bfloat16), (4, 5, 1.0, torch.float16),
])  # fmt: skip
def test_a_batch_is_ranked_as_the_loop_does(p, d, scale, dtype, temperature):
    ours, loop = memory(p, d), LoopMemory(TARGETS, CAMIDS, p)
    losses = []
    # Nobody known; strangers; all but two known; some again; an image twice in one batch.
    for step, indices in enumerate([[0, 3], [1, 5], [2, 4, 6], [0, 1, 5], [3, 3, 7], [6, 7, 0], [2, 2]]):
        embeddings, visibility, shown = drawn(indices, p, d, step, scale, dtype)
        loss = ours.rank(seen(embeddings, visibility), shown, temperature * scale)
        expected = loop.rank(plain(embeddings), plain(visibility), shown.tolist(), temperature * scale)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
        losses.append(expected)
        for image in range(len(TARGETS)):
            kept, shares = loop.seen.get(image, (np.zeros((p, d)), np.zeros(p)))
            np.testing.assert_array_equal(plain(ours.embeddings[image]), kept)
            np.testing.assert_array_equal(plain(ours.visibility[image]), shares)
    assert losses[0] == 0
    assert sum(loss > 0 for loss in losses) >= 5


def test_a_batch_is_not_ranked_against_itself():
    """Neither its own images nor its whole views: what is remembered after it was there for nobody in it."""
    ours = memory()
    embeddings, visibility, shown = drawn([0, 1, 3, 4])
    embeddings.requires_grad_()
    loss = ours.rank(seen(embeddings, visibility), shown, 0.1)
    assert loss.item() == 0
    loss.backward()
    assert (embeddings.grad == 0).all()
    assert ours.rank(seen(embeddings, visibility), shown, 0.1).item() > 0


def known(places, p=1):
    """A memory of images at places on a line, every region of them visible."""
    ours = memory(p, 1)
    for image, place in places.items():
        both = torch.full((2, p, 1), float(place))
        ours.rank(seen(both, torch.full((2, p), 1 / p)), torch.tensor([image, image]), 1.0)
    return ours


def ask(ours, image, place, visibility=None):
    p = ours.visibility.shape[1]
    visibility = torch.full((2, p), 1 / p) if visibility is None else visibility
    return ours.rank(seen(torch.full((2, p, 1), float(place)), visibility), torch.tensor([image] * 2), 1.0).item()


def chance(positives, negatives):
    """−log P of places that far away, mean."""
    total = math.log(sum(math.exp(-d) for d in (*positives, *negatives)))
    return sum(d + total for d in positives) / len(positives)


def test_an_images_own_camera_does_not_count():
    """Image 2 is of the query's camera: a positive if it counted. Negatives of that camera do."""
    assert ask(known({0: 3, 2: 5, 3: 4, 4: 6}), 1, 0) == pytest.approx(chance([3], [4, 6]), rel=1e-5)
    assert ask(known({0: 3, 1: 2, 2: 5, 3: 4, 4: 6}), 0, 0) == pytest.approx(chance([2, 5], [4, 6]), rel=1e-5)


def test_nobody_is_his_own_neighbour():
    assert ask(known({0: 0, 3: 1}), 0, 0) == 0
    assert ask(known({7: 0, 3: 1}), 7, 0) == 0, "an identity of one camera has no positive"


def test_images_not_seen_yet_are_in_no_ranking():
    assert ask(known({1: 2}), 0, 0) == 0, "without a negative there is nothing to be nearer than"
    assert ask(known({3: 2}), 0, 0) == 0
    assert ask(known({1: 2, 3: 4}), 0, 0) == pytest.approx(chance([2], [4]), rel=1e-5)
    assert ask(known({1: 2, 3: 4, 5: 1}), 0, 0) == pytest.approx(chance([2], [4, 1]), rel=1e-5)


def test_what_was_seen_last_is_remembered():
    assert ask(known({1: 2, 3: 4} | {1: 7}), 0, 0) == pytest.approx(chance([7], [4]), rel=1e-5)


@pytest.mark.parametrize(("share", "counts"), [(0.25, True), (0.24999, False), (0.26, True)])
def test_a_region_below_the_default_min_visibility_is_not_visible(share, counts):
    """1/(2p) with p 2, in the query and in what is remembered."""
    visibility = torch.tensor([[1 - share, share]] * 2)
    ours = known({1: 2, 3: 4}, p=2)
    only_second = torch.tensor([[0.0, 1.0]] * 2)
    assert (ask(ours, 0, 0, only_second) > 0) is True
    # Query and gallery share the second region alone.
    ours.visibility[1] = ours.visibility[3] = torch.tensor([0.0, 1.0])
    assert (ask(ours, 0, 0, visibility) > 0) is counts
    ask(ours, 2, 0, visibility)
    assert ours.visibility[2].tolist() == pytest.approx([1 - share, share if counts else 0.0])


def test_whole_images_are_remembered_and_cut_ones_are_not():
    ours = memory()
    embeddings, visibility, shown = drawn([1, 6])
    ours.rank(seen(embeddings, visibility), shown, 0.1)
    assert torch.equal(ours.embeddings[[1, 6]], embeddings[:2].half())
    others = [0, 2, 3, 4, 5, 7]
    assert (ours.embeddings[others] == 0).all()
    assert (ours.visibility[others] == 0).all()


def test_of_an_image_given_twice_the_later_is_remembered_whole():
    """Its embeddings and its visibility: on a GPU either of two writes to one row may win."""
    for seed in range(5):
        ours = memory()
        embeddings, visibility, shown = drawn([4, 2, 4, 4, 2, 0], seed=seed)
        ours.rank(seen(embeddings, torch.ones_like(visibility)), shown, 0.1)
        assert torch.equal(ours.embeddings[[4, 2, 0]], embeddings[[3, 4, 5]].half())


@pytest.mark.parametrize("scale", [300.0, 65504.0, 1e6, 1e9])
def test_embeddings_of_any_length_can_be_remembered(scale):
    """f_i as pooled are in the hundreds; beyond float16 an image is far away, not infinitely so."""
    ours = memory()
    for seed, indices in enumerate([[0, 3], [1, 4], [2, 5]]):
        embeddings, visibility, shown = drawn(indices, seed=seed, scale=scale)
        embeddings.requires_grad_()
        loss = ours.rank(seen(embeddings, visibility), shown, scale / 10)
        loss.backward()
        assert loss.isfinite()
        assert embeddings.grad.isfinite().all()
        assert ours.embeddings.isfinite().all()
    assert loss.item() > 0


def test_gradients_go_into_what_the_batch_shows_and_nothing_else():
    ours = memory()
    for indices in ([0, 3], [1, 5]):
        ours.rank(seen(*drawn(indices)[:2]), drawn(indices)[2], 0.1)
    embeddings, visibility, shown = drawn([2, 4], seed=3)
    embeddings.requires_grad_()
    visibility.requires_grad_()
    loss = ours.rank(seen(embeddings, visibility), shown, 0.5)
    loss.backward()
    assert visibility.grad is None
    assert embeddings.grad.isfinite().all()
    below = visibility.detach() < 1 / 8
    assert below.any()
    assert (embeddings.grad[below] == 0).all()
    assert (embeddings.grad[~below] != 0).any()
    assert not any(buffer.requires_grad for buffer in ours.buffers())
    assert list(ours.parameters()) == []


def test_the_gradient_is_that_of_the_plain_formula_in_float64():
    ours, temperature = memory(3, 6), 0.5
    for indices in ([0, 3, 1], [5, 2, 4]):
        ours.rank(seen(*drawn(indices, 3, 6)[:2]), drawn(indices, 3, 6)[2], temperature)
    b, visible = ours.embeddings.double(), ours.visibility.double()  # before this batch is remembered
    embeddings, visibility, shown = drawn([2, 4, 0], 3, 6, seed=5)
    embeddings.requires_grad_()
    ours.rank(seen(embeddings, visibility), shown, temperature).backward()

    a = embeddings.detach().double().requires_grad_()
    counted = torch.where(visibility >= 1 / 6, visibility, 0).double()
    weights = counted[:, None] * visible[None]  # (B, N, p)
    apart = (a[:, None] - b[None]).norm(dim=3)
    total = weights.sum(dim=2)
    distances = torch.where(total > 0, (weights * apart).sum(dim=2) / torch.where(total > 0, total, 1), math.inf)
    same = torch.from_numpy(TARGETS[shown][:, None] == TARGETS)
    positive = same & torch.from_numpy(CAMIDS[shown][:, None] != CAMIDS)
    losses = []
    for row in range(len(shown)):
        chances = torch.exp(-distances[row] / temperature)
        reached = distances[row] < math.inf
        right, wrong = positive[row] & reached, ~same[row] & reached
        if right.any() and wrong.any():
            losses.append(-torch.log(chances[right] / chances[right | wrong].sum()).mean())
    assert len(losses) >= 3
    torch.stack(losses).mean().backward()
    torch.testing.assert_close(embeddings.grad.double(), a.grad, rtol=1e-4, atol=1e-6)


def test_where_embeddings_coincide_gradients_are_finite():
    """The root's is not: places are whole numbers, so that the distance is exactly 0."""
    ours = known({1: 2, 3: 4})
    embeddings = torch.full((2, 1, 1), 2.0, requires_grad=True)
    loss = ours.rank(seen(embeddings, torch.ones(2, 1)), torch.tensor([0, 0]), 1.0)
    assert loss.item() == pytest.approx(chance([0], [2]), abs=0.01)
    loss.backward()
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad != 0).all(), "the negative pushes"


def test_a_batch_of_nothing():
    ours = known({1: 2, 3: 4})
    before = ours.embeddings.clone()
    embeddings = torch.zeros(0, 1, 1, requires_grad=True)
    loss = ours.rank(seen(embeddings, torch.zeros(0, 1)), torch.zeros(0, dtype=torch.int64), 0.1)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(ours.embeddings, before)


def test_what_is_not_finite_is_seen_in_the_loss():
    for poison in (math.nan, math.inf):
        assert not math.isfinite(ask(known({1: 2, 3: 4}), 0, poison))


def test_the_state_is_what_was_seen():
    """Identities and cameras come from the data; the rest goes into a checkpoint, and through it without a change."""
    ours, other = memory(), memory()
    ours.rank(seen(*drawn([0, 1, 3])[:2]), drawn([0, 1, 3])[2], 0.1)
    assert set(ours.state_dict()) == {"embeddings", "visibility"}
    other.load_state_dict({name: tensor.float() for name, tensor in ours.state_dict().items()})
    batch = drawn([2, 4], seed=1)
    losses = [found.rank(seen(*batch[:2]), batch[2], 0.1).item() for found in (ours, other)]
    assert losses[0] == losses[1] > 0
    assert other.embeddings.dtype == torch.float16


def test_the_data_is_not_shared_with_the_memory():
    targets = TARGETS.copy()
    ours = GalleryMemory(targets, CAMIDS, 1, 1)
    targets[:] = 9
    assert ours.targets.tolist() == TARGETS.tolist()


def test_a_memory_that_no_checkpoint_could_hold_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 2 * 8 * 4 * 5)
    memory(4, 5)
    with pytest.raises(ModelError, match=r"8 images of 4 × 6 numbers.*smaller embedding_dim"):
        memory(4, 6)

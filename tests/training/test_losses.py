"""Eq. 8 is the sum of its parts, and each region has a classifier of its own."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch

from vpmsearch.equations import visible_identity_loss
from vpmsearch.model.vpm import VpmOutput
from vpmsearch.training.losses import RegionClassifiers, VisibleNorm, vpm_loss
from vpmsearch.training.presets import get_preset


@pytest.fixture
def batch():
    """B 6, p 4, T 3 × 2, d 5, K 3."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 4, 3, 2, generator=generator)
    output = VpmOutput(
        feature_map=torch.randn(6, 5, 3, 2, generator=generator),
        locator_logits=maps,
        probabilities=torch.softmax(maps, dim=1),
        visibility=torch.softmax(maps, dim=1).mean(dim=(2, 3)),
        embeddings=torch.randn(6, 4, 5, generator=generator),
    )
    labels = torch.randint(0, 4, (6, 3, 2), generator=generator)
    visible = torch.rand(6, 4, generator=generator) < 0.7
    logits = torch.randn(6, 4, 3, generator=generator)
    return output, logits, labels, visible, torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"region_loss_reduction": "sum"},
        {"region_loss_weight": 2.5, "label_smoothing": 0.1},
        {"margin": None},
        {"margin": 0.3},
        {"consistency_weight": 2.0},
        {"consistency_weight": 0.1, "region_loss_weight": 2.5},
    ],
)
def test_the_loss_is_the_sum_of_its_parts(batch, changes):
    settings = get_preset("paper", **changes)
    output, logits, labels, visible, targets = batch
    terms = vpm_loss(output, logits, labels, visible, targets, settings)
    region = oracles.region_label_loss(output.locator_logits.numpy(), labels, settings.region_loss_reduction)
    identity = oracles.visible_identity_loss(logits.numpy(), targets, visible, settings.label_smoothing)
    triplet = oracles.region_selective_triplet_loss(
        output.embeddings.numpy(), targets.tolist(), visible.tolist(), settings.margin
    )
    assert terms.region.item() == pytest.approx(region, rel=1e-5)
    assert terms.identity.item() == pytest.approx(identity, rel=1e-5)
    assert terms.triplet.item() == pytest.approx(triplet, rel=1e-5)
    assert triplet > 0
    total = settings.region_loss_weight * region + identity + triplet
    if settings.consistency_weight:
        whole, cut = output.embeddings.numpy().reshape(2, 3, 4, 5)
        shown = visible[:3] & visible[3:]
        assert 0 < shown.sum() < visible[:3].sum(), "the views differ in what they show"
        consistency = oracles.view_consistency_loss(whole, cut, shown.tolist())
        assert terms.consistency.item() == pytest.approx(consistency, rel=1e-5)
        assert consistency > 0
        total += settings.consistency_weight * consistency
    assert terms.total.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_the_memory_says_is_added_with_its_weight(batch, weight):
    settings = get_preset("paper", consistency_weight=1.0, memory_weight=weight)
    without, found = (vpm_loss(*batch, settings, ranking) for ranking in (None, torch.tensor(3.0)))
    assert (without.memory.item(), found.memory.item()) == (0, 3)
    assert found.total.item() == pytest.approx(without.total.item() + 3 * weight)


def test_without_a_weight_nothing_is_asked_of_two_views(batch):
    """One view an image: the number of images need not be even, and halves are of different people."""
    output, logits, labels, visible, targets = batch
    output = VpmOutput(*(tensor[:5] for tensor in vars(output).values()))
    terms = vpm_loss(output, logits[:5], labels[:5], visible[:5], targets[:5], get_preset("paper"))
    assert terms.consistency.item() == 0
    assert terms.consistency.shape == ()
    assert terms.total.isfinite()


def test_two_views_of_nothing_agree(batch):
    output, logits, labels, visible, targets = batch
    output = VpmOutput(*(tensor[:0].requires_grad_() for tensor in vars(output).values()))
    settings = get_preset("paper", consistency_weight=1.0)
    terms = vpm_loss(output, logits[:0], labels[:0], visible[:0], targets[:0], settings)
    assert terms.total.item() == terms.consistency.item() == 0
    terms.total.backward()


def test_views_pull_each_other_where_both_show_a_region(batch):
    output, logits, labels, visible, targets = batch
    output.embeddings.requires_grad_()
    terms = vpm_loss(output, logits, labels, visible, targets, get_preset("paper", consistency_weight=1.0))
    (gradient,) = torch.autograd.grad(terms.consistency, output.embeddings)
    shown = (visible[:3] & visible[3:]).repeat(2, 1)
    assert ((gradient != 0).any(dim=2) == shown).all()


def test_two_layers_a_region():
    """Eq. 6: reduce, then K identities."""
    classifiers = RegionClassifiers("two-layer", 4, 5, 7)
    embeddings = torch.randn(3, 4, 5)
    logits = classifiers(embeddings)
    assert logits.shape == (3, 4, 7)
    reduce, classify = (parameter.detach().double().numpy() for parameter in classifiers.parameters())
    assert reduce.shape[2] == 256
    for region in range(4):
        expected = embeddings[:, region].double().numpy() @ reduce[region] @ classify[region]
        np.testing.assert_allclose(logits[:, region].detach(), expected, rtol=1e-4, atol=1e-6)


def test_two_layers_normalised_in_between():
    classifiers = RegionClassifiers("two-layer-bn", 4, 5, 7).train()
    embeddings = torch.randn(8, 4, 5) / 50
    logits = classifiers(embeddings)
    assert logits.shape == (8, 4, 7)
    wide = {name: parameter.detach().double().numpy() for name, parameter in classifiers.named_parameters()}
    for region in range(4):
        reduced = embeddings[:, region].double().numpy() @ wide["reduce"][region]
        normal = (reduced - reduced.mean(axis=0)) / np.sqrt(reduced.var(axis=0) + 1e-5)
        np.testing.assert_allclose(logits[:, region].detach(), normal @ wide["classify"][region], rtol=1e-3, atol=1e-5)


def test_a_normalised_neck_a_region():
    classifiers = RegionClassifiers("bnneck", 4, 5, 7).train()
    embeddings = torch.randn(8, 4, 5) * 3 + 2
    logits = classifiers(embeddings)
    assert logits.shape == (8, 4, 7)
    wide = embeddings.double().numpy()
    normal = (wide - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-5)  # each region's numbers on their own
    classify = next(p for name, p in classifiers.named_parameters() if name == "classify").detach().double().numpy()
    np.testing.assert_allclose(logits.detach(), np.einsum("bpd,pdk->bpk", normal, classify), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["two-layer", "two-layer-bn", "bnneck"])
def test_a_classifier_sees_its_region_only(kind):
    classifiers = RegionClassifiers(kind, 4, 5, 7).eval()
    embeddings = torch.randn(3, 4, 5, requires_grad=True)
    classifiers(embeddings)[:, 2].sum().backward()
    assert (embeddings.grad[:, 2] != 0).any()
    assert (embeddings.grad[:, [0, 1, 3]] == 0).all()


@pytest.mark.parametrize("kind", ["two-layer", "two-layer-bn", "bnneck"])
def test_classifiers_start_undecided(kind):
    """Close to K equally likely identities: no region is sure of anything before it has learned."""
    torch.manual_seed(0)
    probabilities = RegionClassifiers(kind, 6, 128, 50)(torch.randn(16, 6, 128)).softmax(dim=2)
    assert probabilities.max() < 0.05
    assert probabilities.min() > 0.008


@pytest.mark.parametrize("kind", ["two-layer", "two-layer-bn", "bnneck"])
def test_a_region_that_nobody_sees_gets_no_gradient_of_identities(kind):
    """Eq. 6 leaves it out, and so do the statistics that normalise the others."""
    torch.manual_seed(0)
    classifiers = RegionClassifiers(kind, 4, 5, 7).train()
    embeddings = torch.randn(9, 4, 5, requires_grad=True)
    visible = torch.rand(9, 4) < 0.6
    loss = visible_identity_loss(classifiers(embeddings, visible), torch.arange(9) % 7, visible)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert (gradient[~visible] == 0).all()
    assert (gradient[visible] != 0).any(dim=1).all()


def test_statistics_are_of_the_images_that_show_a_region():
    layer = VisibleNorm(3, 2).train()
    x = torch.randn(8, 3, 2) * 3 + 1
    x[5, 0] = torch.inf  # what is not counted may hold anything
    counted = torch.rand(8, 3) < 0.7
    counted[5, 0] = False
    counted[:, 2] = False
    counted[4, 2] = True  # one image alone has no variance
    found = layer(x, counted).detach().numpy()
    for region in (0, 1):
        rows = x[counted[:, region], region].double().numpy()
        expected = (x[:, region].double().numpy() - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)
        mask = counted[:, region].numpy()
        np.testing.assert_allclose(found[mask, region], expected[mask], rtol=1e-4, atol=1e-5)
        remembered = 0.1 * rows.mean(axis=0), 0.9 + 0.1 * rows.var(axis=0, ddof=1)
        np.testing.assert_allclose(layer.running_mean.view(3, 2)[region], remembered[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.running_var.view(3, 2)[region], remembered[1], rtol=1e-4)
    np.testing.assert_allclose(found[:, 2], x[:, 2] / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert layer.running_mean.view(3, 2)[2].tolist() == [0, 0]


def test_all_rows_counted_is_batch_normalisation():
    """Same numbers, same names of tensors: older checkpoints go on."""
    torch.manual_seed(0)
    ours, theirs = VisibleNorm(3, 2).train(), torch.nn.BatchNorm1d(6).train()
    for _ in range(3):
        x = torch.randn(7, 3, 2)
        torch.testing.assert_close(ours(x).flatten(1), theirs(x.flatten(1)))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x).flatten(1), theirs.eval()(x.flatten(1)))


def test_a_teacher_stands_still(batch):
    """The cuts are pulled to the teacher's whole image; the student's whole image feels nothing of it."""
    output, logits, labels, visible, targets = batch
    settings = get_preset("paper", consistency_weight=1.0, cuts=2, average_decay=0.9, teacher=True)
    output.embeddings.requires_grad_()
    teacher = torch.randn(2, 4, 5, requires_grad=True)
    terms = vpm_loss(output, logits, labels, visible, targets, settings, teacher=teacher.detach())
    whole = teacher.detach().numpy()
    cuts = output.embeddings.detach().numpy().reshape(3, 2, 4, 5)
    seen = visible.reshape(3, 2, 4)
    expected = np.mean([oracles.view_consistency_loss(whole, cuts[i], (seen[0] & seen[i]).tolist()) for i in (1, 2)])
    assert terms.consistency.item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(terms.consistency, output.embeddings)
    assert (gradient[:2] == 0).all()
    shown = torch.cat([seen[0] & seen[1], seen[0] & seen[2]])
    assert ((gradient[2:] != 0).any(dim=2) == shown).all()

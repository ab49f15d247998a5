"""Classifiers that start from mean embeddings, against plain loops, and in a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import run, trainer
from tiny_settings import TINY
from torch.nn.functional import cross_entropy

import vpmsearch.training.trainer as trainer_module
from vpmsearch.errors import ModelError
from vpmsearch.training.losses import RegionClassifiers
from vpmsearch.training.means import LOGITS, set_means, some_of_each
from vpmsearch.training.memory import GalleryMemory
from vpmsearch.training.presets import get_preset

pytestmark = pytest.mark.usefixtures("tiny")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_some_images_of_each_class(targets, count):
    chosen = some_of_each(np.array(targets), count)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    for target in set(targets):
        have = [i for i, t in enumerate(targets) if t == target]
        taken = [i for i in chosen.tolist() if targets[i] == target]
        assert len(taken) == min(count, len(have))
        assert count == 1 or len(have) == 1 or {have[0], have[-1]} <= set(taken)


def best_length(embeddings, mean, var, targets, d):
    """A step below the length with the lowest cross entropy of images that are left out of their own mean."""
    normal = (embeddings - mean) / np.sqrt(var + 1e-5)
    losses = {length / np.sqrt(d): [] for length in LOGITS}
    for i, image in enumerate(normal):
        means = {k: sum(x for j, x in enumerate(normal) if targets[j] == k and j != i) for k in set(targets)}
        if np.linalg.norm(means[targets[i]]) <= 1e-3 * np.linalg.norm(image):
            continue
        for length, found in losses.items():
            logits = {k: length * image @ m / np.linalg.norm(m) for k, m in means.items() if np.any(m)}
            found.append(np.log(sum(np.exp(v - logits[targets[i]]) for v in logits.values())))
    mean_of = {length: np.mean(found) if found else 0.0 for length, found in losses.items()}
    best = min(mean_of, key=mean_of.get)
    return max(length for length in losses if length == min(losses) or length < best)  # a step lower


@pytest.mark.parametrize(("images", "p", "d", "classes"), [(1, 1, 1, 1), (12, 3, 5, 4), (40, 2, 16, 7)])
def test_weights_are_the_directions_of_means(images, p, d, classes):
    rng = np.random.default_rng(images)
    embeddings = rng.normal(0.3, 1.0, (images, p, d))
    visibility = np.where(rng.random((images, p)) < 0.7, 1 / p, 0.01 / p)
    targets = rng.integers(0, max(classes - 1, 1), images)  # the last class has no image, if there are several
    classifiers = RegionClassifiers("bnneck", p, d, classes)
    before = classifiers.classify.detach().clone()
    set_means(
        classifiers,
        torch.from_numpy(embeddings).float(),
        torch.from_numpy(visibility).float(),
        torch.from_numpy(targets),
    )
    for region in range(p):
        shown = [i for i in range(images) if visibility[i, region] >= 1 / (2 * p)]
        mean = sum((embeddings[i, region] for i in shown), np.zeros(d)) / max(len(shown), 1)
        var = sum(((embeddings[i, region] - mean) ** 2 for i in shown), np.zeros(d)) / max(len(shown), 1)
        kept = slice(region * d, (region + 1) * d)
        np.testing.assert_allclose(classifiers.neck.running_mean[kept], mean, atol=1e-5)
        np.testing.assert_allclose(classifiers.neck.running_var[kept], var, rtol=1e-4, atol=1e-5)
        for k in range(classes):
            own = [(embeddings[i, region] - mean) / np.sqrt(var + 1e-5) for i in shown if targets[i] == k]
            found = classifiers.classify[region, :, k].detach().double().numpy()
            total = sum(own, np.zeros(d))
            if np.linalg.norm(total) < 1e-4:
                assert np.linalg.norm(found) < 0.2  # nobody shows this region: small random weights, or nearly so
                continue
            length = best_length(embeddings[shown, region], mean, var, targets[shown], d)
            np.testing.assert_allclose(found, total / np.linalg.norm(total) * length, rtol=1e-3, atol=1e-3)
    if classes > 1:
        assert torch.equal(classifiers.classify[:, :, -1], before[:, :, -1])


@pytest.fixture(scope="module")
def learned(drawn_images, tmp_path_factory):
    """The weights of a short run, without its classifiers."""
    first = trainer(replace(TINY, classifier="bnneck"), drawn_images, tmp_path_factory.mktemp("learned"))
    run(first)
    return str(first.files.weights)


@pytest.mark.parametrize("noise", [0.2, 1.0, 5.0])
def test_new_images_of_the_same_people_are_told_apart_at_once(noise):
    """And where a model tells nobody apart, the classifiers are not surer than random ones."""
    rng = np.random.default_rng(1)
    people = rng.normal(size=(20, 2, 24))
    classifiers, random = (RegionClassifiers("bnneck", 2, 24, 20).eval() for _ in range(2))
    targets = torch.arange(20).repeat(4)
    seen, new = (torch.from_numpy(people[targets] + rng.normal(0, noise, (80, 2, 24))).float() for _ in range(2))
    set_means(classifiers, seen, torch.full((80, 2), 0.5), targets)
    losses = [
        float(cross_entropy(heads(new).detach().transpose(1, 2), targets[:, None].expand(80, 2)))
        for heads in (classifiers, random)
    ]
    assert losses[0] < {0.2: 0.1, 1.0: 0.5, 5.0: 1.02}[noise] * losses[1]


def test_a_run_starts_with_these_classifiers(learned, drawn_images, tmp_path):
    """Unless it goes on from a checkpoint of the same people, whose classifiers know more."""
    settings = replace(TINY, init=learned, classifier="bnneck", class_means=3)
    began = trainer(settings, drawn_images, tmp_path)
    before, found = began.classifiers.classify.clone(), []
    step = began._step
    began._step = lambda *given: found.append(began.classifiers.classify.detach().clone()) or step(*given)
    run(began)
    assert (found[0] != before).any(dim=1).all()  # every class in every region
    again = trainer(replace(settings, init=str(began.files.checkpoint)), drawn_images, tmp_path, "again")
    began_with = again.classifiers.classify.detach().clone()
    found.clear()
    step_again = again._step
    again._step = lambda *given: found.append(again.classifiers.classify.detach().clone()) or step_again(*given)
    run(again)
    assert torch.equal(found[0], began_with)


def test_the_means_are_the_same_where_the_frozen_stages_run_apart(drawn_images, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "has_bfloat16", lambda device: False)  # so that both ways compute in float32
    settings = get_preset(
        "fast", init="random", input_size=(64, 32), num_regions=(2, 1), embedding_dim=8, freeze_stages=2, class_means=2,
        classifier="bnneck", pids_per_batch=2, images_per_pid=2,
    )  # fmt: skip
    found = {}
    for name, asked in {"whole": False, "apart": True}.items():
        began = trainer(replace(settings, bfloat16=asked), drawn_images, tmp_path, name)
        assert (began._frozen is not None) == asked
        before = began.classifiers.classify.detach().clone()
        began._start_from_means()
        assert not torch.equal(began.classifiers.classify, before)
        found[name] = began.classifiers.state_dict()
    for name, value in found["whole"].items():
        torch.testing.assert_close(found["apart"][name], value, rtol=1e-3, atol=1e-4)


def test_a_resumed_run_keeps_what_it_learnt(learned, drawn_images, tmp_path):
    settings = replace(TINY, init=learned, epochs=2, classifier="bnneck", class_means=2)
    whole = trainer(settings, drawn_images, tmp_path, "whole")
    run(whole)

    def stop(row):
        if row.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(settings, drawn_images, tmp_path, "parts").run(on_step=stop)
    parts = trainer(settings, drawn_images, tmp_path, "parts")
    run(parts, resume=True)
    found = parts.module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.module.state_dict().items())


def test_the_memory_knows_the_images_too(learned, drawn_images, tmp_path):
    settings = replace(TINY, init=learned, classifier="bnneck", consistency_weight=0.5, memory_weight=0.5)
    began = trainer(replace(settings, class_means=2), drawn_images, tmp_path)
    began._start_from_means()
    chosen = some_of_each(began.data.targets, 2)
    known = began.memory.visibility.sum(dim=1) > 0.5
    assert known.nonzero().flatten().tolist() == chosen.tolist()


def test_the_memory_stores_no_region_below_min_visibility():
    memory = GalleryMemory(np.arange(3), np.zeros(3, dtype=np.int64), 2, 4)
    memory.remember(torch.tensor([0, 2]), torch.ones(2, 2, 4), torch.tensor([[0.9, 0.1], [0.25, 0.2499]]))
    assert torch.equal(memory.visibility, torch.tensor([[0.9, 0.0], [0.0, 0.0], [0.25, 0.0]]))


def test_only_one_kind_of_classifier_can_start_so():
    with pytest.raises(ModelError, match="bnneck"):
        replace(TINY, classifier="two-layer", class_means=2)


def test_one_image_is_no_mean():
    with pytest.raises(ModelError, match="at least 2"):
        replace(TINY, classifier="bnneck", class_means=1)


def test_styles_are_mixed_only_behind_frozen_stages():
    with pytest.raises(ModelError, match="style_mixing needs the trunk osnet"):
        replace(TINY, style_mixing=0.5)

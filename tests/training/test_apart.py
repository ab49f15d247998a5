"""Frozen and learning stages of a trunk run apart: what they give, and their gradients, are those of the whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vpmsearch.errors import ModelError, TrainingError
from vpmsearch.model.trunks import build_backbone
from vpmsearch.model.vpm import Vpm
from vpmsearch.training.frozen import FrozenPart
from vpmsearch.training.learning import LearningPart, one_thread_an_operation
from vpmsearch.training.presets import get_preset
from vpmsearch.training.trainer import Trainer

SIZE = (64, 32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Vpm("osnet", num_regions=(2, 1), embedding_dim=8)
    model.backbone.freeze(2)
    return model.train()


@pytest.fixture(scope="module")
def images():
    return torch.randn(11, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_both_parts_are_the_trunk(images, stages):
    backbone = build_backbone("osnet")
    backbone.freeze(stages)
    with torch.no_grad():
        found = backbone.learning_part(backbone.frozen_part(images[:2]))
        assert torch.equal(found, backbone(images[:2]))


@pytest.mark.parametrize(("name", "stages"), [("osnet", 0), ("resnet8", 2)])
def test_a_trunk_that_does_not_split(images, name, stages):
    backbone = build_backbone(name)
    backbone.freeze(stages)
    assert not backbone.splits
    with pytest.raises(ModelError, match=f"{name} with {stages} frozen stages does not split"):
        backbone.frozen_part(images)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("runtime", ["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_frozen_part(model, images, runtime, half):
    """11 images: a chunk and a part of one."""
    if runtime == "openvino":
        pytest.importorskip("openvino")
    found = FrozenPart(model.backbone, runtime, SIZE, half=half)(images)
    with torch.no_grad():
        expected = model.backbone.frozen_part(images)
    assert not found.requires_grad
    tolerance = 0.05 if half else 1e-4
    assert (found.float() - expected).norm() <= tolerance * expected.norm()


def test_without_openvino(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(TrainingError, match="pip install 'vpmsearch\\[openvino\\]'"):
        FrozenPart(model.backbone, "openvino", SIZE, half=True)


@pytest.mark.parametrize(("threads", "half"), [(1, False), (2, False), (2, True)])
def test_gradients_of_threads_are_those_of_the_batch(model, images, threads, half):
    features = FrozenPart(model.backbone, "torch", SIZE, half=False)(images[:5])  # an odd number: unequal shares

    towards = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))

    def loss(feature_map):
        output = model.see_regions(feature_map)
        return (output.embeddings * towards).sum() + output.visibility.square().sum()

    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    loss(model.backbone.learning_part(features)).backward()
    expected = {name: p.grad.clone() for name, p in learning.items()}
    model.zero_grad()
    part = LearningPart(model.backbone, half=half, threads=threads)
    loss(part.forward(features)).backward()
    part.backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in learning.values())
    found, wanted = (
        torch.cat([each.flatten() for each in grads])
        for grads in ([parameter.grad for parameter in learning.values()], expected.values())
    )
    assert (found - wanted).norm() <= (0.2 if half else 1e-4) * wanted.norm()
    of_another = part.of_another(model.backbone, features)
    torch.testing.assert_close(
        of_another, model.backbone.learning_part(features), rtol=0.1, atol=0.02 if half else 1e-5
    )


@pytest.fixture
def three_threads():
    """A setting that no machine has by chance."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_operations_run_in_their_own_thread_within_the_block_and_not_after():
    with one_thread_an_operation():
        assert torch.get_num_threads() == 1
        with ThreadPoolExecutor(1) as pool:
            torch.rand(8, 8) @ torch.rand(8, 8)
            assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError, match="within"), one_thread_an_operation():
        raise RuntimeError("within")
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("apart", "threads"), [(True, 1), (False, 3)])
def test_a_run_uses_one_thread_an_operation_where_its_learning_stages_have_threads(
    drawn_images, tmp_path, apart, threads
):
    """Not while a whole trunk learns, nor while the model is measured between epochs."""
    settings = get_preset(
        "fast", init="random", input_size=(64, 32), num_regions=(2, 1), embedding_dim=8, freeze_stages=2, epochs=1,
        pids_per_batch=2, images_per_pid=2, warmup_steps=0, bfloat16=apart,
    )  # fmt: skip
    device, output = torch.device("cpu"), tmp_path / "vpm.safetensors"
    run = Trainer(settings, drawn_images[:8], dataset="drawn", output=output, device=device, workers=0)
    found, measured = list[int](), list[int]()
    run.run(
        on_step=lambda row: found.append(torch.get_num_threads()),
        on_epoch=lambda epoch, model: measured.append(torch.get_num_threads()),
    )
    assert set(found) == {threads}
    assert measured == [3]

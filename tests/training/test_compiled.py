"""A compiled forward pass: for training steps alone, and an error that says what to do where it cannot be had."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_settings import TINY

from vpmsearch.errors import TrainingError
from vpmsearch.model.vpm import Vpm
from vpmsearch.training.compiled import CompiledForward
from vpmsearch.training.trainer import Trainer

SETTINGS = replace(TINY, epochs=2, consistency_weight=1.0, memory_weight=0.5)
IMAGES = torch.rand(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.usefixtures("tiny")


def trained(images, output, compiled, on_epoch=lambda epoch, model: None):
    """The trainer after its run, and the rows."""
    rows = []
    cpu = torch.device("cpu")
    trainer = Trainer(SETTINGS, images, dataset="drawn", output=output, device=cpu, workers=0, compiled=compiled)
    trainer.run(on_step=rows.append, on_epoch=on_epoch)
    return trainer, rows


@pytest.fixture
def calls(monkeypatch):
    """`torch.compile` for nothing: what was compiled, and with which images it was called."""
    made = []

    def compile(model, **options):
        assert options == {"dynamic": False}

        def forward(images):
            made.append((model, model.training, images.shape))
            return model(images)

        return forward

    monkeypatch.setattr(torch, "compile", compile)
    return made


def test_steps_and_steps_alone_are_compiled(calls, drawn_images, tmp_path):
    def evaluate(epoch, model):
        before = len(calls)
        with torch.inference_mode():
            model(IMAGES)
        assert len(calls) == before, "evaluation is as without"

    trainer, rows = trained(drawn_images, tmp_path / "vpm.safetensors", True, evaluate)
    assert calls == [(trainer.model, True, (12, 3, 64, 32))] * len(rows), "one shape: compiled once"


def test_a_compiled_run_leaves_the_same_files(calls, drawn_images, tmp_path):
    ends = {}
    for compiled in (False, True):
        output = tmp_path / str(compiled) / "vpm.safetensors"
        trainer, rows = trained(drawn_images, output, compiled)
        ends[compiled] = rows, output.read_bytes(), trainer.files.checkpoint.read_bytes()
    assert ends[False] == ends[True]
    assert calls


def test_without_asking_nothing_is_compiled(calls, drawn_images, tmp_path):
    trained(drawn_images, tmp_path / "vpm.safetensors", False)
    assert not calls


class InvalidCxxCompilerError(RuntimeError):
    """As torch raises, of no class that is public."""


@pytest.mark.parametrize("where", ["compiling", "calling"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidCxxCompilerError("\n\n  No working C++ compiler\nSet TORCH_LOGS=…"), "No working C.. compiler"),
        (FileNotFoundError(2, "No such file", "/cache"), ".*No such file: '/cache'"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("x" * 10_000), "x" * 200 + r"\)"),
    ],
)
def test_a_compiler_that_is_not_there_is_one_error(monkeypatch, drawn_images, tmp_path, where, error, reason):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "compile", fail if where == "compiling" else lambda model, **options: fail)
    with pytest.raises(TrainingError, match=rf"cannot be compiled \({reason}.*C\+\+ compiler.*--compile") as raised:
        trained(drawn_images, tmp_path / "vpm.safetensors", True)
    assert raised.value.__cause__ is error
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()])
def test_what_is_not_the_compilers_fault_is_not_blamed_on_it(monkeypatch, error):
    def fail(images):
        raise error

    monkeypatch.setattr(torch, "compile", lambda model, **options: fail)
    with pytest.raises(type(error)) as raised:
        CompiledForward(Vpm("tiny", 3, 16))(IMAGES)
    assert raised.value is error


def test_once_compiled_errors_are_the_models(monkeypatch):
    model = Vpm("tiny", 3, 16)
    monkeypatch.setattr(torch, "compile", lambda model, **options: model)
    forward = CompiledForward(model)
    forward(IMAGES)
    with pytest.raises(RuntimeError):
        forward(IMAGES[:, :2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own making
def test_compiled_losses_are_those_of_the_model(drawn_images, tmp_path):
    plain, rows = trained(drawn_images, tmp_path / "plain.safetensors", False)
    compiled, found = trained(drawn_images, tmp_path / "compiled.safetensors", True)
    assert type(compiled.model) is Vpm
    files = [load_file(trainer.files.checkpoint) for trainer in (plain, compiled)]
    assert {name: t.shape for name, t in files[0].items()} == {name: t.shape for name, t in files[1].items()}
    for ours, theirs in zip(found, rows, strict=True):
        for name in ("loss", "loss_region", "loss_id", "loss_triplet", "loss_consistency", "loss_memory"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_machine_without_a_compiler(drawn_images, tmp_path, monkeypatch):
    import torch._inductor.config

    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}),
        pytest.raises(TrainingError, match=r"cannot be compiled.*no-such-compiler.*--compile"),
    ):
        trained(drawn_images, tmp_path / "vpm.safetensors", True)

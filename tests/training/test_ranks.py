"""Several processes train as one: the same losses and the same weights as one process with the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vpmsearch.errors import DeviceError, TrainingError
from vpmsearch.training import ranks
from vpmsearch.training.log import TrainingFiles, read_log
from vpmsearch.training.ranks import Ranks

_TRAIN = """
import json, sys
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.model.trunks import BACKBONES, Backbone
from vpmsearch.training.presets import get_preset
from vpmsearch.training.ranks import joined
from vpmsearch.training.trainer import Trainer

def plain():  # without normalisation, which would be by each process's own share
    trunk = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 12, 4, stride=4), nn.ReLU())
    return Backbone("plain", trunk, 12, 16, [(trunk[0],), (trunk[2],)])

BACKBONES["plain"] = plain
output, listed, changes = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
images = [LabelledImage(Path(path), pid=pid, camid=camid) for path, pid, camid in listed]
settings = get_preset(
    "small", backbone="plain", init="random", input_size=(64, 32), num_regions=(3, 1), embedding_dim=None, epochs=2,
    classifier="two-layer", pids_per_batch=2, images_per_pid=2, learning_rate=1e-2, trunk_learning_rate=1e-2,
    optimizer="sgd", warmup_steps=2, **changes,
)
with joined(torch.device("cpu")) as ranks:
    Trainer(settings, images, dataset="drawn", output=output, device=torch.device("cpu"), workers=0).run()
"""


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _train(output: Path, images: list, changes: dict, processes: int) -> None:
    """As torchrun starts them."""
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    command = [sys.executable, "-c", _TRAIN, str(output), json.dumps(images), json.dumps(changes)]
    running = [
        subprocess.Popen(command, env=os.environ | known | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    for process in running:
        said = process.communicate(timeout=900)[1]
        assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_clip": 0.5},
        {"consistency_weight": 1.0, "memory_weight": 0.5, "memory_temperature": 0.3},
    ],
    ids=["one-view", "two-views-and-memory"],
)
def test_two_processes_train_what_one_does(tmp_path, drawn_images, changes):
    listed = [(str(image.path), image.pid, image.camid) for image in drawn_images]
    files = []
    for processes in (1, 2):
        output = tmp_path / str(processes) / "w.safetensors"
        output.parent.mkdir()
        _train(output, listed, changes, processes)
        files.append(TrainingFiles(output))
    one, two = (read_log(found.log) for found in files)
    assert len(one) == len(two) > 4
    for a, b in zip(one, two, strict=True):
        assert (a.epoch, a.step, a.lr) == (b.epoch, b.step, b.lr)
        for name in ("loss", "loss_region", "loss_id", "loss_triplet", "loss_consistency", "loss_memory"):
            assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-4, abs=1e-6)
    weights = [load_file(found.weights) for found in files]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_gathered_rows_are_in_the_order_of_the_whole_batch(monkeypatch, size, views):
    batch = 6
    whole = torch.arange(views * batch * 2.0).reshape(views * batch, 2)
    by_view = whole.reshape(views, batch, 2)
    shares = [by_view[:, Ranks(rank, size).share(batch)].reshape(-1, 2) for rank in range(size)]

    def all_gather(parts, own):
        for part, share in zip(parts, shares, strict=True):
            part.copy_(share)

    monkeypatch.setattr(ranks.dist, "all_gather", all_gather)
    for rank in range(size):
        own = shares[rank].clone().requires_grad_()
        found = Ranks(rank, size).gathered(own, views)
        assert torch.equal(found, whole)
        (found * whole).sum().backward()
        assert torch.equal(own.grad, shares[rank])  # of its own rows, once


def test_gradients_are_summed_and_missing_ones_are_0(monkeypatch):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    module[0](torch.ones(1, 2)).sum().backward()
    frozen = module[1].bias.requires_grad_(False)
    before = [p.grad.clone() if p.grad is not None else None for p in module.parameters()]
    monkeypatch.setattr(ranks.dist, "all_reduce", lambda flat: flat.mul_(2))
    Ranks(0, 2).sum_gradients(module)
    for parameter, grad in zip(module.parameters(), before, strict=True):
        if parameter is frozen:
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, torch.zeros_like(parameter) if grad is None else 2 * grad)


def test_shares_are_equal_and_all():
    taken = [np.arange(8)[Ranks(rank, 4).share(8)].tolist() for rank in range(4)]
    assert sorted(image for share in taken for image in share) == list(range(8))
    with pytest.raises(TrainingError, match="a batch of 9 images cannot be shared by 4 processes"):
        Ranks(0, 4).share(9)
    with pytest.raises(TrainingError, match="needs GPUs"):
        ranks.synchronised(torch.nn.BatchNorm1d(2), torch.device("cpu"))
    assert ranks.ranks_here() == Ranks()


@pytest.mark.parametrize("steps", [(4, 4), (4, 0)])
def test_all_begin_at_the_same_step(monkeypatch, steps):
    def all_gather(parts, own):
        for part, number in zip(parts, steps, strict=True):
            part.fill_(number)

    monkeypatch.setattr(ranks.dist, "all_gather", all_gather)
    if len(set(steps)) == 1:
        Ranks(1, 2).check_alike(4, torch.device("cpu"))
    else:
        with pytest.raises(TrainingError, match=r"\[0, 4\].*--output on a disk that they share"):
            Ranks(1, 2).check_alike(0, torch.device("cpu"))
    Ranks().check_alike(7, torch.device("cpu"))


def test_a_process_without_a_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks.local_device(torch.device("cuda")) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DeviceError, match=r"process 2 .* start 2 at most"):
        ranks.local_device(torch.device("cuda"))

"""Checkpoints: everything a run needs to go on exactly, as safetensors and JSON (nothing is unpickled)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpmsearch.errors import TrainingError
from vpmsearch.models.weights import load_tensors, read_metadata, read_tensors, write_tensors


@dataclass(frozen=True)
class Progress:
    """Where a run stands: epochs and steps done, and what it was started with."""

    epochs: int
    steps: int
    run: dict[str, Any]


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write atomically. The generator states are not needed: every epoch draws from (seed, epoch).

    Raises:
        WeightsError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {f"module.{name}": t for name, t in module.state_dict().items()}
    state = optimizer.state_dict()
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = {"progress": {"epochs": progress.epochs, "steps": progress.steps}, "run": progress.run}
    write_tensors(path, tensors, {"checkpoint": json.dumps(meta)})


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, run: dict[str, Any]) -> Progress:
    """Fill module and optimizer, and say where the run stood.

    Raises:
        TrainingError: not a checkpoint, or of a run with other settings or data.
        WeightsError: missing or damaged.
    """
    metadata = read_metadata(path)
    if "checkpoint" not in metadata:
        raise TrainingError(f"{path} is not a training checkpoint; remove it to start anew")
    progress = _progress(path, metadata["checkpoint"])
    differing = sorted(key for key in run.keys() | progress.run.keys() if _plain(run.get(key)) != progress.run.get(key))
    if differing:
        raise TrainingError(
            f"{path} is of a run with other {', '.join(differing)}; "
            "resume with the same settings and data, or start anew without --resume"
        )
    tensors = read_tensors(path)
    load_tensors(module, _under("module.", tensors), path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    # Param groups hold settings only, and those the optimizer was just built with.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def _progress(path: Path, text: str) -> Progress:
    try:
        meta = json.loads(text)
        return Progress(int(meta["progress"]["epochs"]), int(meta["progress"]["steps"]), dict(meta["run"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TrainingError(f"{path} is a damaged checkpoint ({error}); remove it to start anew") from error


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))

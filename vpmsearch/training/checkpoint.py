"""Checkpoints: everything a run needs to go on exactly, as safetensors and JSON (nothing is unpickled)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpmsearch.errors import TrainingError
from vpmsearch.models.weights import check_tensors, load_tensors, read_metadata, read_tensors, write_tensors


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
    progress = read_progress(path)
    if progress is None:
        raise TrainingError(f"{path} is not a training checkpoint; remove it to start anew")
    differing = sorted(key for key in run.keys() | progress.run.keys() if _plain(run.get(key)) != progress.run.get(key))
    if differing:
        raise TrainingError(
            f"{path} is of a run with other {_names(differing)}; "
            "resume with the same settings and data, or start anew without --resume"
        )
    tensors = read_tensors(path)
    state = _state(path, under("optimizer.", tensors), optimizer)
    module_tensors = under("module.", tensors)
    check_tensors(module, module_tensors, path)
    load_tensors(module, module_tensors, path)
    # Param groups hold settings only, and those the optimizer was just built with.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def _state(path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """What the optimizer remembers of each parameter: names it knows, and a number or as many as the parameter has.

    `load_state_dict` takes anything, and fails, or computes nonsense, at the next step.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = _STATE_NAMES[type(optimizer)]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        fits = index.isdecimal() and index.isascii() and len(index) < 9 and int(index) < len(parameters)
        if not fits or key not in known or not tensor.is_floating_point():
            raise TrainingError(f"{path} is a damaged checkpoint (optimizer.{name[:80]!r}); remove it to start anew")
        wanted = torch.Size([]) if key == "step" else parameters[int(index)].shape
        if tensor.shape != wanted or str(int(index)) != index:
            raise TrainingError(
                f"{path} is a damaged checkpoint (optimizer.{name} of shape {tuple(tensor.shape)}, not "
                f"{tuple(wanted)}); remove it to start anew"
            )
        state.setdefault(int(index), {})[key] = tensor
    if incomplete := [index for index, values in state.items() if values.keys() != known]:
        raise TrainingError(f"{path} is a damaged checkpoint (optimizer.{incomplete[0]}); remove it to start anew")
    return state


_STATE_NAMES: dict[type[torch.optim.Optimizer], frozenset[str]] = {
    torch.optim.SGD: frozenset({"momentum_buffer"}),
    torch.optim.AdamW: frozenset({"step", "exp_avg", "exp_avg_sq"}),
}


def read_progress(path: Path) -> Progress | None:
    """Where the run of a checkpoint stood; None where a safetensors file is no checkpoint.

    Raises:
        TrainingError: a damaged checkpoint. WeightsError: missing, or no safetensors file.
    """
    text = read_metadata(path).get("checkpoint")
    if text is None:
        return None
    try:
        meta = json.loads(text)
        epochs, steps, run = meta["progress"]["epochs"], meta["progress"]["steps"], dict(meta["run"])
        if any(type(count) is not int or not 0 <= count < 1 << 31 for count in (epochs, steps)):
            raise ValueError("its counts of epochs and steps are none")
        return Progress(epochs, steps, run)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = ascii(str(error)[:200])[1:-1]  # which may quote the file
        raise TrainingError(f"{path} is a damaged checkpoint ({reason}); remove it to start anew") from error


def _names(keys: list[str]) -> str:
    """Keys from a file on one line."""
    return ", ".join(ascii(key[:80])[1:-1] for key in keys[:10])


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value))

"""Checkpoints: all that a run needs to continue exactly, as safetensors and JSON. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpmsearch.errors import TrainingError
from vpmsearch.model.initial import PUBLISHED
from vpmsearch.model.weights import check_tensors, load_tensors, read_metadata, read_tensors, write_tensors
from vpmsearch.training.settings import THE_END

MAX_BYTES = 32 << 30
"""A larger file is refused. resnet50 with AdamW, d = 2048 and 30,000 identities (bnneck) takes 4.5 GiB."""


@dataclass(frozen=True)
class Progress:
    """How far a run is. epochs: finished. steps: of the whole run. run: what it was started with (settings, data).
    within: steps of the unfinished epoch.
    """

    epochs: int
    steps: int
    run: dict[str, Any]
    within: int = 0


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write a checkpoint atomically. It needs no states of random generators: every epoch is seeded by (seed, epoch).

    Raises:
        WeightsError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {f"module.{name}": t for name, t in module.state_dict().items()}
    state = optimizer.state_dict()
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = {
        "progress": {"epochs": progress.epochs, "steps": progress.steps, "within": progress.within},
        "run": progress.run,
    }
    write_tensors(path, tensors, {"checkpoint": json.dumps(meta)})


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, run: dict[str, Any]) -> Progress:
    """Load a checkpoint into module and optimizer, and return how far its run was.

    Raises:
        TrainingError: it is no checkpoint, or of a run with other settings or data.
        WeightsError: it is missing or damaged.
    """
    progress = progress_of(path, run)
    tensors = read_tensors(path, MAX_BYTES)
    state = _state(path, under("optimizer.", tensors), optimizer)
    module_tensors = under("module.", tensors)
    check_tensors(module, module_tensors, path)
    load_tensors(module, module_tensors, path)
    # Param groups hold settings only. The optimizer was just built with them.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def _state(path: Path, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """The optimizer's state of each parameter, with names and shapes checked.

    `load_state_dict` accepts anything; the next step would then fail or compute nonsense.
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


def progress_of(path: Path, run: dict[str, Any]) -> Progress:
    """How far a run is by its checkpoint.

    Args:
        run: what it was started with.

    Raises:
        TrainingError: the file is no checkpoint, or of a run with other settings or data.
        WeightsError: it is missing or damaged.
    """
    progress = read_progress(path)
    if progress is None:
        raise TrainingError(f"{path} is not a training checkpoint; remove it to start anew")
    if differing := _differences(_plain(run), progress.run):
        raise TrainingError(
            f"{path} is of a run with other {', '.join(differing)}; "
            "resume with the same settings and data, or start anew with another output"
        )
    return progress


def read_progress(path: Path) -> Progress | None:
    """How far the run of a checkpoint was; None if the safetensors file is no checkpoint.

    Raises:
        TrainingError: the checkpoint is damaged. WeightsError: the file is missing or no safetensors file.
    """
    text = read_metadata(path, MAX_BYTES).get("checkpoint")
    if text is None:
        return None
    try:
        meta = json.loads(text)
        epochs, steps, run = meta["progress"]["epochs"], meta["progress"]["steps"], meta["run"]
        within = meta["progress"].get("within", 0)  # older checkpoints were written after whole epochs only
        if any(type(count) is not int or not 0 <= count < 1 << 31 for count in (epochs, steps, within)):
            raise ValueError("its counts of epochs and steps are none")
        if not isinstance(run, dict):
            raise TypeError("what it was started with is no object")
        if within > steps:
            raise ValueError("it has more steps of one epoch than of all")
        return Progress(epochs, steps, run, within)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = ascii(str(error)[:200])[1:-1]  # the message may quote the file
        raise TrainingError(f"{path} is a damaged checkpoint ({reason}); remove it to start anew") from error


def _differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """What differs between this run and the checkpoint's. Settings are named, with both values."""
    found = []
    for key in sorted(now.keys() | then.keys()):
        ours, theirs = now.get(key), then.get(key)
        if ours == theirs:
            continue
        if key == "settings" and isinstance(ours, dict) and isinstance(theirs, dict):
            unlike = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            unlike = [name for name in unlike if name not in THE_END]  # older checkpoints have the epochs too
            unlike = [name for name in unlike if name != "init" or not _same_file(ours.get(name), theirs.get(name))]
            if not unlike:
                continue
            each = [f"{_shown(name)} {_shown(theirs.get(name))}, now {_shown(ours.get(name))}" for name in unlike[:10]]
            found.append(f"settings ({'; '.join(each)})")
        else:
            found.append(_shown(key))
    return found[:10]


def _same_file(one: Any, other: Any) -> bool:
    """Whether two values of `init` name the same file."""
    names = [name for name in (one, other) if isinstance(name, str) and name not in PUBLISHED]
    try:
        return len(names) == 2 and os.path.realpath(names[0]) == os.path.realpath(names[1])
    except (OSError, ValueError):  # a name that no file can have
        return False


def _shown(value: Any) -> str:
    """A value from a file as one line of ASCII."""
    return ascii(value if isinstance(value, str) else json.dumps(value))[1:-1][:200]


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    """The value after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(value))

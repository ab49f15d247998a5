"""Write the weighted mean of weights files that came from one another, as the default weights in the package are made.

    python docs/make_weights.py OUTPUT FILE SHARE [FILE SHARE ...]

Each tensor is the mean over the files that have it in the shape of the last one, in float32, stored as float16. So a
layer that only the last file has is taken as it is. The last file gives the settings. Files of another trunk or grid of
regions are refused. A file may also be a bare trunk; then it counts in the trunk alone. With the trunk that training
began from, the mean keeps some of what training forgot (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR
2022). Whether a mean is better than its parts is measured, not known: files from separate starts have no use for one
(Wortsman et al., Model soups, ICML 2022). A file in the package may be given by its name alone.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from vpmsearch.errors import VpmsearchError, WeightsError
from vpmsearch.model.initial import OSNET_TRUNK, misfits
from vpmsearch.model.weights import (
    LoadedWeights,
    WeightsConfig,
    or_shipped,
    read_metadata,
    read_tensors,
    read_weights,
    save_weights,
)

ALIKE = ("architecture", "backbone", "num_regions", "normalize_embeddings", "mean", "std")
"""What all files must have in common: with another, the same place holds a number that means something else."""
USAGE = "usage: python docs/make_weights.py OUTPUT FILE SHARE [FILE SHARE ...], shares above 0"


def weighted_mean(parts: list[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """The mean of tensors by name. parts: each file's tensors and its share, above 0; the last decides the shapes."""
    found = {}
    for name, last in parts[-1][0].items():
        alike = [(tensors[name].float(), share) for tensors, share in parts if _same(tensors, name, last)]
        total = sum(share for _, share in alike)
        mean = sum((tensor * (share / total) for tensor, share in alike), torch.zeros(last.shape))
        found[name] = mean if last.is_floating_point() else last
    return found


def _same(tensors: dict[str, Tensor], name: str, last: Tensor) -> bool:
    return name in tensors and tensors[name].shape == last.shape


def check_alike(files: list[Path], configs: list[WeightsConfig]) -> None:
    """Refuse files that differ from the last in one of `ALIKE`.

    Raises:
        WeightsError: names the file and what differs.
    """
    for path, config in zip(files, configs, strict=True):
        for name in ALIKE:
            here, last = getattr(config, name), getattr(configs[-1], name)
            if here != last:
                raise WeightsError(f"{path} has {name} {here}, but {files[-1]} has {last}: they have no mean")


def shares_of(words: list[str]) -> list[float]:
    """The shares, or none if one of the words is no finite number above 0."""
    try:
        shares = [float(word) for word in words]
    except ValueError:
        return []
    return shares if all(0 < share < math.inf for share in shares) else []


def shipped(named: Path) -> Path:
    """The file of that path, or the one in the package, which may be the bare trunk."""
    return OSNET_TRUNK if str(named) == OSNET_TRUNK.name and not named.is_file() else or_shipped(named)


def tensors_of(path: Path, last: LoadedWeights) -> dict[str, Tensor]:
    """A file's tensors in float32. A bare trunk's get the names that they have in a model.

    Args:
        last: the file that gives the settings.

    Raises:
        WeightsError: the file differs from the last in one of `ALIKE`, or is a bare trunk of another kind.
    """
    if "vpmsearch" in read_metadata(path):
        weights = read_weights(path)
        check_alike([path, last.path], [weights.config, last.config])
        return weights.model.float().state_dict()
    tensors = read_tensors(path)
    if unlike := misfits(last.model.backbone, tensors):
        raise WeightsError(f"{path} is no trunk of {last.path} ({unlike[0]}): they have no mean")
    return {f"backbone.trunk.{name}": tensor.float() for name, tensor in tensors.items()}


def main(output: Path, files: list[Path], shares: list[float]) -> None:
    """Read the files and write their mean to `output`."""
    paths = [shipped(path) for path in files]
    last = read_weights(paths[-1])
    parts = [(tensors_of(path, last), share) for path, share in zip(paths, shares, strict=True)]
    last.model.load_state_dict(weighted_mean(parts))
    save_weights(output, last.model.eval(), last.config, torch.float16)


if __name__ == "__main__":
    shares = shares_of(sys.argv[3::2])
    if not shares or len(sys.argv) % 2:
        sys.exit(USAGE)
    try:
        main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2::2]], shares)
    except VpmsearchError as error:
        sys.exit(f"error: {error}")

"""Write the weighted mean of weights files that came from one another, as the default weights in the package are made.

    python docs/make_weights.py OUTPUT FILE SHARE [FILE SHARE ...]

Each tensor is the mean over the files that have it in the shape of the last one, in float32, stored as float16. So a
layer that only the last file has is taken as it is. The last file gives the settings. A file may also be a bare trunk;
then it counts in the trunk alone. With the trunk that training began from, the mean keeps some of what training forgot
(Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). Whether a mean is better than its parts is
measured, not known: files from separate starts have no use for one (Wortsman et al., Model soups, ICML 2022).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from vpmsearch.model.weights import read_metadata, read_tensors, read_weights, save_weights


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


def tensors_of(path: Path) -> dict[str, Tensor]:
    """A model's tensors in float32. A bare trunk's get the names that they have in a model."""
    if "vpmsearch" in read_metadata(path):
        return read_weights(path).model.float().state_dict()
    return {f"backbone.trunk.{name}": tensor.float() for name, tensor in read_tensors(path).items()}


def main(output: Path, files: list[Path], shares: list[float]) -> None:
    """Read the files and write their mean to `output`."""
    last = read_weights(files[-1])
    last.model.load_state_dict(
        weighted_mean([(tensors_of(path), share) for path, share in zip(files, shares, strict=True)])
    )
    save_weights(output, last.model.eval(), last.config, torch.float16)


if __name__ == "__main__":
    if len(sys.argv) < 4 or len(sys.argv) % 2 or min(map(float, sys.argv[3::2]), default=0.0) <= 0:
        sys.exit("usage: python docs/make_weights.py OUTPUT FILE SHARE [FILE SHARE ...], shares above 0")
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2::2]], [float(share) for share in sys.argv[3::2]])

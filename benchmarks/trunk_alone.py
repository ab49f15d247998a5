"""What the trunk knows before any training here: its feature map pooled over the whole image, or over fixed stripes.

    python benchmarks/trunk_alone.py --data Market-1501-v15.09.15

The trunk of the package, as downloaded: T averaged over the image, scaled to length 1, compared by Euclidean distance;
with --grid 6x1 over six stripes of the image as given, the mean of their distances. The same queries, crops and
metrics as `vpmsearch evaluate`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import report

from vpmsearch.commands.options import grid
from vpmsearch.data.datasets import read_dataset
from vpmsearch.evaluation.protocols import evaluate_model
from vpmsearch.model.baselines import Stripes
from vpmsearch.model.device import choose_device
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.initial import OSNET_TRUNK, initialise
from vpmsearch.model.weights import LoadedWeights, find_weights, read_weights


def stripes(num_regions: tuple[int, int]) -> LoadedWeights:
    """The trunk in the place of a model, with the input size and normalisation of the package's weights."""
    model = Stripes("osnet", num_regions, normalize_embeddings=True)
    initialise(model.backbone, "osnet")
    config = replace(read_weights(find_weights(None)).config, num_regions=num_regions, name="trunk")
    loaded = LoadedWeights(OSNET_TRUNK, config, "trunk")
    vars(loaded)["model"] = model.eval()  # before it is read from a file, which has none
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--grid", default="1x1", help="1x1 pools over all of the image, 6x1 over six stripes")
    parser.add_argument("--gamma", type=float, nargs="+", default=[1.0, 0.7, 0.5])
    parser.add_argument("--crop", nargs="+", default=["bilateral"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    data = read_dataset(arguments.dataset, arguments.data)
    extractor = Extractor(stripes(grid(arguments.grid)), choose_device("auto"))
    rows: list[dict[str, Any]] = []
    found = evaluate_model(
        extractor, data.query, data.gallery, gammas=arguments.gamma, crops=arguments.crop, seed=arguments.seed
    )
    for row in found:
        values = row.to_json()
        rows.append({"grid": arguments.grid} | {name: values[name] for name in ("gamma", "crop", "rank1", "map")})
        rows[-1] |= {"rank1_interval": values["rank1_interval"]}
    report(rows, arguments.output, arguments.seed)


if __name__ == "__main__":
    main()

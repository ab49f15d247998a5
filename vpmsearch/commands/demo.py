"""`vpmsearch demo`: the whole job on drawn pedestrians, written to its own folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, command, progress, say
from vpmsearch.commands.training_run import run_training

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from vpmsearch.data.datasets import LabelledImage, ReidDataset
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.types import SearchResult

GAMMA = 0.5
PANEL_QUERIES = 6
MARKER = ".vpmsearch-demo"
"""A file that marks a folder as the demo's own."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch demo --output demo")(demo)


def demo(
    output: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of drawing, training and cutting.")] = 0,
    device: options.Device = "auto",
) -> None:
    """The whole job in two minutes: draw pedestrians, train a small VPM, index a gallery, search it with half bodies.

    Prints rank-1 with visibility (Eq. 4) and with all regions counting equally, and saves a picture of the ranks.
    """
    from vpmsearch.data.datasets import read_dataset
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.torch_runtime import torch_device
    from vpmsearch.model.weights import read_weights

    start = time.perf_counter()
    chosen = torch_device(choose_device(device))
    _claim(output)
    images = read_dataset("market1501", _draw(output / "pedestrians", seed))
    weights = _train(images, output / "vpm.safetensors", chosen, seed)
    extractor = Extractor(read_weights(weights), chosen)
    _index(images, extractor, output / "index")
    panel = _query(images, extractor, output, seed)
    for weighting, rank1 in _measure(images, extractor, seed).items():
        answer(f"rank-1 of {len(images.query)} half bodies, {weighting}: {rank1:.1%}")
    answer(f"picture: {panel}")
    say(
        f"done in {time.perf_counter() - start:.0f} s. "
        "Now your own photographs: vpmsearch index FOLDER, then vpmsearch query PHOTO"
    )


def _claim(output: Path) -> None:
    """Only a new or empty folder, or one of an earlier demo: what the demo writes replaces what is there.

    Raises:
        DataError: the folder holds something else, or cannot be made.
    """
    from vpmsearch.errors import DataError

    marker = output / MARKER
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not marker.exists() and any(output.iterdir()):
            raise DataError(f"{output} holds files that are not of a demo; give another folder with --output")
        marker.touch()
    except OSError as error:
        raise DataError(f"cannot write to {output}: {error.strerror or error}") from error


def _draw(folder: Path, seed: int) -> Path:
    from vpmsearch.data.drawn_dataset import write_drawn_dataset
    from vpmsearch.data.synthetic import DrawnSettings

    train = DrawnSettings(identities=200, cameras=4, shots=3, height=96, width=48, seed=seed)
    test = DrawnSettings(identities=60, cameras=4, shots=3, height=96, width=48, seed=seed + 1)
    say("drawing pedestrians: 200 identities to train on, 60 others to search")
    return write_drawn_dataset(folder, train=train, test=test)


def _train(images: ReidDataset, weights: Path, device: torch.device, seed: int) -> Path:
    from vpmsearch.model.weights import DRAWN
    from vpmsearch.training.presets import get_preset
    from vpmsearch.training.trainer import Trainer

    trainer = Trainer(get_preset("small", seed=seed), images.train, dataset=DRAWN, output=weights, device=device)
    run_training(trainer)
    return weights


def _index(images: ReidDataset, extractor: Extractor, folder: Path) -> None:
    import shutil

    from vpmsearch.indexing.indexer import index_gallery
    from vpmsearch.store import GalleryStore

    shutil.rmtree(folder, ignore_errors=True)  # the weights are new, so is the index
    with (
        GalleryStore.create(folder, extractor.weights.info) as store,
        progress("indexing", len(images.gallery)) as advance,
    ):
        index_gallery(store, extractor, images.gallery, on_progress=advance)


def _query(images: ReidDataset, extractor: Extractor, output: Path, seed: int) -> Path:
    """Search for some half bodies, print the ranks of the right person, save the panel."""
    import numpy as np

    from vpmsearch.report.pictures import rank_panel
    from vpmsearch.search.engine import SearchEngine
    from vpmsearch.store import GalleryStore
    from vpmsearch.types import SearchFilter

    chosen = np.random.default_rng(seed).permutation(len(images.query))[:PANEL_QUERIES]
    queries = [images.query[i] for i in chosen]
    halves = [_half(image, top=i % 2 == 0) for i, image in enumerate(queries)]
    features = extractor.extract_images(halves)
    results: list[SearchResult] = []
    with GalleryStore.open(output / "index") as store:
        engine = SearchEngine(store)
        cameras = {image.camid for image in images.gallery}
        for i, query in enumerate(queries):
            elsewhere = tuple(sorted(c for c in cameras if c is not None and c != query.camid))
            results += engine.search(features[i : i + 1], 10, filter=SearchFilter(camids=elsewhere))
    for query, result in zip(queries, results, strict=True):
        right = [rank for rank, match in enumerate(result.matches, 1) if match.pid == query.pid]
        answer(f"{query.path.name}, half of it: the right person at ranks {', '.join(map(str, right)) or 'beyond 10'}")
    pids = [query.pid for query in queries]
    return rank_panel(
        halves, results, output / "panel.png", query_pids=pids, title="Half a person, found in other cameras"
    )


def _half(image: LabelledImage, *, top: bool) -> Image.Image:
    import numpy as np

    from vpmsearch.data.crops import sample_crop
    from vpmsearch.data.images import load_image

    picture = load_image(image.path)
    box = sample_crop("top" if top else "bottom", GAMMA, np.random.default_rng())
    left, upper, right, lower = (round(edge) for edge in box.pixels(picture.width, picture.height))
    return picture.crop((left, upper, right, lower))


def _measure(images: ReidDataset, extractor: Extractor, seed: int) -> dict[str, float]:
    from vpmsearch.evaluation.protocols import evaluate_model

    names = {"visibility": "by the regions both images show (Eq. 4)", "uniform": "all regions counting equally"}
    rows = evaluate_model(
        extractor, images.query, images.gallery, gammas=(GAMMA,), weightings=("visibility", "uniform"), seed=seed
    )
    return {names[row.weighting]: float(row.metrics.cmc[0]) for row in rows}

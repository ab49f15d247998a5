"""`vpmsearch show`: draws which regions of a person the model sees in a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.index import announce
from vpmsearch.commands.terminal import answer, command

if TYPE_CHECKING:
    from PIL import Image

    from vpmsearch.model.extraction import Extractor


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch show person.jpg --output regions.png")(show)


def show(
    image: Annotated[Path, typer.Argument(help="Image of a person, or of a part of one.")],
    box: options.Boxes = None,
    output: Annotated[Path, typer.Option(help="Picture to write.")] = Path("regions.png"),
    weights: options.Weights = None,
    device: options.Device = "auto",
) -> None:
    """Draw which regions the model sees in an image, as in the paper's Fig. 5."""
    from vpmsearch.commands.scenes import boxed_images
    from vpmsearch.data.images import load_image
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.extraction import Extractor
    from vpmsearch.model.weights import find_weights, read_weights

    picture = load_image(boxed_images([image], box)[0])
    loaded = read_weights(find_weights(weights))
    announce(loaded)
    answer(str(draw_regions(Extractor(loaded, choose_device(device)), picture, output)))


def draw_regions(extractor: Extractor, picture: Image.Image, path: Path) -> Path:
    """Write a picture of the regions that a model sees in an image."""
    from vpmsearch.report.pictures import region_overlay

    seen, weights = extractor.see(picture), extractor.weights
    return region_overlay(
        picture,
        seen.probabilities[0],
        seen.visibility[0],
        path,
        grid=weights.config.num_regions,
        min_visibility=weights.info.threshold,
    )

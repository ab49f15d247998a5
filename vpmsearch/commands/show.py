"""`vpmsearch show`: draws which regions of a person the model sees in a photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.index import announce
from vpmsearch.commands.terminal import answer, command


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
    from vpmsearch.report.pictures import region_overlay

    picture = load_image(boxed_images([image], box)[0])
    loaded = read_weights(find_weights(weights))
    announce(loaded)
    seen = Extractor(loaded, choose_device(device)).see(picture)
    written = region_overlay(
        picture,
        seen.probabilities[0],
        seen.visibility[0],
        output,
        grid=loaded.config.num_regions,
        min_visibility=loaded.info.threshold,
    )
    answer(str(written))

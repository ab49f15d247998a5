"""`vpmsearch export-onnx`: writes a model as an ONNX file, which runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vpmsearch.commands import options
from vpmsearch.commands.index import announce
from vpmsearch.commands.terminal import answer, command


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, name="export-onnx", example="vpmsearch export-onnx --output vpm.onnx")(export_onnx)


def export_onnx(
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("vpm.onnx"),
    weights: options.Weights = None,
) -> None:
    """Write a model as ONNX: pixels of resized images in, visibility and embeddings out. Needs vpmsearch[onnx].

    Input `pixels` (batch, height, width, 3), uint8 RGB of the weights' input size; it is normalised inside. Outputs
    `visibility` (batch, p) and `embeddings` (batch, p, d), float32. The batch may have any size.

    Weights that take a second look, as the default ones do, see a cut image twice. The file takes images of any height,
    one look at a time; docs/decisions/0026-second-look.md has the steps.
    """
    from vpmsearch.model.export import check_onnx, check_packages
    from vpmsearch.model.export import export_onnx as write
    from vpmsearch.model.weights import find_weights, read_weights

    check_onnx(output)  # before the work, not after it
    check_packages()
    loaded = read_weights(find_weights(weights))
    announce(loaded)
    answer(str(write(loaded, output)))

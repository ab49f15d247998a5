"""`vpmsearch layout`: says which known data set a folder looks like, and what would be read of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, command
from vpmsearch.words import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpmsearch.data.guess import Guess, Tried


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch layout photos/ --pattern '{camid}/{captured_at:unix}-{}.jpg'")(layout)


def layout(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of images, or a folder around data sets.")],
    pattern: options.Pattern = "",
    timezone: options.Timezone = "",
    json: options.Json = False,
) -> None:
    """Say which known data set a folder looks like and what would be read of it; nothing is indexed.

    With --pattern, what it reads of ten names.
    """
    from vpmsearch.data.guess import guesses, suggested_pattern, tried
    from vpmsearch.data.image_files import first_images
    from vpmsearch.errors import DataError

    if not path.is_dir():
        raise DataError(f"{printable(path)} is no folder; a list of images is read by --dataset csv")
    if not first_images(path, 1):
        raise DataError(f"no images in {printable(path)}")
    if pattern:
        _tell_tried(tried(path, pattern, options.zone(timezone)), json)
        return
    found = guesses(path)
    if json:
        answer_json({"layouts": [_as_json(guess) for guess in found], "pattern": suggested_pattern(path)})
        return
    for guess in found:
        _tell(guess)
    if not found:
        begin = suggested_pattern(path)
        hint = f"; begin with --pattern '{begin}'" if begin else ""
        names = ", ".join(Path(name).name for name in first_images(path, 3))
        answer(f"{printable(path)}: no known data set ({printable(names)} …){hint}")
        answer("index it as it is (no labels), by --pattern, or from a list (--dataset csv)")


def _tell(guess: Guess) -> None:

    answer(f"{guess.layout.name}: {guess.layout.title} in {printable(guess.root)}; {guess.layout.protocol}")
    for split, images in guess.splits.items():
        for image in images[:3]:
            answer(f"  {split:8s} {printable(image.path.relative_to(guess.root))}  {_labels(image)}")


def _labels(image: Any) -> str:
    from vpmsearch.data.guess import labels_of

    return "  ".join(f"{name} {value}" for name, value in labels_of(image).items()) or "no labels"


def _tell_tried(found: Sequence[Tried], json: bool) -> None:

    if json:
        answer_json({"names": [{"name": one.name, "labels": one.labels, "problem": one.problem} for one in found]})
        return
    for one in found:
        told = one.problem or "  ".join(f"{name} {value}" for name, value in one.labels.items())
        answer(f"{printable(one.name)}  {told}")
    fit = sum(not one.problem for one in found)
    answer(f"{fit} of {len(found)} names fit")


def _as_json(guess: Guess) -> dict[str, Any]:
    from vpmsearch.data.guess import labels_of

    splits = {
        split: [{"path": str(image.path), **labels_of(image)} for image in images]
        for split, images in guess.splits.items()
    }
    protocol = str(guess.layout.protocol)
    return {"layout": guess.layout.name, "root": str(guess.root), "protocol": protocol, "splits": splits}

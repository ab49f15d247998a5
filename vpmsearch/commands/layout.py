"""`vpmsearch layout`: says what would be read of a folder, a list or a file of boxes, before anything is indexed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vpmsearch.commands import options
from vpmsearch.commands.terminal import answer, answer_json, command
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from vpmsearch.data.guess import Guess, Tried
    from vpmsearch.data.look import Look


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch layout photos/ --pattern '{camid}/{captured_at:unix}-{}.jpg'")(layout)


def layout(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder of images, or a folder around data sets; or a list of images (.csv, .tsv, .jsonl) or boxes "
            "(COCO, MOTChallenge, YOLO's labels, CSV).",
        ),
    ],
    pattern: options.Pattern = "",
    timezone: options.Timezone = "",
    json: options.Json = False,
) -> None:
    """Say which known data set a folder looks like, or what a list's columns are; and what would be read.

    Nothing is indexed. With --pattern, what it reads of ten names.
    """
    from vpmsearch.data.guess import guesses, suggested_pattern, tried
    from vpmsearch.data.image_files import first_images
    from vpmsearch.errors import DataError

    if not path.exists():
        raise DataError(f"{printable(path)} does not exist; give a folder of images, or a list of images or boxes")
    if not path.is_dir() or (not first_images(path, 1) and any(path.rglob("*.txt"))):
        if pattern:
            raise DataError(
                f"--pattern reads the names of a folder's images; {printable(path)} is a list: leave it away"
            )
        _tell_look(path, options.zone(timezone), json)
        return
    if not first_images(path, 1):
        raise DataError(f"no images in {printable(path)}")
    if pattern:
        _tell_tried(tried(path, pattern, options.zone(timezone)), json)
        return
    found = guesses(path)
    if json:
        answer_json({"layouts": [_as_json(guess) for guess in found], "pattern": suggested_pattern(path)})
        return
    if not found:
        _tell_unknown(path, suggested_pattern(path))
        return
    # What the folder is called tells layouts of the same names apart; else, how many splits fit.
    likely = [guess for guess in found if guess.named_so] or [g for g in found if len(g.splits) == len(found[0].splits)]
    for guess in likely:
        _tell(guess)
    others = dict.fromkeys(guess.layout.name for guess in found if guess not in likely)
    if others:
        answer(f"less likely: {', '.join(others)}")


def _tell_unknown(path: Path, pattern: str | None) -> None:
    from vpmsearch.data.guess import called_so
    from vpmsearch.data.image_files import first_images
    from vpmsearch.data.layout_finder import missing

    hint = f"; begin with --pattern '{pattern}'" if pattern else ""
    names = ", ".join(Path(name).name for name in first_images(path, 3))
    answer(f"{printable(path)}: no known data set ({printable(names)} …){hint}")
    for layout in called_so(path):
        answer(
            f"it is called as {layout.title} is (--dataset {layout.name}), but {missing(layout, path, layout.splits)}"
        )
    answer("index it as it is (no labels), by --pattern, or from a list (--dataset csv)")


def _tell_look(path: Path, zone: tzinfo | None, json: bool) -> None:
    from vpmsearch.data.look import TITLES, look_at

    found = look_at(path, zone)
    if json:
        answer_json({"list": _look_as_json(found)})
        return
    answer(f"{printable(path)}: {TITLES[found.kind]}")
    if found.columns:
        columns = (f"{printable(name) or 'one without a name'} as {what}" for name, what in found.columns.items())
        answer(f"  columns: {', '.join(columns)}")
    answer(f"  {'; '.join(_tallies(found))}")
    for example in found.examples:
        labels = "  ".join(f"{name} {printable(value)}" for name, value in example.labels.items())
        answer(f"  {printable(example.name)}  {labels or 'no labels'}")
    if found.missing is not None:
        answer(f"{printable(found.missing)} is not there: paths are absolute, or relative to the list")
    elif not found.rows:
        answer("nothing would be read")
    elif found.kind == "list":
        answer(f"index it: vpmsearch index {printable(path)}")
    else:
        answer(f"index it: vpmsearch index PHOTOGRAPHS --boxes {printable(path)}")


def _tallies(found: Look) -> list[str]:
    """How much there is of everything, in words."""
    of_boxes = found.kind != "list"
    counts = [number_of(found.rows, *(("box", "boxes") if of_boxes else ("image",)))]
    if of_boxes:
        counts.append(number_of(found.pictures, "picture"))
    counts += [number_of(found.people, "person", "people"), number_of(found.cameras, "camera")]
    if found.tracks:
        counts.append(number_of(found.tracks, "tracklet"))
    told = [", ".join(counts)]
    if found.captured is not None:
        told.append("captured " + " to ".join(dict.fromkeys(moment.isoformat() for moment in found.captured)))
    if found.unlabelled:
        told.append(f"{found.unlabelled} without pid")
    for what, each in (("splits", found.splits), ("attributes", found.attributes), ("left aside", found.left_out)):
        if each:
            told.append(f"{what}: {', '.join(f'{name} {count}' for name, count in each.items())}")
    return told


def _look_as_json(found: Look) -> dict[str, Any]:
    from dataclasses import asdict

    values = asdict(found)
    values["captured"] = None if found.captured is None else [moment.isoformat() for moment in found.captured]
    return values | {"missing": None if found.missing is None else str(found.missing)}


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

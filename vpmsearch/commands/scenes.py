"""People inside photographs and films, as `vpmsearch index` and `vpmsearch query` are asked for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vpmsearch.commands.terminal import progress, say
from vpmsearch.words import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from vpmsearch.data.datasets import LabelledImage


@dataclass(frozen=True)
class BoxOptions:
    """What `index` was told about boxes; see its help."""

    boxes: Path | None
    images: Path | None
    min_score: float | None
    every: str
    detect: bool
    detector: str
    device: str

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            typer.BadParameter: says what.
        """
        if self.boxes is not None and self.detect:
            raise typer.BadParameter("--boxes brings the people that --detect would look for; give one of them")
        if self.boxes is None and (self.images is not None or not (self.detect or self._unused)):
            raise typer.BadParameter("--boxes-images, --min-score and --every go with --boxes or --detect")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise typer.BadParameter("--min-score takes a number, such as 0.5")
        if self.detector and not self.detect:
            raise typer.BadParameter("--detector goes with --detect")

    @property
    def _unused(self) -> bool:
        return self.min_score is None and not self.every


def read_people(
    gallery: Path, dataset: str, pattern: str, zone: tzinfo | None, wanted: BoxOptions
) -> Sequence[LabelledImage]:
    """The images to index: those of a gallery or, with boxes, the people in its pictures."""
    from vpmsearch.data.boxes.read import read_boxes
    from vpmsearch.data.datasets import read_gallery
    from vpmsearch.data.film import is_film
    from vpmsearch.errors import DataError

    wanted.check()
    if wanted.boxes is None and not wanted.detect:
        if gallery.is_file() and is_film(gallery):
            raise DataError(
                f"{printable(gallery)} is a film; say where its people are (--boxes) or find them (--detect)"
            )
        return read_gallery(dataset, gallery, pattern=pattern, zone=zone)
    if not gallery.exists():
        raise DataError(f"{printable(gallery)} does not exist; give the folder of the photographs, or the film")
    if wanted.boxes is not None:
        return read_boxes(
            gallery, wanted.boxes, images=wanted.images, min_score=wanted.min_score, every=wanted.every, zone=zone
        )
    return _detected(gallery, wanted)


def boxed_images(images: Sequence[Path], boxes: Sequence[str] | None) -> list[Path]:
    """Photographs, or the parts of them that `--box` names.

    Raises:
        typer.BadParameter: there are not as many boxes as images, or one is no box. ImageError: it is not in its
        picture.
    """
    from vpmsearch.data.fragment import parse_box
    from vpmsearch.data.images import boxed
    from vpmsearch.errors import DataError

    if not boxes:
        return list(images)
    if len(boxes) != len(images):
        raise typer.BadParameter(f"{len(images)} images and {len(boxes)} --box: give one for each, in the same order")
    try:
        parsed = [parse_box(text) for text in boxes]
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--box") from error
    return [Path(boxed(image, box)) for image, box in zip(images, parsed, strict=True)]


def _detected(gallery: Path, wanted: BoxOptions) -> Sequence[LabelledImage]:
    from vpmsearch.data.boxes.pictures import Every, pictures_of
    from vpmsearch.model.detectors import detected_people, open_detector

    pictures = pictures_of(gallery, Every.of(wanted.every))
    detector = open_detector(wanted.detector, wanted.device)
    say(f"detector: {detector.name}")
    with progress("detecting", len(pictures)) as advance:
        return detected_people(detector, pictures, min_score=wanted.min_score, on_progress=advance)

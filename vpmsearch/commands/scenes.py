"""Options of `vpmsearch index` and `vpmsearch query` for people inside photographs and films."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vpmsearch.commands import checks
from vpmsearch.commands.terminal import progress, say
from vpmsearch.words import number_of, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

    from vpmsearch.data.datasets import LabelledImage
    from vpmsearch.indexing.pruning import Pruning


@dataclass(frozen=True)
class BoxOptions:
    """The options of `index` about boxes. Its --help says what they mean."""

    boxes: Path | None
    images: Path | None
    min_score: float | None
    every: str
    detect: bool
    detector: str
    device: str

    def check(self) -> None:
        """Refuse what does not go together or cannot be understood.

        Raises:
            typer.BadParameter: says what.
        """
        from vpmsearch.data.boxes.pictures import Every
        from vpmsearch.model.detectors import check_detector

        if self.boxes is not None and self.detect:
            raise typer.BadParameter("--boxes brings the people that --detect would look for; give one of them")
        if self.boxes is None and (self.images is not None or not (self.detect or self._unused)):
            raise typer.BadParameter("--boxes-images, --min-score and --every go with --boxes or --detect")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise typer.BadParameter("--min-score takes a number, such as 0.5")
        if self.detector and not self.detect:
            raise typer.BadParameter("--detector goes with --detect")
        with checks.usage("--detector"):
            check_detector(self.detector)
        with checks.usage("--every"):
            Every.of(self.every)

    @property
    def _unused(self) -> bool:
        return self.min_score is None and not self.every


@dataclass(frozen=True)
class Source:
    """How a gallery is read: the layout, the pattern of its file names, and the zone of times that name none."""

    dataset: str
    pattern: str
    zone: tzinfo | None


@dataclass(frozen=True)
class Listed:
    """images: what is to be indexed. complete: photographs and films of which these are all people. unread: those of
    which a picture could not be read.
    """

    images: Sequence[LabelledImage]
    complete: Sequence[Path] = ()
    unread: Sequence[Path] = ()

    def pruning(self, places: Iterable[Path]) -> Pruning:
        """What `--prune` may remove below some places. Images of other processes' shares are named here as well."""
        from vpmsearch.indexing.pruning import Pruning

        return Pruning(places, self.complete, [image.path for image in self.images], self.unread)


def read_people(galleries: Sequence[Path], source: Source, wanted: BoxOptions) -> Listed:
    """The images to index: those of galleries or, with boxes, the people in their pictures."""
    from vpmsearch.data.boxes.pictures import scene_files
    from vpmsearch.data.boxes.read import read_boxes

    wanted.check()
    if wanted.detect:
        return _detected(galleries, wanted)
    if wanted.boxes is None:
        return Listed([image for gallery in galleries for image in _photographs(gallery, source)])
    if len(galleries) > 1:
        raise typer.BadParameter(f"--boxes is of one folder, photograph or film, and {len(galleries)} are given")
    gallery = _existing(galleries[0])
    people = read_boxes(
        gallery,
        wanted.boxes,
        images=wanted.images,
        min_score=wanted.min_score,
        every=wanted.every,
        zone=source.zone,
    )
    return Listed(people, scene_files(gallery))


def _photographs(gallery: Path, source: Source) -> Sequence[LabelledImage]:
    from vpmsearch.data.datasets import read_gallery
    from vpmsearch.data.film import is_film
    from vpmsearch.errors import DataError

    if gallery.is_file() and is_film(gallery):
        raise DataError(f"{printable(gallery)} is a film; say where its people are (--boxes) or find them (--detect)")
    return read_gallery(source.dataset, gallery, pattern=source.pattern, zone=source.zone)


def _existing(gallery: Path) -> Path:
    from vpmsearch.errors import DataError

    if not gallery.exists():
        raise DataError(f"{printable(gallery)} does not exist; give the folder of the photographs, or the film")
    return gallery


def gallery_folder(gallery: Path) -> Path:
    """The folder below which --prune looks: of a list its own folder; of a single image or film only that file."""
    from vpmsearch.data.film import is_film
    from vpmsearch.data.image_files import is_image_name

    single = is_image_name(gallery.name) or is_film(gallery)
    return gallery if gallery.is_dir() or single else gallery.parent


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
        raise typer.BadParameter(
            f"{number_of(len(images), 'image')} and {len(boxes)} --box: give one for each, in the same order"
        )
    try:
        parsed = [parse_box(text) for text in boxes]
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--box") from error
    return [Path(boxed(image, box)) for image, box in zip(images, parsed, strict=True)]


def _detected(galleries: Sequence[Path], wanted: BoxOptions) -> Listed:
    """The people that a detector finds. A scene that cannot be read keeps the people it has in the index."""
    from vpmsearch.data.boxes.pictures import Every, pictures_of, scene_files
    from vpmsearch.errors import DataError
    from vpmsearch.model.detectors import detected_people, open_detector

    places = [pictures_of(_existing(gallery), Every.of(wanted.every)) for gallery in galleries]
    total = sum(map(len, places))
    detector = open_detector(wanted.detector, wanted.device)
    say(f"detector: {detector.name}")
    people: list[LabelledImage] = []
    unread = set[str]()
    with progress("detecting", total) as advance:
        for pictures in places:
            people += detected_people(
                detector, pictures, min_score=wanted.min_score, on_progress=advance, on_unread=unread.add
            )
    if not people:
        least = detector.least if wanted.min_score is None else wanted.min_score
        raise DataError(
            f"{detector.name} finds no person (score {least:g} or more) in {number_of(total, 'picture')}; the index is "
            "as it was. A smaller --min-score finds more, and so may another --detector"
        )
    searched = [file for gallery in galleries for file in scene_files(gallery)]
    return Listed(people, searched, [Path(file) for file in unread])

"""The pictures that boxes are in: the pictures of a folder, one photograph, or the frames of a film."""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from vpmsearch.data import not_taken
from vpmsearch.data.boxes.coco import frame_number
from vpmsearch.data.boxes.found import FoundBox
from vpmsearch.data.film import Film, is_film
from vpmsearch.data.fragment import Part
from vpmsearch.data.image_files import EXTENSIONS, image_names
from vpmsearch.data.images import MAX_PIXELS, image_size
from vpmsearch.errors import DataError, ImageError
from vpmsearch.words import printable


@dataclass(frozen=True)
class Every:
    """Which pictures of a film, or of a folder of numbered frames, are taken.

    frames: n for every n-th frame; 0 if `seconds` decides. seconds: one frame in so many seconds; 0.0 if `frames`
    decides.
    """

    frames: int = 1
    seconds: float = 0.0

    @classmethod
    def of(cls, text: str) -> Every:
        """Read "5" or "1s"; "" is every frame.

        Raises:
            DataError: it is neither.
        """
        match = re.fullmatch(r"\s*(?:([0-9]{1,9})|([0-9]{0,9}\.?[0-9]{1,6})\s*s)\s*", text)
        if not text:
            return cls()
        if match and match[1] and int(match[1]) > 0:
            return cls(int(match[1]))
        if match and match[2] and float(match[2]) > 0:
            return cls(0, float(match[2]))
        raise DataError(f"--every {text!r}: give a number of frames, such as 5, or of seconds, such as 1s")

    def chosen(self, times: list[float]) -> list[int]:
        """The numbers, from 1, of the frames that are taken. times: when each frame is shown, seconds, ascending."""
        if self.frames:
            return list(range(1, len(times) + 1, self.frames))
        found, due = [], 0.0
        for number, time in enumerate(times, start=1):
            if time >= due - 1e-6:
                found.append(number)
                due = (int((time + 1e-6) / self.seconds) + 1) * self.seconds
        return found


class Pictures(Protocol):
    """Where a list of boxes finds its pictures."""

    def part(self, box: FoundBox) -> Part | None:
        """The whole picture of a box; None where it is not there or not chosen, which is counted."""

    def size(self, part: Part) -> tuple[int, int] | None:
        """(width, height) of a picture; None where it cannot be read."""

    def stem_size(self, stem: str) -> tuple[int, int] | None:
        """The same of a picture's name without its extension."""

    def every(self) -> Iterator[tuple[int | None, Part]]:
        """All pictures that are chosen, with their frame numbers."""

    def __len__(self) -> int:
        """How many `every` gives."""


class FolderPictures:
    """The photographs of a folder, or of its folder img1 as MOTChallenge has it.

    Args:
        root: the folder, or one photograph. every: of numbered frames, which.

    Raises:
        DataError: frames are numbered and asked for by seconds.
    """

    def __init__(self, root: Path, every: Every) -> None:
        if every.seconds:
            raise DataError("--every by seconds is for films; of a folder's frames every n-th can be taken")
        self._single = root.is_file()
        folder = root.parent if self._single else root
        inner = folder / "img1"
        self.root = inner if inner.is_dir() and not self._single else folder
        self._only = os.path.abspath(root) if self._single else None  # noqa: PTH100
        self._outer, self._step = folder, every.frames
        self._sizes: dict[str, tuple[int, int] | None] = {}
        self._guessed: dict[str, str] = {}
        """Picture -> the name in the list. Only pictures that were found by the last part of a name."""

    @cached_property
    def _names(self) -> list[str]:
        return [self._only] if self._only else image_names(self.root)

    @cached_property
    def _by_number(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for name in self._names:
            number = frame_number(name)
            if number is None:
                continue
            if number in found:
                raise DataError(
                    f"{printable(found[number])} and {printable(name)} are both frame {number}; give the folder of one "
                    "sequence"
                )
            found[number] = name
        return found

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        return {os.path.splitext(os.path.relpath(name, self.root))[0]: name for name in self._names}  # noqa: PTH122

    def part(self, box: FoundBox) -> Part | None:
        """See `Pictures`."""
        found = self._named(box.name) if box.name is not None else self._by_number.get(box.frame or 0)
        if found is None:
            not_taken.note("boxes whose picture is not there", box.name or f"frame {box.frame}")
            return None
        if self._step > 1:
            number = box.frame or frame_number(found)
            if number is not None and (number - 1) % self._step:
                not_taken.note("boxes of frames between", found)
                return None
        return Part(found)

    def _named(self, name: str) -> str | None:
        """The file that a list means by a name. None if there is none; a file outside of the folder is never used."""
        for folder in (self._outer, self.root):
            path = os.path.abspath(os.path.join(folder, name))  # noqa: PTH100, PTH118
            if not path.startswith(os.path.join(os.path.abspath(self._outer), "")):  # noqa: PTH100, PTH118
                continue
            if (self._only is None or path == self._only) and "\0" not in path and os.path.lexists(path):
                return os.path.join(folder, name) if not os.path.isabs(name) else path  # noqa: PTH117, PTH118
        return self._by_stem.get(name) or self._by_last_part(name)

    def _by_last_part(self, name: str) -> str | None:
        """The picture with the same last part of its name. Data sets are moved, and then the list has other folders.

        Raises:
            DataError: two different names of the list would be this picture.
        """
        found = self._by_stem.get(os.path.splitext(os.path.basename(name))[0])  # noqa: PTH119, PTH122
        if found is not None and (other := self._guessed.setdefault(found, name)) != name:
            raise DataError(
                f"{printable(other)[:200]} and {printable(name)[:200]} are two pictures, and only {printable(found)} "
                "is there for both; give the folder that their names begin in"
            )
        return found

    def size(self, part: Part) -> tuple[int, int] | None:
        """See `Pictures`."""
        if part.file not in self._sizes:
            try:
                self._sizes[part.file] = image_size(part.file)
            except ImageError:
                self._sizes[part.file] = None  # whoever indexes it says what is wrong
        return self._sizes[part.file]

    def stem_size(self, stem: str) -> tuple[int, int] | None:
        """See `Pictures`."""
        found = self._by_stem.get(stem)
        return None if found is None else self.size(Part(found))

    def every(self) -> Iterator[tuple[int | None, Part]]:
        """See `Pictures`."""
        for place, name in enumerate(self._names[:: self._step]):
            yield frame_number(name) or place * self._step + 1, Part(name)

    def __len__(self) -> int:
        return len(self._names[:: self._step])


class FilmPictures:
    """The frames of a film.

    Raises:
        ImageError: the film cannot be read.
    """

    def __init__(self, film: Path, every: Every) -> None:
        self._file = os.fspath(film)
        with Film(film, max_pixels=MAX_PIXELS) as opened:
            self._times, self._size = opened.times, opened.size
        self._chosen = frozenset(every.chosen(self._times))

    def part(self, box: FoundBox) -> Part | None:
        """See `Pictures`."""
        frame = box.frame if box.frame is not None else frame_number(box.name or "")
        if frame is None or not 1 <= frame <= len(self._times):
            not_taken.note("boxes of frames that the film does not have", f"frame {frame}")
            return None
        if frame not in self._chosen:
            not_taken.note("boxes of frames between", f"frame {frame}")
            return None
        return Part(self._file, None, self._times[frame - 1])

    def frame_of(self, part: Part) -> int | None:
        """The frame's number, from 1; None for a part without a time."""
        return None if part.seconds is None else bisect.bisect_left(self._times, part.seconds) + 1

    def size(self, part: Part) -> tuple[int, int] | None:
        """See `Pictures`."""
        return self._size

    def stem_size(self, stem: str) -> tuple[int, int] | None:
        """See `Pictures`."""
        return self._size

    def every(self) -> Iterator[tuple[int | None, Part]]:
        """See `Pictures`."""
        for frame in sorted(self._chosen):
            yield frame, Part(self._file, None, self._times[frame - 1])

    def __len__(self) -> int:
        return len(self._chosen)


def pictures_of(gallery: Path, every: Every) -> FolderPictures | FilmPictures:
    """Where the pictures of a gallery are.

    Raises:
        DataError: the gallery is neither a folder, nor a film, nor a photograph.
    """
    if gallery.is_file() and is_film(gallery):
        return FilmPictures(gallery, every)
    if gallery.is_dir() or gallery.suffix.lower() in EXTENSIONS:
        return FolderPictures(gallery, every)
    raise DataError(f"{printable(gallery)} is neither a folder of photographs nor a photograph nor a film")


def scene_files(gallery: Path) -> list[Path]:
    """The photographs of a folder, whatever their number, or the one photograph or film.

    Raises:
        DataError: see `pictures_of`.
    """
    if gallery.is_file() and is_film(gallery):
        return [gallery]
    pictures = pictures_of(gallery, Every())
    return [Path(part.file) for _, part in pictures.every()]

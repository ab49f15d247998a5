"""Reads many images. A scene is decoded only once for parts of it that are read soon after each other."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Self

from PIL import Image

from vpmsearch.data.film import Film, film_hash, is_film
from vpmsearch.data.fragment import Part, part_of, part_or_file
from vpmsearch.data.images import MAX_PIXELS, cut, part_hash, read_image, read_scene
from vpmsearch.errors import ImageError
from vpmsearch.words import printable

Ahead = tuple[str, Image.Image] | ImageError
"""Hash and pixels of a part of a film that was read ahead, or the error."""

_Scene = Future[tuple[str, Image.Image]]


class SceneReader:
    """Reads images as `read_image` does; `read` may be called from several threads.

    Args:
        kept: number of decoded scenes to keep, each of up to 150 MB. Use one more than there are reading threads.
    """

    def __init__(self, kept: int) -> None:
        self._kept, self._lock = max(kept, 1), threading.Lock()
        self._scenes: OrderedDict[str, _Scene] = OrderedDict()
        self._film: Film | None = None
        self._frame: tuple[float, Image.Image] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scenes.clear()
        self._close()

    def ahead(self, path: str | os.PathLike[str]) -> Ahead | None:
        """Read a part of a film ahead, for `read`; None if the path is a photograph. Only one thread may call it."""
        try:
            part = part_of(path)
            if part.seconds is None or not is_film(part.file):
                return None
            return part_hash(film_hash(part.file), part), cut(self._moment(part, part.seconds), part, path)
        except ImageError as error:
            return error

    def read(
        self, path: str | os.PathLike[str], ahead: Ahead | None = None, *, shrink_to: tuple[int, int] | None = None
    ) -> tuple[str, Image.Image]:
        """As `vpmsearch.data.images.read_image`.

        Args:
            ahead: what `ahead` gave for the path. shrink_to: counts for whole photographs alone.

        Raises:
            ImageError: whatever is wrong with the file.
        """
        if isinstance(ahead, ImageError):
            raise ahead
        if ahead is not None:
            return ahead
        part = part_of(path)
        if not part.fragment:
            return read_image(path, shrink_to=shrink_to)
        digest, scene = self._scene(part).result()
        return part_hash(digest, part), cut(scene, part, path)

    def _scene(self, part: Part) -> _Scene:
        """The scene of a photograph's part. The first thread decodes it; the others wait."""
        with self._lock:
            found = self._scenes.get(part.file)
            if found is not None:
                self._scenes.move_to_end(part.file)
                return found
            scene = self._scenes[part.file] = _Scene()
            if len(self._scenes) > self._kept:
                self._scenes.popitem(last=False)
        try:
            scene.set_result(read_scene(replace(part, box=None)))
        except BaseException as error:
            scene.set_exception(error)
        return scene

    def _moment(self, part: Part, seconds: float) -> Image.Image:
        if self._film is None or str(self._film.path) != part.file:
            self._close()
            self._film = Film(part.file, max_pixels=MAX_PIXELS)
        if self._frame is None or self._frame[0] != seconds:  # people of one moment share its picture
            self._frame = None
            self._frame = (seconds, self._film.at(seconds))
        return self._frame[1]

    def _close(self) -> None:
        if self._film is not None:
            self._film.close()
        self._film = self._frame = None


def scene_name(path: str | os.PathLike[str], *, stem: bool = False) -> str:
    """A short name of an image for people: the file's name and the moment of a film, without the box.

    Args:
        stem: without the extension.
    """
    part = part_or_file(path)
    name = printable(Path(part.file).stem if stem else Path(part.file).name)
    return name if part.seconds is None else f"{name} {part.seconds:.2f} s"

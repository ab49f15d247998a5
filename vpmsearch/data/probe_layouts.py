"""Data sets that only test: a folder of partial or occluded persons to search for, and one of whole persons.

Nobody is told by a camera: queries get camid 0 and the gallery camid 1, as everybody evaluates them. File names begin
with the identity, whatever follows. All are read from folders as they are unpacked:

    partial-reid           Partial-REID_Dataset/{partial_body_images, whole_body_images}/001_001.jpg
    partial-reid-occluded  Partial-REID_Dataset/{occluded_body_images, whole_body_images}/001_001.jpg
    partial-ilids          Partial_iLIDS/{Probe, Gallery}/001.jpg
    occluded-reid          Occluded_REID/{occluded_body_images, whole_body_images}/001/001_01.tif

or, as others pass them on, from folders called query and gallery. Partial-REID (Zheng et al., ICCV 2015) comes with
two sets of queries, which are far from equally hard: its name says which. Partial-iLIDS is of Zheng et al. too (CVPR
2011), Occluded-REID of Zhuo et al. (ICME 2018). Occluded-DukeMTMC (Miao et al., ICCV 2019) lies as Market-1501 does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vpmsearch.data.images import image_files, printable
from vpmsearch.data.layouts import LabelledImage, ReidDataset
from vpmsearch.errors import DataError

QUERY_CAMID, GALLERY_CAMID = 0, 1
_PLAIN = ("query", "gallery")
_NAME = re.compile(r"([0-9]{1,18})(?![0-9])")


@dataclass(frozen=True)
class _Layout:
    """roots: what the data set's folder is usually called. folders: its own (query, gallery), before `_PLAIN`."""

    name: str
    roots: tuple[str, ...]
    folders: tuple[str, str]

    def read(self, root: Path) -> ReidDataset:
        """Both splits."""
        query, gallery = self._places(root)
        return ReidDataset(
            self.name,
            query=tuple(_images(query, QUERY_CAMID)),
            gallery=tuple(_images(gallery, GALLERY_CAMID)),
        )

    def gallery(self, root: Path) -> Iterator[LabelledImage]:
        """The whole persons."""
        return _images(self._places(root)[1], GALLERY_CAMID)

    def _places(self, root: Path) -> tuple[Path, Path]:
        for place in (root, *(root / name for name in self.roots)):
            for query, gallery in (self.folders, _PLAIN):
                if (place / query).is_dir() and (place / gallery).is_dir():
                    return place / query, place / gallery
        raise DataError(
            f"{printable(root)} holds no {self.folders[0]} and {self.folders[1]}, nor query and gallery; give the "
            f"folder that holds them, or the one around it if that is called {' or '.join(self.roots)}"
        )


def _images(folder: Path, camid: int) -> Iterator[LabelledImage]:
    for path in image_files(folder):
        match = _NAME.match(path.name)
        if match is None:
            raise DataError(
                f"{printable(path)} does not begin with the number of an identity (001_001.jpg); move it away, or read "
                "the data set as csv"
            )
        inner = path.parent.name
        if path.parent != folder and inner.isascii() and inner.isdecimal() and int(inner) != int(match[1]):
            raise DataError(f"{printable(path)} is in the folder of another identity than its name says; correct one")
        yield LabelledImage(path, int(match[1]), camid)


_PARTIAL_REID = ("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID")
_LAYOUTS = (
    _Layout("partial-reid", _PARTIAL_REID, ("partial_body_images", "whole_body_images")),
    _Layout("partial-reid-occluded", _PARTIAL_REID, ("occluded_body_images", "whole_body_images")),
    _Layout("partial-ilids", ("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS", "PartialILIDS"), ("Probe", "Gallery")),
    _Layout(
        "occluded-reid",
        ("Occluded_REID", "Occluded-REID", "OccludedREID"),
        ("occluded_body_images", "whole_body_images"),
    ),
)

PROBE_READERS = {layout.name: (partial(_Layout.read, layout), partial(_Layout.gallery, layout)) for layout in _LAYOUTS}
"""A reader of the splits and one of the gallery, by name."""

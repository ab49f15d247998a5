"""Finds data sets by the rows of the table of layouts: where they lie below a root, and in which variant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vpmsearch.data.image_files import first_images, name_below
from vpmsearch.data.layout import Layout, Variant, is_known
from vpmsearch.data.layout_table import LAYOUTS
from vpmsearch.errors import DataError
from vpmsearch.words import printable

SPLIT_FOLDERS = frozenset(
    part.folder.split("/")[0] for layout in LAYOUTS for variant in layout.variants for part in variant.parts()
) - {"", "gallery", "Gallery", "probe", "crops"} | {"train", "test", "val", "gallery", "query"}
"""Names of folders with a split of a known data set. Folders of an identity or of photographs never have such a name.
"""

_LOOKED_AT = 200
"""Most sub-folders of a folder that are searched for a data set."""


class Place(NamedTuple):
    """Where a data set lies, and in which of its variants."""

    root: Path
    variant: Variant


def find(layout: Layout, root: Path, splits: Sequence[str]) -> Place:
    """The place of a data set, in the root or up to two folders below it. It has everything that the splits need.

    Raises:
        DataError: it is in no such place, or in several.
    """
    place = find_any(layout, root, splits)
    if place is None:
        raise DataError(missing(layout, root, splits))
    return place


def find_any(layout: Layout, root: Path, splits: Sequence[str]) -> Place | None:
    """As `find`; None if it is in no such place.

    Raises:
        DataError: it is in several.
    """
    variant = variant_at(layout, root, splits)
    if variant is not None:
        return Place(root, variant)
    found = places_below(layout, root, splits)
    if len(found) > 1:
        raise DataError(
            f"{printable(root)} holds several data sets of the layout {layout.name}: "
            f"{', '.join(printable(place.root) for place in found)}; give the folder of one"
        )
    return found[0] if found else None


def places_below(layout: Layout, root: Path, splits: Sequence[str]) -> list[Place]:
    """The places of the layout and its names up to two folders below a root. A found place is not searched further."""
    found, level = [], [root]
    for _ in range(2):
        deeper = []
        for folder in level:
            for inner in _folders(folder):
                variant = variant_at(layout, inner, splits)
                if variant is not None and names_fit(layout, Place(inner, variant), splits):
                    found.append(Place(inner, variant))
                else:
                    deeper.append(inner)
        level = deeper
    return found


def names_fit(layout: Layout, place: Place, splits: Sequence[str], count: int = 1) -> bool:
    """Whether the first names of some splits are the layout's."""
    looked_at = fitting = 0
    for folder in dict.fromkeys(part.folder for part in place.variant.parts(*splits)):
        parts = [part for part in place.variant.parts() if part.folder == folder]
        names = [name_below(name, place.root / folder) for name in first_images(place.root / folder, count)]
        if not folder and not any(part.listing for part in parts):
            names = [name for name in names if "/" not in name]  # a folder around it must not be taken for it
        looked_at += len(names)
        fitting += sum(is_known(layout, parts, name) for name in names)
    return looked_at > 0 and 2 * fitting > looked_at


def variant_at(layout: Layout, root: Path, splits: Sequence[str]) -> Variant | None:
    """The first variant of which everything that some splits need is below a folder."""
    for variant in layout.variants:
        needs = variant.needs(*splits)
        there = all(getattr(variant, split) for split in splits) and all(_is_there(root, need) for need in needs)
        if there and (needs or names_fit(layout, Place(root, variant), splits)):
            return variant
    return None


def _is_there(root: Path, name: str) -> bool:
    path = root / name
    return path.is_file() if name.endswith((".txt", ".mat")) else path.is_dir()


def _folders(folder: Path) -> list[Path]:
    """The first folders in a folder, by name. None are given if the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_LOOKED_AT), entries, strict=False) if entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def missing(layout: Layout, root: Path, splits: Sequence[str]) -> str:
    """The message that a data set is not found: what the splits lack, and what the folder has instead."""
    able = [variant for variant in layout.variants if all(getattr(variant, split) for split in splits)]
    if not able:
        return (
            f"{layout.title} has no {' and no '.join(splits)} of its own; {layout.note or 'a list (csv) can name it'}"
        )
    lacking = sorted(([need for need in each.needs(*splits) if not _is_there(root, need)] for each in able), key=len)
    if not lacking[0]:
        return f"{printable(root)} holds no image that is named as in {layout.title} ({layout.example})"
    first, *others = (" and ".join(each) for each in lacking)
    there = [path.name for path in _folders(root)][:8]
    holds = f" (there are {', '.join(map(printable, there))})" if there else ""
    called = f", usually called {' or '.join(layout.roots)}" if layout.roots else ""
    return (
        f"{printable(root)} holds no {', nor '.join([first, *dict.fromkeys(others)])}{holds}; give the folder of "
        f"{layout.title}{called}, or ask `vpmsearch layout {printable(root)}` what it looks like"
    )

"""Reads data sets by the rows of the table of layouts: where they lie below a root, and the images of their splits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vpmsearch.data.image_files import first_images, image_names
from vpmsearch.data.images import printable
from vpmsearch.data.labelled import ImageRow
from vpmsearch.data.layout import Layout, Listing, Part, Tracklets, Variant, pattern_of
from vpmsearch.data.layout_table import LAYOUTS
from vpmsearch.data.patterns import NamePattern, name_pattern
from vpmsearch.data.tracklets import tracked_names
from vpmsearch.errors import DataError

SPLIT_FOLDERS = frozenset(
    part.folder.split("/")[0] for layout in LAYOUTS for variant in layout.variants for part in variant.parts()
) - {"", "gallery", "Gallery", "probe", "crops"} | {"train", "test", "val", "gallery", "query"}
"""Folders that hold a split of some known data set; an identity or a heap of photographs is never called so."""

_LOOKED_AT = 200
"""Folders of one folder that are looked into for a data set."""


class Place(NamedTuple):
    """Where a data set lies, and in which of its variants."""

    root: Path
    variant: Variant


def find(layout: Layout, root: Path, splits: Sequence[str]) -> Place:
    """The data set in a root or up to two folders below it, with everything that some splits need.

    Raises:
        DataError: it is not there, or several times.
    """
    place = find_any(layout, root, splits)
    if place is None:
        raise DataError(_missing(layout, root, splits))
    return place


def find_any(layout: Layout, root: Path, splits: Sequence[str]) -> Place | None:
    """As `find`; None where it is not there.

    Raises:
        DataError: it is there several times.
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
    """Where the layout and its names are found up to two folders below a root; nothing below what was found."""
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
        names = [_relative(name, place.root / folder) for name in first_images(place.root / folder, count)]
        if not folder and not any(part.listing for part in parts):
            names = [name for name in names if "/" not in name]  # a folder around it must not be taken for it
        looked_at += len(names)
        fitting += sum(_is_known(layout, parts, name) for name in names)
    return looked_at > 0 and 2 * fitting > looked_at


def read_split(layout: Layout, place: Place, split: str) -> Iterator[ImageRow]:
    """The images of one split, in the order of their names or their list, without junk.

    Raises:
        DataError: a file is not named as in this data set, or a list is not as it should be.
    """
    mine: dict[str, list[Part]] = defaultdict(list)
    for part in place.variant.parts(split):
        if part.listing is not None:
            yield from _listed(layout, place.root, part, part.listing)
        elif part.tracklets is not None:
            yield from _tracked(layout, place.root, part, part.tracklets)
        else:
            mine[part.folder].append(part)
    for folder, parts in mine.items():
        others = [part for part in place.variant.parts() if part.folder == folder and part not in parts]
        yield from _images(layout, place.root, parts, others)


def read_heap(layout: Layout, folder: Path) -> Iterator[ImageRow]:
    """All images of a folder that lies outside of its data set, named as those of a split.

    Raises:
        DataError: a file is not named so, or lies below a folder that holds a split.
    """
    names = image_names(folder)
    parts = [*layout.variants[0].parts("gallery", "query", "train")][:1]
    self_told = "pid" in pattern_of(layout, parts[0]).expression.groupindex and not parts[0].labels
    if not names or not self_told or any(_relative(name, folder).split("/")[0] in SPLIT_FOLDERS for name in names):
        raise DataError(_missing(layout, folder, ("gallery",)))
    yield from _labelled(layout, folder, names, parts, [], None)


def _images(layout: Layout, root: Path, parts: list[Part], others: list[Part]) -> Iterator[ImageRow]:
    folder = root / parts[0].folder
    if parts[0].optional and not folder.is_dir():
        return
    counted = {part.pids: _pids(root / part.pids) for part in parts if part.pids and (root / part.pids).exists()}
    allowed = set().union(*counted.values()) if counted else None
    yield from _labelled(layout, folder, image_names(folder), parts, others, allowed)


def _labelled(
    layout: Layout, folder: Path, names: list[str], parts: list[Part], others: list[Part], allowed: set[int] | None
) -> Iterator[ImageRow]:
    mine = [(part, pattern_of(layout, part)) for part in parts]
    cut, junk = len(str(folder).rstrip("/")) + 1, layout.junk
    for name in names:
        for part, pattern in mine:
            fields = pattern.fields(name[cut:])
            if fields is not None:
                row = _image(layout, part, fields, name)
                if row.pid not in junk and (allowed is None or row.pid in allowed):
                    yield row
                break
        else:
            if not _is_known(layout, [*others, *parts], name[cut:]):
                raise DataError(_misnamed(layout, name))


def _is_known(layout: Layout, parts: list[Part], name: str) -> bool:
    """Whether a name belongs to one of some parts, or is known not to count there."""
    return any(pattern_of(layout, part).fields(name) is not None or _skipped(part, name) for part in parts)


def _skipped(part: Part, name: str) -> bool:
    return bool(part.skips) and name_pattern_of(part.skips).fields(name) is not None


_skips: dict[str, NamePattern] = {}


def name_pattern_of(expression: str) -> NamePattern:
    """An expression without fields, as a pattern."""
    if expression not in _skips:
        _skips[expression] = name_pattern(f"(?P<any>{expression})")
    return _skips[expression]


def _image(layout: Layout, part: Part, fields: dict[str, str], name: str) -> ImageRow:
    try:
        image = layout.row(part, fields, name)
    except (ValueError, OverflowError) as error:
        raise DataError(_misnamed(layout, name)) from error
    again = fields.get("again") if "again" in fields else None
    if again is not None and again.isascii() and again.isdecimal() and int(again) != image.pid:
        raise DataError(f"{printable(name)} is in the folder of another identity than its name says; correct one")
    return image


def _tracked(layout: Layout, root: Path, part: Part, tracklets: Tracklets) -> Iterator[ImageRow]:
    """The images of the tracklets that a part has; their camera and person are checked against their names."""
    pattern, folder, first = pattern_of(layout, part), root / part.folder, True
    for name, pid, camid, where in tracked_names(root, tracklets):
        if first and not (folder / name[:4] / name).exists():  # one look, as below
            raise DataError(
                f"{where}: {printable(folder / name[:4] / name)} is missing; unpack the images of {layout.title} there"
            )
        first = False
        fields = pattern.fields(name)
        if fields is None:
            raise DataError(f"{where}: {printable(name)} is not named as in {layout.title} ({layout.example})")
        row = _image(layout, part, fields, os.path.join(folder, name[:4], name))  # noqa: PTH118 (speed)
        if (row.pid, row.camid) != (pid, camid):
            raise DataError(f"{where}: {printable(name)} is not of person {pid} and camera {camid}; unpack info again")
        if row.pid not in layout.junk:
            yield row


def _listed(layout: Layout, root: Path, part: Part, listing: Listing) -> Iterator[ImageRow]:
    """The images that a list names: their labels are its own and those of the names."""
    pattern, file, folder = pattern_of(layout, part), root / listing.name, root / part.folder
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise DataError(f"{printable(file)} is not UTF-8 text; unpack the data set again") from error
    first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{printable(file)}, line {number}"
        fields = _line(listing, line.strip(), where)
        path = fields.pop("path")
        # One look tells a wrong folder; to look for each of 126,441 files would cost more than it tells.
        if first and not (folder / path).exists():
            raise DataError(
                f"{where}: {printable(folder / path)} is missing; unpack the images of {layout.title} there"
            )
        first = False
        for name in _named(folder, path):
            found = pattern.fields(name)
            if found is None:
                raise DataError(f"{where}: {printable(name)} is not named as in {layout.title} ({layout.example})")
            image = _image(layout, part, found | fields, os.path.join(folder, name))  # noqa: PTH118 (speed)
            if image.pid not in layout.junk:
                yield image


def _line(listing: Listing, line: str, where: str) -> dict[str, str]:
    found = listing.expression.fullmatch(line)
    if found is None:
        raise DataError(f"{where}: not a line as this list has them ({listing.line})")
    fields = {key: value for key, value in found.groupdict().items() if value is not None}
    relative = PurePosixPath(fields["path"])
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"{where}: {printable(relative)} leads out of the data set; correct or remove it")
    return fields


def _named(folder: Path, path: str) -> list[str]:
    """The image that a line names, or all of the folder that it names; below `folder`."""
    if os.path.splitext(path)[1]:  # noqa: PTH122 (text: of a million lines)
        return [path]
    return [_relative(name, folder) for name in image_names(folder / path)]


def _pids(file: Path) -> set[int]:
    """The numbers of a file such as exp/test_id.txt: 6,10,17."""
    try:
        texts = file.read_text(encoding="utf-8-sig").replace("\n", ",").split(",")
        return {int(text) for text in texts if text.strip()}
    except ValueError as error:
        raise DataError(f"{printable(file)} is no list of numbers such as 6,10,17; unpack it again") from error


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
    """Some of the folders in a folder, by name; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_LOOKED_AT), entries, strict=False) if entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def _missing(layout: Layout, root: Path, splits: Sequence[str]) -> str:
    """What is not there, and what is."""
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


def _misnamed(layout: Layout, name: str) -> str:
    return (
        f"{printable(name)} is not named as in {layout.title} ({layout.example}); move it away, or read it by "
        "--pattern or as csv"
    )


def _relative(name: str, folder: Path) -> str:
    """A path below a folder, with "/"."""
    return name[len(str(folder).rstrip("/")) + 1 :]

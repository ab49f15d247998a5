"""Reads the images of the splits of a data set, as its row of the table of layouts describes them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vpmsearch.data.image_files import image_names, name_below
from vpmsearch.data.labelled import ImageRow
from vpmsearch.data.layout import Layout, Listing, Part, Tracklets, is_known, pattern_of
from vpmsearch.data.layout_finder import SPLIT_FOLDERS, Place, missing
from vpmsearch.data.tracklets import tracked_names
from vpmsearch.errors import DataError
from vpmsearch.words import printable


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
    """All images of one folder of a data set, without the folders around it. They are named as those of a split.

    Raises:
        DataError: a file is not named so, or lies below a folder that holds a split.
    """
    names = image_names(folder)
    parts = [*layout.variants[0].parts("gallery", "query", "train")][:1]
    self_told = "pid" in pattern_of(layout, parts[0]).expression.groupindex and not parts[0].labels
    if not names or not self_told or any(name_below(name, folder).split("/")[0] in SPLIT_FOLDERS for name in names):
        raise DataError(missing(layout, folder, ("gallery",)))
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
            if not is_known(layout, [*others, *parts], name[cut:]):
                raise DataError(_misnamed(layout, name))


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
    """The images of a part's tracklets.

    Raises:
        DataError: an image's name has another person or camera than its tracklet, or the images are missing.
    """
    pattern, folder, first = pattern_of(layout, part), root / part.folder, True
    for name, pid, camid, where in tracked_names(root, tracklets):
        if first and not (folder / name[:4] / name).exists():  # only the first is looked for, see `_listed`
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
    """The images that a list names. Their labels are those of the list and those of the file names."""
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
        # One check finds a wrong folder. Checking each of 126,441 files would cost more than it tells.
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
    return [name_below(name, folder) for name in image_names(folder / path)]


def _pids(file: Path) -> set[int]:
    """The numbers of a file such as exp/test_id.txt: 6,10,17."""
    try:
        texts = file.read_text(encoding="utf-8-sig").replace("\n", ",").split(",")
        return {int(text) for text in texts if text.strip()}
    except ValueError as error:
        raise DataError(f"{printable(file)} is no list of numbers such as 6,10,17; unpack it again") from error


def _misnamed(layout: Layout, name: str) -> str:
    return (
        f"{printable(name)} is not named as in {layout.title} ({layout.example}); move it away, or read it by "
        "--pattern or as csv"
    )

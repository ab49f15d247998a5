"""Which class of a list of boxes is people, by the names of its classes that lie beside it.

YOLO's labels have numbers alone. Tools write the names into classes.txt (Label Studio, labelImg), obj.names (Darknet,
CVAT, Datumaro), or under `names` in data.yaml (Ultralytics, Roboflow, supervision).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpmsearch.data.boxes.coco import PERSON
from vpmsearch.errors import DataError
from vpmsearch.system.regular import open_regular
from vpmsearch.words import printable

_LARGEST = 1 << 20  # bytes of a file of names
_YAML = (".yaml", ".yml")
_ENTRY = re.compile(r"\s*(?:(?P<number>[0-9]{1,6})\s*:)?\s*(?P<name>'[^']*'|\"[^\"]*\"|[^'\",\[\]{}#:&*!|>%@`]*?)\s*")
_ITEM = re.compile(r"\s*-\s+(?=\S)|(?=\s*[0-9]+\s*:)")  # how an entry on a line of its own begins
_COMMENT = re.compile(r"(^|\s)#.*$")


def person_class(places: Sequence[Path], names: Sequence[str], people: Sequence[str] = (PERSON,)) -> int | None:
    """The number of the class of people, from 0. None if there is no file of names.

    Args:
        places: folders, the nearest first. names: of the files, the surest first. people: what the class may be called.

    Raises:
        DataError: a file cannot be read or understood, or has no such class.
    """
    for path in (place / name for place in places for name in names):
        if path.is_file():
            return _of(_names(path), path, people)
    return None


def _of(names: Mapping[int, str], path: Path, people: Sequence[str]) -> int:
    for number, name in names.items():
        if name.strip().lower() in people:
            return number
    some = ", ".join(printable(name) for name in list(names.values())[:10] if name.strip()) or "empty lines"
    raise DataError(
        f"{printable(path)} has no class {PERSON!r}, only: {some}; rename the one that means people to {PERSON!r}"
    )


def _names(path: Path) -> dict[int, str]:
    try:
        with open_regular(path, _LARGEST, follow=True) as file:
            lines = file.read(_LARGEST).decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror or error})") from error
    return _yaml_names(lines, path) if path.suffix.lower() in _YAML else dict(enumerate(lines))


def _yaml_names(lines: Sequence[str], path: Path) -> dict[int, str]:
    """What stands under `names` at the top of a YAML file: a list, or numbers with names, on one line or several.

    Only the YAML that tools write for this field is understood; anything else is refused.
    """
    lines = [_COMMENT.sub("", line).rstrip() for line in lines]
    start = next((n for n, line in enumerate(lines) if re.match(r"names\s*:(\s|$)", line)), None)
    if start is None:
        raise DataError(f"{printable(path)} has no names of classes; write them to classes.txt, one a line")
    first = lines[start].split(":", 1)[1].strip()
    below = [line for line in lines[start + 1 :] if line]
    if first:
        flow = " ".join([first, *below])
        end = {"[": "]", "{": "}"}.get(flow[0])
        entries = flow[1 : flow.index(end)].split(",") if end is not None and end in flow else None
        entries = entries[:-1] if entries and not entries[-1].strip() else entries
    else:
        entries = []
        for line in below:
            if not re.match(r"\s|-\s", line):
                break  # the next field
            begins = _ITEM.match(line)
            if begins is None:  # it goes on with the line before, or is something else
                entries = None
                break
            entries.append(line[begins.end() :])
    found: dict[int, str] = {}
    for place, entry in enumerate(entries or ()):
        match = _ENTRY.fullmatch(entry)
        if match is None or not match["name"]:
            entries = None
            break
        found[int(match["number"] or place)] = match["name"].strip("'\"")
    if not entries:
        raise DataError(f"{printable(path)}: its names are not understood; write them to classes.txt, one a line")
    return found

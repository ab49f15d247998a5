r"""Reads labels from file names by a pattern with named fields.

Two ways to write one:

    {camid}/{captured_at:unix}-{}.jpg           a template: {name} is a field, {} anything, both without "/"
    (?P<pid>\d+)_c(?P<camid>\d+)                  a regular expression with named groups, for the rest

Fields. `pid`, `camid`, `captured_at`, `track`, `clothes` and `split` are labels. Other names of them count too, such as
`person`, `camera` and `time` (see `FIELD_ALIASES`), in capitals or not. A field of any other name is an attribute. A
pattern that names a label twice is refused.

Values. A pid or camid of digits is a number, and zeros in front of it only pad the name: 0002 is 2. Any other pid or
camid is a word.

Forms. A field of a template may have a form after a colon. `{name:int}` takes digits alone. `{captured_at:unix}` and
`{captured_at:unix_ms}` count seconds and milliseconds since 1970. `{captured_at:%Y%m%d-%H%M%S}` is a time in this form
of strptime.

What must fit. A pattern with n folders looks at the file's name and the last n folders before it. A template must fit
all of that, a regular expression its beginning. A template that ends without the extension of an image fits any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from pathlib import Path

from vpmsearch.data.image_files import EXTENSIONS
from vpmsearch.data.labelled import LABEL_ALIASES, ImageRow, LabelledImage
from vpmsearch.data.moments import at_zone, epoch, parse_moment
from vpmsearch.errors import DataError
from vpmsearch.labels import Label, as_label, as_name
from vpmsearch.words import printable

LABELS = ("pid", "camid", "captured_at", "track", "clothes", "split")
"""The fields that are no attributes."""

FIELD_ALIASES = {**LABEL_ALIASES, "pid": ("id", *LABEL_ALIASES["pid"])}
"""Other names of the fields. In a list `id` is no pid, as a column of that name mostly numbers the rows."""
_LABEL_CALLED = {one: label for label in LABELS for one in (label, *FIELD_ALIASES.get(label, ()))}

_FIELD = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)?(?::(?P<form>[^{}]*))?\}")
_NUMBER = r"-?[0-9]{1,18}"
_IS_NUMBER = re.compile(_NUMBER)
_STRPTIME = {"Y": r"[0-9]{4}", "f": r"[0-9]{1,6}", "j": r"[0-9]{3}", "z": r"(?:Z|[+-][0-9]{2}:?[0-9]{2})"}
_Times = Callable[[str], datetime]


@dataclass(frozen=True)
class NamePattern:
    """A pattern that is ready to use.

    text: as it was written. expression: must fit the last `folders` + 1 parts of a path. whole: whether it must fit to
    the end of the name. read_time: reads the field captured_at.
    """

    text: str
    expression: re.Pattern[str]
    folders: int
    whole: bool
    read_time: _Times

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The fields that are attributes."""
        return tuple(name for name in self.expression.groupindex if name not in LABELS)

    def fields(self, name: str) -> dict[str, str] | None:
        """The fields that a name has, by their names; None if the pattern does not fit.

        Args:
            name: a path, with "/" between its parts.
        """
        if self.folders:
            tail = "/".join(name.rsplit("/", self.folders + 1)[-self.folders - 1 :])
        else:
            tail = name.rpartition("/")[2]
        found = self.expression.fullmatch(tail) if self.whole else self.expression.match(tail)
        if found is None:
            return None
        fields = found.groupdict()
        return {key: value for key, value in fields.items() if value is not None} if None in fields.values() else fields

    def image(self, path: Path, name: str) -> LabelledImage | None:
        """The image with the labels of its name; None if the pattern does not fit.

        Raises:
            DataError: a field has a bad value, such as a time that does not exist.
        """
        fields = self.fields(name)
        return None if fields is None else self.labelled(path, fields)

    def labelled(self, path: Path, fields: Mapping[str, str]) -> LabelledImage:
        """The image with the labels of its fields.

        Raises:
            DataError: as `image`.
        """
        return self.row(str(path), fields).image()

    def row(self, name: str, fields: Mapping[str, str]) -> ImageRow:
        """As `labelled`, for a path as text."""
        try:
            taken = fields.get("captured_at")
            return ImageRow(
                name,
                _label(fields.get("pid")),
                _label(fields.get("camid")),
                None if taken is None else self.read_time(taken),
                fields.get("track"),
                fields.get("clothes"),
                tuple((key, fields[key]) for key in self.attributes if key in fields) if self.attributes else (),
            )
        except DataError as error:
            raise DataError(f"{printable(name)}: {error}") from error


def name_pattern(text: str, zone: tzinfo | None = None) -> NamePattern:
    """A template or regular expression, ready to use.

    Args:
        zone: of times that name none; None is UTC.

    Raises:
        DataError: it is neither, or has no field.
    """
    made = _of_expression(text, zone) if "(?P<" in text else _of_template(text, zone)
    for name in made.expression.groupindex:
        if name not in LABELS:
            as_name(name)
    return made


def _of_expression(text: str, zone: tzinfo | None) -> NamePattern:
    try:
        expression = re.compile(text)
        renamed = _renamed(text, expression.groupindex)
        expression = re.compile(renamed) if renamed != text else expression
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"the pattern {text[:200]!r} is no regular expression ({error})") from error
    depth = re.sub(r"\[(?:\\.|[^\]])*\]", "", text).count("/")  # a slash in a set, such as [^/], is no folder
    return NamePattern(text, expression, depth, False, lambda value: parse_moment(value, zone))


def _renamed(text: str, groups: Iterable[str]) -> str:
    """A regular expression whose groups have the labels' own names.

    Raises:
        DataError: two groups are one label.
    """
    labels: dict[str, str] = {}
    for name in groups:
        label = _label_called(name)
        if label in labels:
            raise DataError(_twice(text, label, labels[label], name))
        labels[label] = name
    for label, name in labels.items():
        if name != label:  # where the group begins, and where it is referred to
            text = re.sub(rf"(?<!\\)\(\?(P<|P=|\()({name})([>)])", rf"(?\g<1>{label}\g<3>", text)
    return text


def _label_called(name: str) -> str:
    """The label that a field's name stands for, or the name itself."""
    return _LABEL_CALLED.get(name.lower(), name)


def _twice(text: str, label: str, first: str, second: str) -> str:
    if first == second:
        return f"the pattern {text[:200]!r} names {first} twice"
    return (
        f"the pattern {text[:200]!r} names {label} twice, as {first} and as {second}; rename the one that is not meant"
    )


def _of_template(text: str, zone: tzinfo | None) -> NamePattern:
    read_time: _Times = lambda value: _plain_time(value, zone)  # noqa: E731 (a default of what follows)
    parts, end, names = [], 0, dict[str, str]()
    for field in _FIELD.finditer(text):
        parts.append(_literal(text, text[end : field.start()]))
        end = field.end()
        called, form = field["name"], field["form"]
        if called is None:
            parts.append("[^/]*")
            continue
        name = _label_called(called)
        if name in names:
            raise DataError(_twice(text, name, names[name], called))
        names[name] = called
        if name == "captured_at" and form:
            expression, read_time = _time_form(form, zone)
        else:
            expression = _form(text, name, form)
        parts.append(f"(?P<{name}>{expression})")
    if not names:
        raise DataError(
            f"the pattern {text[:200]!r} has no field; write one such as {{pid}}_c{{camid}}_{{}}.jpg, or a regular "
            "expression with groups such as (?P<pid>\\d+)"
        )
    parts.append(_literal(text, text[end:]))
    if os.path.splitext(text)[1].lower() not in EXTENSIONS:  # noqa: PTH122 (text, not a path)
        parts.append(r"\.[^./]+")
    return NamePattern(text, re.compile("".join(parts)), text.count("/"), True, read_time)


def _literal(pattern: str, text: str) -> str:
    if "{" in text or "}" in text:
        raise DataError(f"the pattern {pattern[:200]!r} has a brace that belongs to no field such as {{pid}} or {{}}")
    return re.escape(text)


def _form(pattern: str, name: str, form: str | None) -> str:
    """The expression of a field that is no written time."""
    if form == "int":
        return _NUMBER
    if form:
        raise DataError(f"the pattern {pattern[:200]!r} has {{{name}:{form}}}; after the colon may stand int")
    # Digits first, all of them, so that what follows a number takes none of it.
    return f"(?:{_NUMBER}|[^/]+?)" if name in ("pid", "camid") else "[^/]+?"


def _time_form(form: str, zone: tzinfo | None) -> tuple[str, _Times]:
    """How a time is written, as an expression, and what reads it."""
    if form in ("unix", "unix_ms"):
        unit = 1 if form == "unix" else 1000
        return r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", lambda value: epoch(float(value) / unit, value)
    if "%" not in form:
        raise DataError(f"captured_at:{form} is not unix, unix_ms or a form such as %Y%m%d-%H%M%S")
    pieces = re.split(r"%([A-Za-z])", form)
    expression = "".join(
        _STRPTIME.get(piece, "[0-9]{2}") if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)
    )
    return expression, lambda value: _written(value, form, zone)


def _plain_time(value: str, zone: tzinfo | None) -> datetime:
    try:
        return parse_moment(value, zone)
    except DataError as error:
        raise DataError(
            f"{error}; the pattern says how it is written: {{captured_at:unix}}, {{captured_at:%Y%m%d}} …"
        ) from error


def _written(value: str, form: str, zone: tzinfo | None) -> datetime:
    try:
        return at_zone(datetime.strptime(value, form), zone)
    except ValueError as error:
        raise DataError(f"the time {value!r:.80} is not written as {form}") from error


def label_of_name(text: str) -> Label:
    """A pid or camid in the name of a file or folder: digits are a number, whose zeros in front only pad; see above.

    Raises:
        DataError: the text is no label.
    """
    return int(text) if _IS_NUMBER.fullmatch(text) else as_label(text)


def _label(text: str | None) -> Label | None:
    return None if text is None else label_of_name(text)

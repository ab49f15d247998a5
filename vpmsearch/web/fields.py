"""What the fields of a request mean; what cannot be understood is 422, with words for a person."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Request, UploadFile
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from vpmsearch.data.crops import CropBox
from vpmsearch.data.fragment import PixelBox, parse_box
from vpmsearch.data.moments import parse_moment
from vpmsearch.errors import DataError
from vpmsearch.labels import as_label, as_name, attribute_text, wanted_attributes
from vpmsearch.types import SearchFilter, as_utc
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from vpmsearch.web.state import View

FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
MAX_PHOTOGRAPHS = 8
MAX_CONFIRMED = 64
"""Confirmed images of a query at most."""
MAX_REFUSED = 500
"""Refused images of a search at most."""
MAX_RANK = 1000
"""Ranks that can be paged through."""
LARGEST_ID = 2**63 - 1  # SQLite's


def _given(value: object) -> object:
    """A list of fields without empty texts, which a form sends for fields that were left empty."""
    return [each for each in value if each != ""] if isinstance(value, list) else value


Given = BeforeValidator(_given)
"""Of a list of fields: those that were filled in; none if none was."""


async def known_fields(request: Request) -> None:
    """Refuse unknown field names. They would be ignored silently: `camids=3` would find everybody.

    If the body is not a form, the answer names the fields that are wanted.
    """
    dependant = request.scope["route"].dependant
    wanted = _names(dependant, "body_params")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if wanted and kind and kind not in FORMS:
        fields = ", ".join(wanted)
        text = f"send a form (multipart/form-data), not {kind[:100]}; its fields are {fields}: /api/docs describes them"
        raise HTTPException(415, text)
    for given, names in (
        (request.query_params, _names(dependant, "query_params")),
        (await request.form() if wanted else (), wanted),
    ):
        if unknown := sorted(set(given) - set(names)):
            some = f"; there are {', '.join(names)}" if names else ""
            place = "in the address" if given is request.query_params else "in the form"
            raise HTTPException(422, f"there is no field {unknown[0][:100]!r} {place}{some}")


def _names(dependant: Any, kind: str) -> list[str]:
    """The fields of an endpoint and of what it depends on."""
    own = [field.alias for field in getattr(dependant, kind)]
    return [name for each in dependant.dependencies for name in _names(each, kind)] + own


def whole_uploads(uploads: Sequence[UploadFile]) -> list[UploadFile]:
    """The uploads without empty ones, which have no name and no byte: a form sends them for an empty file field."""
    return [upload for upload in uploads if upload.filename or upload.size]


def boxes_of(texts: Sequence[str], count: int) -> list[CropBox | PixelBox | None]:
    """The part of each of `count` photographs. If all texts are empty, every photograph is taken whole."""
    given = texts if any(text.strip() for text in texts) or len(texts) == count else [""] * count
    if len(given) != count:
        raise HTTPException(
            422,
            f"{number_of(count, 'photograph')} and {number_of(len(given), 'box', 'boxes')}: give one for each, or none",
        )
    return [box_of(text) for text in given]


def _moment(text: object) -> datetime:
    """A field's text as a time in UTC.

    Raises:
        ValueError: it is none; pydantic makes a 422 of it.
    """
    try:
        return as_utc(parse_moment(str(text)[:200]))
    except DataError as error:
        raise ValueError(str(error)) from error


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A time as `vpmsearch.data.moments` reads it; one that names no zone is UTC."""


def check_count(count: int) -> None:
    """Refuse a query of no photograph, or of too many."""
    if not 1 <= count <= MAX_PHOTOGRAPHS:
        raise HTTPException(422, f"a query takes 1 to {MAX_PHOTOGRAPHS} photographs and images, got {count}")


def box_of(text: str) -> CropBox | PixelBox | None:
    """Read "left,top,right,bottom" as fractions, or "xywh=x,y,width,height" in pixels; None is the whole photograph."""
    if not text.strip():
        return None
    if text.strip().startswith("xywh="):
        try:
            return parse_box(text[:200])
        except DataError as error:
            raise HTTPException(422, str(error)) from error
    try:
        left, top, right, bottom = map(float, text[:200].split(","))
    except ValueError as error:
        raise HTTPException(422, 'a box is "left,top,right,bottom", four fractions from 0 to 1') from error
    inside = 0 <= left < right <= 1 and 0 <= top < bottom <= 1  # also refuses NaN
    if not inside or not math.isfinite(left + top):
        raise HTTPException(422, "a box needs 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1")
    whole = (left, top, right, bottom) == (0, 0, 1, 1)
    return None if whole else CropBox(left, top, right, bottom)


def filter_of(
    view: View,
    pids: Sequence[str],
    camids: Sequence[str],
    other_than: Sequence[str],
    where: Sequence[str],
    after: datetime | None,
    before: datetime | None,
    prefix: str,
) -> SearchFilter:
    """Which images may be results.

    Args:
        view: what is searched. other_than: cameras to leave out. where: "name=value" each, or JSON of values by name:
            `{"site": ["north"]}`. prefix: of the whole path.
    """
    try:
        only, without = [as_label(text) for text in camids], {as_label(text) for text in other_than}
        if without:
            only = [camid for camid in only or view.camids if camid not in without]
            if not only:
                raise HTTPException(422, "every camera that was asked for is left out")
        wanted: dict[str, list[str]] = {}
        for text in where:
            for name, values in _attributes(text).items():
                wanted.setdefault(name, []).extend(values)
        return SearchFilter(tuple(map(as_label, pids)), tuple(only), after, before, prefix, wanted)
    except DataError as error:
        raise HTTPException(422, str(error)) from error


def _attributes(text: str) -> dict[str, list[str]]:
    if not text.lstrip().startswith("{"):
        return wanted_attributes([text])
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"where is no JSON ({str(error)[:100]}); write site=north, or values by name") from error
    every = {name: values if isinstance(values, list) else [values] for name, values in found.items()}
    if any(isinstance(value, list | dict | None) for values in every.values() for value in values):
        raise DataError('where takes texts and numbers by name, such as {"site": ["north", "south"], "floor": 2}')
    return {as_name(name): list(map(attribute_text, values)) for name, values in every.items()}

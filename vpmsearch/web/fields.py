"""What the fields of a request mean; what cannot be understood is 422, with words for a person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from starlette.exceptions import HTTPException

from vpmsearch.data.crops import CropBox
from vpmsearch.types import SearchFilter, as_utc

MAX_PHOTOGRAPHS = 8
MAX_RANK = 1000
"""Ranks that can be paged through."""
LARGEST_ID = 2**63 - 1  # SQLite's


def check_count(count: int) -> None:
    """Refuse a query of no photograph, or of too many."""
    if not 1 <= count <= MAX_PHOTOGRAPHS:
        raise HTTPException(422, f"a query takes 1 to {MAX_PHOTOGRAPHS} photographs and images, got {count}")


def box_of(text: str) -> CropBox | None:
    """Read "left,top,right,bottom" as fractions; None for the whole photograph."""
    if not text.strip():
        return None
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
    pids: Sequence[int], camids: Sequence[int], after: datetime | None, before: datetime | None, prefix: str
) -> SearchFilter:
    """Which images may be results."""
    for number in (*pids, *camids):
        if not -LARGEST_ID <= number <= LARGEST_ID:
            raise HTTPException(422, f"{number} is too large")
    try:
        earliest, latest = (None if moment is None else as_utc(moment) for moment in (after, before))
    except OverflowError as error:
        raise HTTPException(422, "there is no such year in UTC") from error
    return SearchFilter(tuple(pids), tuple(camids), earliest, latest, prefix)

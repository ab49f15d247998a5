"""The SQL of a search. Regions and types are part of the text; every value from a caller is a parameter.

Eq. 4 is an expression over one row of `image_feature`. A database that is sharded by image can order by it where the
embeddings are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vpmsearch.store.postgres.features import Layout, total, visibility
from vpmsearch.types import SearchFilter, as_utc


@dataclass(frozen=True)
class Conditions:
    """What images `i` must meet: SQL, "" for all of them, and its parameters."""

    sql: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def where(self, *others: str) -> str:
        """A WHERE clause of these and other conditions."""
        every = [*others, *([self.sql] if self.sql else [])]
        return f" WHERE {' AND '.join(every)}" if every else ""

    @property
    def joined(self) -> str:
        """What adds the images to features `f`, where that is needed."""
        return " JOIN image i ON i.id = f.image_id" if self.sql else ""


def conditions(search_filter: SearchFilter | None, paths: Sequence[str] = ()) -> Conditions:
    """The conditions of a filter, and of being one of some paths."""
    wanted = search_filter or SearchFilter()
    sql: list[str] = []
    values: dict[str, Any] = {}

    def add(condition: str, **value: Any) -> None:
        sql.append(condition)
        values.update(value)

    if wanted.pids:
        add("i.pid = ANY(%(pids)s)", pids=list(map(str, wanted.pids)))
    if wanted.camids:
        add("i.camid = ANY(%(camids)s)", camids=list(map(str, wanted.camids)))
    if wanted.captured_after is not None:
        add("i.captured_at >= %(after)s", after=as_utc(wanted.captured_after))
    if wanted.captured_before is not None:
        add("i.captured_at < %(before)s", before=as_utc(wanted.captured_before))
    if wanted.path_prefix:
        add("starts_with(i.path, %(prefix)s)", prefix=wanted.path_prefix)
    if paths:
        add("i.path = ANY(%(paths)s)", paths=list(paths))
    for name, allowed in wanted.attributes.items():
        keys = [f"where{len(values) + place}" for place in range(len(allowed))]
        one_of = " OR ".join(f"i.attributes @> %({key})s::jsonb" for key in keys) or "false"
        add(f"({one_of})", **{key: json.dumps({name: value}) for key, value in zip(keys, allowed, strict=True)})
    return Conditions(" AND ".join(sql), values)


def candidates(layout: Layout, regions: Sequence[int], count: int, only: Conditions) -> str:
    """The nearest images of each region, and Eq. 4 of each: rows (region, image_id, distance D_i, distance by Eq. 4).

    An image has a row for each list that names it. Vectors are %(q0)s, %(q1)s … and weights %(w0)s, %(w1)s …
    """
    lists = []
    for region in regions:
        lists.append(
            f"(SELECT {region}::smallint AS region, {layout.listed_by(region)} AS distance, f.* FROM image_feature f"
            f"{only.joined}{only.where(shows(region))} ORDER BY {layout.listed_by(region)} LIMIT {count})"
        )
    # Eq. 4 here and not in a second look: the list has just read the row. Its text has a term for each region, so it
    # stands outside of the lists: in each of them the statement would grow with the square of the regions.
    every = " UNION ALL ".join(lists)
    return f"SELECT f.region, f.image_id, f.distance, {layout.eq4(regions)} AS compared FROM ({every}) f"


def shows(region: int) -> str:
    """Whether an image shows a region."""
    return f"f.{visibility(region)} IS NOT NULL"


def listable(region: int, most: int, only: Conditions) -> str:
    """How many images a region's list can name: one row (count,), counted no further than `most`."""
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM image_feature f{only.joined}{only.where(shows(region))} "
        f"LIMIT {most}) AS counted"
    )


def nearest(layout: Layout, regions: Sequence[int], k: int, only: Conditions, *, among: bool) -> str:
    """Eq. 4: rows (image_id, distance) of the k nearest, ties by image id; weights are %(w0)s, %(w1)s …

    Args:
        among: of the images %(ids)s alone.
    """
    where = only.where(f"{total(regions)} > 0", *(["f.image_id = ANY(%(ids)s)"] if among else []))
    return (
        f"SELECT f.image_id, {layout.eq4(regions)} AS distance FROM image_feature f{only.joined}{where} "
        f"ORDER BY distance, f.image_id LIMIT {k}"
    )


def details(layout: Layout, regions: Sequence[int], record: str) -> str:
    """What explains the images %(ids)s: rows (for each region its visibility and D_i, then the columns of `record`).

    Both are NULL where an image does not show the region. An image that is not there has no row. record: columns of
    image `i`.
    """
    each = ", ".join(f"f.{visibility(region)}, {layout.exactly(region)}" for region in regions)
    return f"SELECT {each}, {record} FROM image i JOIN image_feature f ON f.image_id = i.id WHERE i.id = ANY(%(ids)s)"


# Every cell that occurs, each found by one look into the index over cells.
CELLS = """
WITH RECURSIVE found AS (
    (SELECT cell FROM image ORDER BY cell LIMIT 1)
    UNION ALL
    SELECT (SELECT image.cell FROM image WHERE image.cell > found.cell ORDER BY image.cell LIMIT 1)
    FROM found WHERE found.cell IS NOT NULL
)
SELECT cell FROM found WHERE cell IS NOT NULL LIMIT %s
"""

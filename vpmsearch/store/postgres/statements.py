"""The SQL of a search. Regions and types are part of the text; every value from a caller is a parameter.

A statement names regions as numbers, so the planner skips the other partitions. Eq. 4 is one aggregate over one table,
grouped by image. A database that is sharded by image can compute it where the embeddings are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vpmsearch.store.postgres.schema import Layout
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


COMPARED = -1
"""Stands for the region in the rows of `candidates` that are distances by Eq. 4."""


def candidates(layout: Layout, regions: Sequence[int], count: int, only: Conditions) -> str:
    """The nearest images of each region, and Eq. 4 of all of them: rows (region, image_id, distance).

    First the rows of the regions' lists, then one row of region `COMPARED` for each image that a list names. Vectors
    are %(q0)s, %(q1)s … and weights %(w0)s, %(w1)s …
    """
    lists = []
    for region in regions:
        distance = layout.listed_by(f"q{region}")
        lists.append(
            f"(SELECT {region}::smallint AS region, f.image_id, {distance} AS distance FROM region_feature f"
            f"{only.joined}{only.where(f'f.region = {region}')} ORDER BY {distance} LIMIT {count})"
        )
    # An array instead of a join: the planner cannot know how many images the lists name, and would scan all embeddings.
    named = "f.image_id = ANY(ARRAY(SELECT image_id FROM listed))"
    return (
        f"WITH listed AS MATERIALIZED ({' UNION ALL '.join(lists)}) SELECT region, image_id, distance FROM listed "
        f"UNION ALL (SELECT {COMPARED}::smallint, f.image_id, {_eq4(layout, regions)}::float8 FROM region_feature f"
        f"{Conditions().where(_of(regions), named)} GROUP BY f.image_id HAVING {_total(regions)} > 0)"
    )


def listable(region: int, most: int, only: Conditions) -> str:
    """How many images a region's list can name: one row (count,), counted no further than `most`."""
    return (
        f"SELECT count(*) FROM (SELECT 1 FROM region_feature f{only.joined}{only.where(f'f.region = {region}')} "
        f"LIMIT {most}) AS counted"
    )


def nearest(layout: Layout, regions: Sequence[int], k: int, only: Conditions, *, among: bool) -> str:
    """Eq. 4: rows (image_id, distance) of the k nearest, ties by image id; weights are %(w0)s, %(w1)s …

    Args:
        among: of the images %(ids)s alone.
    """
    where = only.where(_of(regions), *(["f.image_id = ANY(%(ids)s)"] if among else []))
    return (
        f"SELECT f.image_id, {_eq4(layout, regions)} AS distance "
        f"FROM region_feature f{only.joined}{where} GROUP BY f.image_id HAVING {_total(regions)} > 0 "
        f"ORDER BY distance, f.image_id LIMIT {k}"
    )


def details(layout: Layout, regions: Sequence[int], record: str) -> str:
    """What explains the images %(ids)s: rows (regions, visibilities, distances D_i, and the columns of `record`).

    An image that is not there has no row. record: columns of image `i`.
    """
    return (
        f"SELECT e.regions, e.visibilities, e.distances, {record} FROM image i JOIN (SELECT f.image_id, "
        "array_agg(f.region) AS regions, array_agg(f.visibility) AS visibilities, "
        f"array_agg({_region_distance(layout, regions)}) AS distances FROM region_feature f"
        f"{Conditions().where(_of(regions), 'f.image_id = ANY(%(ids)s)')} GROUP BY f.image_id) e "
        "ON e.image_id = i.id WHERE i.id = ANY(%(ids)s)"
    )


def _of(regions: Sequence[int]) -> str:
    return f"f.region IN ({', '.join(map(str, regions))})"


def _eq4(layout: Layout, regions: Sequence[int]) -> str:
    """Eq. 4 of the rows of one image."""
    # As float32: the last bit of a float64 sum depends on the order, and equal distances must stay equal.
    return f"(sum({_weight(regions)} * {_region_distance(layout, regions)}) / {_total(regions)})::real"


def _total(regions: Sequence[int]) -> str:
    return f"sum({_weight(regions)})"


def _weight(regions: Sequence[int]) -> str:
    return f"(f.visibility::float8 * CASE f.region {_cases(regions, '%(w{})s::float8')} END)"


def _region_distance(layout: Layout, regions: Sequence[int]) -> str:
    """D_i of a row of region_feature."""
    cases = " ".join(f"WHEN {region} THEN {layout.exactly(f'q{region}')}" for region in regions)
    return f"(CASE f.region {cases} END)"


def _cases(regions: Sequence[int], value: str) -> str:
    return " ".join(f"WHEN {region} THEN {value.format(region)}" for region in regions)


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

"""The table of features, `image_feature`: a row an image, a visibility and an embedding a region.

Both are NULL where a region is not visible. An index of embeddings holds no NULL, and a region's list names only images
that show it. All embeddings of an image lie beside each other, so Eq. 4 reads one row. Up to a page (8 KiB) they stay
in it; of a larger row the server moves out only as many embeddings as it must.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]

INDEXABLE = {"vector": 2000, "halfvec": 4000}
"""Numbers an indexed embedding may have; above 2,000 the index holds half precision."""

MOST_REGIONS = 256
"""Regions that a row may have. The server moves no embedding of up to 24 bytes out of a row, and leaves a pointer of 18
bytes of a longer one; with the visibility 28 bytes each fill 7,168 of a page's 8,160 bytes.
"""


def visibility(region: int) -> str:
    """The column of a region's visibility."""
    return f"visibility_{region}"


def embedding(region: int) -> str:
    """The column of a region's embedding."""
    return f"embedding_{region}"


def columns(p: int) -> list[str]:
    """All columns, in the order of `encoding.feature_rows`."""
    return ["image_id", *(column(region) for region in range(p) for column in (visibility, embedding))]


def create_table(cursor: Cursor, p: int, d: int, kind: str) -> None:
    """Make the table of a new index.

    Args:
        p, d: of the model. kind: pgvector's type of the embeddings.
    """
    # What has a fixed length comes first: the server then finds it without looking at the embeddings.
    regions = [f"{visibility(r)} real" for r in range(p)] + [f"{embedding(r)} {kind}({d})" for r in range(p)]
    cursor.execute(
        "CREATE TABLE image_feature (image_id bigint PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE, "
        f"{', '.join(regions)}) WITH (toast_tuple_target = 8160)"
    )


@dataclass(frozen=True)
class Layout:
    """How embeddings are stored and searched.

    column: the type of the embeddings. d: numbers. built: the method of the indexes, "" without any.
    """

    column: str
    d: int
    built: str

    @property
    def indexed(self) -> str:
        """The type that the indexes hold."""
        return "halfvec" if self.d > INDEXABLE["vector"] else self.column

    def listed_by(self, region: int) -> str:
        """The distance that a region's list is ordered by: its index's own, or the exact one where there is none."""
        if not self.built:
            return self.exactly(region)
        kind = f"{self.indexed}({self.d})"
        column = f"f.{embedding(region)}" + ("" if self.indexed == self.column else f"::{kind}")
        query = f"%(q{region})s::vector"  # the type of the parameter, in all its places
        return f"{column} <-> {query}" if self.indexed == "vector" else f"{column} <-> {query}::{self.indexed}"

    def exactly(self, region: int) -> str:
        """D_i of the embeddings as they are stored; the query keeps its precision."""
        column = f"f.{embedding(region)}" + ("" if self.column == "vector" else "::vector")
        return f"{column} <-> %(q{region})s::vector"

    def eq4(self, regions: Sequence[int]) -> str:
        """Eq. 4 of an image that shows any of the regions. As float32, as in a folder: equal images must tie."""
        return f"({_sum(regions, self.exactly)} / {total(regions)})::real"


def total(regions: Sequence[int]) -> str:
    """The sum of an image's weights, 0 where it shows none of the regions; weights of the query are %(w0)s, %(w1)s …"""
    return _sum(regions)


def _sum(regions: Sequence[int], times: Callable[[int], str] | None = None) -> str:
    """The sum of the weights of the regions that an image shows, each multiplied by something."""
    terms = []
    for region in regions:
        term = f"f.{visibility(region)}::float8 * %(w{region})s::float8"
        if times is not None:
            term += f" * ({times(region)})"
        # Not coalesce, which postgres_fdw does not send to shards.
        terms.append(f"CASE WHEN f.{visibility(region)} IS NULL THEN 0 ELSE {term} END")
    return f"({' + '.join(terms)})"

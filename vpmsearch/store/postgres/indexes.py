"""The server's indexes over embeddings: the choice of method, and the build when the last writer leaves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from vpmsearch.store.intake import MANY_EQUAL, are_many
from vpmsearch.store.postgres.encoding import VECTOR_TYPES
from vpmsearch.store.postgres.features import Layout, embedding, visibility
from vpmsearch.store.postgres.held import Held
from vpmsearch.store.postgres.schema import BUILD_FROM, METHODS, NEXT_VERSION, lists_for
from vpmsearch.store.postgres.statements import shows
from vpmsearch.store.values import OnBuild, StoredModel, tell_nobody

if TYPE_CHECKING:
    import psycopg

    Cursor: TypeAlias = psycopg.Cursor[Any]

log = logging.getLogger("vpmsearch.store.postgres")

EQUAL_SAMPLE = 4000
"""Size of the sample of images in which equal embeddings are counted."""


@dataclass(frozen=True)
class _Plan:
    """What is to be built.

    method: of the indexes. missing: region -> name of what is not there yet. others: names of those of another method,
    which go.
    """

    method: str
    missing: dict[int, str]
    others: list[str]


def build_indexes(held: Held, model: StoredModel, index_id: str, on_build: OnBuild = tell_nobody) -> None:
    """Build what is missing of the indexes over embeddings, a region at a time; `held` keeps other writers away.

    A search of a graph (hnsw) gets stuck among many equal vectors, which are each other's nearest neighbours. If there
    are many, lists (ivfflat) are built instead and replace an existing graph.

    After an interruption, the next call continues with the next region. `on_build` is called at the beginning and after
    each region with the embeddings indexed so far and in all.
    """
    if not METHODS[model.index_type]:
        return
    with held.write() as cursor:
        plan = _plan(cursor, model, index_id)
    if not plan.missing and not plan.others:
        return
    # Done first: else a search could take a list for exact although some indexes are approximate already.
    with held.write() as cursor:
        cursor.execute(f"UPDATE model SET built = %s, {NEXT_VERSION}", [plan.method])
    for name in plan.others:
        with held.write() as cursor:
            cursor.execute(f"DROP INDEX IF EXISTS {name}")
    with held.write() as cursor:
        vectors = _vectors(cursor, list(plan.missing))
    done, total = 0, sum(vectors.values())
    on_build(done, total)
    for region, name in plan.missing.items():
        options = f" WITH (lists = {lists_for(vectors[region])})" if plan.method == "ivfflat" else ""
        _build(held, model, plan.method, region, name, options)
        done += vectors[region]
        on_build(done, total)
    with held.write() as cursor:  # the planner weighs an index against a filter by these
        cursor.execute("ANALYZE image, image_feature")


def _plan(cursor: Cursor, model: StoredModel, index_id: str) -> _Plan:
    method = METHODS[model.index_type]
    cursor.execute("SELECT built FROM model WHERE index_id = %s", [index_id])
    found = cursor.fetchone()
    cursor.execute("SELECT count(*) FROM (SELECT 1 FROM image LIMIT %s) AS counted", [BUILD_FROM])
    images = _number(cursor)
    # Not found: another index has come to be here.
    if found is None or images == 0 or (model.index_type == "auto" and images < BUILD_FROM):
        return _Plan(method, {}, [])
    if method == "hnsw" and (found[0] == "ivfflat" or _many_are_equal(cursor, model.info.p)):
        if found[0] != "ivfflat":
            log.warning(
                "more than %d embeddings are equal, which a graph does not lead out of: lists instead", MANY_EQUAL
            )
        method = "ivfflat"
    names = {region: f"ann_{method}_{region}" for region in range(model.info.p)}
    others = [f"ann_hnsw_{region}" for region in names] if method == "ivfflat" else []
    return _Plan(
        method,
        {region: name for region, name in names.items() if not _is_there(cursor, name)},
        [name for name in others if _is_there(cursor, name)],
    )


def _is_there(cursor: Cursor, name: str) -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
    return bool(_number(cursor))


def _many_are_equal(cursor: Cursor, p: int) -> bool:
    """Whether any region holds one embedding more than `MANY_EQUAL` times, as far as a sample of its images tells."""
    cursor.execute("SELECT count(*) FROM image")
    images = _number(cursor)
    share = min(100.0, 100 * EQUAL_SAMPLE / max(images, 1))
    cursor.execute("SELECT coalesce(array_agg(id), '{}') FROM image TABLESAMPLE BERNOULLI (%s) REPEATABLE (0)", [share])
    row = cursor.fetchone()
    ids = list(row[0]) if row else []
    for region in range(p):
        cursor.execute(
            "SELECT coalesce(max(alike), 0) FROM (SELECT count(*) AS alike FROM image_feature f WHERE "
            f"{shows(region)} AND f.image_id = ANY(%s) GROUP BY f.{embedding(region)}) AS counted",
            [ids],
        )
        if are_many(_number(cursor), len(ids), images):
            return True
    return False


def _number(cursor: Cursor) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _vectors(cursor: Cursor, regions: list[int]) -> dict[int, int]:
    """Embeddings of regions."""
    counts = ", ".join(f"count({visibility(region)})" for region in regions) or "1"
    cursor.execute(f"SELECT {counts} FROM image_feature")
    row = cursor.fetchone()
    return dict(zip(regions, row or (), strict=False))


def _build(held: Held, model: StoredModel, method: str, region: int, name: str, options: str) -> None:
    layout = Layout(VECTOR_TYPES[model.embedding_dtype], model.info.embedding_dim, method)
    kind, column = layout.indexed, embedding(region)
    if kind != layout.column:
        column = f"({column}::{kind}({layout.d}))"
    with held.write() as cursor:
        cursor.execute(f"CREATE INDEX {name} ON image_feature USING {method} ({column} {kind}_l2_ops){options}")

"""What `verify` and `stats` look at on a server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.postgres.encoding import digests
from vpmsearch.store.postgres.features import embedding, visibility
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.schema import METHODS
from vpmsearch.types import Int64, SearchFilter
from vpmsearch.words import number_of

_BLOCK_BYTES = 32 << 20
_REMEDY = "restore the server's backup, or remove the image and index it again"
STRANGERS = (
    "while nobody writes: DELETE FROM image_feature f WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = f.image_id)"
)
_TYPES = {method: kind for kind, method in METHODS.items() if kind != "auto"}


def sizes(reading: Reading) -> tuple[dict[str, int], list[str]]:
    """Bytes by kind, as in the folder store, and the type of the regions' indexes."""
    images = reading.rows("SELECT pg_total_relation_size('image')")[0][0]
    rows = reading.rows(
        """
        SELECT pg_table_size(t.oid), pg_indexes_size(t.oid), coalesce((
            SELECT sum(pg_relation_size(x.indexrelid))
            FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
            WHERE x.indrelid = t.oid AND starts_with(c.relname::text, 'ann_')
        ), 0)::bigint
        FROM pg_class t WHERE t.oid = 'image_feature'::regclass
        """
    )
    embeddings, indexes, ann = rows[0]
    found = {"catalog": images, "embeddings": embeddings, "region_indexes": ann, "other": indexes - ann}
    return found | {"total": sum(found.values())}, [_TYPES[reading.state.built]]


def check(reading: Reading) -> list[str]:
    """Everything that is wrong with an index, a line each."""
    info, place = reading.model.info, reading.server.place
    problems = []
    try:
        reading.calibration()
    except StoreDamagedError as error:
        problems.append(str(error))
    wrong = reading.rows(
        "SELECT count(*), min(id) FROM image WHERE cardinality(visibility) <> %s OR "
        "EXISTS (SELECT 1 FROM unnest(visibility) v WHERE v IS NULL OR NOT v BETWEEN 0 AND 1.001)",
        [info.p],
    )[0]
    if wrong[0]:  # what else is stored of them cannot be read
        first = f"{wrong[0]} images have impossible visibility scores (first: image {wrong[1]})"
        return [*problems, f"{place}: {first}; {_REMEDY}"]
    strangers = reading.rows(
        "SELECT count(*) FROM image_feature f WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = f.image_id)"
    )[0][0]
    if strangers:
        problems.append(f"{place}: {strangers} rows of image_feature belong to no image; {STRANGERS}")
    ids = reading.ids(SearchFilter())
    for block in _blocks(ids, max(1, _BLOCK_BYTES // (4 * info.p * info.embedding_dim))):
        bad = _damaged(reading, block)
        if len(bad):
            first = f"{number_of(len(bad), 'image')} differ from what was written (first: image {bad[0]})"
            problems.append(f"{place}: the features of {first}; {_REMEDY}")
    return problems


def _damaged(reading: Reading, ids: Int64) -> Int64:
    """Images that lack their row of features, or whose features have another digest, visibility or set of regions."""
    info = reading.model.info
    features = reading.features(ids)
    visible = info.visible(features.visibility)
    found = digests(features, visible, reading.model.embedding_dtype)
    same = np.array([ours == theirs for ours, theirs in zip(found, reading.digests(ids), strict=True)], np.bool_)
    columns = ", ".join(f"f.{visibility(r)}, f.{embedding(r)} IS NOT NULL" for r in range(info.p))
    rows = reading.rows(f"SELECT f.image_id, {columns} FROM image_feature f WHERE f.image_id = ANY(%s)", [ids.tolist()])
    shown = np.full((len(ids), info.p), np.nan, np.float32)
    stored = np.zeros((len(ids), info.p), np.bool_)
    places = np.searchsorted(ids, np.array([row[0] for row in rows], np.int64))
    shown[places] = np.array([row[1::2] for row in rows], np.float32).reshape(len(rows), info.p)
    stored[places] = np.array([row[2::2] for row in rows], np.bool_).reshape(len(rows), info.p)
    same &= (stored == visible).all(axis=1)
    same &= np.where(visible, shown == features.visibility, np.isnan(shown)).all(axis=1)
    same &= np.isin(np.arange(len(ids)), places)
    return ids[~same]


def _blocks(ids: Int64, size: int) -> Iterator[Int64]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

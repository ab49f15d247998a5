"""Indexes of older versions on a server: upgraded, and then used."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from galleries import INFO, fill, make_calibration, make_features, make_records
from oracles import visibility_weighted_distance
from postgres_server import PostgresServer

from vpmsearch.errors import StoreError, StoreVersionError
from vpmsearch.search.open import searcher
from vpmsearch.store.migrations import make_tables
from vpmsearch.store.open import open_index, upgrade_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import indexes
from vpmsearch.types import ImageRecord, RegionFeatures, SearchFilter

pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
pytestmark = pytest.mark.postgres

OLD = Path(__file__).parents[2] / "data_files" / "server-0002.sql"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
GONE = 3
"""Images of the old index that were removed before it was dumped: the first ones."""
_NUMBERS = itertools.count()


def old_features() -> RegionFeatures:
    """What the old index was made of, as float16; image 7 shows nothing."""
    features = make_features(48)
    features.visibility[7] = 0
    return RegionFeatures(features.visibility, features.embeddings.astype(np.float16).astype(np.float32))


def old_records() -> list[ImageRecord]:
    return [
        replace(record, captured_at=NOON + timedelta(hours=i), attributes={"coat": "red" if i % 2 else "blue"})
        for i, record in enumerate(make_records(48))
    ]


@pytest.fixture
def old_place(postgres_server: PostgresServer) -> Callable[[], Place]:
    """A database with the old index, whenever it is called."""

    def make() -> Place:
        name = f"old_{next(_NUMBERS)}"
        postgres_server.execute(f"CREATE DATABASE {name}")
        postgres_server.execute("CREATE EXTENSION vector", OLD.read_text(encoding="utf-8"), database=name)
        return Place(postgres_server.uri(database=name))

    return make


def check(place: Place) -> None:
    """Everything is there, and answers are those of a float64 loop."""
    features, records = old_features()[GONE:], old_records()[GONE:]
    with open_index(place) as store:
        assert store.verify().ok
        ids = store.snapshot.image_ids.tolist()
        assert ids == list(range(1 + GONE, 49))  # none is given anew
        assert store.snapshot.records_of(ids) == records
        stored, visible = store.snapshot.features_of(ids), INFO.visible(features.visibility)
        assert (stored.visibility == features.visibility).all()
        assert (stored.embeddings == np.where(visible[:, :, None], features.embeddings, 0)).all()
        assert store.rejected() == [("/g/broken.jpg", "not an image")]
        assert store.calibration() == make_calibration()
        assert store.stats().region_images == visible.sum(axis=0).tolist()
        queries = make_features(6, seed=1)
        counted = [
            np.where(INFO.visible(each.visibility), each.visibility, np.float32(0)) for each in (queries, features)
        ]
        right = visibility_weighted_distance(queries.embeddings, counted[0], features.embeddings, counted[1])
        for exact in (True, False):
            for row, found in enumerate(searcher(store).search(queries, 48, exact)):
                order = [i for i in np.lexsort((ids, right[row].astype(np.float32))) if np.isfinite(right[row][i])]
                assert [match.image_id for match in found.matches] == [ids[i] for i in order]
                assert [match.distance for match in found.matches] == pytest.approx(right[row][order], rel=1e-6)
        only = SearchFilter(where={"coat": "red"}, camids=(1,))
        wanted = {i for i, r in zip(ids, records, strict=True) if r.camid == 1 and r.attributes["coat"] == "red"}
        for found in searcher(store).search(queries, 48, filter=only):
            assert {match.image_id for match in found.matches} <= wanted


def graphs(server: PostgresServer, place: Place) -> list[str]:
    database = place.text.partition("@/")[2].partition("?")[0]
    named = "SELECT relname::text FROM pg_class WHERE starts_with(relname::text, 'ann_') ORDER BY 1"
    return [row[0] for row in server.execute(named, database=database)]


def test_an_old_index_is_refused_then_upgraded_then_used(postgres_server: PostgresServer, old_place):
    place = old_place()
    with pytest.raises(StoreVersionError, match="has revision server_0002 and"):
        open_index(place)
    assert upgrade_index(place) == ("server_0002", "server_0003")
    assert graphs(postgres_server, place) == [f"ann_hnsw_{region}" for region in range(6)]
    check(place)
    assert upgrade_index(place) == ("server_0003", "server_0003")
    with open_index(place) as store:
        more = fill(store, make_features(5, seed=9), make_records(5, first=100))
        assert more == list(range(49, 54))
        with store.writer() as writer:
            assert writer.remove(more) == 5
            writer.commit()
    check(place)


def test_an_upgrade_that_is_interrupted_is_repeated(postgres_server: PostgresServer, old_place, monkeypatch):
    """Within the tables it leaves the old ones; among the graphs it leaves some, and answers are right all the same."""
    place = old_place()
    with monkeypatch.context() as patch:
        patch.setattr("vpmsearch.store.migrations.make_tables", interrupted)
        with pytest.raises(KeyboardInterrupt):
            upgrade_index(place)
    with pytest.raises(StoreVersionError, match="has revision server_0002"):
        open_index(place)
    assert len(graphs(postgres_server, place)) == 6  # the old ones
    with monkeypatch.context() as patch:
        build, built = indexes._build, []

        def some(*args: object) -> None:
            if len(built) == 2:
                raise KeyboardInterrupt
            built.append(build(*args))

        patch.setattr(indexes, "_build", some)
        with pytest.raises(KeyboardInterrupt):
            upgrade_index(place)
    assert graphs(postgres_server, place) == ["ann_hnsw_0", "ann_hnsw_1"]
    check(place)
    assert upgrade_index(place) == ("server_0003", "server_0003")
    assert len(graphs(postgres_server, place)) == 6
    check(place)


def interrupted(*args: Any) -> None:
    """All of the migration, and then an end that leaves nothing of it."""
    make_tables(*args)
    raise KeyboardInterrupt


def test_an_upgrade_waits_for_writers_and_they_for_it(postgres_server: PostgresServer, old_place, monkeypatch):
    """A writer of the old version that is at work would write to tables that go."""
    from vpmsearch.store.postgres.writer import lock_name

    place = old_place()
    database = place.text.partition("@/")[2].partition("?")[0]
    name = lock_name(postgres_server.execute("SELECT index_id FROM model", database=database)[0][0])
    monkeypatch.setattr("vpmsearch.store.postgres.held.TELL_SECONDS", 0.1)
    monkeypatch.setattr("vpmsearch.store.postgres.held.log.warning", stopped)
    import psycopg

    with psycopg.connect(host=str(postgres_server.folder), user="postgres", dbname=database) as writer:
        writer.execute(f"SELECT pg_advisory_xact_lock_shared({name})")
        with pytest.raises(StoppedError, match="writes to the index"):
            upgrade_index(place)
        writer.rollback()
    assert upgrade_index(place) == ("server_0002", "server_0003")
    check(place)


@pytest.mark.parametrize("tables", [("image", "region_feature"), ("region_feature", "image")])
def test_an_upgrade_and_a_search_of_an_older_client_do_not_end_each_other(
    postgres_server: PostgresServer, old_place, tables
):
    """A search reads one table after the other in one transaction, and the upgrade drops the one and changes the other.
    Each would wait for the other, and the server would end one of them: the upgrade, after all its work.
    """
    import psycopg

    place = old_place()
    database = place.text.partition("@/")[2].partition("?")[0]
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
    waits += f"(SELECT oid FROM pg_database WHERE datname = '{database}')"
    with (
        ThreadPoolExecutor(1) as beside,
        psycopg.connect(host=str(postgres_server.folder), user="postgres", dbname=database) as search,
    ):
        search.execute(f"SELECT count(*) FROM {tables[0]}")
        upgraded = beside.submit(upgrade_index, place)
        while not postgres_server.execute(waits)[0][0]:
            assert not upgraded.done()
            time.sleep(0.01)
        assert search.execute(f"SELECT count(*) FROM {tables[1]}").fetchone() is not None
        search.rollback()
        assert upgraded.result(60) == ("server_0002", "server_0003")
    check(place)


class StoppedError(Exception):
    """Somebody waited."""


def stopped(text: str, *args: object) -> None:
    raise StoppedError(text % args)


def test_features_on_shards_are_told(postgres_server: PostgresServer, old_place):
    """The upgrade cannot change tables of other servers, and leaves what is here as it is."""
    place = old_place()
    database = place.text.partition("@/")[2].partition("?")[0]
    postgres_server.execute(
        "ALTER TABLE region_feature DROP CONSTRAINT region_feature_pkey, DROP CONSTRAINT region_feature_image_id_fkey",
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE far PARTITION OF region_feature FOR VALUES IN (6) SERVER elsewhere",
        database=database,
    )
    with pytest.raises(StoreError, match=r"are on shards.*docs/scaling.md"):
        upgrade_index(place)
    assert len(graphs(postgres_server, place)) == 6
    with pytest.raises(StoreVersionError, match="has revision server_0002"):
        open_index(place)


def test_an_upgrade_by_a_superuser_leaves_everybody_their_rights(postgres_server: PostgresServer, old_place):
    """The tables are another role's, who writes, and a third only searches. Names of roles may need quotes."""
    place = old_place()
    database = place.text.partition("@/")[2].partition("?")[0]
    writer, reader = f"writes-{database}", f"reads {database}"
    tables = ("image", "model", "rejected", "region_feature", "vpmsearch_version")
    postgres_server.execute(
        *(f'CREATE ROLE "{role}" LOGIN' for role in (writer, reader)),
        f'GRANT ALL ON SCHEMA public TO "{writer}"',
        *(f'ALTER TABLE {table} OWNER TO "{writer}"' for table in tables),
        *(f'GRANT SELECT ON {table} TO "{reader}"' for table in tables),
        database=database,
    )
    assert upgrade_index(place) == ("server_0002", "server_0003")
    with open_index(Place(postgres_server.uri(user=quote(writer), database=database))) as store:
        (added,) = fill(store, make_features(1, seed=9), make_records(1, first=100))
        with store.writer() as work:
            work.remove([added])
            work.commit()
    check(Place(postgres_server.uri(user=quote(reader), database=database)))
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'image_feature'"
    assert postgres_server.execute(owner, database=database) == [(f'"{writer}"',)]


def test_more_regions_than_a_row_holds_are_told(postgres_server: PostgresServer, old_place):
    place = old_place()
    database = place.text.partition("@/")[2].partition("?")[0]
    postgres_server.execute("UPDATE model SET regions_high = 257", database=database)
    with pytest.raises(StoreError, match=r"257 regions .* up to 256 .* in a folder; nothing was changed"):
        upgrade_index(place)
    with pytest.raises(StoreVersionError, match="has revision server_0002"):
        open_index(place)


@pytest.mark.slow
def test_a_killed_upgrade_is_repeated(postgres_server: PostgresServer, old_place):
    """SIGKILL at any moment: what is there is the old index or the new one, and the next upgrade ends the work."""
    states = set()
    for tenth in range(12):
        place = old_place()
        process = subprocess.Popen([sys.executable, "-m", "vpmsearch", "upgrade", "--index", place.text])
        time.sleep(0.8 + 0.1 * tenth)
        process.kill()
        process.wait()
        states.add(upgrade_index(place)[0])
        assert len(graphs(postgres_server, place)) == 6
        check(place)
    assert states <= {"server_0002", "server_0003"}


def test_an_upgrade_says_how_far_it_is(old_place):
    place, built, images = old_place(), [], []
    upgrade_index(place, lambda done, total: built.append((done, total)), images.append)
    visible = int(INFO.visible(old_features().visibility[GONE:]).sum())
    assert images == [48 - GONE]
    assert [total for _, total in built] == 7 * [visible]
    counts = [done for done, _ in built]
    assert (counts[0], counts[-1]) == (0, visible)
    assert sorted(set(counts)) == counts
    built.clear()
    upgrade_index(place, lambda done, total: built.append((done, total)), images.append)
    assert (built, len(images)) == ([], 1)  # there was nothing to do

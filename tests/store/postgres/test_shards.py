"""The recipe of docs/scaling.md for shards behind a coordinator, as it stands there, on three servers.

Needs Debian's PostgreSQL with postgres_fdw (apt-get install postgresql) and pgvector built for it.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import test_upgrade
from galleries import fill, make_records
from postgres_server import PostgresServer, debian_programs, postgres
from test_server import people, recall

from vpmsearch.errors import StoreError
from vpmsearch.search.open import searcher
from vpmsearch.search.server import FeaturesOfNoImageError
from vpmsearch.store import GalleryStore
from vpmsearch.store.open import create_index, open_index, upgrade_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import statements
from vpmsearch.store.postgres.problems import ConnectionLostError
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.store import ServerStore
from vpmsearch.types import Float32, Int64, ModelInfo, RegionFeatures, SearchFilter

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

D = 32
INFO = ModelInfo((6, 1), D, "w")
RECIPE = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")


def recipe(heading: str) -> str:
    """The statements that stand in the documentation under `-- heading`."""
    (found,) = re.findall(rf"```sql\n-- {heading}\n(.*?)```", RECIPE, re.S)
    return found


@dataclass
class Cluster:
    """Three servers, and the index at the coordinator."""

    coordinator: PostgresServer
    shards: list[PostgresServer]
    first: list[int]
    """Images that were there before the shards."""

    @property
    def uri(self) -> str:
        return self.coordinator.uri(database="gallery")


def psql(programs: Path, server: PostgresServer, statements: str) -> None:
    """Run statements as a person would."""
    subprocess.run(
        [programs / "psql", "-h", server.folder, "-U", "postgres", "-d", "gallery", "-q", "-v", "ON_ERROR_STOP=1"],
        input=statements,
        text=True,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An index of 100 images that was then sharded, before the indexes over embeddings."""
    programs = debian_programs()
    if programs is None:
        pytest.skip("needs Debian's PostgreSQL with pgvector and postgres_fdw")
    with ExitStack() as stack:
        servers = [stack.enter_context(postgres(found=programs)) for _ in range(3)]
        for server in servers:
            server.execute("CREATE DATABASE gallery")
        coordinator, *shards = servers
        coordinator.execute("CREATE EXTENSION vector", database="gallery")
        with create_index(coordinator.uri(database="gallery"), INFO) as store:
            first = fill(store, people(100, D), make_records(100))
        dumped = subprocess.run(
            [programs / "pg_dump", "--schema-only", "-h", coordinator.folder, "-U", "postgres", "gallery"],
            text=True,
            check=True,
            capture_output=True,
        ).stdout
        text = recipe("on the coordinator").replace("(user 'me')", "(user 'postgres')")
        for number, shard in enumerate(shards):
            psql(programs, shard, dumped)
            psql(programs, shard, recipe("on each shard"))
            text = text.replace(f"shard{number}.example", str(shard.folder))
        psql(programs, coordinator, text)
        yield Cluster(coordinator, shards, first)


def vector_text(vector: Float32) -> str:
    """A vector as pgvector reads it, every digit of it."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def rows_of(server: PostgresServer) -> int:
    regions = " + ".join(f"count(visibility_{region})" for region in range(6))
    return server.execute(f"SELECT {regions} FROM image_feature", database="gallery")[0][0]


def explained(store: ServerStore, among: Int64 | None) -> str:
    """The plan of Eq. 4 for a query that shows all regions."""
    query = people(1, D, seed=5)
    values = {f"w{r}": float(query.visibility[0, r]) for r in range(6)}
    values |= {f"q{r}": vector_text(query.embeddings[0, r]) for r in range(6)}
    if among is not None:
        values["ids"] = among.tolist()

    def plan(reading: Reading) -> str:
        only = statements.Conditions()
        statement = statements.nearest(reading.layout, range(6), 10, only, among=among is not None)
        return "\n".join(row[0] for row in reading.rows(f"EXPLAIN (VERBOSE, COSTS OFF) {statement}", values))

    return store.snapshot.read(plan)


def test_the_recipe(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Features move to the shards, Eq. 4 is computed there, and answers are those of a folder."""
    monkeypatch.setattr("vpmsearch.search.engine.SCAN_BELOW", 0)
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    queries, more = people(10, D, seed=1), people(500, D, seed=2)
    gallery = RegionFeatures.concatenate([people(100, D), more])
    records = make_records(600)
    with GalleryStore.create(tmp_path / "index", INFO) as folder, open_index(cluster.uri) as store:
        assert isinstance(store, ServerStore)
        assert store.verify().ok
        fill(folder, gallery, records)
        with store.writer() as writer:
            ids = cluster.first + writer.add(records[100:], more)
            writer.commit()
        assert store.verify().ok
        held = [rows_of(shard) for shard in cluster.shards]
        assert sum(held) == INFO.visible(gallery.visibility).sum()
        assert min(held) > 0.4 * sum(held)
        for shard in cluster.shards:
            indexes = recipe("on each shard, when it is filled")
            each = [indexes.replace("hnsw_0", f"hnsw_{r}").replace("embedding_0", f"embedding_{r}") for r in range(6)]
            shard.execute(*each, "ANALYZE image_feature", database="gallery")
            nearest = f"embedding_1 <-> '{vector_text(queries.embeddings[0, 1])}'"
            plan = shard.execute(
                "SET enable_seqscan = off",
                "SET enable_sort = off",
                f"EXPLAIN SELECT * FROM image_feature WHERE (visibility_1 IS NOT NULL) ORDER BY {nearest}",
                database="gallery",
            )
            assert "Index Scan using ann_hnsw_1" in plan[0][0]

        for among in (None, np.array(ids[:300], np.int64)):
            plan = explained(store, among)
            remote = re.findall(r"Remote SQL: (.*)", plan)
            assert len(remote) == 2
            for sql in remote:
                assert "<->" in sql.partition("ORDER BY")[2]
            assert "Merge Append" in plan
            assert "Sort  " not in plan  # none of it is left for here

        ours, theirs = searcher(folder), searcher(store)
        for asked in (people(16, D, seed=3), queries):  # so many are compared here, few on the shards
            exact = theirs.search(asked, 10, True)
            for result, right in zip(exact, ours.search(asked, 10, True), strict=True):
                assert result.complete
                assert result.candidates == 600
                assert [match.path for match in result.matches] == [match.path for match in right.matches]
                for a, b in zip(result.matches, right.matches, strict=True):
                    assert a.distance == pytest.approx(b.distance, rel=1e-5)
                    assert [r.distance for r in a.regions] == pytest.approx([r.distance for r in b.regions], rel=1e-5)
        found = theirs.search(queries, 10)
        assert recall(found, exact) >= 0.99
        assert all(result.depth for result in found)
        only = SearchFilter(camids=(1,), pids=(2, 3))
        for result, right in zip(
            theirs.search(queries, 10, filter=only), ours.search(queries, 10, True, filter=only), strict=True
        ):
            assert len(result.matches) == len(right.matches) == 10
        features = store.snapshot.features_of(ids[:50])
        seen = INFO.visible(features.visibility)
        assert (features.embeddings[seen] == gallery.embeddings[:50][seen]).all()

        with store.writer() as writer:
            assert writer.remove(ids[:60]) == 60
            writer.commit()
        assert sum(rows_of(shard) for shard in cluster.shards) == INFO.visible(gallery.visibility[60:]).sum()
        assert store.verify().ok
        assert all(len(result.matches) == 10 for result in theirs.search(queries, 10))


def test_a_shard_that_is_down_is_an_error_and_never_a_part_of_the_answer(cluster: Cluster):
    query = people(1, D, seed=3)
    with open_index(cluster.uri) as store:
        engine = searcher(store)
        before = [engine.search(query, 5, exact)[0].matches for exact in (True, False)]
        images = len(store.live_files())
        cluster.shards[1].kill()
        try:
            for exact in (True, False):
                with pytest.raises(StoreError) as caught:
                    engine.search(query, 5, exact)
                assert not isinstance(caught.value, ConnectionLostError)  # which would be tried again for long
                assert "\n" not in str(caught.value)
                assert "shard1" in str(caught.value) or str(cluster.shards[1].folder) in str(caught.value)
            with pytest.raises(StoreError):
                fill(store, people(20, D, seed=4), make_records(20, first=9000))
        finally:
            cluster.shards[1].start()
        assert [engine.search(query, 5, exact)[0].matches for exact in (True, False)] == before
        assert len(store.live_files()) == images
        assert store.verify().ok


def test_features_of_no_image_are_told(cluster: Cluster):
    """As a coordinator leaves them that dies between two commits."""
    query = people(1, D, seed=6)
    with open_index(cluster.uri) as store:
        vector = vector_text(query.embeddings[0, 0])
        add = f"INSERT INTO image_feature (image_id, visibility_0, embedding_0) VALUES (1000000, 1, '{vector}')"
        cluster.coordinator.execute(add, database="gallery")
        with pytest.raises(
            FeaturesOfNoImageError, match="features of image 1000000 and not the image; while nobody writes: DELETE"
        ) as told:
            searcher(store).search(query, 1, True)
        assert "belong to no image; while nobody writes: DELETE" in store.verify().problems[0]
        cluster.coordinator.execute(str(told.value).partition("nobody writes: ")[2], database="gallery")
        assert store.verify().ok
        assert searcher(store).search(query, 1, True)[0].matches


def test_searches_beside_a_writer_are_whole(cluster: Cluster):
    """Also where a shard shows a commit that the coordinator does not show yet."""
    query, added = people(1, D, seed=7), people(300, D, seed=8)
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            with open_index(cluster.uri) as store:
                for start in range(0, 300, 10):
                    fill(store, added[start : start + 10], make_records(10, first=20_000 + start))
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    with open_index(cluster.uri) as store:
        engine = searcher(store)
        writing = threading.Thread(target=write)
        writing.start()
        while not done.is_set():
            for exact in (True, False):
                assert len(engine.search(query, 10, exact)[0].matches) == 10
        writing.join()
        assert failures == []
        assert store.verify().ok


OLD_SHARD = """
CREATE TABLE region_feature_here (LIKE region_feature INCLUDING ALL);
DROP TABLE region_feature;
ALTER TABLE region_feature_here RENAME TO region_feature;
TRUNCATE region_feature;
"""
OLD_COORDINATOR = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER shard0 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'shard0.example', dbname 'old');
CREATE SERVER shard1 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'shard1.example', dbname 'old');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard0 OPTIONS (user 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard1 OPTIONS (user 'postgres');
ALTER TABLE region_feature RENAME TO region_feature_here;
CREATE TABLE region_feature (LIKE region_feature_here) PARTITION BY HASH (image_id);
CREATE FOREIGN TABLE region_feature_shard0 PARTITION OF region_feature
    FOR VALUES WITH (MODULUS 2, REMAINDER 0) SERVER shard0 OPTIONS (table_name 'region_feature');
CREATE FOREIGN TABLE region_feature_shard1 PARTITION OF region_feature
    FOR VALUES WITH (MODULUS 2, REMAINDER 1) SERVER shard1 OPTIONS (table_name 'region_feature');
INSERT INTO region_feature SELECT * FROM region_feature_here;
DROP TABLE region_feature_here;
CREATE FUNCTION forget_features() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN DELETE FROM region_feature WHERE image_id = ANY (ARRAY(SELECT id FROM gone)); RETURN NULL; END';
CREATE TRIGGER forget_features AFTER DELETE ON image REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_features();
UPDATE model SET index_type = 'flat', built = 'hnsw', version = version + 1;
"""
"""The recipe as it stood in docs/scaling.md for server_0002."""


def test_shards_of_an_older_version_are_told_and_brought_back(cluster: Cluster):
    old = test_upgrade.OLD.read_text(encoding="utf-8")
    text = OLD_COORDINATOR
    for number, shard in enumerate(cluster.shards):
        shard.execute("CREATE DATABASE old")
        shard.execute("CREATE EXTENSION vector", old, OLD_SHARD, database="old")
        text = text.replace(f"shard{number}.example", str(shard.folder))
    coordinator = cluster.coordinator
    coordinator.execute("CREATE DATABASE old")
    coordinator.execute("CREATE EXTENSION vector", old, text, database="old")
    place = Place(coordinator.uri(database="old"))
    with pytest.raises(StoreError, match="on shards, whose tables no upgrade changes"):
        upgrade_index(place)
    coordinator.execute(recipe("on a coordinator of version server_0002"), database="old")
    assert upgrade_index(place) == ("server_0002", "server_0003")
    test_upgrade.check(place)

"""What only a server has: its indexes, several writers, its errors, and both stores side by side."""

from __future__ import annotations

import io
import struct
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from galleries import INFO, fill, make_calibration, make_features, make_records
from oracles import visibility_weighted_distance
from postgres_server import PostgresServer

from vpmsearch.errors import DataError, ModelError, StoreDamagedError, StoreError, StoreNotFoundError, StoreVersionError
from vpmsearch.search.open import searcher
from vpmsearch.store.migrations import _config
from vpmsearch.store.open import create_index, open_index, upgrade_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres import connection, encoding, features, schema, statements
from vpmsearch.store.postgres.connection import Server
from vpmsearch.store.postgres.problems import ConnectionLostError
from vpmsearch.store.postgres.reading import Reading
from vpmsearch.store.postgres.store import ServerStore
from vpmsearch.store.postgres.streaming import StreamedImages
from vpmsearch.types import ImageRecord, ModelInfo, RegionFeatures, SearchFilter

pytest.importorskip("psycopg", reason="needs pip install 'vpmsearch[postgres]'")
pytestmark = pytest.mark.postgres


def people(n: int, d: int, seed: int = 0, identities: int = 150) -> RegionFeatures:
    """Images of people: an identity's embeddings lie together, as a model's do; whole bodies, half of them cut."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(identities, 6, d))
    embeddings = centres[rng.integers(0, identities, n)] + 0.5 * rng.normal(size=(n, 6, d))
    visibility = rng.dirichlet(np.full(6, 12.0), n)
    visibility[::2, 3:] *= 0.02
    visibility /= visibility.sum(axis=1, keepdims=True)
    return RegionFeatures(visibility.astype(np.float32), embeddings.astype(np.float32))


def recall(found, exact) -> float:
    """Of the exact matches, ties being as good."""
    shares = [
        sum(match.distance <= right.matches[-1].distance for match in ours.matches) / len(right.matches)
        for ours, right in zip(found, exact, strict=True)
    ]
    return float(np.mean(shares))


# both stores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
def test_both_stores_give_the_same_answers(server_place, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("vpmsearch.search.engine.SCAN_BELOW", 0)
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    gallery, queries = people(300, 32), people(5, 32, seed=1)
    info = ModelInfo((6, 1), 32, "w")
    answers = []
    for place in (Place(str(tmp_path / "index")), server_place):
        with create_index(place, info, embedding_dtype=dtype) as store:
            fill(store, gallery)
            engine = searcher(store)
            answers.append([engine.search(queries, 10, exact) for exact in (True, False)])
    for ours, theirs in zip(*answers, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a.candidates > 0, a.exact, a.complete) == (b.candidates > 0, b.exact, b.complete)
            assert [m.path for m in a.matches] == [m.path for m in b.matches]
            for x, y in zip(a.matches, b.matches, strict=True):
                assert y.distance == pytest.approx(x.distance, rel=1e-5)
                assert [r.region for r in x.regions] == [r.region for r in y.regions]
                assert [r.weight for r in y.regions] == pytest.approx([r.weight for r in x.regions], rel=1e-6)
                assert [r.distance for r in y.regions] == pytest.approx([r.distance for r in x.regions], rel=1e-5)


@pytest.mark.parametrize("kind", ["hnsw", "ivf-flat"])
def test_a_query_beyond_float16_is_answered_by_comparing_all(server_place, monkeypatch, kind):
    """Until now the server refused it, as its index holds float16: "out of range for type halfvec"."""
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    gallery = make_features(40)
    with create_index(server_place, INFO, embedding_dtype="float16", index_type=kind) as store:
        ids = fill(store, gallery)
        stored = gallery.embeddings.astype(np.float16).astype(np.float64)
        for largest, listed in ((65504.0, True), (65505.0, False), (-1e12, False)):
            query = RegionFeatures(np.array([[1, 0, 0, 0, 0, 0]], np.float32), np.zeros((1, 6, 8), np.float32))
            query.embeddings[0, 0, 2] = largest
            query.embeddings[0, 1] = 1e15  # not visible
            found = searcher(store).search(query, 5)[0]
            assert bool(found.depth) == listed
            shown = np.flatnonzero(INFO.visible(gallery.visibility)[:, 0])
            right = np.sort([np.linalg.norm(query.embeddings[0, 0] - stored[row, 0]) for row in shown])[:5]
            np.testing.assert_allclose([match.distance for match in found.matches], right, rtol=1e-6)
            assert {match.image_id for match in found.matches} <= {ids[row] for row in shown}


def strictly(found):
    return [[(m.image_id, m.distance) for m in result.matches] for result in found]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_many_exact_queries_share_a_reading(server_place, monkeypatch, dtype):
    """They are compared in this process, and the answers are those of the server, one by one."""
    monkeypatch.setattr("vpmsearch.store.postgres.streaming._LISTED", 7)
    monkeypatch.setattr("vpmsearch.search.distances.BLOCK_ROWS", 16)
    gallery, queries = make_features(60), make_features(20, seed=1)
    gallery.embeddings[11] = gallery.embeddings[10]  # a tie
    gallery.visibility[11] = gallery.visibility[10]
    gallery.visibility[12] = 0  # shows nothing
    queries.visibility[3] = 0
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    records = [replace(record, captured_at=noon + timedelta(hours=i)) for i, record in enumerate(make_records(60))]
    filters = (
        SearchFilter(),
        SearchFilter(camids=(1,)),
        SearchFilter(captured_after=noon + timedelta(hours=20)),
        SearchFilter(captured_after=noon + timedelta(hours=5), captured_before=noon + timedelta(hours=40)),
        SearchFilter(path_prefix="/g/cam2/"),
        SearchFilter(pids=(99,)),
    )
    with ServerStore.create(server_place, INFO, embedding_dtype=dtype) as store:
        engine = searcher(store)
        assert strictly(engine.search(queries, 5, True)) == [[]] * 20  # nothing is there
        ids = fill(store, gallery, records)
        for wanted in filters:
            monkeypatch.setattr("vpmsearch.search.server.SCAN_BATCH", 21)
            alone = engine.search(queries, 70, True, filter=wanted)
            monkeypatch.setattr("vpmsearch.search.server.SCAN_BATCH", 20)
            together = engine.search(queries, 70, True, filter=wanted)
            for one, other in zip(alone, together, strict=True):
                assert (one.candidates, one.exact, one.complete) == (other.candidates, other.exact, other.complete)
                assert [m.image_id for m in one.matches] == [m.image_id for m in other.matches]
                for x, y in zip(one.matches, other.matches, strict=True):
                    assert y.distance == pytest.approx(x.distance, rel=1e-5)
                    assert x.regions == y.regions
        assert together[0].matches == ()
        assert ids[12] not in [m.image_id for result in engine.search(queries, 70, True) for m in result.matches]


def test_features_that_are_missing_are_no_distance(postgres_server, server_store, server_place):
    ids = fill(server_store, make_features(20))
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    postgres_server.execute(f"DELETE FROM {where}.image_feature WHERE image_id = {ids[4]}")
    with pytest.raises(StoreDamagedError, match=f"lacks features of an image from {ids[0]} to {ids[-1]}"):
        searcher(server_store).search(make_features(16, seed=1), 3, exact=True)


def test_features_that_are_missing_for_a_moment_are_waited_for(server_store, monkeypatch):
    """On shards a removal shows there before it shows at the coordinator."""
    ids = fill(server_store, make_features(20))
    engine, queries, begun = searcher(server_store), make_features(16, seed=1), []
    right, whole = engine.search(queries, 3, exact=True), Reading.embeddings

    def embeddings(self, image_ids):
        found = whole(self, image_ids)
        begun.append(self)
        return replace(found, count=found.count - (self is begun[0]))  # the first transaction misses one

    monkeypatch.setattr(Reading, "embeddings", embeddings)
    assert strictly(engine.search(queries, 3, exact=True)) == strictly(right)
    assert begun[-1] is not begun[0]
    assert len(ids) == 20


def test_blocks_are_bounded_by_bytes(server_store, monkeypatch):
    fill(server_store, make_features(20))
    monkeypatch.setattr("vpmsearch.store.postgres.streaming._BLOCK_BYTES", 7 * 4 * 6 * 8 + 1)

    def sizes(reading):
        return [len(rows) for rows, _ in StreamedImages(reading, SearchFilter()).blocks(10**6)]

    assert server_store.snapshot.read(sizes) == [7, 7, 6]


def test_an_older_view_is_not_put_over_a_newer_one(server_store, server_place, monkeypatch):
    looks, look = [], server_store._look

    def slow():
        view = look()
        looks.append(view)
        if len(looks) == 1:  # this one takes so long that another commit, and a look at it, come between
            fill(server_store, make_features(3))
            assert server_store.snapshot is looks[-1]
        return view

    with open_index(server_place) as other:
        fill(other, make_features(2), make_records(2, first=50))
    monkeypatch.setattr(server_store, "_look", slow)
    assert not server_store.refresh()  # nothing since that other look
    assert len(server_store.snapshot) == 5
    assert server_store.snapshot.state == looks[-1].state != looks[0].state


# indexes over embeddings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hnsw", pytest.param("ivf-flat", marks=pytest.mark.slow)])
def test_an_index_over_embeddings_finds_nearly_all(server_place, monkeypatch, kind):
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    gallery, queries = people(500, 16), people(10, 16, seed=1)
    with ServerStore.create(server_place, ModelInfo((6, 1), 16, "w"), index_type=kind) as store:
        ids = fill(store, gallery)
        assert store.stats().region_index_types == [[kind]] * 6
        assert store.stats().bytes_on_disk["region_indexes"] > 0
        engine = searcher(store)
        exact, found = engine.search(queries, 10, True), engine.search(queries, 10)
        assert recall(found, exact) >= 0.99
        assert not any(result.complete for result in found if result.candidates < 500)
        assert all(result.depth for result in found)
        more = fill(store, people(8, 16, seed=2), make_records(8, first=5000))
        own = searcher(store).search(people(8, 16, seed=2), 1)
        assert [result.matches[0].image_id for result in own] == more
        # A filter that leaves few never leaves fewer than there are.
        only = SearchFilter(pids=(3,), path_prefix="/g/cam1/")
        kept = {i for i, r in zip(ids, make_records(500), strict=True) if r.pid == 3 and r.camid == 1}
        for result in engine.search(queries[:3], len(kept), filter=only):
            assert len(result.matches) == len(kept)
            assert {match.image_id for match in result.matches} <= kept | set(more)


def test_the_last_writer_to_leave_builds_the_indexes(server_place):
    with ServerStore.create(server_place, INFO, index_type="hnsw") as store:
        with store.writer() as first:
            first.add(make_records(30), make_features(30))
            first.commit()
            fill(store, make_features(5), make_records(5, first=100))
            assert store.stats().region_index_types == [["flat"]] * 6
        assert store.stats().region_index_types == [["hnsw"]] * 6
        assert store.verify().ok


def test_how_far_the_indexes_are_is_told_and_that_memory_is_short(server_place, caplog):
    options = "&options=-cmaintenance_work_mem%3D1MB%20-csearch_path%3D"
    short = Place(server_place.text.replace("&options=-csearch_path%3D", options))
    assert short != server_place
    told: list[tuple[int, int]] = []
    features = make_features(2000, p=2, d=16)
    with (
        ServerStore.create(short, ModelInfo((2, 1), 16, "w", min_visibility=0), index_type="hnsw") as store,
        store.writer(on_build=lambda done, total: told.append((done, total))) as writer,
    ):
        writer.add(make_records(2000), features)
        writer.commit()
        assert not told
    upper, lower = (features.visibility > 0).sum(axis=0).tolist()
    assert told == [(0, upper + lower), (upper, upper + lower), (upper + lower, upper + lower)]
    warnings = [record.getMessage() for record in caplog.records if record.name == "vpmsearch.store.postgres"]
    assert warnings
    assert all("more maintenance_work_mem (hnsw graph no longer fits" in text for text in warnings)


def test_large_embeddings_are_indexed_in_half_precision(server_place, new_place, monkeypatch):
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    gallery = make_features(40, p=1, d=2100)
    info = ModelInfo(1, 2100, "w", min_visibility=0)
    with ServerStore.create(server_place, info, index_type="hnsw") as store:
        ids = fill(store, gallery)
        found = searcher(store).search(gallery[:5], 3)
        assert [result.matches[0].image_id for result in found] == ids[:5]
        assert [result.matches[0].distance for result in found] == [0] * 5
        assert (store.snapshot.features_of(ids).embeddings == gallery.embeddings).all()
    with pytest.raises(ModelError, match="up to 4000 numbers, not 4001"):
        ServerStore.create(new_place(), ModelInfo(1, 4001, "w"))
    with ServerStore.create(new_place(), ModelInfo(1, 4001, "w"), index_type="flat") as store:
        fill(store, make_features(2, p=1, d=4001))
        assert store.verify().ok


@pytest.mark.parametrize(
    ("dtype", "d", "moved"), [("float32", 256, False), ("float32", 512, True), ("float16", 512, False)]
)
def test_a_row_leaves_its_page_only_where_it_must(
    postgres_server: PostgresServer, server_place, monkeypatch, dtype, d, moved
):
    """Six embeddings of 512 float32 are more than a page of 8 KiB: some are kept out of line, and all are found."""
    monkeypatch.setattr("vpmsearch.search.server.SCAN_BELOW", 0)
    gallery, queries = people(60, d), people(4, d, seed=1)
    gallery.visibility[:] = 1 / 6  # all regions of all images
    with ServerStore.create(server_place, ModelInfo((6, 1), d, "w"), embedding_dtype=dtype, index_type="hnsw") as store:
        ids = fill(store, gallery)
        assert store.verify().ok
        stored = gallery.embeddings.astype(dtype).astype(np.float64)
        assert (store.snapshot.features_of(ids).embeddings == stored).all()
        counted = np.where(store.model_info.visible(queries.visibility), queries.visibility, np.float32(0))
        right = visibility_weighted_distance(queries.embeddings, counted, stored, gallery.visibility)
        for exact in (True, False):
            for row, found in enumerate(searcher(store).search(queries, 60, exact)):
                assert [match.image_id for match in found.matches] == [ids[i] for i in np.argsort(right[row])]
                assert [match.distance for match in found.matches] == pytest.approx(np.sort(right[row]), rel=1e-6)
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    beside = "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = "
    assert postgres_server.execute(f"{beside} '{where}.image_feature'::regclass") == [(moved,)]


@pytest.mark.parametrize(("dtype", "d"), [("float16", 8), ("float32", 5), ("float32", 33)])
def test_a_row_holds_as_many_regions_as_are_allowed(server_place, new_place, dtype, d):
    """A row must fit a page: with a pointer for each embedding that was moved out, or with all that are too short to
    move, of 24 bytes at most (8 numbers of float16).
    """
    p = features.MOST_REGIONS
    full = RegionFeatures(np.full((2, p), 1 / p, np.float32), make_features(2, p, d).embeddings)
    info = ModelInfo((p, 1), d, "w", min_visibility=1e-6)
    with ServerStore.create(server_place, info, embedding_dtype=dtype) as store:
        fill(store, full)
        assert store.verify().ok
        (found,) = searcher(store).search(full[1:], 1)
        assert (found.matches[0].image_id, found.matches[0].distance) == (2, pytest.approx(0, abs=0.01))
    with pytest.raises(ModelError, match=rf"up to {p} regions, not {p + 1}; .* a folder"):
        ServerStore.create(new_place(), ModelInfo((p + 1, 1), d, "w"))


def test_a_statement_grows_with_the_regions_and_not_with_their_square():
    """The server reads and plans it for every query."""
    lengths = [
        len(statements.candidates(features.Layout("vector", 8, "hnsw"), range(p), 50, statements.conditions(None)))
        for p in (32, 64, 128)
    ]
    assert lengths[2] - lengths[1] < 3 * (lengths[1] - lengths[0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_copied_rows_hold_null_for_what_is_not_visible(dtype):
    """Read back by the layout that PostgreSQL's manual gives, a byte after the other."""
    features, ids = make_features(5, p=3, d=4), np.array([7, 8, 2**40, 10, 11])
    visible = features.visibility > 0.1
    visible[1], visible[2] = False, True
    features.embeddings[~visible] = 1e30  # beyond float16
    data = io.BytesIO(encoding.feature_rows(ids, features, visible, dtype))

    def number(kind: str) -> float:
        return struct.unpack(f">{kind}", data.read(struct.calcsize(kind)))[0]

    kind, size = ("f", 4) if dtype == "float32" else ("e", 2)
    for row, image_id in enumerate(ids.tolist()):
        assert (number("h"), number("i"), number("q")) == (7, 8, image_id)
        for region in range(3):
            if visible[row, region]:
                assert (number("i"), number("f")) == (4, features.visibility[row, region])
                assert (number("i"), number("h"), number("h")) == (4 + 4 * size, 4, 0)
                values = np.array([number(kind) for _ in range(4)])
                assert (values == features.embeddings[row, region].astype(dtype)).all()
            else:
                assert (number("i"), number("i")) == (-1, -1)
    assert data.read() == b""
    assert encoding.feature_rows(ids[:0], features[:0], visible[:0], dtype) == b""


# several writers --------------------------------------------------------------------------------------------------


def test_writers_that_take_the_same_files_at_once(server_place):
    features = make_features(40)
    records = make_records(40)
    with ServerStore.create(server_place, INFO) as store:
        failures = []

        def write(order: list[int]) -> None:
            try:
                for start in range(0, 40, 8):
                    rows = order[start : start + 8]
                    fill(store, features[rows], [records[row] for row in rows])
            except Exception as error:
                failures.append(error)

        orders = [list(range(40)), list(reversed(range(40))), [(7 * i) % 40 for i in range(40)]]
        threads = [threading.Thread(target=write, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(store.live_files()) == sorted(record.path for record in records)
        assert store.verify().ok


def test_a_commit_whose_answer_was_lost_can_be_repeated(server_store, monkeypatch):
    with server_store.writer() as writer:
        ids = writer.add([ImageRecord("a"), ImageRecord("b")], make_features(2))
        forget = writer._forget
        monkeypatch.setattr(writer, "_forget", lambda: None)
        writer.commit()
        monkeypatch.setattr(writer, "_forget", forget)
        writer.commit()
    assert server_store.snapshot.image_ids.tolist() == ids
    assert server_store.verify().ok


def test_an_index_that_is_replaced_is_not_mistaken_for_the_old_one(postgres_server, server_store, server_place):
    fill(server_store, make_features(3))
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    with server_store.writer() as writer:
        writer.add(make_records(1, first=9), make_features(1))
        postgres_server.execute(f"DROP SCHEMA {where} CASCADE", f"CREATE SCHEMA {where}")
        create_index(server_place, ModelInfo((3, 1), 4, "other")).close()
        with pytest.raises(StoreError):
            writer.commit()
    for look in (server_store.refresh, server_store.verify, lambda: searcher(server_store).search(make_features(1))):
        with pytest.raises(StoreError, match="another index has come to be at"):
            look()


# looking after ----------------------------------------------------------------------------------------------------


def test_verify_finds_what_was_not_written(postgres_server: PostgresServer, server_store, server_place):
    ids = fill(server_store, make_features(30))
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    table = f"{where}.image_feature"
    first, region = postgres_server.execute(
        f"SELECT image_id, (visibility_1 IS NOT NULL)::int FROM {table} "
        "WHERE (visibility_0 IS NULL) <> (visibility_1 IS NULL) ORDER BY 1 LIMIT 1"
    )[0]
    seen, unseen, own = f"embedding_{region}", f"_{1 - region}", f"WHERE image_id = {first}"
    columns = ", ".join(f"{name}_{r} = c.{name}_{r}" for name in ("visibility", "embedding") for r in range(6))
    back = f"UPDATE {table} f SET {columns} FROM {where}.copy c WHERE c.image_id = f.image_id"
    postgres_server.execute(f"CREATE TABLE {where}.copy AS SELECT * FROM {table}")
    for change in (
        f"UPDATE {table} SET {seen} = {seen} * {seen} {own}",
        f"UPDATE {table} SET {seen} = NULL {own}",
        f"UPDATE {table} SET visibility{seen[9:]} = 0.5 {own}",
        f"UPDATE {table} SET visibility{seen[9:]} = NULL {own}",
        f"UPDATE {table} SET visibility{unseen} = 0.01 {own}",
        f"UPDATE {table} SET embedding{unseen} = {seen} {own}",
    ):
        postgres_server.execute(change)
        report = server_store.verify()
        assert not report.ok, change
        assert "1 image differ from what" in report.problems[0], change
        assert f"first: image {first})" in report.problems[0]
        postgres_server.execute(back)
        assert server_store.verify().ok
    damages = [
        (f"DELETE FROM {table} {own}", "differ from what"),
        (f"UPDATE {where}.image SET visibility[2] = 0.123 WHERE id = {ids[9]}", f"first: image {first}"),
        (f"UPDATE {where}.image SET visibility = '{{0.5}}' WHERE id = {ids[9]}", "impossible visibility"),
    ]
    for statement, problem in damages:
        postgres_server.execute(statement)
        report = server_store.verify()
        assert not report.ok
        assert problem in report.problems[0]
    assert not server_store.snapshot.is_sound(first)


def test_a_changed_calibration_is_found(postgres_server: PostgresServer, server_store, server_place):
    server_store.keep_calibration(make_calibration())
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    postgres_server.execute(f"UPDATE {where}.model SET calibration = replace(calibration, '1.25', '9.25')")
    with pytest.raises(StoreDamagedError, match=r"calibration of .* is damaged; run `vpmsearch calibrate` again"):
        server_store.calibration()
    assert "is damaged; run `vpmsearch calibrate` again" in server_store.verify().problems[0]
    server_store.keep_calibration(make_calibration())
    assert server_store.verify().ok


def test_a_removal_erases_the_features(postgres_server: PostgresServer, server_store, server_place):
    ids = fill(server_store, make_features(10))
    with server_store.writer() as writer:
        writer.remove(ids)
        writer.commit()
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    assert postgres_server.execute(f"SELECT count(*) FROM {where}.image_feature") == [(0,)]


def test_the_revision_is_the_newest_migration(server_store):
    from alembic.script import ScriptDirectory

    with server_store.server.change() as connection:
        assert ScriptDirectory.from_config(_config(connection)).get_current_head() == schema.REVISION


# what goes wrong, in one line -------------------------------------------------------------------------------------


def message_of(place: Place, error: type[StoreError] = StoreError) -> str:
    with pytest.raises(error) as caught:
        open_index(place)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "uri", ["mysql://u:secret@h/d", "postgresql+psycopg://u:secret@h", "postgresql+asyncpg://u:secret@h/d", "x://"]
)
def test_a_uri_that_names_no_index(uri):
    assert "names no index: give a folder, or a database as postgresql+psycopg://user@host/database" in message_of(
        Place(uri)
    )


def test_nobody_answers():
    for uri in ("postgresql://u:secret@127.0.0.1:1/d", "postgresql://u@/d?host=/nowhere&password=secret"):
        assert "does not answer" in message_of(Place(uri))


def test_a_database_that_is_not_there(postgres_server: PostgresServer):
    assert "createdb" in message_of(Place(postgres_server.uri(database="nobodys")))


def test_a_role_without_rights(postgres_server: PostgresServer, server_store, server_place):
    postgres_server.execute("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'secret'")
    guest = Place(server_place.text.replace("postgres@", "guest:secret@"))
    where = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    # Without a right to the schema its tables are not there for anybody to see.
    assert "there is no index at" in message_of(guest, StoreNotFoundError)
    with pytest.raises(StoreError, match=r"lacks a right|no schema to create tables in"):
        create_index(guest, INFO)
    postgres_server.execute(f"GRANT USAGE ON SCHEMA {where} TO guest")
    assert "lacks a right (permission denied for" in message_of(guest)
    postgres_server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {where} TO guest")
    with open_index(guest) as store:  # enough to search
        assert searcher(store).search(make_features(1))[0].matches == ()
        with pytest.raises(StoreError, match="lacks a right"):
            fill(store, make_features(1))
    postgres_server.execute("DROP OWNED BY guest", "DROP ROLE guest")


def test_a_database_without_the_extension(postgres_server: PostgresServer, server_store):
    postgres_server.execute("CREATE DATABASE bare TEMPLATE template0", "CREATE ROLE modest LOGIN")
    postgres_server.execute("GRANT ALL ON SCHEMA public TO modest", database="bare")
    place = Place(postgres_server.uri(database="bare", user="modest"))
    try:
        with pytest.raises(StoreError, match="may not create the extension vector; have a superuser run CREATE EXT"):
            create_index(place, INFO)
        message_of(place, StoreNotFoundError)  # nothing was left behind
    finally:
        postgres_server.execute("DROP DATABASE bare WITH (FORCE)", "DROP ROLE modest")


def test_other_versions(server_store, server_place, monkeypatch):
    for name, value, text in (
        ("OLDEST_SERVER", 99, "runs PostgreSQL .* needs 99 or newer"),
        ("OLDEST_PGVECTOR", (9, 1, 0), "needs 9.1.0 or newer: ALTER EXTENSION vector UPDATE"),
        ("REVISION", "server_0004", "has revision server_0003 and .* needs server_0004; run `vpmsearch upgrade`"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(schema, name, value)
            with pytest.raises(StoreVersionError, match=text):
                open_index(server_place)


def test_an_index_that_names_no_revision_is_not_upgraded(postgres_server: PostgresServer, server_store, server_place):
    schema_name = server_place.text.partition("search_path%3D")[2].partition("%2C")[0]
    postgres_server.execute(f"DELETE FROM {schema_name}.vpmsearch_version")
    with pytest.raises(StoreVersionError, match="has revision none"):
        upgrade_index(server_place)


def test_other_tables_of_the_same_names(postgres_server: PostgresServer, new_place):
    place = new_place()
    where = place.text.partition("search_path%3D")[2].partition("%2C")[0]
    postgres_server.execute(f"CREATE TABLE {where}.model (a int)")
    with pytest.raises(StoreError, match="other tables of the same names"):
        create_index(place, INFO)


def test_a_server_that_stops_answering(server_store, postgres_server: PostgresServer):
    fill(server_store, make_features(3))
    with server_store.writer() as writer:
        writer.add(make_records(2, first=10), make_features(2))
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )
        for _ in range(2):  # the second chance is none either
            with pytest.raises(ConnectionLostError, match="does not answer"):
                writer.commit()
        with pytest.raises(ConnectionLostError, match="does not answer"):
            writer.remove([1])
    assert len(server_store.snapshot) == 3


def test_a_writer_finds_out_that_it_was_lost_though_nothing_is_pending(server_store, postgres_server: PostgresServer):
    fill(server_store, make_features(3))
    with server_store.writer() as writer:
        writer.commit()
        postgres_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )
        assert len(server_store.live_files()) == 3  # a read finds a new connection
        with pytest.raises(ConnectionLostError, match="does not answer"):
            writer.commit()


def test_a_shard_that_is_lost_is_no_lost_connection(server_store, monkeypatch):
    """The server says so while it answers; to ask again would cost half a minute."""
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: pytest.fail("it was tried again"))
    raising = "DO $$ BEGIN RAISE 'could not connect to server \"shard1\"' USING ERRCODE = '{}'; END $$"
    for state in ("08001", "08006", "57P01"):
        with pytest.raises(StoreError, match="shard1") as caught:
            server_store.server.read(lambda cursor, state=state: cursor.execute(raising.format(state)))
        assert not isinstance(caught.value, ConnectionLostError)


def test_a_value_that_no_server_takes_is_no_lost_connection(server_store, monkeypatch):
    monkeypatch.setattr(connection.time, "sleep", lambda seconds: pytest.fail("it was tried again"))
    for prefix in ("a\0b", "a\udc80"):
        with pytest.raises(DataError, match="no path starts with"):
            SearchFilter(path_prefix=prefix)
    with pytest.raises(StoreError, match="NUL") as caught:
        server_store.find(paths=["a\0b"])
    assert not isinstance(caught.value, ConnectionLostError)


# encoding ---------------------------------------------------------------------------------------------------------


def test_cells_hold_what_falls_into_them():
    rng = np.random.default_rng(0)
    visibility = np.concatenate([rng.dirichlet(np.full(6, 0.3), 500), np.eye(6), np.zeros((1, 6))]).astype(np.float32)
    visibility[rng.random(visibility.shape) < 0.2] = 0
    visibility[0, 0], visibility[1, 1], visibility[2, 2] = 1.0009, 2.0**-8, 1e-30
    found = encoding.cells(visibility)
    low, high = encoding.cell_ranges(found, 6)
    assert (visibility >= low.T).all()
    assert (visibility <= high.T).all()
    assert ((high.T > 0) == (visibility > 0)).all()
    wide = (visibility > 2.0**-8) & (visibility <= 1)
    assert (high.T[wide] / low.T[wide] < 1.27).all()


def test_a_password_is_never_shown():
    for text in ("postgresql://u:se%40cret@h:5432/d?x=y", "postgresql://u@h/d?password=se%40cret&x=y"):
        place = Place(text)
        assert place.is_server
        assert "cret" not in f"{place} {place!r}"
        assert "***" in str(place)
    assert str(Place("indexes/a")) == "indexes/a"
    assert Place("C:/a").folder is not None
    with pytest.raises(StoreError) as caught:
        Server(Place("postgresql+nothing://u:secret@h/d"))
    assert "secret" not in str(caught.value)

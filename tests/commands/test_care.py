"""stats, verify, remove, compact, snapshot, restore, upgrade."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vpmsearch.store import GalleryStore, verify


def numbers(index: Path) -> list[int]:
    """The numbers in the names of the images that are left."""
    with GalleryStore.open(index) as store:
        return sorted(int(Path(path).stem) for path in store.live_files())


def test_stats(cli, index: Path, gallery: Path, weights: Path):
    (found,) = cli("stats", "--index", index, "--json").json
    assert (found["images"], found["removed"], found["rejected"], found["segments"]) == (6, 0, 0, 1)
    assert (found["identities"], found["cameras"]) == (3, 2)
    assert found["model"]["weights"] == str(weights)
    *kinds, total = found["bytes_on_disk"].values()
    assert total == sum(kinds) >= sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    assert len(found["region_images"]) == len(found["region_visibility"]) == 6
    assert sum(found["region_visibility"]) == pytest.approx(1, abs=1e-4)
    plain = cli("stats", "--index", index).stdout.splitlines()
    assert "images: 6" in plain
    assert len(plain) == len(found)


def test_verify_of_a_sound_index(cli, index: Path):
    outcome = cli("verify", "--index", index, "--json")
    assert outcome.json == [{"ok": True, "images": 6, "problems": []}]
    assert cli("verify", "--index", index).stdout == f"{index}: ok, 6 images\n"


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("segments/1/region_2.faiss", None),
        ("segments/1/region_2.faiss", b"IwFlxx"),
        ("segments/1/embeddings.h5", None),
        ("segments/1/embeddings.h5", b""),
        ("segments/1/stranger.txt", b"hello"),
        ("catalog.sqlite3", b"not a database, but long enough to look like one" * 100),
    ],
)
def test_verify_of_a_damaged_index(cli, index: Path, file: str, data: bytes | None):
    if data is None:
        (index / file).unlink()
    else:
        (index / file).write_bytes(data)
        for left in index.glob("catalog.sqlite3-*"):
            left.unlink()
    outcome = cli("verify", "--index", index, "--json", code=1)
    (found,) = outcome.json
    assert list(found) == ["ok", "images", "problems"]
    assert found["ok"] is False
    assert any(Path(file).name in problem for problem in found["problems"])
    plain = cli("verify", "--index", index, code=1).stdout.splitlines()
    assert "damaged" in plain[0]
    assert [line.removeprefix("problem: ") for line in plain[1:]] == found["problems"]


def test_a_damaged_index_answers_no_query(cli, index: Path, gallery: Path):
    (index / "segments/1/embeddings.h5").write_bytes(b"gone")
    assert "embeddings.h5" in cli("query", gallery / "a" / "000.png", "--index", index, code=1).error
    assert "embeddings.h5" in cli("stats", "--index", index, code=1).error


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["a/001.png"], [0, 2, 3, 4, 5]),
        (["a/001.png", "b/004.png"], [0, 2, 3, 5]),
        (["a"], [4, 5]),
        (["a/"], [4, 5]),
        (["."], []),
        (["--pid", 1], [1, 2, 4, 5]),
        (["--pid", 1, "--pid", 2], [2, 5]),
        (["--camid", 1], [1, 3, 5]),
        (["--before", "2024-05-01T12:00"], [2, 3, 4, 5]),
        (["--before", "2024-05-01T12:00:00+02:00"], [0, 1, 2, 3, 4, 5]),
        (["--pid", 1, "--camid", 1], [1, 2, 3, 4, 5]),
        (["a", "--pid", 1], [1, 2, 4, 5]),
    ],
)
def test_remove(cli, monkeypatch, index: Path, gallery: Path, options: list[object], left: list[int]):
    monkeypatch.chdir(gallery)
    if len(left) == 6:
        assert "nothing in" in cli("remove", *options, "--index", index, code=1).error
        assert numbers(index) == left
        return
    assert cli("remove", *options, "--index", index, "--json").json == [{"removed": 6 - len(left)}]
    assert numbers(index) == left
    assert verify(index).ok
    (line,) = cli("query", "b/005.png", "--index", index, "--json").json
    assert sorted(int(Path(match["path"]).stem) for match in line["matches"]) == left
    assert "nothing" in cli("remove", *options, "--index", index, code=1).error


def test_remove_of_names_that_are_no_text(cli, index: Path):
    error = cli("remove", os.fsdecode(b"caf\xe9.png"), "--index", index, code=1).error
    assert "nothing was removed" in error
    assert "caf\\udce9.png" in error


def test_a_path_that_is_not_known_removes_nothing(cli, monkeypatch, index: Path, gallery: Path):
    """A typing mistake beside a right path: which of them was meant cannot be known."""
    monkeypatch.chdir(gallery)
    for known in ("a/001.png", "a", "."):
        error = cli("remove", known, "a/1.png", "c/", "--index", index, code=1).error
        assert "nothing was removed" in error
        assert f"{gallery}/a/1.png, {gallery}/c;" in error
        assert f"{gallery}/a/001.png" not in error
    assert "has no image at" in cli("remove", "x.png", "--pid", 1, "--index", index, code=1).error
    assert "nothing in" in cli("remove", "a/001.png", "--pid", 1, "--index", index, code=1).error  # known, but pid 2
    assert numbers(index) == [0, 1, 2, 3, 4, 5]


def test_remove_may_be_tried(cli, index: Path, gallery: Path):
    names = [str(gallery / name) for name in ("a/000.png", "a/003.png")]
    asked = ("remove", "--pid", 1, "--index", index, "--dry-run")
    assert cli(*asked, "--json").json == [{"removed": 0, "would_remove": 2, "paths": names}]
    told = cli(*asked)
    assert told.stdout.splitlines() == names
    assert "2 images would be removed" in told.stderr
    assert "has no image at" in cli("remove", "none", "--index", index, "--dry-run", code=1).error
    assert numbers(index) == [0, 1, 2, 3, 4, 5]


def test_a_damaged_index_says_what_would_be_removed(cli, index: Path, gallery: Path):
    """As it can be removed there, too."""
    for path in [*index.rglob("embeddings.h5"), *index.rglob("*.faiss")]:
        path.unlink()
    asked = cli("remove", "--pid", 1, "--index", index, "--dry-run", "--json").json
    assert asked == [{"removed": 0, "would_remove": 2, "paths": [str(gallery / f"a/00{i}.png") for i in (0, 3)]}]
    assert cli("remove", "--pid", 1, "--index", index, "--json").json == [{"removed": 2}]


def test_remove_for_people(cli, index: Path):
    assert "2 images removed" in cli("remove", "--pid", 1, "--index", index).stdout


def test_a_folder_is_not_another_whose_name_begins_alike(cli, index: Path, gallery: Path):
    assert "nothing" in cli("remove", str(gallery)[:-1], "--index", index, code=1).error
    assert numbers(index) == [0, 1, 2, 3, 4, 5]


def test_compact(cli, index: Path, gallery: Path):
    query = ("query", gallery / "a" / "000.png", "--index", index, "--json")
    cli("remove", "--pid", 1, "--index", index)
    before = cli(*query).json[0]["matches"]
    (tried,) = cli("compact", "--index", index, "--dry-run", "--json").json
    assert "would be: 4 images kept, 2 erased" in cli("compact", "--index", index, "--dry-run").stdout
    (report,) = cli("compact", "--index", index, "--json").json
    names = ["images", "removed", "bytes_before", "bytes_after", "erased", "readers", "copies", "purged", "dry_run"]
    assert list(report) == names
    assert tried == report | {"dry_run": True, "bytes_after": tried["bytes_after"]}
    assert (report["images"], report["removed"]) == (4, 2)
    assert cli(*query).json[0]["matches"] == before
    assert cli("verify", "--index", index, "--json").json[0]["ok"]
    assert "4 images kept, 0 erased" in cli("compact", "--index", index).stdout


def test_a_full_disk_is_said_and_the_index_read(cli, index: Path, gallery: Path, monkeypatch):
    """tests/store/folder/test_full_disk.py fills a real one."""
    query = ("query", gallery / "a" / "000.png", "--index", index, "--json")
    before = cli(*query).json[0]["matches"]
    statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*statvfs(path)[:4], 0, *statvfs(path)[5:]]))
    warning = f"warning: the disk of {index} is full: the index is read as from a read-only folder"
    for command in (query, ("stats", "--index", index), ("verify", "--index", index)):
        assert cli(*command).stderr.splitlines().count(warning) == 1
    assert cli(*query).json[0]["matches"] == before


def test_a_damaged_region_index_is_repaired(cli, index: Path, gallery: Path):
    query = ("query", gallery / "a" / "000.png", "--index", index, "--json")
    before = cli(*query).json[0]["matches"]
    (index / "segments/1/region_2.faiss").write_bytes(b"garbage")
    assert "--repair" in cli("verify", "--index", index, code=1).stdout
    assert cli("verify", "--index", index, "--repair").stdout == f"{index}: ok, 6 images\n"
    assert cli(*query).json[0]["matches"] == before


def test_snapshot_and_restore(cli, index: Path, gallery: Path, tmp_path: Path):
    query = ("query", gallery / "a" / "000.png", "--json", "--index")
    before = cli(*query, index).json[0]["matches"]
    assert cli("snapshot", "copies/monday", "--index", index).stdout == "copies/monday: 6 images\n"
    assert cli(*query, "copies/monday").json[0]["matches"] == before
    assert "is an index already" in cli("snapshot", "copies/monday", "--index", index, code=1).error
    refused = cli("restore", "copies/monday", "--index", index, code=1).error
    assert f"{index} is an index already; name another folder, or move that one away first" in refused
    assert cli(*query, index).json[0]["matches"] == before
    shutil.rmtree(index)
    assert cli("restore", "copies/monday", "--index", index, "--json").json == [{"images": 6, "path": str(index)}]
    assert cli(*query, index).json[0]["matches"] == before
    assert "no snapshot" in cli("restore", "copies/tuesday", "--index", "elsewhere", code=1).error
    assert "no index" in cli("snapshot", "copies/tuesday", "--index", "elsewhere", code=1).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copies", "index"]


def test_copies_that_hold_removed_images_are_named(cli, index: Path, tmp_path: Path):
    cli("snapshot", "monday", "--index", index)
    cli("remove", "--pid", 1, "--index", index)
    assert f"{tmp_path / 'monday'} still holds images that were removed" in cli("compact", "--index", index).stderr
    outcome = cli("compact", "--index", index, "--purge-backups")
    assert f"deleted: {tmp_path / 'monday'}" in outcome.stderr
    assert not (tmp_path / "monday").exists()
    assert "still holds" not in cli("compact", "--index", index).stderr


def test_upgrade_of_a_current_index(cli, index: Path):
    (report,) = cli("upgrade", "--index", index, "--json").json
    assert list(report) == ["from", "to"]
    assert report["from"] == report["to"]
    assert "already at" in cli("upgrade", "--index", index).stdout


def test_an_index_of_a_later_version(cli, index: Path, gallery: Path):
    import sqlite3

    with sqlite3.connect(index / "catalog.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for words in (["verify"], ["stats"], ["compact"], ["query", gallery / "a" / "000.png"], ["upgrade"]):
        assert "9999" in cli(*words, "--index", index, code=1).error


def test_a_busy_index(cli, index: Path, gallery: Path):
    with GalleryStore.open(index) as store, store.writer():
        for words in (["compact"], ["remove", "--pid", 1], ["index", gallery]):
            assert "another process is writing" in cli(*words, "--index", index, code=1).error
        assert cli("query", gallery / "a" / "000.png", "--index", index, "--json").json
        assert cli("verify", "--index", index, "--json").json[0]["ok"]


def test_what_was_removed_can_be_indexed_again(cli, index: Path, gallery: Path, tmp_path: Path):
    copy = Path(shutil.copytree(gallery, tmp_path / "copy"))
    cli("remove", gallery / "a", "--index", index)
    assert "4 indexed (0 of them changed)" in cli("index", gallery / "a", "--index", index).stderr
    assert "6 indexed" in cli("index", copy, "--index", index).stderr
    assert numbers(index) == sorted([0, 1, 2, 3, 4, 5] * 2)

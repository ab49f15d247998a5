"""The calibration of an index as one of its files: it travels with it, and damage is found."""

from __future__ import annotations

import json
import shutil

import pytest

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store import GalleryStore, restore, verify
from vpmsearch.store import calibration_file as kept


@pytest.fixture
def calibrated(filled):
    info = filled.model_info
    values = {"fingerprint": info.fingerprint, "min_visibility": info.threshold, "images": 48, "distances": [[1.0]]}
    kept.write(filled.path, values)
    return filled, values


def test_it_comes_back_as_it_was_written_and_nothing_else_is_left(calibrated):
    store, values = calibrated
    assert kept.read(store.path) == values
    assert [path.name for path in store.path.glob(".calibration*")] == []
    assert kept.read(store.path / "nowhere") is None


def test_copies_keep_it(calibrated, tmp_path):
    store, values = calibrated
    store.snapshot_to(tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "restored")
    for name in ("copy", "restored"):
        assert kept.read(tmp_path / name) == values
        assert verify(tmp_path / name).ok


def test_stats_say_on_how_many_images_it_was_made(calibrated):
    store, values = calibrated
    assert store.stats().calibrated_on == 48
    kept.write(store.path, values | {"fingerprint": "of other weights"})
    assert store.stats().calibrated_on is None
    (store.path / kept.FILE_NAME).unlink()
    assert store.stats().calibrated_on is None


@pytest.mark.parametrize("harm", ["cut", "changed", "another format", "no keys", "a folder"])
def test_damage_is_found_and_not_copied(calibrated, tmp_path, harm):
    store, values = calibrated
    path = store.path / kept.FILE_NAME
    text = path.read_text()
    if harm == "cut":
        path.write_text(text[:-9])
    elif harm == "changed":
        path.write_text(text.replace("48", "84"))
    elif harm == "another format":
        path.write_text(json.dumps(json.loads(text) | {"format": 2}))
    elif harm == "no keys":
        kept.write(store.path, {"distances": []})
    else:
        path.unlink()
        path.mkdir()
    report = verify(store.path)
    assert [problem for problem in report.problems if "run `vpmsearch calibrate` again" in problem] == list(
        report.problems
    )
    assert not report.ok
    with pytest.raises(StoreDamagedError, match="vpmsearch calibrate"):
        store.snapshot_to(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(StoreDamagedError, match="vpmsearch calibrate"):
        store.stats()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    kept.write(store.path, values)
    assert verify(store.path).ok


def test_an_unfinished_copy_with_a_calibration_is_cleaned_up(calibrated, tmp_path):
    """What a killed snapshot leaves, temporary file included, is deleted by the next."""
    store, _ = calibrated
    left = tmp_path / ".tmp-old-0a1b2c3d"
    left.mkdir()
    for name in ("writer.lock", "catalog.sqlite3", kept.FILE_NAME, ".calibration.abcd.json"):
        (left / name).touch()
    (left / "segments").mkdir()
    store.snapshot_to(tmp_path / "copy")
    assert not left.exists()


def test_purging_a_snapshot_takes_it_along(calibrated, tmp_path):
    store, _ = calibrated
    store.snapshot_to(tmp_path / "copy")
    with store.writer() as writer:
        writer.remove([1])
        writer.commit()
    assert store.compact(purge_backups=True).purged == (str(tmp_path / "copy"),)
    assert not (tmp_path / "copy").exists()
    assert GalleryStore.open(store.path).stats().calibrated_on == 48

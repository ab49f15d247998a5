"""What a walk through a gallery leaves aside is counted by kind and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vpmsearch.data import image_files
from vpmsearch.data.image_files import image_names
from vpmsearch.data.not_taken import HIDDEN, LINKED, VANISHED, counting_not_taken
from vpmsearch.errors import DataError


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    root = tmp_path / "g"
    names = "a.jpg b.PNG c d.jpg_large e.jpg.1 f.jp2 sub/g.HEX h.hex .DS_Store .thumbs/x.jpg sub/i.thisisnoextension"
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.jpg").touch()
    (root / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    (root / "sub" / "loop").symlink_to(root, target_is_directory=True)
    (root / "linked.jpg").symlink_to(root / "a.jpg")
    return root


def test_every_kind_is_counted_and_named(gallery: Path):
    with counting_not_taken() as aside:
        found = image_names(gallery)
        image_names(gallery / "sub")  # again: counted once
    assert [Path(name).name for name in found] == ["a.jpg", "b.PNG", "linked.jpg"]
    assert aside.counts == {
        **{"without extension": 1, ".jpg_large": 1, ".1": 1, ".jp2": 1, ".hex": 2, "of other names": 1},
        **{LINKED: 2, HIDDEN: 2},
    }
    assert sorted(aside.examples[".hex"]) == [str(gallery / "h.hex"), str(gallery / "sub/g.HEX")]
    assert sorted(aside.examples[LINKED]) == [str(gallery / "link"), str(gallery / "sub/loop")]
    assert HIDDEN not in aside.examples


def test_a_few_of_many_are_named(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number}.txt").touch()
    with counting_not_taken() as aside:
        assert image_names(tmp_path) == []
    assert (aside.counts[".txt"], len(aside.examples[".txt"])) == (20, 3)
    assert image_names(tmp_path) == []  # and where nobody counts


def test_a_folder_that_vanishes_meanwhile_is_no_error(gallery: Path, monkeypatch: pytest.MonkeyPatch):
    (gallery / "gone").mkdir()
    (gallery / "gone" / "lost.jpg").touch()
    real = image_files.is_image_name

    def tidy_up(name: str) -> bool:
        shutil.rmtree(gallery / "gone", ignore_errors=True)  # after the walk has seen it, before it looks inside
        return real(name)

    monkeypatch.setattr(image_files, "is_image_name", tidy_up)
    with counting_not_taken() as aside:
        assert len(image_names(gallery)) == 3
    assert aside.examples[VANISHED] == [str(gallery / "gone")]
    with pytest.raises(DataError, match="cannot be listed"):
        image_names(gallery / "gone")

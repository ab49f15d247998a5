"""Trials: a data set's people split into halves, by published files in their own forms or by the seeded rule."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy.io import savemat

from vpmsearch.data.datasets import read_dataset, read_trials
from vpmsearch.data.labelled import SPLITS, ReidDataset
from vpmsearch.errors import DataError

PEOPLE = (1, 2, 3, 5, 6, 8)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def viper(root: Path) -> Path:
    return touch(root, *(f"cam_{c}/{pid:03d}_{45 * (c == 'b')}.bmp" for c in "ab" for pid in PEOPLE))


def grid(root: Path) -> Path:
    shown = [f"{place}/{pid:04d}_{pid % 8 + 1}_1_2.jpeg" for place in ("probe", "gallery") for pid in PEOPLE]
    return touch(root, *shown, *(f"gallery/0000_3_{number}_2.jpeg" for number in range(4)))


def ilids(root: Path) -> Path:
    names = (f"sequences/cam{c}/person{pid:03d}/cam{c}_person{pid:03d}_{f:05d}.png" for c in (1, 2) for pid in PEOPLE
             for f in (1, 2))  # fmt: skip
    return touch(root, *names)


def prid(root: Path, frames: dict[int, int]) -> Path:
    """Person 201 of a is another one than 201 of b."""
    many = frames | {201: 30}
    names = (f"multi_shot/cam_{c}/person_{pid:04d}/{f:04d}.png" for c in "ab" for pid, n in many.items()
             for f in range(1, n + 1))  # fmt: skip
    return touch(root, *names)


def pids(dataset: ReidDataset) -> tuple[set, set, set]:
    return tuple({image.pid for image in getattr(dataset, split)} for split in SPLITS)  # type: ignore[return-value]


def test_halves_of_the_seeded_rule_are_halves_in_both_directions(tmp_path: Path):
    trials = read_trials("viper", viper(tmp_path))
    assert len(trials) == 20
    seen = set()
    for number, trial in enumerate(trials, start=1):
        train, query, gallery = pids(trial)
        assert query == gallery == set(PEOPLE) - train
        assert len(train) == 3
        assert len(trial.train) == 6  # of both cameras
        asking = 1 if number % 2 else 2
        assert {image.camid for image in trial.query} == {asking}
        assert {image.camid for image in trial.gallery} == {3 - asking}
        assert "drawn by vpmsearch with seed 0, as splits.json is not there: not those of a paper" in str(trial.trial)
        assert str(trial.trial).startswith(f"trial {number} of 20, ")
        seen.add(frozenset(train))
    assert pids(trials[0])[0] == pids(trials[1])[0]
    assert len(seen) > 5  # of the 20 halves of six
    again = read_dataset("viper", tmp_path, ("query", "gallery"), trial=7)
    assert (again.train, again.query, again.gallery) == ((), trials[6].query, trials[6].gallery)


def test_splits_of_viper_as_torchreid_writes_them(tmp_path: Path):
    """Paths are those of another machine; the trials are torchreid's split_id + 1."""
    root = viper(tmp_path / "viper" / "VIPeR")

    def entry(train: tuple, first: str) -> dict:
        def images(c: str, people) -> list:
            return [[f"C:\\reid\\viper\\VIPeR\\cam_{c}\\{pid:03d}_{45 * (c == 'b')}.bmp", label, "ab".index(c)]
                    for label, pid in enumerate(people)]  # fmt: skip

        test, second = [pid for pid in PEOPLE if pid not in train], "b" if first == "a" else "a"
        both = [*images("a", train), *images("b", train)]
        return {"train": both, "query": images(first, test), "gallery": images(second, test), "num_train_pids": 3}

    (tmp_path / "viper" / "splits.json").write_text(json.dumps([entry((1, 2, 8), "a"), entry((1, 2, 8), "b")]))
    first, second = read_trials("viper", root)
    assert pids(first) == pids(second) == ({1, 2, 8}, {3, 5, 6}, {3, 5, 6})
    assert [{image.camid for image in each.query} for each in (first, second)] == [{1}, {2}]
    assert str(second.trial) == "trial 2 of 2, people by splits.json"
    (tmp_path / "viper" / "splits.json").write_text(json.dumps([entry((1, 2, 9), "a")]))
    with pytest.raises(DataError, match=r"splits\.json, split 1: person 9 is not seen by both cameras here"):
        read_trials("viper", root)


def test_partitions_of_grid(tmp_path: Path):
    """A struct in each cell; the training people are its third field."""
    wanted = [(1, 3, 8), (2, 5, 6)]
    cells = np.empty((1, 2), dtype=object)
    for place, people in enumerate(wanted):
        cells[0, place] = {"probe": np.arange(9.0), "gallery": 1, "trainIdx": np.array([people], dtype=np.uint8)}
    savemat(tmp_path / "features_and_partitions.mat", {"features": np.eye(3), "trainIdxAll": cells})
    trials = read_trials("grid", grid(tmp_path))
    for trial, train in zip(trials, wanted, strict=True):
        test = set(PEOPLE) - set(train)
        assert pids(trial) == (set(train), test, test | {0})
        assert sum(image.distractor for image in trial.gallery) == 4
        assert str(trial.trial).endswith("of 2, people by features_and_partitions.mat")


def test_permutations_of_ilids_vid(tmp_path: Path):
    """They count the people in their order, not their numbers; the first half is for testing."""
    root = ilids(tmp_path / "i-LIDS-VID")
    (tmp_path / "train-test people splits").mkdir()
    mat = tmp_path / "train-test people splits" / "train_test_splits_ilidsvid.mat"
    savemat(mat, {"ls_set": np.array([[6, 1, 4, 2, 3, 5], [1, 2, 3, 4, 5, 6]])})
    first, second = read_trials("ilids-vid", root)
    assert pids(first) == ({2, 3, 6}, {1, 5, 8}, {1, 5, 8})
    assert pids(second) == ({5, 6, 8}, {1, 2, 3}, {1, 2, 3})
    assert [len(each) for each in (first.train, first.query, first.gallery)] == [12, 6, 6]
    assert first.protocol.by_track
    savemat(mat, {"ls_set": np.array([[1, 2, 3, 4]])})
    with pytest.raises(DataError, match="splits 4 people; here are 6 who take part"):
        read_trials("ilids-vid", root)
    savemat(mat, {"ls_set": np.array([[1, 2, 3, 4, 5, 5]])})
    with pytest.raises(DataError, match="is not as splits of this data set are written"):
        read_trials("ilids-vid", root)


def test_prid_takes_people_of_27_images_and_its_json(tmp_path: Path):
    root = prid(tmp_path / "prid_2011", {1: 27, 2: 26, 3: 40, 4: 27, 7: 28})
    trials = read_trials("prid2011", root)
    assert len(trials) == 10
    for trial in trials:
        train, query, gallery = pids(trial)
        assert query == gallery == {1, 3, 4, 7} - train  # neither 2, of whom there is too little, nor 201
        assert len(train) == 2
    splits = [{"train": ["person_0001", "person_0007"], "test": ["person_0003", "person_0004"]}]
    (tmp_path / "splits_prid2011.json").write_text(json.dumps(splits))
    (trial,) = read_trials("prid2011", root)
    assert pids(trial) == ({1, 7}, {3, 4}, {3, 4})


def test_prid_by_single_images_keeps_the_others_in_the_gallery(tmp_path: Path):
    shown = [f"single_shot/cam_{c}/person_{pid:04d}.png" for c in "ab" for pid in (1, 2, 3, 4, 201, 202)]
    root = touch(tmp_path / "prid_2011", *shown)
    (tmp_path / "splits_single_shot.json").write_text(json.dumps([{"train": [2, 4], "test": [1, 3]}]))
    (trial,) = read_trials("prid2011-single", root)
    assert pids(trial) == ({2, 4}, {1, 3}, {1, 3, 201, 202})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "[1]", '[{"train": [], "test": []}]', '[{"train": ["x"], "test": [1]}]',
        '[{"train": [1], "test": [1, 2]}]', '[{"train": [true], "test": [1]}]', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_of_splits_is_refused(tmp_path: Path, text: str):
    root = touch(tmp_path, *(f"single_shot/cam_{c}/person_000{pid}.png" for c in "ab" for pid in (1, 2)))
    (tmp_path / "splits_single_shot.json").write_text(text)
    with pytest.raises(DataError, match=r"splits_single_shot\.json"):
        read_trials("prid2011-single", root)


def test_a_damaged_mat_file_is_refused(tmp_path: Path):
    random = Random(0)
    root = grid(tmp_path)
    mat = root / "features_and_partitions.mat"
    for value in (np.eye(2), np.array([["a"]]), [{"a": 1}]):
        savemat(mat, {"trainIdxAll": value})
        with pytest.raises(DataError, match="is not as splits of this data set are written"):
            read_trials("grid", root)
    savemat(mat, {"other": np.eye(2)})
    with pytest.raises(DataError, match="holds no variable trainIdxAll"):
        read_trials("grid", root)
    mat.write_bytes(mat.read_bytes()[:100] + random.randbytes(200))
    with pytest.raises(DataError, match=r"cannot be read as a \.mat file|holds no variable"):
        read_trials("grid", root)


def test_where_there_are_no_trials(tmp_path: Path):
    with pytest.raises(DataError, match="VIPeR has the trials 1 to 20, not 21"):
        read_dataset("viper", viper(tmp_path / "viper"), trial=21)
    with pytest.raises(DataError, match="Market-1501 is not measured over trials; leave --trial away"):
        read_dataset("market1501", tmp_path, trial=1)
    with pytest.raises(DataError, match="only data sets known by name have trials"):
        read_dataset("folder", tmp_path, trial=1)
    one = touch(tmp_path / "one", "cam_a/001_0.bmp", "cam_b/001_45.bmp")
    with pytest.raises(DataError, match="halves need two people of whom both sides have 1 image; there is one"):
        read_trials("viper", one)

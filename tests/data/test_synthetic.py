"""Drawn pedestrians: the same every time, whole, different in every band, and not to be told apart by colours alone."""

from __future__ import annotations

import errno
import re
import threading
from math import pi
from pathlib import Path

import numpy as np
import pytest
from histogram_matcher import colour_histograms, histogram_distances, rank1_across_cameras
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vpmsearch.data.datasets import read_dataset
from vpmsearch.data.drawn_dataset import BEGUN, FINISHED, write_drawn_dataset
from vpmsearch.data.pedestrian.appearance import appearance
from vpmsearch.data.pedestrian.body import Pose
from vpmsearch.data.pedestrian.canvas import Canvas
from vpmsearch.data.pedestrian.figure import draw_figure
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.errors import DataError

SMALL = DrawnSettings(identities=2, cameras=2, shots=2, height=64, width=32)
BLANK = (1, 2, 3)  # a colour that nothing is drawn in


def figure(who: int, pose: Pose, height: int = 240, width: int = 240) -> Canvas:
    """Somebody on an empty canvas, the ground 20 pixels above its lower edge."""
    canvas = Canvas(Image.new("RGB", (width, height), BLANK), sun=0.6)
    canvas.stand((width / 2, height - 20), height - 60)
    draw_figure(canvas, appearance(np.random.default_rng([7, who])), pose)
    return canvas


def painted(canvas: Canvas) -> np.ndarray:
    """(h, w) bool: where something was drawn."""
    return (np.asarray(canvas.picture) != np.array(BLANK)).any(axis=2)


# one image


def test_the_same_numbers_draw_the_same_picture():
    config = DrawnSettings(cameras=3)
    first = {
        key: draw_pedestrian(*key, settings=config).tobytes() for key in [(4, 1, 0), (4, 2, 0), (4, 1, 1), (5, 1, 0)]
    }
    for key in reversed(first):
        assert draw_pedestrian(*key, settings=config).tobytes() == first[key]
    assert len(set(first.values())) == len(first)
    assert draw_pedestrian(4, 1, 0, settings=DrawnSettings(cameras=3, seed=1)).tobytes() != first[4, 1, 0]
    # How many others there are does not change anybody.
    assert draw_pedestrian(4, 1, 0, settings=DrawnSettings(9, 5, 2)).tobytes() == first[4, 1, 0]


@pytest.mark.parametrize(("height", "width"), [(128, 64), (64, 32), (32, 16), (97, 41), (160, 64), (64, 96)])
def test_any_size(height, width):
    image = draw_pedestrian(3, 2, 0, settings=DrawnSettings(cameras=2, height=height, width=width))
    assert image.mode == "RGB"
    assert image.size == (width, height)
    assert np.asarray(image).std() > 10


@given(who=st.integers(0, 10**6), yaw=st.floats(0, 2 * pi), phase=st.floats(0, 2 * pi), stride=st.floats(0, 0.5))
def test_a_figure_is_whole_and_stands_on_the_ground(who, yaw, phase, stride):
    shape = painted(figure(who, Pose(yaw, phase, stride)))
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    body = 180
    assert 220 - 1.12 * body <= rows[0] <= 220 - 0.9 * body  # the crown, or the hat on it
    assert 220 - 0.04 * body <= rows[-1] <= 220 + 0.06 * body  # the feet
    assert columns[-1] - columns[0] < 1.0 * body
    # Flood from the trunk: no limb, bag or hat is left over.
    mask = Image.fromarray(shape.astype(np.uint8))
    middle = (int(np.median(np.flatnonzero(shape[125]))), 125)
    _flood(mask, middle)
    assert (np.asarray(mask) == 1).sum() <= 0.002 * shape.sum()


def _flood(mask: Image.Image, start: tuple[int, int]) -> None:
    """Mark with 2 what hangs together with the start, over corners too."""
    pixels = np.asarray(mask).copy()
    grown = np.zeros_like(pixels, dtype=bool)
    grown[start[1], start[0]] = True
    size = 0
    while grown.sum() > size:
        size = grown.sum()
        for _ in range(8):
            beside = grown | np.roll(grown, 1, axis=1) | np.roll(grown, -1, axis=1)
            grown = (beside | np.roll(beside, 1, axis=0) | np.roll(beside, -1, axis=0)) & (pixels > 0)
    pixels[grown] = 2
    mask.paste(Image.fromarray(pixels))


def test_everybody_is_somebody_else():
    people = [appearance(np.random.default_rng([0, who])) for who in range(2000)]
    assert len({repr(person) for person in people}) == 2000
    for field, least in [("hair", 8), ("hat", 4), ("upper", 10), ("lower", 9), ("shoes", 4), ("bag", 5), ("scarf", 6)]:
        assert len({getattr(person, field) for person in people}) >= least, field


def test_each_band_of_the_body_has_a_say():
    """Whatever band is left of a person, nearly every other person looks different in it."""
    front = Pose(yaw=0.3, phase=0.0, stride=0.05)
    pictures = np.stack([np.asarray(figure(who, front).picture, dtype=np.float64) for who in range(40)])
    bands = {"head": (0.86, 1.05), "chest": (0.6, 0.86), "hips": (0.4, 0.6), "legs": (0.15, 0.4), "feet": (0.0, 0.15)}
    for name, (low, high) in bands.items():
        band = pictures[:, round(220 - 180 * high) : round(220 - 180 * low)].reshape(40, -1)
        inked = (band != np.tile(BLANK, band.shape[1] // 3)).any(axis=0).sum()
        gaps = np.array([np.abs(band - one).sum(axis=1) / inked for one in band])
        others = gaps[~np.eye(40, dtype=bool)]
        assert (others > 4).mean() > 0.97, name


def _pixels_of(canvas: Canvas, colour) -> int:
    return int((np.asarray(canvas.picture) == np.array(colour)).all(axis=2).sum())


def test_the_side_that_is_turned_to_the_camera_is_seen():
    behind, before = Pose(pi, 0.0, 0.05), Pose(0.0, 0.0, 0.05)
    packs = opened = 0
    for who in range(100):
        look = appearance(np.random.default_rng([7, who]))
        clothes = {look.upper_fabric.base, look.upper_fabric.accent, look.sleeve, look.lower_fabric.base}
        clothes |= {look.lower_fabric.accent, look.hat_colour, look.scarf, look.shoe_colour, look.sole, look.socks}
        if look.bag == "backpack" and look.bag_colour not in clothes | {look.hair_colour, look.inner}:
            packs += 1
            assert _pixels_of(figure(who, behind), look.bag_colour) > 1.3 * _pixels_of(
                figure(who, before), look.bag_colour
            )
        if look.upper.startswith("open") and look.inner not in clothes | {look.bag_colour, look.hair_colour}:
            opened += 1
            seen = _pixels_of(figure(who, before), look.inner)
            assert seen > 200
            assert _pixels_of(figure(who, behind), look.inner) < seen / 4  # a pompom may be of that colour too
    assert packs >= 5
    assert opened >= 5


def test_cameras_differ_in_colour_and_the_person_does_not():
    config = DrawnSettings(cameras=6, height=64, width=32)
    means = [
        np.mean([np.asarray(draw_pedestrian(pid, camid, 0, settings=config)) for pid in range(40)], axis=(0, 1, 2))
        for camid in range(1, 7)
    ]
    gaps = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert np.median(gaps) > 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"identities": 0}, {"identities": 10_000}, {"cameras": 0}, {"cameras": 10}, {"shots": 0}, {"height": 8},
        {"width": 4}, {"width": 5000}, {"seed": -1}, {"shots": 2.0}, {"seed": True}, {"cameras": "4"},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        DrawnSettings(**wrong)


@pytest.mark.parametrize(("pid", "camid", "shot"), [(-1, 1, 0), (0, 0, 0), (0, 3, 0), (0, 1, -1)])
def test_impossible_shots_are_refused(pid, camid, shot):
    with pytest.raises(DataError, match="cannot draw pid"):
        draw_pedestrian(pid, camid, shot, settings=SMALL)


# how hard it is


def _plain_rank1(images, labels, bins):
    """The matcher once more, as plain loops over pixels and pairs: L1, one band, gallery of other cameras."""
    counts = []
    for image in images:
        count: dict[tuple[int, ...], float] = {}
        for pixel in image.convert("RGB").get_flattened_data():
            cell = tuple(channel * bins // 256 for channel in pixel)
            count[cell] = count.get(cell, 0.0) + 1.0 / (image.width * image.height)
        counts.append(count)
    hits, queries = 0, 0
    for i, (pid, camid, shot) in enumerate(labels):
        if shot != 0:
            continue
        queries += 1
        best, nearest = float("inf"), None
        for j, (other, its_camid, its_shot) in enumerate(labels):
            if its_shot != 0 and its_camid != camid:
                cells = counts[i].keys() | counts[j].keys()
                gap = sum(abs(counts[i].get(cell, 0.0) - counts[j].get(cell, 0.0)) for cell in cells)
                if gap < best:
                    best, nearest = gap, other
        hits += nearest == pid
    return hits / queries


def _rank1(images, labels, *, across, **how):
    """Shot 0 against the other shots. across: only against other cameras."""
    measure = how.pop("measure", "l1")
    pids, camids, shots = np.array(labels).T
    query = shots == 0
    histograms = colour_histograms(images, **how)
    distances = histogram_distances(histograms[query], histograms[~query], measure=measure)
    if across:
        distances = np.where(camids[query][:, None] == camids[~query], np.inf, distances)
    return rank1_across_cameras(distances, pids[query], pids[~query], camids[query], camids[~query])


def _draw(identities, cameras, shots, config):
    labels = [(p, c, k) for p in range(1, identities + 1) for c in range(1, cameras + 1) for k in range(shots)]
    return [draw_pedestrian(*label, settings=config) for label in labels], labels


def test_the_matcher_is_what_it_says():
    config = DrawnSettings(cameras=2, height=32, width=16)
    images, labels = _draw(12, 2, 2, config)
    assert _rank1(images, labels, across=True, bins=4) == pytest.approx(_plain_rank1(images, labels, 4))
    copies = [image for pid, camid, _ in labels for image in [draw_pedestrian(pid, 1, 0, settings=config)]]
    for measure in ("l1", "bhattacharyya"):
        assert _rank1(copies, labels, across=True, measure=measure) == 1.0


@pytest.mark.parametrize("identities", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_colours_alone_do_not_solve_it(identities):
    """In four cameras; chance is 1 of the identities."""
    images, labels = _draw(identities, 4, 2, DrawnSettings(cameras=4))
    scores = {
        (mode, bands, measure): _rank1(images, labels, across=True, mode=mode, bands=bands, measure=measure)
        for mode in ("RGB", "HSV")
        for bands in (1, 6)
        for measure in ("l1", "bhattacharyya")
    }
    assert max(scores.values()) < 0.5, scores
    assert min(score for (_, bands, _), score in scores.items() if bands == 1) > 3 / identities, scores
    # With the images of other people in the query's own camera, as in Market-1501, it is harder still.
    assert _rank1(images, labels, across=False, measure="bhattacharyya") < 0.25


# a data set


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}


def test_the_layout_is_that_of_market1501(tmp_path):
    train = DrawnSettings(identities=3, cameras=2, shots=2, height=64, width=32)
    test = DrawnSettings(identities=2, cameras=3, shots=3, height=64, width=32)
    seen = []
    folder = write_drawn_dataset(
        tmp_path / "drawn" / "set",
        train=train,
        test=test,
        distractors=5,
        junk=4,
        progress=lambda *step: seen.append(step),
    )
    names = {
        split: sorted(path.name for path in (folder / split).iterdir())
        for split in ("bounding_box_train", "query", "bounding_box_test")
    }
    counts = {split: len(found) for split, found in names.items()}
    assert counts == {"bounding_box_train": 12, "query": 6, "bounding_box_test": 12 + 5 + 4}
    assert seen == [(i, 39) for i in range(1, 40)]
    labels = {}
    for split, found in names.items():
        matches = [re.fullmatch(r"(-1|\d{4})_c([1-9])s1_\d{6}_\d\d\.jpg", name) for name in found]
        assert all(matches), found
        labels[split] = [(int(match[1]), int(match[2])) for match in matches if match]
    pids = {split: {pid for pid, _ in found} for split, found in labels.items()}
    assert pids == {"bounding_box_train": {1, 2, 3}, "query": {4, 5}, "bounding_box_test": {-1, 0, 4, 5}}
    assert sorted(labels["query"]) == [(pid, camid) for pid in (4, 5) for camid in (1, 2, 3)]
    assert len(set(files_of(folder).values())) == 39  # no picture twice
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 64))


def test_the_reader_of_market1501_reads_it(tmp_path):
    dataset = read_dataset("market1501", write_drawn_dataset(tmp_path, train=SMALL, test=SMALL, distractors=3, junk=2))
    assert {image.pid for image in dataset.train} == {1, 2}
    assert {image.pid for image in dataset.query} == {3, 4}
    assert {image.pid for image in dataset.gallery} == {0, 3, 4}
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (8, 4, 4 + 3)


def test_what_is_there_is_not_drawn_again(tmp_path):
    write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    steps = []
    assert write_drawn_dataset(tmp_path, train=SMALL, test=SMALL, progress=lambda *step: steps.append(step)) == tmp_path
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert steps == []


@pytest.mark.parametrize(
    "other",
    [
        {"test": DrawnSettings(2, 2, 3, 64, 32)},
        {"train": DrawnSettings(2, 2, 2, 64, 32, seed=1)},
        {"junk": 1},
        {"distractors": 0},
    ],
)
def test_other_settings_are_refused(tmp_path, other):
    write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)
    before = files_of(tmp_path)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        write_drawn_dataset(tmp_path, **{"train": SMALL, "test": SMALL, **other})
    assert files_of(tmp_path) == before


def test_an_interrupted_folder_is_completed(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_drawn_dataset(whole, train=SMALL, test=SMALL)

    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_drawn_dataset(broken, train=SMALL, test=SMALL, progress=interrupt)
    assert 0 < len(files_of(broken)) < len(files_of(whole))
    assert not (broken / FINISHED).exists()
    with pytest.raises(DataError, match="other settings"):  # what was begun is not mixed with anything else
        write_drawn_dataset(broken, train=SMALL, test=SMALL, junk=1)
    torn = broken / "query" / "0003_c1s1_000001_01.part"  # as a killed process leaves it
    torn.write_bytes(b"\xff\xd8")
    write_drawn_dataset(broken, train=SMALL, test=SMALL)
    assert files_of(broken) == files_of(whole)
    assert sorted(path.name for path in broken.iterdir() if not path.name.startswith(".")) == [
        "bounding_box_test", "bounding_box_train", "query", FINISHED,
    ]  # fmt: skip
    assert not list(broken.rglob("*.part"))


def test_two_at_once_draw_one_data_set(tmp_path):
    errors = []

    def draw() -> None:
        try:
            write_drawn_dataset(tmp_path / "two", train=SMALL, test=SMALL)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    write_drawn_dataset(tmp_path / "one", train=SMALL, test=SMALL)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    save = Image.Image.save

    def full(self, file, *args, **options):
        if isinstance(file, Path) and file.parent.name == "query":
            file.write_bytes(b"\xff\xd8 half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, file, *args, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)
    assert list((tmp_path / "query").iterdir()) == []
    monkeypatch.undo()
    write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)
    assert (tmp_path / FINISHED).exists()
    assert not (tmp_path / BEGUN).exists()


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "query").mkdir()
    (tmp_path / "query" / "0001_c1s1_000001_00.jpg").write_bytes(b"theirs")
    with pytest.raises(DataError, match="not drawn here"):
        write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)
    assert list(files_of(tmp_path).values()) == [b"theirs"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_damaged_settings_file_is_refused(tmp_path, content):
    (tmp_path / FINISHED).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        write_drawn_dataset(tmp_path, train=SMALL, test=SMALL)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="choose another folder"):
            write_drawn_dataset(folder, train=SMALL, test=SMALL)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"test": DrawnSettings(2, 1, 2)}, "2 cameras"),
        ({"test": DrawnSettings(2, 2, 1)}, "2 shots"),
        ({"train": DrawnSettings(9000), "test": DrawnSettings(1000)}, "9999"),
        ({"distractors": -1}, "distractors"),
        ({"junk": 10_000}, "junk"),
    ],
)
def test_counts_that_make_no_data_set(tmp_path, counts, said):
    with pytest.raises(DataError, match=said):
        write_drawn_dataset(tmp_path / "none", **{"train": SMALL, "test": SMALL, **counts})
    assert not (tmp_path / "none").exists()

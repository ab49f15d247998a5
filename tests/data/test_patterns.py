"""Labels out of file names: templates and regular expressions, and the guesses of `vpmsearch layout`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.data.drawn_layouts import DRAWN
from vpmsearch.data.datasets import read_dataset, read_gallery
from vpmsearch.data.guess import SHOWN, guesses, labels_of, suggested_pattern, tried
from vpmsearch.data.labelled import LABEL_ALIASES
from vpmsearch.data.manifest_values import COLUMNS, Header
from vpmsearch.data.patterns import name_pattern
from vpmsearch.errors import DataError


def read(pattern: str, name: str, **options) -> dict[str, str] | None:
    image = name_pattern(pattern, **options).image(Path(name), name)
    return None if image is None else labels_of(image)


@pytest.mark.parametrize(
    ("pattern", "name", "labels"),
    [
        ("{pid}_c{camid}_{}.jpg", "0007_c3_x_y.jpg", {"pid": "7", "camid": "3"}),
        ("{pid}_c{camid}_{}", "deep/down/0007_c3_.PNG", {"pid": "7", "camid": "3"}),
        ("{pid:int}_c{camid}_{}.jpg", "x0007_c3_.jpg", None),
        ("{pid}_c{camid}_{}.jpg", "x0007_c3_.jpg", {"pid": "x0007", "camid": "3"}),
        ("c{camid}{}", "c12s3.jpg", {"camid": "12"}),
        ("{camid}-{pid}-{}", "back_porch-P-017-1.jpg", {"camid": "back_porch", "pid": "P"}),
        ("{camid}/{pid}.{}", "lobby/Łódź 7.1.jpg", {"camid": "lobby", "pid": "Łódź 7"}),
        ("{pid}/{camid}-{}.jpg", "a/b/12/4-x.jpg", {"pid": "12", "camid": "4"}),
        ("{pid}/{camid}-{}.jpg", "4-x.jpg", None),
        ("{camid}/{captured_at:unix}-{}.jpg", "2/1774747800.5-abc.jpg",
         {"camid": "2", "captured_at": "2026-03-29T01:30:00.500000+00:00"}),
        ("{site}/{camid:int}_{captured_at:%Y%m%d-%H%M%S}.jpg", "north/2_20260329-013000.jpg",
         {"camid": "2", "captured_at": "2026-03-29T01:30:00+00:00", "site": "north"}),
        ("{pid}[{track}]{}.jpg", "7[ab]z.jpg", {"pid": "7", "track": "ab"}),
        (r"(?P<pid>\d+)_s\d_c(?P<camid>\d+)", "0012_s3_c4_more.jpg", {"pid": "12", "camid": "4"}),
        (r"(?P<pid>\d+)/[^/]+_C(?P<camid>\d)", "x/0012/a_C4_more.jpg", {"pid": "12", "camid": "4"}),
    ],
)  # fmt: skip
def test_patterns(pattern: str, name: str, labels: dict[str, str] | None):
    assert read(pattern, name) == labels


@pytest.mark.parametrize(
    ("pattern", "name", "labels"),
    [
        ("{id}_c{cam}_{}.jpg", "0007_c3_x.jpg", {"pid": "7", "camid": "3"}),
        ("{person}/{camera}-{}.jpg", "alice/lobby-1.jpg", {"pid": "alice", "camid": "lobby"}),
        ("{Person_ID:int}_{CameraID}_{Camera_ID}", "7_x_4.jpg", {"pid": "7", "camid": "4", "CameraID": "x"}),
        ("{camera_id}/{time:unix}-{tracklet}.jpg", "2/1774747800-9.jpg",
         {"camid": "2", "captured_at": "2026-03-29T01:30:00+00:00", "track": "9"}),
        ("{cam_id}_{timestamp:%Y%m%d%H%M%S}", "4_20260329013000.png",
         {"camid": "4", "captured_at": "2026-03-29T01:30:00+00:00"}),
        (r"(?P<identity>\d+)_(?P=identity)_c(?P<cam>\d)(?(cam)x|y)", "12_12_c4x.jpg", {"pid": "12", "camid": "4"}),
        (r"\(?P<id>(?P<id>\d+)", "P<id>7.jpg", {"pid": "7"}),
    ],
)  # fmt: skip
def test_other_names_of_fields(pattern: str, name: str, labels: dict[str, str]):
    assert read(pattern, name) == labels


def test_every_other_name_of_a_column_is_one_of_a_field():
    """A list's header and a pattern say the same; `id` is a pid in a pattern alone."""
    for label, names in LABEL_ALIASES.items():
        for called in names:
            (one,) = name_pattern(f"{{{called}}}-").expression.groupindex
            assert one == label
            assert Header(["path", called], 1).places[COLUMNS.index(label)] == 1
    assert Header(["path", "id"], 1).others == [("id", 1)]


def test_a_time_of_digits_says_what_the_pattern_may_say():
    with pytest.raises(DataError, match=r"2/1774747800\.jpg: .*may be a date or a count .*\{captured_at:unix\}"):
        read("{camera}/{time}.jpg", "2/1774747800.jpg")


def test_local_times_of_names():
    image = name_pattern("{captured_at:%Y-%m-%d %H.%M}", ZoneInfo("Europe/Berlin")).image(
        Path("a"), "2026-07-01 12.00.png"
    )
    assert image is not None
    assert image.captured_at == datetime(2026, 7, 1, 10, tzinfo=UTC)
    with pytest.raises(DataError, match=r"x\.png: .*occurs twice"):
        name_pattern("{captured_at:%Y%m%d%H%M}", ZoneInfo("Europe/Berlin")).image(Path("x.png"), "202610250230.png")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*.jpg", "has no field"),
        ("{}.jpg", "has no field"),
        ("{pid}_{pid}.jpg", "names pid twice"),
        ("{id}_{pid}.jpg", "names pid twice, as id and as pid; rename"),
        ("{Person}_{person}.jpg", "names pid twice, as Person and as person"),
        (r"(?P<camera>\d)_(?P<cam>\d)", "names camid twice, as camera and as cam"),
        ("{pid.jpg", "brace that belongs to no field|has no field"),
        ("{pid}}.jpg", "brace"),
        ("{pid:float}.jpg", "after the colon may stand int"),
        ("{captured_at:soon}.jpg", "is not unix, unix_ms or a form"),
        ("(?P<pid>[0-9.jpg", "no regular expression"),
    ],
)
def test_what_is_no_pattern(pattern: str, message: str):
    with pytest.raises(DataError, match=message):
        name_pattern(pattern)


def test_a_name_that_does_not_fit_is_named(tmp_path: Path):
    for name in ("7_c1_a.jpg", "holiday.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"holiday\.jpg does not fit the pattern .*vpmsearch layout"):
        read_gallery("folder", tmp_path, pattern="{pid}_c{camid}_{}.jpg")


def test_splits_by_pattern(tmp_path: Path):
    for name in ("train/7_c1.jpg", "query/8_c1.jpg", "gallery/8_c2.jpg", "gallery/-1_c2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("{pid}_c{camid}", "{split}/{pid}_c{camid}"):
        dataset = read_dataset("market1501", tmp_path, ("query", "gallery"), pattern=pattern)
        assert [(i.pid, i.camid) for i in (*dataset.query, *dataset.gallery)] == [(8, 1), (8, 2)]
        assert dataset.train == ()
    with pytest.raises(DataError, match="has no pid by the pattern"):
        read_dataset("folder", tmp_path, pattern=r"-?\d+_c(?P<camid>\d)")
    with pytest.raises(DataError, match="no query and no gallery"):
        read_dataset("folder", tmp_path / "gallery", ("query", "gallery"), pattern="{pid}_c{camid}")


@pytest.mark.parametrize("name", DRAWN)
def test_every_drawn_example_is_guessed(tmp_path: Path, name: str):
    drawn = DRAWN[name]
    drawn.write(tmp_path / "somewhere")
    found = guesses(tmp_path)
    mine = [guess for guess in found if guess.layout.name == name]
    assert mine
    assert mine[0].root == tmp_path / "somewhere"
    shown = {split: len(images) for split, images in mine[0].splits.items()}
    assert shown == {split: min(len(drawn.of(split)), SHOWN) for split in shown}


@pytest.mark.parametrize(
    "name",
    ["market1501", "msmt17", "dukemtmc-videoreid", "ltcc", "vc-clothes", "veri", "mars", "prcc", "cuhk01", "last"],
)
def test_the_likeliest_comes_first(tmp_path: Path, name: str):
    DRAWN[name].write(tmp_path)
    assert guesses(tmp_path)[0].layout.name in (name, f"{name}-same", f"{name}-486")


def test_no_known_set(tmp_path: Path):
    for name in ("back_porch-1774747800.123456-abc12.jpg", "front-1774747801.5-abc13.jpg"):
        (tmp_path / name).touch()
    assert guesses(tmp_path) == []
    assert suggested_pattern(tmp_path) == "{camid}-{captured_at:unix}-{}"
    rows = tried(tmp_path, "{place}-{captured_at:unix}-{id}.jpg")
    assert [row.labels["place"] for row in rows] == ["back_porch", "front"]
    assert all(not row.problem for row in rows)
    assert [row.problem for row in tried(tmp_path, "{pid:int}.jpg")] == ["the pattern does not fit"] * 2

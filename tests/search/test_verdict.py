"""Distances as verdicts: what the numbers mean, when they are old, and the file they are kept in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmsearch.errors import StoreDamagedError
from vpmsearch.search.verdict import (
    LIKENESS,
    MATCH,
    NO_MATCH,
    PIDS,
    UNSURE,
    Calibration,
    load_calibration,
)
from vpmsearch.store import calibration_file

HUNDRED = tuple(float(i) for i in range(1, 101))
NEAR = tuple(i / 2 for i in range(1, 101))  # right first answers: 0.5 to 50


def made(*distances: tuple[float, ...], own=(NEAR,), basis=PIDS, **more) -> Calibration:
    return Calibration("abc", 0.1, 500, True, distances, own, basis, 20, **more)


def test_the_rate_is_the_share_of_strangers_at_least_as_near():
    known = made(HUNDRED)
    assert known.false_match_rate(1, 0.5) == 0
    assert known.false_match_rate(1, 5) == 0.05
    assert known.false_match_rate(1, 50.5) == 0.5
    assert known.false_match_rate(1, 1e9) == 1


def test_the_missed_rate_is_the_share_of_right_answers_at_least_as_far():
    known = made(HUNDRED)
    assert known.missed_rate(1, 0.1) == 1
    assert known.missed_rate(1, 25.5) == pytest.approx(51 / 101)
    assert known.missed_rate(1, 60) == pytest.approx(1 / 101), "never 0: what was measured is not all there is"
    assert replace(known, own=()).missed_rate(1, 1e9) == 1


@pytest.mark.parametrize(
    ("distance", "verdict"),
    [(0.0, MATCH), (5.0, MATCH), (6.0, UNSURE), (26.0, UNSURE), (48.0, UNSURE), (48.5, NO_MATCH), (None, NO_MATCH)],
)
def test_no_match_is_said_only_where_hardly_a_right_answer_lies(distance, verdict):
    """26 is farther than a quarter of the strangers; half of the right answers lie beyond it too."""
    assert made(HUNDRED).verdict(1, distance) == verdict


@given(st.floats(0, 200), st.sampled_from([PIDS, LIKENESS, ""]), st.integers(1, 3))
def test_what_no_match_promises(distance, basis, visible):
    known = made(HUNDRED, tuple(2 * d for d in HUNDRED), own=(NEAR, NEAR), basis=basis)
    found = known.verdict(visible, distance)
    assert found != MATCH or known.false_match_rate(visible, distance) <= 0.05
    assert found != NO_MATCH or (known.missed_rate(visible, distance) <= 0.05 and basis)


def test_near_right_answers_make_no_match_only_where_strangers_come_as_near():
    """Everybody's own images lie within 1: 20 is far from them, but one in five strangers comes nearer."""
    known = made(HUNDRED, own=((0.5,) * 60,))
    assert known.verdict(1, 20) == UNSURE
    assert known.verdict(1, 26) == NO_MATCH
    assert replace(known, basis=LIKENESS).verdict(1, 49) == UNSURE, "strangers that were estimated count for less"
    assert replace(known, basis=LIKENESS).verdict(1, 51) == NO_MATCH


def test_each_number_of_regions_has_rates_of_its_own_and_few_distances_borrow():
    known = made(HUNDRED, tuple(10 * x for x in HUNDRED), (7.0,) * 5)
    assert known.false_match_rate(1, 10) == 0.1
    assert known.false_match_rate(2, 10) == 0.01
    assert known.false_match_rate(3, 10) == pytest.approx((1 + 5) / 105)  # its five and its neighbour's hundred


def test_in_a_gallery_that_has_grown_strangers_come_nearer():
    known = made(HUNDRED)
    assert known.verdict(1, 5.0) == MATCH
    doubled = known.grown_to(1000)
    assert doubled.false_match_rate(1, 5.0) == pytest.approx(1 - 0.95**2)
    assert doubled.verdict(1, 5.0) == UNSURE
    assert known.grown_to(100).false_match_rate(1, 5.0) == 0.05, "one that has shrunk keeps its rates"


def test_a_calibration_notices_what_came_after_it():
    known = made(HUNDRED)
    assert known.notice(500, 20) == ""
    assert known.notice(620, 22) == ""
    assert "held 500 images then and holds 700 now; run `vpmsearch calibrate` again" in known.notice(700, 20)
    assert "held 500 images" in known.notice(300, 20)
    assert "labels came after it (20 identities then, 60 now)" in known.notice(500, 60)
    assert "labels came after it (0 identities then, 1 now)" in replace(known, identities=0).notice(500, 1)
    assert "earlier version" in replace(known, basis="").notice(500, 20)


def test_the_file_comes_back_as_it_was_written(tmp_path: Path):
    known = made(HUNDRED, ())
    known.save(tmp_path)
    assert load_calibration(tmp_path, "abc", 0.1) == known
    assert load_calibration(tmp_path, "other", 0.1) is None
    assert load_calibration(tmp_path, "abc", 0.2) is None
    assert load_calibration(tmp_path / "nowhere", "abc", 0.1) is None
    assert load_calibration(str(tmp_path), "abc", 0.1) == known


def test_one_of_an_earlier_version_is_read_and_never_says_no_match(tmp_path: Path):
    old = {"fingerprint": "abc", "min_visibility": 0.1, "images": 5, "labelled": False, "distances": [HUNDRED]}
    calibration_file.write(tmp_path, old)
    known = load_calibration(tmp_path, "abc", 0.1)
    assert known is not None
    assert (known.verdict(1, 3.0), known.verdict(1, 1e9)) == (MATCH, UNSURE)
    assert "calibrate` again" in known.notice(5, 0)


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = made(HUNDRED).save(tmp_path)
    whole = path.read_text()
    other = json.loads(whole)
    other["calibration"] = other["calibration"].replace("100.0", "1.0")
    for text in ("", "{}", "[]", "null", whole[:-20], json.dumps(other), json.dumps(json.loads(whole) | {"format": 2})):
        path.write_text(text)
        with pytest.raises(StoreDamagedError, match="vpmsearch calibrate"):
            load_calibration(tmp_path, "abc", 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": "many"},
        {"images": -1},
        {"images": True},
        {"identities": 1.5},
        {"basis": ["pids"]},
        {"distances": 7},
        {"distances": [[1.0, float("nan")]]},
        {"own": [["near"]]},
        {"more": 1},
    ],
)
def test_values_of_the_wrong_type_are_refused(tmp_path: Path, wrong):
    """The checksum only says that it is what somebody wrote."""
    calibration_file.write(tmp_path, made(HUNDRED).values() | wrong)
    with pytest.raises(StoreDamagedError, match="vpmsearch calibrate"):
        load_calibration(tmp_path, "abc", 0.1)

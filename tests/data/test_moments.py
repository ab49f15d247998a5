"""Times as people write them: one reading or none."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vpmsearch.data import moments
from vpmsearch.data.moments import at_zone, epoch, parse_moment, time_zone
from vpmsearch.errors import DataError
from vpmsearch.types import as_utc

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-29", "2026-03-29T00:00:00+00:00"),
        ("2026-03-29T02:30", "2026-03-29T02:30:00+00:00"),
        (" 2026-03-29 02:30:00.5 ", "2026-03-29T02:30:00.500000+00:00"),
        ("2026-03-29 02:30:00,123456789Z", "2026-03-29T02:30:00.123456+00:00"),
        ("2026-03-29T02:30:00+02:00", "2026-03-29T02:30:00+02:00"),
        ("2026-03-29T02:30:00-0500", "2026-03-29T02:30:00-05:00"),
        ("2026-03-29 02:30:00 UTC", "2026-03-29T02:30:00+00:00"),
        ("20260329T0230", "2026-03-29T02:30:00+00:00"),
        ("2026:03:29 02:30:00", "2026-03-29T02:30:00+00:00"),  # EXIF
        ("2026-03-30T02:30[Europe/Berlin]", "2026-03-30T02:30:00+02:00"),
        ("unix:1774747800", "2026-03-29T01:30:00+00:00"),
        ("@1774747800.25", "2026-03-29T01:30:00.250000+00:00"),
        ("unix_ms:1774747800000", "2026-03-29T01:30:00+00:00"),
        ("unix:-1", "1969-12-31T23:59:59+00:00"),
    ],
)
def test_what_can_be_read_in_one_way(text: str, expected: str):
    assert parse_moment(text).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "1774747800", "1774747800000", "1704121530000", "20260329", "202603290230", "20260329023000",
        "20260329113005042", "2026032902300", "2026", "-1", "1774747800.5",
    ],
)  # fmt: skip
def test_digits_alone_are_refused_and_told_how(text: str):
    with pytest.raises(DataError, match=r"may be a date or a count of seconds; write .* unix:"):
        parse_moment(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "29.03.2026 02:30", "03/29/2026", "2026-03", "2026-W13-7", "2026-088", "2026-3-9",
        "2026-13-01", "2026-02-30", "2026-03-29T24:00", "2026-06-30T23:59:60Z", "2026-03-29T02:30+25:00",
        "2026-03-29T02:30+01:75", "0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00", "2026-03-29T02:30[Mars/Base]",
        "unix:99999999999999", "2026-03:29 02:30", "2026-03-29T02", "２０２６-03-29",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(text: str):
    with pytest.raises(DataError):
        parse_moment(text)


def test_local_times_of_a_change_of_clocks_are_refused():
    assert parse_moment("2026-03-29T03:30", BERLIN).isoformat() == "2026-03-29T03:30:00+02:00"
    with pytest.raises(DataError, match="does not occur in Europe/Berlin, where the clocks change"):
        parse_moment("2026-03-29T02:30", BERLIN)
    with pytest.raises(DataError, match="occurs twice in Europe/Berlin"):
        parse_moment("2026-10-25T02:30", BERLIN)
    with pytest.raises(DataError, match="occurs twice"):
        at_zone(datetime(2026, 10, 25, 2, 30), BERLIN)
    assert parse_moment("2026-10-25T02:30+02:00", BERLIN).isoformat() == "2026-10-25T02:30:00+02:00"
    assert at_zone(datetime(2026, 10, 25, 2, 30), None) == datetime(2026, 10, 25, 2, 30, tzinfo=UTC)


def test_zones_by_name():
    assert time_zone("Europe/Berlin") is BERLIN
    for name in ("Berlin", "../etc/passwd", "", "\0"):
        with pytest.raises(DataError, match="is no time zone"):
            time_zone(name)


@example(datetime(2020, 10, 25, 2, tzinfo=BERLIN))
@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([None, UTC, BERLIN])))
def test_iso_times_come_back(moment: datetime):
    text = moment.isoformat()
    there = parse_moment(text)
    # In UTC: an hour that a change of clocks repeats equals no time of another zone (PEP 495).
    assert as_utc(there) == as_utc(moment)
    assert as_utc(parse_moment(there.isoformat())) == as_utc(there)


@given(st.integers(-(2**40), 2**37))
def test_milliseconds_are_exact(count: int):
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=count)
    assert parse_moment(f"unix_ms:{count}") == expected == epoch(count / 1000)


@pytest.mark.parametrize("text", ["2026-03-29T02:30:00Z", "2026-03-29 02:30:59.123456+05:45", "2026-12-31T23:59:00.5Z"])
def test_the_short_way_reads_as_the_long_one(text: str, monkeypatch: pytest.MonkeyPatch):
    short = parse_moment(text)
    monkeypatch.setattr(moments, "_PLAIN", re.compile("(?!)"))
    assert parse_moment(text) == short
    assert parse_moment(text).utcoffset() == short.utcoffset()


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00Z", "2026-03-29T02:30:60Z", "0001-01-01T00:00:00+23:00"])
def test_the_short_way_refuses_what_does_not_exist(text: str):
    with pytest.raises(DataError, match="no time that exists"):
        parse_moment(text)

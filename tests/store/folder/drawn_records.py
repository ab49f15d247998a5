"""Records of images as hypothesis draws them, and the rows that SQLite has of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from vpmsearch.types import ImageRecord, SearchFilter

FIRST = datetime(2024, 5, 1, tzinfo=UTC)
WORDS = ["alice", "007", "1e3", "12.0", "-0", "P-017", "Łódź"]
VALUES = ["north", "south", "1", "01", "", "a = b", 'say "no"\n']


@st.composite
def images(draw):
    number = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 3) | st.sampled_from(WORDS)
    attributes = st.dictionaries(st.sampled_from(["site", "Ort"]), st.sampled_from(VALUES))
    time = st.none() | st.integers(0, 5).map(lambda hours: FIRST + timedelta(hours=hours, microseconds=hours))
    path = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
    record = st.builds(
        ImageRecord, path, st.sampled_from(["", "hash", "00ff" * 8]), number, number, time, st.integers(0, 9),
        attributes=attributes,
    )  # fmt: skip
    return draw(st.lists(record, max_size=12, unique_by=lambda record: record.path))


def stored(record: ImageRecord, image_id: int) -> tuple[object, ...]:
    """A row as SQLite has it."""
    time = record.captured_at and record.captured_at.strftime("%Y-%m-%d %H:%M:%S.%f")
    content_hash = bytes.fromhex(record.content_hash) if len(record.content_hash) == 32 else record.content_hash
    size = (record.width, record.height)
    known, form = record.attributes, {"ensure_ascii": False, "separators": (",", ":"), "sort_keys": True}
    attributes = json.dumps(known, **form) if known else None
    return (image_id, record.path, content_hash, record.pid, record.camid, time, *size, attributes)


@st.composite
def questions(draw, records):
    """A filter and paths, mostly of what some of the records have."""
    some = st.lists(st.sampled_from(records), max_size=3) if records else st.just([])
    moment = st.none() | st.just(FIRST + timedelta(hours=2, microseconds=2))
    wanted = SearchFilter(
        tuple(record.pid for record in draw(some) if record.pid is not None),
        tuple(record.camid for record in draw(some) if record.camid is not None),
        draw(moment),
        draw(moment),
        draw(st.sampled_from(["", "~", *(record.path[:2] for record in records)])),
        draw(st.dictionaries(st.sampled_from(["site", "Ort", "x"]), st.lists(st.sampled_from(VALUES)), max_size=2)),
    )
    return wanted, [*(record.path for record in draw(some)), *draw(st.lists(st.just("nowhere"), max_size=1))]


def passes(record: ImageRecord, wanted: SearchFilter, paths: list[str]) -> bool:
    """Independently: one image, one condition after another."""
    after, before, time = wanted.captured_after, wanted.captured_before, record.captured_at
    return (
        (not wanted.pids or record.pid in wanted.pids)
        and (not wanted.camids or record.camid in wanted.camids)
        and (after is None or (time is not None and time >= after))
        and (before is None or (time is not None and time < before))
        and record.path.startswith(wanted.path_prefix)
        and (not paths or record.path in paths)
        and all(record.attributes.get(name) in values for name, values in wanted.where.items())
    )

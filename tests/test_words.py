"""Numbers as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vpmsearch
from vpmsearch.words import byte_size, number_of, pixel_count


@pytest.mark.parametrize(
    ("count", "noun", "plural", "text"),
    [
        (0, "image", "", "0 images"),
        (1, "image", "", "1 image"),
        (2, "image", "", "2 images"),
        (1, "identity", "", "1 identity"),
        (3, "identity", "", "3 identities"),
        (2, "day", "", "2 days"),
        (1, "person", "people", "1 person"),
        (5, "person", "people", "5 people"),
        (2, "match", "matches", "2 matches"),
    ],
)
def test_what_is_counted(count: int, noun: str, plural: str, text: str):
    assert number_of(count, noun, plural) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (64_400, "64 kB"),
        (999_600, "1.0 MB"),
        (8_000_000, "8.0 MB"),
        (134_217_728, "134.2 MB"),
        (1_250_000_000, "1.2 GB"),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_bytes(count: int, text: str):
    assert byte_size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (383, "383 pixels"),
        (1, "1 pixel"),
        (1_000_000, "1 megapixel"),
        (12_582_912, "12.6 megapixels"),
        (50_000_000, "50 megapixels"),
    ],
)
def test_pixels(count: int, text: str):
    assert pixel_count(count) == text


def test_messages_count_by_number_of():
    """No message says "1 images": what is counted by len() in a text goes through `number_of`."""
    counted = re.compile(
        r"\{len\([^{}]*\)\} (images|boxes|pictures|queries|photographs|rows|fields|answers|hosts|ports|lines|records)\b"
    )
    package = Path(vpmsearch.__file__).parent
    found = [
        f"{path.relative_to(package)}: {match[0]}"
        for path in sorted(package.rglob("*.py"))
        for match in counted.finditer(path.read_text("utf-8"))
    ]
    assert found == []

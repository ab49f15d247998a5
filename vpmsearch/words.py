"""Numbers and paths as people read them: "1 image", "12 images", "8.0 MB", "50 megapixels"."""

from __future__ import annotations

import os

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def number_of(count: int, noun: str, plural: str = "") -> str:
    """A number and what it counts: "1 image", "0 images", "12 identities" for `number_of(12, "identity")`.

    Args:
        noun: one of them. plural: where English does not make it by an s, or ies for y.
    """
    regular = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural or regular}"


def byte_size(count: float) -> str:
    """Bytes with three figures or so, in powers of 1000: "512 bytes", "64 kB", "8.0 MB", "1.2 GB"."""
    if count < 1000:
        return number_of(round(count), "byte")
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} kB" if unit == 1 else f"{count:.1f} {_UNITS[unit]}"


def pixel_count(count: int) -> str:
    """Pixels: "50 megapixels", "12.6 megapixels", "1 pixel"."""
    if count < 100_000:
        return number_of(count, "pixel")
    return f"{count / 1e6:.1f}".removesuffix(".0") + (" megapixel" if count == 1_000_000 else " megapixels")


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that prints on one line and encodes as UTF-8, whatever bytes the name holds."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

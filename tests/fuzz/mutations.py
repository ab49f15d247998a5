"""Damage to valid files, decided by a seed alone: bit flips, truncation, splices, and numbers set to extremes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, 2, -1, -2, 127, 128, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
HEAD = 2048  # bytes; where most formats keep their lengths


def mutate(samples: Sequence[bytes], seed: int) -> bytes:
    """One of the samples, damaged in up to four ways (now and then in none); the same for the same seed."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((0, *(1,) * 10, *(2,) * 5, *(4,) * 4))):
        rng.choice(_WAYS)(data, rng, samples)
    return bytes(data)


def mend_png(data: bytes) -> bytes:
    """The chunks' checksums made right again, without which no damage gets past them."""
    mended, at = bytearray(data), 8
    while at + 12 <= len(mended):
        length = int.from_bytes(mended[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def _place(data: bytearray, rng: random.Random) -> int:
    """Somewhere in the file, its head as often as all the rest."""
    return rng.randrange(max(1, min(HEAD, len(data)) if rng.random() < 0.5 else len(data)))


def _flip_bits(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 3, 20))):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _number(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    """Overwrite 1 to 8 bytes by an extreme number, as a length field would hold it."""
    width, order = rng.choice((1, 2, 4, 4, 8, 8)), rng.choice(("little", "big"))
    value = (rng.choice(EXTREMES) % 2 ** (8 * width)).to_bytes(width, order)
    place = _place(data, rng)
    place -= place % rng.choice((1, width))
    data[place : place + width] = value


def _truncate(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    del data[_place(data, rng) :]


def _splice(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    """A piece of this or another file, over or between what is there."""
    other = rng.choice(samples)
    start = rng.randrange(len(other))
    piece = other[start : start + rng.choice((4, 64, 1000))]
    place = _place(data, rng)
    data[place : place + (len(piece) if rng.random() < 0.5 else 0)] = piece


def _delete(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 4, 8, 100))]


def _fill(data: bytearray, rng: random.Random, samples: Sequence[bytes]) -> None:
    place, length = _place(data, rng), rng.choice((1, 8, 64))
    data[place : place + length] = bytes([rng.choice((0, 0xFF, rng.randrange(256)))]) * length


_WAYS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _flip_bits,
    _flip_bits,
    _number,
    _number,
    _number,
    _truncate,
    _splice,
    _delete,
    _fill,
)

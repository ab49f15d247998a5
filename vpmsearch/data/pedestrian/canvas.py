"""The canvas: a picture and the light on it, colours, and shapes in body heights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import cos, hypot, pi, sin

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Row = tuple[float, float, float]  # a ring of a tube as it is seen: centre u, height v, half its width

BLACK, WHITE, GREY = (34, 34, 40), (236, 234, 228), (132, 134, 140)
NAVY, BLUE, TEAL, GREEN = (38, 50, 96), (66, 124, 196), (40, 146, 146), (62, 122, 66)
RED, PINK, ORANGE, YELLOW = (188, 44, 48), (224, 140, 164), (222, 122, 46), (226, 190, 70)
BEIGE, BROWN, PURPLE = (206, 184, 148), (112, 76, 52), (112, 72, 142)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour `share` (0-1) of the way from one to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Canvas:
    """A picture in two layers: the colour of each pixel, and the light on it. Shapes are given in body heights.

    Colour and light are drawn apart, so that the same pattern can be drawn on any shape. sun: where the light comes
    from, -1 (left) to 1 (right).
    """

    def __init__(self, picture: Image.Image, *, sun: float) -> None:
        self.picture = picture
        self.light = Image.new("L", picture.size, 255)
        self.sun = sun
        self._paint, self._shine = ImageDraw.Draw(picture), ImageDraw.Draw(self.light)
        self.stand((picture.width / 2, picture.height), picture.height)

    def stand(self, foot: Point, height: float) -> None:
        """Put the ground under the next figure at pixel `foot` (x, y); its body is `height` pixels high."""
        self._foot, self._height = foot, height

    @contextmanager
    def enlarged(self, around: Point, by: float) -> Iterator[None]:
        """Within the block, shapes are drawn enlarged. The point `around` keeps its place."""
        before = self._foot, self._height
        (x, y), scale = before
        more = scale * (by - 1.0)
        self._foot, self._height = (x - more * around[0], y + more * around[1]), scale * by
        yield
        self._foot, self._height = before

    def polygon(self, points: Sequence[Point], colour: Colour | None, light: int | None = None) -> None:
        """Fill in a colour, with a light (0-255), or both."""
        (x, y), scale = self._foot, self._height
        pixels = [(x + scale * u, y - scale * v) for u, v in points]
        if colour is not None:
            self._paint.polygon(pixels, colour)
        if light is not None:
            self._shine.polygon(pixels, light)

    def ellipse(self, centre: Point, wide: float, high: float, colour: Colour | None, light: int | None = None) -> None:
        """An ellipse of half-axes `wide` and `high`."""
        self.polygon([(centre[0] + wide * c, centre[1] + high * s) for c, s in CIRCLE], colour, light)

    def limb(self, joints: Sequence[Point], radii: Sequence[float], colour: Colour, *, cut: bool = False) -> None:
        """A rounded limb through its joints, with a dark rim and a lit side; cut off straight at its end if asked."""
        last = len(joints) - 2
        for rim, narrow, shift, tint, light in LIMB_COATS:
            for i in range(last + 1):
                (a, b), (c, d), at_p, at_q = joints[i], joints[i + 1], radii[i], radii[i + 1]
                p, q = (a + shift * self.sun * at_p, b), (c + shift * self.sun * at_q, d)
                shape = capsule(p, q, at_p * narrow + rim, at_q * narrow + rim, blunt=int(cut and i == last))
                self.polygon(shape, colour if tint else None, light)

    def tube(self, rows: Sequence[Row], colour: Colour) -> None:
        """A trunk through rings as they are seen, rows from the top down, with a dark rim and a lit side."""
        self.polygon(outline([(u, v, w + 0.004) for u, v, w in rows]), None, 150)
        self.polygon(outline(rows), colour, 198)
        lit = self.sun * 0.5
        self.polygon(outline(rows, lit - 0.95, lit + 0.95), None, 230)
        self.polygon(outline(rows, lit - 0.5, lit + 0.5), None, 252)


# The coats of a limb: rim around it, share of its radius, shift to the sun, whether it is painted, the light on it.
LIMB_COATS = ((0.004, 1.0, 0.0, False, 150), (0.0, 1.0, 0.0, True, 196), (0.0, 0.72, 0.3, False, 250))
HALF_CIRCLE = [(cos(pi / 2 + pi * i / 5), sin(pi / 2 + pi * i / 5)) for i in range(6)]
CIRCLE = [(cos(2 * pi * i / 20), sin(2 * pi * i / 20)) for i in range(20)]


def capsule(p: Point, q: Point, at_p: float, at_q: float, *, blunt: int = 0) -> list[Point]:
    """Two half circles joined by straight sides; blunt: how many ends are cut off straight, q's first."""
    long = hypot(q[0] - p[0], q[1] - p[1]) or 1.0
    du, dv = (q[0] - p[0]) / long, (q[1] - p[1]) / long
    turned = [(du * c - dv * s, dv * c + du * s) for c, s in HALF_CIRCLE]
    back = [(p[0] + at_p * c, p[1] + at_p * s) for c, s in (turned[::5] if blunt > 1 else turned)]
    return back + [(q[0] - at_q * c, q[1] - at_q * s) for c, s in (turned[::5] if blunt else turned)]


def outline(rows: Sequence[Row], start: float = -pi / 2, stop: float = pi / 2) -> list[Point]:
    """The part of a tube between two angles from its middle: -pi/2 is the left edge, pi/2 the right one."""
    left, right = sin(start), sin(stop)
    return [(u + w * left, v) for u, v, w in rows] + [(u + w * right, v) for u, v, w in reversed(rows)]


def cut_tube(rows: Sequence[Row], top: float, bottom: float) -> list[Row]:
    """The rows of a tube between two heights, with new ones at the cuts."""
    heights = [-v for _, v, _ in rows]
    top, bottom = min(top, -heights[0]), max(bottom, -heights[-1])
    inner = [row for row in rows if bottom < row[1] < top]

    def ring(v: float) -> Row:
        u, w = (float(np.interp(-v, heights, [row[i] for row in rows])) for i in (0, 2))
        return u, v, w

    return [ring(top), *inner, ring(bottom)]


def facing(start: float, stop: float) -> tuple[float, float] | None:
    """The part of a strip between two angles that the camera sees. An angle of 0 is towards the camera."""
    turn = round((start + stop) / 2 / (2 * pi)) * 2 * pi
    start, stop = max(start - turn, -pi / 2), min(stop - turn, pi / 2)
    return (start, stop) if start < stop else None


def between(p: Point, q: Point, share: float) -> Point:
    """The point `share` (0-1) of the way from p to q."""
    return p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share

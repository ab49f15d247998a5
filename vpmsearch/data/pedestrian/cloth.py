"""Clothes: fabrics around a body's tubes and limbs, and prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import atan2, cos, hypot, pi, sin

from vpmsearch.data.pedestrian.appearance import Fabric
from vpmsearch.data.pedestrian.body import Body
from vpmsearch.data.pedestrian.canvas import (
    CIRCLE,
    Canvas,
    Colour,
    Point,
    Row,
    between,
    cut_tube,
    facing,
    mix,
    outline,
)


class Tailor:
    """Puts fabrics on a body; patterns turn with it."""

    def __init__(self, canvas: Canvas, body: Body) -> None:
        self.canvas, self.body = canvas, body

    def strip(self, rows: Sequence[Row], middle: float, half: float, colour: Colour) -> None:
        """A strip along a tube, `half` to both sides of the angle `middle` (0 is ahead of the person)."""
        seen = facing(middle + self.body.pose.yaw - half, middle + self.body.pose.yaw + half)
        if seen:
            self.canvas.polygon(outline(rows, *seen), colour)

    def _rings(self, rows: Sequence[Row], step: float, colour: Colour, share: float = 0.5) -> None:
        """Rings around a tube, one every `step` of its height and `share` of that thick."""
        top, bottom = rows[0][1], rows[-1][1]
        for i in range(int((top - bottom) / step) + 1):
            upper = top - (i + 0.5) * step
            if upper > bottom:
                self.canvas.polygon(outline(cut_tube(rows, upper, upper - share * step)), colour)

    def _stripes(self, rows: Sequence[Row], count: int, colour: Colour, share: float = 0.5) -> None:
        for i in range(count):
            self.strip(rows, 2 * pi * i / count, share * pi / count, colour)

    def tube(self, rows: Sequence[Row], fabric: Fabric) -> None:
        """A tube of a fabric, rows from the top down."""
        self.canvas.tube(rows, fabric.base)
        top, bottom = rows[0][1], rows[-1][1]
        blend = mix(fabric.base, fabric.accent, 0.6)
        match fabric.pattern:
            case "rings":
                self._rings(rows, 0.052 * fabric.scale, fabric.accent)
            case "stripes":
                self._stripes(rows, round(12 / fabric.scale), fabric.accent)
            case "checks":
                self._rings(rows, 0.06 * fabric.scale, blend)
                self._stripes(rows, round(12 / fabric.scale), blend)
                self._rings(rows, 0.06 * fabric.scale, fabric.accent, 0.15)
            case "dots":
                self._dots(rows, fabric)
            case "halves":
                self.canvas.polygon(outline(cut_tube(rows, top - 0.2 * fabric.scale, bottom)), fabric.accent)
            case "panel":
                self.strip(rows, 0.0, 0.5, fabric.accent)
                self.strip(rows, pi, 0.5, fabric.accent)
            case "band":
                band = cut_tube(rows, top - 0.11, top - 0.11 - 0.07 * fabric.scale)
                self.canvas.polygon(outline(band), fabric.accent)

    def _dots(self, rows: Sequence[Row], fabric: Fabric) -> None:
        step = 0.05 * fabric.scale
        for i in range(int((rows[0][1] - rows[-1][1]) / step)):
            u, v, w = cut_tube(rows, rows[0][1] - (i + 0.6) * step, rows[-1][1])[0]
            for j in range(10):
                angle = (2 * j + i % 2) * pi / 10 + self.body.pose.yaw
                if cos(angle) > 0.1:
                    spot = (u + w * sin(angle), v)
                    self.canvas.ellipse(spot, 0.011 * fabric.scale * cos(angle), 0.011 * fabric.scale, fabric.accent)

    def sleeve(self, joints: Sequence[Point], radii: Sequence[float], reach: float, fabric: Fabric) -> None:
        """Clothe a limb of two bones down to `reach` (0-1) of its length."""
        ends, widths = [joints[0]], [radii[0]]
        for i in range(len(joints) - 1):
            part = min(1.0, 2 * reach - i)
            if part > 0:
                ends.append(between(joints[i], joints[i + 1], part))
                widths.append(radii[i] + (radii[i + 1] - radii[i]) * part)
        self.canvas.limb(ends, widths, fabric.base, cut=reach < 1.0)
        for i in range(len(ends) - 1):
            self._limb_pattern(ends[i], ends[i + 1], (widths[i] + widths[i + 1]) / 2, fabric)

    def _limb_pattern(self, p: Point, q: Point, radius: float, fabric: Fabric) -> None:
        across = atan2(q[1] - p[1], q[0] - p[0]) + pi / 2
        du, dv = radius * cos(across), radius * sin(across)

        def patch(start: float, stop: float, left: float, right: float) -> None:
            (a, b), (c, d) = between(p, q, start), between(p, q, stop)
            corners = [(a + left * du, b + left * dv), (a + right * du, b + right * dv)]
            corners += [(c + right * du, d + right * dv), (c + left * du, d + left * dv)]
            self.canvas.polygon(corners, fabric.accent)

        if fabric.pattern in ("rings", "checks"):
            count = max(1, round(hypot(q[0] - p[0], q[1] - p[1]) / (0.05 * fabric.scale)))
            for i in range(count):
                patch((i + 0.25) / count, (i + 0.75) / count, -1.0, 1.0)
        if fabric.pattern in ("stripes", "checks"):
            patch(0.0, 1.0, -0.25, 0.25)

    def print_on(self, rows: Sequence[Row], fabric: Fabric, ahead: float) -> None:
        """A print on the chest (`ahead` 0) or, turned round, on the back (pi)."""
        size = 0.036 + 0.016 * fabric.scale
        turn = (ahead + self.body.pose.yaw + pi) % (2 * pi) - pi  # -pi to pi, 0 faces the camera
        if abs(turn) > 1.4:
            return
        corners = []
        for a, b in PRINT_SHAPES[fabric.print]:
            angle = max(-pi / 2, min(pi / 2, turn + a * size / 0.1))
            u, v, w = cut_tube(rows, self.body.height(0.705 + size * b), rows[-1][1])[0]
            corners.append((u + w * sin(angle), v))
        self.canvas.polygon(corners, fabric.accent)


def _star(points: int, inner: float) -> Iterator[Point]:
    for i in range(2 * points):
        radius = 1.0 if i % 2 == 0 else inner
        yield radius * sin(pi * i / points), radius * cos(pi * i / points)


PRINT_SHAPES: dict[str, list[Point]] = {
    "disc": CIRCLE, "star": list(_star(5, 0.45)), "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "bar": [(-1.2, -0.35), (1.2, -0.35), (1.2, 0.35), (-1.2, 0.35)],
    "chevron": [(-1, 0.9), (0, 0.2), (1, 0.9), (1, 0.1), (0, -0.7), (-1, 0.1)],
    "cross": [
        (-0.3, 1), (0.3, 1), (0.3, 0.3), (1, 0.3), (1, -0.3), (0.3, -0.3),
        (0.3, -1), (-0.3, -1), (-0.3, -0.3), (-1, -0.3), (-1, 0.3), (-0.3, 0.3),
    ],
}  # fmt: skip

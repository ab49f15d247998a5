"""A drawn pedestrian: who somebody is (`Appearance`) and how the figure is put on a canvas (`draw_figure`).

Lengths are in body heights: u to the right of the picture, v up, the ground at 0 and the crown at 1. The body is
built in three dimensions (x to the person's left, y up, z ahead) and turned by the yaw of the view: 0 looks into the
camera, a quarter to the right of the picture, a half away. So one identity shows its print in front and its backpack
from behind. In order: who they are, the canvas, the figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from math import atan2, copysign, cos, hypot, pi, sin
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Solid = tuple[float, float, float]
Row = tuple[float, float, float]  # a ring of a tube as it is seen: centre u, height v, half its width
Item = TypeVar("Item")

BLACK, WHITE, GREY = (34, 34, 40), (236, 234, 228), (132, 134, 140)
NAVY, BLUE, TEAL, GREEN = (38, 50, 96), (66, 124, 196), (40, 146, 146), (62, 122, 66)
RED, PINK, ORANGE, YELLOW = (188, 44, 48), (224, 140, 164), (222, 122, 46), (226, 190, 70)
BEIGE, BROWN, PURPLE = (206, 184, 148), (112, 76, 52), (112, 72, 142)
# Everybody dresses out of one of few wardrobes, so that people are told apart by where a colour sits, not by which.
WARDROBES = (
    (BLACK, WHITE, RED), (NAVY, WHITE, YELLOW), (BLUE, GREY, BLACK), (BEIGE, BROWN, TEAL), (GREEN, BEIGE, BLACK),
    (RED, NAVY, GREY), (PINK, GREY, WHITE), (ORANGE, NAVY, BEIGE), (PURPLE, BLACK, PINK), (TEAL, WHITE, BLACK),
    (YELLOW, GREY, BLUE), (GREEN, WHITE, NAVY),
)  # fmt: skip
SKINS = ((246, 214, 188), (228, 184, 148), (198, 146, 108), (150, 102, 70), (98, 66, 48))
HAIRS = ((28, 24, 26), (66, 42, 30), (120, 78, 44), (206, 164, 96), (166, 74, 36), (176, 174, 172))
CUTS = ("bald", "buzz", "short", "short", "bob", "long", "long", "ponytail", "bun", "afro", "headscarf")
HATS = ("none", "none", "none", "none", "cap", "beanie", "sunhat")
PATTERNS = (
    "plain", "plain", "plain", "print", "print", "rings", "stripes", "checks", "dots", "halves", "panel", "band",
)  # fmt: skip
LEG_PATTERNS = ("plain", "plain", "plain", "plain", "side", "side", "checks", "rings", "halves")
PRINTS = ("disc", "square", "bar", "chevron", "cross", "star")
BAGS = ("none", "none", "backpack", "backpack", "shoulder bag", "shoulder bag", "handbag", "suitcase")


@dataclass(frozen=True)
class Upper:
    """The cut of an upper garment: how far the sleeve reaches down the arm (0-1), its hem, what closes it in front."""

    sleeve: float
    hem: float
    front: str = "plain"
    loose: float = 1.0


UPPERS = {
    "t-shirt": Upper(0.42, 0.475), "vest": Upper(0.0, 0.48), "shirt": Upper(0.96, 0.465, "buttons"),
    "polo": Upper(0.42, 0.475, "buttons"), "jacket": Upper(0.98, 0.47, "zip", 1.1),
    "open jacket": Upper(0.98, 0.46, "open", 1.1), "hoodie": Upper(0.97, 0.465, "pocket", 1.12),
    "coat": Upper(0.98, 0.31, "buttons", 1.1), "open coat": Upper(0.98, 0.30, "open", 1.1),
    "dress": Upper(0.3, 0.29),
}  # fmt: skip


@dataclass(frozen=True)
class Lower:
    """The cut of a lower garment: how far it reaches down the leg (0-1), how wide it is, a skirt's hem if it is one."""

    reach: float
    wide: float
    hem: float | None = None


LOWERS = {
    "bare": Lower(0.0, 0.0), "trousers": Lower(0.94, 0.01), "jeans": Lower(0.95, 0.005),
    "flares": Lower(0.95, 0.006), "leggings": Lower(0.94, 0.0), "cropped": Lower(0.72, 0.010),
    "shorts": Lower(0.42, 0.016), "skirt": Lower(0.0, 0.0, 0.31), "long skirt": Lower(0.0, 0.0, 0.14),
}  # fmt: skip
WORN = ("trousers", "trousers", "jeans", "flares", "leggings", "cropped", "shorts", "skirt", "long skirt")


@dataclass(frozen=True)
class Fabric:
    """The colours of a garment and how they lie on it."""

    base: Colour
    accent: Colour
    pattern: str = "plain"
    scale: float = 1.0
    print: str = "disc"


@dataclass(frozen=True)
class Appearance:
    """All that makes an identity; it is the same in every camera."""

    build: float
    shoulders: float
    hips: float
    stride: float
    skin: Colour
    hair: str
    hair_colour: Colour
    beard: bool
    glasses: bool
    hat: str
    hat_colour: Colour
    scarf: Colour | None
    upper: str
    upper_fabric: Fabric
    sleeve: Colour
    inner: Colour
    lower: str
    lower_fabric: Fabric
    shoes: str
    shoe_colour: Colour
    sole: Colour
    socks: Colour
    sock_height: float
    bag: str
    bag_colour: Colour
    bag_side: int


@dataclass(frozen=True)
class Pose:
    """One moment of a walk, in radians: yaw of the body, phase and width of the stride, turn of the head.

    tilt: how far the camera looks down (v lost by what stands a body height nearer). lean: of the trunk to one side.
    """

    yaw: float
    phase: float
    stride: float
    head_turn: float = 0.0
    tilt: float = 0.12
    lean: float = 0.0


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of the items, each as likely as any other; the item itself, where `rng.choice` would make it an array's."""
    return items[int(rng.integers(len(items)))]


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour `share` (0-1) of the way from one to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _fabric(rng: np.random.Generator, base: Colour, accent: Colour, patterns: Sequence[str]) -> Fabric:
    scale = float(rng.uniform(0.75, 1.5))
    return Fabric(base, accent, pick(rng, patterns), scale, pick(rng, PRINTS))


def appearance(rng: np.random.Generator) -> Appearance:
    """Somebody new. The generator alone decides who; equal generators give equal people."""
    wardrobe = pick(rng, WARDROBES)
    first, second, third = (wardrobe[int(i)] for i in rng.permutation(3))
    upper, lower = pick(rng, tuple(UPPERS)), pick(rng, WORN)
    small = (first, second, third, BLACK, WHITE)  # what shoes, hats and bags are made of
    upper_fabric = _fabric(rng, first, second if rng.random() < 0.6 else third, PATTERNS)
    if upper == "dress":  # what shows below it are tights or bare legs
        lower = pick(rng, ("leggings", "bare"))
    lower_fabric = _fabric(rng, second, pick(rng, (first, third, third)), LEG_PATTERNS)
    if lower == "jeans":
        lower_fabric = replace(lower_fabric, base=pick(rng, (NAVY, (74, 96, 140), BLACK)), pattern="plain")
    hair = pick(rng, CUTS)
    cloth = pick(rng, small)
    return Appearance(
        build=float(rng.uniform(0.86, 1.2)), shoulders=float(rng.uniform(0.9, 1.1)),
        hips=float(rng.uniform(0.92, 1.12)), stride=float(rng.uniform(0.8, 1.2)), skin=pick(rng, SKINS), hair=hair,
        hair_colour=cloth if hair == "headscarf" else pick(rng, HAIRS),
        beard=hair in ("bald", "buzz", "short") and rng.random() < 0.4, glasses=rng.random() < 0.25,
        hat="none" if hair in ("headscarf", "afro", "bun") else pick(rng, HATS), hat_colour=pick(rng, small),
        scarf=pick(rng, small) if hair != "headscarf" and rng.random() < 0.18 else None,
        upper=upper, upper_fabric=upper_fabric, sleeve=first if rng.random() < 0.75 else upper_fabric.accent,
        inner=pick(rng, (WHITE, GREY, third)), lower=lower, lower_fabric=lower_fabric,
        shoes=pick(rng, ("trainers", "trainers", "boots", "shoes", "sandals")), shoe_colour=pick(rng, small),
        sole=pick(rng, (WHITE, WHITE, BLACK, third)), socks=pick(rng, (WHITE, BLACK, second, third)),
        sock_height=float(pick(rng, (0.06, 0.12, 0.3))), bag=pick(rng, BAGS),
        bag_colour=pick(rng, (third, BLACK, BROWN, first)), bag_side=pick(rng, (-1, 1)),
    )  # fmt: skip


HEAD = 1.12  # how much larger a head is than life: a face has to be seen on ten pixels


class Canvas:
    """A picture and, beside it, the light that falls on each pixel; both take shapes in body heights.

    Shading apart from colour lets one pattern lie on any shape. sun: where the light comes from, -1 (left) to 1.
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
        """What is drawn inside is larger, and `around` stays where it is."""
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
                shape = _capsule(p, q, at_p * narrow + rim, at_q * narrow + rim, blunt=int(cut and i == last))
                self.polygon(shape, colour if tint else None, light)

    def tube(self, rows: Sequence[Row], colour: Colour) -> None:
        """A trunk through rings as they are seen, rows from the top down, with a dark rim and a lit side."""
        self.polygon(_outline([(u, v, w + 0.004) for u, v, w in rows]), None, 150)
        self.polygon(_outline(rows), colour, 198)
        lit = self.sun * 0.5
        self.polygon(_outline(rows, lit - 0.95, lit + 0.95), None, 230)
        self.polygon(_outline(rows, lit - 0.5, lit + 0.5), None, 252)


# The coats of a limb: rim around it, share of its radius, shift to the sun, whether it is painted, the light on it.
LIMB_COATS = ((0.004, 1.0, 0.0, False, 150), (0.0, 1.0, 0.0, True, 196), (0.0, 0.72, 0.3, False, 250))
HALF_CIRCLE = [(cos(pi / 2 + pi * i / 5), sin(pi / 2 + pi * i / 5)) for i in range(6)]
CIRCLE = [(cos(2 * pi * i / 20), sin(2 * pi * i / 20)) for i in range(20)]


def _capsule(p: Point, q: Point, at_p: float, at_q: float, *, blunt: int = 0) -> list[Point]:
    """Two half circles joined by straight sides; blunt: how many ends are cut off straight, q's first."""
    long = hypot(q[0] - p[0], q[1] - p[1]) or 1.0
    du, dv = (q[0] - p[0]) / long, (q[1] - p[1]) / long
    turned = [(du * c - dv * s, dv * c + du * s) for c, s in HALF_CIRCLE]
    back = [(p[0] + at_p * c, p[1] + at_p * s) for c, s in (turned[::5] if blunt > 1 else turned)]
    return back + [(q[0] - at_q * c, q[1] - at_q * s) for c, s in (turned[::5] if blunt else turned)]


def _outline(rows: Sequence[Row], start: float = -pi / 2, stop: float = pi / 2) -> list[Point]:
    """The part of a tube between two angles from its middle: -pi/2 is the left edge, pi/2 the right one."""
    left, right = sin(start), sin(stop)
    return [(u + w * left, v) for u, v, w in rows] + [(u + w * right, v) for u, v, w in reversed(rows)]


def _cut(rows: Sequence[Row], top: float, bottom: float) -> list[Row]:
    """The rows of a tube between two heights, with new ones at the cuts."""
    heights = [-v for _, v, _ in rows]
    top, bottom = min(top, -heights[0]), max(bottom, -heights[-1])
    inner = [row for row in rows if bottom < row[1] < top]

    def ring(v: float) -> Row:
        u, w = (float(np.interp(-v, heights, [row[i] for row in rows])) for i in (0, 2))
        return u, v, w

    return [ring(top), *inner, ring(bottom)]


def _seen(start: float, stop: float) -> tuple[float, float] | None:
    """What of a strip between two angles (0 is towards the camera) is not behind the edge."""
    turn = round((start + stop) / 2 / (2 * pi)) * 2 * pi
    start, stop = max(start - turn, -pi / 2), min(stop - turn, pi / 2)
    return (start, stop) if start < stop else None


class Figure:
    """One person in one pose on a canvas."""

    def __init__(self, canvas: Canvas, look: Appearance, pose: Pose) -> None:
        self.canvas, self.look, self.pose = canvas, look, pose
        self.cos, self.sin = cos(pose.yaw), sin(pose.yaw)
        self.upper, self.lower = UPPERS[look.upper], LOWERS[look.lower]
        self.legs = {side: self._leg_joints(side) for side in (-1, 1)}
        self.arms = {side: self._arm_joints(side) for side in (-1, 1)}
        # A stride lowers the body: whichever foot is lowest stands on the ground.
        self.drop = min(y for leg in self.legs.values() for _, y, _ in leg[2:]) - 0.022

    def draw(self) -> None:
        """From what is farthest to what is nearest."""
        near = 1 if self.sin < 0 else -1  # the side of the body that is turned to the camera
        from_side = abs(self.sin) > 0.35
        self._bag(in_front=False)
        if from_side:
            self._arm(-near)
        for side in (-near, near):
            self._leg(side)
        self._skirt()
        self._torso()
        if not from_side:
            self._arm(-near)
            self._arm(near)
        with self.canvas.enlarged(self._chin, HEAD):
            self._head()
        if from_side:
            self._arm(near)
        self._bag(in_front=True)

    # the skeleton

    def _leg_joints(self, side: int) -> tuple[Solid, ...]:
        """Hip, knee, ankle and toe."""
        phase = self.pose.phase + (pi if side > 0 else 0.0)
        swing = self.pose.stride * sin(phase)
        bend = swing - 0.06 - 1.9 * self.pose.stride * max(0.0, cos(phase))
        x = side * 0.046 * self.look.hips
        knee = (x * 1.05, 0.5 - 0.235 * cos(swing), 0.235 * sin(swing))
        ankle = (x, knee[1] - 0.225 * cos(bend), knee[2] + 0.225 * sin(bend))
        pitch = 0.5 * min(0.0, bend) + 0.3 * max(0.0, swing)
        toe = (x * 1.5, ankle[1] - 0.016 + 0.07 * sin(pitch), ankle[2] + 0.07 * cos(pitch))
        return (x, 0.5, 0.0), knee, ankle, toe

    def _arm_joints(self, side: int) -> tuple[Solid, ...]:
        """Shoulder, elbow and wrist."""
        swing = -0.9 * self.pose.stride * sin(self.pose.phase + (pi if side > 0 else 0.0))
        bend = swing + 0.2 + 0.5 * max(0.0, swing)
        x = side * 0.094 * self.look.shoulders * self.look.build**0.5
        elbow = (x + side * 0.032, 0.778 - 0.15 * cos(swing), 0.15 * sin(swing))
        wrist = (x + side * 0.036, elbow[1] - 0.135 * cos(bend), elbow[2] + 0.135 * sin(bend))
        return (x, 0.778, 0.0), elbow, wrist

    def _project(self, x: float, y: float, z: float) -> Point:
        depth = z * self.cos - x * self.sin
        u = x * self.cos + z * self.sin + self.pose.lean * (y - 0.5)
        return u, y - self.drop - self.pose.tilt * depth

    def _ring(self, y: float, wide: float, deep: float, z: float = 0.0) -> Row:
        """How the ellipse of half-axes wide (across) and deep (ahead) is seen at height y, z ahead of the spine."""
        u, v = self._project(0.0, y, z)
        return u, v + self.pose.tilt * z * self.cos, hypot(wide * self.cos, deep * self.sin)

    # what clothes are made of

    def _strip(self, rows: Sequence[Row], middle: float, half: float, colour: Colour) -> None:
        """A strip along a tube, `half` to both sides of the angle `middle` (0 is ahead of the person)."""
        seen = _seen(middle + self.pose.yaw - half, middle + self.pose.yaw + half)
        if seen:
            self.canvas.polygon(_outline(rows, *seen), colour)

    def _rings(self, rows: Sequence[Row], step: float, colour: Colour, share: float = 0.5) -> None:
        """Rings around a tube, one every `step` of its height and `share` of that thick."""
        top, bottom = rows[0][1], rows[-1][1]
        for i in range(int((top - bottom) / step) + 1):
            upper = top - (i + 0.5) * step
            if upper > bottom:
                self.canvas.polygon(_outline(_cut(rows, upper, upper - share * step)), colour)

    def _stripes(self, rows: Sequence[Row], count: int, colour: Colour, share: float = 0.5) -> None:
        for i in range(count):
            self._strip(rows, 2 * pi * i / count, share * pi / count, colour)

    def _cloth(self, rows: Sequence[Row], fabric: Fabric) -> None:
        """A tube of a fabric, rows from the top down."""
        self.canvas.tube(rows, fabric.base)
        top, bottom = rows[0][1], rows[-1][1]
        between = mix(fabric.base, fabric.accent, 0.6)
        match fabric.pattern:
            case "rings":
                self._rings(rows, 0.052 * fabric.scale, fabric.accent)
            case "stripes":
                self._stripes(rows, round(12 / fabric.scale), fabric.accent)
            case "checks":
                self._rings(rows, 0.06 * fabric.scale, between)
                self._stripes(rows, round(12 / fabric.scale), between)
                self._rings(rows, 0.06 * fabric.scale, fabric.accent, 0.15)
            case "dots":
                self._dots(rows, fabric)
            case "halves":
                self.canvas.polygon(_outline(_cut(rows, top - 0.2 * fabric.scale, bottom)), fabric.accent)
            case "panel":
                self._strip(rows, 0.0, 0.5, fabric.accent)
                self._strip(rows, pi, 0.5, fabric.accent)
            case "band":
                band = _cut(rows, top - 0.11, top - 0.11 - 0.07 * fabric.scale)
                self.canvas.polygon(_outline(band), fabric.accent)

    def _dots(self, rows: Sequence[Row], fabric: Fabric) -> None:
        step = 0.05 * fabric.scale
        for i in range(int((rows[0][1] - rows[-1][1]) / step)):
            u, v, w = _cut(rows, rows[0][1] - (i + 0.6) * step, rows[-1][1])[0]
            for j in range(10):
                angle = (2 * j + i % 2) * pi / 10 + self.pose.yaw
                if cos(angle) > 0.1:
                    spot = (u + w * sin(angle), v)
                    self.canvas.ellipse(spot, 0.011 * fabric.scale * cos(angle), 0.011 * fabric.scale, fabric.accent)

    def _sleeve(self, joints: Sequence[Point], radii: Sequence[float], reach: float, fabric: Fabric) -> None:
        """Clothe a limb of two bones down to `reach` (0-1) of its length."""
        ends, widths = [joints[0]], [radii[0]]
        for i in range(len(joints) - 1):
            part = min(1.0, 2 * reach - i)
            if part > 0:
                ends.append(_between(joints[i], joints[i + 1], part))
                widths.append(radii[i] + (radii[i + 1] - radii[i]) * part)
        self.canvas.limb(ends, widths, fabric.base, cut=reach < 1.0)
        for i in range(len(ends) - 1):
            self._limb_pattern(ends[i], ends[i + 1], (widths[i] + widths[i + 1]) / 2, fabric)

    def _limb_pattern(self, p: Point, q: Point, radius: float, fabric: Fabric) -> None:
        across = atan2(q[1] - p[1], q[0] - p[0]) + pi / 2
        du, dv = radius * cos(across), radius * sin(across)

        def patch(start: float, stop: float, left: float, right: float) -> None:
            (a, b), (c, d) = _between(p, q, start), _between(p, q, stop)
            corners = [(a + left * du, b + left * dv), (a + right * du, b + right * dv)]
            corners += [(c + right * du, d + right * dv), (c + left * du, d + left * dv)]
            self.canvas.polygon(corners, fabric.accent)

        if fabric.pattern in ("rings", "checks"):
            count = max(1, round(hypot(q[0] - p[0], q[1] - p[1]) / (0.05 * fabric.scale)))
            for i in range(count):
                patch((i + 0.25) / count, (i + 0.75) / count, -1.0, 1.0)
        if fabric.pattern in ("stripes", "checks"):
            patch(0.0, 1.0, -0.25, 0.25)

    # the body, from the ground up

    def _leg(self, side: int) -> None:
        look, build = self.look, self.look.build**0.7
        hip, knee, ankle, toe = (self._project(*joint) for joint in self.legs[side])
        joints, radii = (hip, knee, ankle), (0.055 * build, 0.04 * build, 0.026 * build)
        if self.lower.reach < 0.9:
            self.canvas.limb(joints, radii, look.skin)
        barefoot = look.shoes == "sandals"
        socks = _between(ankle, knee, 0.2 if barefoot else look.sock_height / 0.3)
        self.canvas.limb((socks, ankle), (0.031 * build, 0.027 * build), look.skin if barefoot else look.socks)
        self._shoe(ankle, toe, knee)
        wide = [radius + self.lower.wide * (1.0 + i / 2) for i, radius in enumerate(radii)]
        if look.lower == "flares":
            wide[2] += 0.018
        self._sleeve(joints, wide, self.lower.reach, look.lower_fabric)
        if self.lower.reach > 0.3 and look.lower_fabric.pattern in ("side", "halves"):
            self._leg_pattern(joints, wide, side)

    def _leg_pattern(self, joints: Sequence[Point], radii: Sequence[float], side: int) -> None:
        fabric, reach = self.look.lower_fabric, self.lower.reach
        (hip, knee, ankle), (thick, middle, thin) = joints, radii
        end = _between(knee, ankle, max(0.0, 2 * reach - 1)) if reach > 0.5 else _between(hip, knee, 2 * reach)
        if fabric.pattern == "halves" and reach > 0.6:
            self.canvas.polygon(_capsule(_between(knee, ankle, 0.05), end, middle, thin, blunt=2), fabric.accent)
        elif fabric.pattern == "side" and -self.sin * side > -0.5:  # a stripe down the outside
            shift = 0.75 * side * self.cos
            sides = (thick, middle, thin) if reach > 0.5 else (thick, middle, middle)
            line = [(u + shift * radius, v) for (u, v), radius in zip((hip, knee, end), sides, strict=True)]
            for p, q in pairwise(line):
                self.canvas.polygon(_capsule(p, q, 0.011, 0.009), fabric.accent)

    def _shoe(self, ankle: Point, toe: Point, knee: Point) -> None:
        look, canvas = self.look, self.canvas
        heel = (ankle[0] + 0.2 * (ankle[0] - toe[0]), ankle[1] - 0.014)
        sole = [(u, v - 0.01) for u, v in (heel, toe)]
        if look.shoes == "sandals":
            canvas.limb(sole, (0.021, 0.021), look.sole)
            canvas.limb((heel, toe), (0.021, 0.018), look.skin)
            middle = _between(heel, toe, 0.6)
            canvas.limb((middle, (middle[0], middle[1] - 0.01)), (0.02, 0.019), look.shoe_colour)
            return
        canvas.limb(sole, (0.025, 0.024), look.sole if look.shoes == "trainers" else mix(look.shoe_colour, BLACK, 0.6))
        canvas.limb((heel, toe), (0.026, 0.022), look.shoe_colour)
        if look.shoes == "boots":
            canvas.limb((ankle, _between(ankle, knee, 0.42)), (0.032, 0.038), look.shoe_colour)
        if look.shoes == "trainers":
            middle = _between(heel, toe, 0.55)
            canvas.ellipse((middle[0], middle[1] + 0.008), 0.012, 0.007, look.sole)

    def _skirt(self) -> None:
        """Whatever hangs from the waist: the seat of trousers, or a skirt wide enough for the stride."""
        look, build = self.look, self.look.build**0.7
        seat = [self._ring(0.58, 0.082 * build, 0.066), self._ring(0.52, 0.094 * build * look.hips, 0.076)]
        if self.lower.hem is None:
            seat.append(self._ring(0.462, 0.07 * build * look.hips, 0.06))
            colour = look.lower_fabric if look.lower != "bare" else Fabric(look.skin, look.skin)
            self.canvas.tube(seat, colour.base)
        else:
            self._cloth([*seat, self._hem(self.lower.hem)], look.lower_fabric)

    def _hem(self, y: float) -> Row:
        """The lower ring of a skirt or coat: around both legs as they are now."""
        u, v, w = self._ring(y, 0.115 * self.look.hips, 0.09)
        points = []
        for _, knee, ankle, _ in self.legs.values():
            share = min(1.0, max(0.0, (knee[1] - y) / 0.225))
            joint = [a + (b - a) * share for a, b in zip(knee, ankle, strict=True)]
            points.append(self._project(joint[0], joint[1], joint[2])[0])
        left, right = min(points) - 0.05, max(points) + 0.05
        return (min(left, u - w) + max(right, u + w)) / 2, v, max(w, (max(right, u + w) - min(left, u - w)) / 2)

    def _trunk(self) -> list[Row]:
        """The rings of the upper garment, from the neck down to its hem."""
        look, loose = self.look, self.upper.loose
        build, broad = look.build, look.shoulders * look.build**0.5
        rows = [self._ring(0.846, 0.036, 0.036), self._ring(0.832, 0.062 * broad, 0.046)]
        rows += [self._ring(0.812, 0.1 * broad, 0.058), self._ring(0.78, 0.114 * broad, 0.068 * build)]
        for y, wide, deep in ((0.71, 0.1 * broad, 0.08), (0.62, 0.084 * build, 0.07), (0.55, 0.088 * build, 0.076)):
            rows.append(self._ring(y, wide * loose, deep * build * loose))
        if self.upper.hem < 0.4:
            waist = self._ring(0.5, 0.098 * build * look.hips, 0.082 * build)
            return [*rows, waist, self._hem(self.upper.hem)]
        return [*rows, self._ring(self.upper.hem, 0.098 * build * look.hips * loose, 0.08 * build * loose)]

    def _torso(self) -> None:
        look, canvas = self.look, self.canvas
        if self.cos > 0:
            with canvas.enlarged(self._chin, HEAD):
                self._hair_fall(behind=True)
        rows = self._trunk()
        self._cloth(rows, look.upper_fabric)
        dark = mix(look.upper_fabric.base, BLACK, 0.45)
        match self.upper.front:
            case "open":
                self._strip(rows, 0.0, 0.42, look.inner)
            case "zip":
                self._strip(rows, 0.0, 0.06, dark if look.upper_fabric.base != BLACK else GREY)
            case "buttons":
                self._strip(rows, 0.0, 0.035, dark)
            case "pocket":
                self._strip(_cut(rows, self._height(0.575), self._height(0.5)), 0.0, 0.75, dark)
        if look.upper_fabric.pattern == "print":
            self._print(rows, 0.0)
            self._print(rows, pi)
        self._neckline(rows, dark)

    def _height(self, y: float) -> float:
        return self._project(0.0, y, 0.0)[1]

    def _print(self, rows: Sequence[Row], ahead: float) -> None:
        """A print on the chest or, turned round, on the back."""
        fabric = self.look.upper_fabric
        size = 0.036 + 0.016 * fabric.scale
        turn = (ahead + self.pose.yaw + pi) % (2 * pi) - pi  # -pi to pi, 0 faces the camera
        if abs(turn) > 1.4:
            return
        outline = []
        for a, b in PRINT_SHAPES[fabric.print]:
            angle = max(-pi / 2, min(pi / 2, turn + a * size / 0.1))
            u, v, w = _cut(rows, self._height(0.705 + size * b), rows[-1][1])[0]
            outline.append((u + w * sin(angle), v))
        self.canvas.polygon(outline, fabric.accent)

    def _neckline(self, rows: Sequence[Row], dark: Colour) -> None:
        look, canvas, turn = self.look, self.canvas, self.sin
        u, v = self._project(0.0, 0.84, 0.0)
        if look.upper == "hoodie":
            low, high = (0.0, 0.03) if self.cos > 0 else (0.02, 0.045)
            canvas.ellipse((u - 0.03 * turn, v - low), 0.07, high, dark, 220)
        canvas.limb(((u + 0.012 * turn, v + 0.04), (u, v + 0.004)), (0.03, 0.034), look.skin)
        if self.cos > 0.2 and look.upper in ("shirt", "polo", "jacket", "coat", "t-shirt", "vest", "dress"):
            low = 0.03 if look.upper in ("t-shirt", "vest", "jacket") else 0.05
            tip = (u + 0.045 * turn, v - low)
            canvas.polygon([(u - 0.033, v + 0.006), (u + 0.033, v + 0.006), tip], look.skin, 205)
            if look.upper in ("shirt", "polo", "jacket", "coat"):
                pale = mix(look.upper_fabric.base, WHITE, 0.3)
                for edge in (-0.04, 0.04):
                    canvas.polygon([(u + edge, v + 0.016), (u + edge * 1.3, v - 0.02), tip], pale, 240)
        if look.scarf:
            canvas.limb(((u - 0.034, v + 0.012), (u + 0.034, v + 0.012)), (0.026, 0.026), look.scarf)
            if self.cos > -0.1:
                canvas.limb(((u + 0.02, v), (u + 0.03, v - 0.12)), (0.02, 0.02), look.scarf)

    def _arm(self, side: int) -> None:
        look, build = self.look, self.look.build**0.6
        joints = [self._project(*joint) for joint in self.arms[side]]
        radii = (0.031 * build, 0.025 * build, 0.019 * build)
        if self.upper.sleeve < 0.9:
            self.canvas.limb(joints, radii, look.skin)
        (a, b), wrist = joints[1], joints[2]
        hand = (wrist[0] + 0.12 * (wrist[0] - a), wrist[1] + 0.12 * (wrist[1] - b))
        self.canvas.limb((wrist, hand), (0.02, 0.017), look.skin)
        if self.upper.sleeve:
            wide = [radius + 0.005 * self.upper.loose for radius in radii]
            fabric = replace(look.upper_fabric, base=look.sleeve)
            self._sleeve(joints, wide, self.upper.sleeve, fabric)

    # the head

    @property
    def _skull(self) -> tuple[float, float, float]:
        """Centre of the head (u, v) and the yaw of the face."""
        u, v = self._project(0.0, 0.922, 0.018)
        return u, v, self.pose.yaw + self.pose.head_turn

    @property
    def _chin(self) -> Point:
        u, v, _ = self._skull
        return u, v - 0.075

    def _hair_fall(self, *, behind: bool) -> None:
        """What hangs down from the back of the head. Seen from behind it lies over the garment."""
        look, canvas = self.look, self.canvas
        u, v, yaw = self._skull
        back = u - 0.03 * sin(yaw)
        light = 200 if behind else 235
        if look.hair in ("bob", "long", "headscarf"):
            low = v - {"bob": 0.095, "long": 0.19, "headscarf": 0.15}[look.hair]
            slim = 0.8 + 0.2 * abs(cos(yaw))
            rows = [(back, v + height, wide * slim) for height, wide in ((0.06, 0.036), (0.035, 0.056), (-0.05, 0.068))]
            rows += [(back, low + 0.02, 0.06 * slim), (back, low, 0.04 * slim)]
            if behind:
                canvas.polygon(_outline(rows), look.hair_colour, light)
            else:
                canvas.tube(rows, look.hair_colour)
        if look.hair == "ponytail":
            p, q = (u - 0.055 * sin(yaw), v + 0.025), (u - 0.08 * sin(yaw), v - 0.12)
            canvas.limb((p, q), (0.024, 0.014), look.hair_colour)
        if look.hair == "bun":
            canvas.ellipse((u - 0.035 * sin(yaw), v + 0.078), 0.03, 0.028, look.hair_colour, light)

    def _head(self) -> None:
        look, canvas = self.look, self.canvas
        u, v, yaw = self._skull
        if look.hair == "afro":
            canvas.ellipse((u - 0.012 * sin(yaw), v + 0.014), 0.092, 0.088, look.hair_colour, 215)
        canvas.ellipse((u, v), 0.060, 0.080, None, 160)
        canvas.ellipse((u, v), 0.056, 0.075, look.skin, 205)
        canvas.ellipse((u + 0.014 * canvas.sun, v), 0.044, 0.07, None, 250)
        for side in (-1, 1):
            if sin(yaw) * side < 0.4 and look.hair not in ("bob", "long", "headscarf", "afro"):
                canvas.ellipse((u + 0.056 * cos(yaw) * side, v - 0.008), 0.011, 0.018, look.skin, 225)
        self._hair(u, v, yaw)
        if cos(yaw) > -0.3:
            self._face(u, v, yaw)
        self._hat(u, v, yaw)
        if self.cos <= 0:
            self._hair_fall(behind=False)

    def _hair(self, u: float, v: float, yaw: float) -> None:
        look, canvas = self.look, self.canvas
        if look.hair == "bald":
            return
        thick = {"buzz": 1.02, "afro": 1.05, "headscarf": 1.14}.get(look.hair, 1.1)
        colour = mix(look.hair_colour, look.skin, 0.35) if look.hair == "buzz" else look.hair_colour
        nape = -0.9 if look.hair in ("bob", "long", "headscarf") else -0.85 + 0.4 * max(0.0, cos(yaw))
        arc = [(thick * 0.056 * c, thick * 0.075 * max(s, nape)) for c, s in CIRCLE]
        canvas.polygon([(u - 0.006 * sin(yaw) + a, v + b) for a, b in arc], colour, 222)
        canvas.ellipse((u + 0.02 * canvas.sun, v + 0.04), 0.032, 0.03, None, 246)

    def _face(self, u: float, v: float, yaw: float) -> None:
        look, canvas = self.look, self.canvas
        half = 1.1 if look.hair in ("bob", "long", "headscarf") else 1.3
        seen = _seen(yaw - half, yaw + half)
        if not seen:
            return
        left, right = (0.055 * sin(angle) for angle in seen)
        top = 0.034 if look.hair not in ("bald", "buzz") else 0.045
        middle, wide = u + (left + right) / 2, (right - left) / 2
        oval = [(middle + wide * _square(c), v + (top - 0.073) / 2 + (top + 0.073) / 2 * _square(s)) for c, s in CIRCLE]
        canvas.polygon(oval, look.skin)
        if look.beard:
            canvas.polygon([(a, min(b, v - 0.03)) for a, b in oval if b < v], look.hair_colour)
        ink = mix(look.skin, BLACK, 0.75)
        for angle in (yaw - 0.45, yaw + 0.45):
            if cos(angle) > 0.2:
                eye = (u + 0.052 * sin(angle), v - 0.006)
                if look.glasses:
                    canvas.ellipse(eye, 0.019 * cos(angle) + 0.003, 0.016, BLACK)
                else:
                    canvas.ellipse(eye, 0.012 * cos(angle) + 0.002, 0.011, mix(look.skin, WHITE, 0.75))
                    canvas.ellipse((eye[0] + 0.003 * sin(yaw), eye[1]), 0.007, 0.009, ink)
                    brow = mix(look.skin, look.hair_colour, 0.7)
                    canvas.ellipse((eye[0], eye[1] + 0.018), 0.012 * cos(angle), 0.004, brow)
        if look.glasses:
            canvas.polygon(_capsule((u + left * 0.9, v - 0.002), (u + right * 0.9, v - 0.002), 0.003, 0.003), BLACK)
        nose = u + 0.057 * sin(yaw)
        canvas.ellipse((nose, v - 0.024), 0.007 + 0.004 * abs(sin(yaw)), 0.008, mix(look.skin, RED, 0.18))
        lips = mix(look.skin, (120, 30, 40), 0.6)
        canvas.ellipse((u + 0.05 * sin(yaw), v - 0.048), 0.014 * max(0.3, cos(yaw)), 0.004, lips)

    def _hat(self, u: float, v: float, yaw: float) -> None:
        look, canvas = self.look, self.canvas
        if look.hat == "none":
            return
        dark = mix(look.hat_colour, BLACK, 0.35)
        brim = v + 0.03
        dome = [(u + 0.066 * c, brim + (0.066 if look.hat == "cap" else 0.074) * max(s, 0.0)) for c, s in CIRCLE]
        canvas.polygon(dome, look.hat_colour, 215)
        canvas.ellipse((u + 0.02 * canvas.sun, brim + 0.035), 0.03, 0.026, None, 252)
        if look.hat == "cap":
            ahead = 0.065 * sin(yaw)
            if cos(yaw) > -0.5:
                canvas.ellipse((u + ahead, brim - 0.008 * cos(yaw)), 0.03 + 0.022 * abs(cos(yaw)), 0.012, dark, 235)
        elif look.hat == "beanie":
            canvas.limb(((u - 0.055, brim), (u + 0.055, brim)), (0.014, 0.014), dark)
            canvas.ellipse((u, brim + 0.08), 0.018, 0.018, WHITE if look.hat_colour != WHITE else RED, 240)
        else:
            canvas.ellipse((u, brim), 0.115, 0.022, look.hat_colour, 225)
            canvas.polygon(_capsule((u - 0.06, brim + 0.012), (u + 0.06, brim + 0.012), 0.008, 0.008), dark)

    # what they carry

    def _bag(self, *, in_front: bool) -> None:
        look, canvas, side = self.look, self.canvas, self.look.bag_side
        beside = -self.sin * side > 0.0  # the side with the bag is turned to the camera
        dark = mix(look.bag_colour, BLACK, 0.4)
        if look.bag == "backpack":
            self._backpack(dark, in_front=in_front)
        elif look.bag == "shoulder bag" and in_front:
            x = side * (0.1 + 0.02 * look.build)
            hang = self._project(x, 0.52, 0.0)
            if beside or abs(self.sin) < 0.8:
                canvas.polygon(_capsule(self._project(-side * 0.06, 0.83, 0.0), hang, 0.009, 0.009), dark, 235)
            if beside or abs(self.sin) < 0.5:
                self._box(hang, 0.035 + 0.04 * abs(self.sin), 0.055, look.bag_colour, dark)
        elif look.bag == "handbag" and in_front == beside:
            u, v = self._project(*self.arms[side][2])
            canvas.polygon(_capsule((u - 0.02, v - 0.07), (u, v - 0.02), 0.005, 0.005), dark)
            canvas.polygon(_capsule((u + 0.02, v - 0.07), (u, v - 0.02), 0.005, 0.005), dark)
            self._box((u, v - 0.105), 0.035 + 0.025 * abs(self.sin), 0.045, look.bag_colour, dark)
        elif look.bag == "suitcase" and in_front == (self.cos < 0.0):
            hand, case = self._project(*self.arms[side][2]), self._project(side * 0.15, 0.16, -0.11)
            case = (case[0], case[1] + self.drop)
            canvas.polygon(_capsule(hand, case, 0.007, 0.007), GREY)
            self._box(case, 0.058 + 0.01 * abs(self.cos), 0.1, look.bag_colour, dark)

    def _box(self, centre: Point, wide: float, high: float, colour: Colour, dark: Colour) -> None:
        u, v = centre
        rows = [(u, v + high * y, wide * w) for y, w in ((1, 0.85), (0.8, 1), (-0.8, 1), (-1, 0.85))]
        self.canvas.tube(rows, colour)
        self.canvas.polygon(_outline(_cut(rows, v + high * 0.3, v + high * 0.15)), dark)

    def _backpack(self, dark: Colour, *, in_front: bool) -> None:
        look, away = self.look, self.cos < 0.15
        if in_front == away:
            shape = ((0.825, 0.055), (0.8, 0.08), (0.6, 0.085), (0.575, 0.07))
            rows = [self._ring(y, wide, 0.05, -0.1 * look.build) for y, wide in shape]
            self.canvas.tube(rows, look.bag_colour)
            pocket = _cut(rows, rows[2][1] + 0.08, rows[2][1] + 0.005)
            self._strip(pocket, pi, 1.0, dark)
        if in_front and self.cos > -0.2:
            straps = _cut(self._trunk(), self._height(0.835), self._height(0.63))
            for angle in (-0.62, 0.62):
                self._strip(straps, angle, 0.13, look.bag_colour)


def _between(p: Point, q: Point, share: float) -> Point:
    return p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share


def _square(value: float) -> float:
    """Draws a circle's coordinate out towards a square's, as a jaw is."""
    return copysign(abs(value) ** 0.8, value)


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


def draw_figure(canvas: Canvas, look: Appearance, pose: Pose) -> None:
    """Draw somebody where the canvas stands (`Canvas.stand`)."""
    Figure(canvas, look, pose).draw()

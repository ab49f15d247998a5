"""Draws a person on a canvas, from the shoes up and from the farthest part to the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import pi

from vpmsearch.data.pedestrian.appearance import Appearance, Fabric
from vpmsearch.data.pedestrian.body import Body, Pose
from vpmsearch.data.pedestrian.canvas import (
    BLACK,
    GREY,
    WHITE,
    Canvas,
    Colour,
    Point,
    between,
    capsule,
    cut_tube,
    mix,
    outline,
)
from vpmsearch.data.pedestrian.cloth import Tailor
from vpmsearch.data.pedestrian.head import Head


def draw_figure(canvas: Canvas, look: Appearance, pose: Pose) -> None:
    """Draw somebody where the canvas stands (`Canvas.stand`)."""
    Figure(canvas, look, pose).draw()


class Figure:
    """One person in one pose on a canvas."""

    def __init__(self, canvas: Canvas, look: Appearance, pose: Pose) -> None:
        self.canvas, self.look, self.body = canvas, look, Body(look, pose)
        self.tailor, self.head = Tailor(canvas, self.body), Head(canvas, self.body)

    def draw(self) -> None:
        """From what is farthest to what is nearest."""
        near = 1 if self.body.sin < 0 else -1  # the side of the body that is turned to the camera
        from_side = abs(self.body.sin) > 0.35
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
        self.head.draw()
        if from_side:
            self._arm(near)
        self._bag(in_front=True)

    # from the ground up

    def _leg(self, side: int) -> None:
        look, build = self.look, self.look.build**0.7
        hip, knee, ankle, toe = (self.body.project(*joint) for joint in self.body.legs[side])
        joints, radii = (hip, knee, ankle), (0.055 * build, 0.04 * build, 0.026 * build)
        if self.body.lower.reach < 0.9:
            self.canvas.limb(joints, radii, look.skin)
        barefoot = look.shoes == "sandals"
        socks = between(ankle, knee, 0.2 if barefoot else look.sock_height / 0.3)
        self.canvas.limb((socks, ankle), (0.031 * build, 0.027 * build), look.skin if barefoot else look.socks)
        self._shoe(ankle, toe, knee)
        wide = [radius + self.body.lower.wide * (1.0 + i / 2) for i, radius in enumerate(radii)]
        if look.lower == "flares":
            wide[2] += 0.018
        self.tailor.sleeve(joints, wide, self.body.lower.reach, look.lower_fabric)
        if self.body.lower.reach > 0.3 and look.lower_fabric.pattern in ("side", "halves"):
            self._leg_pattern(joints, wide, side)

    def _leg_pattern(self, joints: Sequence[Point], radii: Sequence[float], side: int) -> None:
        fabric, reach = self.look.lower_fabric, self.body.lower.reach
        (hip, knee, ankle), (thick, middle, thin) = joints, radii
        end = between(knee, ankle, max(0.0, 2 * reach - 1)) if reach > 0.5 else between(hip, knee, 2 * reach)
        if fabric.pattern == "halves" and reach > 0.6:
            self.canvas.polygon(capsule(between(knee, ankle, 0.05), end, middle, thin, blunt=2), fabric.accent)
        elif fabric.pattern == "side" and -self.body.sin * side > -0.5:  # a stripe down the outside
            shift = 0.75 * side * self.body.cos
            sides = (thick, middle, thin) if reach > 0.5 else (thick, middle, middle)
            line = [(u + shift * radius, v) for (u, v), radius in zip((hip, knee, end), sides, strict=True)]
            for p, q in pairwise(line):
                self.canvas.polygon(capsule(p, q, 0.011, 0.009), fabric.accent)

    def _shoe(self, ankle: Point, toe: Point, knee: Point) -> None:
        look, canvas = self.look, self.canvas
        heel = (ankle[0] + 0.2 * (ankle[0] - toe[0]), ankle[1] - 0.014)
        sole = [(u, v - 0.01) for u, v in (heel, toe)]
        if look.shoes == "sandals":
            canvas.limb(sole, (0.021, 0.021), look.sole)
            canvas.limb((heel, toe), (0.021, 0.018), look.skin)
            middle = between(heel, toe, 0.6)
            canvas.limb((middle, (middle[0], middle[1] - 0.01)), (0.02, 0.019), look.shoe_colour)
            return
        canvas.limb(sole, (0.025, 0.024), look.sole if look.shoes == "trainers" else mix(look.shoe_colour, BLACK, 0.6))
        canvas.limb((heel, toe), (0.026, 0.022), look.shoe_colour)
        if look.shoes == "boots":
            canvas.limb((ankle, between(ankle, knee, 0.42)), (0.032, 0.038), look.shoe_colour)
        if look.shoes == "trainers":
            middle = between(heel, toe, 0.55)
            canvas.ellipse((middle[0], middle[1] + 0.008), 0.012, 0.007, look.sole)

    def _skirt(self) -> None:
        """Whatever hangs from the waist: the seat of trousers, or a skirt wide enough for the stride."""
        look, build = self.look, self.look.build**0.7
        seat = [self.body.ring(0.58, 0.082 * build, 0.066), self.body.ring(0.52, 0.094 * build * look.hips, 0.076)]
        if self.body.lower.hem is None:
            seat.append(self.body.ring(0.462, 0.07 * build * look.hips, 0.06))
            colour = look.lower_fabric if look.lower != "bare" else Fabric(look.skin, look.skin)
            self.canvas.tube(seat, colour.base)
        else:
            self.tailor.tube([*seat, self.body.hem(self.body.lower.hem)], look.lower_fabric)

    def _torso(self) -> None:
        look = self.look
        self.head.draw_behind()
        rows = self.body.trunk()
        self.tailor.tube(rows, look.upper_fabric)
        dark = mix(look.upper_fabric.base, BLACK, 0.45)
        match self.body.upper.front:
            case "open":
                self.tailor.strip(rows, 0.0, 0.42, look.inner)
            case "zip":
                self.tailor.strip(rows, 0.0, 0.06, dark if look.upper_fabric.base != BLACK else GREY)
            case "buttons":
                self.tailor.strip(rows, 0.0, 0.035, dark)
            case "pocket":
                self.tailor.strip(cut_tube(rows, self.body.height(0.575), self.body.height(0.5)), 0.0, 0.75, dark)
        if look.upper_fabric.pattern == "print":
            self.tailor.print_on(rows, look.upper_fabric, 0.0)
            self.tailor.print_on(rows, look.upper_fabric, pi)
        self._neckline(dark)

    def _neckline(self, dark: Colour) -> None:
        look, canvas, turn = self.look, self.canvas, self.body.sin
        u, v = self.body.project(0.0, 0.84, 0.0)
        if look.upper == "hoodie":
            low, high = (0.0, 0.03) if self.body.cos > 0 else (0.02, 0.045)
            canvas.ellipse((u - 0.03 * turn, v - low), 0.07, high, dark, 220)
        canvas.limb(((u + 0.012 * turn, v + 0.04), (u, v + 0.004)), (0.03, 0.034), look.skin)
        if self.body.cos > 0.2 and look.upper in ("shirt", "polo", "jacket", "coat", "t-shirt", "vest", "dress"):
            low = 0.03 if look.upper in ("t-shirt", "vest", "jacket") else 0.05
            tip = (u + 0.045 * turn, v - low)
            canvas.polygon([(u - 0.033, v + 0.006), (u + 0.033, v + 0.006), tip], look.skin, 205)
            if look.upper in ("shirt", "polo", "jacket", "coat"):
                pale = mix(look.upper_fabric.base, WHITE, 0.3)
                for edge in (-0.04, 0.04):
                    canvas.polygon([(u + edge, v + 0.016), (u + edge * 1.3, v - 0.02), tip], pale, 240)
        if look.scarf:
            canvas.limb(((u - 0.034, v + 0.012), (u + 0.034, v + 0.012)), (0.026, 0.026), look.scarf)
            if self.body.cos > -0.1:
                canvas.limb(((u + 0.02, v), (u + 0.03, v - 0.12)), (0.02, 0.02), look.scarf)

    def _arm(self, side: int) -> None:
        look, build = self.look, self.look.build**0.6
        joints = [self.body.project(*joint) for joint in self.body.arms[side]]
        radii = (0.031 * build, 0.025 * build, 0.019 * build)
        if self.body.upper.sleeve < 0.9:
            self.canvas.limb(joints, radii, look.skin)
        (a, b), wrist = joints[1], joints[2]
        hand = (wrist[0] + 0.12 * (wrist[0] - a), wrist[1] + 0.12 * (wrist[1] - b))
        self.canvas.limb((wrist, hand), (0.02, 0.017), look.skin)
        if self.body.upper.sleeve:
            wide = [radius + 0.005 * self.body.upper.loose for radius in radii]
            fabric = replace(look.upper_fabric, base=look.sleeve)
            self.tailor.sleeve(joints, wide, self.body.upper.sleeve, fabric)

    # what they carry

    def _bag(self, *, in_front: bool) -> None:
        look, canvas, side = self.look, self.canvas, self.look.bag_side
        beside = -self.body.sin * side > 0.0  # the side with the bag is turned to the camera
        dark = mix(look.bag_colour, BLACK, 0.4)
        if look.bag == "backpack":
            self._backpack(dark, in_front=in_front)
        elif look.bag == "shoulder bag" and in_front:
            x = side * (0.1 + 0.02 * look.build)
            hang = self.body.project(x, 0.52, 0.0)
            if beside or abs(self.body.sin) < 0.8:
                canvas.polygon(capsule(self.body.project(-side * 0.06, 0.83, 0.0), hang, 0.009, 0.009), dark, 235)
            if beside or abs(self.body.sin) < 0.5:
                self._box(hang, 0.035 + 0.04 * abs(self.body.sin), 0.055, look.bag_colour, dark)
        elif look.bag == "handbag" and in_front == beside:
            u, v = self.body.project(*self.body.arms[side][2])
            canvas.polygon(capsule((u - 0.02, v - 0.07), (u, v - 0.02), 0.005, 0.005), dark)
            canvas.polygon(capsule((u + 0.02, v - 0.07), (u, v - 0.02), 0.005, 0.005), dark)
            self._box((u, v - 0.105), 0.035 + 0.025 * abs(self.body.sin), 0.045, look.bag_colour, dark)
        elif look.bag == "suitcase" and in_front == (self.body.cos < 0.0):
            hand, case = self.body.project(*self.body.arms[side][2]), self.body.project(side * 0.15, 0.16, -0.11)
            case = (case[0], case[1] + self.body.drop)
            canvas.polygon(capsule(hand, case, 0.007, 0.007), GREY)
            self._box(case, 0.058 + 0.01 * abs(self.body.cos), 0.1, look.bag_colour, dark)

    def _box(self, centre: Point, wide: float, high: float, colour: Colour, dark: Colour) -> None:
        u, v = centre
        rows = [(u, v + high * y, wide * w) for y, w in ((1, 0.85), (0.8, 1), (-0.8, 1), (-1, 0.85))]
        self.canvas.tube(rows, colour)
        self.canvas.polygon(outline(cut_tube(rows, v + high * 0.3, v + high * 0.15)), dark)

    def _backpack(self, dark: Colour, *, in_front: bool) -> None:
        look, away = self.look, self.body.cos < 0.15
        if in_front == away:
            shape = ((0.825, 0.055), (0.8, 0.08), (0.6, 0.085), (0.575, 0.07))
            rows = [self.body.ring(y, wide, 0.05, -0.1 * look.build) for y, wide in shape]
            self.canvas.tube(rows, look.bag_colour)
            pocket = cut_tube(rows, rows[2][1] + 0.08, rows[2][1] + 0.005)
            self.tailor.strip(pocket, pi, 1.0, dark)
        if in_front and self.body.cos > -0.2:
            straps = cut_tube(self.body.trunk(), self.body.height(0.835), self.body.height(0.63))
            for angle in (-0.62, 0.62):
                self.tailor.strip(straps, angle, 0.13, look.bag_colour)

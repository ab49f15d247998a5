"""A body in a pose as the camera sees it: where its joints are, and the rings that clothes are drawn around."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, sin

from vpmsearch.data.pedestrian.appearance import LOWERS, UPPERS, Appearance
from vpmsearch.data.pedestrian.canvas import Point, Row

Solid = tuple[float, float, float]  # x, y, z


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


class Body:
    """A person in one pose.

    cos, sin: of the body's yaw. legs, arms: the joints of each side; -1 is the right side, 1 the left one.
    """

    def __init__(self, look: Appearance, pose: Pose) -> None:
        self.look, self.pose = look, pose
        self.cos, self.sin = cos(pose.yaw), sin(pose.yaw)
        self.upper, self.lower = UPPERS[look.upper], LOWERS[look.lower]
        self.legs = {side: self._leg_joints(side) for side in (-1, 1)}
        self.arms = {side: self._arm_joints(side) for side in (-1, 1)}
        # A stride lowers the body: whichever foot is lowest stands on the ground.
        self.drop = min(y for leg in self.legs.values() for _, y, _ in leg[2:]) - 0.022

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

    def project(self, x: float, y: float, z: float) -> Point:
        """Where a point of the body is seen."""
        depth = z * self.cos - x * self.sin
        u = x * self.cos + z * self.sin + self.pose.lean * (y - 0.5)
        return u, y - self.drop - self.pose.tilt * depth

    def ring(self, y: float, wide: float, deep: float, z: float = 0.0) -> Row:
        """How the ellipse of half-axes wide (across) and deep (ahead) is seen at height y, z ahead of the spine."""
        u, v = self.project(0.0, y, z)
        return u, v + self.pose.tilt * z * self.cos, hypot(wide * self.cos, deep * self.sin)

    def hem(self, y: float) -> Row:
        """The lower ring of a skirt or coat: around both legs as they are now."""
        u, v, w = self.ring(y, 0.115 * self.look.hips, 0.09)
        points = []
        for _, knee, ankle, _ in self.legs.values():
            share = min(1.0, max(0.0, (knee[1] - y) / 0.225))
            joint = [a + (b - a) * share for a, b in zip(knee, ankle, strict=True)]
            points.append(self.project(joint[0], joint[1], joint[2])[0])
        left, right = min(points) - 0.05, max(points) + 0.05
        return (min(left, u - w) + max(right, u + w)) / 2, v, max(w, (max(right, u + w) - min(left, u - w)) / 2)

    def trunk(self) -> list[Row]:
        """The rings of the upper garment, from the neck down to its hem."""
        look, loose = self.look, self.upper.loose
        build, broad = look.build, look.shoulders * look.build**0.5
        rows = [self.ring(0.846, 0.036, 0.036), self.ring(0.832, 0.062 * broad, 0.046)]
        rows += [self.ring(0.812, 0.1 * broad, 0.058), self.ring(0.78, 0.114 * broad, 0.068 * build)]
        for y, wide, deep in ((0.71, 0.1 * broad, 0.08), (0.62, 0.084 * build, 0.07), (0.55, 0.088 * build, 0.076)):
            rows.append(self.ring(y, wide * loose, deep * build * loose))
        if self.upper.hem < 0.4:
            waist = self.ring(0.5, 0.098 * build * look.hips, 0.082 * build)
            return [*rows, waist, self.hem(self.upper.hem)]
        return [*rows, self.ring(self.upper.hem, 0.098 * build * look.hips * loose, 0.08 * build * loose)]

    def height(self, y: float) -> float:
        """The v at which the spine is seen at height y."""
        return self.project(0.0, y, 0.0)[1]

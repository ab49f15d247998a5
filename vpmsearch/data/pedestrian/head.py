"""The head: face, hair and hat. It is drawn larger than life, because a face has to be seen on ten pixels."""

from __future__ import annotations

from math import copysign, cos, sin

from vpmsearch.data.pedestrian.body import Body
from vpmsearch.data.pedestrian.canvas import BLACK, CIRCLE, RED, WHITE, Canvas, capsule, facing, mix, outline

ENLARGED = 1.12


class Head:
    """The head of a body: its centre (u, v) and the yaw of its face."""

    def __init__(self, canvas: Canvas, body: Body) -> None:
        self.canvas, self.body = canvas, body
        self.u, self.v = body.project(0.0, 0.922, 0.018)
        self.yaw = body.pose.yaw + body.pose.head_turn
        self._chin = self.u, self.v - 0.075

    def draw(self) -> None:
        """All of it, save hair that the body hides."""
        with self.canvas.enlarged(self._chin, ENLARGED):
            self._skull()
            self._hair()
            if cos(self.yaw) > -0.3:
                self._face()
            self._hat()
            if self.body.cos <= 0:
                self._hair_fall(behind=False)

    def draw_behind(self) -> None:
        """Before the body: the hair that hangs down behind somebody who faces the camera."""
        if self.body.cos > 0:
            with self.canvas.enlarged(self._chin, ENLARGED):
                self._hair_fall(behind=True)

    def _skull(self) -> None:
        look, canvas = self.body.look, self.canvas
        u, v, yaw = self.u, self.v, self.yaw
        if look.hair == "afro":
            canvas.ellipse((u - 0.012 * sin(yaw), v + 0.014), 0.092, 0.088, look.hair_colour, 215)
        canvas.ellipse((u, v), 0.060, 0.080, None, 160)
        canvas.ellipse((u, v), 0.056, 0.075, look.skin, 205)
        canvas.ellipse((u + 0.014 * canvas.sun, v), 0.044, 0.07, None, 250)
        for side in (-1, 1):
            if sin(yaw) * side < 0.4 and look.hair not in ("bob", "long", "headscarf", "afro"):
                canvas.ellipse((u + 0.056 * cos(yaw) * side, v - 0.008), 0.011, 0.018, look.skin, 225)

    def _hair(self) -> None:
        look, canvas = self.body.look, self.canvas
        u, v, yaw = self.u, self.v, self.yaw
        if look.hair == "bald":
            return
        thick = {"buzz": 1.02, "afro": 1.05, "headscarf": 1.14}.get(look.hair, 1.1)
        colour = mix(look.hair_colour, look.skin, 0.35) if look.hair == "buzz" else look.hair_colour
        nape = -0.9 if look.hair in ("bob", "long", "headscarf") else -0.85 + 0.4 * max(0.0, cos(yaw))
        arc = [(thick * 0.056 * c, thick * 0.075 * max(s, nape)) for c, s in CIRCLE]
        canvas.polygon([(u - 0.006 * sin(yaw) + a, v + b) for a, b in arc], colour, 222)
        canvas.ellipse((u + 0.02 * canvas.sun, v + 0.04), 0.032, 0.03, None, 246)

    def _hair_fall(self, *, behind: bool) -> None:
        """What hangs down from the back of the head. Seen from behind it lies over the garment."""
        look, canvas = self.body.look, self.canvas
        u, v, yaw = self.u, self.v, self.yaw
        back = u - 0.03 * sin(yaw)
        light = 200 if behind else 235
        if look.hair in ("bob", "long", "headscarf"):
            low = v - {"bob": 0.095, "long": 0.19, "headscarf": 0.15}[look.hair]
            slim = 0.8 + 0.2 * abs(cos(yaw))
            rows = [(back, v + height, wide * slim) for height, wide in ((0.06, 0.036), (0.035, 0.056), (-0.05, 0.068))]
            rows += [(back, low + 0.02, 0.06 * slim), (back, low, 0.04 * slim)]
            if behind:
                canvas.polygon(outline(rows), look.hair_colour, light)
            else:
                canvas.tube(rows, look.hair_colour)
        if look.hair == "ponytail":
            p, q = (u - 0.055 * sin(yaw), v + 0.025), (u - 0.08 * sin(yaw), v - 0.12)
            canvas.limb((p, q), (0.024, 0.014), look.hair_colour)
        if look.hair == "bun":
            canvas.ellipse((u - 0.035 * sin(yaw), v + 0.078), 0.03, 0.028, look.hair_colour, light)

    def _face(self) -> None:
        look, canvas = self.body.look, self.canvas
        u, v, yaw = self.u, self.v, self.yaw
        half = 1.1 if look.hair in ("bob", "long", "headscarf") else 1.3
        seen = facing(yaw - half, yaw + half)
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
            canvas.polygon(capsule((u + left * 0.9, v - 0.002), (u + right * 0.9, v - 0.002), 0.003, 0.003), BLACK)
        nose = u + 0.057 * sin(yaw)
        canvas.ellipse((nose, v - 0.024), 0.007 + 0.004 * abs(sin(yaw)), 0.008, mix(look.skin, RED, 0.18))
        lips = mix(look.skin, (120, 30, 40), 0.6)
        canvas.ellipse((u + 0.05 * sin(yaw), v - 0.048), 0.014 * max(0.3, cos(yaw)), 0.004, lips)

    def _hat(self) -> None:
        look, canvas = self.body.look, self.canvas
        u, v, yaw = self.u, self.v, self.yaw
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
            canvas.polygon(capsule((u - 0.06, brim + 0.012), (u + 0.06, brim + 0.012), 0.008, 0.008), dark)


def _square(value: float) -> float:
    """Move a circle's coordinate towards a square's, as a jaw is squarer than a circle."""
    return copysign(abs(value) ** 0.8, value)

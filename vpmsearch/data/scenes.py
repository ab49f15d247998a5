"""The surroundings of drawn people: cameras, the effect of each on a scene, and backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import pi

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vpmsearch.data.pedestrian.appearance import WARDROBES, pick
from vpmsearch.data.pedestrian.canvas import BLACK, GREEN, PINK, WHITE, Canvas, Colour, mix

SUPERSAMPLING = 3  # a scene is drawn this much larger than the picture that is taken of it
PANORAMA = 8  # a place is this many boxes wide; each shot stands somewhere in it
WHO, CAMERA, PLACE, SHOT, JUNK = range(5)  # the random streams that are drawn from one seed


@dataclass(frozen=True)
class Look:
    """The effect of a kind of camera on a scene.

    white: gains of red, green and blue. gamma, contrast, saturation: 1 changes nothing. blur: radius in pixels, in a
    picture of 128 pixels of height. noise: standard deviation in grey levels of 255. detail: pixels of the sensor along
    each side, as a share of the picture's. quality: of its JPEGs, 1 to 95. scenes: what may be behind people, keys of
    `SCENES`.
    """

    white: tuple[float, float, float]
    gamma: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    detail: float
    quality: int
    scenes: tuple[str, ...]


LOOKS = (
    Look((1.10, 1.02, 0.88), 0.95, 1.10, 1.10, 0.3, 2.0, 1.00, 85, ("street", "wall", "park")),  # afternoon sun
    Look((0.88, 0.98, 1.12), 1.05, 0.84, 0.84, 0.5, 2.5, 0.90, 75, ("park", "street", "shop")),  # overcast
    Look((0.82, 0.90, 0.76), 0.95, 1.00, 0.80, 0.4, 4.5, 0.80, 65, ("corridor", "shop", "wall")),  # dim neon tubes
    Look((1.08, 0.86, 0.64), 1.10, 1.02, 0.90, 0.4, 4.0, 0.85, 70, ("street", "shop", "wall")),  # sodium lamps
    Look((1.06, 1.06, 1.08), 0.84, 0.80, 0.78, 0.6, 2.0, 0.85, 75, ("park", "wall", "street")),  # haze and glare
    Look((1.02, 1.02, 1.02), 1.16, 1.18, 1.15, 0.2, 2.0, 1.00, 90, ("shop", "corridor", "street")),  # hard contrast
    Look(
        (0.86, 0.80, 0.94), 1.00, 0.92, 0.92, 0.4, 3.5, 0.80, 65, ("wall", "corridor", "park")
    ),  # an old sensor at dusk
    Look((0.94, 1.10, 0.92), 0.92, 1.00, 1.00, 0.6, 2.5, 0.90, 75, ("park", "corridor", "street")),  # under leaves
)


@dataclass(frozen=True)
class Camera:
    """One camera.

    look: its kind. gain: brightness, 1 changes nothing. sun: where light comes from, −1 left to 1 right. shadow: how
    long shadows are. tilt: how steeply it looks down. heading: the direction in which most people pass, in
    radians.
    """

    look: Look
    gain: float
    sun: float
    shadow: float
    tilt: float
    heading: float


@lru_cache(maxsize=64)
def camera(seed: int, camid: int) -> Camera:
    """The camera with a number, from 1. Seed and number decide everything about it."""
    order = np.random.default_rng([seed, CAMERA]).permutation(len(LOOKS))
    look = LOOKS[int(order[(camid - 1) % len(LOOKS)])]
    rng = np.random.default_rng([seed, CAMERA, camid])
    return Camera(
        look=look, gain=float(rng.uniform(0.85, 1.15)), sun=float(rng.choice([-1, 1]) * rng.uniform(0.5, 1)),
        shadow=float(rng.uniform(0.1, 0.32)), tilt=float(rng.uniform(0.06, 0.2)), heading=float(rng.uniform(0, 2 * pi)),
    )  # fmt: skip


def photograph(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """What the camera makes of the scene: light, colours, lens, sensor and compression."""
    look = camera.look
    width, height = canvas.picture.width // SUPERSAMPLING, canvas.picture.height // SUPERSAMPLING
    lens = ImageFilter.GaussianBlur(look.blur * height / 128)
    small = max(8, round(width * look.detail)), max(16, round(height * look.detail))
    taken = _colours(canvas, camera, rng).filter(lens).resize(small, Image.Resampling.BILINEAR)
    pixels = np.asarray(taken, dtype=np.float32)  # (h, w, 3)
    pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(look.noise)
    packed = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(packed, "JPEG", quality=look.quality)
    with Image.open(packed, formats=["JPEG"]) as read:
        return read.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def _colours(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """Light and white balance. A camera looks most like itself at one time of the day (`hour`)."""
    look, hour = camera.look, float(rng.uniform(0.0, 1.0))
    paint, light = canvas.picture.reduce(SUPERSAMPLING), canvas.light.reduce(SUPERSAMPLING)
    # (h, w, 3) times (h, w, 1): reflectance times light
    scene = (
        np.asarray(paint, dtype=np.float32) * np.asarray(light, dtype=np.float32)[:, :, None] * np.float32(1 / 255**2)
    )
    gain, gamma, contrast, saturation = (
        np.float32(value**hour)
        for value in (camera.gain * rng.uniform(0.85, 1.15), look.gamma, look.contrast, look.saturation)
    )
    scene *= np.asarray(look.white, dtype=np.float32) ** np.float32(hour) * gain
    grey = (scene[:, :, 0:1] + scene[:, :, 1:2] + scene[:, :, 2:3]) * np.float32(1 / 3)  # mean(axis=2) is far slower
    scene = grey + (scene - grey) * saturation
    scene = np.clip((scene - np.float32(0.42)) * contrast + np.float32(0.42), 0, 1) ** gamma
    return Image.fromarray((scene * np.float32(255)).astype(np.uint8))


# What stands behind people.


class _Stage:
    """An empty panorama to draw on. Lengths are in heights of a box, x counts from the left and y from the top."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.unit, self.rng = height * SUPERSAMPLING, rng
        self.picture = Image.new("RGB", (width * SUPERSAMPLING * PANORAMA, self.unit))
        self.wide, self.floor = self.picture.width / self.unit, float(rng.uniform(0.58, 0.74))
        self._draw = ImageDraw.Draw(self.picture)

    def box(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        self._draw.rectangle((x * self.unit, y * self.unit, (x + wide) * self.unit, (y + high) * self.unit), colour)

    def blob(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        self._draw.ellipse([value * self.unit for value in (x - wide, y - high, x + wide, y + high)], colour)

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: Colour) -> None:
        self._draw.line([value * self.unit for value in (x, y, to_x, to_y)], colour, max(1, self.unit // 120))

    def along(self, step: float, jitter: float = 0.3) -> Iterator[float]:
        """Places along the panorama, about `step` apart."""
        x = -float(self.rng.uniform(0, step))
        while x < self.wide:
            yield x
            x += step * float(self.rng.uniform(1 - jitter, 1 + jitter))

    def tint(self, colour: Colour, spread: int = 18) -> Colour:
        """The colour, a little lighter or darker."""
        shift = int(self.rng.integers(-spread, spread + 1))
        red, green, blue = (min(255, max(0, channel + shift)) for channel in colour)
        return red, green, blue

    def ground(self, near: Colour, far: Colour) -> None:
        for i in range(12):
            y = self.floor + (1 - self.floor) * i / 12
            self.box(0, y, self.wide, 0.1, mix(far, near, i / 11))

    def paving(self, colour: Colour) -> None:
        for i in range(1, 5):
            y = self.floor + (1 - self.floor) * (i / 4.5) ** 1.6
            self.line(0, y, self.wide, y, colour)
        for x in self.along(0.16, 0.0):
            self.line(x, self.floor, x + (x - self.wide / 2) * 0.5, 1.0, colour)


def _street(stage: _Stage) -> None:
    wall = stage.tint(pick(stage.rng, ((176, 164, 150), (150, 142, 138), (190, 176, 140))))
    stage.box(0, 0, stage.wide, 1, wall)
    for x in stage.along(0.3):
        for y in (0.04, 0.3):
            stage.box(x, y, 0.14, 0.19, mix(wall, WHITE, 0.5))
            stage.box(x + 0.015, y + 0.015, 0.11, 0.16, stage.tint((84, 98, 112), 30))
    stage.ground((142, 138, 134), (120, 118, 118))
    stage.box(0, stage.floor + 0.09, stage.wide, 0.02, (178, 176, 170))
    for x in stage.along(1.1):  # parked cars
        body = stage.tint(pick(stage.rng, WARDROBES)[0], 30)
        stage.blob(x + 0.3, stage.floor - 0.08, 0.2, 0.09, mix(body, BLACK, 0.4))
        stage.box(x, stage.floor - 0.08, 0.6, 0.1, body)
        for wheel in (0.12, 0.47):
            stage.blob(x + wheel, stage.floor + 0.02, 0.05, 0.05, BLACK)


def _wall(stage: _Stage) -> None:
    brick = stage.tint(pick(stage.rng, ((150, 84, 66), (168, 120, 92), (140, 132, 124))))
    stage.box(0, 0, stage.wide, 1, mix(brick, WHITE, 0.35))
    rows = int(stage.floor / 0.036) + 1
    for i in range(rows):
        for x in stage.along(0.09, 0.0):
            stage.box(x, i * 0.036, 0.083, 0.03, stage.tint(brick, 12))
    for x in stage.along(1.3):
        stage.box(x, 0.12, 0.24, 0.3, stage.tint(pick(stage.rng, WARDROBES)[1], 30))
    stage.ground((150, 146, 140), (112, 110, 108))
    stage.paving((118, 114, 110))


def _park(stage: _Stage) -> None:
    stage.box(0, 0, stage.wide, 1, stage.tint((176, 196, 204)))
    for x in stage.along(0.16):
        stage.blob(x, stage.floor - 0.2, 0.16, 0.22, stage.tint((86, 124, 78), 22))
    for x in stage.along(0.7):
        stage.box(x, 0.05, 0.05, stage.floor - 0.02, stage.tint((92, 72, 54)))
        for _ in range(5):
            leaf_x, leaf_y = x + float(stage.rng.uniform(-0.15, 0.2)), float(stage.rng.uniform(0, 0.2))
            stage.blob(leaf_x, leaf_y, 0.13, 0.1, stage.tint(GREEN, 26))
    stage.ground((112, 148, 82), (94, 126, 76))
    stage.box(0, stage.floor + 0.13, stage.wide, 1, stage.tint((186, 170, 138)))
    for x in stage.along(0.03):
        y = float(stage.rng.uniform(stage.floor, stage.floor + 0.14))
        stage.line(x, y, x + 0.008, y - 0.03, stage.tint((98, 140, 70), 26))


def _corridor(stage: _Stage) -> None:
    wall = stage.tint(pick(stage.rng, ((206, 204, 190), (188, 200, 204), (210, 196, 178))))
    stage.box(0, 0, stage.wide, 1, wall)
    stage.box(0, stage.floor - 0.26, stage.wide, 0.26, mix(wall, pick(stage.rng, WARDROBES)[0], 0.35))
    for x in stage.along(0.75):
        door = stage.tint(pick(stage.rng, ((134, 96, 66), (90, 110, 128), (150, 150, 146))))
        stage.box(x - 0.015, stage.floor - 0.63, 0.31, 0.63, mix(door, BLACK, 0.4))
        stage.box(x, stage.floor - 0.61, 0.28, 0.61, door)
        stage.blob(x + 0.25, stage.floor - 0.3, 0.012, 0.012, WHITE)
    stage.ground((182, 178, 168), (150, 148, 142))
    stage.paving((156, 152, 146))


def _shop(stage: _Stage) -> None:
    stage.box(0, 0, stage.wide, 1, stage.tint((92, 90, 96)))
    stage.box(0, 0, stage.wide, 0.1, pick(stage.rng, WARDROBES)[2])
    for x in stage.along(0.5, 0.1):
        stage.box(x, 0.13, 0.42, stage.floor - 0.18, stage.tint((214, 206, 180), 24))
        for _ in range(14):  # what is in the window
            left, top = x + float(stage.rng.uniform(0, 0.36)), float(stage.rng.uniform(0.18, stage.floor - 0.14))
            colour = stage.tint(pick(stage.rng, (*pick(stage.rng, WARDROBES), PINK)), 30)
            shape = stage.box if stage.rng.random() < 0.6 else stage.blob
            shape(left, top, float(stage.rng.uniform(0.02, 0.045)), float(stage.rng.uniform(0.02, 0.06)), colour)
    stage.ground((164, 158, 152), (134, 130, 128))
    stage.paving((138, 134, 130))


SCENES: dict[str, Callable[[_Stage], None]] = {
    "street": _street, "wall": _wall, "park": _park, "corridor": _corridor, "shop": _shop,
}  # fmt: skip


@lru_cache(maxsize=8)
def panorama(seed: int, scene: str, height: int, width: int) -> Image.Image:
    """A place, which is `PANORAMA` boxes wide and one high. It is kept for the next call, so draw on a copy of it.

    Args:
        scene: a key of `SCENES`. height, width: of a box, in pixels. The panorama has `SUPERSAMPLING` times as many
            along each side.
    """
    stage = _Stage(height, width, np.random.default_rng([seed, PLACE, tuple(SCENES).index(scene)]))
    SCENES[scene](stage)
    return stage.picture

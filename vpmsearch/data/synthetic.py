"""Drawn pedestrians: a re-identification problem that ships with the project, because photographs of people may not.

`draw_pedestrian` is a pure function of its integers: who (`pedestrian.appearance`), seen by which camera (`scenes`:
light, lens, what is behind), at which moment (pose and box). `vpmsearch.data.drawn_dataset` lays such images out like
Market-1501.

The problem is meant to be hard. All people share a few wardrobes, so the colours of an image do not tell who it is.
What tells it is where the colours are, in every band of the body. Images of one camera are more alike in colour than
images of one person.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import pi

import numpy as np
from PIL import Image

from vpmsearch.data import scenes
from vpmsearch.data.pedestrian.appearance import appearance, pick
from vpmsearch.data.pedestrian.body import Pose
from vpmsearch.data.pedestrian.canvas import BLACK, GREY, Canvas, mix
from vpmsearch.data.pedestrian.figure import draw_figure
from vpmsearch.data.scenes import SHOT, SUPERSAMPLING, WHO, Camera
from vpmsearch.errors import DataError

DRAWING = 1  # raise it when the same settings draw other pictures; then folders drawn before are refused, not mixed
MAX_PID = 9999  # four digits in a file name


@dataclass(frozen=True)
class DrawnSettings:
    """How many pictures of how many people, and how large.

    shots: images of each identity in each camera. height, width: pixels. Equal settings draw equal pictures.

    Raises:
        DataError: a number is out of range.
    """

    identities: int = 100
    cameras: int = 6
    shots: int = 4
    height: int = 128
    width: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "identities": (1, MAX_PID), "cameras": (1, 9), "shots": (1, 999), "height": (32, 512),
            "width": (16, 512), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for item in fields(self):
            value, (low, high) = getattr(self, item.name), limits[item.name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise DataError(
                    f"drawn pedestrians: {item.name} must be a whole number from {low} to {high}, got {value!r}"
                )


def random_of(settings: DrawnSettings, stream: int, *key: int) -> np.random.Generator:
    """Numbers that depend on the seed, the stream and the key alone, so pictures can be drawn in any order."""
    return np.random.default_rng([settings.seed, stream, *key])


# one image


def draw_pedestrian(pid: int, camid: int, shot: int, *, settings: DrawnSettings) -> Image.Image:
    """Draw one detected box: a whole person, head at the top and feet at the bottom.

    Args:
        pid: the person, from 0. It and the seed alone decide what they look like.
        camid: the camera, from 1 to `settings.cameras`.
        shot: which image of this person in this camera, from 0. It may exceed `settings.shots`.
        settings: size and seed; its counts of identities and shots are those of a data set and do not matter here.

    Returns:
        An RGB image of (height, width) pixels.

    Raises:
        DataError: a number is out of range.
    """
    if pid < 0 or shot < 0 or not 1 <= camid <= settings.cameras:
        raise DataError(
            f"cannot draw pid {pid}, camid {camid}, shot {shot}: pid and shot start at 0, "
            f"camid goes from 1 to {settings.cameras}"
        )
    camera = scenes.camera(settings.seed, camid)
    rng = random_of(settings, SHOT, pid, camid, shot)
    canvas = Canvas(_background(rng, settings, camera), sun=camera.sun)
    look = appearance(random_of(settings, WHO, pid))
    high, wide = canvas.picture.height, canvas.picture.width
    event = float(rng.random())  # what else is in the box: mostly nothing
    if event < 0.06:
        _passer_by(canvas, camera, rng)
    scale, foot = float(rng.uniform(0.87, 0.94)), float(rng.uniform(0.955, 0.985))
    canvas.stand((wide * float(rng.uniform(0.44, 0.56)), high * foot), high * scale)
    _shadow(canvas, camera)
    draw_figure(canvas, look, _pose(camera, look.stride, rng))
    if 0.06 < event < 0.1:
        _passer_by(canvas, camera, rng)
    elif 0.1 < event < 0.17:
        _obstacle(canvas, rng)
    return scenes.photograph(canvas, camera, rng)


def _background(rng: np.random.Generator, settings: DrawnSettings, camera: Camera) -> Image.Image:
    """The background of an image. Cameras share the places, so that a place does not tell the camera."""
    panorama = scenes.panorama(settings.seed, pick(rng, camera.look.scenes), settings.height, settings.width)
    wide = settings.width * SUPERSAMPLING
    left = int(rng.integers(panorama.width - wide + 1))
    return panorama.crop((left, 0, left + wide, panorama.height))


def _pose(camera: Camera, stride: float, rng: np.random.Generator) -> Pose:
    """How a person stands or walks. Most pass the camera one way or the other; some walk any way, and some stand."""
    yaw = camera.heading + pi * float(rng.integers(2)) if rng.random() < 0.6 else 2 * pi * float(rng.random())
    return Pose(
        yaw=(yaw + float(rng.normal(0, 0.25))) % (2 * pi),
        phase=2 * pi * float(rng.random()),
        stride=stride * (0.05 if rng.random() < 0.2 else float(rng.uniform(0.22, 0.42))),
        head_turn=float(rng.normal(0, 0.25)),
        tilt=camera.tilt,
        lean=float(rng.normal(0, 0.025)),
    )


def _shadow(canvas: Canvas, camera: Camera) -> None:
    away, long = -1.0 if camera.sun > 0 else 1.0, camera.shadow
    canvas.ellipse((away * long * 0.5, 0.008 + 0.05 * long), 0.09 + 0.5 * long, 0.016 + 0.03 * long, None, 170)
    canvas.ellipse((0.0, 0.004), 0.11, 0.014, None, 120)


def _passer_by(canvas: Canvas, camera: Camera, rng: np.random.Generator) -> None:
    """Somebody else at the edge of the box, seen in part."""
    look = appearance(rng)
    high, wide = canvas.picture.height, canvas.picture.width
    x = wide * float(rng.choice([-0.08, 1.08]) + rng.normal(0, 0.03))
    canvas.stand((x, high * float(rng.uniform(0.86, 1.02))), high * float(rng.uniform(0.7, 0.95)))
    _shadow(canvas, camera)
    draw_figure(canvas, look, _pose(camera, look.stride, rng))


def _obstacle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pole or a bin between the camera and the person."""
    left = float(rng.choice([-1, 1]) * rng.uniform(0.08, 0.22))
    colour = pick(rng, (GREY, (84, 90, 88), (58, 92, 74)))
    if rng.random() < 0.5:
        canvas.tube([(left, 1.1, 0.018), (left, -0.1, 0.022)], colour)
    else:
        top = float(rng.uniform(0.16, 0.28))
        canvas.tube([(left, top, 0.085), (left, -0.08, 0.075)], colour)
        canvas.ellipse((left, top), 0.088, 0.018, mix(colour, BLACK, 0.5), 230)

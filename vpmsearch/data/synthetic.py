"""Drawn pedestrians: a re-identification problem that ships with the project, because nobody's photograph may.

`draw_pedestrian` is a pure function of its integers: who (`pedestrian.appearance`), seen by which camera (light,
lens, what is behind), at which moment (pose and box). `write_drawn_dataset` lays such images out like Market-1501.

The problem is meant to be a real one. Few wardrobes are shared by all, so that the colours of an image do not tell
who it is; where they sit does, in every band of the body. Images of one camera are more alike in colour than images
of one person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from io import BytesIO
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image, ImageDraw, ImageFilter

from vpmsearch.atomic import replacing, sync_folder
from vpmsearch.data import pedestrian
from vpmsearch.data.pedestrian import BLACK, WARDROBES, WHITE, Canvas, Colour, Pose, mix, pick
from vpmsearch.errors import DataError

DRAWING = 1  # raise it when the same settings draw other pictures: folders drawn before are then refused, not mixed
SUPERSAMPLING = 3
PANORAMA = 8  # a place is this many boxes wide; each shot stands somewhere in it
DISTRACTOR = 1_000_000  # the first of those who are only distractors; they share pid 0 in file names
MAX_PID = 9999
WHO, CAMERA, PLACE, SHOT, JUNK = range(5)  # the random streams that are drawn from one seed
FINISHED, BEGUN = "settings.json", "settings.begun.json"
SPLITS = ("bounding_box_train", "query", "bounding_box_test")


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


@dataclass(frozen=True)
class Look:
    """What a kind of camera does to colours: gains of red, green and blue, gamma, contrast and saturation (1 = none).

    blur: radius at 128 pixels of height. noise: standard deviation in grey levels. detail: share of the pixels it has.
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
    """One camera: its kind and gain, where it hangs, and how people mostly pass it."""

    look: Look
    gain: float
    sun: float
    shadow: float
    tilt: float
    heading: float


def _rng(settings: DrawnSettings, stream: int, *key: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, stream, *key])


@lru_cache(maxsize=64)
def _camera(seed: int, camid: int) -> Camera:
    order = np.random.default_rng([seed, CAMERA]).permutation(len(LOOKS))
    look = LOOKS[int(order[(camid - 1) % len(LOOKS)])]
    rng = np.random.default_rng([seed, CAMERA, camid])
    return Camera(
        look=look, gain=float(rng.uniform(0.85, 1.15)), sun=float(rng.choice([-1, 1]) * rng.uniform(0.5, 1)),
        shadow=float(rng.uniform(0.1, 0.32)), tilt=float(rng.uniform(0.06, 0.2)), heading=float(rng.uniform(0, 2 * pi)),
    )  # fmt: skip


# what stands behind people


class _Stage:
    """An empty panorama; lengths in box heights, x from the left and y from the top."""

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
            stage.blob(leaf_x, leaf_y, 0.13, 0.1, stage.tint(pedestrian.GREEN, 26))
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
            colour = stage.tint(pick(stage.rng, (*pick(stage.rng, WARDROBES), pedestrian.PINK)), 30)
            shape = stage.box if stage.rng.random() < 0.6 else stage.blob
            shape(left, top, float(stage.rng.uniform(0.02, 0.045)), float(stage.rng.uniform(0.02, 0.06)), colour)
    stage.ground((164, 158, 152), (134, 130, 128))
    stage.paving((138, 134, 130))


SCENES: dict[str, Callable[[_Stage], None]] = {
    "street": _street, "wall": _wall, "park": _park, "corridor": _corridor, "shop": _shop,
}  # fmt: skip


@lru_cache(maxsize=8)
def _panorama(seed: int, scene: str, height: int, width: int) -> Image.Image:
    stage = _Stage(height, width, np.random.default_rng([seed, PLACE, tuple(SCENES).index(scene)]))
    SCENES[scene](stage)
    return stage.picture


# one image


def draw_pedestrian(pid: int, camid: int, shot: int, *, settings: DrawnSettings) -> Image.Image:
    """Draw one detected box: a whole person, head at the top and feet at the bottom.

    Args:
        pid: who, from 0; nothing but this and the seed decides that.
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
    camera = _camera(settings.seed, camid)
    rng = _rng(settings, SHOT, pid, camid, shot)
    canvas = Canvas(_background(rng, settings, camera), sun=camera.sun)
    look = pedestrian.appearance(_rng(settings, WHO, pid))
    high, wide = canvas.picture.height, canvas.picture.width
    event = float(rng.random())  # what else is in the box: mostly nothing
    if event < 0.06:
        _passer_by(canvas, camera, rng)
    scale, foot = float(rng.uniform(0.87, 0.94)), float(rng.uniform(0.955, 0.985))
    canvas.stand((wide * float(rng.uniform(0.44, 0.56)), high * foot), high * scale)
    _shadow(canvas, camera)
    pedestrian.draw_figure(canvas, look, _pose(camera, look.stride, rng))
    if 0.06 < event < 0.1:
        _passer_by(canvas, camera, rng)
    elif 0.1 < event < 0.17:
        _obstacle(canvas, rng)
    return _photograph(canvas, camera, rng, settings)


def _background(rng: np.random.Generator, settings: DrawnSettings, camera: Camera) -> Image.Image:
    """Where the person is now. Cameras share the places, so that a place does not tell the camera."""
    panorama = _panorama(settings.seed, pick(rng, camera.look.scenes), settings.height, settings.width)
    wide = settings.width * SUPERSAMPLING
    left = int(rng.integers(panorama.width - wide + 1))
    return panorama.crop((left, 0, left + wide, panorama.height))


def _pose(camera: Camera, stride: float, rng: np.random.Generator) -> Pose:
    """People pass a camera mostly one way or the other, some any way; some stand."""
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
    look = pedestrian.appearance(rng)
    high, wide = canvas.picture.height, canvas.picture.width
    x = wide * float(rng.choice([-0.08, 1.08]) + rng.normal(0, 0.03))
    canvas.stand((x, high * float(rng.uniform(0.86, 1.02))), high * float(rng.uniform(0.7, 0.95)))
    _shadow(canvas, camera)
    pedestrian.draw_figure(canvas, look, _pose(camera, look.stride, rng))


def _obstacle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pole or a bin between the camera and the person."""
    left = float(rng.choice([-1, 1]) * rng.uniform(0.08, 0.22))
    colour = pick(rng, (pedestrian.GREY, (84, 90, 88), (58, 92, 74)))
    if rng.random() < 0.5:
        canvas.tube([(left, 1.1, 0.018), (left, -0.1, 0.022)], colour)
    else:
        top = float(rng.uniform(0.16, 0.28))
        canvas.tube([(left, top, 0.085), (left, -0.08, 0.075)], colour)
        canvas.ellipse((left, top), 0.088, 0.018, mix(colour, BLACK, 0.5), 230)


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


def _photograph(canvas: Canvas, camera: Camera, rng: np.random.Generator, settings: DrawnSettings) -> Image.Image:
    """What the camera makes of the scene: light, colours, lens, sensor and compression."""
    look = camera.look
    lens = ImageFilter.GaussianBlur(look.blur * settings.height / 128)
    small = max(8, round(settings.width * look.detail)), max(16, round(settings.height * look.detail))
    taken = _colours(canvas, camera, rng).filter(lens).resize(small, Image.Resampling.BILINEAR)
    pixels = np.asarray(taken, dtype=np.float32)  # (h, w, 3)
    pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(look.noise)
    packed = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(packed, "JPEG", quality=look.quality)
    with Image.open(packed, formats=["JPEG"]) as read:
        return read.convert("RGB").resize((settings.width, settings.height), Image.Resampling.BICUBIC)


# a data set


@dataclass(frozen=True)
class _Box:
    """One file of a data set, and who is drawn in it."""

    file: str
    pid: int
    camid: int
    shot: int
    settings: DrawnSettings
    badly_cut: bool = False

    def draw(self) -> Image.Image:
        image = draw_pedestrian(self.pid, self.camid, self.shot, settings=self.settings)
        return _badly_cut(image, _rng(self.settings, JUNK, self.shot)) if self.badly_cut else image


def _badly_cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What a detector should not have found: a corner of the box, stretched to a whole one."""
    wide, high = image.width * float(rng.uniform(0.35, 0.55)), image.height * float(rng.uniform(0.2, 0.4))
    left, top = (image.width - wide) * float(rng.integers(2)), (image.height - high) * float(rng.random())
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))


def _name(pid: int, camid: int, frame: int) -> str:
    """As in Market-1501: 0002_c1s1_000451_03.jpg; junk is -1."""
    return f"{'-1' if pid < 0 else f'{pid:04d}'}_c{camid}s1_{25 * frame + 1:06d}_01.jpg"


def _boxes(train: DrawnSettings, test: DrawnSettings, distractors: int, junk: int) -> Iterator[_Box]:
    """Every file of the data set. Test identities are numbered after those of the training split."""
    for settings, first, folders in ((train, 1, SPLITS[:1]), (test, train.identities + 1, SPLITS[1:])):
        for pid in range(first, first + settings.identities):
            for camid in range(1, settings.cameras + 1):
                for shot in range(settings.shots):
                    folder = folders[min(shot, len(folders) - 1)]  # of the test split, shot 0 is the query
                    yield _Box(f"{folder}/{_name(pid, camid, shot)}", pid, camid, shot, settings)
    for i in range(distractors):
        camid = 1 + i % test.cameras
        yield _Box(f"{SPLITS[2]}/{_name(0, camid, i)}", DISTRACTOR + i, camid, i, test)
    for i in range(junk):
        camid, pid = 1 + i % test.cameras, train.identities + 1 + i % test.identities
        yield _Box(f"{SPLITS[2]}/{_name(-1, camid, i)}", pid, camid, test.shots + i, test, badly_cut=True)


def write_drawn_dataset(
    folder: Path | str,
    *,
    train: DrawnSettings,
    test: DrawnSettings,
    distractors: int = 12,
    junk: int = 12,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a whole data set in the layout of Market-1501.

    The query split holds one shot of each test identity and camera, the gallery (`bounding_box_test`) all others.
    A folder that holds this data set already is left as it is; one that was begun and interrupted is completed.

    Args:
        folder: made if it does not exist.
        train: the training split.
        test: the query and gallery splits; its identities are others than those of `train`.
        distractors: gallery images of people who are in no query (pid 0).
        junk: gallery images of badly cut boxes (pid -1).
        progress: called with the images that are there and those there will be.

    Returns:
        The folder.

    Raises:
        DataError: the counts make no data set, the folder holds something else, or it cannot be written.
    """
    folder = Path(folder)
    _check_counts(train, test, distractors, junk)
    wanted = {
        "drawing": DRAWING, "train": asdict(train), "test": asdict(test), "distractors": distractors, "junk": junk,
    }  # fmt: skip
    try:
        if _holds(folder / FINISHED, wanted):
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # somebody else may be drawing the same
            if not _holds(folder / FINISHED, wanted):
                _begin(folder, wanted)
                _draw_all(folder, list(_boxes(train, test, distractors, junk)), progress)
                (folder / BEGUN).replace(folder / FINISHED)
                sync_folder(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot draw pedestrians into {folder}: {reason}; make room or choose another folder"
        ) from error
    return folder


def _check_counts(train: DrawnSettings, test: DrawnSettings, distractors: int, junk: int) -> None:
    if train.identities + test.identities > MAX_PID:
        raise DataError(
            f"{train.identities} + {test.identities} drawn identities are more than the {MAX_PID} that file names hold"
        )
    if test.cameras < 2 or test.shots < 2:
        raise DataError(
            "the drawn test split needs at least 2 cameras and 2 shots, one for the query and one for the gallery; "
            f"got {test.cameras} and {test.shots}"
        )
    for name, count in (("distractors", distractors), ("junk", junk)):
        if not 0 <= count <= MAX_PID:
            raise DataError(f"{name} must be from 0 to {MAX_PID}, got {count}")


def _holds(marker: Path, wanted: dict[str, Any]) -> bool:
    """Whether the marker is there; it must then be one of the same settings."""
    try:
        found = json.loads(marker.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError as error:
        raise DataError(f"{marker} is damaged: {error}; remove {marker.parent} or choose another folder") from error
    if found != wanted:
        raise DataError(
            f"{marker.parent} holds pedestrians drawn with other settings (see {marker.name}); "
            "remove it or choose another folder"
        )
    return True


def _begin(folder: Path, wanted: dict[str, Any]) -> None:
    """Mark the folder as ours before the first image, so that no other data set is ever mixed with it."""
    if not _holds(folder / BEGUN, wanted):
        taken = [name for name in SPLITS if (folder / name).exists()]
        if taken:
            raise DataError(f"{folder} already holds {taken[0]}, which was not drawn here; choose another folder")
        with replacing(folder / BEGUN) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    for name in SPLITS:
        (folder / name).mkdir(exist_ok=True)


def _draw_all(folder: Path, boxes: list[_Box], progress: Callable[[int, int], None] | None) -> None:
    for done, box in enumerate(boxes, start=1):
        path = folder / box.file
        if not path.exists():
            # Not `replacing`: to sync each of thousands of files takes longer than to draw it again.
            part = path.with_suffix(".part")
            try:
                box.draw().save(part, "JPEG", quality=92)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        if progress:
            progress(done, len(boxes))
    for left in (left for name in SPLITS for left in (folder / name).glob("*.part")):
        left.unlink()  # of a run that was killed

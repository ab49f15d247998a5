"""Drawn pedestrians: a re-identification problem that ships with the project, because nobody's photograph may.

`draw_pedestrian` is a pure function of its integers: who (`pedestrian.appearance`), seen by which camera (`scenes`:
light, lens, what is behind), at which moment (pose and box). `write_drawn_dataset` lays such images out like
Market-1501.

The problem is meant to be a real one. Few wardrobes are shared by all, so that the colours of an image do not tell
who it is; where they sit does, in every band of the body. Images of one camera are more alike in colour than images
of one person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from vpmsearch.data import scenes
from vpmsearch.data.pedestrian.appearance import appearance, pick
from vpmsearch.data.pedestrian.body import Pose
from vpmsearch.data.pedestrian.canvas import BLACK, GREY, Canvas, mix
from vpmsearch.data.pedestrian.figure import draw_figure
from vpmsearch.data.scenes import JUNK, SHOT, SUPERSAMPLING, WHO, Camera
from vpmsearch.errors import DataError
from vpmsearch.system.atomic import replacing, sync_folder

DRAWING = 1  # raise it when the same settings draw other pictures: folders drawn before are then refused, not mixed
DISTRACTOR = 1_000_000  # the first of those who are only distractors; they share pid 0 in file names
MAX_PID = 9999
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


def _rng(settings: DrawnSettings, stream: int, *key: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, stream, *key])


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
    camera = scenes.camera(settings.seed, camid)
    rng = _rng(settings, SHOT, pid, camid, shot)
    canvas = Canvas(_background(rng, settings, camera), sun=camera.sun)
    look = appearance(_rng(settings, WHO, pid))
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
    """Where the person is now. Cameras share the places, so that a place does not tell the camera."""
    panorama = scenes.panorama(settings.seed, pick(rng, camera.look.scenes), settings.height, settings.width)
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

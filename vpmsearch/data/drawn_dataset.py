"""Writes drawn pedestrians as a data set in the layout of Market-1501. An interrupted one is continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from vpmsearch.data.scenes import JUNK
from vpmsearch.data.synthetic import DRAWING, MAX_PID, DrawnSettings, draw_pedestrian, random_of
from vpmsearch.errors import DataError
from vpmsearch.system.atomic import replacing, sync_folder

DISTRACTOR = 1_000_000  # the first number of distractors; they share pid 0 in file names
FINISHED, BEGUN = "settings.json", "settings.begun.json"
SPLITS = ("bounding_box_train", "query", "bounding_box_test")


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
        return _badly_cut(image, random_of(self.settings, JUNK, self.shot)) if self.badly_cut else image


def _badly_cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A bad detection: a corner of the box, stretched to the full size."""
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

    The query split holds one shot of each test identity and camera. The gallery (`bounding_box_test`) holds the others.
    A folder that holds this data set already is left as it is. One that was begun and interrupted is completed.

    Args:
        folder: made if it does not exist.
        train: the training split.
        test: the query and gallery splits; its identities are others than those of `train`.
        distractors: gallery images of people who are in no query (pid 0).
        junk: gallery images of badly cut boxes (pid -1).
        progress: called with the number of images so far and in all.

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
        with FileLock(folder / ".lock"):  # another process may be drawing the same
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
    """Whether the folder has the marker.

    Raises:
        DataError: it has the marker of other settings, or a damaged one.
    """
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
    """Write the marker before the first image, so that data sets are never mixed in one folder."""
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
            # Not `replacing`: syncing each of thousands of files takes longer than drawing it again.
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

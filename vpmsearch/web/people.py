"""The people of a scene: those that the index holds, and those that a detector finds in an uploaded photograph."""

from __future__ import annotations

import threading

import numpy as np
from PIL import Image

from vpmsearch.data.fragment import part_of
from vpmsearch.model.detection import Detector
from vpmsearch.model.detectors import open_detector
from vpmsearch.web.schemas import FoundPerson, KnownPeople, KnownPerson, PeopleFound
from vpmsearch.web.service import SearchService
from vpmsearch.web.state import View

MOST = 200
"""The most people of one scene in an answer."""


class PeopleFinder:
    """A detector that is opened by `open` or when it is first needed. May be called from several threads.

    Args:
        name, device: see `vpmsearch.model.detectors.open_detector`.
    """

    def __init__(self, name: str = "", device: str = "auto") -> None:
        self._name, self._device = name, device
        self._lock = threading.Lock()
        self._detector: Detector | None = None

    def open(self) -> Detector:
        """The detector.

        Raises:
            DetectorError: it cannot be opened. DeviceError: no such device.
        """
        with self._lock:
            return self._opened()

    def find(self, image: Image.Image) -> PeopleFound:
        """The people in a photograph, surest first: at most `MOST`.

        Raises:
            DetectorError: the detector cannot be opened or run. DeviceError: no such device.
        """
        with self._lock:  # one at a time, as for the model
            detector = self._opened()
            found = detector.people(image.convert("RGB"))
        people = [
            FoundPerson(box=box, score=score)
            for score, each in zip(found.scores.tolist(), found.boxes.tolist(), strict=True)
            if score >= detector.least and (box := _inside(each, image.size)) is not None
        ]
        return PeopleFound(width=image.width, height=image.height, detector=detector.name, people=people[:MOST])

    def _opened(self) -> Detector:
        if self._detector is None:
            self._detector = open_detector(self._name, self._device)
        return self._detector


def _inside(corners: list[float], size: tuple[int, int]) -> list[int] | None:
    """[left, top, width, height] in whole pixels of the picture; None if nothing is left of a box."""
    left, top, right, bottom = (
        min(max(round(value), 0), limit) for value, limit in zip(corners, (*size, *size), strict=True)
    )
    return [left, top, right - left, bottom - top] if right > left and bottom > top else None


def known_people(service: SearchService, view: View, image_id: int) -> KnownPeople:
    """The images of the index that were cut from the same picture as an image; nobody if it is no part of a picture.

    Raises:
        StoreError: it is not in the index. ImageError: its file is gone or has changed.
    """
    path = view.record(image_id).path
    if part_of(path).box is None:
        return KnownPeople(width=0, height=0, people=[])
    scene = service.scene_image(image_id)
    before, mark, _ = path.rpartition("xywh=")
    ids = np.array(service.store.find(prefix=f"{before}{mark}"), np.int64)
    ids = ids[np.isin(ids, view.snapshot.image_ids)][:MOST]  # another commit may have come since
    boxes = [(each, part_of(record.path).box) for each, record in zip(ids, view.snapshot.records_of(ids), strict=True)]
    people = [KnownPerson(image_id=int(each), box=list(box)) for each, box in boxes if box is not None]
    return KnownPeople(width=scene.width, height=scene.height, people=people)

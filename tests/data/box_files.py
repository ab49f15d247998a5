"""Frames and lists of boxes for the tests of box readers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from PIL import Image

from vpmsearch.data.boxes.read import read_boxes
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.not_taken import counting_not_taken


def three_frames(folder: Path) -> Path:
    """Three frames of 200 × 100 pixels."""
    folder.mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (200, 100), (number, 2, 3)).save(folder / f"{number:06d}.png")
    return folder


def write(frames: Path, name: str, content: object) -> Path:
    """A file beside the frames: text, or anything else as JSON."""
    path = frames.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(frames: Path, boxes: Path, **how: object) -> tuple[list[LabelledImage], Counter[str]]:
    with counting_not_taken() as aside:
        found = read_boxes(frames, boxes, **how)  # type: ignore[arg-type]
    return found, aside.counts

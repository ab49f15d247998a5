"""What is no picture of a person is told apart, and pictures of people are not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vpmsearch.data.images import load_image, to_array
from vpmsearch.data.synthetic import DrawnSettings, draw_pedestrian
from vpmsearch.model.extraction import spread_of
from vpmsearch.search.no_person import no_person

PARTS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.25, 0.6))
"""Whole people, upper and lower halves, and torsos: from and to a share of the height."""


def told(image: Image.Image, visible: int = 6) -> str:
    return no_person(*image.size, spread_of(to_array(image, (256, 128))), visible, 6)


@pytest.mark.parametrize(
    ("size", "says"),
    [((1, 1), "1 × 1 pixels"), ((7, 200), "pixels"), ((64, 128), "one colour"), ((900, 700), "one colour")],
)
def test_pictures_of_nobody(size: tuple[int, int], says: str) -> None:
    assert says in told(Image.new("RGB", size, (255, 0, 0)))


def test_a_scene_is_one_where_a_whole_person_seems_to_be_wider_than_high() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
    assert "whole scene" in told(noise)
    assert told(noise, visible=3) == ""  # a half
    assert told(noise.resize((480, 640))) == ""
    assert told(noise.resize((64, 40))) == ""  # a small part of somebody far away
    assert no_person(640, 480, 50, 1, 1) == ""  # a model without regions cannot tell


def test_drawn_people_and_their_parts_are_people() -> None:
    settings = DrawnSettings()
    for pid in range(12):
        image = draw_pedestrian(pid, 1 + pid % 3, 0, settings=settings)
        for top, bottom in PARTS:
            part = image.crop((0, round(top * image.height), image.width, round(bottom * image.height)))
            assert told(part) == ""


@pytest.mark.market1501
def test_crops_of_market1501_are_people() -> None:
    """Of 4,000 pictures, whole ones and parts of the training split, fewer than 0.5 % are called nobody's.

    The worst case of the model's part is assumed: that it sees all regions in each of them.
    """
    folder = Path(os.environ["VPMSEARCH_MARKET1501"]) / "bounding_box_train"
    names = random.Random(0).sample(sorted(folder.glob("*.jpg")), 1000)
    alarms = 0
    for name in names:
        image = load_image(name)
        for top, bottom in PARTS:
            alarms += bool(told(image.crop((0, round(top * 128), 64, round(bottom * 128)))))
    assert alarms < 0.005 * len(names) * len(PARTS)

"""What is no picture of a person, told apart by what can be said for certain, so that no answer calls it a match.

The model always sees a person: regions are shares of what it is shown. Only the picture itself can say that it shows
nobody: it has hardly any pixels, it is of one colour, or it is a whole scene.
"""

from __future__ import annotations

LEAST_SIDE = 8
"""Pixels: a picture narrower or lower than that shows nobody to anyone."""
LEAST_SPREAD = 3.0
"""Standard deviation of the colours, of 255, below which a picture is of one colour. Crops of Market-1501 have 16 and
more."""
SCENE_ASPECT, SCENE_SIDE = 1.2, 160
"""Width by height, and pixels of the shorter side, from which on a picture in which nearly all of a person's regions
are seen is a scene: nobody who is seen from head to feet is wider than high."""
SCENE_REGIONS = 0.8
"""Share of the regions that are then seen."""


def no_person(width: int, height: int, spread: float, visible: int, regions: int) -> str:
    """Why a picture shows no person, as a sentence; "" where it may show one.

    Args:
        width, height: pixels of the picture, before any resizing. spread: see
            `vpmsearch.model.extraction.spread_of`. visible: regions that count as seen.
            regions: p.
    """
    if min(width, height) < LEAST_SIDE:
        return f"a picture of {width} × {height} pixels shows no person"
    if spread < LEAST_SPREAD:
        return "a picture of one colour shows no person"
    if width >= SCENE_ASPECT * height and min(width, height) >= SCENE_SIDE and visible >= SCENE_REGIONS * regions > 1:
        return "this looks like a whole scene and no picture of one person; mark the person (--box, or on the page)"
    return ""

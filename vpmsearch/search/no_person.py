"""Recognises queries that certainly show no person, so that no answer calls them a match.

The model sees a person in every picture, as it only divides what it is shown into regions. So the picture itself is
checked: it shows nobody if it has hardly any pixels, has one colour, or is a whole scene.
"""

from __future__ import annotations

LEAST_SIDE = 8
"""Pixels. In a picture narrower or lower than this nobody can be recognised."""
LEAST_SPREAD = 3.0
"""A picture has one colour if the standard deviation of its colours (0 to 255) is below this. Crops of Market-1501
have 16 and more."""
SCENE_ASPECT, SCENE_SIDE = 1.2, 160
"""A picture is a scene if its width over height and its shorter side in pixels are at least these, and nearly all
regions of a person are seen: nobody who is seen from head to feet is wider than high."""
SCENE_REGIONS = 0.8
"""The share of the regions that counts as nearly all."""


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
        return (
            "this looks like a whole scene and no picture of one person; say who is meant (shell: --box, page: Find "
            "people)"
        )
    return ""

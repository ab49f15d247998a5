"""Who somebody is: body, hair, clothes, shoes and bag, made up by a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vpmsearch.data.pedestrian.canvas import (
    BEIGE,
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    NAVY,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    TEAL,
    WHITE,
    YELLOW,
    Colour,
)  # fmt: skip

Item = TypeVar("Item")

# All people share a few wardrobes, so the place of a colour tells people apart, not the colour itself.
WARDROBES = (
    (BLACK, WHITE, RED), (NAVY, WHITE, YELLOW), (BLUE, GREY, BLACK), (BEIGE, BROWN, TEAL), (GREEN, BEIGE, BLACK),
    (RED, NAVY, GREY), (PINK, GREY, WHITE), (ORANGE, NAVY, BEIGE), (PURPLE, BLACK, PINK), (TEAL, WHITE, BLACK),
    (YELLOW, GREY, BLUE), (GREEN, WHITE, NAVY),
)  # fmt: skip
SKINS = ((246, 214, 188), (228, 184, 148), (198, 146, 108), (150, 102, 70), (98, 66, 48))
HAIRS = ((28, 24, 26), (66, 42, 30), (120, 78, 44), (206, 164, 96), (166, 74, 36), (176, 174, 172))
CUTS = ("bald", "buzz", "short", "short", "bob", "long", "long", "ponytail", "bun", "afro", "headscarf")
HATS = ("none", "none", "none", "none", "cap", "beanie", "sunhat")
PATTERNS = (
    "plain", "plain", "plain", "print", "print", "rings", "stripes", "checks", "dots", "halves", "panel", "band",
)  # fmt: skip
LEG_PATTERNS = ("plain", "plain", "plain", "plain", "side", "side", "checks", "rings", "halves")
PRINTS = ("disc", "square", "bar", "chevron", "cross", "star")
BAGS = ("none", "none", "backpack", "backpack", "shoulder bag", "shoulder bag", "handbag", "suitcase")


@dataclass(frozen=True)
class Upper:
    """The cut of an upper garment: how far the sleeve reaches down the arm (0-1), its hem, what closes it in front."""

    sleeve: float
    hem: float
    front: str = "plain"
    loose: float = 1.0


UPPERS = {
    "t-shirt": Upper(0.42, 0.475), "vest": Upper(0.0, 0.48), "shirt": Upper(0.96, 0.465, "buttons"),
    "polo": Upper(0.42, 0.475, "buttons"), "jacket": Upper(0.98, 0.47, "zip", 1.1),
    "open jacket": Upper(0.98, 0.46, "open", 1.1), "hoodie": Upper(0.97, 0.465, "pocket", 1.12),
    "coat": Upper(0.98, 0.31, "buttons", 1.1), "open coat": Upper(0.98, 0.30, "open", 1.1),
    "dress": Upper(0.3, 0.29),
}  # fmt: skip


@dataclass(frozen=True)
class Lower:
    """The cut of a lower garment: how far it reaches down the leg (0-1), how wide it is, a skirt's hem if it is one."""

    reach: float
    wide: float
    hem: float | None = None


LOWERS = {
    "bare": Lower(0.0, 0.0), "trousers": Lower(0.94, 0.01), "jeans": Lower(0.95, 0.005),
    "flares": Lower(0.95, 0.006), "leggings": Lower(0.94, 0.0), "cropped": Lower(0.72, 0.010),
    "shorts": Lower(0.42, 0.016), "skirt": Lower(0.0, 0.0, 0.31), "long skirt": Lower(0.0, 0.0, 0.14),
}  # fmt: skip
WORN = ("trousers", "trousers", "jeans", "flares", "leggings", "cropped", "shorts", "skirt", "long skirt")


@dataclass(frozen=True)
class Fabric:
    """The colours of a garment and how they lie on it."""

    base: Colour
    accent: Colour
    pattern: str = "plain"
    scale: float = 1.0
    print: str = "disc"


@dataclass(frozen=True)
class Appearance:
    """All that makes an identity; it is the same in every camera."""

    build: float
    shoulders: float
    hips: float
    stride: float
    skin: Colour
    hair: str
    hair_colour: Colour
    beard: bool
    glasses: bool
    hat: str
    hat_colour: Colour
    scarf: Colour | None
    upper: str
    upper_fabric: Fabric
    sleeve: Colour
    inner: Colour
    lower: str
    lower_fabric: Fabric
    shoes: str
    shoe_colour: Colour
    sole: Colour
    socks: Colour
    sock_height: float
    bag: str
    bag_colour: Colour
    bag_side: int


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of the items, all equally likely. Returns the item itself; `rng.choice` would return a NumPy value."""
    return items[int(rng.integers(len(items)))]


def _fabric(rng: np.random.Generator, base: Colour, accent: Colour, patterns: Sequence[str]) -> Fabric:
    scale = float(rng.uniform(0.75, 1.5))
    return Fabric(base, accent, pick(rng, patterns), scale, pick(rng, PRINTS))


def appearance(rng: np.random.Generator) -> Appearance:
    """Somebody new. The generator alone decides who; equal generators give equal people."""
    wardrobe = pick(rng, WARDROBES)
    first, second, third = (wardrobe[int(i)] for i in rng.permutation(3))
    upper, lower = pick(rng, tuple(UPPERS)), pick(rng, WORN)
    small = (first, second, third, BLACK, WHITE)  # what shoes, hats and bags are made of
    upper_fabric = _fabric(rng, first, second if rng.random() < 0.6 else third, PATTERNS)
    if upper == "dress":  # what shows below it are tights or bare legs
        lower = pick(rng, ("leggings", "bare"))
    lower_fabric = _fabric(rng, second, pick(rng, (first, third, third)), LEG_PATTERNS)
    if lower == "jeans":
        lower_fabric = replace(lower_fabric, base=pick(rng, (NAVY, (74, 96, 140), BLACK)), pattern="plain")
    hair = pick(rng, CUTS)
    cloth = pick(rng, small)
    return Appearance(
        build=float(rng.uniform(0.86, 1.2)), shoulders=float(rng.uniform(0.9, 1.1)),
        hips=float(rng.uniform(0.92, 1.12)), stride=float(rng.uniform(0.8, 1.2)), skin=pick(rng, SKINS), hair=hair,
        hair_colour=cloth if hair == "headscarf" else pick(rng, HAIRS),
        beard=hair in ("bald", "buzz", "short") and rng.random() < 0.4, glasses=rng.random() < 0.25,
        hat="none" if hair in ("headscarf", "afro", "bun") else pick(rng, HATS), hat_colour=pick(rng, small),
        scarf=pick(rng, small) if hair != "headscarf" and rng.random() < 0.18 else None,
        upper=upper, upper_fabric=upper_fabric, sleeve=first if rng.random() < 0.75 else upper_fabric.accent,
        inner=pick(rng, (WHITE, GREY, third)), lower=lower, lower_fabric=lower_fabric,
        shoes=pick(rng, ("trainers", "trainers", "boots", "shoes", "sandals")), shoe_colour=pick(rng, small),
        sole=pick(rng, (WHITE, WHITE, BLACK, third)), socks=pick(rng, (WHITE, BLACK, second, third)),
        sock_height=float(pick(rng, (0.06, 0.12, 0.3))), bag=pick(rng, BAGS),
        bag_colour=pick(rng, (third, BLACK, BROWN, first)), bag_side=pick(rng, (-1, 1)),
    )  # fmt: skip

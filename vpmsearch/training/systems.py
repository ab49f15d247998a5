"""The systems that the paper compares (Tables 1-3, Fig. 4 and 5), as changes to the settings that train VPM."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vpmsearch.errors import ModelError
from vpmsearch.training.settings import TrainSettings

# Stripes have no locator, so neither a class for occluders nor sizes of regions, which tell that an image is cut.
_RULER: dict[str, Any] = {
    "architecture": "stripes",
    "region_loss_weight": 0.0,
    "identity_visibility": False,
    "triplet_visibility": False,
    "occluder_class": False,
    "second_look": False,
}

SYSTEMS: dict[str, dict[str, Any]] = {
    "vpm": {},
    # A global feature with L_ID + L_tri. The paper does not say whether it was trained on crops. Here it is, as VPM is,
    # so that only the model differs.
    "baseline": _RULER | {"num_regions": (1, 1)},
    # The paper used "the code released by the authors", which trains on whole images, with an extra triplet loss.
    "pcb": _RULER | {"num_regions": (6, 1), "gamma": (1.0, 1.0)},
    # Not in the paper: PCB trained on crops.
    "pcb-crops": _RULER | {"num_regions": (6, 1)},
    "no-triplet": {"triplet_weight": 0.0},
    "mvpm-2": {"triplet_visibility": False},
    "mvpm-3": {"identity_visibility": False},
    "mvpm-4": {"triplet_visibility": False, "identity_visibility": False},
    **{f"p{p}": {"num_regions": (p, 1)} for p in (2, 3, 4, 8)},
    "3x2": {"num_regions": (3, 2)},
    **{f"vpm-{crop}": {"crops": (crop,)} for crop in ("top", "bottom", "bilateral")},
}
"""System -> changed settings. MVPM-1 is not here: it is VPM, tested with equal weights for all regions."""


def with_system(settings: TrainSettings, name: str) -> TrainSettings:
    """Settings that train one of the paper's systems with the same trunk, schedule and seed.

    Raises:
        ModelError: no such system, or settings that do not fit together.
    """
    if name not in SYSTEMS:
        raise ModelError(f"unknown system {name!r}; choose one of {', '.join(SYSTEMS)}")
    return replace(settings, **SYSTEMS[name])

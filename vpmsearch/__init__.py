"""Search a gallery of person crops with a probe that may show only a part of the person.

The method is VPM: Sun et al., "Perceive Where to Focus", CVPR 2019. What a notebook needs is found here by name and
imported when it is first used, so that importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vpmsearch.data.datasets import read_gallery
    from vpmsearch.data.images import load_image
    from vpmsearch.indexing.indexer import index_gallery
    from vpmsearch.report.notebook import load_model
    from vpmsearch.search.calibration import Calibration, calibrate, load_calibration
    from vpmsearch.search.engine import SearchEngine
    from vpmsearch.search.queries import together
    from vpmsearch.store import GalleryStore
    from vpmsearch.types import RegionFeatures, SearchFilter, SearchResult

__version__ = "0.1.0"

_MODULES = {
    "Calibration": "vpmsearch.search.calibration",
    "GalleryStore": "vpmsearch.store",
    "RegionFeatures": "vpmsearch.types",
    "SearchEngine": "vpmsearch.search.engine",
    "SearchFilter": "vpmsearch.types",
    "SearchResult": "vpmsearch.types",
    "calibrate": "vpmsearch.search.calibration",
    "index_gallery": "vpmsearch.indexing.indexer",
    "load_calibration": "vpmsearch.search.calibration",
    "load_image": "vpmsearch.data.images",
    "load_model": "vpmsearch.report.notebook",
    "read_gallery": "vpmsearch.data.datasets",
    "together": "vpmsearch.search.queries",
}

__all__ = [
    "Calibration",
    "GalleryStore",
    "RegionFeatures",
    "SearchEngine",
    "SearchFilter",
    "SearchResult",
    "calibrate",
    "index_gallery",
    "load_calibration",
    "load_image",
    "load_model",
    "read_gallery",
    "together",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for; Python remembers it for the next time."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

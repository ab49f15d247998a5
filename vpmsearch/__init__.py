"""Search a gallery of person crops with a probe that may show only a part of the person.

The method is VPM: Sun et al., "Perceive Where to Focus", CVPR 2019. What a notebook needs is found here by name and
imported when it is first used, so that importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vpmsearch import views
from vpmsearch.system import lazy
from vpmsearch.version import VERSION

if TYPE_CHECKING:
    from vpmsearch.data.datasets import read_gallery
    from vpmsearch.data.frames import read_frame
    from vpmsearch.data.images import load_image
    from vpmsearch.data.moments import parse_moment
    from vpmsearch.indexing.indexer import index_gallery
    from vpmsearch.report.notebook import load_model
    from vpmsearch.search.calibration import Calibration, calibrate, load_calibration
    from vpmsearch.search.engine import SearchEngine
    from vpmsearch.search.queries import together
    from vpmsearch.store import GalleryStore
    from vpmsearch.types import RegionFeatures, SearchFilter, SearchResult

__version__ = VERSION

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
    "parse_moment": "vpmsearch.data.moments",
    "read_frame": "vpmsearch.data.frames",
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
    "parse_moment",
    "read_frame",
    "read_gallery",
    "together",
]


views.show_results_by(lambda: importlib.import_module("vpmsearch.report.notebook"))


__getattr__ = lazy.names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

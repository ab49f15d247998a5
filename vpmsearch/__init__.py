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
    from vpmsearch.search.calibration import calibrate
    from vpmsearch.search.confirm import joined
    from vpmsearch.search.engine import SearchEngine
    from vpmsearch.search.itself import Source, search_others
    from vpmsearch.search.judged import judged
    from vpmsearch.search.pairs import choose_pairs, read_answers, write_pairs
    from vpmsearch.search.queries import together
    from vpmsearch.search.verdict import Calibration, load_calibration
    from vpmsearch.store import GalleryStore
    from vpmsearch.types import RegionFeatures, SearchFilter, SearchResult

__version__ = VERSION

_MODULES = {
    "Calibration": "vpmsearch.search.verdict",
    "GalleryStore": "vpmsearch.store",
    "RegionFeatures": "vpmsearch.types",
    "SearchEngine": "vpmsearch.search.engine",
    "SearchFilter": "vpmsearch.types",
    "SearchResult": "vpmsearch.types",
    "Source": "vpmsearch.search.itself",
    "calibrate": "vpmsearch.search.calibration",
    "choose_pairs": "vpmsearch.search.pairs",
    "index_gallery": "vpmsearch.indexing.indexer",
    "joined": "vpmsearch.search.confirm",
    "judged": "vpmsearch.search.judged",
    "load_calibration": "vpmsearch.search.verdict",
    "load_image": "vpmsearch.data.images",
    "load_model": "vpmsearch.report.notebook",
    "parse_moment": "vpmsearch.data.moments",
    "read_answers": "vpmsearch.search.pairs",
    "read_frame": "vpmsearch.data.frames",
    "read_gallery": "vpmsearch.data.datasets",
    "search_others": "vpmsearch.search.itself",
    "together": "vpmsearch.search.queries",
    "write_pairs": "vpmsearch.search.pairs",
}

__all__ = [
    "Calibration",
    "GalleryStore",
    "RegionFeatures",
    "SearchEngine",
    "SearchFilter",
    "SearchResult",
    "Source",
    "calibrate",
    "choose_pairs",
    "index_gallery",
    "joined",
    "judged",
    "load_calibration",
    "load_image",
    "load_model",
    "parse_moment",
    "read_answers",
    "read_frame",
    "read_gallery",
    "search_others",
    "together",
    "write_pairs",
]


views.show_results_by(lambda: importlib.import_module("vpmsearch.report.notebook"))


__getattr__ = lazy.names(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

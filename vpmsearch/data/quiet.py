"""Suppresses Pillow's warnings, also when many threads decode."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_threads = 0
_filters: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings about damaged metadata and large images.

    `warnings.catch_warnings` alone is not safe in threads: overlapping ones restore each other's filters.
    Here the first thread in changes the filters and the last one out restores them.
    """
    global _threads, _filters
    with _LOCK:
        if _threads == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            for category in (UserWarning, RuntimeWarning):
                warnings.filterwarnings("ignore", category=category, module=r"PIL\.")
        _threads += 1
    try:
        yield
    finally:
        with _LOCK:
            _threads -= 1
            if _threads == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None

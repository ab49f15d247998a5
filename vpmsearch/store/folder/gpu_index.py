"""A region's index on a GPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vpmsearch.errors import DeviceError
from vpmsearch.system import lazy
from vpmsearch.types import Float32, Int64

faiss: Any = lazy.module("faiss")

_one_at_a_time = threading.Lock()
_known_resources: dict[int, tuple[Any, threading.Lock]] = {}


def _resources(gpu: int) -> tuple[Any, threading.Lock]:
    """The scratch memory of a GPU and its lock: searches that share the memory must not overlap."""
    with _one_at_a_time:  # several threads open indexes at once
        if gpu not in _known_resources:
            _known_resources[gpu] = faiss.StandardGpuResources(), threading.Lock()
        return _known_resources[gpu]


class GpuIndex:
    """An index on a GPU. It cannot filter. A flat index has no id map on the GPU; the map is applied here."""

    def __init__(self, index: Any, gpu: int) -> None:
        self._mapped = isinstance(index, faiss.IndexIDMap)
        resources, self._lock = _resources(gpu)
        inner = faiss.downcast_index(index.index) if self._mapped else index
        try:
            with self._lock:
                self._index = faiss.index_cpu_to_gpu(resources, gpu, inner)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).rpartition(": ")[2]
            raise DeviceError(f"an index cannot be moved to GPU {gpu} ({reason}); use --device cpu") from error

    def search(self, queries: Float32, k: int, lists: int, order: Int64) -> Any:
        """Squared distances and ids (Q, k); −1 where there is none."""
        parameters = faiss.SearchParametersIVF(nprobe=lists) if lists else None
        with self._lock:
            distances, found = self._index.search(queries, k, params=parameters)
        return distances, np.where(found >= 0, order[found], -1) if self._mapped else found

"""The FAISS index of one region: image ids by embedding, filtered, on the CPU or the GPU.

For every type (`index_types`) and device, a search returns allowed ids, nearest first. It returns fewer than k only if
fewer than k exist: types that scan only a part of their vectors scan more until there are k.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.faiss_file import MAX_IMAGE_ID, kind_of, problem
from vpmsearch.store.folder.files import MAX_FILE_BYTES, check_file, printable_line
from vpmsearch.store.folder.gpu_index import GpuIndex
from vpmsearch.store.folder.index_building import Rows, as_floats, build_index
from vpmsearch.store.folder.index_types import TYPES, gpu_of, type_of
from vpmsearch.system import lazy
from vpmsearch.types import Bool, Float32, Int64

faiss: Any = lazy.module("faiss")

Found = tuple[Int64, Float32]  # ids and distances of one query, nearest first

_LEAST_LISTS = 32  # that are looked through
_CROWD, _CROWDED_SHARE = 8, 2
# 1 of 2 lists is scanned if one list holds 1 of 8 vectors or more. So many vectors are equal or nearly so, and a search
# that leaves out their list misses all of them at once.
_HNSW_EFFORT = 64
_GPU_LIMIT = 2048  # neighbours, and lists, that a GPU search can select


def _load(path: Path, mapped: bool) -> Any:
    """Load a file with FAISS. If mapped, vectors stay in the file, and a search reads only those that it scans."""
    index = faiss.read_index(str(path), _mapping(path) if mapped else 0)
    lists = faiss.downcast_InvertedLists(index.invlists) if isinstance(index, faiss.IndexIVF) else None
    if isinstance(lists, faiss.OnDiskInvertedLists):
        # FAISS would start 32 threads per search to read ahead; the system's cache does as well.
        lists.prefetch_nthread = 0
    return index


def _mapping(path: Path) -> int:
    """FAISS's flag to map a file. It has one for plain vectors and another for lists."""
    return int(faiss.IO_FLAG_MMAP_IFC if kind_of(path) == "flat" else faiss.IO_FLAG_MMAP)


def _list_sizes(index: Any) -> list[int]:
    """The number of vectors in each list; [] for an index without lists."""
    if not hasattr(index, "nlist"):
        return []
    size = index.invlists.list_size  # looked up once, as there are thousands of lists
    return [size(number) for number in range(index.nlist)]


def _ids_of(index: Any, sizes: list[int]) -> Int64:
    """The ids in an index, in the order of its vectors if it has one. sizes: see `_list_sizes`."""
    if isinstance(index, faiss.IndexIDMap):
        return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    ids = index.invlists.get_ids
    parts = [faiss.rev_swig_ptr(ids(i), size).copy() for i, size in enumerate(sizes) if size]
    return np.concatenate([np.empty(0, np.int64), *parts])


class Allowed:
    """The image ids that a search may find. One object serves all regions and segments of a search.

    Args:
        ids: (n,) int64, any order, ≥ 0.
    """

    def __init__(self, ids: Int64) -> None:
        self._mask = np.zeros(int(ids.max()) + 1 if len(ids) else 0, dtype=np.bool_)
        self._mask[ids] = True
        self._counts: dict[RegionIndex, int] = {}

    def among(self, ids: Int64) -> Bool:
        """Whether each id may be found. FAISS's −1 may not."""
        if len(self._mask) == 0:
            return np.zeros(ids.shape, np.bool_)
        known = (ids >= 0) & (ids < len(self._mask))
        return known & self._mask[np.where(known, ids, 0)]

    def count(self, index: RegionIndex) -> int:
        """How many vectors of an index may be found."""
        if index not in self._counts:
            self._counts[index] = int(self.among(index.ids).sum())
        return self._counts[index]

    @functools.cached_property
    def selector(self) -> Any:
        """The ids as FAISS takes them."""
        return _selector(self._mask)


class RegionIndex:
    """One region's vectors, searched by Euclidean distance; immutable, and safe to search from several threads.

    ids: (n,) int64, ascending. kind: its type. masked: fetch more than needed and filter on the host, as GPU indexes
    need; can be set, so that tests need no GPU.
    """

    def __init__(self, index: Any, device: str = "cpu") -> None:
        self.kind = type_of(index)
        if not self.kind:
            raise StoreDamagedError(f"an index of type {type(index).__name__} is none that vpmsearch writes")
        self._type = TYPES[self.kind]
        self.dim = int(index.d)
        self._index = index
        sizes = _list_sizes(index)
        self._order = _ids_of(index, sizes)
        self.ids = np.sort(self._order)
        if len(self.ids) != index.ntotal or (self.ids[:-1] == self.ids[1:]).any() or (self.ids < 0).any():
            raise StoreDamagedError("a region index names images twice or not at all")
        if len(self.ids) and self.ids[-1] >= MAX_IMAGE_ID:
            raise StoreDamagedError(f"image id {self.ids[-1]} is beyond the limit of {MAX_IMAGE_ID}")
        self._crowded = max(sizes, default=0) > len(self.ids) / _CROWD
        gpu = gpu_of(device)
        # An empty index gains nothing on a GPU.
        self._gpu = GpuIndex(index, gpu) if gpu is not None and self._type.on_gpu and len(self.ids) > 0 else None
        self.masked = self._gpu is not None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(cls, vectors: Float32, ids: Int64, kind: str = "auto", device: str = "cpu") -> RegionIndex:
        """Index vectors (n, d) under ids (n,), n = 0 included."""
        return cls.build_from(lambda positions: vectors[positions], vectors.shape[1], ids, kind, device)

    @classmethod
    def build_from(
        cls,
        rows: Rows,
        d: int,
        ids: Int64,
        kind: str = "auto",
        device: str = "cpu",
        on_added: Callable[[int], None] = lambda vectors: None,
    ) -> RegionIndex:
        """Index vectors that are fetched in blocks, so that only the index and a sample to learn from are in memory.

        Args:
            rows: fetches vectors. d: their dimension. ids: (n,). kind: a type. device: where it is searched.
            on_added: called with the number of vectors just added.
        """
        return cls(build_index(rows, d, ids, kind, on_added), device)

    @classmethod
    def read(cls, path: Path, device: str = "cpu", largest: int = MAX_FILE_BYTES) -> RegionIndex:
        """Load a file of at most `largest` bytes; see `faiss_file.most_bytes`.

        Raises:
            StoreDamagedError: it is missing or not what `write` wrote. StoreError: it cannot be opened.
        """
        check_file(path, largest)
        try:
            if wrong := problem(path):
                raise StoreDamagedError(wrong)
            return cls(_load(path, mapped=gpu_of(device) is None), device)
        except (RuntimeError, MemoryError, OSError, ValueError, StoreDamagedError) as error:
            reason = printable_line(error).rpartition(": ")[2]
            raise StoreDamagedError(
                f"{path} cannot be read ({reason}); `vpmsearch compact` builds it again from the embeddings"
            ) from error

    def write(self, path: Path) -> None:
        """Write a new file and sync it so that it survives a power loss.

        Raises:
            OSError: the disk is full or fails.
        """
        # Through Python's file: FAISS's own writer ignores errors when it closes the file.
        with path.open("xb") as file:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write, 1 << 20))
            file.flush()
            os.fsync(file.fileno())

    def search(self, queries: Float32, k: int, allowed: Allowed | None = None) -> list[Found]:
        """The k nearest vectors of each query.

        Args:
            queries: (Q, d), finite. k: at least 0. allowed: ids that may be found; they may include ids that are not in
                the index. None means all.

        Returns:
            Q pairs of ids and Euclidean distances, ascending by distance, then id. Each has min(k, allowed vectors)
                entries.
        """
        wanted = min(k, len(self) if allowed is None else allowed.count(self))
        found: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        if wanted == 0 or len(queries) == 0:
            return found
        waiting = np.arange(len(queries))
        for effort in self._efforts(wanted):
            distances, ids = self._search(as_floats(queries[waiting]), wanted, effort, allowed)
            for query, ids_of_query, squared in zip(waiting, ids, distances, strict=True):
                found[query] = _tidy(ids_of_query, squared, wanted)
            waiting = np.array([query for query in waiting if len(found[query][0]) < wanted], dtype=np.int64)
            if len(waiting) == 0:
                break
        return found

    @property
    def exact(self) -> bool:
        """Whether a search finds exactly the nearest, up to the rounding of float32 on the CPU."""
        return self._type.walk == "all" and self._type.exact_distances and self._gpu is None

    def _efforts(self, wanted: int) -> Iterator[int | None]:
        """The efforts to try, each greater than the last. The final one, None, finds everything."""
        if self._type.walk == "lists":
            # The share of scanned lists grows with the number of neighbours wanted.
            share = min(self._type.share, _CROWDED_SHARE) if self._crowded else self._type.share
            effort = max(_LEAST_LISTS, self._index.nlist * max(wanted, 400) // (400 * share))
            while effort < self._index.nlist:
                yield effort
                effort *= 2
        elif self._type.walk == "graph":
            effort = max(_HNSW_EFFORT, 2 * wanted)
            while effort < len(self) // 4:  # beyond this, a scan is cheaper than the walk
                yield effort
                effort *= 4
        yield None

    def _search(self, queries: Float32, wanted: int, effort: int | None, allowed: Allowed | None) -> Any:
        """Squared distances and ids (Q, ≥ wanted); −1 where there is none."""
        if allowed is None or not self.masked:
            return self._raw(queries, wanted, effort, allowed)
        fetch = min(len(self), 2 * wanted)
        while True:
            if self._gpu is not None and fetch > _GPU_LIMIT:
                return self._raw(queries, wanted, effort, allowed)
            distances, ids = self._raw(queries, fetch, effort, None)
            # A −1 at the end means that this effort finds no more. Then fewer than wanted remain, and the caller raises
            # the effort.
            exhausted = ids[:, -1] < 0
            ids = np.where(allowed.among(ids), ids, -1)
            enough = (ids >= 0).sum(axis=1) >= wanted
            if fetch == len(self) or (enough | exhausted).all():
                return distances, ids
            fetch = min(len(self), 2 * fetch)

    def _raw(self, queries: Float32, k: int, effort: int | None, allowed: Allowed | None) -> Any:
        if self._type.walk == "graph" and effort is None:
            return self._scan(queries, k, allowed)
        lists = (effort or self._index.nlist) if self._type.walk == "lists" else 0
        if self._gpu is not None and allowed is None and max(k, lists) <= _GPU_LIMIT:
            return self._gpu.search(queries, k, lists, self._order)
        # FAISS's Python layer keeps the selector alive as long as the parameters.
        settings: dict[str, Any] = {} if allowed is None else {"sel": allowed.selector}
        if lists:
            parameters = faiss.SearchParametersIVF(nprobe=lists, **settings)
        elif self._type.walk == "graph":
            parameters = faiss.SearchParametersHNSW(efSearch=effort, **settings)
        else:
            parameters = faiss.SearchParameters(**settings)
        return self._index.search(queries, k, params=parameters)

    def _scan(self, queries: Float32, k: int, allowed: Allowed | None) -> Any:
        """Compare all vectors of a graph one by one, because its links may not reach all of them."""
        graph = faiss.downcast_index(self._index.index)
        vectors = faiss.downcast_index(graph.storage)
        settings = {} if allowed is None else {"sel": _selector(allowed.among(self._order))}
        distances, positions = vectors.search(queries, k, params=faiss.SearchParameters(**settings))
        return distances, np.where(positions >= 0, self._order[positions], -1)


def _selector(keep: Bool) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))


def _tidy(ids: Int64, squared: Float32, wanted: int) -> Found:
    """Drop the −1, take the root, and order by distance, then id. Rounding may leave a square below 0.

    A fast scan over equal codes divides 0 by 0. Such a distance is unknown and becomes 0, so it does not tighten the
    bound of a search.
    """
    present = ids >= 0
    ids, distances = ids[present], np.sqrt(np.fmax(squared[present], 0))
    order = np.lexsort((ids, distances))[:wanted]
    return ids[order], distances[order]


def threads() -> int:
    """How many threads FAISS uses for the calling thread: the number of cores, or $OMP_NUM_THREADS."""
    return int(faiss.omp_get_max_threads())


@contextmanager
def threads_within(count: int) -> Iterator[None]:
    """Let FAISS use `count` threads for the calling thread. Other threads are not affected."""
    before = threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

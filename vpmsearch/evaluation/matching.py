"""Runs the older matchers of Table 2 on images: computes feature maps, and the distances of candidates.

DSR and SFR compare pair by pair (`evaluation.matchers`). With MTRC and AMC+SWM the candidates of a query compete
(`evaluation.sparse_matchers`). The gallery's maps are computed once for all γ, crops and weightings, and kept in a
temporary file as float16: 2·d·h·w bytes for each image. Memory is limited: matrices of queries are held in blocks, and
candidates whose maps together are too large are refused.
"""

from __future__ import annotations

import errno
import itertools
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.errors import DataError
from vpmsearch.evaluation.matchers import RIDGE, WINDOWS, candidate_distances, second_moments, spatial_features
from vpmsearch.evaluation.metrics import Float64
from vpmsearch.evaluation.sparse_matchers import (
    NEAREST,
    PENALTY,
    RELAXATION,
    SIDES,
    SPARSE,
    STEPS,
    STIFFNESS,
    sparse_distances,
)
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.types import Int64
from vpmsearch.words import printable

MATCHERS = (*WINDOWS, *SPARSE)
_LONGEST = 1024.0
"""A kept map is scaled so that its longest pixel has this length. float16 cannot overflow then, and keeps its full
precision for much shorter pixels."""
_MOMENT_BYTES = 2**29
"""Most bytes of the queries' d × d matrices that are held at once."""
_CANDIDATE_BYTES = 2**32
"""Most bytes of the maps, as float32, of the candidates of one query."""


def check_matcher(name: str) -> None:
    """Check the name of a matcher.

    Raises:
        DataError: there is no such matcher.
    """
    if name not in MATCHERS:
        raise DataError(f"unknown matcher {name!r}; choose one of {', '.join(MATCHERS)}")


def matcher_settings(name: str) -> dict[str, Any]:
    """The constants that a matcher's distances depend on, as plain values for JSON."""
    if name in WINDOWS:
        return {"windows": list(WINDOWS[name]), "ridge": RIDGE}
    found: dict[str, Any] = {"penalty": PENALTY, "nearest": NEAREST, "admm": [STEPS, STIFFNESS, RELAXATION]}
    return found | ({"sides": list(SIDES)} if name == "amc-swm" else {})


class KeptMaps:
    """Feature maps of the gallery in a temporary file, each computed once. A context manager that removes the file.

    Args:
        see: computes the maps (d, h, w) of rows of the gallery, in order, all of one size.
    """

    def __init__(self, see: Callable[[Int64], Iterable[Tensor]]) -> None:
        self._see = see
        self._place: dict[int, int] = {}
        self._shape: tuple[int, ...] = ()
        with _no_room("feature maps of the gallery"):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the file is gone in any case, and a full disk was reported before
            self._file.close()

    def keep(self, rows: Int64) -> None:
        """Compute and keep the maps of the rows that are not kept yet.

        Raises:
            DataError: an image cannot be read any more, or there is no room for the maps.
        """
        missing = np.array([row for row in rows.tolist() if row not in self._place], dtype=np.int64)
        needed = 0
        for done, (row, map_) in enumerate(zip(missing.tolist(), self._see(missing), strict=True)):
            longest = map_.norm(dim=0).amax().clamp(min=torch.finfo(map_.dtype).tiny)
            kept = (map_ / longest * _LONGEST).cpu().numpy().astype(np.float16)
            if not done:
                self._shape, needed = kept.shape, len(missing) * kept.nbytes
            with _no_room(f"the {len(missing)} feature maps of the gallery, {needed / 1e9:.1f} GB,"):
                if not done and (free := shutil.disk_usage(tempfile.gettempdir()).free) < needed:
                    raise OSError(errno.ENOSPC, f"{free / 1e9:.1f} GB are free")
                self._file.seek(len(self._place) * kept.nbytes)
                self._file.write(kept.tobytes())
            self._place[row] = len(self._place)
        with _no_room(f"the {len(missing)} feature maps of the gallery, {needed / 1e9:.1f} GB,"):
            self._file.flush()

    def maps(self, rows: Int64) -> Tensor:
        """The kept maps of some rows, (k, d, h, w) float32, each scaled by a factor of its own."""
        if not len(rows):
            return torch.empty((0, *(self._shape or (1, 1, 1))))
        every = np.memmap(self._file, np.float16, "r", shape=(len(self._place), *self._shape))
        return torch.from_numpy(every[[self._place[row] for row in rows.tolist()]].astype(np.float32))


@contextmanager
def _no_room(what: str) -> Iterator[None]:
    """Turn an OSError into a DataError that says what found no room and where."""
    try:
        yield
    except OSError as error:
        # gettempdir itself fails if no folder can be written
        where = tempfile.tempdir or "any temporary folder"
        raise DataError(
            f"{what} find no room in {where} ({error.strerror or error}); set TMPDIR to a folder with more"
        ) from error


class ImageMatcher:
    """An older matcher on images, for one evaluation. A context manager that removes the maps it kept.

    Args:
        name: of the matcher. query: Q images. gallery: G images.

    Raises:
        DataError: there is no place for the maps.
    """

    def __init__(
        self, name: str, extractor: Extractor, query: Sequence[LabelledImage], gallery: Sequence[LabelledImage]
    ) -> None:
        self._name, self._extractor, self._query = name, extractor, query
        self._kept = KeptMaps(lambda rows: feature_maps(extractor, [gallery[row] for row in rows], None))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.__exit__(kind, error, trace)

    def __call__(self, boxes: Sequence[CropBox | None], candidates: Int64) -> Float64:
        """Distances of the queries to their candidates in R galleries.

        Args:
            boxes: the crop of each query; None is the whole image. candidates: (R, Q, k) rows of the gallery, −1 for
                none.

        Returns:
            (R, Q, k); inf where there is no candidate.

        Raises:
            DataError: an image cannot be read any more, there is no room for the maps, or too many candidates compete.
        """
        return matched_maps(self._name, feature_maps(self._extractor, self._query, boxes), self._kept, candidates)


def matched_maps(name: str, query: Iterable[Tensor], gallery: KeptMaps, candidates: Int64) -> Float64:
    """`ImageMatcher.__call__` from the feature maps (d, h, w) of the queries, in order."""
    wanted = np.unique(candidates[candidates >= 0])
    if not len(wanted):
        return np.full(candidates.shape, np.inf)
    gallery.keep(wanted)
    if name in WINDOWS:
        return _pair_by_pair(WINDOWS[name], iter(query), gallery, candidates)
    return _competing(name, query, gallery, candidates)


def feature_maps(
    extractor: Extractor, images: Sequence[LabelledImage], boxes: Sequence[CropBox | None] | None
) -> Iterator[Tensor]:
    """The feature map (d, h, w) of each image, or of a crop of each, in order.

    Raises:
        DataError: an image cannot be read any more.
    """
    requests = (Request(i, image.path, boxes[i] if boxes else None) for i, image in enumerate(images))
    for maps, rejected in extractor.extract_maps(requests):
        if rejected:
            raise DataError(f"{printable(rejected[0].path)}: {rejected[0].reason}; it could be read a moment ago")
        yield from maps


def _pair_by_pair(windows: Sequence[int], query: Iterator[Tensor], gallery: KeptMaps, candidates: Int64) -> Float64:
    draws, count, k = candidates.shape
    flat = candidates.transpose(1, 0, 2).reshape(count, draws * k)  # (R, Q, k) -> (Q, R·k)
    found = np.full(flat.shape, np.inf)
    start = 0
    for first in query:
        size = max(1, _MOMENT_BYTES // (4 * len(first) ** 2))
        block = itertools.chain([first], itertools.islice(query, size - 1))
        moments = torch.cat([second_moments(spatial_features(map_[None], windows)) for map_ in block])
        some = slice(start, start + len(moments))
        wanted = np.unique(flat[some][flat[some] >= 0])
        pixels = (spatial_features(gallery.maps(wanted[[i]]).to(first), windows)[0] for i in range(len(wanted)))
        found[some] = candidate_distances(moments, flat[some], zip(wanted.tolist(), pixels, strict=True))
        start = some.stop
    return found.reshape(count, draws, k).transpose(1, 0, 2)


def _competing(name: str, query: Iterable[Tensor], gallery: KeptMaps, candidates: Int64) -> Float64:
    found = np.full(candidates.shape, np.inf)
    most = int((candidates >= 0).sum(axis=2).max())
    for row, map_ in enumerate(query):
        if (size := 4 * most * math.prod(map_.shape)) > _CANDIDATE_BYTES:
            raise DataError(
                f"{most} candidates compete for a query by {name}: their feature maps take {size / 1e9:.1f} GB of "
                f"memory at once, and at most {_CANDIDATE_BYTES / 1e9:.1f} may; ask for fewer --candidates"
            )
        for draw, rows in enumerate(candidates[:, row]):
            there = rows >= 0
            if there.any():
                images = F.normalize(gallery.maps(rows[there]).to(map_), dim=1)  # pixels (k, d, h, w) of length 1
                found[draw, row, there] = sparse_distances(name, map_, images).cpu().numpy()
    return found

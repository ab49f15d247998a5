"""The older matchers of Table 2 on images: their feature maps, seen once, and the distances of candidates.

DSR and SFR compare pair by pair (`evaluation.matchers`). For MTRC and AMC+SWM a query's candidates compete
(`evaluation.sparse_matchers`), so the gallery's maps are kept in a temporary file, as float16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.data.crops import CropBox
from vpmsearch.data.datasets import LabelledImage
from vpmsearch.data.images import printable
from vpmsearch.errors import DataError
from vpmsearch.evaluation.matchers import WINDOWS, candidate_distances, second_moments, spatial_features
from vpmsearch.evaluation.metrics import Float64
from vpmsearch.evaluation.sparse_matchers import SPARSE, sparse_distances
from vpmsearch.extraction import Extractor, Request
from vpmsearch.types import Int64

MATCHERS = (*WINDOWS, *SPARSE)


def check_matcher(name: str) -> None:
    """Refuse a matcher that there is not.

    Raises:
        DataError: it has no such name.
    """
    if name not in MATCHERS:
        raise DataError(f"unknown matcher {name!r}; choose one of {', '.join(MATCHERS)}")


def matched_images(
    name: str,
    extractor: Extractor,
    query: Sequence[LabelledImage],
    boxes: Sequence[CropBox | None],
    gallery: Sequence[LabelledImage],
    candidates: Int64,
) -> Float64:
    """Distances of Q queries to their candidates in R galleries, from the images.

    Args:
        name: of the matcher. query: Q images. boxes: the crop of each, None is the whole image. gallery: G images.
        candidates: (R, Q, k) rows of the gallery, −1 for none.

    Returns:
        (R, Q, k); inf where there is none.

    Raises:
        DataError: an image cannot be read any more, or the maps find no room.
    """
    wanted = np.unique(candidates[candidates >= 0])
    asked = feature_maps(extractor, query, boxes)
    among = feature_maps(extractor, [gallery[row] for row in wanted], None)
    return matched_maps(name, asked, wanted, among, candidates)


def matched_maps(
    name: str, query: Iterable[Tensor], wanted: Int64, gallery: Iterable[Tensor], candidates: Int64
) -> Float64:
    """The same from feature maps (d, h, w): Q of the queries, and those of the gallery's rows `wanted`, ascending."""
    if name in WINDOWS:
        return _pair_by_pair(WINDOWS[name], query, wanted, gallery, candidates)
    with tempfile.TemporaryFile() as file:
        return _competing(name, query, wanted, _kept(gallery, file), candidates)


def feature_maps(
    extractor: Extractor, images: Sequence[LabelledImage], boxes: Sequence[CropBox | None] | None
) -> Iterator[Tensor]:
    """The feature map (d, h, w) of each image, or of a crop of each, in turn.

    Raises:
        DataError: an image cannot be read any more.
    """
    requests = (Request(i, image.path, boxes[i] if boxes else None) for i, image in enumerate(images))
    for maps, rejected in extractor.extract_maps(requests):
        if rejected:
            raise DataError(f"{printable(rejected[0].path)}: {rejected[0].reason}; it could be read a moment ago")
        yield from maps


def _pair_by_pair(
    windows: Sequence[int], query: Iterable[Tensor], wanted: Int64, gallery: Iterable[Tensor], candidates: Int64
) -> Float64:
    draws, count, k = candidates.shape
    if not candidates.size:
        return np.full(candidates.shape, np.inf)
    moments = torch.cat([second_moments(spatial_features(map_[None], windows)) for map_ in query])
    flat = candidates.transpose(1, 0, 2).reshape(count, draws * k)  # (R, Q, k) -> (Q, R·k)
    pixels = (spatial_features(map_[None], windows)[0] for map_ in gallery)
    found = candidate_distances(moments, flat, zip(wanted.tolist(), pixels, strict=True))
    return found.reshape(count, draws, k).transpose(1, 0, 2)


def _kept(gallery: Iterable[Tensor], file: IO[bytes]) -> NDArray[np.float16]:
    """Maps (G, h, w, d), their pixels scaled to length 1, in a file; (0, 1, 1, 1) of none."""
    shape: tuple[int, ...] = (0, 1, 1, 1)
    try:
        for row, map_ in enumerate(gallery):
            pixels = F.normalize(map_.permute(1, 2, 0), dim=2)  # (d, h, w) -> (h, w, d)
            shape = (row + 1, *pixels.shape)
            file.write(pixels.cpu().numpy().astype(np.float16).tobytes())
        file.flush()
    except OSError as error:
        raise DataError(
            f"the gallery's feature maps, so far {shape[0]}, find no room in {tempfile.gettempdir()} "
            f"({error.strerror or error}); set TMPDIR to a folder with more"
        ) from error
    return np.memmap(file, np.float16, "r", shape=shape) if shape[0] else np.empty(shape, np.float16)


def _competing(
    name: str, query: Iterable[Tensor], wanted: Int64, gallery: NDArray[np.float16], candidates: Int64
) -> Float64:
    found = np.full(candidates.shape, np.inf)
    for row, map_ in enumerate(query):
        for draw, rows in enumerate(candidates[:, row]):
            there = rows >= 0
            if there.any():
                kept = torch.from_numpy(gallery[np.searchsorted(wanted, rows[there])]).to(map_)
                # (k, h, w, d) -> (k, d, h, w); float16 has moved lengths a little
                images = F.normalize(kept, dim=3).permute(0, 3, 1, 2)
                found[draw, row, there] = sparse_distances(name, map_, images).cpu().numpy()
    return found

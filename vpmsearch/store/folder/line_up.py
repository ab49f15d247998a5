"""The order of a snapshot's images: those of all segments that are not removed, ascending by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.files import REMEDY
from vpmsearch.store.folder.segments import OpenSegment
from vpmsearch.types import Float32, Int64


class LinedUp(NamedTuple):
    """N images in their order.

    image_ids: (N,), ascending. visibility: (N, p). part_of: (N,) which of the segments holds each, from 0.
    row_in_part: (N,) its row there.
    """

    image_ids: Int64
    visibility: Float32
    part_of: Int64
    row_in_part: Int64


def line_up(segments: Sequence[OpenSegment], removed: Int64, p: int) -> LinedUp:
    """Put the images of all segments in one order.

    Args:
        removed: ids of images to leave out. p: regions of the model.

    Raises:
        StoreDamagedError: two segments hold one image.
    """
    ids = np.concatenate([np.empty(0, np.int64), *(files.image_ids for files in segments)])
    visibility = np.concatenate([np.empty((0, p), np.float32), *(files.visibility for files in segments)])
    counts = [len(files.image_ids) for files in segments]
    parts = np.repeat(np.arange(len(counts)), counts)
    inside = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])
    order = np.argsort(ids, kind="stable")  # merged segments overlap in ids
    if len(removed):
        order = order[~np.isin(ids[order], removed, assume_unique=True)]
    image_ids = ids[order]
    if (image_ids[:-1] == image_ids[1:]).any():
        raise StoreDamagedError(f"two segments hold one image; {REMEDY}")
    return LinedUp(image_ids, visibility[order], parts[order], inside[order])

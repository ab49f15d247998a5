"""What an index holds, by its catalog and its small files: no file of embeddings or of FAISS is opened for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpmsearch.errors import StoreDamagedError
from vpmsearch.store.folder.faiss_file import kind_of
from vpmsearch.store.folder.files import REMEDY, check_folder, segment_folder
from vpmsearch.store.folder.moment import Moment
from vpmsearch.store.folder.segments import IMAGES_NAME, read_images, region_file_name


def measured(folder: Path, moment: Moment) -> dict[str, Any]:
    """The fields of `StoreStats` that describe the images at one moment.

    Raises:
        StoreDamagedError: a file is missing or not what it should be.
    """
    info = moment.model.info
    parts, kinds = [np.empty((0, info.p), np.float32)], [set[str]() for _ in range(info.p)]
    for segment_id, segment in moment.segments.items():
        place = segment_folder(folder, segment_id)
        check_folder(place)
        for name, written in segment.files.items():
            _check_size(place / name, written.size)
        ids, visibility = read_images(place / IMAGES_NAME, segment.files.get(IMAGES_NAME), info.p)
        parts.append(visibility[moment.live(ids)])
        for region, found in enumerate(kinds):
            found.add(kind_of(place / region_file_name(region)))
    visibility = np.concatenate(parts)  # (N, p)
    mean = visibility.mean(axis=0, dtype=np.float64) if len(visibility) else np.zeros(info.p)
    return {
        **moment.counts(),
        "region_images": info.visible(visibility).sum(axis=0).tolist(),
        "region_visibility": mean.tolist(),
        "region_index_types": [sorted(found) for found in kinds],
    }


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.lstat().st_size
    except OSError as error:
        raise StoreDamagedError(f"{path} cannot be read ({error.strerror or error}); {REMEDY}") from error
    if found != size:
        raise StoreDamagedError(f"{path} has {found} bytes instead of {size}; {REMEDY}")

"""Rewrites segments without their removed images, for merging, compaction and repair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError, StoreError, VpmsearchError
from vpmsearch.store.folder import embeddings
from vpmsearch.store.folder.catalog import Catalog
from vpmsearch.store.folder.checksums import FileSum, is_as_written
from vpmsearch.store.folder.files import REMEDY, check_folder, segment_folder
from vpmsearch.store.folder.leftovers import discard
from vpmsearch.store.folder.segments import IMAGES_NAME, open_embeddings, read_images, write_segment
from vpmsearch.store.folder.values import ImageRows
from vpmsearch.store.values import OnBuild, StoredModel, tell_nobody

MERGED = 8
"""This many segments of similar size are merged. Every image is rewritten about log8(N / images per commit) times."""
_BLOCK_BYTES = 64 << 20  # embeddings held at once


def due(segments: Mapping[int, int]) -> list[int]:
    """The segments to merge next: the smallest size class (powers of `MERGED`) with at least `MERGED` segments; [] if
    none.

    Args:
        segments: images by segment id.
    """
    tiers: dict[int, list[int]] = {}
    for segment_id, images in segments.items():
        tier = 0
        while images >= MERGED ** (tier + 1):
            tier += 1
        tiers.setdefault(tier, []).append(segment_id)
    return next((sorted(tiers[tier]) for tier in sorted(tiers) if len(tiers[tier]) >= MERGED), [])


def rewrite(
    folder: Path, catalog: Catalog, old: Sequence[int], segment_id: int, on_build: OnBuild = tell_nobody
) -> None:
    """Write the images of some segments that are not removed into a new segment, and delete the old ones. Ids stay.

    The caller holds the writer lock. While it runs it needs space for a second copy. Readers keep their files open.

    The files of a segment whose images are all removed are not read: nothing of them is kept, so they may be damaged.

    Raises:
        StoreDamagedError: embeddings are not what was written. The new checksums would make them look sound.
        StoreError: the disk is full; nothing has changed.
    """
    done = False
    try:
        with catalog.read() as reader:
            model, counts = reader.model(), reader.segments()
            images, labels = reader.image_rows(model.info.p, old), reader.live_labels(old)
            sums = {number: reader.files(number) for number in old}
        kept = np.unique(images.segments).tolist()
        sources = {n: _source(segment_folder(folder, n), counts[n], sums[n], images, model) for n in kept}
        files: list[FileSum] = []
        if len(images.ids):
            blocks = _gathered(images, sources)
            files = write_segment(folder, segment_id, images.ids, images.visibility, blocks, labels, model, on_build)
        catalog.move(old, segment_id, images.ids, files)
        done = True
    except VpmsearchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{folder} was not rewritten: {reason}; mend that and repeat") from error
    finally:
        if not done:
            take_back(catalog, folder, segment_id)
    # The old segments may be deleted only now that the new one is visible. A reader keeps its files open.
    for number in old:
        discard(folder, number)


def take_back(catalog: Catalog, folder: Path, segment_id: int) -> bool:
    """Delete the segment of a failed change. If the catalog names the segment after all, keep it and return True.

    If the catalog cannot be read the segment stays, and the next writer looks again.
    """
    try:
        with catalog.read() as reader:
            committed = segment_id in reader.segments()
    except VpmsearchError:
        return False
    if not committed:
        discard(folder, segment_id)
    return committed


def _source(
    place: Path, count: int, files: Mapping[str, FileSum], images: ImageRows, model: StoredModel
) -> NDArray[Any]:
    """The embeddings of a segment, checked to be what was written for the catalog's images."""
    path = place / embeddings.FILE_NAME
    check_folder(place)
    mapped, ids = open_embeddings(place, count, model)
    try:
        sound = is_as_written(path, files.get(path.name))
    except OSError as error:
        raise StoreDamagedError(f"{path} cannot be read ({error.strerror or error}); {REMEDY}") from error
    if not sound:
        raise StoreDamagedError(f"{path} is not what was written (checksum); {REMEDY}")
    here = images.segments == int(place.name)
    rows = images.rows[here]
    if (rows >= count).any() or not np.array_equal(ids[rows], images.ids[here]):
        raise StoreDamagedError(f"{place} holds other images than the catalog says; {REMEDY}")
    try:
        _, visibility = read_images(place / IMAGES_NAME, files.get(IMAGES_NAME), model.info.p)
    except StoreDamagedError:
        return mapped  # rewritten from the catalog, which `repair` has checked
    if not np.array_equal(visibility[rows], images.visibility[here]):
        raise StoreDamagedError(f"{place / IMAGES_NAME} and the catalog say different things; {REMEDY}")
    return mapped


def _gathered(images: ImageRows, sources: Mapping[int, NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """The embeddings in the order of the ids, block by block."""
    sample = next(iter(sources.values()))
    step = max(1, _BLOCK_BYTES // max(1, sample[:1].nbytes))
    for start in range(0, len(images.ids), step):
        owners, rows = images.segments[start : start + step], images.rows[start : start + step]
        block = np.empty((len(rows), *sample.shape[1:]), sample.dtype)
        for number in np.unique(owners):
            block[owners == number] = sources[int(number)][rows[owners == number]]
        if not np.isfinite(block).all():
            raise StoreDamagedError(f"an embedding is not finite; {REMEDY}")
        yield block

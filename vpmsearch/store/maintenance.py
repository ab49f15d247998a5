"""Looking after an index: `verify` finds damage, `compact` reclaims what was removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError, StoreError, StoreNotFoundError, VpmsearchError
from vpmsearch.store.catalog import FILE_NAME, Catalog, Reader
from vpmsearch.store.locking import writer_lock
from vpmsearch.store.region_index import RegionIndex
from vpmsearch.store.segments import (
    FOLDER_NAME,
    bytes_by_kind,
    discard,
    is_leftover,
    open_embeddings,
    region_file_name,
    remove_unreferenced,
    write_segment,
)
from vpmsearch.store.values import CompactReport, ImageRows, StoredModel, VerifyReport
from vpmsearch.types import Int64

_ATTEMPTS = 3
_BLOCK_BYTES = 64 << 20  # embeddings held at once
_REMEDY = "restore the index from a copy or build it again"


def open_catalog(folder: Path) -> Catalog:
    """The catalog of an index, of the right revision.

    Raises:
        StoreNotFoundError, StoreVersionError, StoreDamagedError: there is none that could be used.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StoreNotFoundError(
            f"there is no index at {folder}; create one with `vpmsearch index GALLERY --index {folder}`"
        )
    catalog = Catalog(path)
    catalog.check_revision()
    return catalog


def verify(path: str | os.PathLike[str]) -> VerifyReport:
    """Check every file of an index against every other; damage is reported, never raised.

    Folders that an interrupted writer left among the segments are no damage: the next writer deletes them.

    Raises:
        StoreNotFoundError: there is no index. StoreVersionError: it needs `vpmsearch upgrade`.
    """
    folder = Path(path)
    for _ in range(_ATTEMPTS):
        try:
            catalog = open_catalog(folder)
            with catalog.read() as reader:
                images, problems = _check(folder, reader)
                with catalog.read() as now:  # a compaction may have replaced what was being looked at
                    changed = now.segments() != reader.segments()
        except StoreDamagedError as error:
            return VerifyReport(False, 0, (str(error),))
        if not problems or not changed:
            break
    return VerifyReport(not problems, images, tuple(problems))


def _check(folder: Path, reader: Reader) -> tuple[int, list[str]]:
    problems = [f"{folder / FILE_NAME}: {found}; {_REMEDY}" for found in reader.integrity()]
    if problems:  # what else it says is not to be trusted
        return 0, problems
    model = reader.model()
    segments = reader.segments()
    for segment_id, count in segments.items():
        place = folder / FOLDER_NAME / str(segment_id)
        if not place.is_dir():
            problems.append(f"{place} is missing; {_REMEDY}")
            continue
        try:
            problems += _check_segment(place, count, reader.image_rows(model.info.p, segment_id=segment_id), model)
        except StoreDamagedError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{place} cannot be read ({error}); check its permissions and the disk")
    try:
        problems += _check_strangers(folder / FOLDER_NAME, {str(segment_id) for segment_id in segments})
    except OSError as error:
        problems.append(f"{folder / FOLDER_NAME} cannot be read ({error}); check its permissions and the disk")
    return reader.counts()["images"], problems


def _check_segment(place: Path, count: int, images: ImageRows, model: StoredModel) -> Iterator[str]:
    info = model.info
    catalog = place.parent.parent / FILE_NAME
    order = np.argsort(images.rows)
    if not np.array_equal(images.rows[order], np.arange(count)):
        yield f"{catalog} does not name {count} rows of segment {place.name} once each; {_REMEDY}"
        return
    visibility, ids = images.visibility[order], images.ids[order]
    if not (np.isfinite(visibility) & (visibility >= 0) & (visibility <= 1 + 1e-3)).all():
        yield f"{catalog} holds visibility scores outside [0, 1] in segment {place.name}; {_REMEDY}"
    try:
        mapped, stored_ids = open_embeddings(place, count, model)
        if not np.array_equal(stored_ids, ids):
            yield f"{place} holds other images than the catalog says, or in another order; {_REMEDY}"
        if not all(np.isfinite(block).all() for block in _blocks(mapped)):
            yield f"{place} holds embeddings that are not finite; {_REMEDY}"
    except StoreError as error:
        yield str(error)
    visible = info.visible(visibility)
    for region in range(info.p):
        yield from _check_region(place / region_file_name(region), ids[visible[:, region]], info.embedding_dim)
    known = {"embeddings.h5", *(region_file_name(region) for region in range(info.p))}
    for entry in sorted(place.iterdir()):
        if entry.name not in known:
            yield f"{entry} is no part of the index; move it away"


def _check_region(path: Path, expected: Int64, dim: int) -> Iterator[str]:
    try:
        index = RegionIndex.read(path)
    except StoreError as error:
        yield str(error)
        return
    if index.dim != dim or not np.array_equal(index.ids, np.sort(expected)):
        yield (
            f"{path} does not hold exactly the {len(expected)} images in which the region is visible; "
            "`vpmsearch compact` builds it again from the embeddings"
        )


def _check_strangers(segments: Path, referenced: set[str]) -> Iterator[str]:
    if not segments.is_dir():
        yield f"{segments} is missing; {_REMEDY}"
        return
    for entry in sorted(segments.iterdir()):
        if entry.name not in referenced and not is_leftover(entry.name, referenced):
            yield f"{entry} is no part of the index; move it away"


def _blocks(mapped: NDArray[Any]) -> Iterator[NDArray[Any]]:
    step = max(1, _BLOCK_BYTES // max(1, mapped[:1].nbytes))
    for start in range(0, len(mapped), step):
        yield mapped[start : start + step]


def compact(path: str | os.PathLike[str]) -> CompactReport:
    """Rewrite an index as one segment without the removed images, whose rows are overwritten; ids stay.

    Needs the space of the index once more while it runs. Readers keep what they have open.

    Raises:
        StoreLockedError: somebody writes. StoreDamagedError: embeddings are missing or not finite; region indexes may
            be, they are built anew. StoreError: the disk is full; nothing has changed.
    """
    folder = Path(path)
    catalog = open_catalog(folder)
    segments = folder / FOLDER_NAME
    with writer_lock(folder):
        before = bytes_by_kind(folder)["total"]
        with catalog.read() as reader:
            removed = reader.counts()["removed"]
            model, old = reader.model(), reader.segments()
            images = reader.image_rows(model.info.p)
            remove_unreferenced(segments, old)
            sources = {number: _source(segments / str(number), count, images, model) for number, count in old.items()}
        _, segment_id = catalog.next_ids()
        _rewrite(catalog, segments, segment_id, images, sources, model)
        # Only now, when the new segment is visible, may the old ones go; a reader keeps its files open.
        for number in old:
            shutil.rmtree(segments / str(number), ignore_errors=True)
        catalog.truncate_wal()
        return CompactReport(len(images.ids), removed, before, bytes_by_kind(folder)["total"])


def _source(place: Path, count: int, images: ImageRows, model: StoredModel) -> NDArray[Any]:
    """The embeddings of a segment, once they are known to be those of the images the catalog names."""
    mapped, ids = open_embeddings(place, count, model)
    here = images.segments == int(place.name)
    rows = images.rows[here]
    if (rows >= count).any() or not np.array_equal(ids[rows], images.ids[here]):
        raise StoreDamagedError(f"{place} holds other images than the catalog says; {_REMEDY}")
    return mapped


def _rewrite(
    catalog: Catalog,
    segments: Path,
    segment_id: int,
    images: ImageRows,
    sources: dict[int, NDArray[Any]],
    model: StoredModel,
) -> None:
    done = False
    try:
        if len(images.ids):
            visible = model.info.visible(images.visibility)
            write_segment(segments, segment_id, images.ids, visible, _gathered(images, sources), model)
        catalog.move_all(segment_id, images.ids)
        done = True
    except VpmsearchError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{segments.parent} was not compacted: {reason}; mend that and repeat") from error
    finally:
        if not done:
            _take_back(catalog, segments, segment_id)


def _take_back(catalog: Catalog, segments: Path, segment_id: int) -> None:
    try:
        with catalog.read() as reader:
            committed = segment_id in reader.segments()
    except VpmsearchError:
        return  # unsure: the next writer looks again
    if not committed:
        discard(segments, segment_id)


def _gathered(images: ImageRows, sources: dict[int, NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """The embeddings in the order of the ids, block by block."""
    if not len(images.ids):
        return
    sample = next(iter(sources.values()))
    step = max(1, _BLOCK_BYTES // sample[:1].nbytes)
    for start in range(0, len(images.ids), step):
        owners, rows = images.segments[start : start + step], images.rows[start : start + step]
        block = np.empty((len(rows), *sample.shape[1:]), sample.dtype)
        for number in np.unique(owners):
            block[owners == number] = sources[int(number)][rows[owners == number]]
        if not np.isfinite(block).all():
            raise StoreDamagedError(f"an embedding is not finite; {_REMEDY}")
        yield block

"""Segments on disk: written under a temporary name, renamed when whole, never changed afterwards."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError, StoreError
from vpmsearch.store.folder import embeddings, label_file
from vpmsearch.store.folder.checksums import FileSum, digest, folder_sums
from vpmsearch.store.folder.faiss_file import most_bytes
from vpmsearch.store.folder.files import (
    REMEDY,
    check_folder,
    open_file,
    segment_folder,
)
from vpmsearch.store.folder.label_file import LABELS_NAME
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.region_index import RegionIndex, threads, threads_within
from vpmsearch.store.values import OnBuild, StoredModel, tell_nobody
from vpmsearch.system.atomic import sync_folder
from vpmsearch.system.parallel import map_ahead
from vpmsearch.types import Bool, Float32, Int64

IMAGES_NAME = "images.bin"
TEMPORARY = ".tmp-"
REPAIR = "`vpmsearch verify --repair` builds it again"
"""What to do about a damaged file that can be rebuilt from others."""

_TOGETHER_FROM = 20_000  # from so many images on, a segment's regions are indexed and opened in parallel
_TOGETHER = 4  # at most: so many indexes are in memory at once


def region_file_name(region: int) -> str:
    """The file of one region's FAISS index."""
    return f"region_{region}.faiss"


@dataclass(frozen=True)
class OpenSegment:
    """The files of a segment, open.

    embeddings: (n, p, d), a memory map. image_ids: (n,), ascending. visibility: (n, p). regions: one index a region.
    folder: of the segment. files: checksums by name, as written.
    """

    embeddings: NDArray[np.floating[Any]]
    image_ids: Int64
    visibility: Float32
    regions: tuple[RegionIndex, ...]
    folder: Path
    files: Mapping[str, FileSum]


def open_segment(
    folder: Path, images: int, files: Mapping[str, FileSum], model: StoredModel, device: str
) -> OpenSegment:
    """Open every file of a segment.

    Args:
        images: how many it has. files: what was written.

    Raises:
        StoreDamagedError: one is missing or not what the catalog says.
    """
    info = model.info
    check_folder(folder)
    mapped, ids = open_embeddings(folder, images, model)
    named, visibility = read_images(folder / IMAGES_NAME, files.get(IMAGES_NAME), info.p)
    if not np.array_equal(ids, named) or (ids[:-1] >= ids[1:]).any():
        raise StoreDamagedError(f"{folder} holds other images than the catalog says; {REMEDY}")

    def open_region(region: int) -> RegionIndex:
        path = folder / region_file_name(region)
        index = RegionIndex.read(path, device, most_bytes(images, info.embedding_dim))
        if index.dim != info.embedding_dim or not contains(ids, index.ids):
            raise StoreDamagedError(f"{path} belongs to other images; {REPAIR}")
        return index

    workers = min(info.p, os.cpu_count() or 1) if len(ids) >= _TOGETHER_FROM else 0
    regions = tuple(map_ahead(open_region, range(info.p), workers=workers, ahead=info.p))
    return OpenSegment(mapped, ids, visibility, regions, folder, files)


def read_images(path: Path, expected: FileSum | None, p: int) -> tuple[Int64, Float32]:
    """The image ids (n,) and visibility (n, p) of a segment, as the catalog holds them too.

    They have a small file of their own, so a million images open at once, and the file is checked each time.

    Raises:
        StoreDamagedError: the file is missing or not what was written.
    """
    try:
        with open_file(path, expected.size if expected else 0) as file:
            data = file.read()
        if expected is None or (len(data), digest(data)) != (expected.size, expected.digest):
            raise StoreDamagedError(f"{path} is not what was written (checksum); {REPAIR}")
    except StoreDamagedError as error:
        raise StoreDamagedError(f"{path} is not what was written ({error}); {REPAIR}") from error
    except (StoreError, OSError) as error:
        raise StoreDamagedError(f"{path} cannot be read ({error}); {REPAIR}") from error
    if len(data) % _image_dtype(p).itemsize:
        raise StoreDamagedError(f"{path} is of another model; {REPAIR}")
    rows = np.frombuffer(data, _image_dtype(p))
    return rows["image_id"].astype(np.int64), rows["visibility"].astype(np.float32)


def _image_dtype(p: int) -> np.dtype[Any]:
    return np.dtype([("image_id", "<i8"), ("visibility", "<f4", (p,))])


def contains(ids: Int64, some: Int64) -> bool:
    """Whether all of `some` are in `ids`. Neither holds an id twice."""
    return bool(np.isin(some, ids, assume_unique=True).all())


def open_embeddings(folder: Path, images: int, model: StoredModel) -> tuple[NDArray[np.floating[Any]], Int64]:
    """Map the embeddings (n, p, d) of a segment and read its image ids (n,).

    Raises:
        StoreDamagedError: the file is missing or not what the catalog says.
    """
    path = folder / embeddings.FILE_NAME
    p, d = model.info.p, model.info.embedding_dim
    mapped, ids = embeddings.read(path, images * (8 + p * d * embeddings.LARGEST_NUMBER) + embeddings.OVERHEAD)
    expected = (images, p, d)
    if mapped.shape != expected or mapped.dtype != embeddings.DTYPES[model.embedding_dtype]:
        raise StoreDamagedError(
            f"{path} holds {mapped.dtype} of shape {mapped.shape} instead of {model.embedding_dtype} {expected}; "
            f"{REMEDY}"
        )
    return mapped, ids


def write_segment(
    folder: Path,
    segment_id: int,
    ids: Int64,
    visibility: Float32,
    blocks: Iterable[NDArray[Any]],
    labels: ImageLabels,
    model: StoredModel,
    on_build: OnBuild = tell_nobody,
) -> list[FileSum]:
    """Write a segment whole, or leave nothing.

    Args:
        folder: the index. ids: (n,), ascending. visibility: (n, p). blocks: embeddings (b, p, d), n rows in all.
            labels: of the n images. on_build: told of progress.

    Returns:
        Its files, as they were written.

    Raises:
        OSError: the disk is full or fails.
    """
    info = model.info
    target = segment_folder(folder, segment_id)
    segments = target.parent
    temporary = segments / f"{TEMPORARY}{segment_id}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir()
        path = temporary / embeddings.FILE_NAME
        embeddings.write(path, ids, (info.p, info.embedding_dim), blocks, model.embedding_dtype)
        # The index holds the embeddings as rounded for storage, so candidates and re-ranking use the same numbers.
        mapped, _ = embeddings.read(path)
        _write_regions(temporary, mapped, ids, info.visible(visibility), model.index_type, on_build)
        with (temporary / IMAGES_NAME).open("xb") as file:
            write_images(file, ids, visibility)
        label_file.write(temporary, labels)
        sums = folder_sums(temporary)
        sync_folder(temporary)
        temporary.rename(target)
        sync_folder(segments)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return sums


def write_images(file: BinaryIO, ids: Int64, visibility: Float32) -> None:
    """Write image ids (n,) and visibility (n, p), and make them last.

    Raises:
        OSError: the disk is full or fails.
    """
    rows = np.empty(len(ids), _image_dtype(visibility.shape[1]))
    rows["image_id"], rows["visibility"] = ids, visibility
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())


def _write_regions(
    folder: Path, mapped: NDArray[Any], ids: Int64, visible: Bool, index_type: str, on_build: OnBuild
) -> None:
    """Index every region, visible (n, p). In a large segment the regions are indexed in parallel, one thread each.

    FAISS uses all cores for only a part of the work. Gathering vectors, filling lists and writing the file use one
    core, so another region should be at work meanwhile.
    """
    lock, done, total = threading.Lock(), 0, int(visible.sum())

    def added(vectors: int) -> None:
        nonlocal done
        with lock:
            done += vectors
            on_build(done, total)

    regions, cores = visible.shape[1], threads()
    workers = min(cores, regions, _TOGETHER) if len(ids) >= _TOGETHER_FROM else 1
    each = cores // workers

    def write(region: int) -> None:
        with threads_within(each):
            write_region(folder, region, mapped, ids, visible[:, region], index_type, added)

    for _ in map_ahead(write, range(regions), workers=workers if workers > 1 else 0, ahead=regions):
        pass


def write_region(
    folder: Path,
    region: int,
    mapped: NDArray[Any],
    ids: Int64,
    visible: Bool,
    index_type: str,
    on_added: Callable[[int], None],
) -> None:
    """Index the embeddings of the images in which a region is visible (n,)."""
    rows = np.flatnonzero(visible)

    def vectors(positions: Int64) -> Float32:
        taken: Float32 = mapped[rows[positions], region].astype(np.float32)  # (n, p, d) -> (m, d)
        return taken

    index = RegionIndex.build_from(vectors, mapped.shape[2], ids[rows], index_type, on_added=on_added)
    index.write(folder / region_file_name(region))


def is_ours(name: str, p: int) -> bool:
    """Whether a file of a segment is one that `write_segment` writes."""
    return name in {embeddings.FILE_NAME, IMAGES_NAME, *(region_file_name(region) for region in range(p))}


def bytes_by_kind(folder: Path) -> dict[str, int]:
    """Bytes of an index on disk: "catalog", "embeddings", "region_indexes", "other" and "total"."""
    sizes = {"catalog": 0, "embeddings": 0, "region_indexes": 0, "other": 0}
    for parent, _, names in os.walk(folder):  # which follows no link
        for name in names:
            kind = "other"
            if name == LABELS_NAME or (name.startswith("catalog.sqlite3") and "backup" not in name):
                kind = "catalog"
            elif name in (embeddings.FILE_NAME, IMAGES_NAME):
                kind = "embeddings"
            elif name.endswith(".faiss"):
                kind = "region_indexes"
            with suppress(OSError):  # a writer may remove it meanwhile
                status = Path(parent, name).lstat()
                sizes[kind] += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return sizes | {"total": sum(sizes.values())}

"""The checks of `verify`: every file of an index against its checksum, and the files against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpmsearch.errors import StoreDamagedError, StoreError
from vpmsearch.store import calibration_file
from vpmsearch.store.folder import embeddings, label_file
from vpmsearch.store.folder.catalog import FILE_NAME
from vpmsearch.store.folder.checksums import FileSum, is_as_written
from vpmsearch.store.folder.faiss_file import most_bytes
from vpmsearch.store.folder.files import FOLDER_NAME, REMEDY, check_folder, segment_folder, segments_folder
from vpmsearch.store.folder.label_file import LABELS_NAME, LEFT
from vpmsearch.store.folder.labels import ImageLabels
from vpmsearch.store.folder.leftovers import is_leftover
from vpmsearch.store.folder.reader import Reader
from vpmsearch.store.folder.region_index import RegionIndex
from vpmsearch.store.folder.segments import IMAGES_NAME, REPAIR, open_embeddings, read_images, region_file_name
from vpmsearch.store.folder.values import ImageRows
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Int64
from vpmsearch.words import number_of

_BLOCK_BYTES = 64 << 20  # embeddings held at once


@dataclass(frozen=True)
class Problem:
    """What is wrong, and what to do.

    repairable: the segment whose rewriting mends it; None where nothing does. labels: the segment whose file of labels,
    written anew, mends it.
    """

    text: str
    repairable: int | None = None
    labels: int | None = None


def check(folder: Path, reader: Reader) -> list[Problem]:
    """Everything that is wrong with an index."""
    problems = [Problem(f"{folder / FILE_NAME}: {found}; {REMEDY}") for found in reader.integrity()]
    if problems:  # nothing else in it can be trusted
        return problems
    model, segments, label_files = reader.model(), reader.segments(), reader.label_files()
    for segment_id, count in segments.items():
        try:
            place = segment_folder(folder, segment_id)
            check_folder(place)
            images = reader.image_rows(model.info.p, [segment_id], removed=True)
            problems += _check_segment(place, count, images, reader.files(segment_id), model)
            if segment_id in label_files:
                problems += _check_labels(place, label_files[segment_id], reader.labels(segment_id))
        except StoreDamagedError as error:
            problems.append(Problem(str(error)))
        except OSError as error:
            text = f"segment {segment_id} of {folder} cannot be read ({error}); check its permissions and the disk"
            problems.append(Problem(text))
    try:
        problems += _check_strangers(folder, {str(segment_id) for segment_id in segments})
    except OSError as error:
        text = f"{folder / FOLDER_NAME} cannot be read ({error}); check its permissions and the disk"
        problems.append(Problem(text))
    try:
        calibration_file.read(folder)
    except StoreDamagedError as error:
        problems.append(Problem(str(error)))
    return problems


def _check_segment(
    place: Path, count: int, images: ImageRows, files: Mapping[str, FileSum], model: StoredModel
) -> Iterator[Problem]:
    info = model.info
    catalog = place.parent.parent / FILE_NAME
    order = np.argsort(images.rows)
    if len(order) != count or not np.array_equal(images.rows[order], np.arange(len(order))):
        yield Problem(f"{catalog} does not name {count} rows of segment {place.name} once each; {REMEDY}")
        return
    visibility, ids = images.visibility[order], images.ids[order]
    if not (np.isfinite(visibility) & (visibility >= 0) & (visibility <= 1 + 1e-3)).all():
        yield Problem(f"{catalog} holds visibility scores outside [0, 1] in segment {place.name}; {REMEDY}")
    yield from _check_embeddings(place, count, ids, files, model)
    segment_id = int(place.name)
    path = place / IMAGES_NAME
    try:
        stored_ids, stored = read_images(path, files.get(IMAGES_NAME), info.p)
        if not (np.array_equal(stored_ids, ids) and np.array_equal(stored, visibility)):
            yield Problem(f"{path} does not say what the catalog says; {REPAIR}", segment_id)
    except StoreDamagedError as error:
        yield Problem(str(error), segment_id)
    visible = info.visible(visibility)
    for region in range(info.p):
        path = place / region_file_name(region)
        for text in _check_region(path, ids[visible[:, region]], info.embedding_dim, files.get(path.name)):
            yield Problem(f"{text}; {REPAIR}", segment_id)
    for entry in sorted(place.iterdir()):
        # A file of labels that is not listed was left by a writer; the next one replaces it.
        if entry.name not in files and entry.name != LABELS_NAME and not entry.name.startswith(LEFT):
            yield Problem(f"{entry} is no part of the index; move it away")


def _check_labels(place: Path, written: FileSum, labels: ImageLabels) -> Iterator[Problem]:
    path, segment_id = place / LABELS_NAME, int(place.name)
    try:
        if not is_as_written(path, written):
            yield Problem(f"{path} is not what was written (checksum); {REPAIR}", labels=segment_id)
        elif label_file.file_sum_of(labels) != written:
            yield Problem(f"{path} does not say what the catalog says; {REPAIR}", labels=segment_id)
    except FileNotFoundError:
        yield Problem(f"{path} is missing; {REPAIR}", labels=segment_id)
    except (StoreError, OSError) as error:
        yield Problem(f"{path} cannot be read ({error}); {REPAIR}", labels=segment_id)


def _check_embeddings(
    place: Path, count: int, ids: Int64, files: Mapping[str, FileSum], model: StoredModel
) -> Iterator[Problem]:
    path = place / embeddings.FILE_NAME
    try:
        mapped, stored_ids = open_embeddings(place, count, model)
        if not np.array_equal(stored_ids, ids):
            yield Problem(f"{path} holds other images than the catalog says, or in another order; {REMEDY}")
        elif not all(np.isfinite(block).all() for block in _blocks(mapped)):
            yield Problem(f"{path} holds embeddings that are not finite; {REMEDY}")
        elif not is_as_written(path, files.get(path.name)):
            yield Problem(f"{path} is not what was written (checksum); {REMEDY}")
    except StoreError as error:
        yield Problem(str(error))


def _check_region(path: Path, expected: Int64, dim: int, written: FileSum | None) -> Iterator[str]:
    try:
        sound = is_as_written(path, written)
        index = (
            RegionIndex.read(path, largest=most_bytes(len(expected), dim)) if sound else None
        )  # a damaged file need not be handed to FAISS
    except FileNotFoundError:
        yield f"{path} is missing"
        return
    except StoreError as error:
        yield f"{path} cannot be read ({error})"
        return
    if index is None:
        yield f"{path} is not what was written (checksum)"
    elif index.dim != dim or not np.array_equal(index.ids, np.sort(expected)):
        yield f"{path} does not hold exactly the {number_of(len(expected), 'image')} in which the region is visible"


def _check_strangers(folder: Path, referenced: set[str]) -> Iterator[Problem]:
    try:
        segments = segments_folder(folder)
    except StoreError as error:
        yield Problem(str(error))
        return
    for entry in sorted(segments.iterdir()):
        if entry.name not in referenced and not is_leftover(entry.name, referenced):
            yield Problem(f"{entry} is no part of the index; move it away")


def _blocks(mapped: NDArray[Any]) -> Iterator[NDArray[Any]]:
    step = max(1, _BLOCK_BYTES // max(1, mapped[:1].nbytes))
    for start in range(0, len(mapped), step):
        yield mapped[start : start + step]

"""The features that an evaluation compares: of labelled images or crops of them, or from an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from vpmsearch.data.crops import CropBox, sample_crop
from vpmsearch.data.images import content_hash
from vpmsearch.data.labelled import LabelledImage
from vpmsearch.data.poor import AS_IT_IS
from vpmsearch.errors import DataError
from vpmsearch.evaluation.labelled import LabelledFeatures
from vpmsearch.evaluation.labels import Labels
from vpmsearch.indexing.indexer import stored_path
from vpmsearch.model.extraction import Extractor, Request
from vpmsearch.store import GalleryView
from vpmsearch.types import Int64, RegionFeatures
from vpmsearch.words import number_of, printable


def query_crops(count: int, strategy: str, gamma: float, seed: int) -> list[CropBox | None]:
    """The crop of each query; None is the whole image. A crop depends on the seed and the query's position only.

    Raises:
        DataError: an unknown strategy or γ outside (0, 1].
    """
    boxes = [sample_crop(strategy, gamma, np.random.default_rng([seed, position])) for position in range(count)]
    return [None if gamma == 1 else box for box in boxes]


def extract_labelled(
    extractor: Extractor,
    images: Sequence[LabelledImage],
    boxes: Sequence[CropBox | None] | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
    labels: Labels | None = None,
    photo: str = AS_IT_IS,
) -> LabelledFeatures:
    """Features of labelled images, or of a crop of each.

    Args:
        labels: of the images under a protocol; None: their pids and camids. photo: how images are degraded first, see
            `vpmsearch.data.poor.POOR`.

    Raises:
        DataError: there are no images, or one has no pid or camid or cannot be read. No image is left out silently:
            figures on a part of a data set could not be compared with others.
    """
    pids, camids = _labels(images) if labels is None else (labels.pids, labels.keys)
    requests = [Request(i, image.path, boxes[i] if boxes else None, photo) for i, image in enumerate(images)]
    parts, contents = [], list[str]()
    for batch in extractor.extract(requests):
        if batch.rejected:
            bad = batch.rejected[0]
            raise DataError(f"{printable(bad.path)}: {bad.reason}; mend or remove it, then evaluate again")
        parts.append(batch.features)
        contents += [seen.content_hash for seen in batch.seen]
        on_progress(len(batch.features))
    return LabelledFeatures(RegionFeatures.concatenate(parts), pids, camids, np.array(contents, dtype=np.str_))


def indexed_gallery(
    snapshot: GalleryView, gallery: Sequence[LabelledImage], labels: Labels | None = None
) -> LabelledFeatures:
    """A data set's gallery with features from an index, so that they need not be computed again.

    An image is looked up by its path, then by its content.

    Args:
        labels: of the gallery under a protocol; None: its pids and camids.

    Raises:
        DataError: an image of the gallery is not in the index, or has no pid or camid.
    """
    records = snapshot.records_of(snapshot.image_ids)
    row_of = {record.path: row for row, record in enumerate(records)}
    rows = np.array([row_of.get(stored_path(image.path), -1) for image in gallery], dtype=np.int64)
    if (rows < 0).any():
        row_of_content = {record.content_hash: row for row, record in enumerate(records) if record.content_hash}
        for row in np.flatnonzero(rows < 0).tolist():
            rows[row] = row_of_content.get(content_hash(gallery[row].path), -1)
    if (rows < 0).any():
        missing = gallery[int(np.flatnonzero(rows < 0)[0])].path
        raise DataError(
            f"of the gallery's {number_of(len(gallery), 'image')} {int((rows < 0).sum())} are not in the index (such "
            f"as {printable(missing)}); index the data set first, or evaluate without --index"
        )
    pids, camids = _labels(gallery) if labels is None else (labels.pids, labels.keys)
    contents = np.array([records[row].content_hash for row in rows.tolist()], dtype=np.str_)
    return LabelledFeatures(snapshot.features_of(snapshot.image_ids[rows]), pids, camids, contents)


def seen_crops(
    extractor: Extractor,
    query: Sequence[LabelledImage],
    plan: Mapping[str, Sequence[CropBox | None]],
    on_progress: Callable[[int], None],
    labels: Labels | None,
    photo: str = AS_IT_IS,
) -> Iterator[tuple[str, LabelledFeatures]]:
    """The features of the queries under each strategy. If several give the same crop, it is computed only once."""
    row_of: dict[tuple[int, CropBox | None], int] = {}
    for boxes in plan.values():
        for position, box in enumerate(boxes):
            row_of.setdefault((position, box), len(row_of))
    positions = [i for i, _ in row_of]
    told = None if labels is None else labels.rows(np.array(positions))
    seen = extract_labelled(
        extractor, [query[i] for i in positions], [box for _, box in row_of], on_progress, told, photo
    )
    for crop, cut in plan.items():
        rows = np.array([row_of[position, box] for position, box in enumerate(cut)])
        yield crop, seen[rows]


def queries_to_see(count: int, gammas: Sequence[float], crops: Sequence[str], seed: int) -> int:
    """How many crops of `count` queries `evaluate_model` computes, for a progress bar."""
    plans = ([query_crops(count, crop, gamma, seed) for crop in crops] for gamma in gammas)
    return sum(len({(i, box) for boxes in plan for i, box in enumerate(boxes)}) for plan in plans)


def _labels(images: Sequence[LabelledImage]) -> tuple[Int64, Int64]:
    """The pids and camids (n,) of images.

    Raises:
        DataError: there are no images; an image has no label, or a word (numbers for words need all images at once).
    """
    if not images:
        raise DataError("there is nothing to evaluate: no images")
    unlabelled = next((image for image in images if image.pid is None or image.camid is None), None)
    if unlabelled is not None:
        raise DataError(f"{printable(unlabelled.path)} has no pid or no camid; evaluation needs both for every image")
    word = next((label for image in images for label in (image.pid, image.camid) if isinstance(label, str)), None)
    if word is not None:
        raise DataError(f"the label {word!r} is a word; give the labels of query and gallery together, by labels_of")
    pids = np.array([image.pid for image in images], dtype=np.int64)
    camids = np.array([image.camid for image in images], dtype=np.int64)
    return pids, camids

"""Figures over the trials of a data set: their mean and how far they spread. Images are seen once for all trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from vpmsearch.evaluation.rows import Evaluation
from vpmsearch.model.extraction import ExtractedBatch, Extractor, Request, Seen
from vpmsearch.types import Float32, RegionFeatures

AVERAGED = (
    "rank1",
    "rank3",
    "rank5",
    "rank10",
    "map",
    "map_trapezoid",
    "minp",
    "visible_f1",
    "rank1_gain",
    "map_gain",
)
"""The figures of a row, by their keys in JSON, of which there is a mean."""

_BLOCK = 512


@dataclass(frozen=True)
class TrialMeans:
    """One row of results over all trials. rows: one of each trial, of the same γ, crop and weighting."""

    rows: tuple[Evaluation, ...]

    def to_json(self) -> dict[str, Any]:
        """The mean row for `evaluate --json`: as that of a trial, without the intervals over queries.

        "std" has the standard deviation over the trials (n − 1) of each figure.
        """
        first, every = self.rows[0], [row.to_json() for row in self.rows]
        figures = {key: np.array([row[key] for row in every]) for key in AVERAGED if key in every[0]}
        row: dict[str, Any] = {"gamma": first.gamma, "crop": first.crop, "weighting": first.weighting}
        row |= asdict(first.ranking) | {key: float(values.mean()) for key, values in figures.items()}
        row["std"] = {key: float(values.std(ddof=1)) for key, values in figures.items()}
        row |= {key: float(np.mean([each[key] for each in every])) for key in ("queries", "gallery")}
        row |= {key: every[0][key] for key in ("photo", "fnmr_ranking", "draws") if key in every[0]}
        if first.fnmr:
            row["fnmr"] = {str(fmr): float(np.mean([each.fnmr[fmr] for each in self.rows])) for fmr in first.fnmr}
        return row


def trial_means(rows: Sequence[Evaluation], trials: int) -> list[TrialMeans]:
    """The mean rows of several trials, in the order of their rows.

    Args:
        rows: of the first trial, then of the second and so on; each has the same γ, crops and weightings in the same
            order. trials: how many; of one there is no mean.
    """
    if trials < 2:
        return []
    each = len(rows) // trials
    return [TrialMeans(tuple(rows[row::each])) for row in range(each)]


@dataclass(frozen=True)
class _Known:
    seen: Seen
    visibility: Float32  # (p,)
    embeddings: Float32  # (p, d)


class RememberingExtractor(Extractor):
    """An extractor that computes each image, cut and photograph once, and keeps the features in memory.

    Trials share nearly all of their images. With six regions of 256 numbers an image takes 6 KB.

    Args:
        extractor: computes them.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__(
            extractor.weights,
            extractor.device,
            batch_size=extractor.batch_size,
            workers=extractor.workers,
            runtime=extractor.runtime,
        )
        self._known: dict[tuple[object, ...], _Known] = {}

    def extract(self, requests: Iterable[Request]) -> Iterator[ExtractedBatch]:
        """As `Extractor.extract`, in the same order."""
        waiting = iter(requests)
        while block := list(islice(waiting, _BLOCK)):
            new = {_key(request): request for request in block if _key(request) not in self._known}
            key_of = {request.position: key for key, request in new.items()}
            for batch in super().extract(new.values()):
                for row, seen in enumerate(batch.seen):
                    known = _Known(seen, batch.features.visibility[row], batch.features.embeddings[row])
                    self._known[key_of[seen.position]] = known
                if batch.rejected:
                    yield ExtractedBatch([], batch.features[:0], batch.rejected)
            found = [
                (request.position, self._known[_key(request)]) for request in block if _key(request) in self._known
            ]
            if found:
                features = RegionFeatures(
                    np.stack([known.visibility for _, known in found]),
                    np.stack([known.embeddings for _, known in found]),
                )
                yield ExtractedBatch([replace(known.seen, position=place) for place, known in found], features, [])


def _key(request: Request) -> tuple[object, ...]:
    return request.path, request.box, request.photo
